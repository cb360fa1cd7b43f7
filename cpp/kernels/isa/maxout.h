// Maxout: the largest of several runs, element by element.
#pragma once

#include "../../platform/simd.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {

// A value takes the place of the largest so far if it is larger, or the first NaN.
template <class T>
RANVIER_INLINE MaskOf<T> is_better(Vec<T> value, Vec<T> most) {
    return (value > most) | ((value != value) & (most == most));
}

template <class T>
void largest_of(index_t pieces, index_t n, const T* x, index_t x_stride, T* y) {
    for (index_t i = 0; i < n; i += kLanes<T>) {
        const index_t count = n - i < kLanes<T> ? n - i : kLanes<T>;
        Vec<T> most = load_some(x + i, count);
        for (index_t k = 1; k < pieces; ++k) {
            const Vec<T> value = load_some(x + k * x_stride + i, count);
            most = select<T>(is_better<T>(value, most), value, most);
        }
        store_partial(y + i, most, count);
    }
}

template <class T>
void largest_of_backward(index_t pieces, index_t n, const T* grad, const T* x, index_t x_stride, T* grad_x,
                         index_t grad_x_stride) {
    using Int = typename LaneInt<T>::type;
    for (index_t i = 0; i < n; i += kLanes<T>) {
        const index_t count = n - i < kLanes<T> ? n - i : kLanes<T>;
        Vec<T> most = load_some(x + i, count);
        MaskOf<T> best = {};
        for (index_t k = 1; k < pieces; ++k) {
            const Vec<T> value = load_some(x + k * x_stride + i, count);
            const MaskOf<T> better = is_better<T>(value, most);
            most = select<T>(better, value, most);
            best = better ? MaskOf<T>{} + static_cast<Int>(k) : best;
        }
        const Vec<T> share = load_some(grad + i, count);
        for (index_t k = 0; k < pieces; ++k)
            store_partial(grad_x + k * grad_x_stride + i,
                          select<T>(best == static_cast<Int>(k), share, Vec<T>{}), count);
    }
}

}  // namespace ranvier::RANVIER_ISA
