// The pass that places buffers in one arena.
#pragma once

#include <vector>

#include "ranvier/array.h"

namespace ranvier {

// A buffer, and the first and last moment at which it is written or read.
struct Lifetime {
    index_t size;
    int first, last;
};

struct MemoryPlan {
    std::vector<index_t> offsets;  // one for each buffer
    index_t size = 0;              // of the arena
};

// Buffers that live at a common moment do not overlap: the largest first, each into the lowest gap that is
// free for its life. Offsets are multiples of `unit`.
MemoryPlan plan_memory(const std::vector<Lifetime>& buffers, index_t unit);

}  // namespace ranvier
