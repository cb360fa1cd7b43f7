// Inner products of few rows with many, for products whose operands are both contiguous along the depth.
//
// Vectors run along the depth. A block of the rows of x and y has its sums in registers, as many as hide the
// latency of multiply-adds, and each vector that is loaded meets all rows of the other operand.
#include <utility>

#include "../../platform/simd_loops.h"
#include "../../platform/simd_registers.h"
#include "../../platform/simd_sums.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {
namespace {

// Each element has two vectors of partial sums: of the vectors at even and at odd places.
constexpr int kChains = 2;

// Rows of y in a block: four at most, so that few streams are read at once.
constexpr int many_for(int few) {
    const int fit = kAccumulators / (few * kChains);
    return fit < 1 ? 1 : fit > 4 ? 4 : fit;
}

template <class T>
struct RowProducts {
    index_t depth;
    const T* x;
    index_t x_stride;
    const T* y;
    index_t y_stride;
    const index_t* y_offsets;
    T* c;
    index_t c_few_stride, c_many_stride;
    bool accumulate;
};

// sum[i * MANY + j] = the vectors' products of row i of x and row j of y.
template <class T, int FEW, int MANY>
RANVIER_INLINE void add_products(index_t depth, const T* x, index_t x_stride, const T* const* y,
                                 Vec<T>* sum) {
    Vec<T> even[FEW * MANY], odd[FEW * MANY];
#pragma GCC unroll 32
    for (int e = 0; e < FEW * MANY; ++e) even[e] = odd[e] = Vec<T>{};
    const auto step = [&](Vec<T>(&part)[FEW * MANY], auto&& get) __attribute__((always_inline)) {
        Vec<T> few[FEW];
#pragma GCC unroll 16
        for (int i = 0; i < FEW; ++i) few[i] = in_register<MANY>(get(x + i * x_stride));
#pragma GCC unroll 16
        for (int j = 0; j < MANY; ++j) {
            const Vec<T> row = in_register<FEW>(get(y[j]));
#pragma GCC unroll 16
            for (int i = 0; i < FEW; ++i) part[i * MANY + j] = fma(few[i], row, part[i * MANY + j]);
        }
    };
    constexpr index_t kLength = kLanes<T>;
    index_t p = 0;
    for (; p + 2 * kLength <= depth; p += 2 * kLength) {
        step(even, [&](const T* row) { return load(row + p); });
        step(odd, [&](const T* row) { return load(row + p + kLength); });
    }
    if (p + kLength <= depth) {
        step(even, [&](const T* row) { return load(row + p); });
        p += kLength;
        if (p < depth) step(odd, [&](const T* row) { return load_partial(row + p, depth - p); });
    } else if (p < depth) {
        step(even, [&](const T* row) { return load_partial(row + p, depth - p); });
    }
#pragma GCC unroll 32
    for (int e = 0; e < FEW * MANY; ++e) sum[e] = even[e] + odd[e];
}

// FEW rows of x by MANY of y.
template <class T, int FEW, int MANY>
void block(const RowProducts<T>& o, index_t first) {
    const T* y[MANY];
#pragma GCC unroll 16
    for (int j = 0; j < MANY; ++j)
        y[j] = o.y + (o.y_offsets ? o.y_offsets[first + j] : (first + j) * o.y_stride);
    constexpr int kGroup = kSumsAtOnce<T>, kPadded = (FEW * MANY + kGroup - 1) / kGroup * kGroup;
    Vec<T> sum[kPadded] = {};
    add_products<T, FEW, MANY>(o.depth, o.x, o.x_stride, y, sum);
    T total[kPadded];
#pragma GCC unroll 32
    for (int e = 0; e < kPadded; e += kGroup) sum_lanes_of_several<T>(sum + e, total + e);
    T* c = o.c + first * o.c_many_stride;
#pragma GCC unroll 16
    for (int i = 0; i < FEW; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < MANY; ++j) {
            T& element = c[i * o.c_few_stride + j * o.c_many_stride];
            element = o.accumulate ? element + total[i * MANY + j] : total[i * MANY + j];
        }
}

// All rows of y from `first` on, MANY at a time. Those left over are taken at once, too: each block reads the
// rows of x again.
template <class T, int FEW, int MANY>
void multiply_few(const RowProducts<T>& o, index_t first, index_t many) {
    for (; first + MANY <= many; first += MANY) block<T, FEW, MANY>(o, first);
    if constexpr (MANY > 1)
        if (first < many) multiply_few<T, FEW, MANY - 1>(o, first, many);
}

// One row of x that fits in a vector, which is read once; the sums are those of block(). Returns how many
// rows of y are done, in whole groups.
template <class T>
index_t multiply_short_row(const RowProducts<T>& o, index_t many) {
    constexpr int kGroup = kSumsAtOnce<T>;
    const Vec<T> x = load_partial(o.x, o.depth);
    index_t first = 0;
    for (; first + kGroup <= many; first += kGroup) {
        Vec<T> sum[kGroup];
#pragma GCC unroll 4
        for (int j = 0; j < kGroup; ++j) {
            const T* y = o.y + (o.y_offsets ? o.y_offsets[first + j] : (first + j) * o.y_stride);
            sum[j] = fma(x, load_partial(y, o.depth), Vec<T>{});
        }
        T total[kGroup];
        sum_lanes_of_several<T>(sum, total);
#pragma GCC unroll 4
        for (int j = 0; j < kGroup; ++j) {
            T& element = o.c[(first + j) * o.c_many_stride];
            element = o.accumulate ? element + total[j] : total[j];
        }
    }
    return first;
}

template <class T, std::size_t... I>
RANVIER_INLINE void multiply_by_few(const RowProducts<T>& o, index_t few, index_t first, index_t many,
                                    std::index_sequence<I...>) {
    static constexpr void (*kByFew[sizeof...(I)])(const RowProducts<T>&, index_t,
                                                  index_t) = {multiply_few<T, I + 1, many_for(I + 1)>...};
    kByFew[few - 1](o, first, many);
}

template <class T>
void multiply(index_t few, index_t many, index_t depth, const T* x, index_t x_stride, const T* y,
              index_t y_stride, const index_t* y_offsets, T* c, index_t c_few_stride, index_t c_many_stride,
              bool accumulate) {
    const RowProducts<T> o = {depth,         x,         x_stride, y, y_stride, y_offsets, c, c_few_stride,
                              c_many_stride, accumulate};
    const index_t done = few == 1 && depth <= kLanes<T> ? multiply_short_row(o, many) : 0;
    multiply_by_few<T>(o, few, done, many, std::make_index_sequence<kRowsAtOnce>{});
}

}  // namespace

constinit const InnerProductKernels<float> inner_product_float32 = {multiply<float>};
constinit const InnerProductKernels<double> inner_product_float64 = {multiply<double>};

}  // namespace ranvier::RANVIER_ISA
