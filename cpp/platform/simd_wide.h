// Sums in double of vectors of float or double, one for each lane.
//
// GCC 12 converts a part of a generic vector by way of memory, and lane by lane: hence the intrinsics.
#pragma once

#include "simd.h"

namespace ranvier::RANVIER_ISA {

template <class T>
struct WideSum;

template <>
struct WideSum<double> {
    Vec<double> lanes = {};

    RANVIER_INLINE void add(Vec<double> v) { lanes += v; }
    RANVIER_INLINE void add_square(Vec<double> v) { lanes = fma(v, v, lanes); }
    RANVIER_INLINE void put(double* to) const { store(to, lanes); }
    RANVIER_INLINE double total() const { return sum_lanes<double>(lanes); }
};

struct WideHalves {
    Vec<double> low, high;
};
RANVIER_INLINE WideHalves widened(Vec<float> v) {
#if defined(__AVX512F__)
    return {(Vec<double>)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)v)),
            (Vec<double>)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)v, 1))};
#elif defined(__AVX__)
    return {(Vec<double>)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)v)),
            (Vec<double>)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)v, 1))};
#elif defined(__SSE2__)
    return {(Vec<double>)_mm_cvtps_pd((__m128)v),
            (Vec<double>)_mm_cvtps_pd(_mm_movehl_ps((__m128)v, (__m128)v))};
#else
    WideHalves halves = {};
    for (int lane = 0; lane < kLanes<double>; ++lane) {
        halves.low[lane] = v[lane];
        halves.high[lane] = v[lane + kLanes<double>];
    }
    return halves;
#endif
}

template <>
struct WideSum<float> {
    Vec<double> low = {}, high = {};

    RANVIER_INLINE void add(Vec<float> v) {
        const WideHalves halves = widened(v);
        low += halves.low;
        high += halves.high;
    }
    // The square of a float is a double, exactly, whatever its size.
    RANVIER_INLINE void add_square(Vec<float> v) {
        const WideHalves halves = widened(v);
        low = fma(halves.low, halves.low, low);
        high = fma(halves.high, halves.high, high);
    }
    RANVIER_INLINE void put(double* to) const {
        store(to, low);
        store(to + kLanes<double>, high);
    }
    RANVIER_INLINE double total() const { return sum_lanes<double>(low + high); }
};

}  // namespace ranvier::RANVIER_ISA
