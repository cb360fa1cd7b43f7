// Elementwise activations, forward and backward.
#pragma once

#include <cstdint>

#include "ranvier/array.h"

namespace ranvier {

// The parameter is the slope below zero of leaky_relu and the alpha of elu; others ignore it.
enum class Activation {
    identity,
    heaviside,
    sigmoid,
    tanh,
    relu,
    relu6,
    leaky_relu,
    elu,
    selu,
    softplus,
    gelu,
    silu,
    mish,
    hardswish
};
inline constexpr int kActivationCount = 14;

// y = f(x). y may be x itself (same data and strides); any other overlap is the caller's error.
template <class T>
void activation(Activation f, const Array<const T>& x, const Array<T>& y, T parameter = T{});

// grad_x = grad * f'(x). grad_x may be grad or x itself.
template <class T>
void activation_backward(Activation f, const Array<const T>& grad, const Array<const T>& x,
                         const Array<T>& grad_x, T parameter = T{});

// Contiguous forms. The backward form reads y = f(x) where f'(x) is a function of y
// (activation_backward_reads_output says so), and else reads x through the same pointer.
bool activation_backward_reads_output(Activation f, double parameter);
template <class T>
void activation(Activation f, index_t n, const T* x, T* y, T parameter);
// y[i] = f(a[i] + b[i]). y may be a or b.
template <class T>
void activation_of_sum(Activation f, index_t n, const T* a, const T* b, T* y, T parameter);
template <class T>
void activation_backward_kept(Activation f, index_t n, const T* grad, const T* kept, T* grad_x, T parameter);

// Parametric ReLU (He et al. 2015): slope[c] below zero, or slope[0] everywhere if there is one. The channels
// are x's axis 1, or axis 0 of a vector. The slopes' gradients are written, not added to, and summed in an
// order that depends on the shape and strides alone. y and grad_x may be x or grad.
template <class T>
void prelu(const Array<const T>& x, const Array<const T>& slopes, const Array<T>& y);
template <class T>
void prelu_backward_data(const Array<const T>& grad, const Array<const T>& x, const Array<const T>& slopes,
                         const Array<T>& grad_x);
template <class T>
void prelu_backward_weights(const Array<const T>& grad, const Array<const T>& x, const Array<T>& grad_slopes);

// Of the random functions below, `first` is the number that the first element has in the whole: a part of an
// array, taken by itself, gets what it would have got with the rest. An array's elements are numbered in the
// order of its axes, however it lies in memory.

// Randomized ReLU (Xu et al. 2015): below zero element i has the slope
// lower + (upper - lower) * u, with u in [0, 1) from Philox at (seed, stream, i).
struct RandomSlopes {
    double lower = 1.0 / 8;
    double upper = 1.0 / 3;
    std::uint64_t seed = 0;
    std::uint64_t stream = 0;
    index_t first = 0;
};
template <class T>
void rrelu(const RandomSlopes& range, const Array<const T>& x, const Array<T>& y);
// The slope at each element, which above zero is 1; and its products with the elements of x, which are the
// function, or of the gradient to it, which are that to x.
template <class T>
void rrelu_slopes(const RandomSlopes& range, const Array<const T>& x, const Array<T>& slopes);
template <class T>
void multiply(const Array<const T>& a, const Array<const T>& b, const Array<T>& y);

// Inverted dropout: element i is kept if the Philox word at (seed, stream, i) is at least
// p * 2^32, and then divided by 1 - p. Backward is the same call on the gradient. 0 <= p < 1.
struct RandomMask {
    double p = 0.5;
    std::uint64_t seed = 0;
    std::uint64_t stream = 0;
    index_t first = 0;
};
template <class T>
void dropout(const RandomMask& mask, const Array<const T>& x, const Array<T>& y);
template <class T>
void dropout(const RandomMask& mask, index_t n, const T* x, T* y);

// Additive Gaussian noise: y[i] = x[i] + std * z[i], where the standard normal z[2k] and z[2k + 1] come of
// the Philox words at (seed, stream, 2k) and (seed, stream, 2k + 1) by Box and Muller (1958). y may be x
// itself.
struct RandomNoise {
    double std = 1;
    std::uint64_t seed = 0;
    std::uint64_t stream = 0;
    index_t first = 0;
};
template <class T>
void gaussian_noise(const RandomNoise& noise, index_t n, const T* x, T* y);

// Maxout (Goodfellow et al. 2013): x has `pieces` times as many channels as y, its axis 1, or axis 0 of a
// vector; y[c] = max over k of x[c * pieces + k]. A NaN wins. The gradient goes to the first of equal pieces.
template <class T>
void maxout(index_t pieces, const Array<const T>& x, const Array<T>& y);
template <class T>
void maxout_backward(index_t pieces, const Array<const T>& grad, const Array<const T>& x,
                     const Array<T>& grad_x);

}  // namespace ranvier
