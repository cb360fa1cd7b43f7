// What each instruction set provides for pooling: one row of output pixels whose windows lie inside the
// image; whole planes of the usual windows, 2 x 2 with stride 2; windows one by one; and several planes at
// once.
#pragma once

#include <cstdint>

#include "ranvier/array.h"
#include "ranvier/pool2d.h"

namespace ranvier {

// Rows of planes that lie side by side: element `lane` of pixel (i, j) is plane number `lane` there. Of a
// vector's lanes the first `count` are there.
template <class T>
struct PlaneLanes {
    T* data;
    index_t count, row_stride, col_stride;
    index_t first_row;  // the plane's row at `data`
};

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
    // Each of these windows' gradient to the pixel at its index, and zeros to the other three. False if an
    // index lies outside of its window: then nothing in those pixels is to be relied on.
    bool (*max_2x2_backward)(index_t rows, index_t n, const T* grad, const std::int32_t* indices,
                             std::int32_t width, T* to, index_t row_stride);
    // The sums of the windows times `scale`.
    void (*average_row)(index_t n, const T* x, index_t row_stride, index_t kernel_height,
                        index_t kernel_width, index_t step, T scale, T* y);

    // A single window, along its rows: the maximum and its position, as in max_row; the sum.
    T(*window_max)
    (index_t rows, index_t cols, const T* x, index_t row_stride, std::int32_t first, std::int32_t width,
     std::int32_t* index);
    T (*window_sum)(index_t rows, index_t cols, const T* x, index_t row_stride);

    // The windows of rows first_row to end_row - 1 of the output, of a vector of planes at a time. y and
    // `indices` receive all lanes of each pixel, one pixel after the other; an index has T's size.
    void (*max_lanes)(const Pool2dShape& s, index_t first_row, index_t end_row, const PlaneLanes<const T>& x,
                      T* y, T* indices);
    // `scale` is one over the kernel's area; where the divisor is another one, its inverse comes in its
    // place.
    void (*average_lanes)(const Pool2dShape& s, index_t first_row, index_t end_row,
                          const PlaneLanes<const T>& x, T scale, T* y);
    // The gradient of the averages: `row` is room for a row of the image, and grad_x is written whole.
    void (*average_lanes_backward)(const Pool2dShape& s, const PlaneLanes<const T>& grad, T scale, T* row,
                                   T* grad_x);
    // What one row of windows' gradients adds to each of the rows that its windows meet: a row of the image.
    void (*average_row_backward)(const Pool2dShape& s, const T* grad, T scale, T* row);
};

}  // namespace ranvier
