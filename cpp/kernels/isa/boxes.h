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

// From so many elements on, the rest of a line goes as a vector.
constexpr index_t kFewElements = 4;

// body(STEP as a constant) for a step of magnitude 1 to 3; false for another one.
template <class Body>
RANVIER_INLINE bool with_small_step(index_t step, Body&& body) {
    switch (step) {
        case 1:
            body(std::integral_constant<int, 1>{});
            return true;
        case 2:
            body(std::integral_constant<int, 2>{});
            return true;
        case 3:
            body(std::integral_constant<int, 3>{});
            return true;
        case -1:
            body(std::integral_constant<int, -1>{});
            return true;
        case -2:
            body(std::integral_constant<int, -2>{});
            return true;
        case -3:
            body(std::integral_constant<int, -3>{});
            return true;
        default:
            return false;
    }
}

template <class T>
RANVIER_INLINE void copy_elements(index_t n, const T* from, index_t from_step, T* to, index_t to_step) {
    for (; n >= 4; n -= 4, from += 4 * from_step, to += 4 * to_step) {
        const T first = from[0], second = from[from_step], third = from[2 * from_step],
                last = from[3 * from_step];
        to[0] = first;
        to[to_step] = second;
        to[2 * to_step] = third;
        to[3 * to_step] = last;
    }
    for (; n > 0; --n, from += from_step, to += to_step) *to = *from;
}

template <class T>
RANVIER_INLINE void gather_line(index_t n, const T* from, index_t stride, T* to) {
    index_t i = 0;
    const bool is_small = with_small_step(
        stride, [&](auto step) __attribute__((always_inline)) {
            for (; i + kLanes<T> <= n; i += kLanes<T>)
                store(to + i, load_lanes_apart<T, step.value>(from + i * step.value));
            if constexpr (step.value > 0)
                if (n - i >= kFewElements) {
                    store_partial(to + i, load_some_apart<T, step.value>(from + i * step.value, n - i),
                                  n - i);
                    i = n;
                }
        });
    if (!is_small && stride == 0) {
        const Vec<T> same = broadcast(*from);
        for (; i + kLanes<T> <= n; i += kLanes<T>) store(to + i, same);
    }
    copy_elements(n - i, from + i * stride, stride, to + i, 1);
}

template <class T>
RANVIER_INLINE void scatter_line(index_t n, const T* from, T* to, index_t stride) {
    index_t i = 0;
    with_small_step(
        stride, [&](auto step) __attribute__((always_inline)) {
            for (; i + kLanes<T> <= n; i += kLanes<T>)
                store_lanes_apart<T, step.value>(to + i * step.value, load(from + i));
#if defined(__AVX512F__)
            if constexpr (step.value > 0)
                if (n - i >= kFewElements) {
                    spread_lanes<T, step.value>(to + i * step.value, load_partial(from + i, n - i), n - i);
                    i = n;
                }
#endif
        });
    copy_elements(n - i, from + i, 1, to + i * stride, stride);
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
    const bool is_near = box.stride[2] >= 1 && box.stride[2] <= 3 && box.size[2] >= kFewElements;
    if (box.size[2] < kLanes<T> && !is_near)
        for (int d = 1; d >= 0; --d)
            if (box.size[d] > 2 * box.size[along]) along = d;
    const int outer = along == 0 ? 1 : 0, inner = along == 2 ? 1 : 2;
    for (index_t i = 0; i < box.size[outer]; ++i)
        for (index_t j = 0; j < box.size[inner]; ++j)
            body(box.size[along], i * steps[outer] + j * steps[inner], steps[along],
                 i * box.stride[outer] + j * box.stride[inner], box.stride[along]);
}

// Lines shorter than a vector, from their first element in memory to the last: how many elements these are,
// and their lanes in a vector that begins with the first.
template <class T>
struct ShortLines {
    index_t n, span, begin;
    MaskOf<T> lanes;

    RANVIER_INLINE explicit ShortLines(const PlainBox& box) : n(box.size[2]), lanes() {
        const index_t step = box.stride[2];
        span = (n - 1) * (step < 0 ? -step : step) + 1;
        begin = step < 0 ? (n - 1) * step : 0;
        for (index_t i = 0; i < n; ++i) lanes[i] = static_cast<typename LaneInt<T>::type>(i * step - begin);
    }
    // Whether they are worth it.
    RANVIER_INLINE static bool are_in(const PlainBox& box) {
        const index_t step = box.stride[2] < 0 ? -box.stride[2] : box.stride[2];
        const index_t reach = (box.size[2] - 1) * step;
        return step > 0 && reach >= kLanes<T> / 4 && reach < kLanes<T> && box.size[2] < kLanes<T>;
    }
};

// What goes beyond a line's end is overwritten by the next ones.
template <class T>
RANVIER_INLINE void gather_short_lines(const PlainBox& box, const T* from, T* to) {
    const ShortLines<T> lines(box);
    const index_t n = lines.n, all = box.size[0] * box.size[1] * n;
    index_t at = 0;
    const auto gather = [&](auto&& in_order) __attribute__((always_inline)) {
        for (index_t i = 0; i < box.size[0]; ++i)
            for (index_t j = 0; j < box.size[1]; ++j, at += n) {
                const T* first = from + i * box.stride[0] + j * box.stride[1] + lines.begin;
                const Vec<T> line = in_order(load_partial(first, lines.span));
                if (at + kLanes<T> <= all)
                    store(to + at, line);
                else
                    store_partial(to + at, line, n);
            }
    };
    if (box.stride[2] == 1)
        gather([](Vec<T> line) { return line; });
    else
        gather([&](Vec<T> line) { return permuted<T>(line, lines.lanes); });
}

#if defined(__AVX512F__)
template <class T>
RANVIER_INLINE void scatter_short_lines(const PlainBox& box, const T* from, T* to) {
    const ShortLines<T> lines(box);
    const index_t n = lines.n, all = box.size[0] * box.size[1] * n;
    MaskOf<T> lanes = {}, chosen = {};
    for (index_t i = 0; i < n; ++i) {
        lanes[lines.lanes[i]] = static_cast<typename LaneInt<T>::type>(i);
        chosen[lines.lanes[i]] = -1;
    }
    index_t at = 0;
    for (index_t i = 0; i < box.size[0]; ++i)
        for (index_t j = 0; j < box.size[1]; ++j, at += n) {
            const Vec<T> line = at + kLanes<T> <= all ? load(from + at) : load_partial(from + at, n);
            store_chosen(to + i * box.stride[0] + j * box.stride[1] + lines.begin, permuted<T>(line, lanes),
                         chosen);
        }
}
#endif

template <class T>
void gather_box(const BoxShape& shape, const T* from, T* to) {
    const PlainBox box = plain(shape);
    if (ShortLines<T>::are_in(box)) return gather_short_lines(box, from, to);
    if (!lies_transposed<T>(box)) {
        for_each_line<T>(
            box, [&](index_t n, index_t at, index_t step, index_t there, index_t stride)
                     __attribute__((always_inline)) {
                         if (step == 1) return gather_line(n, from + there, stride, to + at);
                         copy_elements(n, from + there, stride, to + at, step);
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
#if defined(__AVX512F__)
    if (ShortLines<T>::are_in(box)) return scatter_short_lines(box, from, to);
#endif
    if (!lies_transposed<T>(box)) {
        for_each_line<T>(
            box, [&](index_t n, index_t at, index_t step, index_t there, index_t stride)
                     __attribute__((always_inline)) {
                         if (step == 1) return scatter_line(n, from + at, to + there, stride);
                         copy_elements(n, from + at, step, to + there, stride);
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
