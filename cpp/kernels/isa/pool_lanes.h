// Pooling of a vector of planes at once, one in each lane: for small planes, long strides, windows over the
// border, and images whose channels are neighbours in memory.
//
// Each window's pixels are taken row by row, as everywhere in pooling.
#pragma once

#include "../../platform/simd.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {

// The pixels that a window meets along one axis of the image.
struct Extent {
    index_t first, end;
};
RANVIER_INLINE Extent extent(index_t window, index_t kernel, index_t stride, index_t padding, index_t size) {
    const index_t first = window * stride - padding, end = first + kernel;
    return {first > 0 ? first : 0, end < size ? end : size};
}

// One over the divisor of the averages: of a window that is whole it is `scale`.
template <class T>
struct Scales {
    const Pool2dShape& s;
    T scale;
    bool even;

    Scales(const Pool2dShape& shape, T whole) : s(shape), scale(whole), even(shape.has_even_divisor()) {}

    RANVIER_INLINE T at(index_t row, index_t column) const {
        if (even || (is_whole(row, s.kernel_height, s.stride_height, s.padding_height, s.in_height) &&
                     is_whole(column, s.kernel_width, s.stride_width, s.padding_width, s.in_width)))
            return scale;
        return T(1) / static_cast<T>(s.divisor(row, column));
    }
    RANVIER_INLINE static bool is_whole(index_t window, index_t kernel, index_t stride, index_t padding,
                                        index_t size) {
        const index_t first = window * stride - padding;
        return first >= 0 && first + kernel <= size;
    }
};

// body(window's number, rows, columns) for the windows of some rows of the output.
template <class Body>
RANVIER_INLINE void for_each_window(const Pool2dShape& s, index_t first_row, index_t end_row, Body&& body) {
    const index_t out_width = s.out_width();
    index_t at = 0;
    for (index_t i = first_row; i < end_row; ++i) {
        const Extent rows = extent(i, s.kernel_height, s.stride_height, s.padding_height, s.in_height);
        for (index_t j = 0; j < out_width; ++j, ++at)
            body(at, rows, extent(j, s.kernel_width, s.stride_width, s.padding_width, s.in_width));
    }
}

template <class T>
void max_lanes(const Pool2dShape& s, index_t first_row, index_t end_row, const PlaneLanes<const T>& x, T* y,
               T* indices) {
    using Int = typename LaneInt<T>::type;
    const index_t count = x.count, col_stride = x.col_stride;
    for_each_window(
        s, first_row, end_row, [&](index_t window, Extent rows, Extent cols) __attribute__((always_inline)) {
            const T* corner = x.data + (rows.first - x.first_row) * x.row_stride + cols.first * col_stride;
            const MaskOf<T> start = static_cast<Int>(rows.first * s.in_width + cols.first) - MaskOf<T>{};
            const auto each = [&](auto&& body) __attribute__((always_inline)) {
                const T* row = corner;
                MaskOf<T> row_start = start;
                for (index_t i = rows.first; i < rows.end; ++i) {
                    const T* from = row;
                    MaskOf<T> at = row_start;
                    for (index_t j = cols.first; j < cols.end; ++j, from += col_stride, at += Int{1})
                        body(load_some(from, count), at);
                    row += x.row_stride;
                    row_start += static_cast<Int>(s.in_width);
                }
            };
            Vec<T> most = load_some(corner, count), sum = {};
            MaskOf<T> best = start;
            each([&](Vec<T> v, MaskOf<T> at) __attribute__((always_inline)) {
                const MaskOf<T> better = v > most;
                most = select<T>(better, v, most);
                best = better ? at : best;
                sum += v;
            });
            // A sum that is no number says that there may be a NaN: the first of them wins.
            if (any_nan<T>(sum)) {
                most = load_some(corner, count);
                best = start;
                each([&](Vec<T> v, MaskOf<T> at) __attribute__((always_inline)) {
                    const MaskOf<T> better = (v > most) | ((v != v) & (most == most));
                    most = select<T>(better, v, most);
                    best = better ? at : best;
                });
            }
            store(y + window * kLanes<T>, most);
            store(indices + window * kLanes<T>, from_bits<T>(best));
        });
}

template <class T>
void average_lanes(const Pool2dShape& s, index_t first_row, index_t end_row, const PlaneLanes<const T>& x,
                   T scale, T* y) {
    const Scales<T> scales(s, scale);
    const index_t out_width = s.out_width();
    for_each_window(
        s, first_row, end_row, [&](index_t window, Extent rows, Extent cols) __attribute__((always_inline)) {
            const T* row = x.data + (rows.first - x.first_row) * x.row_stride + cols.first * x.col_stride;
            Vec<T> sum = {};
            for (index_t i = rows.first; i < rows.end; ++i, row += x.row_stride) {
                const T* from = row;
                for (index_t j = cols.first; j < cols.end; ++j, from += x.col_stride)
                    sum += load_some(from, x.count);
            }
            const T share =
                scales.even ? scale : scales.at(first_row + window / out_width, window % out_width);
            store(y + window * kLanes<T>, sum * share);
        });
}

// add(column, window) for all pairs of a row of the image and a row of windows that meet: for each column of
// the window all windows, or, if there are few of those, for each window all its columns.
template <class Add>
RANVIER_INLINE void for_each_meeting(const Pool2dShape& s, Add&& add) {
    const index_t windows = s.out_width(), step = s.stride_width, padding = s.padding_width;
    if (windows < s.kernel_width) {
        for (index_t j = 0; j < windows; ++j) {
            const Extent cols = extent(j, s.kernel_width, step, padding, s.in_width);
            add(cols.first, j, cols.end - cols.first, index_t{1}, index_t{0});
        }
        return;
    }
    for (index_t k = 0; k < s.kernel_width; ++k) {
        // Windows j with 0 <= j * step + k - padding < in_width.
        const index_t first = k >= padding ? 0 : (padding - k + step - 1) / step;
        const index_t end = s.in_width + padding <= k ? 0 : (s.in_width + padding - k - 1) / step + 1;
        const index_t last = end < windows ? end : windows;
        if (first < last) add(first * step + k - padding, first, last - first, step, index_t{1});
    }
}

template <class T>
RANVIER_INLINE void fill(index_t n, Vec<T> v, T* to) {
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) store(to + i, v);
    if (i < n) store_partial(to + i, v, n - i);
}

// For windows that are wider than there are many: each one's columns at a time.
template <class T>
void spread_windows(const Pool2dShape& s, const T* grad, T scale, T* row) {
    const index_t windows = s.out_width();
    index_t written = 0;  // columns
    for (index_t j = 0; j < windows; ++j) {
        const Extent cols = extent(j, s.kernel_width, s.stride_width, s.padding_width, s.in_width);
        const T share = T{} + grad[j] * scale;
        if (written < cols.first) fill(cols.first - written, Vec<T>{}, row + written);
        for (index_t i = cols.first; i < written && i < cols.end; ++i) row[i] += share;
        const index_t first = written > cols.first ? written : cols.first;
        if (first < cols.end) fill(cols.end - first, broadcast(share), row + first);
        written = written > cols.end ? written : cols.end;
    }
    fill(s.in_width - written, Vec<T>{}, row + written);
}

template <class T>
void average_row_backward(const Pool2dShape& s, const T* grad, T scale, T* row) {
    if (s.out_width() < s.kernel_width) return spread_windows(s, grad, scale, row);
    fill(s.in_width, Vec<T>{}, row);
    for_each_meeting(
        s, [&](index_t column, index_t window, index_t n, index_t step, index_t)
               __attribute__((always_inline)) {
                   T* to = row + column;
                   const T* from = grad + window;
                   if (step == 1)
                       for (index_t j = 0; j < n; ++j) to[j] += from[j] * scale;
                   else
                       for (index_t j = 0; j < n; ++j) to[j * step] += from[j] * scale;
               });
}

template <class T>
void average_lanes_backward(const Pool2dShape& s, const PlaneLanes<const T>& grad, T scale, T* memory,
                            T* grad_x) {
    constexpr index_t kL = kLanes<T>;
    const index_t out_height = s.out_height(), width = s.in_width * kL;
    const Scales<T> scales(s, scale);
    index_t written = 0;  // rows
    const auto clear = [&](index_t first, index_t end) __attribute__((always_inline)) {
        fill((end - first) * width, Vec<T>{}, grad_x + first * width);
    };
    for (index_t y = 0; y < out_height; ++y) {
        const T* from = grad.data + (y - grad.first_row) * grad.row_stride;
        const Extent rows = extent(y, s.kernel_height, s.stride_height, s.padding_height, s.in_height);
        if (written < rows.first) {
            clear(written, rows.first);
            written = rows.first;
        }
        T* row = rows.first == written ? grad_x + written * width : memory;
        fill(width, Vec<T>{}, row);
        for_each_meeting(
            s, [&](index_t column, index_t window, index_t n, index_t step, index_t next)
                   __attribute__((always_inline)) {
                       T* to = row + column * kL;
                       for (index_t j = 0; j < n; ++j, to += step * kL) {
                           const T* g = from + (window + j * next) * grad.col_stride;
                           store(to, load(to) + load_some(g, grad.count) * scales.at(y, window + j * next));
                       }
                   });
        for (index_t i = rows.first; i < rows.end; ++i) {
            T* to = grad_x + i * width;
            if (to == row) continue;
            for (index_t j = 0; j < width; j += kL)
                store(to + j, i < written ? load(to + j) + load(row + j) : load(row + j));
        }
        written = written > rows.end ? written : rows.end;
    }
    clear(written, s.in_height);
}

}  // namespace ranvier::RANVIER_ISA
