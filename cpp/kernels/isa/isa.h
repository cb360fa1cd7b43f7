// The names that one instruction set's sources share. Every file of this folder is compiled once for
// each instruction set, with RANVIER_ISA defined as its name (v2, v3, ...), which is also a namespace.
//
// Nothing here may leave a definition outside that namespace: an inline function or a template of
// another namespace, compiled here for AVX-512, could be the copy that the linker keeps for everyone,
// and an older processor would die of it. So: no standard headers with code in them, no member
// functions of shared types. cmake/check_isa_symbols.py checks the objects.
#pragma once

#include "../kernel_table.h"

namespace ranvier::RANVIER_ISA {

extern const GemmKernels<float> gemm_float32;
extern const GemmKernels<double> gemm_float64;
extern const ElementwiseKernels<float> elementwise_float32;
extern const ElementwiseKernels<double> elementwise_float64;
extern const PoolKernels<float> pool_float32;
extern const PoolKernels<double> pool_float64;
extern const PlaneKernels<float> plane_float32;
extern const PlaneKernels<double> plane_float64;
extern const WinogradKernels<float> winograd_float32;
extern const WinogradKernels<double> winograd_float64;
extern const NormalizationKernels<float> normalization_float32;
extern const NormalizationKernels<double> normalization_float64;
extern const LossKernels<float> loss_float32;
extern const LossKernels<double> loss_float64;
extern const DepthwiseKernels<float> depthwise_float32;
extern const DepthwiseKernels<double> depthwise_float64;
extern const InnerProductKernels<float> inner_product_float32;
extern const InnerProductKernels<double> inner_product_float64;
extern const RecurrentKernels<float> recurrent_float32;
extern const RecurrentKernels<double> recurrent_float64;

extern const KernelTable table;

}  // namespace ranvier::RANVIER_ISA
