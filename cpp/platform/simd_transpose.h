// Transposition of a square of lanes in registers, by log2(lanes) rounds of perfect shuffles.
#pragma once

#include <utility>

#include "simd.h"

namespace ranvier::RANVIER_ISA {

// The lower (Half 0) or upper (Half 1) halves of a and b, lanes alternating: a0 b0 a1 b1 ...
#if defined(__clang__)
template <class T, int Half, std::size_t... I>
RANVIER_INLINE Vec<T> interleave_lanes(Vec<T> a, Vec<T> b, std::index_sequence<I...>) {
    return __builtin_shufflevector(a, b, (Half * kLanes<T> / 2 + I / 2 + (I % 2) * kLanes<T>)...);
}
template <class T, int Half>
RANVIER_INLINE Vec<T> interleave(Vec<T> a, Vec<T> b) {
    return interleave_lanes<T, Half>(a, b, std::make_index_sequence<kLanes<T>>{});
}
#else
template <class T, int Half>
RANVIER_INLINE Vec<T> interleave(Vec<T> a, Vec<T> b) {
    MaskOf<T> lanes = {};
    for (int i = 0; i < kLanes<T>; ++i) lanes[i] = Half * kLanes<T> / 2 + i / 2 + (i % 2) * kLanes<T>;
    return __builtin_shuffle(a, b, lanes);
}
#endif

// v[i][j] becomes v[j][i].
template <class T>
RANVIER_INLINE void transpose(Vec<T> (&v)[kLanes<T>]) {
    constexpr int kHalf = kLanes<T> / 2;
#pragma GCC unroll 8
    for (int round = 1; round < kLanes<T>; round *= 2) {
        Vec<T> shuffled[kLanes<T>];
#pragma GCC unroll 16
        for (int i = 0; i < kHalf; ++i) {
            shuffled[2 * i] = interleave<T, 0>(v[i], v[i + kHalf]);
            shuffled[2 * i + 1] = interleave<T, 1>(v[i], v[i + kHalf]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < kLanes<T>; ++i) v[i] = shuffled[i];
    }
}

}  // namespace ranvier::RANVIER_ISA
