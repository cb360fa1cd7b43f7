// Philox words by the vector, and what dropout, noise and the randomized ReLU make of them.
#pragma once

#include "../../platform/simd_loops.h"
#include "../../platform/simd_math.h"
#include "isa.h"

namespace ranvier::RANVIER_ISA {

// A block's four words lie in the low halves of four 64-bit lanes; so many blocks run side by side.
typedef std::uint64_t WideWords __attribute__((vector_size(kVectorBytes)));
inline constexpr index_t kWideLanes = kVectorBytes / 8;

RANVIER_INLINE void philox_rounds(std::uint64_t seed, WideWords (&c)[4]) {
    constexpr std::uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57, kLow = 0xffffffff;
    std::uint64_t key0 = seed & kLow, key1 = seed >> 32;
    for (int round = 0; round < 10; ++round) {
        const WideWords product0 = c[0] * kMultiplier0, product1 = c[2] * kMultiplier1;
        c[0] = (product1 >> 32) ^ c[1] ^ key0;
        c[1] = product1 & kLow;
        c[2] = (product0 >> 32) ^ c[3] ^ key1;
        c[3] = product0 & kLow;
        key0 = (key0 + 0x9E3779B9) & kLow;
        key1 = (key1 + 0xBB67AE85) & kLow;
    }
}

inline void random_words(std::uint64_t seed, std::uint64_t stream, std::uint64_t block, index_t blocks,
                         std::uint32_t* words) {
    constexpr std::uint64_t kLow = 0xffffffff;
    for (index_t done = 0; done < blocks; done += kWideLanes) {
        WideWords c[4] = {};
        for (int lane = 0; lane < kWideLanes; ++lane) {
            const std::uint64_t counter = block + static_cast<std::uint64_t>(done + lane);
            c[0][lane] = counter & kLow;
            c[1][lane] = counter >> 32;
            c[2][lane] = stream & kLow;
            c[3][lane] = stream >> 32;
        }
        philox_rounds(seed, c);
        for (int lane = 0; lane < kWideLanes && done + lane < blocks; ++lane)
            for (int word = 0; word < 4; ++word)
                words[4 * (done + lane) + word] = static_cast<std::uint32_t>(c[word][lane]);
    }
}

template <class T>
void mask(index_t n, const T* x, const std::uint32_t* words, std::uint32_t threshold, T scale, T* y) {
    for (index_t i = 0; i < n; ++i) y[i] = words[i] >= threshold ? x[i] * scale : T{};
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

template <class T>
void slopes(index_t n, const std::uint32_t* words, T lower, T width, T* slope) {
    // 24 bits fill a float's fraction, so that the fraction stays below 1.
    for (index_t i = 0; i < n; ++i) slope[i] = lower + width * (static_cast<T>(words[i] >> 8) * T(0x1p-24));
}

template <class T>
void scale_negative(index_t n, const T* x, const T* sign, const T* factor, T* y) {
    for_each_vector<T>(
        n, [&](auto&& get, auto&& put) __attribute__((always_inline)) {
            put(y, select<T>(get(sign) <= Vec<T>{}, get(factor) * get(x), get(x)));
        });
}

}  // namespace ranvier::RANVIER_ISA
