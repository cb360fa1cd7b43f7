// The passes in their order, and which are disabled.
#include "passes.h"

#include <algorithm>
#include <mutex>
#include <stdexcept>

namespace ranvier {
namespace {

std::mutex mutex;
std::vector<std::string> disabled;

}  // namespace

const std::vector<Pass>& all_passes() {
    static const std::vector<Pass> passes = {
        {"move_relu_behind_max_pool", &move_relu_behind_max_pool},
        {"fold_batch_norm", &fold_batch_norm},
        {"fuse_activation", &fuse_activation},
        {"choose_memory_formats", &choose_memory_formats},
    };
    return passes;
}

void optimize(Graph& graph, Purpose purpose) {
    const std::lock_guard lock(mutex);
    for (const Pass& pass : all_passes())
        if (std::find(disabled.begin(), disabled.end(), pass.name) == disabled.end())
            pass.run(graph, purpose);
}

void set_disabled_passes(const std::vector<std::string>& names) {
    for (const std::string& name : names)
        if (std::none_of(all_passes().begin(), all_passes().end(),
                         [&](const Pass& pass) { return name == pass.name; }))
            throw std::invalid_argument("names: there is no pass '" + name + "'");
    const std::lock_guard lock(mutex);
    disabled = names;
}

}  // namespace ranvier
