// Aligned memory, and the lists of scratch blocks that each thread keeps.
#include "ranvier/memory.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <mutex>
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

// Free blocks, the oldest first.
class Recycler {
public:
    void* take(std::size_t bytes) {
        // Who forks while another thread is in here must not wait for that thread in the child.
        if (const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock); lock)
            for (std::size_t i = free_.size(); i-- > 0;)
                if (free_[i].bytes == bytes) {
                    void* memory = free_[i].memory;
                    remove(i);
                    return memory;
                }
        return aligned_allocate(bytes);
    }

    void give_back(void* memory, std::size_t bytes) noexcept {
        const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
        if (!lock || bytes > kMost || free_.size() == kMostBlocks) return aligned_release(memory);
        while (total_ + bytes > kMost) {
            aligned_release(free_[0].memory);
            remove(0);
        }
        free_.push_back({memory, bytes});
        total_ += bytes;
    }

private:
    static constexpr std::size_t kMost = std::size_t{64} << 20, kMostBlocks = 256;
    struct Free {
        void* memory;
        std::size_t bytes;
    };

    void remove(std::size_t i) noexcept {
        total_ -= free_[i].bytes;
        free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(i));
    }

    std::mutex mutex_;
    std::vector<Free> free_ = [] {
        std::vector<Free> blocks;
        blocks.reserve(kMostBlocks);
        return blocks;
    }();
    std::size_t total_ = 0;
};

// Never destroyed: arrays may outlive main().
Recycler& recycler() {
    static Recycler& only = *new Recycler;
    return only;
}

// Sizes are rounded up by an eighth at most, so that results of about one size share blocks.
std::size_t recycled_size(std::size_t bytes) {
    const std::size_t unit = std::max<std::size_t>(kAlignment, std::bit_floor(bytes) / 8);
    return (bytes + unit - 1) / unit * unit;
}

}  // namespace

void* recycled_allocate(std::size_t bytes) { return recycler().take(recycled_size(bytes)); }

void recycled_release(void* pointer, std::size_t bytes) noexcept {
    recycler().give_back(pointer, recycled_size(bytes));
}

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
