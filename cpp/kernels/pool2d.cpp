// Pooling: planes are shared out, and taken one at a time, by rows of windows or window by window, or a
// vector of planes at a time, as the shape and the memory's layout want it.
#include "ranvier/pool2d.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernel_table.h"
#include "ranvier/memory.h"
#include "ranvier/sizes.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

void check_axis(index_t in, index_t kernel, index_t stride, index_t padding) {
    const auto refuse = [](const char* field, const std::string& expected, index_t got) {
        throw std::invalid_argument(std::string(field) + ": expected " + expected + ", got " +
                                    std::to_string(got));
    };
    if (in < 1) refuse("x", "planes of at least 1 pixel a side", in);
    if (kernel < 1) refuse("kernel_size", "at least 1", kernel);
    if (kernel > kLargestSize) refuse("kernel_size", "at most " + std::to_string(kLargestSize), kernel);
    if (stride < 1) refuse("stride", "at least 1", stride);
    if (padding < 0 || 2 * padding > kernel)
        refuse("padding", "0 to half the kernel of " + std::to_string(kernel), padding);
    if (kernel > in + 2 * padding)
        refuse("kernel_size",
               "a kernel no larger than the padded image of " + std::to_string(in + 2 * padding), kernel);
}

// Along one axis: the windows that lie inside the image are [first, end).
struct Inside {
    index_t first, end;

    Inside(index_t in, index_t out, index_t kernel, index_t stride, index_t padding) {
        first = std::min(out, ceil_div(padding, stride));
        end = in + padding >= kernel ? std::min(out, (in + padding - kernel) / stride + 1) : 0;
        end = std::max(first, end);
    }
};

// The rows and columns from the first to before the second of each pair.
struct PartOfImage {
    index_t row0, row1, col0, col1;

    index_t area() const { return (row1 - row0) * (col1 - col0); }
};

// The part of a window that is inside the image.
struct Window : PartOfImage {
    Window(const Pool2dShape& s, index_t y, index_t x) {
        const index_t top = y * s.stride_height - s.padding_height,
                      left = x * s.stride_width - s.padding_width;
        row0 = std::max<index_t>(0, top);
        row1 = std::min(s.in_height, top + s.kernel_height);
        col0 = std::max<index_t>(0, left);
        col1 = std::min(s.in_width, left + s.kernel_width);
    }
};

// Windows of 2 x 2, side by side.
bool is_2x2(const Pool2dShape& s) {
    return s.kernel_height == 2 && s.kernel_width == 2 && s.stride_height == 2 && s.stride_width == 2 &&
           s.padding_height == 0 && s.padding_width == 0 && 2 * s.out_height() <= s.in_height &&
           2 * s.out_width() <= s.in_width;
}

// Images whose planes have contiguous rows without gaps.
template <class T>
bool has_packed_planes(const Images<T>& images, index_t width) {
    return images.strides[3] == 1 && images.strides[2] == width;
}

// The same pooling, told in the simplest way: the stride of an axis of one element is what it would be
// without gaps, samples and channels are one axis where memory allows it, and a column is a row.
template <class T, class U>
struct Problem {
    Pool2dShape s;
    Images<T> x;  // of the size of the pooling's input
    Images<U> y;  // of the size of its output

    Problem(const Pool2dShape& shape, const Images<T>& in, const Images<U>& out) : s(shape), x(in), y(out) {
        if (s.in_width == 1 && s.kernel_width == 1 && s.padding_width == 0) {
            std::swap(s.in_height, s.in_width);
            std::swap(s.kernel_height, s.kernel_width);
            std::swap(s.stride_height, s.stride_width);
            std::swap(s.padding_height, s.padding_width);
            std::swap(x.strides[2], x.strides[3]);
            std::swap(y.strides[2], y.strides[3]);
        }
        settle(x, s.in_height, s.in_width);
        settle(y, s.out_height(), s.out_width());
        if (s.channels == 1) {
            x.strides[1] = x.strides[0];
            y.strides[1] = y.strides[0];
        } else if (s.batch > 1 && !(follows(x) && follows(y))) {
            return;
        }
        s.channels *= s.batch;
        s.batch = std::min<index_t>(s.batch, 1);
    }

    // Windows as wide as planes whose rows have no gaps are windows of one long row.
    void flatten() {
        if (s.kernel_width != s.in_width || s.padding_width != 0 || x.strides[3] != 1 ||
            x.strides[2] != s.in_width || y.strides[2] != 1)
            return;
        const index_t width = s.in_width;
        s.in_width *= std::exchange(s.in_height, 1);
        s.kernel_width = width * std::exchange(s.kernel_height, 1);
        s.stride_width = width * std::exchange(s.stride_height, 1);
        s.padding_width = width * std::exchange(s.padding_height, 0);
        settle(x, s.in_height, s.in_width);
        y.strides[3] = 1;
        settle(y, s.out_height(), s.out_width());
    }

private:
    template <class V>
    void settle(Images<V>& images, index_t height, index_t width) const {
        if (width == 1) images.strides[3] = 1;
        if (height == 1) images.strides[2] = width * images.strides[3];
    }
    template <class V>
    bool follows(const Images<V>& images) const {
        return images.strides[0] == s.channels * images.strides[1];
    }
};

template <class T>
T* plane_of(const Images<T>& images, const Pool2dShape& s, index_t plane) {
    return images.data + plane / s.channels * images.strides[0] + plane % s.channels * images.strides[1];
}

double work_of(const Pool2dShape& s) {
    return static_cast<double>(s.batch * s.channels) *
           static_cast<double>(s.out_height() * s.out_width() * s.kernel_height * s.kernel_width +
                               s.in_height * s.in_width);
}

constexpr index_t kPixelsPerTask = 8192;

// body(plane) for each plane of the batch.
template <class Body>
void for_each_plane(const Pool2dShape& s, Body&& body) {
    const index_t planes = s.batch * s.channels;
    const index_t size = std::max<index_t>(1, s.in_height * s.in_width);
    const index_t grouped = std::max<index_t>(1, kPixelsPerTask / size);
    parallel_for(ceil_div(planes, grouped), threads_for(work_of(s)), [&](index_t task) {
        for (index_t plane = task * grouped; plane < std::min(planes, (task + 1) * grouped); ++plane)
            body(plane);
    });
}

// body(plane, count, strip) for groups of up to `most` planes of a sample that together are the batch, and
// the strips of each.
template <class Body>
void for_each_group(const Pool2dShape& s, index_t most, index_t strips, Body&& body) {
    const index_t of_sample = ceil_div(s.channels, most), parts = s.batch * of_sample * strips;
    const index_t grouped = std::max<index_t>(
        1, kPixelsPerTask / std::max<index_t>(1, ceil_div(s.in_height, strips) * s.in_width * most));
    parallel_for(ceil_div(parts, grouped), threads_for(work_of(s)), [&](index_t task) {
        for (index_t part = task * grouped; part < std::min(parts, (task + 1) * grouped); ++part) {
            const index_t group = part / strips, channel = group % of_sample * most;
            body(group / of_sample * s.channels + channel, std::min(most, s.channels - channel),
                 part % strips);
        }
    });
}
template <class Body>
void for_each_group(const Pool2dShape& s, index_t most, Body&& body) {
    for_each_group(s, most, 1, [&](index_t plane, index_t count, index_t) { body(plane, count); });
}

// --- planes side by side in a vector's lanes

// Rows first to end - 1 of `count` planes, the first of which begins at `plane`: as they lie, if channels are
// neighbours, or copied to `room` for (end - first) * width vectors.
template <class T>
PlaneLanes<const T> lanes_of(const Images<const T>& images, const T* plane, index_t count, index_t width,
                             index_t first, index_t end, T* room) {
    const auto& table = *kernels<T>().plane;
    const index_t lanes = table.lanes, step = images.strides[3], between = images.strides[1];
    const T* from = plane + first * images.strides[2];
    if (between == 1 && step != 1) return {from, count, images.strides[2], step, first};
    const PlaneLanes<const T> copied = {room, lanes, width * lanes, lanes, first};  // zeros beyond `count`
    if (step == 1 && images.strides[2] == width) {
        table.gather_lanes(count, (end - first) * width, from, between, room, lanes);
        return copied;
    }
    if (step == 1) {
        for (index_t i = first; i < end; ++i, from += images.strides[2], room += width * lanes)
            table.gather_lanes(count, width, from, between, room, lanes);
        return copied;
    }
    const index_t pixels = (end - first) * width;
    Scratch<T> packed(count * pixels);
    table.gather_box({{count, end - first, width}, {between, images.strides[2], step}}, from, packed.data());
    table.gather_lanes(count, pixels, packed.data(), pixels, room, lanes);
    return copied;
}

// The way back, to rows first to end - 1.
template <class T>
void put_lanes(const T* from, index_t count, index_t width, index_t first, index_t end,
               const Images<T>& images, T* plane) {
    const auto& table = *kernels<T>().plane;
    const index_t lanes = table.lanes;
    T* to = plane + first * images.strides[2];
    if (has_packed_planes(images, width))
        return table.scatter_sums(count, (end - first) * width, from, lanes, to, images.strides[1], false);
    for (index_t i = first; i < end; ++i, to += images.strides[2])
        for (index_t j = 0; j < width; ++j, from += lanes)
            for (index_t lane = 0; lane < count; ++lane)
                to[lane * images.strides[1] + j * images.strides[3]] = from[lane];
}

// The same for positions, which are as large as T in the lanes.
void put_indices(const float* from, index_t count, index_t pixels, std::int32_t* to, index_t plane_size) {
    kernels<float>().plane->scatter_sums(count, pixels, from, kernels<float>().plane->lanes,
                                         reinterpret_cast<float*>(to), plane_size, false);
}
void put_indices(const double* from, index_t count, index_t pixels, std::int32_t* to, index_t plane_size) {
    const index_t lanes = kernels<double>().plane->lanes;
    for (index_t i = 0; i < pixels; ++i, from += lanes)
        for (index_t lane = 0; lane < count; ++lane) {
            std::int64_t index;
            std::memcpy(&index, from + lane, sizeof index);
            to[lane * plane_size + i] = static_cast<std::int32_t>(index);
        }
}

// How many of the output's rows have windows whose pixels fit into the nearest caches.
index_t rows_of_strip(const Pool2dShape& s, index_t vector_bytes) {
    constexpr index_t kStrip = 96 * 1024;
    const index_t fit = kStrip / (s.in_width * vector_bytes) - s.kernel_height;
    return std::max<index_t>(1, fit / s.stride_height + 1);
}

// body(first, end) for such pieces of the output's rows.
template <class Body>
void for_each_strip(const Pool2dShape& s, index_t vector_bytes, Body&& body) {
    const index_t rows = rows_of_strip(s, vector_bytes), height = s.out_height();
    for (index_t first = 0; first < height; first += rows) body(first, std::min(height, first + rows));
}

// The same for rows of windows that share no pixel with the next ones, and so are poolings of their own; else
// all rows.
template <class T>
index_t rows_apart(const Pool2dShape& s, index_t lanes) {
    const index_t height = s.out_height();
    const bool apart = s.kernel_height <= s.stride_height && s.padding_height == 0 &&
                       (height - 1) * s.stride_height + s.kernel_height <= s.in_height;
    return apart ? std::min(height, rows_of_strip(s, lanes * index_t{sizeof(T)})) : height;
}

// The pooling of the output's rows first to end - 1, which are apart from the others, or all.
Pool2dShape rows_of(const Pool2dShape& s, index_t first, index_t end) {
    Pool2dShape part = s;
    part.in_height =
        end == s.out_height() ? s.in_height - first * s.stride_height : (end - first) * s.stride_height;
    return part;
}

// --- one plane at a time

// Calls inside(y, x0, count) for runs of windows inside the image and border(y, x) for the others.
template <class InsideBody, class BorderBody>
void for_each_window(const Pool2dShape& s, InsideBody&& inside, BorderBody&& border) {
    const index_t out_height = s.out_height(), out_width = s.out_width();
    const Inside rows(s.in_height, out_height, s.kernel_height, s.stride_height, s.padding_height);
    const Inside cols(s.in_width, out_width, s.kernel_width, s.stride_width, s.padding_width);
    for (index_t y = 0; y < out_height; ++y) {
        const bool row_inside = y >= rows.first && y < rows.end;
        const index_t first = row_inside ? cols.first : out_width, end = row_inside ? cols.end : out_width;
        for (index_t x = 0; x < first; ++x) border(y, x);
        if (first < end) inside(y, first, end - first);
        for (index_t x = end; x < out_width; ++x) border(y, x);
    }
}

// How the windows of a shape are taken: a vector of neighbouring windows at a time, each window along its
// rows, or a vector of planes at a time. The estimates are of a processor's cycles for a plane.
enum class Way { rows, windows, lanes };

Way way_of(const Pool2dShape& s, index_t planes, index_t lanes) {
    const auto number = [](index_t n) { return static_cast<double>(n); };
    const index_t height = s.out_height(), width = s.out_width();
    const double area = number(s.kernel_height * s.kernel_width), windows = number(height * width);
    const double load = s.stride_width == 1 ? 1 : s.stride_width == 2 ? 2 : number(lanes);
    // Windows over the border are taken pixel by pixel.
    const Inside rows(s.in_height, height, s.kernel_height, s.stride_height, s.padding_height);
    const Inside cols(s.in_width, width, s.kernel_width, s.stride_width, s.padding_width);
    const index_t inside_rows = rows.end - rows.first, inside_cols = cols.end - cols.first;
    const double border = windows - number(inside_rows * inside_cols);
    const double by_rows =
        30 + number(inside_rows) * (10 + number(ceil_div(inside_cols, lanes)) * (8 + area * (1 + load))) +
        border * 3 * area;
    const bool whole_rows = s.kernel_width == s.in_width;
    const double vectors = whole_rows ? number(ceil_div(s.kernel_height * s.kernel_width, lanes))
                                      : number(s.kernel_height * ceil_div(s.kernel_width, lanes)) * 1.5;
    const double by_window = 10 + windows * (15 + 2 * vectors);
    const double by_lanes =
        (40 + 6 * number(s.in_height * s.in_width) + windows * (6 + 3 * area)) / number(lanes);
    // What is chosen against the windows' way does not depend on the number of planes, for that way alone
    // adds in another order.
    if (border == 0 && by_window < by_rows && by_window < by_lanes) return Way::windows;
    const double there = number(std::min(planes, lanes));
    return by_rows < by_lanes * number(lanes) / there ? Way::rows : Way::lanes;
}

template <class T>
bool is_taken_as_it_lies(const Problem<const T, T>& p) {
    return p.x.strides[3] == 1 && p.y.strides[3] == 1;
}

template <class T>
T border_maximum(const Pool2dShape& s, const T* in, index_t row_stride, const Window& w, std::int32_t& at) {
    T most = in[w.row0 * row_stride + w.col0];
    index_t best = w.row0 * s.in_width + w.col0;
    for (index_t i = w.row0; i < w.row1; ++i)
        for (index_t j = w.col0; j < w.col1; ++j) {
            const T value = in[i * row_stride + j];
            if (value > most || (value != value && most == most)) {
                most = value;
                best = i * s.in_width + j;
            }
        }
    at = static_cast<std::int32_t>(best);
    return most;
}

template <class T>
void maxima_of_rows(const Problem<const T, T>& p, const T* in, T* out, std::int32_t* indices) {
    const Pool2dShape& s = p.s;
    const index_t width = s.out_width(), row_stride = p.x.strides[2];
    const auto& table = *kernels<T>().pool;
    if (is_2x2(s) && p.y.strides[2] == width &&
        table.max_2x2(s.out_height(), width, in, row_stride, static_cast<std::int32_t>(s.in_width), out,
                      indices))
        return;
    for_each_window(
        s,
        [&](index_t y, index_t x, index_t n) {
            const index_t top = y * s.stride_height - s.padding_height;
            const index_t left = x * s.stride_width - s.padding_width;
            table.max_row(n, in + top * row_stride + left, row_stride, s.kernel_height, s.kernel_width,
                          s.stride_width, static_cast<std::int32_t>(top * s.in_width + left),
                          static_cast<std::int32_t>(s.in_width), out + y * p.y.strides[2] + x,
                          indices ? indices + y * width + x : nullptr);
        },
        [&](index_t y, index_t x) {
            std::int32_t at;
            out[y * p.y.strides[2] + x] = border_maximum(s, in, row_stride, Window(s, y, x), at);
            if (indices) indices[y * width + x] = at;
        });
}

template <class T>
void averages_of_rows(const Problem<const T, T>& p, const T* in, T* out, T scale) {
    const Pool2dShape& s = p.s;
    const bool even = s.has_even_divisor();
    const index_t row_stride = p.x.strides[2];
    for_each_window(
        s,
        [&](index_t y, index_t x, index_t n) {
            const index_t top = y * s.stride_height - s.padding_height;
            const index_t left = x * s.stride_width - s.padding_width;
            kernels<T>().pool->average_row(n, in + top * row_stride + left, row_stride, s.kernel_height,
                                           s.kernel_width, s.stride_width, scale,
                                           out + y * p.y.strides[2] + x);
        },
        [&](index_t y, index_t x) {
            const Window w(s, y, x);
            T sum{};
            for (index_t i = w.row0; i < w.row1; ++i)
                for (index_t j = w.col0; j < w.col1; ++j) sum += in[i * row_stride + j];
            out[y * p.y.strides[2] + x] = sum * (even ? scale : T(1) / static_cast<T>(s.divisor(y, x)));
        });
}

// one(rows, cols, corner's position, output's row and column) for each window, all of which lie in the plane;
// windows as wide as the image are one row, if the image has no gaps.
template <class T, class One>
void for_each_whole_window(const Problem<const T, T>& p, One&& one) {
    const Pool2dShape& s = p.s;
    const bool flat = s.kernel_width == s.in_width && p.x.strides[2] == s.in_width;
    const index_t rows = flat ? 1 : s.kernel_height,
                  cols = flat ? s.kernel_height * s.in_width : s.kernel_width;
    const index_t height = s.out_height(), width = s.out_width();
    for (index_t y = 0; y < height; ++y)
        for (index_t x = 0; x < width; ++x) one(rows, cols, y * s.stride_height, x * s.stride_width, y, x);
}

// --- gradients of maxima

[[noreturn]] void refuse_index(std::int32_t index, index_t pixels) {
    throw std::invalid_argument("indices: expected positions from 0 to " + std::to_string(pixels - 1) +
                                ", got " + std::to_string(index));
}

// The position of a pixel in its plane. It is read once, for it may lie where another thread writes: what is
// checked is what is used.
std::uint32_t checked_index(const std::int32_t& at, std::uint32_t pixels) {
    const std::int32_t index = *const_cast<const volatile std::int32_t*>(&at);
    if (static_cast<std::uint32_t>(index) >= pixels) [[unlikely]]
        refuse_index(index, pixels);
    return static_cast<std::uint32_t>(index);
}

// Adds up the gradients of PLANES planes at once: windows that overlap meet the same pixel again and again,
// and while one sum waits for itself, the others' go on.
template <int PLANES, class T>
void add_at_indices(index_t n, const T* grad, const std::int32_t* indices, T* to, index_t pixels) {
    std::memset(static_cast<void*>(to), 0, static_cast<std::size_t>(PLANES * pixels) * sizeof(T));
    const auto there = static_cast<std::uint32_t>(pixels);
    for (index_t i = 0; i < n; ++i) {
        std::uint32_t index[PLANES];
        for (index_t k = 0; k < PLANES; ++k) index[k] = checked_index(indices[k * n + i], there);
        for (index_t k = 0; k < PLANES; ++k) to[k * pixels + index[k]] += grad[k * n + i];
    }
}

// Planes of neighbouring channels as a box.
template <class T>
BoxShape planes_of(const Images<T>& images, index_t count, index_t height, index_t width) {
    return {{count, height, width}, {images.strides[1], images.strides[2], images.strides[3]}};
}

// Whether the first windows' maxima lie as those of windows of 2 x 2 side by side.
bool begins_like_2x2(const std::int32_t* indices, index_t windows, index_t in_width) {
    for (index_t j = 0; j < std::min<index_t>(windows, 8); ++j) {
        const index_t place = indices[j] - 2 * j;
        if (place < 0 || place > in_width + 1 || (place > 1 && place < in_width)) return false;
    }
    return true;
}

// `count` planes that follow one another without gaps.
template <class T>
void packed_max_backward(const Pool2dShape& s, index_t count, const T* grad, const std::int32_t* indices,
                         T* to) {
    constexpr int kAtOnce = 4;
    const index_t height = s.out_height(), width = s.out_width(), n = height * width;
    const index_t pixels = s.in_height * s.in_width;
    if (s.in_height / 2 == height && s.in_width / 2 == width && width >= kernels<T>().plane->lanes &&
        count > 0 && begins_like_2x2(indices, width, s.in_width)) {
        // Probably windows of 2 x 2 side by side, whose gradient is written without being cleared first; of
        // an odd number of rows or columns the last one belongs to none.
        while (count > 0 &&
               kernels<T>().pool->max_2x2_backward(height, width, grad, indices,
                                                   static_cast<std::int32_t>(s.in_width), to, s.in_width)) {
            for (index_t i = 0; s.in_width > 2 * width && i < 2 * height; ++i)
                to[(i + 1) * s.in_width - 1] = T{};
            std::fill(to + 2 * height * s.in_width, to + pixels, T{});
            grad += n;
            indices += n;
            to += pixels;
            --count;
        }
    }
    for (; count >= kAtOnce; count -= kAtOnce) {
        add_at_indices<kAtOnce>(n, grad, indices, to, pixels);
        grad += kAtOnce * n;
        indices += kAtOnce * n;
        to += kAtOnce * pixels;
    }
    for (; count > 0; --count, grad += n, indices += n, to += pixels)
        add_at_indices<1>(n, grad, indices, to, pixels);
}

// --- gradients of averages

// Each row of windows gives the rows that they meet the same; a row that meets several is a sum.
template <class T>
void spread_rows(const Problem<T, const T>& p, const T* grad, T scale, T* to) {
    const Pool2dShape& s = p.s;
    const index_t width = s.in_width, stride = p.x.strides[2], height = s.out_height();
    const auto& table = kernels<T>();
    const bool even = s.has_even_divisor();
    Scratch<T> memory(width), shares(even ? 0 : s.out_width());
    index_t written = 0;  // rows
    const auto clear_until = [&](index_t end) {
        for (; written < end; ++written) std::fill_n(to + written * stride, width, T{});
    };
    for (index_t y = 0; y < height; ++y) {
        const Window w(s, y, 0);
        clear_until(w.row0);
        T* row = w.row0 == written ? to + w.row0 * stride : memory.data();
        const T* shared = grad + y * p.y.strides[2];
        if (!even) {
            for (index_t j = 0; j < s.out_width(); ++j)
                shares.data()[j] = shared[j] / static_cast<T>(s.divisor(y, j));
            shared = shares.data();
        }
        table.pool->average_row_backward(s, shared, even ? scale : T(1), row);
        for (index_t i = w.row0; i < std::min(written, w.row1); ++i)
            table.gemm->add_row(width, row, to + i * stride);
        const index_t first = written + (w.row0 == written);
        if (first < w.row1)
            table.plane->copy_rows(w.row1 - first, width, row, 0, to + first * stride, stride);
        written = std::max(written, w.row1);
    }
    clear_until(s.in_height);
}

}  // namespace

namespace {

// The last window begins in the image or in the padding before it.
index_t windows_along(index_t in, index_t kernel, index_t stride, index_t padding, bool ceil_mode) {
    const index_t room = in + 2 * padding - kernel;
    if (!ceil_mode) return room / stride + 1;
    const index_t windows = ceil_div(room, stride) + 1;
    return (windows - 1) * stride < in + padding ? windows : windows - 1;
}

// How many pixels of a window count along an axis.
index_t counted(index_t window, index_t in, index_t kernel, index_t stride, index_t padding,
                bool with_padding) {
    const index_t first = window * stride - padding, end = first + kernel;
    return with_padding ? std::min(end, in + padding) - first
                        : std::min(end, in) - std::max<index_t>(0, first);
}

}  // namespace

index_t Pool2dShape::out_height() const {
    return windows_along(in_height, kernel_height, stride_height, padding_height, ceil_mode);
}
index_t Pool2dShape::out_width() const {
    return windows_along(in_width, kernel_width, stride_width, padding_width, ceil_mode);
}

index_t Pool2dShape::divisor(index_t row, index_t column) const {
    return counted(row, in_height, kernel_height, stride_height, padding_height, count_include_pad) *
           counted(column, in_width, kernel_width, stride_width, padding_width, count_include_pad);
}

bool Pool2dShape::has_even_divisor() const {
    const index_t area = kernel_height * kernel_width;
    return divisor(0, 0) == area && divisor(out_height() - 1, out_width() - 1) == area;
}

Pool2dShape pool2d_of_sizes(index_t in_height, index_t in_width, index_t out_height, index_t out_width) {
    Pool2dShape s;
    s.in_height = in_height;
    s.in_width = in_width;
    const auto fit = [](index_t in, index_t out, index_t& kernel, index_t& padding) {
        padding = std::max<index_t>(0, (out - in + 1) / 2);
        kernel = in + 2 * padding - out + 1;
    };
    fit(in_height, out_height, s.kernel_height, s.padding_height);
    fit(in_width, out_width, s.kernel_width, s.padding_width);
    return s;
}

void check(const Pool2dShape& s) {
    if (s.batch < 0 || s.channels < 0)
        throw std::invalid_argument("x: expected no negative batch or channels");
    check_axis(s.in_height, s.kernel_height, s.stride_height, s.padding_height);
    check_axis(s.in_width, s.kernel_width, s.stride_width, s.padding_width);
    checked_product({s.batch, s.channels, s.in_height, s.in_width}, "x");
    if (s.in_height > std::numeric_limits<std::int32_t>::max() / std::max<index_t>(1, s.in_width))
        throw std::invalid_argument("x: a plane of more than 2^31 pixels");
}

template <class T>
void max_pool2d(const Pool2dShape& shape, const Images<const T>& x, const Images<T>& y,
                std::int32_t* indices) {
    const Problem<const T, T> p(shape, x, y);
    const Pool2dShape& s = p.s;
    const index_t size = s.out_height() * s.out_width(), lanes = kernels<T>().plane->lanes;
    const auto indices_of = [&](index_t plane) { return indices ? indices + plane * size : nullptr; };
    const Way way = is_taken_as_it_lies(p) ? way_of(s, s.channels, lanes) : Way::lanes;
    if (way == Way::rows)
        return for_each_plane(s, [&](index_t plane) {
            maxima_of_rows(p, plane_of(p.x, s, plane), plane_of(p.y, s, plane), indices_of(plane));
        });
    if (way == Way::windows)
        return for_each_plane(s, [&](index_t plane) {
            const T* in = plane_of(p.x, s, plane);
            T* out = plane_of(p.y, s, plane);
            std::int32_t* at = indices_of(plane);
            for_each_whole_window(
                p, [&](index_t rows, index_t cols, index_t top, index_t left, index_t i, index_t j) {
                    std::int32_t index;
                    out[i * p.y.strides[2] + j] = kernels<T>().pool->window_max(
                        rows, cols, in + top * p.x.strides[2] + left, p.x.strides[2],
                        static_cast<std::int32_t>(top * s.in_width + left),
                        static_cast<std::int32_t>(s.in_width), &index);
                    if (at) at[i * s.out_width() + j] = index;
                });
        });
    for_each_group(s, lanes, [&](index_t plane, index_t count) {
        for_each_strip(s, lanes * index_t{sizeof(T)}, [&](index_t first, index_t end) {
            const index_t top = Window(s, first, 0).row0, bottom = Window(s, end - 1, 0).row1;
            const index_t width = s.out_width(), outputs = (end - first) * width;
            Scratch<T> memory(((bottom - top) * s.in_width + 2 * outputs) * lanes);
            T *maxima = memory.data() + (bottom - top) * s.in_width * lanes, *at = maxima + outputs * lanes;
            kernels<T>().pool->max_lanes(
                s, first, end,
                lanes_of(p.x, plane_of(p.x, s, plane), count, s.in_width, top, bottom, memory.data()), maxima,
                at);
            put_lanes<T>(maxima, count, width, first, end, p.y, plane_of(p.y, s, plane));
            if (indices) put_indices(at, count, outputs, indices_of(plane) + first * width, size);
        });
    });
}

template <class T>
void max_pool2d_backward(const Pool2dShape& shape, const Images<const T>& grad, const std::int32_t* indices,
                         const Images<T>& grad_x) {
    const Problem<T, const T> p(shape, grad_x, grad);
    const Pool2dShape& s = p.s;
    const index_t height = s.out_height(), width = s.out_width(), n = height * width;
    const index_t pixels = s.in_height * s.in_width;
    const bool reads_packed = has_packed_planes(p.y, width) && (s.channels == 1 || p.y.strides[1] == n);
    const bool writes_packed =
        has_packed_planes(p.x, s.in_width) && (s.channels == 1 || p.x.strides[1] == pixels);
    const index_t lanes = kernels<T>().plane->lanes;
    for_each_group(
        s, std::max<index_t>(1, kPixelsPerTask / pixels / lanes) * lanes, [&](index_t plane, index_t count) {
            Scratch<T> read(reads_packed ? 0 : count * n), written(writes_packed ? 0 : count * pixels);
            const T* from = plane_of(p.y, s, plane);
            T* to = plane_of(p.x, s, plane);
            const auto& copies = *kernels<T>().plane;
            if (!reads_packed) copies.gather_box(planes_of(p.y, count, height, width), from, read.data());
            packed_max_backward(s, count, reads_packed ? from : read.data(), indices + plane * n,
                                writes_packed ? to : written.data());
            if (!writes_packed)
                copies.scatter_box(planes_of(p.x, count, s.in_height, s.in_width), written.data(), to);
        });
}

template <class T>
void avg_pool2d(const Pool2dShape& shape, const Images<const T>& x, const Images<T>& y) {
    const Problem<const T, T> p(shape, x, y);
    const Pool2dShape& s = p.s;
    const T scale = T(1) / static_cast<T>(s.kernel_height * s.kernel_width);
    const index_t lanes = kernels<T>().plane->lanes;
    const Way way = is_taken_as_it_lies(p) ? way_of(s, s.channels, lanes) : Way::lanes;
    if (way == Way::rows)
        return for_each_plane(s, [&](index_t plane) {
            averages_of_rows(p, plane_of(p.x, s, plane), plane_of(p.y, s, plane), scale);
        });
    if (way == Way::windows)
        return for_each_plane(s, [&](index_t plane) {
            const T* in = plane_of(p.x, s, plane);
            T* out = plane_of(p.y, s, plane);
            for_each_whole_window(
                p, [&](index_t rows, index_t cols, index_t top, index_t left, index_t i, index_t j) {
                    out[i * p.y.strides[2] + j] =
                        scale * kernels<T>().pool->window_sum(rows, cols, in + top * p.x.strides[2] + left,
                                                              p.x.strides[2]);
                });
        });
    for_each_group(s, lanes, [&](index_t plane, index_t count) {
        for_each_strip(s, lanes * index_t{sizeof(T)}, [&](index_t first, index_t end) {
            const index_t top = Window(s, first, 0).row0, bottom = Window(s, end - 1, 0).row1;
            const index_t width = s.out_width(), outputs = (end - first) * width;
            Scratch<T> memory(((bottom - top) * s.in_width + outputs) * lanes);
            T* averages = memory.data() + (bottom - top) * s.in_width * lanes;
            kernels<T>().pool->average_lanes(
                s, first, end,
                lanes_of(p.x, plane_of(p.x, s, plane), count, s.in_width, top, bottom, memory.data()), scale,
                averages);
            put_lanes<T>(averages, count, width, first, end, p.y, plane_of(p.y, s, plane));
        });
    });
}

template <class T>
void avg_pool2d_backward(const Pool2dShape& shape, const Images<const T>& grad, const Images<T>& grad_x) {
    Problem<T, const T> p(shape, grad_x, grad);
    p.flatten();
    const Pool2dShape& s = p.s;
    const T scale = T(1) / static_cast<T>(s.kernel_height * s.kernel_width);
    const index_t lanes = kernels<T>().plane->lanes, height = s.out_height(), width = s.out_width();
    // Of windows that do not overlap all rows but the first are copies.
    const bool repeats = s.kernel_height <= s.stride_height && s.kernel_height >= 4;
    const bool by_rows = p.x.strides[3] == 1 && p.y.strides[3] == 1 &&
                         (s.channels < lanes / 2 || s.in_width >= 64 || (repeats && s.in_width >= lanes) ||
                          (s.in_width >= 2 * lanes && (s.stride_width == 1 || s.kernel_width >= 2 * lanes)));
    if (by_rows)
        return for_each_plane(s, [&](index_t plane) {
            spread_rows(p, plane_of(p.y, s, plane), scale, plane_of(p.x, s, plane));
        });
    const index_t rows = rows_apart<T>(s, lanes);
    for_each_group(s, lanes, ceil_div(height, rows), [&](index_t plane, index_t count, index_t strip) {
        const Pool2dShape part = rows_of(s, strip * rows, std::min(height, (strip + 1) * rows));
        const index_t first = strip * rows * s.stride_height, outputs = part.out_height() * width;
        Scratch<T> memory((outputs + s.in_width + part.in_height * s.in_width) * lanes);
        T *row = memory.data() + outputs * lanes, *spread = row + s.in_width * lanes;
        kernels<T>().pool->average_lanes_backward(
            part,
            lanes_of(p.y, plane_of(p.y, s, plane) + strip * rows * p.y.strides[2], count, width, 0,
                     part.out_height(), memory.data()),
            scale, row, spread);
        put_lanes<T>(spread, count, s.in_width, 0, part.in_height, p.x,
                     plane_of(p.x, s, plane) + first * p.x.strides[2]);
    });
}

namespace {

// Calls body(plane, position of the window in the output, its part of the image) for each window of each
// plane.
template <class Body>
void for_each_adaptive_window(const AdaptivePool2dShape& s, Body&& body) {
    const auto begin = [](index_t i, index_t in, index_t out) { return i * in / out; };
    const auto end = [](index_t i, index_t in, index_t out) { return ceil_div((i + 1) * in, out); };
    const index_t pixels = std::max<index_t>(1, s.in_height * s.in_width + s.out_height * s.out_width);
    const index_t grouped = std::max<index_t>(1, kPixelsPerTask / pixels);
    const double work = static_cast<double>(s.planes) * static_cast<double>(pixels) * 4;
    parallel_for(ceil_div(s.planes, grouped), threads_for(work), [&](index_t task) {
        for (index_t plane = task * grouped; plane < std::min(s.planes, (task + 1) * grouped); ++plane)
            for (index_t i = 0, at = 0; i < s.out_height; ++i)
                for (index_t j = 0; j < s.out_width; ++j, ++at)
                    body(plane, at,
                         PartOfImage{begin(i, s.in_height, s.out_height), end(i, s.in_height, s.out_height),
                                     begin(j, s.in_width, s.out_width), end(j, s.in_width, s.out_width)});
    });
}

}  // namespace

template <class T>
void adaptive_max_pool2d(const AdaptivePool2dShape& s, const T* x, T* y, std::int32_t* indices) {
    const index_t in = s.in_height * s.in_width, out = s.out_height * s.out_width;
    for_each_adaptive_window(s, [&](index_t plane, index_t at, const PartOfImage& w) {
        const index_t corner = w.row0 * s.in_width + w.col0;
        y[plane * out + at] =
            kernels<T>().pool->window_max(w.row1 - w.row0, w.col1 - w.col0, x + plane * in + corner,
                                          s.in_width, static_cast<std::int32_t>(corner),
                                          static_cast<std::int32_t>(s.in_width), indices + plane * out + at);
    });
}

template <class T>
void adaptive_avg_pool2d(const AdaptivePool2dShape& s, const T* x, T* y) {
    const index_t in = s.in_height * s.in_width, out = s.out_height * s.out_width;
    for_each_adaptive_window(s, [&](index_t plane, index_t at, const PartOfImage& w) {
        const T sum = kernels<T>().pool->window_sum(
            w.row1 - w.row0, w.col1 - w.col0, x + plane * in + w.row0 * s.in_width + w.col0, s.in_width);
        y[plane * out + at] = sum / static_cast<T>(w.area());
    });
}

template <class T>
void adaptive_avg_pool2d_backward(const AdaptivePool2dShape& s, const T* grad, T* grad_x) {
    const index_t in = s.in_height * s.in_width, out = s.out_height * s.out_width;
    for_each_adaptive_window(s, [&](index_t plane, index_t at, const PartOfImage& w) {
        T* to = grad_x + plane * in;
        if (at == 0) std::fill_n(to, in, T{});
        const T share = grad[plane * out + at] / static_cast<T>(w.area());
        for (index_t i = w.row0; i < w.row1; ++i)
            for (index_t j = w.col0; j < w.col1; ++j) to[i * s.in_width + j] += share;
    });
}

#define RANVIER_INSTANTIATE(T)                                                                             \
    template void max_pool2d(const Pool2dShape&, const Images<const T>&, const Images<T>&, std::int32_t*); \
    template void max_pool2d_backward(const Pool2dShape&, const Images<const T>&, const std::int32_t*,     \
                                      const Images<T>&);                                                   \
    template void avg_pool2d(const Pool2dShape&, const Images<const T>&, const Images<T>&);                \
    template void avg_pool2d_backward(const Pool2dShape&, const Images<const T>&, const Images<T>&);       \
    template void adaptive_max_pool2d(const AdaptivePool2dShape&, const T*, T*, std::int32_t*);            \
    template void adaptive_avg_pool2d(const AdaptivePool2dShape&, const T*, T*);                           \
    template void adaptive_avg_pool2d_backward(const AdaptivePool2dShape&, const T*, T*);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
