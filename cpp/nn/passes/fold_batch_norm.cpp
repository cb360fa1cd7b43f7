// The pass that folds batch normalizations into products.
#include "passes.h"

namespace ranvier {
namespace {

bool is_plain_product(const Node& node) {
    const bool product = std::holds_alternative<LinearSpec>(node.operation) ||
                         std::holds_alternative<Conv2dSpec>(node.operation);
    return product && !node.batch_norm && node.activation.kind == Activation::identity;
}

}  // namespace

void fold_batch_norm(Graph& graph, Purpose purpose) {
    if (purpose != Purpose::frozen_outputs) return;
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
        const Node norm = graph.nodes[i];
        const auto* spec = std::get_if<BatchNormSpec>(&norm.operation);
        if (!spec) continue;
        const Operand& x = norm.inputs[0];
        const int producer = graph.producer(x.value);
        if (producer < 0 || graph.consumers(x.value).size() != 1 || graph.is_output(x.value)) continue;
        Node& product = graph.nodes[static_cast<std::size_t>(producer)];
        // Channels are no longer the product's if a Flatten stands between.
        if (!is_plain_product(product) || graph.values[static_cast<std::size_t>(x.value)] != x.shape)
            continue;
        product.batch_norm = {norm.path, spec->eps};
        product.activation = norm.activation;
        product.output = norm.output;
        product.name += " + " + norm.name;
        graph.nodes.erase(graph.nodes.begin() + static_cast<std::ptrdiff_t>(i--));
    }
}

}  // namespace ranvier
