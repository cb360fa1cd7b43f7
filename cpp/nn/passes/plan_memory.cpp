// Placing buffers greedily by size (Pisarchyk and Lee 2020, "Efficient memory management for deep neural net
// inference").
#include "plan_memory.h"

#include <algorithm>
#include <numeric>

namespace ranvier {

MemoryPlan plan_memory(const std::vector<Lifetime>& buffers, index_t unit) {
    MemoryPlan plan;
    plan.offsets.assign(buffers.size(), 0);
    std::vector<std::size_t> order(buffers.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return buffers[a].size > buffers[b].size; });
    std::vector<std::size_t> placed;  // by offset
    for (std::size_t i : order) {
        index_t at = 0;
        for (std::size_t other : placed) {
            const bool together =
                buffers[other].first <= buffers[i].last && buffers[i].first <= buffers[other].last;
            if (!together) continue;
            if (plan.offsets[other] - at >= buffers[i].size) break;
            at = std::max(at, round_up(plan.offsets[other] + buffers[other].size, unit));
        }
        plan.offsets[i] = at;
        plan.size = std::max(plan.size, round_up(at + buffers[i].size, unit));
        placed.insert(
            std::upper_bound(placed.begin(), placed.end(), i,
                             [&](std::size_t a, std::size_t b) { return plan.offsets[a] < plan.offsets[b]; }),
            i);
    }
    return plan;
}

}  // namespace ranvier
