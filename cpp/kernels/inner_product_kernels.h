// What each instruction set provides for products of operands that are both contiguous along the depth.
#pragma once

#include "ranvier/array.h"

namespace ranvier {

// Rows of one operand that are multiplied at once with each of many others.
inline constexpr index_t kRowsAtOnce = 6;

template <class T>
struct InnerProductKernels {
    // c[i, j] = x[i] · y[j] (added to what c holds, if accumulate) for up to kRowsAtOnce rows of x and any
    // number of rows of y, both contiguous. c has any strides. Unless y_offsets is nullptr, row j of y begins
    // at y + y_offsets[j], whatever its stride. Each element is summed by itself, whatever other rows there
    // are.
    void (*multiply)(index_t few, index_t many, index_t depth, const T* x, index_t x_stride, const T* y,
                     index_t y_stride, const index_t* y_offsets, T* c, index_t c_few_stride,
                     index_t c_many_stride, bool accumulate);
};

}  // namespace ranvier
