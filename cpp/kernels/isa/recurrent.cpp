// The cells of recurrent layers for one instruction set; formulas in ranvier/recurrent.h.
#include "../../platform/simd_loops.h"
#include "../../platform/simd_math.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {
namespace {

template <class T>
void gru(index_t n, const T* from_input, const T* from_state, const T* before, T* gates, T* after) {
    const T *input_r = from_input, *input_z = from_input + n, *input_n = from_input + 2 * n;
    const T *state_r = from_state, *state_z = from_state + n, *state_n = from_state + 2 * n;
    for_each_vector<T>(
        n, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            const Vec<T> r = sigmoid<T>(get(input_r) + get(state_r));
            const Vec<T> z = sigmoid<T>(get(input_z) + get(state_z));
            const Vec<T> m = get(state_n);
            const Vec<T> fresh = tanh<T>(fma(r, m, get(input_n)));
            if (gates) {
                put(gates, r);
                put(gates + n, z);
                put(gates + 2 * n, fresh);
                put(gates + 3 * n, m);
            }
            put(after, fma(z, get(before) - fresh, fresh));
        });
}

template <class T>
RANVIER_INLINE Vec<T> sigmoid_slope(Vec<T> y) {
    return y * (T(1) - y);
}
template <class T>
RANVIER_INLINE Vec<T> tanh_slope(Vec<T> y) {
    return T(1) - y * y;
}

template <class T>
void gru_backward(index_t n, const T* gates, const T* before, const T* grad_output, T* grad, T* grad_gates) {
    for_each_vector<T>(
        n, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            const Vec<T> r = get(gates), z = get(gates + n), fresh = get(gates + 2 * n),
                         m = get(gates + 3 * n);
            const Vec<T> g = grad_output ? get(grad) + get(grad_output) : get(grad);
            const Vec<T> to_fresh = g * (T(1) - z) * tanh_slope<T>(fresh);
            put(grad_gates, to_fresh);
            put(grad_gates + n, to_fresh * m * sigmoid_slope<T>(r));
            put(grad_gates + 2 * n, g * (get(before) - fresh) * sigmoid_slope<T>(z));
            put(grad_gates + 3 * n, to_fresh * r);
            put(grad, g * z);
        });
}

template <class T>
void lstm(index_t n, const T* from_input, const T* from_state, const T* cell_before, T* gates, T* cell,
          T* after) {
    for_each_vector<T>(
        n, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            const Vec<T> i = sigmoid<T>(get(from_input) + get(from_state));
            const Vec<T> f = sigmoid<T>(get(from_input + n) + get(from_state + n));
            const Vec<T> g = tanh<T>(get(from_input + 2 * n) + get(from_state + 2 * n));
            const Vec<T> o = sigmoid<T>(get(from_input + 3 * n) + get(from_state + 3 * n));
            const Vec<T> c = fma(f, get(cell_before), i * g);
            if (gates) {
                put(gates, i);
                put(gates + n, f);
                put(gates + 2 * n, g);
                put(gates + 3 * n, o);
            }
            put(cell, c);
            put(after, o * tanh<T>(c));
        });
}

template <class T>
void lstm_backward(index_t n, const T* gates, const T* cell_before, const T* cell, const T* grad_output,
                   const T* grad, T* grad_cell, T* grad_gates) {
    for_each_vector<T>(
        n, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            const Vec<T> i = get(gates), f = get(gates + n), g = get(gates + 2 * n), o = get(gates + 3 * n);
            const Vec<T> to_state = grad_output ? get(grad) + get(grad_output) : get(grad);
            const Vec<T> squashed = tanh<T>(get(cell));
            const Vec<T> to_cell = fma(to_state * o, tanh_slope<T>(squashed), get(grad_cell));
            put(grad_gates, to_cell * g * sigmoid_slope<T>(i));
            put(grad_gates + n, to_cell * get(cell_before) * sigmoid_slope<T>(f));
            put(grad_gates + 2 * n, to_cell * i * tanh_slope<T>(g));
            put(grad_gates + 3 * n, to_state * squashed * sigmoid_slope<T>(o));
            put(grad_cell, to_cell * f);
        });
}

}  // namespace

constinit const RecurrentKernels<float> recurrent_float32 = {gru<float>, lstm<float>, gru_backward<float>,
                                                             lstm_backward<float>};
constinit const RecurrentKernels<double> recurrent_float64 = {gru<double>, lstm<double>, gru_backward<double>,
                                                              lstm_backward<double>};

}  // namespace ranvier::RANVIER_ISA
