// Parameter updates over a contiguous run; formulas in ranvier/optimizer.h.
#pragma once

#include "../../platform/simd.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {

// body(load, store) for whole vectors and then once for the tail, with loads and stores of the right width.
template <class T, class Body>
RANVIER_INLINE void for_each_vector(index_t n, Body&& body) {
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>)
        body([&](const T* from) { return load(from + i); }, [&](T* to, Vec<T> v) { store(to + i, v); });
    if (i < n)
        body([&](const T* from) { return load_partial(from + i, n - i); },
             [&](T* to, Vec<T> v) { store_partial(to + i, v, n - i); });
}

template <class T>
void sgd(const SgdOptions& options, index_t n, T* w, const T* grad, T* velocity) {
    const Vec<T> rate = broadcast(static_cast<T>(-options.learning_rate));
    const Vec<T> momentum = broadcast(static_cast<T>(options.momentum));
    const Vec<T> decay = broadcast(static_cast<T>(options.weight_decay));
    const bool decays = options.weight_decay != 0, nesterov = options.nesterov;
    for_each_vector<T>(
        n, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            const Vec<T> weight = get(w);
            Vec<T> step = get(grad);
            if (decays) step = fma(decay, weight, step);
            if (velocity) {
                const Vec<T> v = fma(momentum, get(velocity), step);
                put(velocity, v);
                step = nesterov ? fma(momentum, v, step) : v;
            }
            put(w, fma(rate, step, weight));
        });
}

template <class T>
void adam(const AdamOptions& options, double correction1, double correction2, index_t n, T* w, const T* grad,
          T* first_moment, T* second_moment) {
    const Vec<T> beta1 = broadcast(static_cast<T>(options.beta1)),
                 rest1 = broadcast(static_cast<T>(1 - options.beta1));
    const Vec<T> beta2 = broadcast(static_cast<T>(options.beta2)),
                 rest2 = broadcast(static_cast<T>(1 - options.beta2));
    const Vec<T> rate = broadcast(static_cast<T>(-options.learning_rate / correction1));
    const Vec<T> root_correction = broadcast(static_cast<T>(1 / __builtin_sqrt(correction2)));
    const Vec<T> epsilon = broadcast(static_cast<T>(options.epsilon));
    const Vec<T> decay = broadcast(static_cast<T>(options.weight_decay));
    const bool decays = options.weight_decay != 0;
    for_each_vector<T>(
        n, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            const Vec<T> weight = get(w);
            Vec<T> g = get(grad);
            if (decays) g = fma(decay, weight, g);
            const Vec<T> first = fma(beta1, get(first_moment), rest1 * g);
            const Vec<T> second = fma(beta2, get(second_moment), rest2 * (g * g));
            put(first_moment, first);
            put(second_moment, second);
            put(w, fma(rate, first / fma(sqrt(second), root_correction, epsilon), weight));
        });
}

}  // namespace ranvier::RANVIER_ISA
