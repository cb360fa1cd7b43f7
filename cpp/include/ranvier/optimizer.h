// Parameter updates: one pass over a flat buffer.
#pragma once

#include <cstdint>

#include "ranvier/array.h"

namespace ranvier {

// g = grad + weight_decay * w; without momentum w -= lr * g; with it v = momentum * v + g and
// w -= lr * v, or w -= lr * (g + momentum * v) if nesterov. (PyTorch's SGD.)
struct SgdOptions {
    double learning_rate = 0.01;
    double momentum = 0;
    double weight_decay = 0;
    bool nesterov = false;
};
// velocity may be nullptr if momentum is 0; it starts at zero.
template <class T>
void sgd_update(const SgdOptions& options, index_t n, T* w, const T* grad, T* velocity);

// Kingma and Ba 2015, algorithm 1, with weight_decay * w added to the gradient. `step` counts from 1.
struct AdamOptions {
    double learning_rate = 1e-3;
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
    double weight_decay = 0;
};
template <class T>
void adam_update(const AdamOptions& options, std::int64_t step, index_t n, T* w, const T* grad,
                 T* first_moment, T* second_moment);

}  // namespace ranvier
