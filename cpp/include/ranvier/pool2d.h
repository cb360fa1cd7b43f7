// Maximum and average pooling of NCHW images.
#pragma once

#include <cstdint>

#include "ranvier/array.h"

namespace ranvier {

struct Pool2dShape {
    index_t batch = 0, channels = 0, in_height = 0, in_width = 0;
    index_t kernel_height = 1, kernel_width = 1;
    index_t stride_height = 1, stride_width = 1;
    index_t padding_height = 0, padding_width = 0;
    bool ceil_mode =
        false;  // windows that begin in the image or the padding before it may end beyond the padding
    bool count_include_pad = true;  // of averages: the padding counts as zeros, else it does not count

    index_t out_height() const;
    index_t out_width() const;
    // What the average of the window (row, column) of the output is divided by; pixels beyond the padding
    // never count.
    index_t divisor(index_t row, index_t column) const;
    // Whether that is the kernel's area everywhere.
    bool has_even_divisor() const;
};

// Some windows that lead from images of one size to those of another: all that max_pool2d_backward asks for.
Pool2dShape pool2d_of_sizes(index_t in_height, index_t in_width, index_t out_height, index_t out_width);

// Throws std::invalid_argument naming the field if a plane is empty, a kernel or stride is below 1,
// the padding exceeds half the kernel, or the kernel exceeds the padded image.
void check(const Pool2dShape& shape);

// indices (may be nullptr) receives the position row * in_width + column of each maximum in its
// plane, the first one if there are equals; a NaN is greater than any number. Contiguous.
template <class T>
void max_pool2d(const Pool2dShape& shape, const Images<const T>& x, const Images<T>& y,
                std::int32_t* indices);
// grad is added up at the indices, which were made by the forward call; throws std::invalid_argument if one
// lies outside of its plane, with grad_x written in part.
template <class T>
void max_pool2d_backward(const Pool2dShape& shape, const Images<const T>& grad, const std::int32_t* indices,
                         const Images<T>& grad_x);

template <class T>
void avg_pool2d(const Pool2dShape& shape, const Images<const T>& x, const Images<T>& y);
template <class T>
void avg_pool2d_backward(const Pool2dShape& shape, const Images<const T>& grad, const Images<T>& grad_x);

// Planes of in pixels become planes of out pixels: along an axis window i is of the pixels from floor(i in /
// out) to before ceil((i + 1) in / out). All planes are contiguous. The gradient of maxima is
// max_pool2d_backward.
struct AdaptivePool2dShape {
    index_t planes, in_height, in_width, out_height, out_width;
};
template <class T>
void adaptive_max_pool2d(const AdaptivePool2dShape& shape, const T* x, T* y, std::int32_t* indices);
template <class T>
void adaptive_avg_pool2d(const AdaptivePool2dShape& shape, const T* x, T* y);
template <class T>
void adaptive_avg_pool2d_backward(const AdaptivePool2dShape& shape, const T* grad, T* grad_x);

}  // namespace ranvier
