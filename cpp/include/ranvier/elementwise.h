// Plain work on elements, one by one.
#pragma once

#include <cstdint>

#include "ranvier/array.h"

namespace ranvier {

// to[i] = from[i] / 255, correctly rounded.
template <class T>
void bytes_to_fractions(index_t n, const std::uint8_t* from, T* to);

// y[i] = a[i] + b[i]. y may be a or b.
template <class T>
void add(index_t n, const T* a, const T* b, T* y);
// y[i] += x[i].
template <class T>
void add(index_t n, const T* x, T* y);

}  // namespace ranvier
