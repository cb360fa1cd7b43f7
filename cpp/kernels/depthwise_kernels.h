// What each instruction set provides for depthwise convolution: one channel, or a few, at a time.
#pragma once

#include "plane_kernels.h"
#include "ranvier/array.h"

namespace ranvier {

// Where the taps (i, j) of a kernel meet the output pixel (y, x) in a copied plane: element y * row_step + i
// * row_pitch + columns[j] + x. A vector may be read from each of them, whatever lies beyond the output's
// width.
struct TapGrid {
    index_t height, width;  // of the kernel
    index_t row_step, row_pitch;
    const index_t* columns;
};

// Where they meet pixel q = y * width + x of a plane without gaps: element q + offset, if y and x are in
// these ranges, and else nothing.
struct FlatTap {
    index_t offset;
    index_t first_row, end_row, first_column, end_column;
};

// The taps of a transposed convolution that reach the columns step * m + residue of an output row: they read
// element m + offset. Those of the first residue come first, counts[residue] of each.
template <class T>
struct ResidueTaps {
    index_t step;
    const index_t* counts;
    const index_t* offsets;
    const T* weights;
};

// Where the taps (i, j) meet a pixel of images with neighbouring channels: element i * row_step + j *
// col_step; their weights lie at i * weight_row + j * weight_col.
struct PixelTaps {
    index_t height, width;
    index_t row_step, col_step;
    index_t weight_row, weight_col;
};

template <class T>
struct DepthwiseKernels {
    index_t lanes;

    // Columns 0, 2, 4 ... of each row to `even`, columns 1, 3, 5 ... to `odd`.
    void (*split_pairs)(index_t rows, index_t cols, const T* from, index_t row_stride, T* even, T* odd,
                        index_t to_stride);
    // to[y][x] = *bias (if it is not nullptr) + sum over the taps of w * from, where w lies w_step apart.
    void (*correlate)(index_t rows, index_t cols, const TapGrid& taps, const T* w, index_t w_step,
                      const T* from, const T* bias, T* to, index_t to_stride);
    // to[y][step * m + residue] = sum over the residue's taps of weight * from[y][m + offset].
    void (*spread)(index_t rows, index_t cols, const ResidueTaps<T>& taps, const T* from, index_t from_stride,
                   T* to, index_t to_stride);
    // Adds to sums[tap], a vector each, the products of grad and `from`, lane by lane; and grad's own to the
    // vector after them.
    void (*add_products)(index_t rows, index_t cols, const TapGrid& taps, const T* from, const T* grad,
                         index_t grad_stride, T* sums);

    // For planes without gaps of a few vectors: for each vector of pixels and each tap, a vector that has all
    // bits set in the lanes in which the tap meets anything.
    void (*flat_masks)(index_t pixels, index_t width, index_t count, const FlatTap* taps, T* masks);
    // The same as correlate, for several channels, and as add_products, for one.
    void (*correlate_flat)(index_t channels, index_t pixels, index_t count, const FlatTap* taps,
                           const T* masks, const T* w, index_t w_step, const T* from, index_t from_stride,
                           const T* bias, T* to, index_t to_stride);
    void (*add_products_flat)(index_t pixels, index_t count, const FlatTap* taps, const T* masks,
                              const T* from, const T* grad, T* sums);
    // to[k] = the sum of the lanes of the k-th vector.
    void (*reduce)(index_t count, const T* sums, T* to);

    // Neighbouring channels: to[p * to_stride + c] = bias[c] (or zero) + the sum over the taps of w[c] *
    // from[p * from_stride + c], then ReLU if the epilogue says so.
    void (*correlate_pixels)(index_t pixels, index_t channels, const PixelTaps& taps, const T* w,
                             const T* from, index_t from_stride, const PixelEpilogue<T>& epilogue, T* to,
                             index_t to_stride);
};

}  // namespace ranvier
