// The processor features that instruction sets are told apart by, as bits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ranvier/cpu.h"

namespace ranvier {

enum CpuFeature : std::uint64_t {
    kSse42 = 1 << 0,
    kPopcnt = 1 << 1,
    kAvx = 1 << 2,
    kAvx2 = 1 << 3,
    kFma = 1 << 4,
    kF16c = 1 << 5,
    kBmi = 1 << 6,
    kBmi2 = 1 << 7,
    kLzcnt = 1 << 8,
    kMovbe = 1 << 9,
    kAvx512f = 1 << 10,
    kAvx512bw = 1 << 11,
    kAvx512cd = 1 << 12,
    kAvx512dq = 1 << 13,
    kAvx512vl = 1 << 14,
};

// What the compiler was told that it may use in the file that reads this constant.
constexpr std::uint64_t kCompiledFeatures = 0
#ifdef __SSE4_2__
                                            | kSse42
#endif
#ifdef __POPCNT__
                                            | kPopcnt
#endif
#ifdef __AVX__
                                            | kAvx
#endif
#ifdef __AVX2__
                                            | kAvx2
#endif
#ifdef __FMA__
                                            | kFma
#endif
#ifdef __F16C__
                                            | kF16c
#endif
#ifdef __BMI__
                                            | kBmi
#endif
#ifdef __BMI2__
                                            | kBmi2
#endif
#ifdef __LZCNT__
                                            | kLzcnt
#endif
#ifdef __MOVBE__
                                            | kMovbe
#endif
#ifdef __AVX512F__
                                            | kAvx512f
#endif
#ifdef __AVX512BW__
                                            | kAvx512bw
#endif
#ifdef __AVX512CD__
                                            | kAvx512cd
#endif
#ifdef __AVX512DQ__
                                            | kAvx512dq
#endif
#ifdef __AVX512VL__
                                            | kAvx512vl
#endif
    ;

// What this processor has and its operating system saves on a context switch.
std::uint64_t detected_features();

// "avx2, fma"
std::string feature_names(std::uint64_t features);

// Everything in CpuInfo but the instruction sets of the build.
CpuInfo detect_cpu();

// Physical cores among the processors that the calling thread may run on, at least 1.
int physical_cores();
// The same among the processors of these numbers.
int physical_cores(const std::vector<int>& processors);
// Processors that the calling thread may run on.
int affinity_count();
// The cgroup's CPU quota, rounded up; 0 if there is none.
int cgroup_quota();

}  // namespace ranvier
