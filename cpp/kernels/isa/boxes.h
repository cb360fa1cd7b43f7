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

template <class T, int STEP>
RANVIER_INLINE void gather_line_apart(index_t n, const T* from, T* to) {
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) store(to + i, load_lanes_apart<T, STEP>(from + i * STEP));
    if constexpr (STEP > 0)
        if (n - i >= kFewElements)
            return store_partial(to + i, load_some_apart<T, STEP>(from + i * STEP, n - i), n - i);
    copy_elements(n - i, from + i * STEP, STEP, to + i, 1);
}

template <class T>
RANVIER_INLINE void gather_line(index_t n, const T* from, index_t stride, T* to) {
    const bool is_small = with_small_step(
        stride, [&](auto step)
                    __attribute__((always_inline)) { gather_line_apart<T, step.value>(n, from, to); });
    if (!is_small) copy_elements(n, from, stride, to, 1);
}

template <class T, int STEP>
RANVIER_INLINE void scatter_line_apart(index_t n, const T* from, T* to) {
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) store_lanes_apart<T, STEP>(to + i * STEP, load(from + i));
#if defined(__AVX512F__)
    if constexpr (STEP > 0)
        if (n - i >= kFewElements)
            return spread_lanes<T, STEP>(to + i * STEP, load_partial(from + i, n - i), n - i);
#endif
    copy_elements(n - i, from + i, 1, to + i * STEP, STEP);
}

// Whether the rows of a plane are a matrix that lies transposed, in order or from its last row to its first,
// and large enough for squares of lanes.
template <class T>
RANVIER_INLINE bool lies_transposed(const PlainBox& box) {
    return (box.stride[1] == 1 || box.stride[1] == -1) && box.size[1] >= kLanes<T> / 2 &&
           box.size[2] >= kLanes<T>;
}

// All lines of a box along its last axis, or along the longest one where that is short.
struct Lines {
    const PlainBox& box;
    index_t steps[3];  // in contiguous memory
    int along = 2;

    template <class T>
    RANVIER_INLINE static Lines of(const PlainBox& box) {
        Lines lines = {box, {box.size[1] * box.size[2], box.size[2], 1}};
        const bool is_near = box.stride[2] >= 1 && box.stride[2] <= 3 && box.size[2] >= kFewElements;
        if (box.size[2] < kLanes<T> && !is_near)
            for (int d = 1; d >= 0; --d)
                if (box.size[d] > 2 * box.size[lines.along]) lines.along = d;
        return lines;
    }
    index_t n() const { return box.size[along]; }
    index_t step() const { return steps[along]; }
    index_t stride() const { return box.stride[along]; }

    // body(position in contiguous memory, position in the box's memory).
    template <class Body>
    RANVIER_INLINE void each(Body&& body) const {
        const int outer = along == 0 ? 1 : 0, inner = along == 2 ? 1 : 2;
        for (index_t i = 0; i < box.size[outer]; ++i)
            for (index_t j = 0; j < box.size[inner]; ++j)
                body(i * steps[outer] + j * steps[inner], i * box.stride[outer] + j * box.stride[inner]);
    }
};

template <class T>
RANVIER_INLINE void gather_lines(const PlainBox& box, const T* from, T* to) {
    const Lines lines = Lines::of<T>(box);
    const index_t n = lines.n(), step = lines.step(), stride = lines.stride();
    const auto gather = [&](auto s) __attribute__((always_inline)) {
        lines.each([&](index_t at, index_t there) __attribute__((always_inline)) {
            gather_line_apart<T, s.value>(n, from + there, to + at);
        });
    };
    if (step == 1 && with_small_step(stride, gather)) return;
    if (step == 1 && stride == 0) {
        lines.each([&](index_t at, index_t there) __attribute__((always_inline)) {
            const Vec<T> same = broadcast(from[there]);
            for (index_t i = 0; i < n; i += kLanes<T>)
                store_partial(to + at + i, same, n - i < kLanes<T> ? n - i : kLanes<T>);
        });
        return;
    }
    lines.each([&](index_t at, index_t there)
                   __attribute__((always_inline)) { copy_elements(n, from + there, stride, to + at, step); });
}

template <class T>
RANVIER_INLINE void scatter_lines(const PlainBox& box, const T* from, T* to) {
    const Lines lines = Lines::of<T>(box);
    const index_t n = lines.n(), step = lines.step(), stride = lines.stride();
    const auto scatter = [&](auto s) __attribute__((always_inline)) {
        lines.each([&](index_t at, index_t there) __attribute__((always_inline)) {
            scatter_line_apart<T, s.value>(n, from + at, to + there);
        });
    };
    if (step == 1 && with_small_step(stride, scatter)) return;
    lines.each([&](index_t at, index_t there)
                   __attribute__((always_inline)) { copy_elements(n, from + at, step, to + there, stride); });
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
        return step > 0 && reach >= kLanes<T> / 4 && reach < kLanes<T> &&
               (box.size[2] < kLanes<T> || box.stride[2] < 0);
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
    if (!lies_transposed<T>(box)) return gather_lines(box, from, to);
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
    if (!lies_transposed<T>(box)) return scatter_lines(box, from, to);
    const index_t rows = box.size[1], cols = box.size[2], step = box.stride[1];
    const index_t there = step == 1 ? 0 : 1 - rows, first = step == 1 ? 0 : (rows - 1) * cols;
    for (index_t plane = 0; plane < box.size[0]; ++plane, from += rows * cols, to += box.stride[0])
        for (index_t c = 0; c < cols; c += kLanes<T>)
            scatter_sums(cols - c < kLanes<T> ? cols - c : kLanes<T>, rows, from + first + c, step * cols,
                         to + there + c * box.stride[2], box.stride[2], false);
}

}  // namespace ranvier::RANVIER_ISA
