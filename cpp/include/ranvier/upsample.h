// Planes enlarged: each pixel of the larger one is the nearest pixel of the smaller, or a mean of four that
// are near, as PyTorch's interpolate has it.
#pragma once

#include <vector>

#include "ranvier/array.h"

namespace ranvier {

// Where a row or a column of the result comes from: (1 - share) * first + share * second.
struct UpsampleSource {
    index_t first, second;
    double share;
};
// For each row, or column, of the result of `size` ones enlarged by a factor of above 0.
std::vector<UpsampleSource> nearest_sources(index_t size, double factor);
std::vector<UpsampleSource> linear_sources(index_t size, double factor, bool align_corners);

// y, of rows.size() x columns.size() pixels, from each plane of height x width pixels of x; and the gradient.
// A share of 0 takes nothing of the second source, not even a NaN.
template <class T>
void upsample(index_t planes, index_t height, index_t width, const std::vector<UpsampleSource>& rows,
              const std::vector<UpsampleSource>& columns, const T* x, T* y);
template <class T>
void upsample_backward(index_t planes, index_t height, index_t width, const std::vector<UpsampleSource>& rows,
                       const std::vector<UpsampleSource>& columns, const T* grad, T* grad_x);

}  // namespace ranvier
