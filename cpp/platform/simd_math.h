// Elementary functions of vectors, for float and double: exp, expm1, log, log1p, sine and cosine, tanh, the
// logistic function and the normal distribution's. NaN gives NaN; infinities and overflow follow the limit.
//
// exp: argument reduction by ln 2 in two parts (Cody and Waite), then the Taylor polynomial on [-ln2/2,
// ln2/2]. log: the series of 2 atanh((m - 1) / (m + 1)) for m in [sqrt(1/2), sqrt(2)).
#pragma once

#include "simd.h"
#include "simd_pieces.h"

namespace ranvier::RANVIER_ISA {

template <class T>
struct Constants;
template <>
struct Constants<float> {
    static constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;  // high: 15 bits
    static constexpr float kExpLeast = -104.0f, kExpGreatest = 89.0f;           // below 0, above infinity
    static constexpr float kRounder = 0x1.8p23f;  // adding it rounds to an integer in the low bits
    static constexpr int kExponentBias = 127, kFractionBits = 23;
    static constexpr int kExpTerms = 7, kLogTerms = 5, kLog1pTerms = 7;  // relative truncation below 2^-27
    static constexpr float kTanhIsOne = 10.0f;
    static constexpr int kRaised = 48;
    static constexpr std::int32_t kHalfFraction = ~std::int32_t{0xfff};  // keeps 12 bits of the fraction
};
template <>
struct Constants<double> {
    static constexpr double kLn2High = 0x1.62e42fefa38p-1, kLn2Low = 0x1.ef35793c7673p-45;  // high: 42 bits
    static constexpr double kExpLeast = -746.0, kExpGreatest = 710.0;
    static constexpr double kRounder = 0x1.8p52;
    static constexpr int kExponentBias = 1023, kFractionBits = 52;
    static constexpr int kExpTerms = 13, kLogTerms = 10, kLog1pTerms = 15;  // relative truncation below 2^-55
    static constexpr double kTanhIsOne = 20.0;
    static constexpr int kRaised = 60;
    static constexpr std::int64_t kHalfFraction = ~std::int64_t{0x7ffffff};
};

template <class T>
RANVIER_INLINE MaskOf<T> integers(typename LaneInt<T>::type value) {
    return value - MaskOf<T>{};
}

// x limited to [low, high]; NaN stays.
template <class T>
RANVIER_INLINE Vec<T> clamp(Vec<T> x, T low, T high) {
    return at_most(broadcast(high), at_least(broadcast(low), x));
}

// v * 2^n for any n for which the result or zero or infinity is meant; `whole` is n as a number.
template <class T>
RANVIER_INLINE Vec<T> scale_by_power(Vec<T> v, [[maybe_unused]] MaskOf<T> n, [[maybe_unused]] Vec<T> whole) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        return (Vec<T>)_mm512_scalef_ps((__m512)v, (__m512)whole);
    else
        return (Vec<T>)_mm512_scalef_pd((__m512d)v, (__m512d)whole);
#else
    // In two steps, so that neither power overflows where the product does not.
    using C = Constants<T>;
    const MaskOf<T> half = n >> 1;
    const Vec<T> first = from_bits<T>((half + C::kExponentBias) << C::kFractionBits);
    const Vec<T> second = from_bits<T>((n - half + C::kExponentBias) << C::kFractionBits);
    return v * first * second;
#endif
}

// x = n ln 2 + r with |r| <= ln2 / 2.
template <class T>
struct Reduced {
    Vec<T> r, whole;
    MaskOf<T> n;
};
template <class T>
RANVIER_INLINE Reduced<T> reduce(Vec<T> x) {
    using C = Constants<T>;
    constexpr T kLog2E = T(1.44269504088896340736);
    const Vec<T> rounder = broadcast(C::kRounder);
    const Vec<T> shifted = fma(x, broadcast(kLog2E), rounder);
    const Vec<T> whole = shifted - rounder;
    const Vec<T> r = fma(whole, broadcast(-C::kLn2High), x);
    const MaskOf<T> n = wrapping_subtract<T>(bits<T>(shifted), bits<T>(rounder));  // of any x
    return {fma(whole, broadcast(-C::kLn2Low), r), whole, n};
}

// (exp(r) - 1 - r) / r^2 for |r| <= ln2 / 2.
template <class T>
RANVIER_INLINE Vec<T> exp_tail(Vec<T> r) {
    constexpr T kInverseFactorials[] = {T(1.0 / 2),        T(1.0 / 6),          T(1.0 / 24),
                                        T(1.0 / 120),      T(1.0 / 720),        T(1.0 / 5040),
                                        T(1.0 / 40320),    T(1.0 / 362880),     T(1.0 / 3628800),
                                        T(1.0 / 39916800), T(1.0 / 479001600.), T(1.0 / 6227020800.)};
    constexpr int kLast = Constants<T>::kExpTerms - 2;
    Vec<T> sum = broadcast(kInverseFactorials[kLast]);
#pragma GCC unroll 16
    for (int i = kLast - 1; i >= 0; --i) sum = fma(sum, r, broadcast(kInverseFactorials[i]));
    return sum;
}

// exp of a sum of which one part has been reduced.
template <class T>
RANVIER_INLINE Vec<T> exp_of_reduced(const Reduced<T>& x, Vec<T> r) {
    return scale_by_power<T>(fma(r * r, exp_tail<T>(r), r) + T(1), x.n, x.whole);
}

template <class T>
RANVIER_INLINE Vec<T> exp(Vec<T> x) {
    using C = Constants<T>;
    const Reduced<T> reduced = reduce<T>(clamp<T>(x, C::kExpLeast, C::kExpGreatest));
    return exp_of_reduced<T>(reduced, reduced.r);
}

// exp(x) - 1 for x up to about 40, exact near zero.
template <class T>
RANVIER_INLINE Vec<T> expm1(Vec<T> x) {
    constexpr T kIsMinusOne = T(-40);
    const Vec<T> zero = {};
    const auto [r, whole, n] = reduce<T>(clamp<T>(x, kIsMinusOne, T(50)));
    const Vec<T> m = fma(r * r, exp_tail<T>(r), r);
    const Vec<T> power = scale_by_power<T>(broadcast(T(1)), n, whole);
    const Vec<T> result = fma(power, m, power - T(1));
    return select<T>(x == zero, x, result);  // the sign of zero
}

// 2 atanh(s) = 2 s + 2 s (s^2 / 3 + s^4 / 5 + ...), with TERMS terms in brackets.
template <class T, int TERMS>
RANVIER_INLINE Vec<T> twice_atanh_tail(Vec<T> s) {
    const Vec<T> square = s * s;
    Vec<T> sum = broadcast(T(1) / T(2 * TERMS + 1));
#pragma GCC unroll 16
    for (int i = TERMS - 1; i >= 1; --i) sum = fma(sum, square, broadcast(T(1) / T(2 * i + 1)));
    return (s + s) * square * sum;
}

// Natural logarithm; of a negative number NaN, of zero (and denormals) minus infinity.
template <class T>
RANVIER_INLINE Vec<T> log(Vec<T> x) {
    using C = Constants<T>;
    // Exponent so that the fraction m is in [sqrt(1/2), sqrt(2)).
    const MaskOf<T> root = bits<T>(broadcast(T(0.70710678118654752440)));
    const MaskOf<T> n = wrapping_subtract<T>(bits<T>(x), root) >> C::kFractionBits;
    const Vec<T> m = from_bits<T>(wrapping_subtract<T>(bits<T>(x), n << C::kFractionBits));
    const Vec<T> whole = __builtin_convertvector(n, Vec<T>);
    const Vec<T> s = (m - T(1)) / (m + T(1));
    const Vec<T> rest = fma(whole, broadcast(C::kLn2Low), twice_atanh_tail<T, C::kLogTerms>(s));
    const Vec<T> result = fma(whole, broadcast(C::kLn2High), s + s + rest);
    const Vec<T> infinity = broadcast(T(__builtin_inf())), zero = {};
    const Vec<T> smallest = broadcast(sizeof(T) == 4 ? T(__FLT_MIN__) : T(__DBL_MIN__));
    const Vec<T> special = select<T>(x < zero, infinity - infinity, select<T>(x < smallest, -infinity, x));
    return select<T>((x >= smallest) & (x < infinity), result, special);
}

// log(1 + x) = 2 atanh(x / (2 + x)) for x in [0, 1].
template <class T>
RANVIER_INLINE Vec<T> log1p_of_fraction(Vec<T> x) {
    const Vec<T> s = x / (x + T(2));
    return s + s + twice_atanh_tail<T, Constants<T>::kLog1pTerms>(s);
}

// The Taylor series of sine (over x) and cosine in x^2, for |x| <= pi / 4.
template <class T>
struct CircularSeries {
    static constexpr int kTerms = sizeof(T) == 4 ? 6 : 9;
    T sine[kTerms] = {}, cosine[kTerms] = {};
};
template <class T>
constexpr CircularSeries<T> circular_series() {
    CircularSeries<T> series;
    double term = 1;  // +-1 / (2k)!
    for (int k = 0; k < series.kTerms; ++k) {
        series.cosine[k] = T(term);
        term /= 2 * k + 1;
        series.sine[k] = T(term);
        term /= -(2 * k + 2);
    }
    return series;
}

// Sine and cosine of so many quarter turns, of magnitude below 2^20: the whole ones are taken off exactly.
template <class T>
struct SinCos {
    Vec<T> sine, cosine;
};
template <class T>
RANVIER_INLINE SinCos<T> sin_cos(Vec<T> quarters) {
    constexpr auto kSeries = circular_series<T>();
    const Vec<T> rounder = broadcast(Constants<T>::kRounder);
    const Vec<T> shifted = quarters + rounder;
    const MaskOf<T> quadrant = bits<T>(shifted) - bits<T>(rounder);
    const Vec<T> x = (quarters - (shifted - rounder)) * T(1.57079632679489661923);
    const Vec<T> square = x * x;
    Vec<T> sine = broadcast(kSeries.sine[kSeries.kTerms - 1]);
    Vec<T> cosine = broadcast(kSeries.cosine[kSeries.kTerms - 1]);
#pragma GCC unroll 16
    for (int k = kSeries.kTerms - 2; k >= 0; --k) {
        sine = fma(sine, square, broadcast(kSeries.sine[k]));
        cosine = fma(cosine, square, broadcast(kSeries.cosine[k]));
    }
    sine *= x;
    const MaskOf<T> swapped = (quadrant & 1) != 0;
    constexpr int kToSign = 8 * sizeof(T) - 2;  // from bit 1
    return {from_bits<T>(bits<T>(select<T>(swapped, cosine, sine)) ^ ((quadrant & 2) << kToSign)),
            from_bits<T>(bits<T>(select<T>(swapped, sine, cosine)) ^ (((quadrant + 1) & 2) << kToSign))};
}

template <class T>
RANVIER_INLINE Vec<T> tanh(Vec<T> x) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) return tanh_by_pieces(x);
#endif
    const Vec<T> size = abs<T>(x);
    const Vec<T> m = expm1<T>(clamp<T>(size + size, T(0), 2 * Constants<T>::kTanhIsOne));
    return copy_sign<T>(m / (m + T(2)), x);
}

// 1 / (1 + exp(-x)), by way of exp(-|x|), which does not overflow.
template <class T>
RANVIER_INLINE Vec<T> sigmoid(Vec<T> x) {
    const Vec<T> e = exp<T>(-abs<T>(x));
    return select<T>(x < Vec<T>{}, e, broadcast(T(1))) / (e + T(1));
}

// Coefficients of exp(z^2) erfc(z) / t as a polynomial in 2t - 1, where t = 2 / (2 + z): Chebyshev
// interpolation for t in [0.165, 1] and [0.068, 1], relative error below 6e-9 and 3e-17.
template <class T>
struct ErfcSeries;
template <>
struct ErfcSeries<float> {
    static constexpr float kTerms[] = {0.51079135439f,     0.343580359299f,    0.13973588616f,
                                       0.0182206271886f,   -0.0107528475595f,  -0.00323614795534f,
                                       0.00153081370405f,  0.000411405594174f, -0.00029398904512f,
                                       -1.93670113062e-5f, 3.19072730714e-5f};
};
template <>
struct ErfcSeries<double> {
    static constexpr double kTerms[] = {
        0.51079135262101149806,      0.34358034220690537518,     0.13973604627802369197,
        0.018221115753429191233,     -0.01075533094452522331,    -0.0032395925334850108964,
        0.0015453060245245866466,    0.00041864802469961787891,  -0.00033153669119700567798,
        -0.000017185656582121374012, 0.000072234928583619938263, -0.00001707479917010293598,
        -0.000010846012440124030375, 8.0617244251385810937e-6,   -5.6951110426018385951e-7,
        -1.8247827712542711823e-6,   1.0160293631909133854e-6,   2.9142591327860272532e-9,
        -3.0910873651973485018e-7,   1.5968644426048098811e-7,   2.322292913588469301e-8,
        -5.586766200295948008e-8,    1.197800957020851395e-8,    7.4424860669517473725e-9,
        -2.9274204617822454186e-9};
};

// Coefficients of exp(x^2 / 2) Phi(-x) as a polynomial in x / 2 - 1, for x in [0, kNearTail]: minimax,
// relative error below 4e-9 and 3e-18.
inline constexpr double kNearTail = 4;
template <class T>
struct NearTailSeries;
template <>
struct NearTailSeries<float> {
    static constexpr float kTerms[] = {1.4133133e-01f,  -9.12279e-02f,   5.459288e-02f,  -3.0649306e-02f,
                                       1.6282e-02f,     -8.234392e-03f,  3.9874413e-03f, -1.8743777e-03f,
                                       8.375091e-04f,   -3.1731237e-04f, 1.60345e-04f,   -1.2045653e-04f,
                                       -2.8249042e-06f, 1.8731049e-05f,  2.514036e-05f};
};
template <>
struct NearTailSeries<double> {
    static constexpr double kTerms[] = {
        0.14133133138057530966,     -0.091227903899988817279,   0.054592903011178622543,
        -0.030649033514686110248,   0.016281611117817948719,    -0.0082376156939813119337,
        0.003989727666963314951,    -0.0018574034906530264048,  0.00083398665114690445019,
        -0.00036218675497763271736, 0.00015250128527615386255,  -0.000062385445411300946089,
        0.000024839836351215185678, -9.6420006327979152019e-6,  3.6533918941509130771e-6,
        -1.3526981839564346362e-6,  4.9121844783498641243e-7,   -1.7498455036728460567e-7,
        5.910906132363073609e-8,    -2.0221889315844994529e-8,  8.8431543540157180897e-9,
        -1.9242007597557311169e-9,  -4.8824026819422984141e-10, -9.780679542444315366e-10,
        2.9837457176624063283e-10,  3.0995770847509241129e-10,  1.0113098994831839472e-10};
};

// The standard normal distribution near its centre: exp(-x^2 / 2) and Phi(-|x|).
template <class T>
struct NormalParts {
    Vec<T> exponential, tail;
};

// -x^2 / 2 = high + low, so that the rounding error of the square can be made good: x is cut in two so that
// the square of the upper part is exact (as in fdlibm's erf).
template <class T>
struct HalfSquare {
    Vec<T> high, low;
};
template <class T>
RANVIER_INLINE HalfSquare<T> minus_half_square(Vec<T> x) {
    const Vec<T> upper = from_bits<T>(bits<T>(x) & integers<T>(Constants<T>::kHalfFraction));
    return {upper * upper * T(-0.5), (upper - x) * (upper + x) * T(0.5)};
}

// For |x| <= kNearTail.
template <class T>
RANVIER_INLINE NormalParts<T> normal_parts(Vec<T> x) {
    using C = Constants<T>;
    constexpr int kLast = static_cast<int>(sizeof(NearTailSeries<T>::kTerms) / sizeof(T)) - 1;
    const HalfSquare<T> square = minus_half_square<T>(x);
    const Reduced<T> reduced = reduce<T>(square.high);
    const Vec<T> r = reduced.r + square.low;
    // The power of two is one of a normal number here. (The lanes of other x are computed, but not used.)
    const Vec<T> fraction = fma(r * r, exp_tail<T>(r), r) + T(1);
    const Vec<T> e = from_bits<T>(wrapping_add<T>(bits<T>(fraction), reduced.n << C::kFractionBits));
    const Vec<T> u = abs<T>(x) * T(0.5) - T(1.25);
    Vec<T> sum = broadcast(NearTailSeries<T>::kTerms[kLast]);
#pragma GCC unroll 32
    for (int i = kLast - 1; i >= 0; --i) sum = fma(sum, u, broadcast(NearTailSeries<T>::kTerms[i]));
    return {e, e * sum};
}

// Phi(-|x|) for |x| <= kNearTail.
template <class T>
RANVIER_INLINE Vec<T> normal_tail(Vec<T> x) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) return normal_tail_by_pieces(abs<T>(x));
#endif
    return normal_parts<T>(x).tail;
}

// factor Phi(x) for |x| >= kNearTail, accurate in the lower tail too.
template <class T>
RANVIER_INLINE Vec<T> times_far_normal_cdf(Vec<T> factor, Vec<T> x) {
    using C = Constants<T>;
    x = clamp<T>(x, T(-39), T(39));  // beyond it exp(-x^2 / 2) is zero, and sums of large x would overflow
    // t = 2 / (z + 2) and what is lost in rounding z, z + 2 and t: an error here would count more than twice.
    constexpr T kRootHalf = T(0.70710678118654752440);
    const Vec<T> size = abs<T>(x), z = size * kRootHalf, sum_z = z + T(2);
    const Vec<T> z_low = fma(size, broadcast(kRootHalf), -z) + size * T(0.70710678118654752440L - kRootHalf);
    const Vec<T> t = T(2) / sum_z, lost = (z - (sum_z - T(2))) + z_low;
    const Vec<T> t_low = (fma(-t, sum_z, broadcast(T(2))) - t * lost) * t * T(0.5);
    const Vec<T> u = (t + t - T(1)) + (t_low + t_low);
    constexpr int kLast = static_cast<int>(sizeof(ErfcSeries<T>::kTerms) / sizeof(T)) - 1;
    Vec<T> sum = broadcast(ErfcSeries<T>::kTerms[kLast]);
#pragma GCC unroll 32
    for (int i = kLast - 1; i >= 0; --i) sum = fma(sum, u, broadcast(ErfcSeries<T>::kTerms[i]));
    const HalfSquare<T> square = minus_half_square<T>(x);
    Reduced<T> reduced = reduce<T>(clamp<T>(square.high, C::kExpLeast - T(C::kRaised), T(0)));
    // Times 2^kRaised, so that a product that ends below the normal numbers is rounded there once, at the
    // end.
    reduced.n += integers<T>(C::kRaised);
    reduced.whole += T(C::kRaised);
    const Vec<T> e = exp_of_reduced<T>(reduced, reduced.r + clamp<T>(square.low, T(-1), T(1)));
    const Vec<T> lowered = broadcast(T(1) / T(std::int64_t{1} << C::kRaised));
    const Vec<T> half = e * sum * T(0.5), tail = fma(half, t_low, half * t);
    return select<T>(x <= Vec<T>{}, factor * tail * lowered, factor * (T(1) - tail * lowered));
}

// The standard normal density.
inline constexpr double kDensityOfZero = 0.39894228040143267794;
template <class T>
RANVIER_INLINE Vec<T> normal_density(Vec<T> x) {
    return exp<T>(x * x * T(-0.5)) * T(kDensityOfZero);
}

}  // namespace ranvier::RANVIER_ISA
