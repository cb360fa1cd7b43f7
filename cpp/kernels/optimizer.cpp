// Parameter updates in blocks, on several threads if there is enough to do.
#include "ranvier/optimizer.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "../platform/denormals.h"
#include "kernel_table.h"
#include "ranvier/memory.h"
#include "strided.h"

namespace ranvier {
namespace {

// The work of one element in units of threads_for(), whatever the rule: its reads and writes count, and most
// of them go to gradients that several threads have just written.
constexpr double kUpdateCost = 2.5;

}  // namespace

UpdateState update_state(const UpdateOptions& options) {
    const bool adam = options.rule == UpdateRule::adam;
    return {!adam && options.momentum != 0, adam, options.rule != UpdateRule::sgd, options.ema_decay > 0};
}

UpdateStep update_step(const UpdateOptions& options, std::int64_t step, double squares) {
    UpdateStep now;
    now.options = options;
    now.correction1 = 1 - std::pow(options.beta1, static_cast<double>(step));
    now.correction2 = 1 - std::pow(options.beta2, static_cast<double>(step));
    if (options.clip_norm > 0) {
        const double norm = std::sqrt(squares);
        if (norm > options.clip_norm) now.gradient_scale = options.clip_norm / norm;
    }
    return now;
}

template <class T>
void update(const UpdateStep& step, index_t n, T* w, const T* grad, T* velocity, T* first_moment,
            T* second_moment) {
    FlushDenormals flush;
    const auto& table = *kernels<T>().elementwise;
    const auto at = [](T* state, index_t i) { return state ? state + i : nullptr; };
    for_each_block(n, kUpdateCost, [&](index_t i, index_t count) {
        table.update(step, count, w + i, grad + i, at(velocity, i), at(first_moment, i),
                     at(second_moment, i));
    });
}

template <class T>
void approach(double decay, index_t n, const T* w, T* average) {
    FlushDenormals flush;
    const T share = static_cast<T>(1 - decay);
    for_each_block(n, kUpdateCost, [&](index_t i, index_t count) {
        for (index_t k = i; k < i + count; ++k) average[k] += share * (w[k] - average[k]);
    });
}

template <class T>
void limit_norms(double largest, index_t outputs, index_t inputs, index_t output_stride, index_t input_stride,
                 T* w) {
    constexpr index_t kOutputs = 32;  // at a time, so that those that lie side by side share cache lines
    const double work = 2 * static_cast<double>(outputs) * static_cast<double>(inputs);
    parallel_for(ceil_div(outputs, kOutputs), threads_for(work), [&](index_t task) {
        const index_t count = std::min(kOutputs, outputs - task * kOutputs);
        T* const own = w + task * kOutputs * output_stride;
        const auto each = [&](auto&& body) {
            const bool along_outputs = output_stride < input_stride;
            for (index_t i = 0; i < (along_outputs ? inputs : count); ++i)
                for (index_t j = 0; j < (along_outputs ? count : inputs); ++j)
                    along_outputs ? body(j, own[j * output_stride + i * input_stride])
                                  : body(i, own[i * output_stride + j * input_stride]);
        };
        double squares[kOutputs] = {}, factor[kOutputs];
        each([&](index_t output, T& weight) {
            squares[output] += static_cast<double>(weight) * static_cast<double>(weight);
        });
        for (index_t output = 0; output < count; ++output) {
            const double norm = std::sqrt(squares[output]);
            factor[output] = norm > largest ? largest / norm : 1;
        }
        if (std::all_of(factor, factor + count, [](double f) { return f == 1; })) return;
        each([&](index_t output, T& weight) {
            weight = static_cast<T>(static_cast<double>(weight) * factor[output]);
        });
    });
}

template <class T>
double sum_of_squares(index_t n, const T* x) {
    const auto& table = *kernels<T>().elementwise;
    const index_t blocks = ceil_div(n, kElementsPerTask);
    Scratch<double> sums(blocks);
    for_each_block(n, 1, [&](index_t i, index_t count) {
        sums.data()[i / kElementsPerTask] = table.sum_of_squares(count, x + i);
    });
    double total = 0;
    for (index_t block = 0; block < blocks; ++block) total += sums.data()[block];
    return total;
}

template <class T>
bool all_finite(index_t n, const T* x) {
    const auto& table = *kernels<T>().elementwise;
    std::atomic<bool> finite{true};
    for_each_block(n, 1, [&](index_t i, index_t count) {
        if (!table.all_finite(count, x + i)) finite.store(false, std::memory_order_relaxed);
    });
    return finite.load(std::memory_order_relaxed);
}

template <class T>
T largest_magnitude(index_t n, const T* x) {
    return kernels<T>().elementwise->largest_magnitude(n, x);
}

template <class T>
void add_penalty_gradient(double l1, double l2, index_t n, const T* w, T* grad) {
    const auto& table = *kernels<T>().elementwise;
    for_each_block(n, 1, [&](index_t i, index_t count) {
        table.add_penalty_gradient(static_cast<T>(l1), static_cast<T>(l2), count, w + i, grad + i);
    });
}

#define RANVIER_INSTANTIATE(T)                                                  \
    template void update(const UpdateStep&, index_t, T*, const T*, T*, T*, T*); \
    template void approach(double, index_t, const T*, T*);                      \
    template void limit_norms(double, index_t, index_t, index_t, index_t, T*);  \
    template double sum_of_squares(index_t, const T*);                          \
    template bool all_finite(index_t, const T*);                                \
    template T largest_magnitude(index_t, const T*);                            \
                                                                                \
    template void add_penalty_gradient(double, double, index_t, const T*, T*);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
