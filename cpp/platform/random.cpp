// Philox4x32-10, and the shuffle made of it.
#include "ranvier/random.h"

#include <algorithm>
#include <utility>
#include <vector>

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

namespace {

// What is shuffled in one go.
constexpr index_t kMostShuffledAtOnce = 1 << 15;
// Of many numbers: those of a bucket, which a first-level cache holds, and the buckets at most, which are
// written to in turn and have to be few enough for the processor's cache of page addresses.
constexpr index_t kBucket = 1 << 12;
constexpr index_t kMostBuckets = 1 << 11;

// The high half of a product maps a uniform word onto 0 .. count - 1 (Lemire 2019). With 64 random bits the
// bias is below 2^-30 for any array that fits in memory.
index_t below(index_t count, std::uint64_t word) {
    return static_cast<index_t>((static_cast<unsigned __int128>(word) * static_cast<std::uint64_t>(count)) >>
                                64);
}

// body(i, word) for i = 0 .. count - 1, with 32 random bits for each, four from a block.
template <class Body>
void for_each_word(std::uint64_t seed, std::uint64_t stream, std::uint64_t first_block, index_t count,
                   Body&& body) {
    for (index_t begin = 0; begin < count; begin += 4) {
        const auto words = philox4x32(seed, stream, first_block + static_cast<std::uint64_t>(begin / 4));
        for (index_t i = begin; i < std::min(count, begin + 4); ++i)
            body(i, words[static_cast<std::size_t>(i - begin)]);
    }
}

// Rao (1961) and Sandelius (1962): each number goes to a random bucket, and the buckets are shuffled. The
// bias of 32 random bits is below the size of a bucket over 2^32.
void shuffle_by_buckets(std::uint64_t seed, std::uint64_t stream, index_t count, std::int64_t* out) {
    constexpr std::uint64_t kOfBuckets = std::uint64_t{1}
                                         << 62;  // blocks that choose buckets; others from 0 on
    const index_t buckets = std::min(kMostBuckets, count / kBucket);
    const auto bucket_of = [&](std::uint32_t word) { return below(buckets, std::uint64_t{word} << 32); };
    std::vector<index_t> places(static_cast<std::size_t>(buckets) + 1);
    index_t* next =
        places.data();  // where the next number of a bucket goes, and in the end where the bucket ends
    for_each_word(seed, stream, kOfBuckets, count,
                  [&](index_t, std::uint32_t word) { ++next[bucket_of(word) + 1]; });
    for (index_t bucket = 1; bucket <= buckets; ++bucket) next[bucket] += next[bucket - 1];
    for_each_word(seed, stream, kOfBuckets, count,
                  [&](index_t i, std::uint32_t word) { out[next[bucket_of(word)]++] = i; });
    for (index_t bucket = 0, begin = 0; bucket < buckets; begin = next[bucket++]) {
        std::int64_t* const part = out + begin;
        for_each_word(seed, stream, static_cast<std::uint64_t>(begin), next[bucket] - begin,
                      [&](index_t i, std::uint32_t word) {
                          std::swap(part[i], part[below(i + 1, std::uint64_t{word} << 32)]);
                      });
    }
}

}  // namespace

void random_permutation(std::uint64_t seed, std::uint64_t stream, index_t count, std::int64_t* out) {
    if (count > kMostShuffledAtOnce) return shuffle_by_buckets(seed, stream, count, out);
    for (index_t i = 0; i < count; ++i) out[i] = i;
    for (index_t i = count - 1; i > 0; --i) {
        const auto words = philox4x32(seed, stream, static_cast<std::uint64_t>(i));
        std::swap(out[i], out[below(i + 1, (std::uint64_t{words[1]} << 32) | words[0])]);
    }
}

}  // namespace ranvier
