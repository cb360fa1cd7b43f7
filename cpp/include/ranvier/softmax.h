// Softmax and log-softmax along an axis, any strides.
#pragma once

#include "ranvier/array.h"

namespace ranvier {

// y may be x itself. A row's bits depend on its numbers alone, not on how the arrays lie in memory.
template <class T>
void softmax(const Array<const T>& x, const Array<T>& y, int axis);
template <class T>
void log_softmax(const Array<const T>& x, const Array<T>& y, int axis);

// From the output y of the forward call: grad_x = y * (grad - sum(grad * y)), and
// grad_x = grad - exp(y) * sum(grad). grad_x may be grad or y itself.
template <class T>
void softmax_backward(const Array<const T>& grad, const Array<const T>& y, const Array<T>& grad_x, int axis);
template <class T>
void log_softmax_backward(const Array<const T>& grad, const Array<const T>& y, const Array<T>& grad_x,
                          int axis);

}  // namespace ranvier
