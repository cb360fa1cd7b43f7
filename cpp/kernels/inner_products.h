// Products of few rows with many, both contiguous along the depth: how they are cut and shared among threads.
#pragma once

#include "inner_product_kernels.h"
#include "ranvier/array.h"

namespace ranvier {

// From here on rows are many: operands are packed instead.
inline constexpr index_t kFewRows = 2 * kRowsAtOnce;

// Rows that are contiguous: row j begins at data + offsets[j], or, without offsets, at data + j * stride.
template <class T>
struct ContiguousRows {
    const T* data;
    index_t rows, stride;
    const index_t* offsets = nullptr;
};

// c[i, j] = x[i] · y[j], added to what c holds if accumulate, for x of up to kFewRows rows and any strides,
// and c of any strides; the depth is that of x, and not 0. The order of the additions depends on the depth
// alone: it is cut into blocks, a block is summed in vectors whose lanes are added as a tree, and the blocks'
// sums are added in order.
template <class T>
void inner_products(const Matrix<const T>& x, const ContiguousRows<T>& y, const Matrix<T>& c,
                    bool accumulate);

}  // namespace ranvier
