// Inner products of few rows with many, for products whose operands are both contiguous along the depth.
//
// Vectors run along the depth. A block of the rows of x and y has its sums in registers, as many as hide the
// latency of multiply-adds, and each vector that is loaded meets all rows of the other operand.
#include "../../platform/simd_loops.h"
#include "../../platform/simd_registers.h"
#include "../../platform/simd_sums.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {
namespace {

// Each element has two vectors of partial sums: of the vectors at even and at odd places.
constexpr int kChains = 2;

// Rows of y in a block: four at most, so that few streams are read at once.
constexpr index_t many_for(int few) {
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
        for (int i = 0; i < FEW; ++i) few[i] = get(x + i * x_stride);
#pragma GCC unroll 16
        for (int j = 0; j < MANY; ++j) {
            const Vec<T> row = get(y[j]);
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

template <class T, int FEW>
void multiply_few(const RowProducts<T>& o, index_t many) {
    constexpr index_t kMany = many_for(FEW);
    index_t j = 0;
    for (; j + kMany <= many; j += kMany) block<T, FEW, kMany>(o, j);
    for (; j < many; ++j) block<T, FEW, 1>(o, j);
}

template <class T>
void multiply(index_t few, index_t many, index_t depth, const T* x, index_t x_stride, const T* y,
              index_t y_stride, const index_t* y_offsets, T* c, index_t c_few_stride, index_t c_many_stride,
              bool accumulate) {
    static constexpr void (*kByFew[kRowsAtOnce])(const RowProducts<T>&, index_t) = {
        multiply_few<T, 1>, multiply_few<T, 2>, multiply_few<T, 3>,
        multiply_few<T, 4>, multiply_few<T, 5>, multiply_few<T, 6>};
    kByFew[few - 1]({depth, x, x_stride, y, y_stride, y_offsets, c, c_few_stride, c_many_stride, accumulate},
                    many);
}

}  // namespace

constinit const InnerProductKernels<float> inner_product_float32 = {multiply<float>};
constinit const InnerProductKernels<double> inner_product_float64 = {multiply<double>};

}  // namespace ranvier::RANVIER_ISA
