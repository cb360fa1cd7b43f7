// Plain work on elements, in blocks.
#include "ranvier/elementwise.h"

#include "kernel_table.h"
#include "strided.h"

namespace ranvier {

template <class T>
void bytes_to_fractions(index_t n, const std::uint8_t* from, T* to) {
    const auto kernel = kernels<T>().elementwise->bytes_to_fractions;
    for_each_block(n, 1, [&](index_t i, index_t count) { kernel(count, from + i, to + i); });
}

template <class T>
void add(index_t n, const T* x, T* y) {
    const auto kernel = kernels<T>().gemm->add_row;
    for_each_block(n, 1, [&](index_t i, index_t count) { kernel(count, x + i, y + i); });
}

template <class T>
void add(index_t n, const T* a, const T* b, T* y) {
    const auto kernel = kernels<T>().elementwise->add;
    for_each_block(n, 1, [&](index_t i, index_t count) { kernel(count, a + i, b + i, y + i); });
}

template void add(index_t, const float*, const float*, float*);
template void add(index_t, const double*, const double*, double*);
template void bytes_to_fractions(index_t, const std::uint8_t*, float*);
template void bytes_to_fractions(index_t, const std::uint8_t*, double*);
template void add(index_t, const float*, float*);
template void add(index_t, const double*, double*);

}  // namespace ranvier
