// Pooling kernels of one instruction set: a vector of neighbouring windows at a time.
#include "../../platform/simd_strided.h"
#include "isa.h"

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

}  // namespace

constinit const PoolKernels<float> pool_float32 = {max_row<float>, average_row<float>};
constinit const PoolKernels<double> pool_float64 = {max_row<double>, average_row<double>};

}  // namespace ranvier::RANVIER_ISA
