// What a kernel keeps in registers, and how many vectors that may be.
#pragma once

#include "simd.h"

namespace ranvier::RANVIER_ISA {

// Sums that fit beside a few vectors of the operands: of 32, 16 and (without three-operand instructions) 16
// registers.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int kAccumulators = 24;
#elif defined(__AVX__)
inline constexpr int kAccumulators = 12;
#else
inline constexpr int kAccumulators = 8;
#endif

// v, which was loaded, in a register for all its USES. GCC makes a load an operand of each instruction that
// uses it, if these are two or three, and so reads memory as often.
template <int USES, class V>
RANVIER_INLINE V in_register(V v) {
#if defined(__aarch64__)
    if constexpr (USES > 1) asm("" : "+w"(v));
#elif defined(__SSE2__)
    if constexpr (USES > 1) asm("" : "+v"(v));
#endif
    return v;
}

}  // namespace ranvier::RANVIER_ISA
