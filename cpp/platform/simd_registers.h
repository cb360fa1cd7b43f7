// How many vectors a kernel may keep in registers.
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

}  // namespace ranvier::RANVIER_ISA
