// Instantiates a family's maker for both element types.
#pragma once

#include "../op.h"
#include "shapes.h"

#define RANVIER_INSTANTIATE_OP(Spec)                                                       \
    template std::unique_ptr<Op<float>> make_op<float>(const Spec&, const OpSite<float>&); \
    template std::unique_ptr<Op<double>> make_op<double>(const Spec&, const OpSite<double>&);
