// Convolutions by 1 x 1 with stride 1 and no padding: each image is a matrix, (channels, pixels), and a
// product.
#pragma once

#include "ranvier/conv2d.h"

namespace ranvier {

// Whether the shape is such a convolution in one group, and each of the images (of that width) has its pixels
// at a constant distance.
bool is_pointwise(const Conv2dShape& shape);
template <class T>
bool is_matrix(const Images<T>& images, index_t width) {
    return images.strides[2] == width * images.strides[3];
}

// The passes as in ranvier/conv2d.h, for such shapes and images.
template <class T>
void pointwise_forward(const Conv2dShape& shape, const Images<const T>& x, const Images<const T>& w,
                       const T* bias, const Images<T>& y, Activation activation, T parameter);
template <class T>
void pointwise_backward_input(const Conv2dShape& shape, const Images<const T>& grad, const Images<const T>& w,
                              const Images<T>& grad_x);

}  // namespace ranvier
