// Softmax of one row along the vector, and of a vector of rows at once.
#pragma once

#include "../../platform/simd_math.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {

template <class T>
RANVIER_INLINE MaskOf<T> lane_numbers() {
    MaskOf<T> numbers = {};
    for (int lane = 0; lane < kLanes<T>; ++lane) numbers[lane] = lane;
    return numbers;
}

// v in the first `count` lanes, and `otherwise` in the rest.
template <class T>
RANVIER_INLINE Vec<T> first_lanes(index_t count, Vec<T> v, Vec<T> otherwise) {
    return select<T>(lane_numbers<T>() < integers<T>(static_cast<typename LaneInt<T>::type>(count)), v,
                     otherwise);
}

// The lanes beyond the end hold -infinity: they are no maximum.
template <class T>
RANVIER_INLINE Vec<T> load_or_least(const T* x, index_t count) {
    return first_lanes<T>(count, load_partial(x, count), broadcast(-T(__builtin_inf())));
}

template <class T>
RANVIER_INLINE T row_max(index_t n, const T* x) {
    // Four maxima side by side, for the processor takes longer over one than it waits for the next.
    Vec<T> most[4];
    for (Vec<T>& part : most) part = broadcast(-T(__builtin_inf()));
    index_t i = 0;
    for (; i + 4 * kLanes<T> <= n; i += 4 * kLanes<T>)
        for (int k = 0; k < 4; ++k) {
            const Vec<T> v = load(x + i + k * kLanes<T>);
            most[k] = select<T>(v > most[k], v, most[k]);
        }
    for (; i < n; i += kLanes<T>) {
        const Vec<T> v = n - i >= kLanes<T> ? load(x + i) : load_or_least(x + i, n - i);
        most[0] = select<T>(v > most[0], v, most[0]);
    }
    for (int k = 1; k < 4; ++k) most[0] = select<T>(most[k] > most[0], most[k], most[0]);
    return max_lanes<T>(most[0]);
}

// exp(x - shift) into y (unless it is nullptr), and its sum.
template <class T>
RANVIER_INLINE T exponentials(index_t n, const T* x, T shift, T* y) {
    const Vec<T> s = broadcast(shift);
    Vec<T> sum = {};
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) {
        const Vec<T> e = exp<T>(load(x + i) - s);
        if (y) store(y + i, e);
        sum += e;
    }
    if (i < n) {
        // In lanes beyond the end exp(0), for a result below the normal numbers takes a hundred cycles.
        const Vec<T> zero = {};
        const Vec<T> e = exp<T>(first_lanes<T>(n - i, load_partial(x + i, n - i) - s, zero));
        if (y) store_partial(y + i, e, n - i);
        sum += first_lanes<T>(n - i, e, zero);
    }
    return sum_lanes<T>(sum);
}

template <class T>
RANVIER_INLINE T scalar_log(T x) {
    return log<T>(broadcast(x))[0];
}

template <class T>
LogSumExp<T> softmax_row(index_t n, const T* x, T* y) {
    const T most = row_max(n, x);
    const T sum = exponentials(n, x, most, y);
    if (y) {
        const Vec<T> inverse = broadcast(T(1) / sum);
        index_t i = 0;
        for (; i + kLanes<T> <= n; i += kLanes<T>) store(y + i, load(y + i) * inverse);
        if (i < n) store_partial(y + i, load_partial(y + i, n - i) * inverse, n - i);
    }
    return {most, scalar_log(sum)};
}

template <class T>
void subtract(index_t n, const T* x, LogSumExp<T> shift, T* y) {
    const Vec<T> most = broadcast(shift.most), log_sum = broadcast(shift.log_sum);
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) store(y + i, load(x + i) - most - log_sum);
    if (i < n) store_partial(y + i, load_partial(x + i, n - i) - most - log_sum, n - i);
}

template <class T>
void softmax_backward_row(index_t n, const T* grad, const T* y, T* grad_x) {
    Vec<T> sum = {};
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) sum = fma(load(grad + i), load(y + i), sum);
    if (i < n) sum = fma(load_partial(grad + i, n - i), load_partial(y + i, n - i), sum);
    const Vec<T> dot = broadcast(sum_lanes<T>(sum));
    for (i = 0; i + kLanes<T> <= n; i += kLanes<T>) store(grad_x + i, load(y + i) * (load(grad + i) - dot));
    if (i < n)
        store_partial(grad_x + i, load_partial(y + i, n - i) * (load_partial(grad + i, n - i) - dot), n - i);
}

template <class T>
void log_softmax_backward_row(index_t n, const T* grad, const T* y, T* grad_x) {
    Vec<T> sum = {};
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) sum += load(grad + i);
    if (i < n) sum += load_partial(grad + i, n - i);
    const Vec<T> total = broadcast(sum_lanes<T>(sum));
    for (i = 0; i + kLanes<T> <= n; i += kLanes<T>)
        store(grad_x + i, fma(-exp<T>(load(y + i)), total, load(grad + i)));
    if (i < n)
        store_partial(grad_x + i,
                      fma(-exp<T>(load_partial(y + i, n - i)), total, load_partial(grad + i, n - i)), n - i);
}

// One vector of rows; `count` of its lanes are there.
template <class T>
RANVIER_INLINE void softmax_column_group(index_t count, index_t n, const T* x, index_t x_stride, T* y,
                                         index_t y_stride, bool logarithm) {
    Vec<T> most = load_partial(x, count), sum = {};
    for (index_t j = 1; j < n; ++j) {
        const Vec<T> v = load_partial(x + j * x_stride, count);
        most = select<T>(v > most, v, most);
    }
    for (index_t j = 0; j < n; ++j) {
        const Vec<T> e = exp<T>(load_partial(x + j * x_stride, count) - most);
        if (!logarithm) store_partial(y + j * y_stride, e, count);
        sum += e;
    }
    const Vec<T> inverse = T(1) / sum, log_sum = log<T>(sum);
    for (index_t j = 0; j < n; ++j) {
        const Vec<T> result = logarithm ? load_partial(x + j * x_stride, count) - most - log_sum
                                        : load_partial(y + j * y_stride, count) * inverse;
        store_partial(y + j * y_stride, result, count);
    }
}

template <class T>
void softmax_columns(index_t rows, index_t n, const T* x, index_t x_stride, T* y, index_t y_stride,
                     bool logarithm) {
    for (index_t i = 0; i < rows; i += kLanes<T>)
        softmax_column_group(rows - i < kLanes<T> ? rows - i : kLanes<T>, n, x + i, x_stride, y + i, y_stride,
                             logarithm);
}

}  // namespace ranvier::RANVIER_ISA
