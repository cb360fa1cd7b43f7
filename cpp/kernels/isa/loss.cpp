// Losses and their slopes of one instruction set; formulas in loss_kernels.h.
#include "../../platform/simd_math.h"
#include "../../platform/simd_wide.h"
#include "isa.h"
#include "softmax.h"

namespace ranvier::RANVIER_ISA {
namespace {

// What is added up for each lane, and the derivative to p.
template <class T>
struct Term {
    Vec<T> value, slope;
};

// Each elementwise loss has of(factors, p, t, factor of the output). A comparison with NaN is false; each
// select is such that NaN comes out as NaN, and not as a loss of 0.
struct Squares {
    static constexpr bool kSquared = true;  // the term is the value's square
    template <class T>
    RANVIER_INLINE static Term<T> of(const LossFactors<T>&, Vec<T> p, Vec<T> t, Vec<T>) {
        return {p - t, p - t};
    }
};

// The logarithm of a probability, cut at -100. That of a float32 below the normal numbers may be above it.
template <class T>
RANVIER_INLINE Vec<T> cut_log(Vec<T> p) {
    Vec<T> result;
    if constexpr (sizeof(T) == 4) {
        constexpr float kLogRaise = 22.18070977791824991f;
        const MaskOf<T> small = p < broadcast(__FLT_MIN__);
        result = log<T>(select<T>(small, p * 0x1p32f, p)) - select<T>(small, broadcast(kLogRaise), Vec<T>{});
    } else {
        result = log<T>(p);
    }
    return at_least(broadcast(T(-100)), result);
}

struct Binary {
    static constexpr bool kSquared = false;
    template <class T>
    RANVIER_INLINE static Term<T> of(const LossFactors<T>&, Vec<T> p, Vec<T> t, Vec<T>) {
        // log(1 - p) is log(q), but for what was lost in rounding q.
        const Vec<T> q = T(1) - p, lost = (T(1) - q) - p;
        const Vec<T> log_q = log<T>(q) + lost / at_least(broadcast(T(__FLT_MIN__)), q);
        const Vec<T> value = -t * cut_log<T>(p) - (T(1) - t) * at_least(broadcast(T(-100)), log_q);
        return {value, (p - t) / at_least(broadcast(T(1e-12)), p * q)};
    }
};

struct Logits {
    static constexpr bool kSquared = false;
    // No difference of large numbers: |p| times the share that is on the wrong side.
    template <class T>
    RANVIER_INLINE static Term<T> of(const LossFactors<T>&, Vec<T> p, Vec<T> t, Vec<T> factor) {
        const Vec<T> zero = {}, size = abs<T>(p);
        const Vec<T> e = exp<T>(-size), log = log1p_of_fraction<T>(e);
        const Vec<T> large = T(1) / (e + T(1)), small = e * large;  // sigmoid(|p|), sigmoid(-|p|)
        const MaskOf<T> positive = p >= zero;
        const Vec<T> wrong = select<T>(positive, T(1) - t, t), extra = factor * t;
        const Vec<T> weighted = extra * (select<T>(positive, zero, size) + log);
        const Vec<T> pull = extra * select<T>(positive, small, large);
        const MaskOf<T> plain = extra == zero;
        return {size * wrong + log + select<T>(plain, zero, weighted),
                select<T>(positive, wrong - small, small - wrong) - select<T>(plain, zero, pull)};
    }
};

struct Margin {
    static constexpr bool kSquared = false;
    template <class T>
    RANVIER_INLINE static Term<T> of(const LossFactors<T>&, Vec<T> p, Vec<T> t, Vec<T>) {
        const Vec<T> margin = T(1) - t * p, zero = {};
        const MaskOf<T> met = margin <= zero;
        return {select<T>(met, zero, margin), select<T>(met, zero, -t)};
    }
};

// The slope is 0 where p is t.
struct Pinball {
    static constexpr bool kSquared = false;
    template <class T>
    RANVIER_INLINE static Term<T> of(const LossFactors<T>&, Vec<T> p, Vec<T> t, Vec<T> factor) {
        const Vec<T> d = p - t, zero = {};
        const Vec<T> slope = select<T>(d > zero, T(0.5) - factor, select<T>(d < zero, T(-0.5) - factor, d));
        return {d * slope, slope};
    }
};

struct Huber {
    static constexpr bool kSquared = false;
    template <class T>
    RANVIER_INLINE static Term<T> of(const LossFactors<T>& factors, Vec<T> p, Vec<T> t, Vec<T>) {
        const T delta = factors.parameter;
        const Vec<T> d = p - t, size = abs<T>(d), half = size * T(0.5);
        return {select<T>(size <= broadcast(delta), size * half, delta * (size - delta * T(0.5))),
                clamp<T>(d, -delta, delta)};
    }
};

struct LogLikelihood {
    static constexpr bool kSquared = false;
    template <class T>
    RANVIER_INLINE static Term<T> of(const LossFactors<T>&, Vec<T> p, Vec<T> t, Vec<T> factor) {
        const Vec<T> share = factor * t, zero = {};
        // A class without a share does not count, though its probability be 0.
        return {select<T>((share == zero) & (p <= zero), zero, -share * p), -share};
    }
};

// With u = 1 - s the slope is that of the cross-entropy times u^gamma, and the cross-entropy times
// gamma u^(gamma - 1) u', of which u' is sigmoid(p) sigmoid(-p) (1 - 2t).
struct Focal {
    static constexpr bool kSquared = false;
    template <class T>
    RANVIER_INLINE static Term<T> of(const LossFactors<T>& factors, Vec<T> p, Vec<T> t, Vec<T>) {
        const Vec<T> zero = {}, size = abs<T>(p);
        const Vec<T> e = exp<T>(-size), large = T(1) / (e + T(1)), small = e * large;
        const MaskOf<T> positive = p >= zero;
        const Vec<T> above = select<T>(positive, large, small), below = select<T>(positive, small, large);
        const Vec<T> entropy = size * select<T>(positive, T(1) - t, t) + log1p_of_fraction<T>(e);
        const Vec<T> least = broadcast(sizeof(T) == 4 ? T(__FLT_MIN__) : T(__DBL_MIN__));
        const Vec<T> u = at_least(least, above * (T(1) - t) + below * t);
        const Vec<T> share = (factors.keep * t + factors.even) * exp<T>(factors.parameter * log<T>(u));
        const Vec<T> pull = factors.parameter * entropy * (above * below / u) * (T(1) - t - t);
        return {share * entropy, share * (above * (T(1) - t) - below * t + pull)};
    }
};

struct PoissonLog {
    static constexpr bool kSquared = false;
    template <class T>
    RANVIER_INLINE static Term<T> of(const LossFactors<T>&, Vec<T> p, Vec<T> t, Vec<T>) {
        const Vec<T> rate = exp<T>(p);
        return {rate - t * p, rate - t};
    }
};

struct Poisson {
    static constexpr bool kSquared = false;
    template <class T>
    RANVIER_INLINE static Term<T> of(const LossFactors<T>& factors, Vec<T> p, Vec<T> t, Vec<T>) {
        const Vec<T> rate = p + factors.parameter;
        return {p - t * log<T>(rate), T(1) - t / rate};
    }
};

template <class T, class F>
RANVIER_INLINE void add_term(WideSum<T>& sum, Vec<T> value) {
    if constexpr (F::kSquared)
        sum.add_square(value);
    else
        sum.add(value);
}

template <class T, class F>
double elementwise_row(const LossFactors<T>& factors, index_t n, const T* p, const T* t, index_t, T scale,
                       T* grad) {
    WideSum<T> sum;
    const Vec<T> scales = broadcast(scale), none = {};
    const T* factor = factors.outputs;
    index_t j = 0;
    for (; j + kLanes<T> <= n; j += kLanes<T>) {
        const Term<T> term =
            F::template of<T>(factors, load(p + j), load(t + j), factor ? load(factor + j) : none);
        add_term<T, F>(sum, term.value);
        if (grad) store(grad + j, term.slope * scales);
    }
    if (j < n) {
        const index_t rest = n - j;
        const Term<T> term = F::template of<T>(factors, load_partial(p + j, rest), load_partial(t + j, rest),
                                               factor ? load_partial(factor + j, rest) : none);
        add_term<T, F>(sum, first_lanes<T>(rest, term.value, none));
        if (grad) store_partial(grad + j, term.slope * scales, rest);
    }
    return sum.total();
}

template <class T, class F>
void elementwise_columns(const LossFactors<T>& factors, index_t n, const T* p, const T* t, const T* scales,
                         T* grad, double* losses) {
    WideSum<T> sum;
    for (index_t j = 0; j < n; ++j) {
        const index_t at = j * kLanes<T>;
        const Vec<T> factor = broadcast(factors.outputs ? factors.outputs[j] : T{});
        const Term<T> term = F::template of<T>(factors, load(p + at), load(t + at), factor);
        add_term<T, F>(sum, term.value);
        if (grad) store(grad + at, term.slope * load(scales));
    }
    sum.put(losses);
}

// max(0, 1 - p_own + p_j), and 1 where it is not met; `without` are lanes that do not count.
template <class T>
RANVIER_INLINE Term<T> wrong_class(Vec<T> own, Vec<T> p, MaskOf<T> without) {
    const Vec<T> margin = T(1) - (own - p), zero = {};
    const MaskOf<T> met = (margin <= zero) | without;
    return {select<T>(met, zero, margin), select<T>(met, zero, broadcast(T(1)))};
}

template <class T>
double wrong_classes_row(const LossFactors<T>&, index_t n, const T* p, const T*, index_t own, T scale,
                         T* grad) {
    using Int = typename LaneInt<T>::type;
    WideSum<T> sum, unmet;
    const Vec<T> of_own = broadcast(p[own]), scales = broadcast(scale);
    for (index_t j = 0; j < n; j += kLanes<T>) {
        const index_t count = n - j < kLanes<T> ? n - j : kLanes<T>;
        const MaskOf<T> lane = lane_numbers<T>();
        const MaskOf<T> without =
            (lane >= integers<T>(static_cast<Int>(count))) | (lane == integers<T>(static_cast<Int>(own - j)));
        const Term<T> term = wrong_class<T>(of_own, load_partial(p + j, count), without);
        sum.add(term.value);
        unmet.add(term.slope);
        if (grad) store_partial(grad + j, term.slope * scales, count);
    }
    if (grad) grad[own] = static_cast<T>(-unmet.total() * static_cast<double>(scale));
    return sum.total();
}

template <class T>
void wrong_classes_columns(const LossFactors<T>&, index_t n, const T* p, const T* t, const T* scales, T* grad,
                           double* losses) {
    const Vec<T> half = broadcast(T(0.5)), scale = load(scales);
    Vec<T> own = {}, unmet = {};
    for (index_t j = 0; j < n; ++j)
        own = select<T>(load(t + j * kLanes<T>) > half, load(p + j * kLanes<T>), own);
    WideSum<T> sum;
    for (index_t j = 0; j < n; ++j) {
        const index_t at = j * kLanes<T>;
        const Term<T> term = wrong_class<T>(own, load(p + at), load(t + at) > half);
        sum.add(term.value);
        unmet += term.slope;
        if (grad) store(grad + at, term.slope * scale);
    }
    sum.put(losses);
    if (!grad) return;
    for (index_t j = 0; j < n; ++j) {
        const index_t at = j * kLanes<T>;
        store(grad + at, select<T>(load(t + at) > half, -unmet * scale, load(grad + at)));
    }
}

// What -log softmax(p) is multiplied by.
template <class T>
RANVIER_INLINE Vec<T> share(const LossFactors<T>& factors, Vec<T> t, Vec<T> factor) {
    return fma(broadcast(factors.keep), t, broadcast(factors.even)) * factor;
}

// share * (most - p): a sum of such terms and of sum(share) * log_sum is the cross-entropy, and none of them
// is negative. A class without a share does not count, whatever p is.
template <class T>
RANVIER_INLINE Vec<T> below_most(Vec<T> share, Vec<T> most, Vec<T> p) {
    const Vec<T> zero = {};
    return select<T>(share == zero, zero, share * (most - p));
}

// The cross-entropy of one class; the gradient is total * softmax(p), less total for the class.
template <class T>
double class_row(const LossFactors<T>& factors, index_t n, const T* p, index_t own, T scale, T* grad) {
    const T most = row_max<T>(n, p), p_own = p[own];
    const T sum = exponentials<T>(n, p, most, grad);
    const T total = factors.keep * (factors.outputs ? factors.outputs[own] : T(1));
    if (grad) {
        const Vec<T> factor = broadcast(total * scale / sum);
        index_t j = 0;
        for (; j + kLanes<T> <= n; j += kLanes<T>) store(grad + j, load(grad + j) * factor);
        if (j < n) store_partial(grad + j, load_partial(grad + j, n - j) * factor, n - j);
        grad[own] -= total * scale;
    }
    const double below = static_cast<double>(most) - static_cast<double>(p_own);
    const double log_sum = static_cast<double>(scalar_log(sum));
    return (total == T{} ? 0 : static_cast<double>(total) * below) + static_cast<double>(total) * log_sum;
}

template <class T>
double cross_entropy_row(const LossFactors<T>& factors, index_t n, const T* p, const T* t, index_t own,
                         T scale, T* grad) {
    if (!t) return class_row(factors, n, p, own, scale, grad);
    const T most = row_max<T>(n, p);
    const auto share_at = [&](index_t j, index_t count) __attribute__((always_inline)) {
        const Vec<T> factor = factors.outputs ? load_partial(factors.outputs + j, count)
                                              : first_lanes<T>(count, broadcast(T(1)), Vec<T>{});
        return share<T>(factors, load_partial(t + j, count), factor);
    };
    WideSum<T> shares, below;
    for (index_t j = 0; j < n; j += kLanes<T>) {
        const index_t count = n - j < kLanes<T> ? n - j : kLanes<T>;
        const Vec<T> part = share_at(j, count);
        shares.add(part);
        below.add(below_most<T>(part, broadcast(most), load_partial(p + j, count)));
    }
    const double total = shares.total();
    const T sum = exponentials<T>(n, p, most, grad);
    if (grad) {
        const T all = static_cast<T>(total * static_cast<double>(scale) / static_cast<double>(sum));
        const Vec<T> factor = broadcast(all), scales = broadcast(scale);
        for (index_t j = 0; j < n; j += kLanes<T>) {
            const index_t count = n - j < kLanes<T> ? n - j : kLanes<T>;
            const Vec<T> e = load_partial(grad + j, count);
            store_partial(grad + j, e * factor - share_at(j, count) * scales, count);
        }
    }
    return below.total() + total * static_cast<double>(scalar_log(sum));
}

template <class T>
void cross_entropy_columns(const LossFactors<T>& factors, index_t n, const T* p, const T* t, const T* scales,
                           T* grad, double* losses) {
    const auto share_at = [&](index_t j) __attribute__((always_inline)) {
        return share<T>(factors, load(t + j * kLanes<T>),
                        broadcast(factors.outputs ? factors.outputs[j] : T(1)));
    };
    Vec<T> most = load(p), sum = {};
    for (index_t j = 1; j < n; ++j) {
        const Vec<T> v = load(p + j * kLanes<T>);
        most = select<T>(v > most, v, most);
    }
    WideSum<T> shares, below;
    for (index_t j = 0; j < n; ++j) {
        const Vec<T> v = load(p + j * kLanes<T>), part = share_at(j), e = exp<T>(v - most);
        shares.add(part);
        below.add(below_most<T>(part, most, v));
        sum += e;
        if (grad) store(grad + j * kLanes<T>, e);
    }
    double totals[kLanes<T>];
    T log_sums[kLanes<T>], rounded[kLanes<T>];
    shares.put(totals);
    below.put(losses);
    store(log_sums, log<T>(sum));
    for (int lane = 0; lane < kLanes<T>; ++lane) {
        losses[lane] += totals[lane] * static_cast<double>(log_sums[lane]);
        rounded[lane] = static_cast<T>(totals[lane]);
    }
    if (!grad) return;
    const Vec<T> scale = load(scales), factor = load(static_cast<const T*>(rounded)) * scale / sum;
    for (index_t j = 0; j < n; ++j) {
        const index_t at = j * kLanes<T>;
        store(grad + at, load(grad + at) * factor - share_at(j) * scale);
    }
}

// The number of the first element from `begin` to `end` that is equal to the value; there is one.
template <class T>
RANVIER_INLINE index_t first_equal(index_t begin, index_t end, const T* row, T value) {
    using Int = typename LaneInt<T>::type;
    constexpr Int kNone = static_cast<Int>(~(Int{1} << (8 * sizeof(Int) - 1)));
    MaskOf<T> first = integers<T>(kNone), number = lane_numbers<T>();
    for (index_t j = begin; j < end; j += kLanes<T>, number += integers<T>(static_cast<Int>(kLanes<T>))) {
        // Lanes beyond the end have greater numbers than any that is there.
        const Vec<T> v = end - j < kLanes<T> ? load_or_least(row + j, end - j) : load(row + j);
        const MaskOf<T> candidate = v == broadcast(value) ? number : first;
        first = candidate < first ? candidate : first;
    }
    Int least = kNone;
    for (int lane = 0; lane < kLanes<T>; ++lane) least = first[lane] < least ? first[lane] : least;
    return begin + static_cast<index_t>(least);
}

// Piece by piece: few hold an element that is greater than all before.
template <class T>
index_t largest(index_t n, const T* row) {
    constexpr index_t kPiece = 4 * kLanes<T>;
    if (row[0] != row[0]) return 0;  // no number is greater
    T most = -T(__builtin_inf());
    index_t begin = 0;
    for (index_t i = 0; i < n; i += kPiece) {
        const Vec<T> before = broadcast(most);
        Vec<T> now = before;
        const auto take = [&](Vec<T> v) __attribute__((always_inline)) { now = select<T>(v > now, v, now); };
        if (i + kPiece <= n)
            for (int k = 0; k < 4; ++k) take(load(row + i + k * kLanes<T>));
        else
            for (index_t j = i; j < n; j += kLanes<T>)
                take(n - j < kLanes<T> ? load_or_least(row + j, n - j) : load(row + j));
        if (any_nan<T>(from_bits<T>(now > before))) {  // as bits, true is a NaN
            most = max_lanes<T>(now);
            begin = i;
        }
    }
    return first_equal<T>(begin, n - begin < kPiece ? n : begin + kPiece, row, most);
}

// The number of the largest element for each lane; 1 or 0 for a single one above or below the threshold.
template <class T>
RANVIER_INLINE MaskOf<T> largest_of_columns(index_t n, const T* x, T threshold) {
    using Int = typename LaneInt<T>::type;
    Vec<T> most = load(x);
    MaskOf<T> place = {};
    if (n == 1) return most > broadcast(threshold);
    for (index_t j = 1; j < n; ++j) {
        const Vec<T> v = load(x + j * kLanes<T>);
        const MaskOf<T> greater = v > most;
        most = select<T>(greater, v, most);
        place = greater ? integers<T>(static_cast<Int>(j)) : place;
    }
    return place;
}

template <class T>
void hit_columns(index_t n, const T* p, const T* t, T threshold, bool* hits) {
    const MaskOf<T> same = largest_of_columns<T>(n, p, threshold) == largest_of_columns<T>(n, t, T(0.5));
    for (int lane = 0; lane < kLanes<T>; ++lane) hits[lane] = same[lane] != 0;
}

template <class T>
struct Doubles {
    Vec<double> half[sizeof(double) / sizeof(T)];
};
RANVIER_INLINE Doubles<float> in_double(Vec<float> v) {
    const WideHalves halves = widened(v);
    return {{halves.low, halves.high}};
}
RANVIER_INLINE Doubles<double> in_double(Vec<double> v) { return {{v}}; }

// Sums of errors of a vector of outputs, or of samples of a single output.
template <class T>
struct ErrorSums {
    static constexpr int kHalves = sizeof(double) / sizeof(T);
    Vec<double> square[kHalves] = {}, size[kHalves] = {}, sum[kHalves] = {}, sum_of_squares[kHalves] = {};

    RANVIER_INLINE void add(Vec<T> p, Vec<T> t, const Vec<double>* reference) {
        const Doubles<T> wide_p = in_double(p), wide_t = in_double(t);
#pragma GCC unroll 2
        for (int h = 0; h < kHalves; ++h) {
            const Vec<double> error = wide_p.half[h] - wide_t.half[h],
                              distance = wide_t.half[h] - reference[h];
            square[h] = fma(error, error, square[h]);
            size[h] += abs<double>(error);
            sum[h] += distance;
            sum_of_squares[h] = fma(distance, distance, sum_of_squares[h]);
        }
    }

    // to[r * stride + lane] of row r of the sums.
    void put(double* to, index_t stride) const {
#pragma GCC unroll 2
        for (int h = 0; h < kHalves; ++h, to += kLanes<double>) {
            store(to, square[h]);
            store(to + stride, size[h]);
            store(to + 2 * stride, sum[h]);
            store(to + 3 * stride, sum_of_squares[h]);
        }
    }
};

constexpr int kErrorRows = 4;

template <class T>
void add_errors_of_one(index_t n, const T* p, const T* t, double* sums) {
    ErrorSums<T> lanes;
    Vec<double> reference[ErrorSums<T>::kHalves];
    for (Vec<double>& half : reference) half = broadcast(sums[0]);
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) lanes.add(load(p + i), load(t + i), reference);
    double parts[kErrorRows][kLanes<T>];
    lanes.put(parts[0], kLanes<T>);
    for (int r = 0; r < kErrorRows; ++r)
        for (int lane = 0; lane < kLanes<T>; ++lane) sums[1 + r] += parts[r][lane];
    for (; i < n; ++i) {
        const double target = static_cast<double>(t[i]), distance = target - sums[0];
        const double error = static_cast<double>(p[i]) - target;
        sums[1] += error * error;
        sums[2] += __builtin_fabs(error);
        sums[3] += distance;
        sums[4] += distance * distance;
    }
}

template <class T>
void add_errors(index_t n, index_t outputs, index_t columns, const T* p, const T* t, double* sums) {
    if (outputs == 1) return add_errors_of_one(n, p, t, sums);
    for (index_t j = 0; j < columns; j += kLanes<T>) {
        const index_t count = columns - j < kLanes<T> ? columns - j : kLanes<T>;
        double parts[kErrorRows][kLanes<T>] = {};
        for (index_t lane = 0; lane < count; ++lane) parts[0][lane] = sums[j + lane];
        Vec<double> reference[ErrorSums<T>::kHalves];
        for (int h = 0; h < ErrorSums<T>::kHalves; ++h)
            reference[h] = load(static_cast<const double*>(parts[0]) + h * kLanes<double>);
        ErrorSums<T> lanes;
        for (index_t at = j; at < n * outputs; at += outputs)
            if (count == kLanes<T>)
                lanes.add(load(p + at), load(t + at), reference);
            else
                lanes.add(load_partial(p + at, count), load_partial(t + at, count), reference);
        lanes.put(parts[0], kLanes<T>);
        for (int r = 0; r < kErrorRows; ++r)
            for (index_t lane = 0; lane < count; ++lane) sums[(1 + r) * outputs + j + lane] += parts[r][lane];
    }
}

}  // namespace

#define RANVIER_LOSS_KERNELS(T)                                                                          \
    {                                                                                                    \
        {elementwise_row<T, Squares>, elementwise_row<T, Binary>,     elementwise_row<T, Logits>,        \
         elementwise_row<T, Margin>,  wrong_classes_row<T>,           cross_entropy_row<T>,              \
         elementwise_row<T, Pinball>, elementwise_row<T, Huber>,      elementwise_row<T, LogLikelihood>, \
         elementwise_row<T, Focal>,   elementwise_row<T, PoissonLog>, elementwise_row<T, Poisson>},      \
            {elementwise_columns<T, Squares>,                                                            \
             elementwise_columns<T, Binary>,                                                             \
             elementwise_columns<T, Logits>,                                                             \
             elementwise_columns<T, Margin>,                                                             \
             wrong_classes_columns<T>,                                                                   \
             cross_entropy_columns<T>,                                                                   \
             elementwise_columns<T, Pinball>,                                                            \
             elementwise_columns<T, Huber>,                                                              \
             elementwise_columns<T, LogLikelihood>,                                                      \
             elementwise_columns<T, Focal>,                                                              \
             elementwise_columns<T, PoissonLog>,                                                         \
             elementwise_columns<T, Poisson>},                                                           \
            largest<T>, hit_columns<T>, add_errors<T>                                                    \
    }

constinit const LossKernels<float> loss_float32 = RANVIER_LOSS_KERNELS(float);
constinit const LossKernels<double> loss_float64 = RANVIER_LOSS_KERNELS(double);

}  // namespace ranvier::RANVIER_ISA
