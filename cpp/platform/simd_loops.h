// Loops over contiguous runs, with a tail that runs the body's instructions.
#pragma once

#include "simd.h"

namespace ranvier::RANVIER_ISA {

// body(load, store) for whole vectors and then once for the tail, with loads and stores of the right width;
// beyond the tail loads give zeros.
template <class T, class Body>
RANVIER_INLINE void for_each_vector(index_t n, Body&& body) {
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>)
        body([&](const T* from) { return load(from + i); }, [&](T* to, Vec<T> v) { store(to + i, v); });
    if (i < n)
        body([&](const T* from) { return load_partial(from + i, n - i); },
             [&](T* to, Vec<T> v) { store_partial(to + i, v, n - i); });
}

// The four partial sums of body(vector, partial sum so far), added up as a tree: none waits for another.
template <class T, class Body>
RANVIER_INLINE Vec<T> in_four_parts(index_t n, const T* x, Body&& body) {
    Vec<T> part[4] = {};
    index_t i = 0;
    for (; i + 4 * kLanes<T> <= n; i += 4 * kLanes<T>)
        for (int k = 0; k < 4; ++k) part[k] = body(load(x + i + k * kLanes<T>), part[k]);
    for (; i < n; i += kLanes<T>)
        part[0] = body(load_partial(x + i, n - i < kLanes<T> ? n - i : kLanes<T>), part[0]);
    return (part[0] + part[1]) + (part[2] + part[3]);
}

}  // namespace ranvier::RANVIER_ISA
