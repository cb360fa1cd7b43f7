// Convolutions of one group with the channels as neighbours: every pixel of the output is a row of a product,
// wherever it lies, so that strides, small maps and several images at once lose nothing.
//
// The images are rearranged on the way in and out, which pays for more than a few channels only.
#pragma once

#include "ranvier/conv2d.h"
#include "ranvier/memory.h"

namespace ranvier {

// Whether the direct algorithm takes this way, whatever the batch.
template <class T>
bool is_channels_last(const Conv2dShape& shape);

// The passes as in ranvier/conv2d.h, for such shapes. `packed` are the same weights, packed for that pass, or
// nullptr.
template <class T>
void channels_last_forward(const Conv2dShape& shape, const Images<const T>& x, const Images<const T>& w,
                           const T* packed, const T* bias, const Images<T>& y, Activation activation,
                           T parameter);
template <class T>
void channels_last_backward_input(const Conv2dShape& shape, const Images<const T>& grad,
                                  const Images<const T>& w, const T* packed, const Images<T>& grad_x);
template <class T>
void channels_last_backward_weights(const Conv2dShape& shape, const Images<const T>& grad,
                                    const Images<const T>& x, const Images<T>& grad_w, bool accumulate);

// Without the rows that no tap reads, of a kernel of one row: those that are left lie further apart.
Conv2dShape without_unread_rows(const Conv2dShape& shape, index_t& row_stride);

template <class T>
void pack_forward(const Conv2dShape& shape, const Images<const T>& w, Buffer<T>& to);
template <class T>
void pack_backward_input(const Conv2dShape& shape, const Images<const T>& w, Buffer<T>& to);

}  // namespace ranvier
