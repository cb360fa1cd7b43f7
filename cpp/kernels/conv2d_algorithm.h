// Which algorithm a convolution takes: the one that conv2d_cost.h expects to be the cheapest.
#pragma once

#include "kernel_table.h"
#include "ranvier/conv2d.h"

namespace ranvier {

// Of direct it is one of its ways, planes or channels_last, but for depthwise convolutions.
template <class T>
struct Conv2dChoice {
    Conv2dAlgorithm algorithm = Conv2dAlgorithm::direct;
    const WinogradTransforms<T>* transforms = nullptr;  // of Winograd's algorithm

    bool is_channels_last() const { return algorithm == Conv2dAlgorithm::channels_last; }
};

// The batch has a say in the weights' gradient alone, which is a sum over it: an image's bits do not depend
// on its company.
template <class T>
Conv2dChoice<T> choose_algorithm(const Conv2dShape& shape, Conv2dPass pass);

// The convolution with stride 1 that the gradient to the input is, of the output's gradient with the weights
// turned round; its padding is negative if there is no such.
Conv2dShape reversed(const Conv2dShape& shape);

}  // namespace ranvier
