// Depthwise convolutions: each channel is convolved by itself, with a kernel of its own. There is no product
// in them; vectors run along the pixels of the rows, or along the channels if these are neighbours.
#pragma once

#include "ranvier/conv2d.h"

namespace ranvier {

// Whether each channel is convolved by itself.
bool is_depthwise(const Conv2dShape& shape);
// Whether the pixels of each row are neighbours.
template <class T>
bool has_unit_columns(const Images<T>& images) {
    return images.strides[3] == 1;
}

// The passes as in ranvier/conv2d.h, for such shapes and images that have unit columns.
template <class T>
void depthwise_forward(const Conv2dShape& shape, const Images<const T>& x, const Images<const T>& w,
                       const T* bias, const Images<T>& y, Activation activation, T parameter);
template <class T>
void depthwise_backward_input(const Conv2dShape& shape, const Images<const T>& grad, const Images<const T>& w,
                              const Images<T>& grad_x);
// Adds to what grad_w and grad_bias hold, if accumulate.
template <class T>
void depthwise_backward_weights(const Conv2dShape& shape, const Images<const T>& grad,
                                const Images<const T>& x, const Images<T>& grad_w, T* grad_bias,
                                bool accumulate);

// The forward pass for images whose channels are neighbours. `prepared` are the same weights as (taps,
// channels), or nullptr.
template <class T>
void depthwise_forward_pixels(const Conv2dShape& shape, const Images<const T>& x, const Images<const T>& w,
                              const T* prepared, const T* bias, const Images<T>& y, Activation activation,
                              T parameter);
template <class T>
void prepare_depthwise_pixels(const Conv2dShape& shape, const Images<const T>& w, Buffer<T>& to);

}  // namespace ranvier
