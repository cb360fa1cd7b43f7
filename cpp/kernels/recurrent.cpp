// The cells of recurrent layers: how samples are shared among threads.
#include "ranvier/recurrent.h"

#include <algorithm>

#include "../platform/denormals.h"
#include "kernel_table.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

constexpr index_t kSamples = 8;  // of a task
constexpr double kCost = 20;     // of a hidden unit, for threads_for

template <class Body>
void for_each_sample(index_t samples, index_t hidden, Body&& body) {
    FlushDenormals flush;
    parallel_for(ceil_div(samples, kSamples), threads_for(static_cast<double>(samples * hidden) * kCost),
                 [&](index_t task) {
                     const index_t end = std::min(samples, (task + 1) * kSamples);
                     for (index_t i = task * kSamples; i < end; ++i) body(i);
                 });
}

}  // namespace

template <class T>
void gru_step(index_t samples, index_t hidden, const SampleRows<const T>& from_input,
              const SampleRows<const T>& from_state, const SampleRows<const T>& before,
              const SampleRows<T>& gates, const SampleRows<T>& after) {
    const auto step = kernels<T>().recurrent->gru;
    for_each_sample(samples, hidden, [&](index_t i) {
        step(hidden, from_input.row(i), from_state.row(i), before.row(i), gates.row(i), after.row(i));
    });
}

template <class T>
void gru_step_backward(index_t samples, index_t hidden, const SampleRows<const T>& gates,
                       const SampleRows<const T>& before, const SampleRows<const T>& grad_output,
                       const SampleRows<T>& grad, const SampleRows<T>& grad_gates) {
    const auto step = kernels<T>().recurrent->gru_backward;
    for_each_sample(samples, hidden, [&](index_t i) {
        step(hidden, gates.row(i), before.row(i), grad_output.row(i), grad.row(i), grad_gates.row(i));
    });
}

template <class T>
void lstm_step(index_t samples, index_t hidden, const SampleRows<const T>& from_input,
               const SampleRows<const T>& from_state, const SampleRows<const T>& cell_before,
               const SampleRows<T>& gates, const SampleRows<T>& cell, const SampleRows<T>& after) {
    const auto step = kernels<T>().recurrent->lstm;
    for_each_sample(samples, hidden, [&](index_t i) {
        step(hidden, from_input.row(i), from_state.row(i), cell_before.row(i), gates.row(i), cell.row(i),
             after.row(i));
    });
}

template <class T>
void lstm_step_backward(index_t samples, index_t hidden, const SampleRows<const T>& gates,
                        const SampleRows<const T>& cell_before, const SampleRows<const T>& cell,
                        const SampleRows<const T>& grad_output, const SampleRows<const T>& grad,
                        const SampleRows<T>& grad_cell, const SampleRows<T>& grad_gates) {
    const auto step = kernels<T>().recurrent->lstm_backward;
    for_each_sample(samples, hidden, [&](index_t i) {
        step(hidden, gates.row(i), cell_before.row(i), cell.row(i), grad_output.row(i), grad.row(i),
             grad_cell.row(i), grad_gates.row(i));
    });
}

#define RANVIER_INSTANTIATE(T)                                                                        \
    template void gru_step(index_t, index_t, const SampleRows<const T>&, const SampleRows<const T>&,  \
                           const SampleRows<const T>&, const SampleRows<T>&, const SampleRows<T>&);   \
    template void gru_step_backward(index_t, index_t, const SampleRows<const T>&,                     \
                                    const SampleRows<const T>&, const SampleRows<const T>&,           \
                                    const SampleRows<T>&, const SampleRows<T>&);                      \
    template void lstm_step(index_t, index_t, const SampleRows<const T>&, const SampleRows<const T>&, \
                            const SampleRows<const T>&, const SampleRows<T>&, const SampleRows<T>&,   \
                            const SampleRows<T>&);                                                    \
    template void lstm_step_backward(index_t, index_t, const SampleRows<const T>&,                    \
                                     const SampleRows<const T>&, const SampleRows<const T>&,          \
                                     const SampleRows<const T>&, const SampleRows<const T>&,          \
                                     const SampleRows<T>&, const SampleRows<T>&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
