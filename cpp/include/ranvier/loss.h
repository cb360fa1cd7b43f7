// Losses: the value, the number of right answers, and the gradient, in one pass over a batch.
#pragma once

#include <cstdint>

#include "ranvier/array.h"

namespace ranvier {

enum class Loss {
    quadratic,              // 1/2 sum_j (p - t)^2, mean over samples
    sum_squared_residuals,  // sum_j (p - t)^2, summed over samples
    binary_cross_entropy,   // -t log p - (1-t) log(1-p), mean over samples and outputs; logs cut at -100
    binary_cross_entropy_with_logits,  // the same of sigmoid(p), without its overflow
    softmax_cross_entropy,             // -sum_j t log softmax(p)_j, mean over samples
};

struct LossSums {
    double loss = 0;   // sum over the samples, before the mean is taken
    index_t hits = 0;  // samples whose largest output is the target's; for one output, those on
                       // the right side of 1/2 (of 0 for logits)
};

// What the sum of losses is divided by for the mean: samples, 1, or samples * outputs.
double loss_divisor(Loss loss, index_t samples, index_t outputs);

// Row-major prediction, target and grad, all (samples, outputs). grad may be nullptr or prediction;
// it receives d(loss)/d(prediction) / divisor. Sums are in double and in a fixed order.
template <class T>
LossSums loss_with_targets(Loss loss, index_t samples, index_t outputs, const T* prediction, const T* target,
                           T* grad, double divisor);

// The same with class numbers in [0, outputs), standing for one-hot rows. With one output the
// labels are 0 and 1 and stand for themselves.
template <class T>
LossSums loss_with_labels(Loss loss, index_t samples, index_t outputs, const T* prediction,
                          const std::int64_t* labels, T* grad, double divisor);

}  // namespace ranvier
