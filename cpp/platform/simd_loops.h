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

}  // namespace ranvier::RANVIER_ISA
