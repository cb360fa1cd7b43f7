// Activations and their derivatives as functions of vectors, and the loops that apply them.
#pragma once

#include "../../platform/simd_aligned.h"
#include "../../platform/simd_math.h"
#include "../../platform/simd_strided.h"
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

struct Relu6 {
    template <class T>
    RANVIER_INLINE static Vec<T> value(Vec<T> x, Vec<T>) {
        return select<T>(x <= Vec<T>{}, Vec<T>{}, select<T>(x >= broadcast(T(6)), broadcast(T(6)), x));
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T> x, Vec<T>) {
        return select<T>((x <= Vec<T>{}) | (x >= broadcast(T(6))), Vec<T>{}, broadcast(T(1)));
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

// Self-normalizing: ELU with a scale and an alpha that keep a mean of 0 and a variance of 1 (Klambauer et al.
// 2017).
struct Selu {
    static constexpr double kScale = 1.0507009873554804934193349852946;
    static constexpr double kScaledAlpha = kScale * 1.6732632423543772848170429916717;

    template <class T>
    RANVIER_INLINE static Vec<T> value(Vec<T> x, Vec<T>) {
        return select<T>(x <= Vec<T>{}, T(kScaledAlpha) * expm1<T>(x), T(kScale) * x);
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T> x, Vec<T>) {
        return select<T>(x <= Vec<T>{}, T(kScaledAlpha) * exp<T>(x), broadcast(T(kScale)));
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope_at(Vec<T> y, Vec<T>) {
        return select<T>(y <= Vec<T>{}, y + T(kScaledAlpha), broadcast(T(kScale)));
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
        const Vec<T> tail = normal_tail<T>(x);
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

// e = exp(-|x|), `bounded`, which is x within bounds beyond which x e is zero, so that no infinity meets a
// zero, and x e, rounded once also where that is below the normal numbers and e alone has lost digits.
template <class T>
struct Decay {
    Vec<T> bounded, e, product;
};
template <class T>
RANVIER_INLINE Decay<T> decay(Vec<T> x) {
    constexpr T kBound = T(7) - Constants<T>::kExpLeast;
    const Vec<T> bounded = clamp<T>(x, -kBound, kBound);
    const auto [r, whole, n] = reduce<T>(-abs<T>(bounded));
    const Vec<T> fraction = fma(r * r, exp_tail<T>(r), r) + T(1);
    return {bounded, scale_by_power<T>(fraction, n, whole), scale_by_power<T>(bounded * fraction, n, whole)};
}

// x sigmoid(x), also called swish (Elfwing et al. 2017, Ramachandran et al. 2017).
struct Silu {
    template <class T>
    RANVIER_INLINE static Vec<T> value(Vec<T> x, Vec<T>) {
        const Decay<T> d = decay<T>(x);
        return select<T>(x < Vec<T>{}, d.product, x) / (d.e + T(1));
    }
    // sigmoid(x) + x sigmoid(x) sigmoid(-x)
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T> x, Vec<T>) {
        const Decay<T> d = decay<T>(x);
        const Vec<T> inverse = T(1) / (d.e + T(1));
        return fma(d.product, inverse, select<T>(x < Vec<T>{}, d.e, broadcast(T(1)))) * inverse;
    }
};

// x tanh(softplus(x)) (Misra 2019). With t = exp(x) the tangent is u / (u + 2), u = t (t + 2); above zero
// numerator and denominator are divided by t^2.
struct Mish {
    template <class T>
    RANVIER_INLINE static Vec<T> value(Vec<T> x, Vec<T>) {
        const Vec<T> zero = {};
        const Decay<T> d = decay<T>(x);
        const Vec<T> above = fma(d.e, broadcast(T(2)), broadcast(T(1))), square = d.e * d.e;
        const Vec<T> below = d.e + T(2);
        const Vec<T> denominator =
            select<T>(x < zero, fma(d.e, below, broadcast(T(2))), fma(square, broadcast(T(2)), above));
        return select<T>(x < zero, d.product * below, x * above) / denominator;
    }
    // The tangent's own slope, times that of softplus, is 4 t (t + 1) / (u + 2)^2.
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T> x, Vec<T>) {
        const Vec<T> zero = {};
        const Decay<T> d = decay<T>(x);
        const Vec<T> numerator =
            select<T>(x < zero, d.e * (d.e + T(2)), fma(d.e, broadcast(T(2)), broadcast(T(1))));
        const Vec<T> inverse =
            T(1) / select<T>(x < zero, numerator + T(2), fma(d.e * d.e, broadcast(T(2)), numerator));
        const Vec<T> share = T(4) * d.product * (d.e + T(1)) * select<T>(x < zero, broadcast(T(1)), d.e);
        return fma(share, inverse, numerator) * inverse;
    }
};

// x relu6(x + 3) / 6 (Howard et al. 2019).
struct Hardswish {
    template <class T>
    RANVIER_INLINE static Vec<T> value(Vec<T> x, Vec<T>) {
        const Vec<T> between = x * (x + T(3)) * T(1.0 / 6);
        return select<T>(x <= broadcast(T(-3)), Vec<T>{}, select<T>(x >= broadcast(T(3)), x, between));
    }
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T> x, Vec<T>) {
        const Vec<T> between = fma(x, broadcast(T(1.0 / 3)), broadcast(T(0.5)));
        return select<T>(x <= broadcast(T(-3)), Vec<T>{},
                         select<T>(x >= broadcast(T(3)), broadcast(T(1)), between));
    }
};

// A slope that is given, in place of the input.
struct GivenSlope {
    template <class T>
    RANVIER_INLINE static Vec<T> slope(Vec<T> given, Vec<T>) {
        return given;
    }
};

// Vectors that are computed side by side, since the steps of each one wait for one another. (The compiler
// mixes their instructions: CMakeLists.txt tells GCC to.)
inline constexpr index_t kSideBySide = 4;

// to[i] = value(i, load) for n elements: those before an aligned vector, groups of vectors, single vectors,
// the tail. `load` loads as many elements from an address as are computed.
template <class T, class Value>
RANVIER_INLINE void compute(index_t n, T* to, Value&& value) {
    const auto whole = [](const T* from) __attribute__((always_inline)) { return load(from); };
    const auto put_some = [&](index_t i, index_t count) __attribute__((always_inline)) {
        store_partial(to + i, value(i, [&](const T* from) { return load_partial(from, count); }), count);
    };
    index_t i = elements_before_alignment<T>(n, to);
    if (i > 0) put_some(0, i);
    for (; i + kSideBySide * kLanes<T> <= n; i += kSideBySide * kLanes<T>) {
        Vec<T> v[kSideBySide];
#pragma GCC unroll 4
        for (index_t k = 0; k < kSideBySide; ++k) v[k] = value(i + k * kLanes<T>, whole);
#pragma GCC unroll 4
        for (index_t k = 0; k < kSideBySide; ++k) store(to + i + k * kLanes<T>, v[k]);
    }
    for (; i + kLanes<T> <= n; i += kLanes<T>) store(to + i, value(i, whole));
    if (i < n) put_some(i, n - i);
}

template <class T, class F>
void map(index_t n, const T* x, T* y, T parameter) {
    const Vec<T> p = broadcast(parameter);
    compute(
        n, y, [&](index_t i, auto load) __attribute__((always_inline)) {
            return F::template value<T>(load(x + i), p);
        });
}

template <class T, class F>
void from_input(index_t n, const T* grad, const T* x, T* grad_x, T parameter) {
    const Vec<T> p = broadcast(parameter);
    compute(
        n, grad_x, [&](index_t i, auto load) __attribute__((always_inline)) {
            return load(grad + i) * F::template slope<T>(load(x + i), p);
        });
}

template <class T, class F>
void from_output(index_t n, const T* grad, const T* y, T* grad_x, T parameter) {
    const Vec<T> p = broadcast(parameter);
    compute(
        n, grad_x, [&](index_t i, auto load) __attribute__((always_inline)) {
            return load(grad + i) * F::template slope_at<T>(load(y + i), p);
        });
}

// group(i) for kSideBySide vectors at a time, if all steps are small, and one(i, count) for the other vectors
// of n elements and the tail.
template <class T, class Group, class One, class... Steps>
RANVIER_INLINE void for_each_lanes(index_t n, Group&& group, One&& one, Steps... steps) {
    const auto is_small = [](index_t step) { return step >= -3 && step <= 3 && step != 0; };
    index_t i = 0;
    if ((is_small(steps) && ...))
        for (; i + kSideBySide * kLanes<T> <= n; i += kSideBySide * kLanes<T>) group(i);
    for (; i + kLanes<T> <= n; i += kLanes<T>) one(i, kLanes<T>);
    if (i < n) one(i, n - i);
}

template <class T, class F>
void map_line(index_t n, const T* x, index_t x_step, T* y, index_t y_step, T parameter) {
    const Vec<T> p = broadcast(parameter);
    for_each_lanes<T>(
        n,
        [&](index_t i) __attribute__((always_inline)) {
            Vec<T> v[kSideBySide] = {};
            load_vectors_apart(x + i * x_step, x_step, v);
#pragma GCC unroll 4
            for (int k = 0; k < kSideBySide; ++k) v[k] = F::template value<T>(v[k], p);
            store_vectors_apart(y + i * y_step, y_step, v);
        },
        [&](index_t i, index_t count) __attribute__((always_inline)) {
            store_every(y + i * y_step, y_step,
                        F::template value<T>(load_every(x + i * x_step, x_step, count), p), count);
        },
        x_step, y_step);
}

template <class T, class F>
void line_from_input(index_t n, const T* grad, index_t grad_step, const T* x, index_t x_step, T* grad_x,
                     index_t grad_x_step, T parameter) {
    const Vec<T> p = broadcast(parameter);
    for_each_lanes<T>(
        n,
        [&](index_t i) __attribute__((always_inline)) {
            Vec<T> v[kSideBySide] = {}, g[kSideBySide] = {};
            load_vectors_apart(x + i * x_step, x_step, v);
#pragma GCC unroll 4
            for (int k = 0; k < kSideBySide; ++k) v[k] = F::template slope<T>(v[k], p);
            load_vectors_apart(grad + i * grad_step, grad_step, g);
#pragma GCC unroll 4
            for (int k = 0; k < kSideBySide; ++k) v[k] = g[k] * v[k];
            store_vectors_apart(grad_x + i * grad_x_step, grad_x_step, v);
        },
        [&](index_t i, index_t count) __attribute__((always_inline)) {
            const Vec<T> slope = F::template slope<T>(load_every(x + i * x_step, x_step, count), p);
            store_every(grad_x + i * grad_x_step, grad_x_step,
                        load_every(grad + i * grad_step, grad_step, count) * slope, count);
        },
        grad_step, x_step, grad_x_step);
}

}  // namespace ranvier::RANVIER_ISA
