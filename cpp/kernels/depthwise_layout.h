// How a channel lies while a depthwise convolution reads it.
//
// PaddedRows: a copy of some of its rows with zeros around them, and of each row one segment for each phase
// of the columns' stride (planes.h says what a phase is), so that every tap meets a row's outputs in a run of
// memory. FlatPlanes: for maps whose rows fill no more than half a vector, the plane as one run of pixels, in
// which masks stand for the zeros; one plane for each residue of a stride of 2.
#pragma once

#include <algorithm>

#include "planes.h"

namespace ranvier {

// What the copies that are read one after the other may take together: part of the first-level cache.
template <class T>
inline constexpr index_t kCopied = static_cast<index_t>((20 << 10) / sizeof(T));
// Channels that are copied before the first of them is read, so that the copies have left the store buffer.
inline constexpr index_t kMostTogether = 8;

struct PaddedRows {
    Axis rows, cols;
    index_t segment;   // elements from one phase of a row to the next
    index_t pitch;     // from one row to the next
    index_t lead;      // in front of each row, so that the image's columns are aligned
    index_t band;      // output rows of which the input is copied at once
    index_t size;      // of such a copy
    index_t together;  // channels whose copies share the cache
    Scratch<index_t> columns;

    // Of that many elements in a cache and lanes in a vector.
    PaddedRows(const Axis& row_axis, const Axis& col_axis, index_t cache, index_t lanes)
        : rows(row_axis), cols(col_axis), columns(col_axis.kernel) {
        segment = round_up(cols.out + cols.most_shift(), lanes);
        pitch = cols.phases() * segment;
        lead = cols.stride == 1 && cols.padding > 0 ? round_up(cols.padding, lanes) - cols.padding : 0;
        const index_t room = std::max<index_t>(1, (cache / pitch - reach()) / rows.stride + 1);
        const index_t bands = ceil_div(rows.out, room);
        band = std::min(rows.out, round_up(ceil_div(rows.out, bands), std::min<index_t>(room, 4)));
        size = round_up(((band - 1) * rows.stride + reach()) * pitch + lead + lanes, lanes);
        together = std::clamp<index_t>(cache / size, 1, kMostTogether);
        for (index_t j = 0; j < cols.kernel; ++j)
            columns.data()[j] = lead + cols.phase(j) * segment + cols.shift(j);
    }

    // Input rows that an output row reaches over.
    index_t reach() const { return (rows.kernel - 1) * rows.dilation + 1; }

    TapGrid taps() const {
        return {rows.kernel, cols.kernel, rows.stride * pitch, rows.dilation * pitch, columns.data()};
    }

    // The input of the output rows y0 ... y0 + count into `to`, whose elements were all zero before the first
    // copy.
    template <class T>
    void copy(const T* from, index_t row_stride, index_t y0, index_t count, T* to) const {
        const index_t first = y0 * rows.stride - rows.padding;
        const index_t lines = (count - 1) * rows.stride + reach();
        const index_t top = std::clamp<index_t>(-first, 0, lines);
        const index_t inside = std::clamp<index_t>(rows.size - first, top, lines) - top;
        to += lead;
        std::fill_n(to, top * pitch, T{});
        copy_lines(inside, from + (first + top) * row_stride, row_stride, to + top * pitch);
        std::fill_n(to + (top + inside) * pitch, (lines - top - inside) * pitch, T{});
    }

private:
    template <class T>
    void copy_lines(index_t lines, const T* from, index_t row_stride, T* to) const {
        if (lines == 0) return;
        const index_t step = cols.stride;
        if (step == 2 && cols.phases() == 2) {
            const index_t a = cols.padding > 0 ? cols.padding % 2 : 0, b = 1 - a;
            const index_t column = std::max<index_t>(0, -cols.padding);
            return kernels<T>().depthwise->split_pairs(lines, count_of(a) + count_of(b), from + column,
                                                       row_stride, to + a * segment + first_of(a),
                                                       to + b * segment + first_of(b), pitch);
        }
        for (index_t phase = 0; phase < cols.phases(); ++phase) {
            const index_t first = first_of(phase), count = count_of(phase);
            const T* source = from + first * step + phase - cols.padding;
            T* target = to + phase * segment + first;
            if (step == 1)
                kernels<T>().plane->copy_rows(lines, count, source, row_stride, target, pitch);
            else
                for (index_t line = 0; line < lines; ++line)
                    kernels<T>().plane->copy_every(count, source + line * row_stride, step,
                                                   target + line * pitch);
        }
    }

    // The positions in a phase's segment that have a column of the image.
    index_t first_of(index_t phase) const {
        return cols.padding > phase ? ceil_div(cols.padding - phase, cols.stride) : 0;
    }
    index_t count_of(index_t phase) const {
        const index_t end = cols.size + cols.padding - phase;
        const index_t last = std::min(cols.out + cols.most_shift(), end > 0 ? ceil_div(end, cols.stride) : 0);
        return std::max<index_t>(0, last - first_of(phase));
    }
};

template <class T>
struct FlatPlanes {
    Axis rows, cols;
    index_t count;    // of taps
    index_t pixels;   // of the output
    index_t plane;    // elements from one residue to the next, if there are copies
    index_t channel;  // from one channel's copies to the next
    Scratch<FlatTap> taps;
    Scratch<T> masks;

    // Whether such planes serve, for images of that row stride.
    static bool suit(const Axis& rows, const Axis& cols, index_t row_stride) {
        constexpr index_t kMostVectors = 8, kMostTaps = 25;
        const index_t lanes = kernels<T>().depthwise->lanes;
        if (2 * cols.out > lanes || rows.out * cols.out > kMostVectors * lanes ||
            rows.kernel * cols.kernel > kMostTaps)
            return false;
        if (rows.stride == 1 && cols.stride == 1) return cols.out == cols.size && row_stride == cols.size;
        return rows.stride == 2 && cols.stride == 2 && ceil_div(cols.size, 2) <= cols.out;
    }

    FlatPlanes(const Axis& row_axis, const Axis& col_axis)
        : rows(row_axis),
          cols(col_axis),
          count(rows.kernel * cols.kernel),
          pixels(rows.out * cols.out),
          plane(ceil_div(rows.size, 2) * cols.out),
          channel(round_up(4 * plane, kCacheLine<T>)),
          taps(count),
          masks(round_up(pixels, kernels<T>().depthwise->lanes) * count) {
        for (index_t i = 0; i < rows.kernel; ++i)
            for (index_t j = 0; j < cols.kernel; ++j) taps.data()[i * cols.kernel + j] = tap(i, j);
        kernels<T>().depthwise->flat_masks(pixels, cols.out, count, taps.data(), masks.data());
    }

    bool copied() const { return rows.stride == 2; }

    // One channel's planes of even and odd rows of even and odd columns.
    void copy(const T* from, index_t row_stride, T* to) const {
        for (index_t r = 0; r < 2 && r < rows.size; ++r, to += 2 * plane)
            kernels<T>().depthwise->split_pairs((rows.size - r + 1) / 2, cols.size, from + r * row_stride,
                                                2 * row_stride, to, to + plane, cols.out);
    }

private:
    FlatTap tap(index_t i, index_t j) const {
        const index_t row = i * rows.dilation - rows.padding, column = j * cols.dilation - cols.padding;
        const index_t r = row & (rows.stride - 1), c = column & (cols.stride - 1);
        return {(2 * r + c) * plane + (row - r) / rows.stride * cols.out + (column - c) / cols.stride,
                first(rows, row), end(rows, row), first(cols, column), end(cols, column)};
    }

    // The outputs for which output * stride + shift is in the image.
    static index_t first(const Axis& axis, index_t shift) {
        return shift < 0 ? ceil_div(-shift, axis.stride) : 0;
    }
    static index_t end(const Axis& axis, index_t shift) {
        return shift < axis.size ? ceil_div(axis.size - shift, axis.stride) : 0;
    }
};

// Channels of one task, so that it is worth its start: of `work` multiplications a channel.
inline index_t channels_of_task(index_t channels, double work) {
    constexpr double kLeastWork = 60e3;
    constexpr index_t kMultiple = 8;
    const double tasks = std::clamp(work * static_cast<double>(channels) / kLeastWork, 1.0,
                                    static_cast<double>(std::max<index_t>(channels, 1)));
    const index_t even = ceil_div(channels, static_cast<index_t>(tasks));
    return even <= 1 ? 1 : round_up(even, kMultiple);
}

}  // namespace ranvier
