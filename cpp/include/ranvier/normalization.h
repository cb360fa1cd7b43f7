// Batch normalization (Ioffe and Szegedy 2015) and layer normalization (Ba, Kiros and Hinton 2016), forward
// and backward; and the mean of each plane.
#pragma once

#include "ranvier/activation.h"
#include "ranvier/array.h"

namespace ranvier {

// x, y, grad and grad_x are (outer, channels, inner) without gaps; what is normalized together is a channel's
// outer * inner elements. gamma and beta, of `channels` numbers, may be nullptr for ones and zeros.
struct BatchNormShape {
    index_t outer, channels, inner;
};

// For each channel the mean of some elements, and their sum of squares about it. Sums are in double, in an
// order that depends on the shape alone. The moments of parts of a batch are joined one after the other
// (Chan, Golub and LeVeque 1979).
struct ChannelMoments {
    double* mean;
    double* squares;
};
template <class T>
void batch_norm_moments(const BatchNormShape& part, const T* x, const ChannelMoments& moments);
// Joins the moments of `count` elements a channel to those of `total_count` in `total`; returns the count of
// all.
double join_moments(index_t channels, double total_count, const ChannelMoments& total, double count,
                    const ChannelMoments& part);

// y = f(scale x + shift), of each channel.
template <class T>
void batch_norm(const BatchNormShape& shape, const T* x, const T* scale, const T* shift, T* y,
                Activation f = Activation::identity, T parameter = {});

// y += bias, of each channel; and the sum of each channel, written, or added to what is there if
// `accumulate`.
template <class T>
void add_to_channels(const BatchNormShape& shape, const T* bias, T* y);
template <class T>
void channel_sums(const BatchNormShape& shape, const T* x, T* sums, bool accumulate);

// An activation that the output y has gone through, whose derivative is a function of y; and where the
// gradient before it goes.
template <class T>
struct OutputActivation {
    Activation kind = Activation::identity;
    T parameter = {};
    const T* y = nullptr;
    T* grad = nullptr;
};

// What the gradients of y = f(gamma (x - mean) d + beta) need of a whole batch, for each channel: the sum of
// the gradient before f, and that of it times (x - mean). Written, or added to if `accumulate`.
template <class T>
void batch_norm_gradient_sums(const BatchNormShape& part, const T* grad, const T* x, const T* mean,
                              double* sums, double* products, bool accumulate,
                              const OutputActivation<T>& f = {});
// grad_x = a grad + b x + c, of each channel, which is the gradient to x if (a, b, c) are made of those sums.
// grad_x may be grad.
template <class T>
void batch_norm_input_gradient(const BatchNormShape& part, const T* grad, const T* x, const T* a, const T* b,
                               const T* c, T* grad_x);

// Each of `rows` rows of `size` elements to mean 0 and variance 1 (divisor `size`), then times gamma plus
// beta, which are of `size` numbers or nullptr. mean and inverse_deviation, of `rows` numbers, are kept for
// the backward pass.
template <class T>
void layer_norm(index_t rows, index_t size, const T* x, double eps, const T* gamma, const T* beta, T* y,
                T* mean, T* inverse_deviation);
template <class T>
void layer_norm_backward(index_t rows, index_t size, const T* grad, const T* x, const T* mean,
                         const T* inverse_deviation, const T* gamma, T* grad_x, T* grad_gamma, T* grad_beta);

// The mean of each of `planes` planes of `size` elements; and its gradient, each element's share.
template <class T>
void plane_means(index_t planes, index_t size, const T* x, T* y);
template <class T>
void plane_means_backward(index_t planes, index_t size, const T* grad, T* grad_x);
// The mean of each channel of some images of so many pixels, whose channels are neighbours.
template <class T>
void pixel_means(index_t images, index_t pixels, index_t channels, const T* x, T* y);

}  // namespace ranvier
