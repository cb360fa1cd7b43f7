// Batch normalization (Ioffe and Szegedy 2015) and layer normalization (Ba, Kiros and Hinton 2016), forward
// and backward; and the mean of each plane.
#pragma once

#include "ranvier/array.h"

namespace ranvier {

// x, y, grad and grad_x are (outer, channels, inner) without gaps; what is normalized together is a channel's
// outer * inner elements. gamma and beta, of `channels` numbers, may be nullptr for ones and zeros.
struct BatchNormShape {
    index_t outer, channels, inner;
};

// mean and inverse_deviation = 1 / sqrt(variance + epsilon), the variance with the divisor outer * inner;
// both are kept for the backward pass. Sums are in double, in an order that depends on the shape alone.
template <class T>
void batch_norm_statistics(const BatchNormShape& shape, const T* x, double epsilon, T* mean,
                           T* inverse_deviation);

// y = (x - mean) * inverse_deviation * gamma + beta.
template <class T>
void batch_norm(const BatchNormShape& shape, const T* x, const T* mean, const T* inverse_deviation,
                const T* gamma, const T* beta, T* y);

// The gradients of y above, where mean and inverse_deviation are those of x (`from_batch`) or are constants.
// grad_x may be nullptr or grad; grad_gamma and grad_beta may be nullptr.
template <class T>
void batch_norm_backward(const BatchNormShape& shape, bool from_batch, const T* grad, const T* x,
                         const T* mean, const T* inverse_deviation, const T* gamma, T* grad_x, T* grad_gamma,
                         T* grad_beta);

// Each of `rows` rows of `size` elements to mean 0 and variance 1 (divisor `size`), then times gamma plus
// beta, which are of `size` numbers or nullptr. mean and inverse_deviation, of `rows` numbers, are kept for
// the backward pass.
template <class T>
void layer_norm(index_t rows, index_t size, const T* x, double epsilon, const T* gamma, const T* beta, T* y,
                T* mean, T* inverse_deviation);
template <class T>
void layer_norm_backward(index_t rows, index_t size, const T* grad, const T* x, const T* mean,
                         const T* inverse_deviation, const T* gamma, T* grad_x, T* grad_gamma, T* grad_beta);

// The mean of each of `planes` planes of `size` elements; and its gradient, each element's share.
template <class T>
void plane_means(index_t planes, index_t size, const T* x, T* y);
template <class T>
void plane_means_backward(index_t planes, index_t size, const T* grad, T* grad_x);

}  // namespace ranvier
