// What each instruction set provides for elementwise work, softmax, losses and updates: loops over
// contiguous rows, called by the threaded kernels.
#pragma once

#include "ranvier/activation.h"
#include "ranvier/array.h"

namespace ranvier {

template <class T>
struct ElementwiseKernels {
    using Forward = void (*)(index_t n, const T* x, T* y, T parameter);
    Forward activation[kActivationCount];  // indexed by Activation
};

}  // namespace ranvier
