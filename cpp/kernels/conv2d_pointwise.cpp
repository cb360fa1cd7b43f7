// Convolutions by 1 x 1 as matrix products: of each image, or, if it has one pixel, of all together.
#include "conv2d_pointwise.h"

#include <utility>

namespace ranvier {
namespace {

// One image as (channels, pixels).
template <class T>
Matrix<T> matrix_of(const Images<T>& images, index_t image, index_t channels, index_t pixels) {
    return {images.data + image * images.strides[0], channels, pixels, images.strides[1], images.strides[3]};
}

// Images of one pixel as (images, channels).
template <class T>
Matrix<T> matrix_of(const Images<T>& images, index_t batch, index_t channels) {
    return {images.data, batch, channels, images.strides[0], images.strides[1]};
}

// The weights as (output channels, input channels).
template <class T>
Matrix<const T> matrix_of(const Images<const T>& w, const Conv2dShape& s) {
    return {w.data, s.out_channels, s.in_channels, w.strides[0], w.strides[1]};
}

}  // namespace

bool is_pointwise(const Conv2dShape& s) {
    return s.kernel_height == 1 && s.kernel_width == 1 && s.stride_height == 1 && s.stride_width == 1 &&
           !s.is_padded() && s.groups == 1;
}

template <class T>
void pointwise_forward(const Conv2dShape& s, const Images<const T>& x, const Images<const T>& w,
                       const T* bias, const Images<T>& y, Activation activation, T parameter) {
    Epilogue<T> epilogue;
    epilogue.row_bias = bias;
    epilogue.activation = activation;
    epilogue.parameter = parameter;
    const index_t pixels = s.in_height * s.in_width;
    if (pixels == 1) {
        std::swap(epilogue.row_bias, epilogue.col_bias);
        return matmul<T>(matrix_of(x, s.batch, s.in_channels), transposed(matrix_of(w, s)),
                         matrix_of(y, s.batch, s.out_channels), epilogue);
    }
    for (index_t image = 0; image < s.batch; ++image)
        matmul<T>(matrix_of(w, s), matrix_of(x, image, s.in_channels, pixels),
                  matrix_of(y, image, s.out_channels, pixels), epilogue);
}

template <class T>
void pointwise_backward_input(const Conv2dShape& s, const Images<const T>& grad, const Images<const T>& w,
                              const Images<T>& grad_x) {
    const index_t pixels = s.in_height * s.in_width;
    if (pixels == 1)
        return matmul<T>(matrix_of(grad, s.batch, s.out_channels), matrix_of(w, s),
                         matrix_of(grad_x, s.batch, s.in_channels));
    for (index_t image = 0; image < s.batch; ++image)
        matmul<T>(transposed(matrix_of(w, s)), matrix_of(grad, image, s.out_channels, pixels),
                  matrix_of(grad_x, image, s.in_channels, pixels));
}

#define RANVIER_INSTANTIATE(T)                                                                          \
    template void pointwise_forward(const Conv2dShape&, const Images<const T>&, const Images<const T>&, \
                                    const T*, const Images<T>&, Activation, T);                         \
    template void pointwise_backward_input(const Conv2dShape&, const Images<const T>&,                  \
                                           const Images<const T>&, const Images<T>&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
