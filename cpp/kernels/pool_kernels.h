// What each instruction set provides for pooling: rows of a plane.
#pragma once

#include "ranvier/array.h"

namespace ranvier {

template <class T>
struct PoolKernels {};

}  // namespace ranvier
