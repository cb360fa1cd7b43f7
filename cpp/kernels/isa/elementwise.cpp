// Elementwise kernels of one instruction set.
#include "isa.h"

namespace ranvier::RANVIER_ISA {

constinit const ElementwiseKernels<float> elementwise_float32 = {};
constinit const ElementwiseKernels<double> elementwise_float64 = {};

}  // namespace ranvier::RANVIER_ISA
