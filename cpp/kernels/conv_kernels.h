// What each instruction set provides for convolutions besides the product of packed blocks.
#pragma once

#include "ranvier/array.h"

namespace ranvier {

template <class T>
struct ConvKernels {};

}  // namespace ranvier
