// The exponential of one instruction set, which no kernel offers by itself; compiled once for each.
#include "../../cpp/platform/simd_math.h"

namespace ranvier::RANVIER_ISA {

// n is a multiple of the vector's lanes.
void exponentials(index_t n, const float* x, float* y) {
    for (index_t i = 0; i < n; i += kLanes<float>) store(y + i, exp<float>(load(x + i)));
}

}  // namespace ranvier::RANVIER_ISA
