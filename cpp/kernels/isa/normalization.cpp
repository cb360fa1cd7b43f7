// Normalization kernels of one instruction set; formulas in normalization_kernels.h.
#include "../../platform/simd_aligned.h"
#include "../../platform/simd_wide.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {
namespace {

template <class T>
RANVIER_INLINE double wide_sum(Vec<T> v) {
    WideSum<T> sum;
    sum.add(v);
    return sum.total();
}

// The sums over the run of what add(sums, element, lanes) adds to SUMS vectors: four partial sums of each,
// and a new start every so often, so that a partial sum in float32 stays short.
template <class T, int SUMS, class Add>
RANVIER_INLINE void sums_of(index_t n, double (&totals)[SUMS], Add&& add) {
    constexpr index_t kStretch = 64 * 4 * kLanes<T>;
    for (index_t from = 0; from < n; from += kStretch) {
        const index_t end = n - from < kStretch ? n : from + kStretch;
        Vec<T> part[4][SUMS] = {};
        index_t i = from;
        for (; i + 4 * kLanes<T> <= end; i += 4 * kLanes<T>)
            for (int k = 0; k < 4; ++k) add(part[k], i + k * kLanes<T>, kLanes<T>);
        for (; i < end; i += kLanes<T>) add(part[0], i, end - i < kLanes<T> ? end - i : kLanes<T>);
        for (int s = 0; s < SUMS; ++s)
            totals[s] += wide_sum<T>((part[0][s] + part[1][s]) + (part[2][s] + part[3][s]));
    }
}
template <class T, class Term>
RANVIER_INLINE double sum_of(index_t n, Term&& term) {
    double total[1] = {};
    sums_of<T>(
        n, total, [&](Vec<T>(&sum)[1], index_t i, index_t count) __attribute__((always_inline)) {
            sum[0] += term(i, count);
        });
    return total[0];
}

// v in the first `count` lanes, zero in the others.
template <class T>
RANVIER_INLINE Vec<T> only(Vec<T> v, index_t count) {
    if (count == kLanes<T>) return v;
    for (int lane = 0; lane < kLanes<T>; ++lane)
        if (lane >= count) v[lane] = T{};
    return v;
}

template <class T>
double sum(index_t n, const T* x) {
    return sum_of<T>(n, [&](index_t i, index_t count) { return load_some(x + i, count); });
}

template <class T>
double squares_about(index_t n, const T* x, T mean) {
    return sum_of<T>(n, [&](index_t i, index_t count) {
        const Vec<T> d = only<T>(load_some(x + i, count) - broadcast(mean), count);
        return d * d;
    });
}

template <class T>
void gradient_sums(index_t n, const T* g, const T* x, T mean, double* sum, double* product) {
    double totals[2] = {};
    sums_of<T>(
        n, totals, [&](Vec<T>(&sums)[2], index_t i, index_t count) __attribute__((always_inline)) {
            const Vec<T> v = load_some(g + i, count);
            sums[0] += v;
            sums[1] += v * (load_some(x + i, count) - broadcast(mean));
        });
    *sum = totals[0];
    *product = totals[1];
}

template <class T>
void affine(index_t n, const T* x, T a, T b, T* y) {
    for_each_aligned_vector<T>(
        n, y, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            put(y, fma(get(x), broadcast(a), broadcast(b)));
        });
}

template <class T>
void combine(index_t n, const T* g, const T* x, T a, T b, T c, T* y) {
    for_each_aligned_vector<T>(
        n, y, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            put(y, fma(get(g), broadcast(a), fma(get(x), broadcast(b), broadcast(c))));
        });
}

template <class T>
void add_squares_each(index_t n, const T* x, const T* mean, T* sums) {
    for_each_vector<T>(
        n, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            const Vec<T> d = get(x) - get(mean);
            put(sums, fma(d, d, get(sums)));
        });
}

template <class T>
void add_products_each(index_t n, const T* g, const T* x, const T* mean, T* sums) {
    for_each_vector<T>(
        n, [&](auto&& get, auto&& put)
               __attribute__((always_inline)) { put(sums, fma(get(g), get(x) - get(mean), get(sums))); });
}

template <class T>
void affine_each(index_t n, const T* x, const T* a, const T* b, T* y) {
    for_each_aligned_vector<T>(
        n, y, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            put(y, fma(get(x), get(a), get(b)));
        });
}

template <class T>
void combine_each(index_t n, const T* g, const T* x, const T* a, const T* b, const T* c, T* y) {
    for_each_aligned_vector<T>(
        n, y, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            put(y, fma(get(g), get(a), fma(get(x), get(b), get(c))));
        });
}

template <class T>
void normalize_row(index_t n, const T* x, T mean, T scale, const T* gamma, const T* beta, T* y) {
    const Vec<T> one = broadcast(T(1)), zero = {};
    for_each_aligned_vector<T>(
        n, y, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            const Vec<T> h = (get(x) - broadcast(mean)) * broadcast(scale);
            put(y, fma(h, gamma ? get(gamma) : one, beta ? get(beta) : zero));
        });
}

template <class T>
void row_sums(index_t n, const T* g, const T* x, T mean, T scale, const T* gamma, double* sum,
              double* product) {
    const auto weighted = [&](index_t i, index_t count) {
        const Vec<T> v = load_some(g + i, count);
        return gamma ? v * load_some(gamma + i, count) : v;
    };
    *sum = sum_of<T>(n, weighted);
    *product = sum_of<T>(n, [&](index_t i, index_t count) {
        return weighted(i, count) * ((load_some(x + i, count) - broadcast(mean)) * broadcast(scale));
    });
}

template <class T>
void row_gradient(index_t n, const T* g, const T* x, T mean, T scale, const T* gamma, T first, T second,
                  T* grad_x) {
    const Vec<T> one = broadcast(T(1));
    for_each_aligned_vector<T>(
        n, grad_x, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            const Vec<T> h = (get(x) - broadcast(mean)) * broadcast(scale);
            const Vec<T> v = get(g) * (gamma ? get(gamma) : one) - broadcast(first);
            put(grad_x, fma(h, broadcast(-second), v) * broadcast(scale));
        });
}

template <class T>
void add_row_products(index_t n, const T* g, const T* x, T mean, T scale, T* sums) {
    for_each_vector<T>(
        n, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            const Vec<T> h = (get(x) - broadcast(mean)) * broadcast(scale);
            put(sums, fma(get(g), h, get(sums)));
        });
}

}  // namespace

#define RANVIER_NORMALIZATION_KERNELS(T)                                                          \
    {                                                                                             \
        sum<T>, squares_about<T>, gradient_sums<T>, affine<T>, combine<T>, add_squares_each<T>,   \
            add_products_each<T>, affine_each<T>, combine_each<T>, normalize_row<T>, row_sums<T>, \
            row_gradient<T>, add_row_products<T>                                                  \
    }

constinit const NormalizationKernels<float> normalization_float32 = RANVIER_NORMALIZATION_KERNELS(float);
constinit const NormalizationKernels<double> normalization_float64 = RANVIER_NORMALIZATION_KERNELS(double);

}  // namespace ranvier::RANVIER_ISA
