// What each instruction set provides for normalization: loops over contiguous runs of n elements. A factor or
// addend is one number for the whole run (`...`) or one for each element (`..._each`).
#pragma once

#include "ranvier/array.h"

namespace ranvier {

template <class T>
struct NormalizationKernels {
    double (*sum)(index_t n, const T* x);
    // sum (x - mean)^2.
    double (*squares_about)(index_t n, const T* x, T mean);
    // sum g, and sum g (x - mean).
    void (*gradient_sums)(index_t n, const T* g, const T* x, T mean, double* sum, double* product);
    // y = a x + b, and y = a g + b x + c.
    void (*affine)(index_t n, const T* x, T a, T b, T* y);
    void (*combine)(index_t n, const T* g, const T* x, T a, T b, T c, T* y);

    // sums += (x - mean)^2, sums += g (x - mean).
    void (*add_squares_each)(index_t n, const T* x, const T* mean, T* sums);
    void (*add_products_each)(index_t n, const T* g, const T* x, const T* mean, T* sums);
    void (*affine_each)(index_t n, const T* x, const T* a, const T* b, T* y);
    void (*combine_each)(index_t n, const T* g, const T* x, const T* a, const T* b, const T* c, T* y);

    // Of one row with h = (x - mean) * scale: y = h gamma + beta.
    void (*normalize_row)(index_t n, const T* x, T mean, T scale, const T* gamma, const T* beta, T* y);
    // sum g gamma and sum g gamma h.
    void (*row_sums)(index_t n, const T* g, const T* x, T mean, T scale, const T* gamma, double* sum,
                     double* product);
    // grad_x = (g gamma - first - h second) scale.
    void (*row_gradient)(index_t n, const T* g, const T* x, T mean, T scale, const T* gamma, T first,
                         T second, T* grad_x);
    // sums += g h.
    void (*add_row_products)(index_t n, const T* g, const T* x, T mean, T scale, T* sums);
};

}  // namespace ranvier
