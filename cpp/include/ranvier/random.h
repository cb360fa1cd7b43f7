// Counter-based random numbers: Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random
// numbers: as easy as 1, 2, 3" (SC11). The number at a position depends on (seed, stream, position)
// alone, so masks and shuffles are the same at any thread count.
#pragma once

#include <array>
#include <cstdint>

#include "ranvier/array.h"

namespace ranvier {

// The four words of one block. The key is the seed; the counter is (block, stream), low words first.
std::array<std::uint32_t, 4> philox4x32(std::uint64_t seed, std::uint64_t stream, std::uint64_t block);

// A uniformly random permutation of 0 .. count-1: Fisher and Yates's, of many numbers by way of random
// buckets that are shuffled in a cache (Rao 1961, Sandelius 1962).
void random_permutation(std::uint64_t seed, std::uint64_t stream, index_t count, std::int64_t* out);

}  // namespace ranvier
