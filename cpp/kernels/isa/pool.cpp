// Pooling kernels of one instruction set: a vector of neighbouring windows at a time, or a window along its
// rows; several planes at once are in pool_lanes.h.
#include "../../platform/simd_strided.h"
#include "../../platform/simd_transpose.h"
#include "isa.h"
#include "pool_lanes.h"

namespace ranvier::RANVIER_ISA {
namespace {

// A row of windows. STEP and SIZE are the distance and the edge of the windows if they are known at compile
// time, as the usual ones are, or 0.
template <class T, int STEP, int SIZE>
struct Windows {
    const T* x;
    index_t row_stride, height, width, step;

    Windows(const T* corner, index_t stride, index_t kernel_height, index_t kernel_width, index_t distance)
        : x(corner),
          row_stride(stride),
          height(SIZE ? SIZE : kernel_height),
          width(SIZE ? SIZE : kernel_width),
          step(STEP ? STEP : distance) {}

    // body(k, j, column) for each place of the windows from the i-th on, of which `count` are there.
    template <class Body>
    RANVIER_INLINE void each(index_t i, index_t count, Body&& body) const {
        const T* corner = x + i * step;
        for (index_t k = 0; k < height; ++k)
            for (index_t j = 0; j < width; ++j)
                body(k, j, load_every(corner + k * row_stride + j, step, count));
    }
};

// run(i, count) for blocks that cover n windows: whole vectors, the last one overlapping the one before it.
template <class T, class Run>
RANVIER_INLINE void for_each_vector(index_t n, Run&& run) {
    if (n < kLanes<T>) return run(index_t{0}, n);
    for (index_t i = 0; i < n - kLanes<T>; i += kLanes<T>) run(i, kLanes<T>);
    run(n - kLanes<T>, kLanes<T>);
}

template <class T>
RANVIER_INLINE void store_indices(std::int32_t* to, MaskOf<T> indices, index_t count) {
    if constexpr (sizeof(T) == sizeof(std::int32_t))
        store_partial<std::int32_t>(to, indices, count);
    else
        for (index_t lane = 0; lane < count; ++lane) to[lane] = static_cast<std::int32_t>(indices[lane]);
}

template <class T, int STEP, int SIZE>
void max_of(const Windows<T, STEP, SIZE>& windows, index_t n, std::int32_t first, std::int32_t width, T* y,
            std::int32_t* indices) {
    using Int = typename LaneInt<T>::type;
    MaskOf<T> lane_start = {};
    for (int i = 0; i < kLanes<T>; ++i) lane_start[i] = static_cast<Int>(i * windows.step);
    for_each_vector<T>(n, [&](index_t i, index_t count) {
        const MaskOf<T> start = lane_start + static_cast<Int>(first + i * windows.step);
        Vec<T> most = load_every(windows.x + i * windows.step, windows.step, count), sum = {};
        const Vec<T> corner = most;
        MaskOf<T> at = start;
        windows.each(i, count, [&](index_t k, index_t j, Vec<T> v) {
            const MaskOf<T> better = v > most;
            most = select<T>(better, v, most);
            at = better ? start + static_cast<Int>(k * width + j) : at;
            sum += v;
        });
        // A sum that is no number says that there may be a NaN: the first of them wins.
        if (any_nan<T>(sum)) {
            most = corner;
            at = start;
            windows.each(i, count, [&](index_t k, index_t j, Vec<T> v) {
                const MaskOf<T> better = (v > most) | ((v != v) & (most == most));
                most = select<T>(better, v, most);
                at = better ? start + static_cast<Int>(k * width + j) : at;
            });
        }
        store_partial(y + i, most, count);
        if (indices) store_indices<T>(indices + i, at, count);
    });
}

template <class T, int STEP, int SIZE>
void average_of(const Windows<T, STEP, SIZE>& windows, index_t n, T scale, T* y) {
    for_each_vector<T>(n, [&](index_t i, index_t count) {
        Vec<T> sum = {};
        windows.each(i, count, [&](index_t, index_t, Vec<T> v) { sum += v; });
        store_partial(y + i, sum * scale, count);
    });
}

// run(windows) with the usual distances and edges as constants.
template <class T, class Run>
RANVIER_INLINE void with_windows(const T* x, index_t row_stride, index_t kernel_height, index_t kernel_width,
                                 index_t step, Run&& run) {
    const index_t size = kernel_height == kernel_width ? kernel_height : 0;
    if (step == 2 && size == 2)
        run(Windows<T, 2, 2>(x, row_stride, kernel_height, kernel_width, step));
    else if (step == 2 && size == 3)
        run(Windows<T, 2, 3>(x, row_stride, kernel_height, kernel_width, step));
    else if (step == 1)
        run(Windows<T, 1, 0>(x, row_stride, kernel_height, kernel_width, step));
    else
        run(Windows<T, 0, 0>(x, row_stride, kernel_height, kernel_width, step));
}

template <class T>
void max_row(index_t n, const T* x, index_t row_stride, index_t kernel_height, index_t kernel_width,
             index_t step, std::int32_t first, std::int32_t width, T* y, std::int32_t* indices) {
    with_windows(x, row_stride, kernel_height, kernel_width, step,
                 [&](const auto& windows) { max_of(windows, n, first, width, y, indices); });
}

template <class T>
void average_row(index_t n, const T* x, index_t row_stride, index_t kernel_height, index_t kernel_width,
                 index_t step, T scale, T* y) {
    with_windows(x, row_stride, kernel_height, kernel_width, step,
                 [&](const auto& windows) { average_of(windows, n, scale, y); });
}

// The elements of rows of windows after the larger of each upper and lower pixel is taken, without gaps, so
// that the vectors of the second step need not end with the rows.
template <class T>
struct Columns {
    static constexpr index_t kMost = 1024;
    T most[kMost + 2 * kLanes<T>];
    typename LaneInt<T>::type at[kMost + 2 * kLanes<T>];
};

// Fills one row of Columns; returns a sum that is a NaN if one of the pixels is.
template <class T>
RANVIER_INLINE Vec<T> upper_or_lower(index_t n, const T* upper, const T* lower,
                                     typename LaneInt<T>::type first, typename LaneInt<T>::type width,
                                     T* most, typename LaneInt<T>::type* at) {
    using Int = typename LaneInt<T>::type;
    MaskOf<T> lane = {};
    for (int i = 0; i < kLanes<T>; ++i) lane[i] = static_cast<Int>(i);
    Vec<T> sum = {};
    for_each_vector<T>(
        n, [&](index_t i, index_t count) __attribute__((always_inline)) {
            const bool whole = count == kLanes<T>;
            const Vec<T> a = whole ? load(upper + i) : load_partial(upper + i, count);
            const Vec<T> b = whole ? load(lower + i) : load_partial(lower + i, count);
            const MaskOf<T> below = b > a;
            const MaskOf<T> position = lane + static_cast<Int>(first + i);
            store<T>(most + i, select<T>(below, b, a));
            store<Int>(at + i, below ? position + width : position);
            sum += a + b;
        });
    return sum;
}

template <class T>
bool max_2x2(index_t rows, index_t n, const T* x, index_t row_stride, std::int32_t width, T* y,
             std::int32_t* indices) {
    using Int = typename LaneInt<T>::type;
    if (2 * n > Columns<T>::kMost) return false;
    Columns<T> columns;
    const index_t rows_at_once = Columns<T>::kMost / (2 * n);
    for (index_t from = 0; from < rows; from += rows_at_once) {
        const index_t now = rows - from < rows_at_once ? rows - from : rows_at_once;
        Vec<T> sum = {};
        for (index_t r = 0; r < now; ++r) {
            const T* upper = x + 2 * (from + r) * row_stride;
            sum +=
                upper_or_lower<T>(2 * n, upper, upper + row_stride, static_cast<Int>(2 * (from + r) * width),
                                  width, columns.most + r * 2 * n, columns.at + r * 2 * n);
        }
        if (any_nan<T>(sum)) return false;
        const index_t first = from * n, count = now * n;
        for (index_t i = 0; i < count; i += kLanes<T>) {
            const T* most = columns.most + 2 * i;
            const Int* at = columns.at + 2 * i;
            const Vec<T> left = even_lanes<T>(load(most), load(most + kLanes<T> - 1));
            const Vec<T> right = even_lanes<T>(load(most + 1), load(most + kLanes<T>));
            const MaskOf<T> left_at = even_lanes<Int>(load(at), load(at + kLanes<T> - 1));
            const MaskOf<T> right_at = even_lanes<Int>(load(at + 1), load(at + kLanes<T>));
            // Of equals, the one that comes first by rows.
            const MaskOf<T> better = (right > left) | ((right == left) & (right_at < left_at));
            const index_t left_over = count - i < kLanes<T> ? count - i : kLanes<T>;
            store_partial(y + first + i, select<T>(better, right, left), left_over);
            if (indices) store_indices<T>(indices + first + i, better ? right_at : left_at, left_over);
        }
    }
    return true;
}

template <class T>
RANVIER_INLINE MaskOf<T> load_indices(const std::int32_t* from, index_t count) {
    if constexpr (sizeof(T) == sizeof(std::int32_t)) {
        return load_some<std::int32_t>(from, count);
    } else {
        MaskOf<T> indices = {};
        for (index_t lane = 0; lane < count; ++lane) indices[lane] = from[lane];
        return indices;
    }
}

// Pairs of lanes (a[0], b[0], a[1], b[1] ...), of which `count` numbers go to memory.
template <class T>
RANVIER_INLINE void store_pairs(T* to, Vec<T> a, Vec<T> b, index_t count) {
    if (count == 2 * kLanes<T>) {
        store(to, interleave<T, 0>(a, b));
        store(to + kLanes<T>, interleave<T, 1>(a, b));
        return;
    }
    store_partial(to, interleave<T, 0>(a, b), count < kLanes<T> ? count : kLanes<T>);
    if (count > kLanes<T>) store_partial(to + kLanes<T>, interleave<T, 1>(a, b), count - kLanes<T>);
}

template <class T>
bool max_2x2_backward(index_t rows, index_t n, const T* grad, const std::int32_t* indices, std::int32_t width,
                      T* to, index_t row_stride) {
    using Int = typename LaneInt<T>::type;
    MaskOf<T> lane = {}, outside = {};
    for (int i = 0; i < kLanes<T>; ++i) lane[i] = static_cast<Int>(2 * i);
    for (index_t y = 0; y < rows; ++y, grad += n, indices += n, to += 2 * row_stride)
        for_each_vector<T>(
            n, [&](index_t x, index_t count) __attribute__((always_inline)) {
                const Vec<T> g = load_some(grad + x, count), none = {};
                const MaskOf<T> corner = lane + static_cast<Int>(2 * (y * width + x));
                MaskOf<T> place =
                    wrapping_subtract<T>(load_indices<T>(indices + x, count), corner);  // any index
                if (count < kLanes<T>) place = lane < 2 * static_cast<Int>(count) ? place : MaskOf<T>{};
                const auto at = [&](Int wanted) __attribute__((always_inline)) {
                    return select<T>(place == wanted, g, none);
                };
                store_pairs(to + 2 * x, at(0), at(1), 2 * count);
                store_pairs(to + row_stride + 2 * x, at(width), at(width + 1), 2 * count);
                outside |= ~((place == 0) | (place == 1) | (place == width) | (place == width + 1));
            });
    return !any_set<T>(outside);
}

// body(vector, position in the window's first row) for the vectors that cover a row: whole ones, the last of
// which overlaps the one before it, or a single one with copies of the first pixel in the lanes beyond the
// end.
template <class T, class Body>
RANVIER_INLINE void for_each_overlapping(index_t n, const T* x, Body&& body) {
    if (n < kLanes<T>) {
        MaskOf<T> lane = {};
        for (int i = 0; i < kLanes<T>; ++i) lane[i] = i;
        const MaskOf<T> there = lane < static_cast<typename LaneInt<T>::type>(n) - MaskOf<T>{};
        body(select<T>(there, load_partial(x, n), broadcast(*x)), there ? lane : MaskOf<T>{});
        return;
    }
    MaskOf<T> lane = {};
    for (int i = 0; i < kLanes<T>; ++i) lane[i] = i;
    for (index_t i = 0;; i += kLanes<T>) {
        if (i > n - kLanes<T>) i = n - kLanes<T>;
        body(load(x + i), lane + static_cast<typename LaneInt<T>::type>(i));
        if (i == n - kLanes<T>) return;
    }
}

template <class T>
T window_max(index_t rows, index_t cols, const T* x, index_t row_stride, std::int32_t first,
             std::int32_t width, std::int32_t* index) {
    using Int = typename LaneInt<T>::type;
    Vec<T> most = broadcast(*x), sum = {};
    MaskOf<T> best = static_cast<Int>(first) - MaskOf<T>{};
    const T* row = x;
    for (index_t k = 0; k < rows; ++k, row += row_stride)
        for_each_overlapping<T>(
            cols, row, [&](Vec<T> v, MaskOf<T> at) __attribute__((always_inline)) {
                const MaskOf<T> better = v > most;
                most = select<T>(better, v, most);
                best = better ? at + static_cast<Int>(first + k * width) : best;
                sum += v;
            });
    if (any_nan<T>(sum))
        for (index_t k = 0; k < rows; ++k)
            for (index_t j = 0; j < cols; ++j)
                if (const T value = x[k * row_stride + j]; value != value) {
                    *index = static_cast<std::int32_t>(first + k * width + j);
                    return value;
                }
    T lanes[kLanes<T>];
    Int at[kLanes<T>];
    store(lanes, most);
    store<Int>(at, best);
    for (int i = 1; i < kLanes<T>; ++i)
        if (lanes[i] > lanes[0] || (lanes[i] == lanes[0] && at[i] < at[0])) {
            lanes[0] = lanes[i];
            at[0] = at[i];
        }
    *index = static_cast<std::int32_t>(at[0]);
    return lanes[0];
}

template <class T>
T window_sum(index_t rows, index_t cols, const T* x, index_t row_stride) {
    Vec<T> part[4] = {};
    for (; rows > 0; --rows, x += row_stride) {
        index_t j = 0;
        for (; j + 4 * kLanes<T> <= cols; j += 4 * kLanes<T>)
            for (int k = 0; k < 4; ++k) part[k] += load(x + j + k * kLanes<T>);
        for (int k = 0; j < cols; j += kLanes<T>, ++k)
            part[k] += load_some(x + j, cols - j < kLanes<T> ? cols - j : kLanes<T>);
    }
    return sum_lanes<T>((part[0] + part[1]) + (part[2] + part[3]));
}

}  // namespace

#define RANVIER_POOL_KERNELS(T)                                                                    \
    {                                                                                              \
        max_row<T>, max_2x2<T>, max_2x2_backward<T>, average_row<T>, window_max<T>, window_sum<T>, \
            max_lanes<T>, average_lanes<T>, average_lanes_backward<T>, average_row_backward<T>     \
    }

constinit const PoolKernels<float> pool_float32 = RANVIER_POOL_KERNELS(float);
constinit const PoolKernels<double> pool_float64 = RANVIER_POOL_KERNELS(double);

}  // namespace ranvier::RANVIER_ISA
