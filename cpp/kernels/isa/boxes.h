// Boxes of strided memory, copied to contiguous memory and back.
#pragma once

#include "../../platform/simd_strided.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {

template <class T>
void gather_lanes(index_t lines, index_t n, const T* from, index_t stride, T* to, index_t to_stride);
template <class T>
void scatter_sums(index_t lines, index_t n, const T* from, index_t from_stride, T* to, index_t stride,
                  bool accumulate);

// The same box with its axes of size one in front, and neighbouring axes made one where the strides allow it.
// The order of its elements stays.
struct PlainBox {
    index_t size[3] = {1, 1, 1}, stride[3] = {};
};
RANVIER_INLINE PlainBox plain(const BoxShape& box) {
    PlainBox result;
    int first = 3;  // of the axes so far
    for (int d = 2; d >= 0; --d) {
        if (box.size[d] == 1) continue;
        if (first < 3 && box.stride[d] == result.stride[first] * result.size[first]) {
            result.size[first] *= box.size[d];
        } else {
            --first;
            result.size[first] = box.size[d];
            result.stride[first] = box.stride[d];
        }
    }
    return result;
}

template <class T>
RANVIER_INLINE void gather_line(index_t n, const T* from, index_t stride, T* to) {
    index_t i = 0;
    if (stride == 1) {
        for (; i + kLanes<T> <= n; i += kLanes<T>) store(to + i, load(from + i));
    } else if (stride == 0) {
        const Vec<T> same = broadcast(*from);
        for (; i + kLanes<T> <= n; i += kLanes<T>) store(to + i, same);
    } else if (stride == -1) {
        for (; i + kLanes<T> <= n; i += kLanes<T>)
            store(to + i, reversed<T>(load(from - i - (kLanes<T> - 1))));
    } else if (stride == 2) {
        for (; i + kLanes<T> <= n; i += kLanes<T>) store(to + i, load_every(from + 2 * i, 2, kLanes<T>));
    } else if (stride == -2) {
        for (; i + kLanes<T> <= n; i += kLanes<T>)
            store(to + i, reversed<T>(load_every(from - 2 * (i + kLanes<T> - 1), 2, kLanes<T>)));
    }
    for (; i < n; ++i) to[i] = from[i * stride];
}

template <class T>
RANVIER_INLINE void scatter_line(index_t n, const T* from, T* to, index_t stride) {
    index_t i = 0;
    if (stride == 1) {
        for (; i + kLanes<T> <= n; i += kLanes<T>) store(to + i, load(from + i));
    } else if (stride == -1) {
        for (; i + kLanes<T> <= n; i += kLanes<T>)
            store(to - i - (kLanes<T> - 1), reversed<T>(load(from + i)));
    }
    for (; i < n; ++i) to[i * stride] = from[i];
}

// Whether the rows of a plane are a matrix that lies transposed, in order or from its last row to its first,
// and large enough for squares of lanes.
template <class T>
RANVIER_INLINE bool lies_transposed(const PlainBox& box) {
    return (box.stride[1] == 1 || box.stride[1] == -1) && box.size[1] >= kLanes<T> / 2 &&
           box.size[2] >= kLanes<T>;
}

// body(n, position in contiguous memory, its step, position in the box's memory, its step) for all lines
// along the last axis, or along the longest one where that is short.
template <class T, class Body>
RANVIER_INLINE void for_each_line(const PlainBox& box, Body&& body) {
    const index_t steps[3] = {box.size[1] * box.size[2], box.size[2], 1};
    int along = 2;
    if (box.size[2] < kLanes<T>)
        for (int d = 1; d >= 0; --d)
            if (box.size[d] > 2 * box.size[along]) along = d;
    const int outer = along == 0 ? 1 : 0, inner = along == 2 ? 1 : 2;
    for (index_t i = 0; i < box.size[outer]; ++i)
        for (index_t j = 0; j < box.size[inner]; ++j)
            body(box.size[along], i * steps[outer] + j * steps[inner], steps[along],
                 i * box.stride[outer] + j * box.stride[inner], box.stride[along]);
}

// Lines of neighbours that are shorter than a vector. What goes beyond a line's end is overwritten by the
// next ones.
template <class T>
RANVIER_INLINE void gather_short_lines(const PlainBox& box, const T* from, T* to) {
    const index_t n = box.size[2], all = box.size[0] * box.size[1] * n;
    index_t at = 0;
    for (index_t i = 0; i < box.size[0]; ++i)
        for (index_t j = 0; j < box.size[1]; ++j, at += n) {
            const Vec<T> line = load_partial(from + i * box.stride[0] + j * box.stride[1], n);
            if (at + kLanes<T> <= all)
                store(to + at, line);
            else
                store_partial(to + at, line, n);
        }
}

template <class T>
void gather_box(const BoxShape& shape, const T* from, T* to) {
    const PlainBox box = plain(shape);
    if (box.stride[2] == 1 && box.size[2] > kLanes<T> / 4 && box.size[2] < kLanes<T>)
        return gather_short_lines(box, from, to);
    if (!lies_transposed<T>(box)) {
        for_each_line<T>(
            box, [&](index_t n, index_t at, index_t step, index_t there, index_t stride)
                     __attribute__((always_inline)) {
                         if (step == 1) return gather_line(n, from + there, stride, to + at);
                         for (index_t i = 0; i < n; ++i) to[at + i * step] = from[there + i * stride];
                     });
        return;
    }
    const index_t rows = box.size[1], cols = box.size[2], step = box.stride[1];
    // Rows in the order of the box's memory.
    const index_t there = step == 1 ? 0 : 1 - rows, first = step == 1 ? 0 : (rows - 1) * cols;
    for (index_t plane = 0; plane < box.size[0]; ++plane, from += box.stride[0], to += rows * cols) {
        index_t c = 0;
        for (; c + kLanes<T> <= cols; c += kLanes<T>)
            gather_lanes(kLanes<T>, rows, from + there + c * box.stride[2], box.stride[2], to + first + c,
                         step * cols);
        for (; c < cols; ++c)
            for (index_t r = 0; r < rows; ++r) to[r * cols + c] = from[c * box.stride[2] + r * step];
    }
}

template <class T>
void scatter_box(const BoxShape& shape, const T* from, T* to) {
    const PlainBox box = plain(shape);
    if (!lies_transposed<T>(box)) {
        for_each_line<T>(
            box, [&](index_t n, index_t at, index_t step, index_t there, index_t stride)
                     __attribute__((always_inline)) {
                         if (step == 1) return scatter_line(n, from + at, to + there, stride);
                         for (index_t i = 0; i < n; ++i) to[there + i * stride] = from[at + i * step];
                     });
        return;
    }
    const index_t rows = box.size[1], cols = box.size[2], step = box.stride[1];
    const index_t there = step == 1 ? 0 : 1 - rows, first = step == 1 ? 0 : (rows - 1) * cols;
    for (index_t plane = 0; plane < box.size[0]; ++plane, from += rows * cols, to += box.stride[0])
        for (index_t c = 0; c < cols; c += kLanes<T>)
            scatter_sums(cols - c < kLanes<T> ? cols - c : kLanes<T>, rows, from + first + c, step * cols,
                         to + there + c * box.stride[2], box.stride[2], false);
}

}  // namespace ranvier::RANVIER_ISA
