// Depthwise convolution of one instruction set: a vector of neighbouring pixels of several rows, or of
// several channels, at a time.
#include "../../platform/simd_strided.h"
#include "../../platform/simd_transpose.h"
#include "activations.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {
namespace {

RANVIER_INLINE index_t least(index_t a, index_t b) { return a < b ? a : b; }

// The lanes of which the mask has all bits set; the others are zero, and are not read.
template <class T>
RANVIER_INLINE Vec<T> load_masked(const T* from, MaskOf<T> mask) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        return (Vec<T>)_mm512_maskz_loadu_epi32(_mm512_movepi32_mask((__m512i)mask), from);
    else
        return (Vec<T>)_mm512_maskz_loadu_epi64(_mm512_movepi64_mask((__m512i)mask), from);
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4)
        return (Vec<T>)_mm256_maskload_epi32(reinterpret_cast<const int*>(from), (__m256i)mask);
    else
        return (Vec<T>)_mm256_maskload_epi64(reinterpret_cast<const long long*>(from), (__m256i)mask);
#else
    Vec<T> v = {};
    for (index_t i = 0; i < kLanes<T>; ++i)
        if (mask[i]) v[i] = from[i];
    return v;
#endif
}

// The first `count` lanes.
template <class T>
RANVIER_INLINE MaskOf<T> first_lanes(index_t count) {
    MaskOf<T> lane = {};
    for (int i = 0; i < kLanes<T>; ++i) lane[i] = i;
    return lane < static_cast<typename LaneInt<T>::type>(count);
}

template <class T>
void split_pairs(index_t rows, index_t cols, const T* from, index_t row_stride, T* even, T* odd,
                 index_t to_stride) {
    for (; rows > 0; --rows, from += row_stride, even += to_stride, odd += to_stride) {
        index_t j = 0;
        for (; 2 * (j + kLanes<T>) <= cols; j += kLanes<T>) {
            const Vec<T> low = load(from + 2 * j), high = load(from + 2 * j + kLanes<T>);
            store(even + j, every_second<T, 0>(low, high));
            store(odd + j, every_second<T, 1>(low, high));
        }
        const index_t evens = (cols + 1) / 2, odds = cols / 2;
        for (; j < evens; j += kLanes<T>) {
            store_partial(even + j, load_every(from + 2 * j, 2, least(kLanes<T>, evens - j)),
                          least(kLanes<T>, evens - j));
            if (j < odds)
                store_partial(odd + j, load_every(from + 2 * j + 1, 2, least(kLanes<T>, odds - j)),
                              least(kLanes<T>, odds - j));
        }
    }
}

// ROWS rows of a vector of pixels, of a kernel of SIZE x SIZE with stride STEP and dilation 1: rows share
// what they read.
template <class T, int ROWS, int SIZE, int STEP>
RANVIER_INLINE void correlate_vector(const TapGrid& taps, const Vec<T>* weights, const T* from, Vec<T> start,
                                     T* to, index_t to_stride, index_t count) {
    Vec<T> sum[ROWS];
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r) sum[r] = start;
#pragma GCC unroll 16
    for (int u = 0; u < (ROWS - 1) * STEP + SIZE; ++u)
#pragma GCC unroll 5
        for (int j = 0; j < SIZE; ++j) {
            const Vec<T> x = load(from + u * taps.row_pitch + taps.columns[j]);
#pragma GCC unroll 4
            for (int r = 0; r < ROWS; ++r) {
                const int i = u - r * STEP;
                if (i >= 0 && i < SIZE) sum[r] = fma(weights[i * SIZE + j], x, sum[r]);
            }
        }
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r)
        if (count == kLanes<T>)
            store(to + r * to_stride, sum[r]);
        else
            store_partial(to + r * to_stride, sum[r], count);
}

// Of any kernel.
template <class T, int ROWS>
RANVIER_INLINE void correlate_vector(const TapGrid& taps, const T* w, index_t w_step, const T* from,
                                     Vec<T> start, T* to, index_t to_stride, index_t count) {
    Vec<T> sum[ROWS];
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r) sum[r] = start;
    for (index_t i = 0; i < taps.height; ++i, from += taps.row_pitch)
        for (index_t j = 0; j < taps.width; ++j, w += w_step)
#pragma GCC unroll 4
            for (int r = 0; r < ROWS; ++r)
                sum[r] = fma(broadcast(*w), load(from + r * taps.row_step + taps.columns[j]), sum[r]);
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r) store_partial(to + r * to_stride, sum[r], count);
}

// body(x, count) for the vectors of a row.
template <class T, class Body>
RANVIER_INLINE void each_vector(index_t cols, Body&& body) {
    index_t x = 0;
    for (; x + kLanes<T> <= cols; x += kLanes<T>) body(x, kLanes<T>);
    if (x < cols) body(x, cols - x);
}

template <int N>
struct Number {
    static constexpr int value = N;
};

// body(first row, Number of rows) for four, two or one rows at a time.
template <class Body>
RANVIER_INLINE void each_rows(index_t rows, Body&& body) {
    index_t y = 0;
    for (; y + 4 <= rows; y += 4) body(y, Number<4>{});
    if (y + 2 <= rows) {
        body(y, Number<2>{});
        y += 2;
    }
    if (y < rows) body(y, Number<1>{});
}

template <class T, int SIZE, int STEP>
void correlate_known(index_t rows, index_t cols, const TapGrid& taps, const T* w, index_t w_step,
                     const T* from, Vec<T> start, T* to, index_t to_stride) {
    Vec<T> weights[SIZE * SIZE];
#pragma GCC unroll 25
    for (int t = 0; t < SIZE * SIZE; ++t) weights[t] = broadcast(w[t * w_step]);
    each_rows(
        rows, [&](index_t y, auto number) __attribute__((always_inline)) {
            each_vector<T>(
                cols, [&](index_t x, index_t count) __attribute__((always_inline)) {
                    correlate_vector<T, decltype(number)::value, SIZE, STEP>(
                        taps, weights, from + y * taps.row_step + x, start, to + y * to_stride + x, to_stride,
                        count);
                });
        });
}

template <class T>
void correlate_any(index_t rows, index_t cols, const TapGrid& taps, const T* w, index_t w_step, const T* from,
                   Vec<T> start, T* to, index_t to_stride) {
    each_rows(
        rows, [&](index_t y, auto number) __attribute__((always_inline)) {
            each_vector<T>(
                cols, [&](index_t x, index_t count) __attribute__((always_inline)) {
                    correlate_vector<T, decltype(number)::value>(taps, w, w_step,
                                                                 from + y * taps.row_step + x, start,
                                                                 to + y * to_stride + x, to_stride, count);
                });
        });
}

// The edge of a square kernel whose rows lie at the rows' own distance times 1 or 2: 3 or 5, or else 0.
RANVIER_INLINE int known_size(const TapGrid& taps, index_t step) {
    if (taps.height != taps.width || taps.row_step != step * taps.row_pitch) return 0;
    return taps.height == 3 || taps.height == 5 ? static_cast<int>(taps.height) : 0;
}

template <class T>
void correlate(index_t rows, index_t cols, const TapGrid& taps, const T* w, index_t w_step, const T* from,
               const T* bias, T* to, index_t to_stride) {
    const auto run = known_size(taps, 1) == 3   ? correlate_known<T, 3, 1>
                     : known_size(taps, 2) == 3 ? correlate_known<T, 3, 2>
                     : known_size(taps, 1) == 5 ? correlate_known<T, 5, 1>
                     : known_size(taps, 2) == 5 ? correlate_known<T, 5, 2>
                                                : correlate_any<T>;
    run(rows, cols, taps, w, w_step, from, broadcast(bias ? *bias : T{}), to, to_stride);
}

// Pairs of lanes (a[0], b[0], a[1], b[1] ...), of which `count` numbers go to memory.
template <class T>
RANVIER_INLINE void store_pairs(T* to, Vec<T> a, Vec<T> b, index_t count) {
    store_partial(to, interleave<T, 0>(a, b), least(kLanes<T>, count));
    if (count > kLanes<T>)
        store_partial(to + kLanes<T>, interleave<T, 1>(a, b), least(kLanes<T>, count - kLanes<T>));
}

// ROWS rows of a vector of one residue's columns.
template <class T, int ROWS>
RANVIER_INLINE void sum_taps(index_t count, const index_t* offsets, const T* weights, const T* from,
                             index_t from_stride, Vec<T> (&sum)[ROWS]) {
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r) sum[r] = Vec<T>{};
    for (index_t t = 0; t < count; ++t) {
        const Vec<T> weight = broadcast(weights[t]);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r)
            sum[r] = fma(weight, load(from + r * from_stride + offsets[t]), sum[r]);
    }
}

template <class T, int ROWS>
RANVIER_INLINE void spread_vector(index_t cols, const ResidueTaps<T>& taps, const T* from,
                                  index_t from_stride, T* to, index_t to_stride) {
    const index_t* offsets = taps.offsets;
    const T* weights = taps.weights;
    if (taps.step == 2) {
        Vec<T> even[ROWS], odd[ROWS];
        sum_taps<T, ROWS>(taps.counts[0], offsets, weights, from, from_stride, even);
        sum_taps<T, ROWS>(taps.counts[1], offsets + taps.counts[0], weights + taps.counts[0], from,
                          from_stride, odd);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r)
            store_pairs(to + r * to_stride, even[r], odd[r], least(2 * kLanes<T>, cols));
        return;
    }
    for (index_t residue = 0; residue < taps.step && residue < cols; ++residue) {
        Vec<T> sum[ROWS];
        const index_t count = taps.counts[residue];
        sum_taps<T, ROWS>(count, offsets, weights, from, from_stride, sum);
        offsets += count;
        weights += count;
        const index_t columns = least(kLanes<T>, (cols - residue + taps.step - 1) / taps.step);
        for (int r = 0; r < ROWS; ++r)
            if (taps.step == 1)
                store_partial(to + r * to_stride, sum[r], columns);
            else
                for (index_t m = 0; m < columns; ++m) to[r * to_stride + m * taps.step + residue] = sum[r][m];
    }
}

template <class T>
void spread(index_t rows, index_t cols, const ResidueTaps<T>& taps, const T* from, index_t from_stride, T* to,
            index_t to_stride) {
    each_rows(
        rows, [&](index_t y, auto number) __attribute__((always_inline)) {
            for (index_t m = 0; m * taps.step < cols; m += kLanes<T>)
                spread_vector<T, decltype(number)::value>(cols - m * taps.step, taps,
                                                          from + y * from_stride + m, from_stride,
                                                          to + y * to_stride + m * taps.step, to_stride);
        });
}

template <class T>
RANVIER_INLINE Vec<T> keep(MaskOf<T> mask, Vec<T> v) {
    return from_bits<T>(bits<T>(v) & mask);
}

// Adds the products of ROWS rows of a vector of the gradient. PARTIAL says that only `count` lanes are there;
// what is not must not meet the others, were it an infinity.
template <class T, int ROWS, int SIZE, int STEP, bool PARTIAL>
RANVIER_INLINE void add_vector(const TapGrid& taps, const T* from, const T* grad, index_t grad_stride,
                               index_t count, Vec<T>* sum) {
    const MaskOf<T> there = first_lanes<T>(count);
    Vec<T> g[ROWS];
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r) {
        g[r] = PARTIAL ? load_partial(grad + r * grad_stride, count) : load(grad + r * grad_stride);
        sum[SIZE * SIZE] += g[r];
    }
#pragma GCC unroll 16
    for (int u = 0; u < (ROWS - 1) * STEP + SIZE; ++u)
#pragma GCC unroll 5
        for (int j = 0; j < SIZE; ++j) {
            Vec<T> x = load(from + u * taps.row_pitch + taps.columns[j]);
            if (PARTIAL) x = keep<T>(there, x);
#pragma GCC unroll 4
            for (int r = 0; r < ROWS; ++r) {
                const int i = u - r * STEP;
                if (i >= 0 && i < SIZE) sum[i * SIZE + j] = fma(g[r], x, sum[i * SIZE + j]);
            }
        }
}

template <class T, int SIZE, int STEP>
void add_products_known(index_t rows, index_t cols, const TapGrid& taps, const T* from, const T* grad,
                        index_t grad_stride, T* sums) {
    constexpr int kSums = SIZE * SIZE + 1;
    Vec<T> sum[kSums] = {};
    const index_t whole = cols / kLanes<T> * kLanes<T>;
    each_rows(
        rows, [&](index_t y, auto number) __attribute__((always_inline)) {
            constexpr int kRows = decltype(number)::value;
            const T* line = from + y * taps.row_step;
            const T* g = grad + y * grad_stride;
            for (index_t x = 0; x < whole; x += kLanes<T>)
                add_vector<T, kRows, SIZE, STEP, false>(taps, line + x, g + x, grad_stride, kLanes<T>, sum);
            if (whole < cols)
                add_vector<T, kRows, SIZE, STEP, true>(taps, line + whole, g + whole, grad_stride,
                                                       cols - whole, sum);
        });
#pragma GCC unroll 26
    for (int t = 0; t < kSums; ++t) store(sums + t * kLanes<T>, load(sums + t * kLanes<T>) + sum[t]);
}

// Some taps of one row of the kernel.
template <class T, int TAPS>
RANVIER_INLINE void add_taps(index_t rows, index_t cols, const index_t* columns, const T* from,
                             index_t row_step, const T* grad, index_t grad_stride, T* sums) {
    Vec<T> sum[TAPS] = {};
    for (index_t y = 0; y < rows; ++y, from += row_step, grad += grad_stride)
        for (index_t x = 0; x < cols; x += kLanes<T>) {
            const index_t count = least(kLanes<T>, cols - x);
            const Vec<T> g = load_partial(grad + x, count);
            const MaskOf<T> there = first_lanes<T>(count);
#pragma GCC unroll 5
            for (int t = 0; t < TAPS; ++t)
                sum[t] = fma(g, keep<T>(there, load(from + x + columns[t])), sum[t]);
        }
#pragma GCC unroll 5
    for (int t = 0; t < TAPS; ++t) store(sums + t * kLanes<T>, load(sums + t * kLanes<T>) + sum[t]);
}

template <class T>
void add_products_any(index_t rows, index_t cols, const TapGrid& taps, const T* from, const T* grad,
                      index_t grad_stride, T* sums) {
    for (index_t i = 0; i < taps.height; ++i, from += taps.row_pitch) {
        index_t j = 0;
        for (; j + 5 <= taps.width; j += 5, sums += 5 * kLanes<T>)
            add_taps<T, 5>(rows, cols, taps.columns + j, from, taps.row_step, grad, grad_stride, sums);
        for (; j + 3 <= taps.width; j += 3, sums += 3 * kLanes<T>)
            add_taps<T, 3>(rows, cols, taps.columns + j, from, taps.row_step, grad, grad_stride, sums);
        for (; j < taps.width; ++j, sums += kLanes<T>)
            add_taps<T, 1>(rows, cols, taps.columns + j, from, taps.row_step, grad, grad_stride, sums);
    }
    Vec<T> sum = {};
    for (index_t y = 0; y < rows; ++y, grad += grad_stride)
        for (index_t x = 0; x < cols; x += kLanes<T>)
            sum += load_partial(grad + x, least(kLanes<T>, cols - x));
    store(sums, load(sums) + sum);
}

template <class T>
void add_products(index_t rows, index_t cols, const TapGrid& taps, const T* from, const T* grad,
                  index_t grad_stride, T* sums) {
    // The sums of 5 x 5 taps need more registers than AVX2 has.
    constexpr bool kMany = kVectorBytes == 64;
    const auto run = known_size(taps, 1) == 3            ? add_products_known<T, 3, 1>
                     : known_size(taps, 2) == 3          ? add_products_known<T, 3, 2>
                     : kMany && known_size(taps, 1) == 5 ? add_products_known<T, 5, 1>
                     : kMany && known_size(taps, 2) == 5 ? add_products_known<T, 5, 2>
                                                         : add_products_any<T>;
    run(rows, cols, taps, from, grad, grad_stride, sums);
}

template <class T>
void flat_masks(index_t pixels, index_t width, index_t count, const FlatTap* taps, T* masks) {
    using Int = typename LaneInt<T>::type;
    index_t row = 0, column = 0;
    for (index_t q = 0; q < pixels; q += kLanes<T>) {
        MaskOf<T> rows = {}, columns = {};
        for (int i = 0; i < kLanes<T>; ++i) {
            rows[i] = q + i < pixels ? static_cast<Int>(row) : Int{-1};
            columns[i] = static_cast<Int>(column);
            if (++column == width) {
                column = 0;
                ++row;
            }
        }
        for (index_t t = 0; t < count; ++t, masks += kLanes<T>) {
            const MaskOf<T> in_rows =
                (rows >= static_cast<Int>(taps[t].first_row)) & (rows < static_cast<Int>(taps[t].end_row));
            const MaskOf<T> in_columns = (columns >= static_cast<Int>(taps[t].first_column)) &
                                         (columns < static_cast<Int>(taps[t].end_column));
            store(masks, from_bits<T>(in_rows & in_columns));
        }
    }
}

template <class T, int CHANNELS>
RANVIER_INLINE void correlate_channels(index_t pixels, index_t count, const FlatTap* taps, const T* masks,
                                       const T* w, index_t w_step, const T* from, index_t from_stride,
                                       const T* bias, T* to, index_t to_stride) {
    for (index_t q = 0; q < pixels; q += kLanes<T>, from += kLanes<T>) {
        Vec<T> sum[CHANNELS];
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; ++c) sum[c] = broadcast(bias ? bias[c] : T{});
        for (index_t t = 0; t < count; ++t, masks += kLanes<T>) {
            const MaskOf<T> mask = bits<T>(load(masks));
#pragma GCC unroll 8
            for (int c = 0; c < CHANNELS; ++c)
                sum[c] = fma(broadcast(w[c * count + t * w_step]),
                             load_masked(from + c * from_stride + taps[t].offset, mask), sum[c]);
        }
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; ++c)
            store_partial(to + c * to_stride + q, sum[c], least(kLanes<T>, pixels - q));
    }
}

template <class T>
void correlate_flat(index_t channels, index_t pixels, index_t count, const FlatTap* taps, const T* masks,
                    const T* w, index_t w_step, const T* from, index_t from_stride, const T* bias, T* to,
                    index_t to_stride) {
    constexpr int kChannels = 4;
    index_t c = 0;
    for (; c + kChannels <= channels; c += kChannels)
        correlate_channels<T, kChannels>(pixels, count, taps, masks, w + c * count, w_step,
                                         from + c * from_stride, from_stride, bias ? bias + c : nullptr,
                                         to + c * to_stride, to_stride);
    for (; c < channels; ++c)
        correlate_channels<T, 1>(pixels, count, taps, masks, w + c * count, w_step, from + c * from_stride,
                                 from_stride, bias ? bias + c : nullptr, to + c * to_stride, to_stride);
}

template <class T, int TAPS>
RANVIER_INLINE void add_flat_taps(index_t pixels, index_t count, const FlatTap* taps, const T* masks,
                                  const T* from, const T* grad, T* sums) {
    Vec<T> sum[TAPS] = {};
    for (index_t q = 0; q < pixels; q += kLanes<T>, masks += count * kLanes<T>) {
        const Vec<T> g = load_partial(grad + q, least(kLanes<T>, pixels - q));
#pragma GCC unroll 9
        for (int t = 0; t < TAPS; ++t)
            sum[t] =
                fma(g, load_masked(from + q + taps[t].offset, bits<T>(load(masks + t * kLanes<T>))), sum[t]);
    }
#pragma GCC unroll 9
    for (int t = 0; t < TAPS; ++t) store(sums + t * kLanes<T>, load(sums + t * kLanes<T>) + sum[t]);
}

template <class T>
void add_products_flat(index_t pixels, index_t count, const FlatTap* taps, const T* masks, const T* from,
                       const T* grad, T* sums) {
    index_t t = 0;
    for (; t + 9 <= count; t += 9)
        add_flat_taps<T, 9>(pixels, count, taps + t, masks + t * kLanes<T>, from, grad, sums + t * kLanes<T>);
    for (; t + 4 <= count; t += 4)
        add_flat_taps<T, 4>(pixels, count, taps + t, masks + t * kLanes<T>, from, grad, sums + t * kLanes<T>);
    for (; t < count; ++t)
        add_flat_taps<T, 1>(pixels, count, taps + t, masks + t * kLanes<T>, from, grad, sums + t * kLanes<T>);
    Vec<T> sum = {};
    for (index_t q = 0; q < pixels; q += kLanes<T>)
        sum += load_partial(grad + q, least(kLanes<T>, pixels - q));
    store(sums + count * kLanes<T>, load(sums + count * kLanes<T>) + sum);
}

// A vector's worth of vectors at a time, by rounds of adding halves that leave the sums in order.
template <class T>
void reduce(index_t count, const T* sums, T* to) {
    for (; count > 0; count -= kLanes<T>, sums += kLanes<T> * kLanes<T>, to += kLanes<T>) {
        Vec<T> v[kLanes<T>];
#pragma GCC unroll 16
        for (int k = 0; k < kLanes<T>; ++k) v[k] = k < count ? load(sums + k * kLanes<T>) : Vec<T>{};
#pragma GCC unroll 8
        for (int half = kLanes<T> / 2; half > 0; half /= 2)
#pragma GCC unroll 8
            for (int k = 0; k < half; ++k)
                v[k] = interleave<T, 0>(v[k], v[k + half]) + interleave<T, 1>(v[k], v[k + half]);
        store_partial(to, v[0], least(kLanes<T>, count));
    }
}

template <class T>
struct PixelRun {
    const PixelTaps& taps;
    const T* w;
    const T* from;
    index_t from_stride;
    T* to;
    index_t to_stride;
    Vec<T> start;
    bool rectify;
    index_t channels;  // of a partial vector
};

template <class T, bool PARTIAL>
RANVIER_INLINE Vec<T> load_channels(const T* from, index_t count) {
    return PARTIAL ? load_partial(from, count) : load(from);
}

// Any taps, of a vector of channels of PIXELS pixels.
template <class T, int PIXELS, bool PARTIAL>
RANVIER_INLINE void add_taps(const PixelRun<T>& o, const T* from, Vec<T>* sum) {
    constexpr int kGroup = 3, kGroups = (PIXELS + kGroup - 1) / kGroup;
    const T* w = o.w;
    for (index_t i = 0; i < o.taps.height; ++i, from += o.taps.row_step, w += o.taps.weight_row) {
        const T* weight = w;
        const T* at[kGroups];  // every third pixel, so that few address registers are needed
#pragma GCC unroll 3
        for (int g = 0; g < kGroups; ++g) at[g] = from + g * kGroup * o.from_stride;
        for (index_t j = 0; j < o.taps.width; ++j, weight += o.taps.weight_col) {
            const Vec<T> tap = load_channels<T, PARTIAL>(weight, o.channels);
#pragma GCC unroll 8
            for (int p = 0; p < PIXELS; ++p)
                sum[p] = fma(
                    tap, load_channels<T, PARTIAL>(at[p / kGroup] + p % kGroup * o.from_stride, o.channels),
                    sum[p]);
#pragma GCC unroll 3
            for (int g = 0; g < kGroups; ++g) at[g] += o.taps.col_step;
        }
    }
}

// WIDTH taps in a row, of pixels STEP times as far from each other as the taps: the pixels share what they
// read.
template <class T, int PIXELS, int WIDTH, int STEP>
RANVIER_INLINE void add_taps(const PixelRun<T>& o, const T* from, Vec<T>* sum) {
    const T* w = o.w;
    for (index_t i = 0; i < o.taps.height; ++i, from += o.taps.row_step, w += o.taps.weight_row) {
        Vec<T> tap[WIDTH];
#pragma GCC unroll 5
        for (int j = 0; j < WIDTH; ++j) tap[j] = load(w + j * o.taps.weight_col);
        const T* at = from;
#pragma GCC unroll 20
        for (int u = 0; u < (PIXELS - 1) * STEP + WIDTH; ++u, at += o.taps.col_step) {
            const Vec<T> x = load(at);
#pragma GCC unroll 8
            for (int p = 0; p < PIXELS; ++p) {
                const int j = u - p * STEP;
                if (j >= 0 && j < WIDTH) sum[p] = fma(tap[j], x, sum[p]);
            }
        }
    }
}

// A vector of channels of PIXELS pixels from p on. WIDTH 0 says any taps.
template <class T, int PIXELS, int WIDTH, int STEP, bool PARTIAL>
RANVIER_INLINE void correlate_block(const PixelRun<T>& o, index_t p) {
    Vec<T> sum[PIXELS];
#pragma GCC unroll 8
    for (int k = 0; k < PIXELS; ++k) sum[k] = o.start;
    if constexpr (WIDTH == 0)
        add_taps<T, PIXELS, PARTIAL>(o, o.from + p * o.from_stride, sum);
    else
        add_taps<T, PIXELS, WIDTH, STEP>(o, o.from + p * o.from_stride, sum);
    T* to = o.to + p * o.to_stride;
#pragma GCC unroll 8
    for (int k = 0; k < PIXELS; ++k, to += o.to_stride) {
        if (o.rectify) sum[k] = Relu::value<T>(sum[k], Vec<T>{});
        PARTIAL ? store_partial(to, sum[k], o.channels) : store(to, sum[k]);
    }
}

template <class T, int WIDTH, int STEP, bool PARTIAL>
void correlate_run(const PixelRun<T>& o, index_t pixels) {
    index_t p = 0;
    for (; p + 8 <= pixels; p += 8) correlate_block<T, 8, WIDTH, STEP, PARTIAL>(o, p);
    if (p + 4 <= pixels) {
        correlate_block<T, 4, WIDTH, STEP, PARTIAL>(o, p);
        p += 4;
    }
    if (p + 2 <= pixels) {
        correlate_block<T, 2, WIDTH, STEP, PARTIAL>(o, p);
        p += 2;
    }
    if (p < pixels) correlate_block<T, 1, WIDTH, STEP, PARTIAL>(o, p);
}

template <class T>
void correlate_pixels(index_t pixels, index_t channels, const PixelTaps& taps, const T* w, const T* from,
                      index_t from_stride, const PixelEpilogue<T>& epilogue, T* to, index_t to_stride) {
    const bool by_one = from_stride == taps.col_step, by_two = from_stride == 2 * taps.col_step;
    const auto run = taps.width == 3 && by_one   ? correlate_run<T, 3, 1, false>
                     : taps.width == 3 && by_two ? correlate_run<T, 3, 2, false>
                     : taps.width == 5 && by_one ? correlate_run<T, 5, 1, false>
                     : taps.width == 5 && by_two ? correlate_run<T, 5, 2, false>
                                                 : correlate_run<T, 0, 0, false>;
    PixelRun<T> o = {taps, w, from, from_stride, to, to_stride, Vec<T>{}, epilogue.rectify, kLanes<T>};
    for (index_t c = 0; c < channels; c += kLanes<T>) {
        o.channels = least(kLanes<T>, channels - c);
        if (epilogue.bias) o.start = load_partial(epilogue.bias + c, o.channels);
        (o.channels == kLanes<T> ? run : correlate_run<T, 0, 0, true>)(o, pixels);
        o.w += kLanes<T>;
        o.from += kLanes<T>;
        o.to += kLanes<T>;
    }
}

}  // namespace

constinit const DepthwiseKernels<float> depthwise_float32 = {
    kLanes<float>,       split_pairs<float>,     correlate<float>,      spread<float>,
    add_products<float>, flat_masks<float>,      correlate_flat<float>, add_products_flat<float>,
    reduce<float>,       correlate_pixels<float>};
constinit const DepthwiseKernels<double> depthwise_float64 = {
    kLanes<double>,       split_pairs<double>,     correlate<double>,      spread<double>,
    add_products<double>, flat_masks<double>,      correlate_flat<double>, add_products_flat<double>,
    reduce<double>,       correlate_pixels<double>};

}  // namespace ranvier::RANVIER_ISA
