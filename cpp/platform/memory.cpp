// Aligned memory, and the lists of scratch blocks that each thread keeps.
#include "ranvier/memory.h"

#include <cstdlib>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace ranvier {

// Large buffers are asked of the system in pages of this size, for fewer misses of the translation cache.
constexpr std::size_t kHugePage = std::size_t{2} << 20;

void* aligned_allocate(std::size_t bytes) {
    const std::size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    void* pointer = std::aligned_alloc(alignment, rounded ? rounded : alignment);
    if (!pointer) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    if (bytes >= kHugePage) madvise(pointer, rounded, MADV_HUGEPAGE);
#endif
    return pointer;
}

void aligned_release(void* pointer) noexcept { std::free(pointer); }

namespace {

struct Block {
    void* memory;
    std::size_t bytes;
    bool taken;
};

// A thread has few blocks at a time (a product takes two), so a search through all is short.
struct Blocks {
    std::vector<Block> list;

    ~Blocks() {
        for (const Block& block : list) aligned_release(block.memory);
    }
};

thread_local Blocks blocks;

}  // namespace

void* detail::scratch_take(std::size_t bytes) {
    Block* best = nullptr;   // the smallest free block that is large enough
    Block* spare = nullptr;  // else a free one to grow
    for (Block& block : blocks.list) {
        if (block.taken) continue;
        if (block.bytes >= bytes && (!best || block.bytes < best->bytes)) best = &block;
        spare = &block;
    }
    if (!best) {
        void* memory = aligned_allocate(bytes);
        if (spare) {
            aligned_release(spare->memory);
            *spare = {memory, bytes, false};
            best = spare;
        } else {
            best = &blocks.list.emplace_back(Block{memory, bytes, false});
        }
    }
    best->taken = true;
    return best->memory;
}

void detail::scratch_give_back(void* pointer) noexcept {
    for (Block& block : blocks.list)
        if (block.memory == pointer) block.taken = false;
}

}  // namespace ranvier
