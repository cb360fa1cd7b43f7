// Loops over contiguous runs that store whole lines of the cache. A store that crosses from one line to the
// next takes twice as long as one that does not; for loads that matters little.
#pragma once

#include <cstdint>

#include "simd_loops.h"

namespace ranvier::RANVIER_ISA {

// How many of n elements come before the first vector that lies at a multiple of its size; none of short
// runs.
template <class T>
RANVIER_INLINE index_t elements_before_alignment(index_t n, const T* to) {
    constexpr index_t kLeastVectors = 16;
    if (n < kLeastVectors * kLanes<T>) return 0;
    const auto beyond = static_cast<index_t>(reinterpret_cast<std::uintptr_t>(to) % kVectorBytes);
    return (kVectorBytes - beyond) % kVectorBytes / static_cast<index_t>(sizeof(T));
}

// As for_each_vector, for bodies that store to `to` alone, once behind those elements and at their beginning.
template <class T, class Body>
RANVIER_INLINE void for_each_aligned_vector(index_t n, const T* to, Body&& body) {
    const index_t head = elements_before_alignment<T>(n, to);
    if (head > 0)
        body([&](const T* from) { return load_partial(from, head); },
             [&](T* at, Vec<T> v) { store_partial(at, v, head); });
    for_each_vector<T>(
        n - head, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            body([&](const T* from) { return get(from + head); },
                 [&](T* at, Vec<T> v) { put(at + head, v); });
        });
}

}  // namespace ranvier::RANVIER_ISA
