// Philox words by the vector, and what dropout, noise and the randomized ReLU make of them.
#pragma once

#include <cstring>
#include <type_traits>

#include "../../platform/simd_aligned.h"
#include "../../platform/simd_math.h"
#include "../../platform/simd_transpose.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {

// A block's four words lie in the low halves of four 64-bit lanes; so many blocks run side by side.
typedef std::uint64_t WideWords __attribute__((vector_size(kVectorBytes)));
inline constexpr index_t kWideLanes = kVectorBytes / 8;

// The products of the low halves; what the high halves hold does not matter.
RANVIER_INLINE WideWords multiply_low_halves(WideWords a, WideWords b) {
#if defined(__AVX512F__)
    return (WideWords)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (WideWords)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (WideWords)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    constexpr std::uint64_t kLow = 0xffffffff;
    return (a & kLow) * (b & kLow);
#endif
}

// The rounds of several vectors of blocks, none of which waits for another. The high halves are left
// undefined.
template <int GROUPS>
RANVIER_INLINE void philox_rounds(std::uint64_t seed, WideWords (&c)[GROUPS][4]) {
    const WideWords multiplier0 = WideWords{} + 0xD2511F53, multiplier1 = WideWords{} + 0xCD9E8D57;
    auto key0 = static_cast<std::uint32_t>(seed), key1 = static_cast<std::uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const WideWords round_key0 = WideWords{} + key0, round_key1 = WideWords{} + key1;
#pragma GCC unroll 4
        for (int g = 0; g < GROUPS; ++g) {
            const WideWords product0 = multiply_low_halves(c[g][0], multiplier0);
            const WideWords product1 = multiply_low_halves(c[g][2], multiplier1);
            c[g][0] = (product1 >> 32) ^ (c[g][1] ^ round_key0);
            c[g][1] = product1;
            c[g][2] = (product0 >> 32) ^ (c[g][3] ^ round_key1);
            c[g][3] = product0;
        }
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
}

inline void random_words(std::uint64_t seed, std::uint64_t stream, std::uint64_t block, index_t blocks,
                         std::uint32_t* words) {
    constexpr int kGroups = kVectorBytes == 64 ? 4 : 3;  // as the registers allow
    constexpr std::uint64_t kLow = 0xffffffff;
    using Pairs = Vec<std::int64_t>;
    WideWords counter = {};
    for (int lane = 0; lane < kWideLanes; ++lane) counter[lane] = block + static_cast<std::uint64_t>(lane);
    for (index_t done = 0; done < blocks; done += kGroups * kWideLanes) {
        WideWords c[kGroups][4];
        for (auto& group : c) {
            group[0] = counter;
            group[1] = counter >> 32;
            group[2] = WideWords{} + stream;
            group[3] = group[2] >> 32;
            counter += static_cast<std::uint64_t>(kWideLanes);
        }
        philox_rounds(seed, c);
        const index_t left = blocks - done;
        const bool whole = left >= kGroups * kWideLanes;
        std::int32_t rest[kGroups * kWideLanes * 4];
        auto* to = whole ? reinterpret_cast<std::int32_t*>(words + 4 * done) : rest;
        const auto put = [&](Pairs pairs) __attribute__((always_inline)) {
            store(to, reinterpret_cast<Vec<std::int32_t>>(pairs));
            to += 2 * kWideLanes;
        };
        for (int g = 0; g < kGroups; ++g) {
            const Pairs first = reinterpret_cast<Pairs>((c[g][0] & kLow) | (c[g][1] << 32));
            const Pairs second = reinterpret_cast<Pairs>((c[g][2] & kLow) | (c[g][3] << 32));
            put(interleave<std::int64_t, 0>(first, second));
            put(interleave<std::int64_t, 1>(first, second));
        }
        if (!whole) std::memcpy(words + 4 * done, rest, static_cast<std::size_t>(16 * left));
    }
}

// As many words as T has lanes, each one beside or in a lane of T.
template <class T>
RANVIER_INLINE MaskOf<T> words_in_lanes(const std::uint32_t* words) {
    typedef std::uint32_t Words __attribute__((vector_size(4 * kLanes<T>), aligned(4), may_alias));
    typedef std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t> Lane;
    typedef Lane Lanes __attribute__((vector_size(kVectorBytes)));
    return reinterpret_cast<MaskOf<T>>(
        __builtin_convertvector(*reinterpret_cast<const Words*>(words), Lanes));
}

// body(i, count, words in the lanes) for whole vectors and the tail.
template <class T, class Body>
RANVIER_INLINE void for_each_words(index_t n, const std::uint32_t* words, Body&& body) {
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) body(i, kLanes<T>, words_in_lanes<T>(words + i));
    if (i == n) return;
    std::uint32_t last[kLanes<T>] = {};
    for (index_t k = 0; k < n - i; ++k) last[k] = words[i + k];
    body(i, n - i, words_in_lanes<T>(last));
}

template <class T>
void mask(index_t n, const T* x, const std::uint32_t* words, std::uint32_t threshold, T scale, T* y) {
    using Int = typename LaneInt<T>::type;
    // Only of 32-bit lanes is the sign a digit of the word.
    const Int flip = sizeof(T) == 4 ? static_cast<Int>(0x80000000) : 0;
    const MaskOf<T> least = MaskOf<T>{} + (static_cast<Int>(threshold) ^ flip);
    const Vec<T> factor = broadcast(scale);
    for_each_words<T>(
        n, words, [&](index_t i, index_t count, MaskOf<T> word) __attribute__((always_inline)) {
            const Vec<T> kept = select<T>((word ^ flip) >= least, load_some(x + i, count) * factor, Vec<T>{});
            store_partial(y + i, kept, count);
        });
}

// Two independent uniform numbers make two independent normal ones: the radius's and the angle's word (Box
// and Muller 1958).
template <class T>
RANVIER_INLINE void normal_numbers(const std::uint32_t* words, T std, T* normals) {
    Vec<T> radius_word = {}, angle_word = {};
    for (int lane = 0; lane < kLanes<T>; ++lane) {
        radius_word[lane] = static_cast<T>(words[2 * lane]);
        angle_word[lane] = static_cast<T>(words[2 * lane + 1]);
    }
    // Half a unit keeps the logarithm finite.
    const Vec<T> uniform = (radius_word + T(0.5)) * T(0x1p-32);
    const Vec<T> radius = sqrt(T(-2) * log<T>(uniform)) * std;
    const auto [sine, cosine] = sin_cos<T>(angle_word * T(0x1p-30));
    const Vec<T> even = radius * cosine, odd = radius * sine;
    for (int lane = 0; lane < kLanes<T>; ++lane) {
        normals[2 * lane] = even[lane];
        normals[2 * lane + 1] = odd[lane];
    }
}

template <class T>
void add_noise(index_t n, const T* x, const std::uint32_t* words, T std, T* y) {
    constexpr index_t kGroup = 2 * kLanes<T>;
    T normals[kGroup];
    index_t i = 0;
    for (; i + kGroup <= n; i += kGroup) {
        normal_numbers<T>(words + i, std, normals);
        for (index_t k = 0; k < kGroup; ++k) y[i + k] = x[i + k] + normals[k];
    }
    if (i == n) return;
    std::uint32_t last[kGroup] = {};
    for (index_t k = 0; k < (n - i + 1) / 2 * 2; ++k) last[k] = words[i + k];
    normal_numbers<T>(last, std, normals);
    for (index_t k = 0; k < n - i; ++k) y[i + k] = x[i + k] + normals[k];
}

// As many numbers of 16 bits as T has lanes, each one in a lane of T.
template <class T>
RANVIER_INLINE MaskOf<T> halves_in_lanes(const std::uint16_t* halves) {
    typedef std::uint16_t Halves __attribute__((vector_size(2 * kLanes<T>)));
    Halves v;
    std::memcpy(&v, halves, sizeof v);
    return __builtin_convertvector(v, MaskOf<T>);
}

template <class T>
void slopes(index_t n, const std::uint16_t* halves, T lower, T width, T* slope) {
    const Vec<T> from = broadcast(lower + width * T(0x1p-17)), range = broadcast(width * T(0x1p-16));
    const auto slopes_of = [&](MaskOf<T> digits) __attribute__((always_inline)) {
        Vec<T> number;
        if constexpr (sizeof(T) == 4)
            number = __builtin_convertvector(digits, Vec<T>);
        else  // few instruction sets convert 64-bit integers
            number = from_bits<T>(digits | bits<T>(broadcast(T(0x1p52)))) - T(0x1p52);
        return from + range * number;
    };
    index_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) store(slope + i, slopes_of(halves_in_lanes<T>(halves + i)));
    if (i == n) return;
    std::uint16_t last[kLanes<T>] = {};
    std::memcpy(last, halves + i, static_cast<std::size_t>(2 * (n - i)));
    store_partial(slope + i, slopes_of(halves_in_lanes<T>(last)), n - i);
}

template <class T>
void scale_negative(index_t n, const T* x, const T* sign, const T* factor, T* y) {
    for_each_aligned_vector<T>(
        n, y, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            put(y, select<T>(get(sign) <= Vec<T>{}, get(factor) * get(x), get(x)));
        });
}

}  // namespace ranvier::RANVIER_ISA
