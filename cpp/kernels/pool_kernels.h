// What each instruction set provides for pooling: one row of output pixels whose windows lie inside the
// image; and whole planes of the usual windows, 2 x 2 with stride 2.
#pragma once

#include <cstdint>

#include "ranvier/array.h"

namespace ranvier {

template <class T>
struct PoolKernels {
    // Window i covers rows x + k * row_stride (k < kernel_height) and columns i * step .. + kernel_width.
    // Writes the maxima and, unless it is nullptr, their positions: first + k * width + column of the first
    // maximum.
    void (*max_row)(index_t n, const T* x, index_t row_stride, index_t kernel_height, index_t kernel_width,
                    index_t step, std::int32_t first, std::int32_t width, T* y, std::int32_t* indices);
    // The maxima of `rows` rows of n windows of 2 x 2 side by side, and their positions in rows of `width`
    // pixels. False, with nothing to be relied on in y, if there is a NaN or the rows are longer than it can
    // take.
    bool (*max_2x2)(index_t rows, index_t n, const T* x, index_t row_stride, std::int32_t width, T* y,
                    std::int32_t* indices);
    // Each of these windows' gradient to the pixel at its index, and zeros to the other three.
    void (*max_2x2_backward)(index_t rows, index_t n, const T* grad, const std::int32_t* indices,
                             std::int32_t width, T* to, index_t row_stride);
    // The sums of the windows times `scale`.
    void (*average_row)(index_t n, const T* x, index_t row_stride, index_t kernel_height,
                        index_t kernel_width, index_t step, T scale, T* y);
};

}  // namespace ranvier
