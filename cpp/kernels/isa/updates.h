// Parameter updates over a contiguous run; formulas in ranvier/optimizer.h.
#pragma once

#include "../../platform/simd_aligned.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {

// What every rule does to a gradient and a weight before its own step.
template <class T>
struct Preparation {
    Vec<T> scale, limit, decay, shrink;
    bool scales, clips, decays, shrinks;

    RANVIER_INLINE explicit Preparation(const UpdateStep& s)
        : scale(broadcast(static_cast<T>(s.gradient_scale))),
          limit(broadcast(static_cast<T>(s.options.clip_value))),
          decay(broadcast(static_cast<T>(s.options.weight_decay))),
          shrink(broadcast(static_cast<T>(1 - s.options.lr * s.options.weight_decay))),
          scales(s.gradient_scale != 1),
          clips(s.options.clip_value > 0),
          decays(s.options.weight_decay != 0 && !s.options.decoupled_decay),
          shrinks(s.options.weight_decay != 0 && s.options.decoupled_decay) {}

    RANVIER_INLINE Vec<T> gradient(Vec<T> g, Vec<T> w) const {
        if (scales) g *= scale;
        if (clips) g = at_most(limit, at_least(-limit, g));
        return decays ? fma(decay, w, g) : g;
    }
    RANVIER_INLINE Vec<T> weight(Vec<T> w) const { return shrinks ? w * shrink : w; }
    RANVIER_INLINE bool is_needed() const { return scales || clips || decays || shrinks; }
};
template <class T>
struct NoPreparation {
    RANVIER_INLINE Vec<T> gradient(Vec<T> g, Vec<T>) const { return g; }
    RANVIER_INLINE Vec<T> weight(Vec<T> w) const { return w; }
};

// The loop of a rule: body(load, store, preparation). Without preparations it has no branches, which would
// take longer than many a rule.
template <class T, class Body>
RANVIER_INLINE void for_each_prepared(const UpdateStep& s, index_t n, Body&& body) {
    const Preparation<T> prepare(s);
    if (prepare.is_needed())
        for_each_vector<T>(
            n, [&](auto&& get, auto&& put) __attribute__((always_inline)) { body(get, put, prepare); });
    else
        for_each_vector<T>(
            n, [&](auto&& get, auto&& put)
                   __attribute__((always_inline)) { body(get, put, NoPreparation<T>{}); });
}

template <class T>
void sgd(const UpdateStep& s, index_t n, T* w, const T* grad) {
    const Vec<T> rate = broadcast(static_cast<T>(-s.options.lr));
    for_each_prepared<T>(
        s, n, [&](auto&& get, auto&& put, const auto& prepare) __attribute__((always_inline)) {
            const Vec<T> before = get(w);
            put(w, fma(rate, prepare.gradient(get(grad), before), prepare.weight(before)));
        });
}

template <class T, bool NESTEROV>
void sgd_with_momentum(const UpdateStep& s, index_t n, T* w, const T* grad, T* velocity) {
    const Vec<T> rate = broadcast(static_cast<T>(-s.options.lr));
    const Vec<T> momentum = broadcast(static_cast<T>(s.options.momentum));
    for_each_prepared<T>(
        s, n, [&](auto&& get, auto&& put, const auto& prepare) __attribute__((always_inline)) {
            const Vec<T> before = get(w), g = prepare.gradient(get(grad), before);
            const Vec<T> v = fma(momentum, get(velocity), g);
            put(velocity, v);
            put(w, fma(rate, NESTEROV ? fma(momentum, v, g) : v, prepare.weight(before)));
        });
}

template <class T>
void adam(const UpdateStep& s, index_t n, T* w, const T* grad, T* first_moment, T* second_moment) {
    const Vec<T> beta1 = broadcast(static_cast<T>(s.options.beta1)),
                 rest1 = broadcast(static_cast<T>(1 - s.options.beta1));
    const Vec<T> beta2 = broadcast(static_cast<T>(s.options.beta2)),
                 rest2 = broadcast(static_cast<T>(1 - s.options.beta2));
    const Vec<T> rate = broadcast(static_cast<T>(-s.options.lr / s.correction1));
    const Vec<T> root_correction = broadcast(static_cast<T>(1 / __builtin_sqrt(s.correction2)));
    const Vec<T> eps = broadcast(static_cast<T>(s.options.eps));
    for_each_prepared<T>(
        s, n, [&](auto&& get, auto&& put, const auto& prepare) __attribute__((always_inline)) {
            const Vec<T> before = get(w), g = prepare.gradient(get(grad), before);
            const Vec<T> first = fma(beta1, get(first_moment), rest1 * g);
            const Vec<T> second = fma(beta2, get(second_moment), rest2 * (g * g));
            put(first_moment, first);
            put(second_moment, second);
            const Vec<T> step = first / fma(sqrt(second), root_correction, eps);
            put(w, fma(rate, step, prepare.weight(before)));
        });
}

// RMSProp, and with a decay and a share of 1 AdaGrad.
template <class T>
void scaled_descent(const UpdateStep& s, double decay, double share, index_t n, T* w, const T* grad,
                    T* velocity, T* second_moment) {
    const Vec<T> keep = broadcast(static_cast<T>(decay)), add = broadcast(static_cast<T>(share));
    const Vec<T> rate = broadcast(static_cast<T>(-s.options.lr));
    const Vec<T> momentum = broadcast(static_cast<T>(s.options.momentum));
    const Vec<T> eps = broadcast(static_cast<T>(s.options.eps));
    for_each_prepared<T>(
        s, n, [&](auto&& get, auto&& put, const auto& prepare) __attribute__((always_inline)) {
            const Vec<T> before = get(w), g = prepare.gradient(get(grad), before);
            const Vec<T> second = fma(keep, get(second_moment), add * (g * g));
            put(second_moment, second);
            Vec<T> step = g / (sqrt(second) + eps);
            if (velocity) {
                step = fma(momentum, get(velocity), step);
                put(velocity, step);
            }
            put(w, fma(rate, step, prepare.weight(before)));
        });
}

template <class T>
void update(const UpdateStep& s, index_t n, T* w, const T* grad, T* velocity, T* first_moment,
            T* second_moment) {
    switch (s.options.rule) {
        case UpdateRule::sgd:
            if (!velocity) return sgd(s, n, w, grad);
            return s.options.nesterov ? sgd_with_momentum<T, true>(s, n, w, grad, velocity)
                                      : sgd_with_momentum<T, false>(s, n, w, grad, velocity);
        case UpdateRule::adam:
            return adam(s, n, w, grad, first_moment, second_moment);
        case UpdateRule::rmsprop:
            return scaled_descent(s, s.options.beta2, 1 - s.options.beta2, n, w, grad, velocity,
                                  second_moment);
        case UpdateRule::adagrad:
            return scaled_descent(s, 1, 1, n, w, grad, velocity, second_moment);
    }
}

template <class T>
double sum_of_squares(index_t n, const T* x) {
    return static_cast<double>(
        sum_lanes<T>(in_four_parts<T>(n, x, [](Vec<T> v, Vec<T> sum) { return fma(v, v, sum); })));
}

// Zero times what is not finite is a NaN, which stays in the sum.
template <class T>
bool all_finite(index_t n, const T* x) {
    const Vec<T> zero = broadcast(T{});
    return !any_nan<T>(in_four_parts<T>(n, x, [&](Vec<T> v, Vec<T> sum) { return fma(v, zero, sum); }));
}

// As integers, numbers without their sign are in order, and a NaN is the greatest.
template <class T>
T largest_magnitude(index_t n, const T* x) {
    using Int = typename LaneInt<T>::type;
    constexpr Int kWithoutSign = static_cast<Int>(~(Int{1} << (8 * sizeof(Int) - 1)));
    MaskOf<T> most[4] = {};
    const auto take = [&](Vec<T> v, MaskOf<T> & most_so_far) __attribute__((always_inline)) {
        const MaskOf<T> magnitude = bits<T>(v) & kWithoutSign;
        most_so_far = magnitude > most_so_far ? magnitude : most_so_far;
    };
    index_t i = 0;
    for (; i + 4 * kLanes<T> <= n; i += 4 * kLanes<T>)
        for (int k = 0; k < 4; ++k) take(load(x + i + k * kLanes<T>), most[k]);
    for (; i < n; i += kLanes<T>) take(load_partial(x + i, n - i < kLanes<T> ? n - i : kLanes<T>), most[0]);
    for (int k = 1; k < 4; ++k) most[0] = most[k] > most[0] ? most[k] : most[0];
    Int largest = 0;
    for (int lane = 0; lane < kLanes<T>; ++lane) largest = most[0][lane] > largest ? most[0][lane] : largest;
    return __builtin_bit_cast(T, largest);
}

template <class T>
void add_penalty_gradient(T l1, T l2, index_t n, const T* w, T* grad) {
    const Vec<T> absolute = broadcast(l1), square = broadcast(l2), zero = {};
    for_each_vector<T>(
        n, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            const Vec<T> value = get(w);
            const Vec<T> sign = select<T>(value > zero, absolute, select<T>(value < zero, -absolute, zero));
            put(grad, fma(square, value, get(grad)) + sign);
        });
}

template <class T>
void add(index_t n, const T* a, const T* b, T* y) {
    for_each_aligned_vector<T>(
        n, y, [&](auto&& get, auto&& put) __attribute__((always_inline)) { put(y, get(a) + get(b)); });
}

// A pixel as a fraction of 255, divided as NumPy divides it.
template <class T>
void bytes_to_fractions(index_t n, const std::uint8_t* from, T* to) {
    for (index_t i = 0; i < n; ++i) to[i] = static_cast<T>(from[i]) / T(255);
}

}  // namespace ranvier::RANVIER_ISA
