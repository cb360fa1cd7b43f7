// Rows of images of one instruction set: copied with zeros around them, or with a bias added.
#include "../../platform/simd_strided.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {
namespace {

template <class T>
RANVIER_INLINE T* clear(index_t n, T* to) {
    for (; n >= kLanes<T>; n -= kLanes<T>, to += kLanes<T>) store(to, Vec<T>{});
    if (n > 0) store_partial(to, Vec<T>{}, n);
    return to + n;
}

template <class T>
void pad_rows(index_t rows, index_t cols, const T* from, index_t row_stride, index_t before, index_t after,
              T* to) {
    for (; rows > 0; --rows, from += row_stride) {
        to = clear(before, to);
        index_t j = 0;
        for (; j + kLanes<T> <= cols; j += kLanes<T>) store(to + j, load(from + j));
        if (j < cols) store_partial(to + j, load_partial(from + j, cols - j), cols - j);
        to = clear(after, to + cols);
    }
}

template <class T>
void copy_every(index_t n, const T* from, index_t step, T* to) {
    for (index_t j = 0; j < n; j += kLanes<T>) {
        const index_t count = n - j < kLanes<T> ? n - j : kLanes<T>;
        store_partial(to + j, load_every(from + j * step, step, count), count);
    }
}

template <class T>
void add_bias(index_t rows, index_t cols, const T* from, index_t from_stride, T bias, T* to,
              index_t to_stride) {
    const Vec<T> addend = broadcast(bias);
    for (; rows > 0; --rows, from += from_stride, to += to_stride) {
        index_t j = 0;
        for (; j + kLanes<T> <= cols; j += kLanes<T>) store(to + j, load(from + j) + addend);
        if (j < cols) store_partial(to + j, load_partial(from + j, cols - j) + addend, cols - j);
    }
}

}  // namespace

constinit const PlaneKernels<float> plane_float32 = {pad_rows<float>, copy_every<float>, add_bias<float>};
constinit const PlaneKernels<double> plane_float64 = {pad_rows<double>, copy_every<double>, add_bias<double>};

}  // namespace ranvier::RANVIER_ISA
