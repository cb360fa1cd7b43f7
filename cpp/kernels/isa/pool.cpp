// Pool kernels of one instruction set.
#include "isa.h"

namespace ranvier::RANVIER_ISA {

constinit const PoolKernels<float> pool_float32 = {};
constinit const PoolKernels<double> pool_float64 = {};

}  // namespace ranvier::RANVIER_ISA
