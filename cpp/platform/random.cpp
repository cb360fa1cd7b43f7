// Philox4x32-10, and the shuffle made of it.
#include "ranvier/random.h"

#include <utility>

namespace ranvier {

std::array<std::uint32_t, 4> philox4x32(std::uint64_t seed, std::uint64_t stream, std::uint64_t block) {
    // Multipliers and key increments of the paper's table 2.
    constexpr std::uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
    constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
    auto key0 = static_cast<std::uint32_t>(seed), key1 = static_cast<std::uint32_t>(seed >> 32);
    std::array<std::uint32_t, 4> c = {
        static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
        static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)};
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t product0 = kMultiplier0 * c[0], product1 = kMultiplier1 * c[2];
        c = {static_cast<std::uint32_t>(product1 >> 32) ^ c[1] ^ key0, static_cast<std::uint32_t>(product1),
             static_cast<std::uint32_t>(product0 >> 32) ^ c[3] ^ key1, static_cast<std::uint32_t>(product0)};
        key0 += kWeyl0;
        key1 += kWeyl1;
    }
    return c;
}

void random_permutation(std::uint64_t seed, std::uint64_t stream, index_t count, std::int64_t* out) {
    for (index_t i = 0; i < count; ++i) out[i] = i;
    for (index_t i = count - 1; i > 0; --i) {
        const auto words = philox4x32(seed, stream, static_cast<std::uint64_t>(i));
        // The high half of a 64-bit product maps a uniform word onto [0, i] (Lemire 2019); with 64
        // random bits the bias is below 2^-30 for any array that fits in memory.
        const std::uint64_t word = (std::uint64_t{words[1]} << 32) | words[0];
        const auto j = static_cast<index_t>(
            (static_cast<unsigned __int128>(word) * static_cast<std::uint64_t>(i + 1)) >> 64);
        std::swap(out[i], out[j]);
    }
}

}  // namespace ranvier
