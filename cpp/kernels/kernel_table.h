// The kernels of one instruction set, as data, and which of these tables is in use.
#pragma once

#include <cstdint>

#include "depthwise_kernels.h"
#include "elementwise_kernels.h"
#include "gemm_kernels.h"
#include "inner_product_kernels.h"
#include "loss_kernels.h"
#include "normalization_kernels.h"
#include "plane_kernels.h"
#include "pool_kernels.h"
#include "recurrent_kernels.h"
#include "winograd_kernels.h"

namespace ranvier {

template <class T>
struct Kernels {
    const GemmKernels<T>* gemm;
    const ElementwiseKernels<T>* elementwise;
    const PoolKernels<T>* pool;
    const PlaneKernels<T>* plane;
    const WinogradKernels<T>* winograd;
    const NormalizationKernels<T>* normalization;
    const LossKernels<T>* loss;
    const DepthwiseKernels<T>* depthwise;
    const InnerProductKernels<T>* inner_product;
    const RecurrentKernels<T>* recurrent;
};

struct KernelTable {
    const char* name;
    std::uint64_t required_features;  // bits of cpu_features.h
    Kernels<float> float32;
    Kernels<double> float64;
};

// The table in use; see active_isa() in ranvier/cpu.h for how it is chosen.
const KernelTable& active_table();

template <class T>
const Kernels<T>& kernels();
template <>
inline const Kernels<float>& kernels<float>() {
    return active_table().float32;
}
template <>
inline const Kernels<double>& kernels<double>() {
    return active_table().float64;
}

}  // namespace ranvier
