// Processors, however many the machine has: where a thread runs, and the set of those that it may run on.
#pragma once

#if defined(__linux__)
#include <sched.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <new>
#include <vector>

namespace ranvier {

class CpuMask {
public:
    CpuMask() = default;

    // Empty if the system does not tell. Thread 0 is the calling one.
    static CpuMask of_thread(pid_t thread) {
        constexpr std::size_t kMost = 1 << 16;
        CpuMask mask;
        // The kernel refuses a mask that is shorter than its own.
        for (std::size_t words = CPU_SETSIZE / kBits; words <= kMost / kBits; words *= 2) {
            mask.words_.assign(words, 0);
            if (sched_getaffinity(thread, mask.bytes(), mask.set()) == 0) return mask;
            if (errno != EINVAL) break;
        }
        return {};
    }

    static CpuMask only(int cpu) {
        CpuMask mask;
        mask.words_.assign(std::max<std::size_t>(CPU_SETSIZE, cpu + 1) / kBits + 1, 0);
        CPU_SET_S(cpu, mask.bytes(), mask.set());
        return mask;
    }

    int count() const { return words_.empty() ? 0 : CPU_COUNT_S(bytes(), set()); }

    // Their numbers, in ascending order.
    std::vector<int> processors() const {
        std::vector<int> list;
        for (int cpu = 0; cpu < static_cast<int>(words_.size() * kBits); ++cpu)
            if (CPU_ISSET_S(cpu, bytes(), set())) list.push_back(cpu);
        return list;
    }

    bool apply_to(pid_t thread) const {
        return !words_.empty() && sched_setaffinity(thread, bytes(), set()) == 0;
    }

private:
    using Word = unsigned long;
    static constexpr std::size_t kBits = 8 * sizeof(Word);

    std::size_t bytes() const { return words_.size() * sizeof(Word); }
    cpu_set_t* set() { return reinterpret_cast<cpu_set_t*>(words_.data()); }
    const cpu_set_t* set() const { return reinterpret_cast<const cpu_set_t*>(words_.data()); }

    std::vector<Word> words_;
};

// Negative if the system does not tell.
inline int current_processor() { return sched_getcpu(); }

// Moves the calling thread to one of the other processors that it may run on, if there is memory for masks.
// Nothing forbids it to come back.
inline void leave_processor(int cpu, int choice) noexcept {
    try {
        const CpuMask mask = CpuMask::of_thread(0);
        std::vector<int> others = mask.processors();
        others.erase(std::remove(others.begin(), others.end(), cpu), others.end());
        if (others.empty()) return;
        CpuMask::only(others[static_cast<std::size_t>(choice) % others.size()]).apply_to(0);
        mask.apply_to(0);
    } catch (const std::bad_alloc&) {
    }
}

}  // namespace ranvier

#else
namespace ranvier {

inline int current_processor() { return -1; }
inline void leave_processor(int /*cpu*/, int /*choice*/) noexcept {}

}  // namespace ranvier
#endif
