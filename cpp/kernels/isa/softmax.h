// Softmax of one row along the vector, and of a vector of rows at once.
#pragma once

#include "../../platform/simd_aligned.h"
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
        for_each_aligned_vector<T>(
            n, y, [&](auto&& get, auto&& put) __attribute__((always_inline)) { put(y, get(y) * inverse); });
    }
    return {most, scalar_log(sum)};
}

template <class T>
void subtract(index_t n, const T* x, LogSumExp<T> shift, T* y) {
    const Vec<T> most = broadcast(shift.most), log_sum = broadcast(shift.log_sum);
    for_each_aligned_vector<T>(
        n,
        y, [&](auto&& get, auto&& put) __attribute__((always_inline)) { put(y, get(x) - most - log_sum); });
}

template <class T>
void softmax_backward_row(index_t n, const T* grad, const T* y, T* grad_x) {
    Vec<T> sum = {};
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) sum = fma(load(grad + i), load(y + i), sum);
    if (i < n) sum = fma(load_partial(grad + i, n - i), load_partial(y + i, n - i), sum);
    const Vec<T> dot = broadcast(sum_lanes<T>(sum));
    for_each_aligned_vector<T>(
        n, grad_x, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            put(grad_x, get(y) * (get(grad) - dot));
        });
}

template <class T>
void log_softmax_backward_row(index_t n, const T* grad, const T* y, T* grad_x) {
    Vec<T> sum = {};
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) sum += load(grad + i);
    if (i < n) sum += load_partial(grad + i, n - i);
    const Vec<T> total = broadcast(sum_lanes<T>(sum));
    for_each_aligned_vector<T>(
        n, grad_x, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            put(grad_x, fma(-exp<T>(get(y)), total, get(grad)));
        });
}

// Columns of W vectors, of which the last lanes of the last one may be missing: loads, stores, and sums in
// the order of a row's. A row's elements go to as many sums as a vector has lanes, which are added up as a
// tree.
template <class T, int W>
struct ColumnGroup {
    index_t count;  // of the last vector's lanes
    Vec<T> part[kLanes<T>][W] = {};

    RANVIER_INLINE index_t count_of(int w) const { return w == W - 1 ? count : kLanes<T>; }
    RANVIER_INLINE Vec<T> get(const T* from, int w) const {
        return load_some(from + w * kLanes<T>, count_of(w));
    }
    RANVIER_INLINE void put(T* to, int w, Vec<T> v) const {
        store_partial(to + w * kLanes<T>, v, count_of(w));
    }
    RANVIER_INLINE Vec<T>& sum_of(index_t j, int w) { return part[j % kLanes<T>][w]; }
    RANVIER_INLINE Vec<T> total(int w) {
        for (index_t half = kLanes<T> / 2; half > 0; half /= 2)
            for (index_t i = 0; i < half; ++i) part[i][w] += part[i + half][w];
        return part[0][w];
    }
};

template <class T, int W>
RANVIER_INLINE void softmax_column_group(index_t count, index_t n, const T* x, index_t x_stride, T* y,
                                         index_t y_stride, bool logarithm) {
    ColumnGroup<T, W> group = {count};
    Vec<T> most[W], factor[W];
    for (Vec<T>& v : most) v = broadcast(-T(__builtin_inf()));
    for (index_t j = 0; j < n; ++j)
        for (int w = 0; w < W; ++w) {
            const Vec<T> v = group.get(x + j * x_stride, w);
            most[w] = select<T>(v > most[w], v, most[w]);
        }
    for (index_t j = 0; j < n; ++j)
        for (int w = 0; w < W; ++w) {
            const Vec<T> e = exp<T>(group.get(x + j * x_stride, w) - most[w]);
            if (!logarithm) group.put(y + j * y_stride, w, e);
            group.sum_of(j, w) += e;
        }
    for (int w = 0; w < W; ++w) factor[w] = logarithm ? log<T>(group.total(w)) : T(1) / group.total(w);
    for (index_t j = 0; j < n; ++j)
        for (int w = 0; w < W; ++w)
            group.put(y + j * y_stride, w,
                      logarithm ? group.get(x + j * x_stride, w) - most[w] - factor[w]
                                : group.get(y + j * y_stride, w) * factor[w]);
}

template <class T, int W>
RANVIER_INLINE void softmax_backward_column_group(index_t count, index_t n, const T* grad,
                                                  index_t grad_stride, const T* y, index_t y_stride,
                                                  T* grad_x, index_t grad_x_stride, bool logarithm) {
    ColumnGroup<T, W> group = {count};
    for (index_t j = 0; j < n; ++j)
        for (int w = 0; w < W; ++w) {
            const Vec<T> g = group.get(grad + j * grad_stride, w);
            Vec<T>& sum = group.sum_of(j, w);
            sum = logarithm ? sum + g : fma(g, group.get(y + j * y_stride, w), sum);
        }
    Vec<T> total[W];
    for (int w = 0; w < W; ++w) total[w] = group.total(w);
    for (index_t j = 0; j < n; ++j)
        for (int w = 0; w < W; ++w) {
            const Vec<T> g = group.get(grad + j * grad_stride, w), v = group.get(y + j * y_stride, w);
            group.put(grad_x + j * grad_x_stride, w,
                      logarithm ? fma(-exp<T>(v), total[w], g) : v * (g - total[w]));
        }
}

// body(first column, columns of the last vector) for groups of four vectors and then single ones.
template <class T, class Wide, class Single>
RANVIER_INLINE void for_each_column_group(index_t columns, Wide&& wide, Single&& single) {
    index_t i = 0;
    for (; i + 4 * kLanes<T> <= columns; i += 4 * kLanes<T>) wide(i);
    for (; i < columns; i += kLanes<T>) single(i, columns - i < kLanes<T> ? columns - i : kLanes<T>);
}

template <class T>
void softmax_columns(index_t rows, index_t n, const T* x, index_t x_stride, T* y, index_t y_stride,
                     bool logarithm) {
    for_each_column_group<T>(
        rows,
        [&](index_t i) {
            softmax_column_group<T, 4>(kLanes<T>, n, x + i, x_stride, y + i, y_stride, logarithm);
        },
        [&](index_t i, index_t count) {
            softmax_column_group<T, 1>(count, n, x + i, x_stride, y + i, y_stride, logarithm);
        });
}

template <class T>
void softmax_backward_columns(index_t rows, index_t n, const T* grad, index_t grad_stride, const T* y,
                              index_t y_stride, T* grad_x, index_t grad_x_stride, bool logarithm) {
    for_each_column_group<T>(
        rows,
        [&](index_t i) {
            softmax_backward_column_group<T, 4>(kLanes<T>, n, grad + i, grad_stride, y + i, y_stride,
                                                grad_x + i, grad_x_stride, logarithm);
        },
        [&](index_t i, index_t count) {
            softmax_backward_column_group<T, 1>(count, n, grad + i, grad_stride, y + i, y_stride, grad_x + i,
                                                grad_x_stride, logarithm);
        });
}

}  // namespace ranvier::RANVIER_ISA
