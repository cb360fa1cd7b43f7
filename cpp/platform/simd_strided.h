// Loads of every step-th element, and the lanes in reverse.
#pragma once

#include <utility>

#include "simd.h"

namespace ranvier::RANVIER_ISA {

// Lanes x[0], x[2], x[4] ... of two vectors that begin at x[0] and at x[kLanes - 1].
#if defined(__clang__)
template <class T, std::size_t... I>
RANVIER_INLINE Vec<T> even_lanes_of(Vec<T> low, Vec<T> high, std::index_sequence<I...>) {
    return __builtin_shufflevector(low, high, (I < kLanes<T> / 2 ? 2 * I : 2 * I + 1)...);
}
template <class T>
RANVIER_INLINE Vec<T> even_lanes(Vec<T> low, Vec<T> high) {
    return even_lanes_of<T>(low, high, std::make_index_sequence<kLanes<T>>{});
}
#else
template <class T>
RANVIER_INLINE Vec<T> even_lanes(Vec<T> low, Vec<T> high) {
    MaskOf<T> lanes = {};
    for (int i = 0; i < kLanes<T>; ++i) lanes[i] = i < kLanes<T> / 2 ? 2 * i : 2 * i + 1;
    return __builtin_shuffle(low, high, lanes);
}
#endif

// Lanes FIRST, FIRST + 2, FIRST + 4 ... of two vectors, one behind the other.
#if defined(__clang__)
template <class T, int FIRST, std::size_t... I>
RANVIER_INLINE Vec<T> every_second_of(Vec<T> low, Vec<T> high, std::index_sequence<I...>) {
    return __builtin_shufflevector(low, high, (2 * I + FIRST)...);
}
template <class T, int FIRST>
RANVIER_INLINE Vec<T> every_second(Vec<T> low, Vec<T> high) {
    return every_second_of<T, FIRST>(low, high, std::make_index_sequence<kLanes<T>>{});
}
#else
template <class T, int FIRST>
RANVIER_INLINE Vec<T> every_second(Vec<T> low, Vec<T> high) {
    MaskOf<T> lanes = {};
    for (int i = 0; i < kLanes<T>; ++i) lanes[i] = 2 * i + FIRST;
    return __builtin_shuffle(low, high, lanes);
}
#endif

// The last lane first.
#if defined(__clang__)
template <class T, std::size_t... I>
RANVIER_INLINE Vec<T> reversed_lanes(Vec<T> v, std::index_sequence<I...>) {
    return __builtin_shufflevector(v, v, (kLanes<T> - 1 - I)...);
}
template <class T>
RANVIER_INLINE Vec<T> reversed(Vec<T> v) {
    return reversed_lanes<T>(v, std::make_index_sequence<kLanes<T>>{});
}
#else
template <class T>
RANVIER_INLINE Vec<T> reversed(Vec<T> v) {
    MaskOf<T> lanes = {};
    for (int i = 0; i < kLanes<T>; ++i) lanes[i] = static_cast<typename LaneInt<T>::type>(kLanes<T> - 1 - i);
    return __builtin_shuffle(v, lanes);
}
#endif

// Lanes x[0], x[step], x[2 step] ..., of which 1 <= count <= kLanes<T> are there (or none, for the steps 1
// and -1); the others are zero. Nothing beyond the last of them is read.
template <class T>
RANVIER_INLINE Vec<T> load_every(const T* x, index_t step, index_t count) {
    if (step == 1) return count == kLanes<T> ? load(x) : load_partial(x, count);
    if (step == 2) {
        if (count == kLanes<T>) return even_lanes<T>(load(x), load(x + kLanes<T> - 1));
        const index_t last = 2 * count - 1, low = last < kLanes<T> ? last : kLanes<T>;
        const index_t high = last - (kLanes<T> - 1);
        return even_lanes<T>(load_partial(x, low),
                             high > 0 ? load_partial(x + kLanes<T> - 1, high) : Vec<T>{});
    }
    if (step == -1 && count == kLanes<T>) return reversed<T>(load(x - (kLanes<T> - 1)));
    Vec<T> v = {};
    for (int i = 0; i < kLanes<T>; ++i)
        if (i < count) v[i] = x[i * step];
    return v;
}

}  // namespace ranvier::RANVIER_ISA
