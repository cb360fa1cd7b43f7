// Loads and stores of every step-th element, and the lanes in another order.
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

// Lanes x[0], x[3], x[6] ... of three vectors that begin at x[0], at x[kLanes] and at x[2 kLanes - 2].
#if defined(__clang__)
template <class T, std::size_t... I>
RANVIER_INLINE Vec<T> every_third_of(Vec<T> low, Vec<T> middle, Vec<T> high, std::index_sequence<I...>) {
    constexpr std::size_t kWidth = kLanes<T>;
    const Vec<T> two = __builtin_shufflevector(low, middle, (3 * I < 2 * kWidth ? 3 * I : 0)...);
    return __builtin_shufflevector(two, high, (3 * I < 2 * kWidth ? I : 3 * I + 2 - kWidth)...);
}
template <class T>
RANVIER_INLINE Vec<T> every_third(Vec<T> low, Vec<T> middle, Vec<T> high) {
    return every_third_of<T>(low, middle, high, std::make_index_sequence<kLanes<T>>{});
}
#else
template <class T>
RANVIER_INLINE Vec<T> every_third(Vec<T> low, Vec<T> middle, Vec<T> high) {
    MaskOf<T> first = {}, second = {};
    for (int i = 0; i < kLanes<T>; ++i) {
        const bool in_two = 3 * i < 2 * kLanes<T>;
        first[i] = in_two ? 3 * i : 0;
        second[i] = in_two ? i : 3 * i + 2 - kLanes<T>;
    }
    return __builtin_shuffle(__builtin_shuffle(low, middle, first), high, second);
}
#endif

// body(STEP as a constant) for a step of magnitude 1 to 3; false for another one.
template <class Body>
RANVIER_INLINE bool with_small_step(index_t step, Body&& body) {
    switch (step) {
        case 1:
            body(std::integral_constant<int, 1>{});
            return true;
        case 2:
            body(std::integral_constant<int, 2>{});
            return true;
        case 3:
            body(std::integral_constant<int, 3>{});
            return true;
        case -1:
            body(std::integral_constant<int, -1>{});
            return true;
        case -2:
            body(std::integral_constant<int, -2>{});
            return true;
        case -3:
            body(std::integral_constant<int, -3>{});
            return true;
        default:
            return false;
    }
}

// Lanes x[0], x[STEP], x[2 STEP] ..., for a step of magnitude 1 to 3. Nothing beyond the last of them is
// read.
template <class T, int STEP>
RANVIER_INLINE Vec<T> load_lanes_apart(const T* x) {
    static_assert(STEP >= -3 && STEP <= 3 && STEP != 0);
    if constexpr (STEP < 0)
        return reversed<T>(load_lanes_apart<T, -STEP>(x + STEP * (kLanes<T> - 1)));
    else if constexpr (STEP == 1)
        return load(x);
    else if constexpr (STEP == 2)
        return even_lanes<T>(load(x), load(x + kLanes<T> - 1));
    else
        return every_third<T>(load(x), load(x + kLanes<T>), load(x + 2 * kLanes<T> - 2));
}

// The first `count` of these lanes, 1 <= count <= kLanes<T>; the others are zero.
template <class T, int STEP>
RANVIER_INLINE Vec<T> load_some_apart(const T* x, index_t count) {
    static_assert(STEP >= 1 && STEP <= 3);
    const index_t span = (count - 1) * STEP + 1;
    const auto part = [&](index_t begin) __attribute__((always_inline)) {
        const index_t left = span - begin;
        return left > 0 ? load_partial(x + begin, left < kLanes<T> ? left : kLanes<T>) : Vec<T>{};
    };
    if constexpr (STEP == 1)
        return load_partial(x, count);
    else if constexpr (STEP == 2)
        return even_lanes<T>(part(0), part(kLanes<T> - 1));
    else
        return every_third<T>(part(0), part(kLanes<T>), part(2 * kLanes<T> - 2));
}

// Lanes x[0], x[step], x[2 step] ..., of which 1 <= count <= kLanes<T> are there (or none, for the steps 1
// and -1); the others are zero. Nothing beyond the last of them is read.
template <class T>
RANVIER_INLINE Vec<T> load_every(const T* x, index_t step, index_t count) {
    if (step == 1) return count == kLanes<T> ? load(x) : load_partial(x, count);
    if (step == 2) return count == kLanes<T> ? load_lanes_apart<T, 2>(x) : load_some_apart<T, 2>(x, count);
    if (count == kLanes<T>) {
        if (step == 3) return load_lanes_apart<T, 3>(x);
        if (step == -1) return load_lanes_apart<T, -1>(x);
        if (step == -2) return load_lanes_apart<T, -2>(x);
        if (step == -3) return load_lanes_apart<T, -3>(x);
    }
    Vec<T> v = {};
    for (int i = 0; i < kLanes<T>; ++i)
        if (i < count) v[i] = x[i * step];
    return v;
}

// Lane i is lane from[i] of v.
template <class T>
RANVIER_INLINE Vec<T> permuted(Vec<T> v, MaskOf<T> from) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        return (Vec<T>)_mm512_permutexvar_epi32((__m512i)from, (__m512i)v);
    else
        return (Vec<T>)_mm512_permutexvar_epi64((__m512i)from, (__m512i)v);
#elif defined(__AVX2__)
    __m256i words = (__m256i)from;
    if constexpr (sizeof(T) == 8)  // words 2 i and 2 i + 1
        words = _mm256_add_epi32(_mm256_shuffle_epi32(_mm256_slli_epi64(words, 1), 0xa0),
                                 _mm256_set1_epi64x(std::int64_t{1} << 32));
    return (Vec<T>)_mm256_permutevar8x32_epi32((__m256i)v, words);
#else
    Vec<T> result = {};
    for (int i = 0; i < kLanes<T>; ++i) result[i] = v[from[i]];
    return result;
#endif
}

#if defined(__AVX512F__)
// The lanes that are chosen (-1, not 0); the others' memory is left alone.
template <class T>
RANVIER_INLINE void store_chosen(T* to, Vec<T> v, MaskOf<T> chosen) {
    if constexpr (sizeof(T) == 4)
        _mm512_mask_storeu_epi32(to, _mm512_movepi32_mask((__m512i)chosen), (__m512i)v);
    else
        _mm512_mask_storeu_epi64(to, _mm512_movepi64_mask((__m512i)chosen), (__m512i)v);
}
#endif

#if defined(__AVX512F__)
// The first `count` lanes to x[0], x[STEP], x[2 STEP] ..., for a step of 1 to 3.
template <class T, int STEP>
RANVIER_INLINE void spread_lanes(T* x, Vec<T> v, index_t count) {
    const auto limit = broadcast(static_cast<typename LaneInt<T>::type>(count));
#pragma GCC unroll 3
    for (int part = 0; part < STEP; ++part) {
        MaskOf<T> from = {}, there = {};
        for (int i = 0; i < kLanes<T>; ++i) {
            const int at = part * static_cast<int>(kLanes<T>) + i;
            from[i] = at / STEP;
            there[i] = at % STEP == 0 ? at / STEP : static_cast<int>(kLanes<T>);
        }
        store_chosen<T>(x + part * kLanes<T>, permuted<T>(v, from), there < limit);
    }
}
#endif

// The lanes to x[0], x[STEP], x[2 STEP] ..., for a step of magnitude 1 to 3.
template <class T, int STEP>
RANVIER_INLINE void store_lanes_apart(T* x, Vec<T> v) {
    static_assert(STEP >= -3 && STEP <= 3 && STEP != 0);
    if constexpr (STEP < 0) {
        store_lanes_apart<T, -STEP>(x + STEP * (kLanes<T> - 1), reversed<T>(v));
    } else if constexpr (STEP == 1) {
        store(x, v);
    } else {
#if defined(__AVX512F__)
        spread_lanes<T, STEP>(x, v, kLanes<T>);
#else
#pragma GCC unroll 16
        for (int i = 0; i < kLanes<T>; ++i) x[i * STEP] = v[i];
#endif
    }
}

// What load_every loads, back again.
template <class T>
RANVIER_INLINE void store_every(T* x, index_t step, Vec<T> v, index_t count) {
    if (step == 1) return count == kLanes<T> ? store(x, v) : store_partial(x, v, count);
    if (count == kLanes<T>) {
        if (step == -1) return store_lanes_apart<T, -1>(x, v);
        if (step == 2) return store_lanes_apart<T, 2>(x, v);
        if (step == 3) return store_lanes_apart<T, 3>(x, v);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes<T>; ++i)
        if (i < count) x[i * step] = v[i];
}

// Several vectors of every step-th element, one behind the other, and back again, for a step of magnitude 1
// to 3.
template <class T, int COUNT>
RANVIER_INLINE void load_vectors_apart(const T* x, index_t step, Vec<T> (&v)[COUNT]) {
    with_small_step(
        step, [&](auto s) __attribute__((always_inline)) {
#pragma GCC unroll 4
            for (int k = 0; k < COUNT; ++k) v[k] = load_lanes_apart<T, s.value>(x + k * kLanes<T> * s.value);
        });
}
template <class T, int COUNT>
RANVIER_INLINE void store_vectors_apart(T* x, index_t step, const Vec<T> (&v)[COUNT]) {
    with_small_step(
        step, [&](auto s) __attribute__((always_inline)) {
#pragma GCC unroll 4
            for (int k = 0; k < COUNT; ++k) store_lanes_apart<T, s.value>(x + k * kLanes<T> * s.value, v[k]);
        });
}

}  // namespace ranvier::RANVIER_ISA
