// Convolutions with the channels as neighbours: every pixel of the output is a row of a product, wherever it
// lies, so that strides, small maps and several images at once lose nothing. Groups are convolutions of their
// own.
//
// The images are rearranged on the way in and out.
#pragma once

#include "planes.h"
#include "ranvier/conv2d.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"

namespace ranvier {

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

// One of the shape's groups.
inline Conv2dShape shape_of_group(const Conv2dShape& shape) {
    Conv2dShape s = shape;
    s.in_channels /= s.groups;
    s.out_channels /= s.groups;
    s.groups = 1;
    return s;
}

// `count` channels from that one on. A single one is its own neighbour.
template <class T>
Images<T> some_channels(Images<T> images, index_t first, index_t count) {
    images.data += first * images.strides[1];
    if (count == 1) images.strides[1] = 1;
    return images;
}
// The weights from that output channel on.
template <class T>
Images<T> from_output(Images<T> w, index_t channel) {
    w.data += channel * w.strides[0];
    return w;
}

// body(group) for all groups: side by side if there are enough of them for all threads, else one after the
// other, that each be shared out.
template <class Body>
void for_each_group(const Conv2dShape& shape, Body&& body) {
    const int threads = threads_for(convolution_work(shape));
    if (shape.groups >= threads) return parallel_for(shape.groups, threads, body);
    for (index_t group = 0; group < shape.groups; ++group) body(group);
}

// Whether the forward pass leaves out the rows of taps that read the padding, where that is worth products of
// fewer pixels: those of a row.
inline bool skips_padding(const Axis& rows, const Axis& cols) {
    constexpr index_t kLeastPixels = 8;
    constexpr double kMostInside = 0.875;
    return rows.padding > 0 && cols.out >= kLeastPixels && rows.share_inside() <= kMostInside;
}

// Without the rows that no tap reads, of a kernel of one row: those that are left lie further apart.
Conv2dShape without_unread_rows(const Conv2dShape& shape, index_t& row_stride);

template <class T>
void pack_forward(const Conv2dShape& shape, const Images<const T>& w, Buffer<T>& to);
template <class T>
void pack_backward_input(const Conv2dShape& shape, const Images<const T>& w, Buffer<T>& to);

}  // namespace ranvier
