// Vectors by the compilers' own vector types, for the files that are compiled once for each
// instruction set (RANVIER_ISA names it and the namespace that all of this lives in).
//
// A partial load or store touches only the first `count` lanes, so that a loop's tail runs the same
// instructions, and gives the same bits, as its body.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "ranvier/array.h"

#define RANVIER_INLINE [[gnu::always_inline]] inline

namespace ranvier::RANVIER_ISA {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

template <class T>
struct VectorOf {
    typedef T type __attribute__((vector_size(kVectorBytes)));
    typedef T unaligned __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));
};
template <class T>
using Vec = typename VectorOf<T>::type;
template <class T>
inline constexpr index_t kLanes = kVectorBytes / static_cast<index_t>(sizeof(T));

// The integer of a lane's size: what comparisons of vectors give (0 or -1 in each lane).
template <class T>
struct LaneInt;
template <>
struct LaneInt<float> {
    using type = std::int32_t;
};
template <>
struct LaneInt<double> {
    using type = std::int64_t;
};
template <>
struct LaneInt<std::int32_t> {
    using type = std::int32_t;
};
template <>
struct LaneInt<std::int64_t> {
    using type = std::int64_t;
};
template <class T>
using MaskOf = Vec<typename LaneInt<T>::type>;

template <class T>
RANVIER_INLINE Vec<T> broadcast(T value) {
    return value - Vec<T>{};  // minus zero stays minus zero
}

template <class T>
RANVIER_INLINE Vec<T> load(const T* from) {
    return *reinterpret_cast<const typename VectorOf<T>::unaligned*>(from);
}

template <class T>
RANVIER_INLINE void store(T* to, Vec<T> v) {
    *reinterpret_cast<typename VectorOf<T>::unaligned*>(to) = v;
}

// mask ? a : b, lane by lane.
template <class T>
RANVIER_INLINE Vec<T> select(MaskOf<T> mask, Vec<T> a, Vec<T> b) {
    return mask ? a : b;
}

template <class T>
RANVIER_INLINE MaskOf<T> bits(Vec<T> v) {
    return reinterpret_cast<MaskOf<T>>(v);
}
template <class T>
RANVIER_INLINE Vec<T> from_bits(MaskOf<T> v) {
    return reinterpret_cast<Vec<T>>(v);
}

// Sums and differences that wrap around where they do not fit in a lane, which signed integers must not.
template <class T>
using UnsignedOf = Vec<std::make_unsigned_t<typename LaneInt<T>::type>>;
template <class T>
RANVIER_INLINE MaskOf<T> wrapping_add(MaskOf<T> a, MaskOf<T> b) {
    return reinterpret_cast<MaskOf<T>>(reinterpret_cast<UnsignedOf<T>>(a) +
                                       reinterpret_cast<UnsignedOf<T>>(b));
}
template <class T>
RANVIER_INLINE MaskOf<T> wrapping_subtract(MaskOf<T> a, MaskOf<T> b) {
    return reinterpret_cast<MaskOf<T>>(reinterpret_cast<UnsignedOf<T>>(a) -
                                       reinterpret_cast<UnsignedOf<T>>(b));
}

// x, but no less or no more than a bound that is no NaN; a NaN stays. The processors' minimum and maximum
// give their second operand if either is a NaN.
RANVIER_INLINE Vec<float> at_least(Vec<float> bound, Vec<float> x) {
#if defined(__AVX512F__)
    return (Vec<float>)_mm512_max_ps((__m512)bound, (__m512)x);
#elif defined(__AVX__)
    return (Vec<float>)_mm256_max_ps((__m256)bound, (__m256)x);
#elif defined(__SSE2__)
    return (Vec<float>)_mm_max_ps((__m128)bound, (__m128)x);
#else
    return x < bound ? bound : x;
#endif
}
RANVIER_INLINE Vec<double> at_least(Vec<double> bound, Vec<double> x) {
#if defined(__AVX512F__)
    return (Vec<double>)_mm512_max_pd((__m512d)bound, (__m512d)x);
#elif defined(__AVX__)
    return (Vec<double>)_mm256_max_pd((__m256d)bound, (__m256d)x);
#elif defined(__SSE2__)
    return (Vec<double>)_mm_max_pd((__m128d)bound, (__m128d)x);
#else
    return x < bound ? bound : x;
#endif
}
RANVIER_INLINE Vec<float> at_most(Vec<float> bound, Vec<float> x) {
#if defined(__AVX512F__)
    return (Vec<float>)_mm512_min_ps((__m512)bound, (__m512)x);
#elif defined(__AVX__)
    return (Vec<float>)_mm256_min_ps((__m256)bound, (__m256)x);
#elif defined(__SSE2__)
    return (Vec<float>)_mm_min_ps((__m128)bound, (__m128)x);
#else
    return x > bound ? bound : x;
#endif
}
RANVIER_INLINE Vec<double> at_most(Vec<double> bound, Vec<double> x) {
#if defined(__AVX512F__)
    return (Vec<double>)_mm512_min_pd((__m512d)bound, (__m512d)x);
#elif defined(__AVX__)
    return (Vec<double>)_mm256_min_pd((__m256d)bound, (__m256d)x);
#elif defined(__SSE2__)
    return (Vec<double>)_mm_min_pd((__m128d)bound, (__m128d)x);
#else
    return x > bound ? bound : x;
#endif
}

// Whether any lane is a NaN.
template <class T>
RANVIER_INLINE bool any_nan(Vec<T> v) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        return _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q) != 0;
    else
        return _mm512_cmp_pd_mask((__m512d)v, (__m512d)v, _CMP_UNORD_Q) != 0;
#elif defined(__AVX__)
    return _mm256_movemask_ps((__m256)(v != v)) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_ps((__m128)(v != v)) != 0;
#else
    bool any = false;
    for (int i = 0; i < kLanes<T>; ++i) any |= v[i] != v[i];
    return any;
#endif
}

// Whether any lane of a comparison is set.
template <class T>
RANVIER_INLINE bool any_set(MaskOf<T> mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX__)
    return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_ps((__m128)mask) != 0;
#else
    bool any = false;
    for (int i = 0; i < kLanes<T>; ++i) any |= mask[i] != 0;
    return any;
#endif
}

// a * b + c with one rounding, where the instruction set has it; with two where it has not (v2).
RANVIER_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(__AVX512F__)
    return (Vec<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (Vec<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (Vec<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}
RANVIER_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
#if defined(__AVX512F__)
    return (Vec<double>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__)
    return (Vec<double>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
    return (Vec<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;
#endif
}

// The bit of a lane's sign.
template <class T>
RANVIER_INLINE MaskOf<T> sign_bit() {
    return bits<T>(broadcast(T(-0.0)));
}
template <class T>
RANVIER_INLINE Vec<T> abs(Vec<T> v) {
    return from_bits<T>(bits<T>(v) & ~sign_bit<T>());
}
// The magnitude of one and the sign of the other.
template <class T>
RANVIER_INLINE Vec<T> copy_sign(Vec<T> magnitude, Vec<T> sign) {
    return from_bits<T>((bits<T>(magnitude) & ~sign_bit<T>()) | (bits<T>(sign) & sign_bit<T>()));
}

RANVIER_INLINE Vec<float> sqrt(Vec<float> v) {
#if defined(__AVX512F__)
    return (Vec<float>)_mm512_sqrt_ps((__m512)v);
#elif defined(__AVX__)
    return (Vec<float>)_mm256_sqrt_ps((__m256)v);
#elif defined(__SSE2__)
    return (Vec<float>)_mm_sqrt_ps((__m128)v);
#elif defined(__aarch64__)
    return (Vec<float>)vsqrtq_f32((float32x4_t)v);
#else
    Vec<float> r;
    for (int i = 0; i < kLanes<float>; ++i) r[i] = __builtin_sqrtf(v[i]);
    return r;
#endif
}
RANVIER_INLINE Vec<double> sqrt(Vec<double> v) {
#if defined(__AVX512F__)
    return (Vec<double>)_mm512_sqrt_pd((__m512d)v);
#elif defined(__AVX__)
    return (Vec<double>)_mm256_sqrt_pd((__m256d)v);
#elif defined(__SSE2__)
    return (Vec<double>)_mm_sqrt_pd((__m128d)v);
#elif defined(__aarch64__)
    return (Vec<double>)vsqrtq_f64((float64x2_t)v);
#else
    Vec<double> r;
    for (int i = 0; i < kLanes<double>; ++i) r[i] = __builtin_sqrt(v[i]);
    return r;
#endif
}

// The sum of all lanes, as a fixed tree.
template <class T>
RANVIER_INLINE T sum_lanes(Vec<T> v) {
    T part[kLanes<T>];
    store(part, v);
#pragma GCC unroll 8
    for (int half = kLanes<T> / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) part[i] += part[i + half];
    return part[0];
}
// The greatest lane; a NaN is passed over unless it is in the first one.
template <class T>
RANVIER_INLINE T max_lanes(Vec<T> v) {
    T part[kLanes<T>];
    store(part, v);
#pragma GCC unroll 8
    for (int half = kLanes<T> / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) part[i] = part[i + half] > part[i] ? part[i + half] : part[i];
    return part[0];
}

// The first `count` lanes, 0 <= count <= kLanes<T>; the others are zero.
template <class T>
RANVIER_INLINE Vec<T> load_partial(const T* from, index_t count) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        return (Vec<T>)_mm512_maskz_loadu_epi32(static_cast<__mmask16>((1u << count) - 1), from);
    else
        return (Vec<T>)_mm512_maskz_loadu_epi64(static_cast<__mmask8>((1u << count) - 1), from);
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4) {
        const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane);
        return (Vec<T>)_mm256_maskload_epi32(reinterpret_cast<const int*>(from), mask);
    } else {
        const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
        const __m256i mask = _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), lane);
        return (Vec<T>)_mm256_maskload_epi64(reinterpret_cast<const long long*>(from), mask);
    }
#else
    Vec<T> v = {};
    for (index_t i = 0; i < kLanes<T>; ++i)
        if (i < count) v[i] = from[i];
    return v;
#endif
}

// The same, where all lanes are usual.
template <class T>
RANVIER_INLINE Vec<T> load_some(const T* from, index_t count) {
    return count == kLanes<T> ? load(from) : load_partial(from, count);
}

template <class T>
RANVIER_INLINE void store_partial(T* to, Vec<T> v, index_t count) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        _mm512_mask_storeu_epi32(to, static_cast<__mmask16>((1u << count) - 1), (__m512i)v);
    else
        _mm512_mask_storeu_epi64(to, static_cast<__mmask8>((1u << count) - 1), (__m512i)v);
#elif defined(__AVX2__)
    // Some processors (Zen 3 among them) take a dozen cycles for a masked store.
    if (count == kLanes<T>) return store(to, v);
    __m256 left = (__m256)v;
    auto* at = reinterpret_cast<float*>(to);
    const index_t words = count * (static_cast<index_t>(sizeof(T)) / 4);
    if (words & 4) {
        _mm_storeu_ps(at, _mm256_castps256_ps128(left));
        left = _mm256_permute2f128_ps(left, left, 0x11);
        at += 4;
    }
    __m128 rest = _mm256_castps256_ps128(left);
    if (words & 2) {
        _mm_storel_pi(reinterpret_cast<__m64*>(at), rest);
        rest = _mm_movehl_ps(rest, rest);
        at += 2;
    }
    if (words & 1) _mm_store_ss(at, rest);
#else
    for (index_t i = 0; i < kLanes<T>; ++i)
        if (i < count) to[i] = v[i];
#endif
}

}  // namespace ranvier::RANVIER_ISA
