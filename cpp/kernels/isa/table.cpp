// The table of one instruction set: constant data, so that reading it runs no code of that set.
#include "../../platform/cpu_features.h"
#include "isa.h"

#define RANVIER_STRING_(x) #x
#define RANVIER_STRING(x) RANVIER_STRING_(x)

namespace ranvier::RANVIER_ISA {

constinit const KernelTable table = {
    RANVIER_STRING(RANVIER_ISA),
    kCompiledFeatures,
    {&gemm_float32, &elementwise_float32, &pool_float32, &plane_float32, &winograd_float32,
     &normalization_float32, &loss_float32, &depthwise_float32, &inner_product_float32, &recurrent_float32},
    {&gemm_float64, &elementwise_float64, &pool_float64, &plane_float64, &winograd_float64,
     &normalization_float64, &loss_float64, &depthwise_float64, &inner_product_float64, &recurrent_float64},
};

}  // namespace ranvier::RANVIER_ISA
