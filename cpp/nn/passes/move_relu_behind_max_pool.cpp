// The pass that lets a max pooling take the ReLU before it.
#include "passes.h"

namespace ranvier {
namespace {

bool is_relu(const Node& node) {
    const auto* activation = std::get_if<ActivationSpec>(&node.operation);
    return activation && activation->kind == Activation::relu;
}

bool is_max_pool(const Node& node) {
    const auto* pool = std::get_if<Pool2dSpec>(&node.operation);
    return pool && pool->maximum;
}

}  // namespace

void move_relu_behind_max_pool(Graph& graph, Purpose) {
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
        const Node relu = graph.nodes[i];
        const std::vector<int> readers = graph.consumers(relu.output);
        if (!is_relu(relu) || readers.size() != 1 || graph.is_output(relu.output)) continue;
        Node& pool = graph.nodes[static_cast<std::size_t>(readers[0])];
        if (!is_max_pool(pool)) continue;
        pool.inputs[0].value = relu.inputs[0].value;
        pool.activation = {Activation::relu};
        pool.path = relu.path;
        pool.name = relu.name + " + " + pool.name;
        graph.nodes.erase(graph.nodes.begin() + static_cast<std::ptrdiff_t>(i--));
    }
}

}  // namespace ranvier
