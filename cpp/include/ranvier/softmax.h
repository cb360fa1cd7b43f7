// Softmax and log-softmax along the columns of each row, any strides.
#pragma once

#include "ranvier/array.h"

namespace ranvier {

// y may be x itself.
template <class T>
void softmax(const Matrix<const T>& x, const Matrix<T>& y);
template <class T>
void log_softmax(const Matrix<const T>& x, const Matrix<T>& y);

// From the output y of the forward call: grad_x = y * (grad - sum(grad * y)), and
// grad_x = grad - exp(y) * sum(grad). grad_x may be grad itself.
template <class T>
void softmax_backward(const Matrix<const T>& grad, const Matrix<const T>& y, const Matrix<T>& grad_x);
template <class T>
void log_softmax_backward(const Matrix<const T>& grad, const Matrix<const T>& y, const Matrix<T>& grad_x);

}  // namespace ranvier
