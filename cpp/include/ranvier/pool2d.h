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

    index_t out_height() const;
    index_t out_width() const;
};

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

// The padding counts as zeros, so the divisor is always the kernel's area (PyTorch's default).
template <class T>
void avg_pool2d(const Pool2dShape& shape, const Images<const T>& x, const Images<T>& y);
template <class T>
void avg_pool2d_backward(const Pool2dShape& shape, const Images<const T>& grad, const Images<T>& grad_x);

}  // namespace ranvier
