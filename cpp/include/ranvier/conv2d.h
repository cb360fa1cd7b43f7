// Two-dimensional convolution (cross-correlation, as every neural-network library calls it) of NCHW
// images with OIHW weights.
#pragma once

#include "ranvier/array.h"
#include "ranvier/matmul.h"

namespace ranvier {

struct Conv2dShape {
    index_t batch = 0, in_channels = 0, in_height = 0, in_width = 0;
    index_t out_channels = 0, kernel_height = 0, kernel_width = 0;
    index_t stride_height = 1, stride_width = 1;
    index_t padding_height = 0, padding_width = 0;
    index_t dilation_height = 1, dilation_width = 1;
    index_t groups = 1;

    index_t out_height() const;
    index_t out_width() const;
};

// Throws std::invalid_argument naming the field if a size is negative, a kernel, stride, dilation or
// group count is below 1, the channels do not divide by groups, or the kernel exceeds the padded image.
void check(const Conv2dShape& shape);

// y = x * w + bias, then the activation. bias may be nullptr, else is contiguous and out_channels long.
template <class T>
void conv2d(const Conv2dShape& shape, const Images<const T>& x, const Images<const T>& w, const T* bias,
            const Images<T>& y, Activation activation = Activation::identity, T parameter = T{});

// The gradients of a loss whose gradient to y is `grad`. All results are written, not added to.
template <class T>
void conv2d_backward_input(const Conv2dShape& shape, const Images<const T>& grad, const Images<const T>& w,
                           const Images<T>& grad_x);
template <class T>
void conv2d_backward_weights(const Conv2dShape& shape, const Images<const T>& grad, const Images<const T>& x,
                             const Images<T>& grad_w, T* grad_bias);

}  // namespace ranvier
