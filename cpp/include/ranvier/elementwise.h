// Plain work on elements, one by one.
#pragma once

#include <cstdint>

#include "ranvier/array.h"

namespace ranvier {

// to[i] = from[i] / 255, correctly rounded.
template <class T>
void bytes_to_fractions(index_t n, const std::uint8_t* from, T* to);

// y[i] += x[i].
template <class T>
void add(index_t n, const T* x, T* y);

// y[i] *= factor.
template <class T>
void scale(index_t n, T factor, T* y);

}  // namespace ranvier
