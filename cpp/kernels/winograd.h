// Winograd's convolutions: fewer multiplications, for tiles that are transformed before and after.
//
// Only for kernels of 3 x 3 or 5 x 5 with stride and dilation 1 in one group. `transforms` is one of the
// active instruction set's whose kernel is the shape's.
#pragma once

#include "kernel_table.h"
#include "ranvier/conv2d.h"
#include "ranvier/memory.h"

namespace ranvier {

// The weights' taps are contiguous (in either direction, if both kernel strides are negative) or not: any
// strides do. `transformed` are the same weights, transformed for that shape (whatever its batch), or
// nullptr.
template <class T>
void winograd_forward(const WinogradTransforms<T>& transforms, const Conv2dShape& shape,
                      const Images<const T>& x, const Images<const T>& w, const T* transformed, const T* bias,
                      const Images<T>& y, Activation activation, T parameter);
template <class T>
void winograd_transform_weights(const WinogradTransforms<T>& transforms, const Conv2dShape& shape,
                                const Images<const T>& w, Buffer<T>& to);

// Without the bias's gradient. Added to what grad_w holds if `accumulate`.
template <class T>
void winograd_backward_weights(const WinogradTransforms<T>& transforms, const Conv2dShape& shape,
                               const Images<const T>& grad, const Images<const T>& x, const Images<T>& grad_w,
                               bool accumulate);

}  // namespace ranvier
