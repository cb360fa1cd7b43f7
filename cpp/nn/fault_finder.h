// Finds the first node of a pass that gives what is not finite.
#pragma once

#include <string>

#include "ranvier/observer.h"
#include "ranvier/optimizer.h"
#include "ranvier/parameters.h"

namespace ranvier {

template <class T>
class FaultFinder final : public Observer<T> {
public:
    explicit FaultFinder(Parameters<T>& parameters) : parameters_(parameters) {}

    void end(const NodeInfo& node, Direction direction, const T* values, index_t n, index_t size) override {
        if (!fault_.empty()) return;
        const std::string layer = "layer " + node.path + " (" + node.name + ")";
        if (direction == Direction::forward) {
            if (const std::string own = parameter_fault(node, false); !own.empty())
                fault_ = "the " + own + " of " + layer + ", before the batch";
            else if (!all_finite(n * size, values))
                fault_ = "forward through " + layer;
        } else if (!parameter_fault(node, true).empty() || (values && !all_finite(n * size, values))) {
            fault_ = "backward through " + layer;
        }
    }
    // Empty if there is none.
    const std::string& fault() const { return fault_; }
    bool is_forward() const { return fault_.compare(0, 8, "backward") != 0; }

private:
    // The name of a parameter of the node whose values, or gradients, are not finite.
    std::string parameter_fault(const NodeInfo& node, bool gradients) const {
        for (const ParameterEntry& entry : parameters_.entries()) {
            const std::string prefix = node.path + ".";
            if (entry.name.compare(0, prefix.size(), prefix) != 0 ||
                entry.name.find('.', prefix.size()) != std::string::npos ||
                !entry.name.ends_with(node.parameters))
                continue;
            if (gradients && entry.frozen) continue;
            const T* numbers = gradients ? parameters_.gradient(entry) : parameters_.value(entry);
            if (numbers && !all_finite(entry.extent, numbers)) return entry.name.substr(prefix.size());
        }
        return "";
    }

    Parameters<T>& parameters_;
    std::string fault_;
};

}  // namespace ranvier
