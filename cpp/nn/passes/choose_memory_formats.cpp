// The pass that gives images neighbouring channels where nothing but convolutions that suit it, and
// operations that do not mind, read and write them.
#include "../ops/images.h"
#include "passes.h"

namespace ranvier {
namespace {

// What an operation of images can do.
enum class Formats {
    first,      // wants planes
    any,        // takes either at each side, and may change from one to the other
    same,       // keeps channels or elements apart: all operands have one format
    any_input,  // takes either; its output is no image
};

Formats formats_of(const Node& node) {
    if (const auto* convolution = std::get_if<Conv2dSpec>(&node.operation)) {
        if (!suits_channels_last<float>(conv2d_shape(*convolution, node.inputs[0].shape)))
            return Formats::first;
        return convolution->groups == 1 ? Formats::any : Formats::same;
    }
    if (std::holds_alternative<AddSpec>(node.operation) ||
        std::holds_alternative<ActivationSpec>(node.operation))
        return Formats::same;
    const auto* pool = std::get_if<AdaptivePool2dSpec>(&node.operation);
    return pool && is_global_average(*pool) ? Formats::any_input : Formats::first;
}

// Whether images are read as they are; a line is an image of height 1.
bool reads_as_written(const Shape& written, Shape read) {
    if (read.size() == 3 && written.size() == 2 && read[1] == 1) read.erase(read.begin() + 1);
    return written == read;
}

class Choice {
public:
    explicit Choice(Graph& graph) : graph_(graph), last_(graph.values.size(), true) {
        for (int value : graph.inputs) refuse(value);
        for (const Operand& output : graph.outputs) refuse(output.value);
        for (const Node& node : graph.nodes) formats_.push_back(formats_of(node));
        while (refuse_some()) continue;
        for (Node& node : graph.nodes) {
            if (last(node.output)) node.format = MemoryFormat::channels_last;
            for (Operand& input : node.inputs)
                if (last(input.value)) input.format = MemoryFormat::channels_last;
        }
    }

private:
    bool last(int value) const { return last_[static_cast<std::size_t>(value)]; }
    bool refuse(int value) {
        const bool changed = last(value);
        last_[static_cast<std::size_t>(value)] = false;
        return changed;
    }

    // Refuses what the format of other values forbids; false if there is nothing left to refuse.
    bool refuse_some() {
        bool changed = false;
        for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
            const Node& node = graph_.nodes[i];
            const Formats formats = formats_[i];
            bool all_last = last(node.output);
            for (const Operand& input : node.inputs) {
                all_last &= last(input.value);
                // A Flatten stands between.
                if (!reads_as_written(graph_.values[static_cast<std::size_t>(input.value)], input.shape))
                    changed |= refuse(input.value);
            }
            if (formats == Formats::any || (formats == Formats::same && all_last)) continue;
            changed |= refuse(node.output);
            for (const Operand& input : node.inputs)
                if (formats != Formats::any_input) changed |= refuse(input.value);
        }
        return changed;
    }

    Graph& graph_;
    std::vector<Formats> formats_;  // of the nodes
    std::vector<bool> last_;        // of the values
};

}  // namespace

void choose_memory_formats(Graph& graph, Purpose purpose) {
    if (purpose == Purpose::frozen_outputs) Choice{graph};
}

}  // namespace ranvier
