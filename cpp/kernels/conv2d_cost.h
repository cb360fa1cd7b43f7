// What each algorithm of a convolution would cost: the model that the choice between them rests on.
#pragma once

#include "kernel_table.h"
#include "ranvier/conv2d.h"

namespace ranvier {

// Cycles of one thread for an image. What is done once for a batch, as to the weights, counts by its share
// among the images: of a few in the first two passes, where the batch has no say, and of those there are in
// the weights' gradient.
template <class T>
double planes_cost(const Conv2dShape& shape, Conv2dPass pass);
template <class T>
double channels_last_cost(const Conv2dShape& shape, Conv2dPass pass);
// Of a convolution with stride 1 whose outputs (in the last pass: their gradients) come in these tiles.
template <class T>
double winograd_cost(const WinogradTransforms<T>& tiles, const Conv2dShape& shape, Conv2dPass pass);

}  // namespace ranvier
