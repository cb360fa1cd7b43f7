// Activations and their derivatives as functions of vectors, and the loops that apply them.
#pragma once

#include "../../platform/simd_math.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {

// Each has value(x), slope(x) = f'(x), and, if f'(x) is a function of y = f(x), slope_at(y). A comparison
// with NaN is false, so NaN takes the last branch of each select and comes out as NaN.
struct Identity {
    template <class T>
    RANVIER_INLINE static Vec<T> value(Vec<T> x, Vec<T>) {
        return x;
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T>, Vec<T>) {
        return broadcast(T(1));
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope_at(Vec<T>, Vec<T>) {
        return broadcast(T(1));
    }
};

struct Step {
    template <class T>
    RANVIER_INLINE static Vec<T> value(Vec<T> x, Vec<T>) {
        const Vec<T> zero = {};
        return select<T>(x <= zero, zero, select<T>(x > zero, broadcast(T(1)), x));
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T>, Vec<T>) {
        return Vec<T>{};
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope_at(Vec<T>, Vec<T>) {
        return Vec<T>{};
    }
};

struct Sigmoid {
    template <class T>
    RANVIER_INLINE static Vec<T> value(Vec<T> x, Vec<T>) {
        return sigmoid<T>(x);
    }
    // e / (1 + e)^2 with e = exp(-|x|), which keeps its accuracy where the function saturates.
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T> x, Vec<T>) {
        const Vec<T> e = exp<T>(-abs<T>(x));
        const Vec<T> sum = e + T(1);
        return e / (sum * sum);
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope_at(Vec<T> y, Vec<T>) {
        return y * (T(1) - y);
    }
};

struct Tanh {
    template <class T>
    RANVIER_INLINE static Vec<T> value(Vec<T> x, Vec<T>) {
        return tanh<T>(x);
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T> x, Vec<T>) {
        const Vec<T> e = exp<T>(T(-2) * abs<T>(x));
        const Vec<T> sum = e + T(1);
        return T(4) * e / (sum * sum);
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope_at(Vec<T> y, Vec<T>) {
        return T(1) - y * y;
    }
};

struct Relu {
    template <class T>
    RANVIER_INLINE static Vec<T> value(Vec<T> x, Vec<T>) {
        return select<T>(x <= Vec<T>{}, Vec<T>{}, x);
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T> x, Vec<T>) {
        return select<T>(x <= Vec<T>{}, Vec<T>{}, broadcast(T(1)));
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope_at(Vec<T> y, Vec<T> p) {
        return slope<T>(y, p);
    }
};

struct LeakyRelu {
    template <class T>
    RANVIER_INLINE static Vec<T> value(Vec<T> x, Vec<T> p) {
        return select<T>(x <= Vec<T>{}, p * x, x);
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T> x, Vec<T> p) {
        return select<T>(x <= Vec<T>{}, p, broadcast(T(1)));
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope_at(Vec<T> y, Vec<T> p) {
        return slope<T>(y, p);
    }
};

struct Elu {
    template <class T>
    RANVIER_INLINE static Vec<T> value(Vec<T> x, Vec<T> p) {
        return select<T>(x <= Vec<T>{}, p * expm1<T>(x), x);
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T> x, Vec<T> p) {
        return select<T>(x <= Vec<T>{}, p * exp<T>(x), broadcast(T(1)));
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope_at(Vec<T> y, Vec<T> p) {
        return select<T>(y <= Vec<T>{}, y + p, broadcast(T(1)));
    }
};

struct Softplus {
    template <class T>
    RANVIER_INLINE static Vec<T> value(Vec<T> x, Vec<T>) {
        const Vec<T> positive = select<T>(x <= Vec<T>{}, Vec<T>{}, x);
        return positive + log1p_of_fraction<T>(exp<T>(-abs<T>(x)));
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T> x, Vec<T>) {
        return sigmoid<T>(x);
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope_at(Vec<T> y, Vec<T>) {
        return -expm1<T>(-y);
    }
};

// The exact form x Phi(x) (Hendrycks and Gimpel 2016). Numbers far from zero are rare, and take another way;
// each lane has the bits of its own way, whatever the others are.
struct Gelu {
    template <class T>
    RANVIER_INLINE static Vec<T> value(Vec<T> x, Vec<T>) {
        const MaskOf<T> near = abs<T>(x) <= broadcast(T(kNearTail));
        const Vec<T> tail = normal_parts<T>(x).tail;
        const Vec<T> result = select<T>(x <= Vec<T>{}, x * tail, fma(-x, tail, x));
        if (!any_set<T>(~near)) [[likely]]
            return result;
        // No infinity times zero.
        return select<T>(near, result, times_far_normal_cdf<T>(at_least(broadcast(T(-39)), x), x));
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T> x, Vec<T>) {
        const MaskOf<T> near = abs<T>(x) <= broadcast(T(kNearTail));
        const NormalParts<T> parts = normal_parts<T>(x);
        const Vec<T> cdf = select<T>(x <= Vec<T>{}, parts.tail, T(1) - parts.tail);
        const Vec<T> result = fma(x * T(kDensityOfZero), parts.exponential, cdf);
        if (!any_set<T>(~near)) [[likely]]
            return result;
        const Vec<T> infinity = broadcast(T(__builtin_inf()));
        const Vec<T> density = select<T>(abs<T>(x) == infinity, Vec<T>{}, x * normal_density<T>(x));
        return select<T>(near, result, times_far_normal_cdf<T>(broadcast(T(1)), x) + density);
    }
};

template <class T, class F>
void map(index_t n, const T* x, T* y, T parameter) {
    const Vec<T> p = broadcast(parameter);
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) store(y + i, F::template value<T>(load(x + i), p));
    if (i < n) store_partial(y + i, F::template value<T>(load_partial(x + i, n - i), p), n - i);
}

template <class T, class F>
void from_input(index_t n, const T* grad, const T* x, T* grad_x, T parameter) {
    const Vec<T> p = broadcast(parameter);
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>)
        store(grad_x + i, load(grad + i) * F::template slope<T>(load(x + i), p));
    if (i < n)
        store_partial(grad_x + i,
                      load_partial(grad + i, n - i) * F::template slope<T>(load_partial(x + i, n - i), p),
                      n - i);
}

template <class T, class F>
void from_output(index_t n, const T* grad, const T* y, T* grad_x, T parameter) {
    const Vec<T> p = broadcast(parameter);
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>)
        store(grad_x + i, load(grad + i) * F::template slope_at<T>(load(y + i), p));
    if (i < n)
        store_partial(grad_x + i,
                      load_partial(grad + i, n - i) * F::template slope_at<T>(load_partial(y + i, n - i), p),
                      n - i);
}

}  // namespace ranvier::RANVIER_ISA
