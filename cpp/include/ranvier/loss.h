// Losses: the value, the number of right answers, and the gradient, in one pass over a batch.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ranvier/array.h"

namespace ranvier {

enum class Loss {
    quadratic,              // 1/2 sum_j (p - t)^2, mean over samples
    sum_squared_residuals,  // sum_j (p - t)^2, summed over samples
    mean_squared_error,     // (p - t)^2, mean over samples and outputs
    binary_cross_entropy,   // -t log p - (1-t) log(1-p), mean over samples and outputs; logs cut at -100
    binary_cross_entropy_with_logits,  // the same of sigmoid(p), without its overflow
    softmax_cross_entropy,             // -sum_j t log softmax(p)_j, mean over samples
    // Mean over samples. One output, or dense rows of -1 and 1: sum_j max(0, 1 - t p). Labels of several
    // outputs: sum over the wrong classes j of max(0, 1 - p_label + p_j) (Weston and Watkins 1999).
    hinge,
    l1,     // |p - t|, mean over samples and outputs
    huber,  // (p - t)^2 / 2 up to a distance of delta, and delta (|p - t| - delta / 2) beyond; mean likewise
    smooth_l1,                // the same with delta = beta, over beta; for a beta of 0 it is l1
    quantile,                 // max(q (t - p), (q - 1) (t - p)), mean over samples and outputs
    negative_log_likelihood,  // -sum_j t p_j of logarithms of probabilities, mean over samples
    // Cross-entropy with logits, times (1 - s)^gamma, s being the share of sigmoid(p) that is on t's side;
    // mean over samples and outputs (Lin et al. 2017).
    focal,
    // Of numbers t that come from Poisson distributions: exp(p) - t p, or with log_input = false p - t log(p
    // + eps); mean over samples and outputs.
    poisson,
};

// A loss with its settings.
struct LossSpec {
    Loss kind;
    // Of softmax_cross_entropy. The share of each target that is spread evenly over the classes (Szegedy et
    // al. 2016).
    double label_smoothing = 0;
    // Of softmax_cross_entropy and negative_log_likelihood: what each class's term is multiplied by (empty:
    // 1).
    std::vector<double> weight;
    // Of binary_cross_entropy_with_logits: what -t log p is multiplied by; one for each output, or one for
    // all (empty: 1).
    std::vector<double> pos_weight;
    double delta = 1;              // of huber
    double beta = 1;               // of smooth_l1
    std::vector<double> quantile;  // q, one for each output, or one for all (empty: 1/2)
    // Of focal. Targets are multiplied by alpha, and what they lack to 1 by 1 - alpha; both by 1 unless it is
    // given.
    double gamma = 2;
    std::optional<double> alpha;
    bool log_input = true;  // of poisson
    double eps = 1e-8;

    LossSpec(Loss loss = Loss::quadratic) : kind(loss) {}
};

// What a batch is compared with: row-major dense rows of the outputs' size; or one class number in
// [0, outputs) a sample, which stands for a one-hot row (with one output: 0 or 1, which stand for themselves;
// for the hinge, for -1 and 1).
template <class T>
struct Targets {
    const T* dense = nullptr;
    const std::int64_t* labels = nullptr;
    const double* weights = nullptr;  // of each sample, at least 0; nullptr: all are 1
};

struct LossSums {
    double loss = 0;   // sum over the samples, each times its weight, before the mean is taken
    index_t hits = 0;  // samples whose largest output is the target's; for one output, those on
                       // the right side of 1/2 (of 0 for logits, focal and the hinge); each counts once
    // Sum of the samples' weights; a label's includes its class's weight. With dense rows class weights do
    // not count here, as in PyTorch.
    double weight = 0;
};

// What the sum of losses is divided by for the mean: the sum of weights, that times the outputs, or 1. A sum
// of weights of 0 gives 1: the mean over nothing is 0.
double loss_divisor(Loss loss, double weight, index_t outputs);

// The same in three steps, for a batch whose samples are taken in micro-batches: the sum of the samples'
// weights; the losses of `count` samples from `first` on, with their gradients, given the divisor of the
// mean; and the sums. All pointers are to the whole batch.
struct SampleLoss {
    double loss = 0;  // times the sample's weight
    bool hit = false;
};
template <class T>
double sum_of_weights(const LossSpec& loss, index_t samples, const Targets<T>& targets);
template <class T>
void loss_of_samples(const LossSpec& loss, index_t first, index_t count, index_t outputs, const T* prediction,
                     const Targets<T>& targets, double divisor, T* grad, SampleLoss* losses);
LossSums sum_of_losses(index_t samples, const SampleLoss* losses, double weight);

// Row-major prediction and grad, (samples, outputs). grad may be nullptr or prediction; it receives the
// gradient of the batch's mean loss. Sums are in double and in a fixed order.
template <class T>
LossSums loss_of_batch(const LossSpec& loss, index_t samples, index_t outputs, const T* prediction,
                       const Targets<T>& targets, T* grad);

// Sums of errors, from which the mean errors and the coefficient of determination of a regression follow.
// `sums` are five rows of a number for each output: a reference near the targets, which is the caller's and
// keeps the digits of their spread; and the sums, which are added to, of squared errors, of absolute errors,
// of the targets less the reference, and of the squares of these.
template <class T>
void add_errors(index_t samples, index_t outputs, const T* prediction, const T* target, double* sums);

}  // namespace ranvier
