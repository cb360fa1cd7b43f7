// Sums over the lanes of several vectors at once.
#pragma once

#include "simd.h"

namespace ranvier::RANVIER_ISA {

// As many elements as 16 bytes hold.
template <class T>
inline constexpr int kSumsAtOnce = 16 / static_cast<int>(sizeof(T));

template <class T>
struct SumsOf {
    typedef T Vector __attribute__((vector_size(16), may_alias));
    typedef T Unaligned __attribute__((vector_size(16), aligned(alignof(T)), may_alias));
};

// The halves of sixteen bytes of a and b, lanes alternating: a0 b0 .. or, of the upper ones, a2 b2 ..
template <class T, int UPPER>
RANVIER_INLINE typename SumsOf<T>::Vector interleave_small(typename SumsOf<T>::Vector a,
                                                           typename SumsOf<T>::Vector b) {
#if defined(__clang__)
    if constexpr (sizeof(T) == 4)
        return __builtin_shufflevector(a, b, 2 * UPPER, 4 + 2 * UPPER, 2 * UPPER + 1, 5 + 2 * UPPER);
    else
        return __builtin_shufflevector(a, b, UPPER, 2 + UPPER);
#else
    typedef typename LaneInt<T>::type Lanes __attribute__((vector_size(16)));
    if constexpr (sizeof(T) == 4)
        return __builtin_shuffle(a, b, Lanes{2 * UPPER, 4 + 2 * UPPER, 2 * UPPER + 1, 5 + 2 * UPPER});
    else
        return __builtin_shuffle(a, b, Lanes{UPPER, 2 + UPPER});
#endif
}

// total[i] = sum_lanes(v[i]), to the bit, for kSumsAtOnce<T> vectors.
template <class T>
RANVIER_INLINE void sum_lanes_of_several(const Vec<T>* v, T* total) {
    using Small = typename SumsOf<T>::Vector;
    constexpr int kParts = kVectorBytes / 16;
    Small folded[kSumsAtOnce<T>];
#pragma GCC unroll 4
    for (int i = 0; i < kSumsAtOnce<T>; ++i) {
        Small part[kParts];
        *reinterpret_cast<typename VectorOf<T>::unaligned*>(part) = v[i];
#pragma GCC unroll 4
        for (int half = kParts / 2; half > 0; half /= 2)
#pragma GCC unroll 4
            for (int k = 0; k < half; ++k) part[k] += part[k + half];
        folded[i] = part[0];
    }
    const auto pair = [&](int i) __attribute__((always_inline)) {
        return interleave_small<T, 0>(folded[i], folded[i + 1]) +
               interleave_small<T, 1>(folded[i], folded[i + 1]);
    };
    Small sums = pair(0);
    if constexpr (kSumsAtOnce<T> == 4) {
        // Two lanes of each pair are left: (a b a b), (c d c d).
        using Pairs = SumsOf<double>::Vector;
        const Pairs ab = (Pairs)sums, cd = (Pairs)pair(2);
        sums = (Small)interleave_small<double, 0>(ab, cd) + (Small)interleave_small<double, 1>(ab, cd);
    }
    *reinterpret_cast<typename SumsOf<T>::Unaligned*>(total) = sums;
}

}  // namespace ranvier::RANVIER_ISA
