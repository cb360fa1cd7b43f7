// Matrix-product kernels of one instruction set.
#include "isa.h"

namespace ranvier::RANVIER_ISA {

constinit const GemmKernels<float> gemm_float32 = {};
constinit const GemmKernels<double> gemm_float64 = {};

}  // namespace ranvier::RANVIER_ISA
