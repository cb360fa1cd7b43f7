// Pooling kernels of one instruction set: a vector of neighbouring windows at a time.
#include "../../platform/simd.h"
#include "../../platform/simd_strided.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {
namespace {

template <class T>
void max_row(index_t n, const T* x, index_t row_stride, index_t kernel_height, index_t kernel_width,
             index_t step, std::int32_t first, std::int32_t width, T* y, std::int32_t* indices) {
    using Int = typename LaneInt<T>::type;
    MaskOf<T> lane_start = {};
    for (int i = 0; i < kLanes<T>; ++i) lane_start[i] = static_cast<Int>(i * step);
    for (index_t i = 0; i < n; i += kLanes<T>) {
        const index_t count = n - i < kLanes<T> ? n - i : kLanes<T>;
        const T* corner = x + i * step;
        const MaskOf<T> start = lane_start + static_cast<Int>(first + i * step);
        Vec<T> most = load_every<T>(corner, step, count);
        MaskOf<T> at = start;
        for (index_t k = 0; k < kernel_height; ++k)
            for (index_t j = 0; j < kernel_width; ++j) {
                const Vec<T> v = load_every<T>(corner + k * row_stride + j, step, count);
                // Greater, or the first NaN.
                const MaskOf<T> better = (v > most) | ((v != v) & (most == most));
                most = select<T>(better, v, most);
                at = better ? start + static_cast<Int>(k * width + j) : at;
            }
        store_partial(y + i, most, count);
        if (indices)
            for (index_t lane = 0; lane < count; ++lane)
                indices[i + lane] = static_cast<std::int32_t>(at[lane]);
    }
}

template <class T>
void average_row(index_t n, const T* x, index_t row_stride, index_t kernel_height, index_t kernel_width,
                 index_t step, T scale, T* y) {
    for (index_t i = 0; i < n; i += kLanes<T>) {
        const index_t count = n - i < kLanes<T> ? n - i : kLanes<T>;
        const T* corner = x + i * step;
        Vec<T> sum = {};
        for (index_t k = 0; k < kernel_height; ++k)
            for (index_t j = 0; j < kernel_width; ++j)
                sum += load_every<T>(corner + k * row_stride + j, step, count);
        store_partial(y + i, sum * scale, count);
    }
}

}  // namespace

constinit const PoolKernels<float> pool_float32 = {max_row<float>, average_row<float>};
constinit const PoolKernels<double> pool_float64 = {max_row<double>, average_row<double>};

}  // namespace ranvier::RANVIER_ISA
