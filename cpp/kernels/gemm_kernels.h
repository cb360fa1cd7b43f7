// What each instruction set provides for matrix products: packing, and the product of packed blocks.
#pragma once

#include "ranvier/array.h"

namespace ranvier {

template <class T>
struct GemmKernels {
    index_t tile_rows;   // of the register tile; packed A has panels of this many rows
    index_t tile_cols;   // packed B has panels of this many columns
    index_t strip_rows;  // of c, up to which multiply_strip reads several rows of B at once

    // Panels of tile_rows rows: packed[panel][p][row], the last panel padded with zeros.
    void (*pack_a)(index_t rows, index_t depth, const T* a, index_t row_stride, index_t col_stride,
                   T* packed);
    // The same if column p of A begins at a + a_offsets[p], with unit stride along it.
    void (*pack_a_columns_apart)(index_t rows, index_t depth, const T* a, const index_t* a_offsets,
                                 T* packed);
    // Panels of tile_cols columns: packed[panel][p][col], the last panel padded with zeros.
    void (*pack_b)(index_t depth, index_t cols, const T* b, index_t row_stride, index_t col_stride,
                   T* packed);

    // c = a b (c += a b if accumulate) of packed operands; c has unit column stride. From one panel of B to
    // the next it is b_panel_stride, so that B may be packed in a greater depth.
    void (*multiply_packed)(index_t rows, index_t cols, index_t depth, const T* packed_a, const T* packed_b,
                            index_t b_panel_stride, T* c, index_t c_row_stride, bool accumulate);
    // The same with A where it lies, any strides, and B packed.
    void (*multiply_packed_b)(index_t rows, index_t cols, index_t depth, const T* a, index_t a_row_stride,
                              index_t a_col_stride, const T* packed_b, index_t b_panel_stride, T* c,
                              index_t c_row_stride, bool accumulate);
    // The same where B is one panel, as wide as it has columns; A has unit column stride.
    void (*multiply_panel)(index_t rows, index_t cols, index_t depth, const T* a, index_t a_row_stride,
                           const T* panel, T* c, index_t c_row_stride, bool accumulate);
    // The same with both operands where they lie; B has unit column stride.
    void (*multiply_unpacked)(index_t rows, index_t cols, index_t depth, const T* a, index_t a_row_stride,
                              index_t a_col_stride, const T* b, index_t b_row_stride, T* c,
                              index_t c_row_stride, bool accumulate);
    // The same for a part of a block of the depth: the sums go on from what c holds, if resume, and else from
    // zero.
    void (*multiply_strip)(index_t rows, index_t cols, index_t depth, const T* a, index_t a_row_stride,
                           index_t a_col_stride, const T* b, index_t b_row_stride, T* c, index_t c_row_stride,
                           bool resume);
    // The same as multiply_unpacked for one row, contiguous, with a depth of more than one block of that
    // length. B is packed, or its panel stride is tile_cols.
    void (*multiply_row)(index_t cols, index_t depth, index_t block, const T* a, const T* b,
                         index_t b_row_stride, index_t b_panel_stride, T* c, bool accumulate);
    // The same as multiply_unpacked where row i of A begins at a + a_offsets[i], or column p of A at a +
    // a_offsets[p], with unit stride along it.
    void (*multiply_a_rows_apart)(index_t rows, index_t cols, index_t depth, const T* a,
                                  const index_t* a_offsets, const T* b, index_t b_row_stride, T* c,
                                  index_t c_row_stride, bool accumulate);
    void (*multiply_a_columns_apart)(index_t rows, index_t cols, index_t depth, const T* a,
                                     const index_t* a_offsets, const T* b, index_t b_row_stride, T* c,
                                     index_t c_row_stride, bool accumulate);

    // Convolutions: row p of B begins at b + b_offsets[p]. Unless it is nullptr, row_bias[i] is added to row
    // i of c at the end.
    void (*multiply_b_by_offsets)(index_t rows, index_t cols, index_t depth, const T* a, index_t a_row_stride,
                                  index_t a_col_stride, const T* b, const index_t* b_offsets, T* c,
                                  index_t c_row_stride, bool accumulate, const T* row_bias);

    // sums[j] += a[0][j], a[1][j] and so on, in this order.
    void (*add_columns)(index_t rows, index_t cols, const T* a, index_t row_stride, T* sums);
    // Over n contiguous elements: row += value, row += addend, the sum of the row, the inner product.
    void (*add_scalar)(index_t n, T value, T* row);
    void (*add_row)(index_t n, const T* addend, T* row);
    T (*sum)(index_t n, const T* row);
    T (*dot)(index_t n, const T* x, const T* y);

    // As many multiply-adds on registers as go at once, `steps` times; returns how many multiplications and
    // additions these were.
    double (*multiply_adds)(index_t steps);
};

// The lengths of the blocks that a depth of k is cut into: a function of k and the type alone, so that
// every path adds in the same order. All blocks but the last are this long.
template <class T>
constexpr index_t depth_block(index_t k) {
    constexpr index_t kMost = sizeof(T) == 4 ? 512 : 256;
    if (k <= kMost) return k;
    const index_t blocks = ceil_div(k, kMost);
    const index_t length = ceil_div(k, blocks);
    return (length + 3) / 4 * 4;
}

}  // namespace ranvier
