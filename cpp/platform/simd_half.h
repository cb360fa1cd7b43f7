// Vectors of one instruction set in two widths, for code that is written once for both.
//
// Where the wide ones have 64 bytes, many processors' units have 32, and do two narrow operations in the time
// of a wide one.
#pragma once

#include "simd.h"

namespace ranvier::RANVIER_ISA {

template <class T>
struct Wide {
    using Element = T;
    using Vector = Vec<T>;
    static constexpr index_t kLanes = RANVIER_ISA::kLanes<T>;

    RANVIER_INLINE static Vector load(const T* from) { return RANVIER_ISA::load(from); }
    RANVIER_INLINE static void store(T* to, Vector v) { RANVIER_ISA::store(to, v); }
    RANVIER_INLINE static Vector load_partial(const T* from, index_t count) {
        return RANVIER_ISA::load_partial(from, count);
    }
    RANVIER_INLINE static void store_partial(T* to, Vector v, index_t count) {
        RANVIER_ISA::store_partial(to, v, count);
    }
    RANVIER_INLINE static Vector broadcast(T value) { return RANVIER_ISA::broadcast(value); }
    RANVIER_INLINE static Vector fma(Vector a, Vector b, Vector c) { return RANVIER_ISA::fma(a, b, c); }
};

#if defined(__AVX512F__)
inline constexpr bool kHasHalf = true;

template <class T>
struct Half {
    using Element = T;
    typedef T Vector __attribute__((vector_size(kVectorBytes / 2)));
    typedef T Unaligned __attribute__((vector_size(kVectorBytes / 2), aligned(alignof(T)), may_alias));
    static constexpr index_t kLanes = RANVIER_ISA::kLanes<T> / 2;
    static constexpr bool kSingle = sizeof(T) == 4;
    static_assert(kSingle || sizeof(T) == 8);

    RANVIER_INLINE static Vector load(const T* from) { return *reinterpret_cast<const Unaligned*>(from); }
    RANVIER_INLINE static void store(T* to, Vector v) { *reinterpret_cast<Unaligned*>(to) = v; }
    RANVIER_INLINE static Vector load_partial(const T* from, index_t count) {
        if constexpr (kSingle)
            return (Vector)_mm256_maskz_loadu_epi32(mask(count), from);
        else
            return (Vector)_mm256_maskz_loadu_epi64(mask(count), from);
    }
    RANVIER_INLINE static void store_partial(T* to, Vector v, index_t count) {
        if constexpr (kSingle)
            _mm256_mask_storeu_epi32(to, mask(count), (__m256i)v);
        else
            _mm256_mask_storeu_epi64(to, mask(count), (__m256i)v);
    }
    RANVIER_INLINE static Vector broadcast(T value) {
        return value - Vector{};  // minus zero stays minus zero
    }
    RANVIER_INLINE static Vector fma(Vector a, Vector b, Vector c) {
        if constexpr (kSingle)
            return (Vector)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
        else
            return (Vector)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
    }

private:
    RANVIER_INLINE static __mmask8 mask(index_t count) { return static_cast<__mmask8>((1u << count) - 1); }
};
#else
inline constexpr bool kHasHalf = false;

template <class T>
using Half = Wide<T>;
#endif

}  // namespace ranvier::RANVIER_ISA
