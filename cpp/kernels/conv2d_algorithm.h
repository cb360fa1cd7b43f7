// Which algorithm a convolution takes: a model of what each would cost. See Conv2dAlgorithm.
#pragma once

#include "kernel_table.h"
#include "ranvier/conv2d.h"

namespace ranvier {

// The tiles of Winograd's algorithm that suit the outputs best, or nullptr: the direct algorithm. The batch
// does not matter, so that an image's bits do not depend on its company.
template <class T>
const WinogradTransforms<T>* winograd_for_outputs(const Conv2dShape& shape);

// The same for the gradient to the weights, which is a sum over the batch, and may depend on it.
template <class T>
const WinogradTransforms<T>* winograd_for_weights(const Conv2dShape& shape);

// Whether the direct algorithm takes the images with neighbouring channels in that pass (of several images
// together, see conv2d_channels_last.h), instead of their planes. The batch has a say in the weights' gradient
// alone.
template <class T>
bool is_channels_last(const Conv2dShape& shape, Conv2dPass pass);

// The convolution with stride 1 that the gradient to the input is, of the output's gradient with the weights
// turned round; its padding is negative if there is no such.
Conv2dShape reversed(const Conv2dShape& shape);

}  // namespace ranvier
