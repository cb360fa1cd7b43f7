// Conv kernels of one instruction set.
#include "isa.h"

namespace ranvier::RANVIER_ISA {

constinit const ConvKernels<float> conv_float32 = {};
constinit const ConvKernels<double> conv_float64 = {};

}  // namespace ranvier::RANVIER_ISA
