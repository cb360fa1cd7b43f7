// Parameter updates: one pass over a flat buffer of values, gradients and the rule's state.
#pragma once

#include <cstdint>

#include "ranvier/array.h"

namespace ranvier {

// With g the gradient (scaled and clipped first, then + weight_decay * w unless the decay is decoupled):
//   sgd      v = momentum * v + g;  w -= lr * v, or lr * (g + momentum * v) if nesterov; without momentum
//            w -= lr * g
//   adam     m = beta1 * m + (1 - beta1) * g;  s = beta2 * s + (1 - beta2) * g^2;
//            w -= lr * m' / (sqrt(s') + eps), with m' = m / (1 - beta1^t) and s' = s / (1 - beta2^t)
//            (Kingma and Ba 2015, algorithm 1)
//   rmsprop  s = beta2 * s + (1 - beta2) * g^2;  d = g / (sqrt(s) + eps); w -= lr * d, or with momentum
//            v = momentum * v + d;  w -= lr * v  (Tieleman and Hinton 2012)
//   adagrad  s = s + g^2;  w -= lr * g / (sqrt(s) + eps)  (Duchi, Hazan and Singer 2011)
// A decoupled decay first shrinks w by 1 - lr * weight_decay (Loshchilov and Hutter 2019). All as in PyTorch.
enum class UpdateRule { sgd, adam, rmsprop, adagrad };

struct UpdateOptions {
    UpdateRule rule = UpdateRule::sgd;
    double lr = 0.01;
    double momentum = 0;
    bool nesterov = false;
    double beta1 = 0.9;
    double beta2 = 0.999;
    double eps = 1e-8;
    double weight_decay = 0;
    bool decoupled_decay = false;
    double clip_norm = 0;   // scales the gradients of all parameters to this norm if theirs is larger; 0: not
    double clip_value = 0;  // cuts each gradient, after the scaling, to +- this; 0: not
    double ema_decay = 0;   // of an average of the parameters (see approach()); 0: there is none
};

// The buffers of state that a rule needs: velocity (v), first moment (m) and second moment (s) above.
struct UpdateState {
    bool velocity, first_moment, second_moment, average;
};
UpdateState update_state(const UpdateOptions& options);

// What the elements of one update share.
struct UpdateStep {
    UpdateOptions options;
    double correction1 = 1, correction2 = 1;  // 1 - beta^step
    double gradient_scale = 1;                // before gradients are clipped one by one
};
// Update number `step`, counted from 1. `squares` is the sum of the gradients' squares, which clip_norm asks
// for.
UpdateStep update_step(const UpdateOptions& options, std::int64_t step, double squares);

// Updates n elements. State that the rule does not need may be nullptr; it starts at zero.
template <class T>
void update(const UpdateStep& step, index_t n, T* w, const T* grad, T* velocity, T* first_moment,
            T* second_moment);

// average = decay * average + (1 - decay) * w.
template <class T>
void approach(double decay, index_t n, const T* w, T* average);

// Scales the weights that lead to an output, where their Euclidean norm is larger, to this one. Those of
// output o begin at w + o * output_stride, and are `inputs` numbers, input_stride apart.
template <class T>
void limit_norms(double largest, index_t outputs, index_t inputs, index_t output_stride, index_t input_stride,
                 T* w);

// sum of x[i]^2, in an order that depends on n alone.
template <class T>
double sum_of_squares(index_t n, const T* x);

// Whether no x[i] is infinite or a NaN.
template <class T>
bool all_finite(index_t n, const T* x);

// max |x[i]|, or 0 for none; a NaN if there is one.
template <class T>
T largest_magnitude(index_t n, const T* x);

// grad += l2 * w + l1 * sign(w): the gradient of the penalty l2 / 2 * sum(w^2) + l1 * sum(|w|).
template <class T>
void add_penalty_gradient(double l1, double l2, index_t n, const T* w, T* grad);

}  // namespace ranvier
