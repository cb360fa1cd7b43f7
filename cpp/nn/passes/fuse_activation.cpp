// The pass that lets products, normalizations and sums take the activation behind them.
#include "passes.h"

namespace ranvier {
namespace {

bool takes_activation(const Node& node) {
    const auto& operation = node.operation;
    return node.activation.kind == Activation::identity &&
           (std::holds_alternative<LinearSpec>(operation) || std::holds_alternative<Conv2dSpec>(operation) ||
            std::holds_alternative<BatchNormSpec>(operation) || std::holds_alternative<AddSpec>(operation));
}

}  // namespace

void fuse_activation(Graph& graph, Purpose purpose) {
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
        const Node next = graph.nodes[i];
        const auto* activation = std::get_if<ActivationSpec>(&next.operation);
        if (!activation) continue;
        if (purpose == Purpose::gradients &&
            !activation_backward_reads_output(activation->kind, activation->parameter))
            continue;
        const int value = next.inputs[0].value, producer = graph.producer(value);
        if (producer < 0 || graph.consumers(value).size() != 1 || graph.is_output(value)) continue;
        Node& node = graph.nodes[static_cast<std::size_t>(producer)];
        if (!takes_activation(node)) continue;
        node.activation = *activation;
        node.output = next.output;
        node.name += " + " + next.name;
        graph.nodes.erase(graph.nodes.begin() + static_cast<std::ptrdiff_t>(i--));
    }
}

}  // namespace ranvier
