// Layer specifications lowered to a graph.
#include <stdexcept>

#include "graph.h"
#include "ops/shapes.h"

namespace ranvier {
namespace {

[[noreturn]] void refuse(const std::string& path, const LayerSpec& layer, const std::string& why) {
    throw std::invalid_argument("layer " + path + " (" + layer_name(layer) + "): " + why);
}

class Lowering {
public:
    Lowering(Graph& graph, bool training) : graph_(graph), training_(training) {}

    // The output of layers one behind the other; `shapes`, if given, receives the shape after each.
    Operand lower_all(const std::vector<LayerSpec>& layers, const std::string& prefix, Operand x,
                      std::vector<Shape>* shapes = nullptr) {
        for (std::size_t i = 0; i < layers.size(); ++i) {
            path_ = prefix + std::to_string(i);
            layer_ = &layers[i];
            x = std::visit([&](const auto& spec) { return lower_one(spec, x); },
                           static_cast<const LayerSpec::variant&>(layers[i]));
            ++number_;
            if (shapes) shapes->push_back(x.shape);
        }
        return x;
    }

    Operand add_node(const Operation& operation, const std::string& name, const std::string& path,
                     const std::vector<Operand>& inputs, const Shape& shape) {
        Node node{operation, inputs, graph_.add_value(shape), path, name,
                  number_,   {},     {Activation::identity}};
        graph_.nodes.push_back(node);
        return {node.output, shape};
    }

private:
    // What most layers are: a node.
    template <class Spec>
    Operand lower_one(const Spec& spec, const Operand& x) {
        Shape shape;
        try {
            shape = infer_shape(spec, {x.shape});
        } catch (const std::invalid_argument& error) {
            refuse(path_, *layer_, error.what());
        }
        if (!training_ && is_nothing_in_evaluation(spec)) return x;
        return add_node(spec, layer_name(*layer_), path_, {x}, shape);
    }
    Operand lower_one(const FlattenSpec&, const Operand& x) { return {x.value, {element_count(x.shape)}}; }
    Operand lower_one(const ResidualSpec& spec, const Operand& x) {
        const std::string path = path_;
        const LayerSpec* layer = layer_;
        const Operand main = lower_all(spec.layers, path + ".layers.", x);
        const Operand shortcut = lower_all(spec.shortcut, path + ".shortcut.", x);
        return join(AddSpec{}, path, *layer, {main, shortcut});
    }
    Operand lower_one(const ParallelSpec& spec, const Operand& x) {
        const std::string path = path_;
        const LayerSpec* layer = layer_;
        std::vector<Operand> outputs;
        for (std::size_t i = 0; i < spec.branches.size(); ++i)
            outputs.push_back(lower_all(spec.branches[i], path + ".branches." + std::to_string(i) + ".", x));
        return join(ConcatSpec{}, path, *layer, outputs);
    }

    Operand lower_one(const RecurrentSpec& spec, Operand x) {
        for (index_t k = 0; k < spec.num_layers; ++k) {
            const bool last = k + 1 == spec.num_layers;
            x = lower_one(RecurrentLayerSpec{spec.cell, k ? spec.hidden_size : spec.input_size,
                                             spec.hidden_size, k, spec.return_sequences || !last},
                          x);
            graph_.nodes.back().parameters = "_l" + std::to_string(k);
            if (spec.num_layers > 1) graph_.nodes.back().name += " l" + std::to_string(k);
        }
        return x;
    }

    template <class Spec>
    Operand join(const Spec& spec, const std::string& path, const LayerSpec& layer,
                 const std::vector<Operand>& inputs) {
        std::vector<Shape> shapes;
        for (const Operand& input : inputs) shapes.push_back(input.shape);
        try {
            return add_node(spec, layer_name(layer), path, inputs, infer_shape(spec, shapes));
        } catch (const std::invalid_argument& error) {
            refuse(path, layer, error.what());
        }
    }

    Graph& graph_;
    bool training_;
    std::uint64_t number_ = 0;
    std::string path_;  // of the layer at hand
    const LayerSpec* layer_ = nullptr;
};

}  // namespace

Lowered lower(const std::vector<LayerSpec>& layers, const Shape& sample, bool training) {
    for (const index_t size : sample)
        if (size < 0)
            throw std::invalid_argument("input_shape: expected sizes of at least 0, got " +
                                        shape_text(sample));
    Lowered result;
    Graph& graph = result.graph;
    graph.inputs = {graph.add_value(sample)};
    Lowering lowering(graph, training);
    Operand output = lowering.lower_all(layers, "", {graph.inputs[0], sample}, &result.shapes);
    // An output is computed, be it by a copy.
    if (graph.nodes.empty())
        output =
            lowering.add_node(ActivationSpec{Activation::identity}, "Identity", "", {output}, output.shape);
    graph.outputs = {output};
    return result;
}

}  // namespace ranvier
