// Parameter updates in blocks, on several threads if there is enough to do.
#include "ranvier/optimizer.h"

#include <cmath>

#include "../platform/denormals.h"
#include "kernel_table.h"
#include "strided.h"

namespace ranvier {

template <class T>
void sgd_update(const SgdOptions& options, index_t n, T* w, const T* grad, T* velocity) {
    FlushDenormals flush;
    const auto& table = *kernels<T>().elementwise;
    for_each_block(n, 1, [&](index_t i, index_t count) {
        table.sgd(options, count, w + i, grad + i, velocity ? velocity + i : nullptr);
    });
}

template <class T>
void adam_update(const AdamOptions& options, std::int64_t step, index_t n, T* w, const T* grad,
                 T* first_moment, T* second_moment) {
    FlushDenormals flush;
    const auto& table = *kernels<T>().elementwise;
    const double correction1 = 1 - std::pow(options.beta1, static_cast<double>(step));
    const double correction2 = 1 - std::pow(options.beta2, static_cast<double>(step));
    for_each_block(n, 4, [&](index_t i, index_t count) {
        table.adam(options, correction1, correction2, count, w + i, grad + i, first_moment + i,
                   second_moment + i);
    });
}

template void sgd_update(const SgdOptions&, index_t, float*, const float*, float*);
template void sgd_update(const SgdOptions&, index_t, double*, const double*, double*);
template void adam_update(const AdamOptions&, std::int64_t, index_t, float*, const float*, float*, float*);
template void adam_update(const AdamOptions&, std::int64_t, index_t, double*, const double*, double*,
                          double*);

}  // namespace ranvier
