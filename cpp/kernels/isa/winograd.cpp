// Winograd's transforms of one instruction set, a vector of channels at a time.
//
// F(m, r) computes m outputs of a convolution with r weights from m + r - 1 products: the values of two
// polynomials at as many points, the last of them infinity (Winograd 1980; Lavin and Gray 2016). With points
// in pairs a, -a, the even and the odd terms of a polynomial serve both.
#include "../../platform/simd.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {
namespace {

// The points are 0, 1, -1, 2, -2, 1/2, -1/2 (as many of them as are needed) and infinity.
constexpr double kPairs[] = {1, 2, 0.5};

// The coefficients of a polynomial, the constant first.
struct Polynomial {
    double at[8] = {};
};

// x^lift times the product of (x^2 - a^2) over the pairs, but for the pair `without`.
constexpr Polynomial product_of_pairs(int pairs, int without, int lift) {
    Polynomial p;
    p.at[lift] = 1;
    for (int q = 0; q < pairs; ++q) {
        if (q == without) continue;
        for (int k = 7; k >= 0; --k) p.at[k] = (k >= 2 ? p.at[k - 2] : 0) - kPairs[q] * kPairs[q] * p.at[k];
    }
    return p;
}

constexpr double power(double x, int n) { return n == 0 ? 1 : x * power(x, n - 1); }

constexpr double value(const Polynomial& p, double x) {
    double sum = 0;
    for (int k = 7; k >= 0; --k) sum = sum * x + p.at[k];
    return sum;
}

// What the matrices of Lavin and Gray hold.
struct PointTable {
    Polynomial zero, infinity, pair[3];  // of the image: pair a has (x + a) pair[] and (x - a) pair[]
    double zero_scale, pair_scale[3];    // of the weights
    double powers[3][8];
};

constexpr PointTable point_table(int pairs) {
    PointTable t = {};
    t.zero = product_of_pairs(pairs, -1, 0);
    t.infinity = product_of_pairs(pairs, -1, 1);
    t.zero_scale = 1 / value(t.zero, 0);
    for (int q = 0; q < pairs; ++q) {
        t.pair[q] = product_of_pairs(pairs, q, 1);
        t.pair_scale[q] = 1 / (value(t.pair[q], kPairs[q]) * 2 * kPairs[q]);
        for (int k = 0; k < 8; ++k) t.powers[q][k] = power(kPairs[q], k);
    }
    return t;
}

template <int POINTS>
constexpr int kPairCount = POINTS / 2 - 1;
template <int POINTS>
constexpr PointTable kPointTable = point_table(POINTS / 2 - 1);

// sum += factor * x, without the operations that do nothing; the first term of a sum has `first` set.
template <class T>
RANVIER_INLINE void add_term(Vec<T>& sum, bool& first, double factor, Vec<T> x) {
    if (factor == 0) return;
    if (first)
        sum = factor == 1 ? x : factor == -1 ? -x : x * static_cast<T>(factor);
    else
        sum = factor == 1 ? sum + x : factor == -1 ? sum - x : fma(broadcast(static_cast<T>(factor)), x, sum);
    first = false;
}

// B^T d.
template <class T, int POINTS>
struct ImageTransform {
    static constexpr int kIn = POINTS, kOut = POINTS;
    RANVIER_INLINE static void apply(const Vec<T> (&d)[kIn], Vec<T> (&out)[kOut]) {
        bool first_zero = true, first_infinity = true;
#pragma GCC unroll 8
        for (int k = 0; k < POINTS; ++k) {
            add_term<T>(out[0], first_zero, kPointTable<POINTS>.zero.at[k], d[k]);
            add_term<T>(out[POINTS - 1], first_infinity, kPointTable<POINTS>.infinity.at[k], d[k]);
        }
#pragma GCC unroll 4
        for (int q = 0; q < kPairCount<POINTS>; ++q) {
            Vec<T> even = {}, odd = {};
            bool first_even = true, first_odd = true;
#pragma GCC unroll 8
            for (int k = 0; k + 1 < POINTS; ++k) {
                add_term<T>(even, first_even, kPointTable<POINTS>.pair[q].at[k], d[k + 1]);
                add_term<T>(odd, first_odd, kPointTable<POINTS>.pair[q].at[k] * kPairs[q], d[k]);
            }
            out[2 * q + 1] = even + odd;
            out[2 * q + 2] = even - odd;
        }
    }
};

// G g: the values at the points, scaled.
template <class T, int POINTS, int N>
struct ToPoints {
    static constexpr int kIn = N, kOut = POINTS;
    RANVIER_INLINE static void apply(const Vec<T> (&g)[kIn], Vec<T> (&out)[kOut]) {
        bool first_zero = true;
        add_term<T>(out[0], first_zero, kPointTable<POINTS>.zero_scale, g[0]);
#pragma GCC unroll 4
        for (int q = 0; q < kPairCount<POINTS>; ++q) {
            Vec<T> part[2] = {};
            bool first[2] = {true, true};
#pragma GCC unroll 8
            for (int k = 0; k < N; ++k)
                add_term<T>(part[k % 2], first[k % 2],
                            kPointTable<POINTS>.powers[q][k] * kPointTable<POINTS>.pair_scale[q], g[k]);
            out[2 * q + 1] = part[0] + part[1];
            out[2 * q + 2] = part[0] - part[1];
        }
        out[POINTS - 1] = g[N - 1];
    }
};

// A^T m.
template <class T, int POINTS, int N>
struct FromPoints {
    static constexpr int kIn = POINTS, kOut = N;
    RANVIER_INLINE static void apply(const Vec<T> (&m)[kIn], Vec<T> (&out)[kOut]) {
        Vec<T> parts[kPairCount<POINTS>][2];
#pragma GCC unroll 4
        for (int q = 0; q < kPairCount<POINTS>; ++q) {
            parts[q][0] = m[2 * q + 1] + m[2 * q + 2];
            parts[q][1] = m[2 * q + 1] - m[2 * q + 2];
        }
#pragma GCC unroll 8
        for (int k = 0; k < N; ++k) {
            bool first = true;
            if (k == 0) add_term<T>(out[k], first, 1, m[0]);
            if (k == N - 1) add_term<T>(out[k], first, 1, m[POINTS - 1]);
#pragma GCC unroll 4
            for (int q = 0; q < kPairCount<POINTS>; ++q)
                add_term<T>(out[k], first, kPointTable<POINTS>.powers[q][k], parts[q][k % 2]);
        }
    }
};

// The one-dimensional transform along the columns, then along the rows.
template <class T, class Along>
void transform(index_t count, const T* from, index_t from_row, index_t from_col, index_t from_step, T* to,
               index_t to_row, index_t to_col, index_t to_step) {
    constexpr int kIn = Along::kIn, kOut = Along::kOut;
    for (; count > 0; --count, from += from_step, to += to_step) {
        Vec<T> half[kOut][kIn];
#pragma GCC unroll 8
        for (int j = 0; j < kIn; ++j) {
            Vec<T> column[kIn], done[kOut];
#pragma GCC unroll 8
            for (int i = 0; i < kIn; ++i) column[i] = load(from + i * from_row + j * from_col);
            Along::apply(column, done);
#pragma GCC unroll 8
            for (int i = 0; i < kOut; ++i) half[i][j] = done[i];
        }
#pragma GCC unroll 8
        for (int i = 0; i < kOut; ++i) {
            Vec<T> done[kOut];
            Along::apply(half[i], done);
#pragma GCC unroll 8
            for (int j = 0; j < kOut; ++j) store(to + i * to_row + j * to_col, done[j]);
        }
    }
}

template <class T, int TILE, int KERNEL>
constexpr WinogradTransforms<T> transforms_of() {
    constexpr int kPoints = TILE + KERNEL - 1;
    return {TILE,
            KERNEL,
            transform<T, ImageTransform<T, kPoints>>,
            transform<T, ToPoints<T, kPoints, KERNEL>>,
            transform<T, FromPoints<T, kPoints, TILE>>,
            transform<T, ToPoints<T, kPoints, TILE>>,
            transform<T, FromPoints<T, kPoints, KERNEL>>};
}

}  // namespace

#define RANVIER_WINOGRAD_KERNELS(T)                                                                 \
    {                                                                                               \
        kLanes<T>, { transforms_of<T, 2, 3>(), transforms_of<T, 4, 3>(), transforms_of<T, 4, 5>() } \
    }

constinit const WinogradKernels<float> winograd_float32 = RANVIER_WINOGRAD_KERNELS(float);
constinit const WinogradKernels<double> winograd_float64 = RANVIER_WINOGRAD_KERNELS(double);

}  // namespace ranvier::RANVIER_ISA
