// Layer specifications lowered to a graph.
#include <stdexcept>

#include "graph.h"
#include "ops/shapes.h"
#include "ranvier/sizes.h"

namespace ranvier {
namespace {

[[noreturn]] void refuse(const std::string& path, const LayerSpec& layer, const std::string& why) {
    throw std::invalid_argument("layer " + path + (path.empty() ? "(" : " (") + layer_name(layer) +
                                "): " + why);
}

class Lowering {
public:
    Lowering(Graph& graph, bool training) : graph_(graph), training_(training) {}

    // The output of layers one behind the other; `shapes`, if given, receives the shape after each.
    Operand lower_all(const std::vector<LayerSpec>& layers, const std::string& prefix, Operand x,
                      std::vector<Shape>* shapes = nullptr) {
        for (std::size_t i = 0; i < layers.size(); ++i) {
            x = lower_layer(layers[i], prefix + std::to_string(i), {x});
            if (shapes) shapes->push_back(x.shape);
        }
        return x;
    }

    // The output of layers that are connected in some other way, given a sample's row.
    Operand lower_wired(const std::vector<LayerSpec>& layers, const Wiring& wiring, const Operand& row,
                        std::vector<Shape>& shapes) {
        const std::vector<Operand> inputs = inputs_of(row, wiring);
        std::vector<Operand> of_layers;
        const auto operands_at = [&](const std::vector<int>& sources) {
            std::vector<Operand> all;
            for (const int source : sources)
                all.push_back(source < 0 ? inputs.at(static_cast<std::size_t>(-1 - source))
                                         : of_layers.at(static_cast<std::size_t>(source)));
            return all;
        };
        for (std::size_t i = 0; i < layers.size(); ++i) {
            of_layers.push_back(lower_layer(layers[i], std::to_string(i), operands_at(wiring.sources.at(i))));
            shapes.push_back(of_layers.back().shape);
        }
        std::vector<Operand> outputs = operands_at(wiring.outputs);
        if (outputs.size() == 1) return outputs[0];
        index_t size = 0;
        for (Operand& output : outputs) {
            output.shape = {element_count(output.shape)};
            size = checked_sum(size, output.shape[0], "the outputs");
        }
        return add_node(ConcatSpec{}, "Concat", "outputs", outputs, {size});
    }

    Operand lower_layer(const LayerSpec& layer, const std::string& path, const std::vector<Operand>& inputs) {
        path_ = path;
        layer_ = &layer;
        const auto lowered = [&]() -> Operand {
            const auto* add = std::get_if<AddSpec>(&layer);
            const auto* concat = std::get_if<ConcatSpec>(&layer);
            if ((add || concat) && inputs.size() < 2)
                refuse(path, layer, "expected at least two inputs, got " + std::to_string(inputs.size()));
            if (add) return join(*add, path, layer, inputs);
            if (concat) return join(*concat, path, layer, inputs);
            if (inputs.size() != 1)
                refuse(path, layer, "expected one input, got " + std::to_string(inputs.size()));
            return std::visit([&](const auto& spec) { return lower_one(spec, inputs[0]); },
                              static_cast<const LayerSpec::variant&>(layer));
        };
        Operand y = lowered();
        ++number_;
        return y;
    }

    Operand add_node(const Operation& operation, const std::string& name, const std::string& path,
                     const std::vector<Operand>& inputs, const Shape& shape) {
        Node node{operation, inputs, graph_.add_value(shape), path, name,
                  number_,   {},     {Activation::identity}};
        graph_.nodes.push_back(node);
        return {node.output, shape};
    }

private:
    // The parts of a row.
    std::vector<Operand> inputs_of(const Operand& row, const Wiring& wiring) {
        index_t size = 0;
        for (const Shape& shape : wiring.inputs) size = checked_sum(size, element_count(shape), "the inputs");
        const Shape expected = wiring.inputs.size() == 1 ? wiring.inputs[0] : Shape{size};
        if (row.shape != expected)
            throw std::invalid_argument("x: expected samples of shape " + shape_text(expected) + ", got " +
                                        shape_text(row.shape));
        if (wiring.inputs.size() == 1) return {row};
        std::vector<Operand> inputs;
        index_t begin = 0;
        for (const Shape& shape : wiring.inputs) {
            inputs.push_back(add_node(SliceSpec{begin}, "Input", "inputs", {row}, shape));
            begin += element_count(shape);
        }
        return inputs;
    }

    template <class Spec>
    Shape shape_behind(const Spec& spec, const Shape& input) const {
        try {
            return infer_shape(spec, {input});
        } catch (const std::invalid_argument& error) {
            refuse(path_, *layer_, error.what());
        }
    }

    // What most layers are: a node.
    template <class Spec>
    Operand lower_one(const Spec& spec, const Operand& x) {
        const Shape shape = shape_behind(spec, x.shape);
        if (!training_ && is_nothing_in_evaluation(spec)) return x;
        return add_node(spec, layer_name(*layer_), path_, {x}, shape);
    }
    Operand lower_one(const Conv2dSpec& spec, const Operand& x) { return lower_window(spec, x); }
    Operand lower_one(const Pool2dSpec& spec, const Operand& x) { return lower_window(spec, x); }
    Operand lower_one(const AdaptivePool2dSpec& spec, const Operand& x) { return lower_window(spec, x); }
    // A node of images, which may be lines.
    template <class Spec>
    Operand lower_window(const Spec& spec, Operand x) {
        if (spec.axes == 2) return lower_one<Spec>(spec, x);
        if (x.shape.size() != 2)
            refuse(path_, *layer_,
                   "expected samples of shape (channels, length), got " + shape_text(x.shape));
        x.shape.insert(x.shape.begin() + 1, 1);
        Shape shape = shape_behind(spec, x.shape);
        shape.erase(shape.begin() + 1);
        return add_node(spec, layer_name(*layer_), path_, {x}, shape);
    }
    // The adaptive pooling to one number, without the axes that it leaves.
    Operand lower_one(const GlobalAvgPool2dSpec&, const Operand& x) {
        const AdaptivePool2dSpec mean{false, {1, 1}};
        return add_node(mean, layer_name(*layer_), path_, {x}, {shape_behind(mean, x.shape)[0]});
    }
    Operand lower_one(const IdentitySpec&, const Operand& x) { return x; }
    // They are joined where the layer is lowered.
    Operand lower_one(const AddSpec&, const Operand& x) { return x; }
    Operand lower_one(const ConcatSpec&, const Operand& x) { return x; }
    Operand lower_one(const UnflattenSpec& spec, const Operand& x) {
        return {x.value, shape_behind(spec, x.shape)};
    }
    Operand lower_one(const FlattenSpec&, const Operand& x) { return {x.value, {element_count(x.shape)}}; }
    Operand lower_one(const ResidualSpec& spec, const Operand& x) {
        const std::string path = path_;
        const LayerSpec* layer = layer_;
        const Operand main = lower_all(spec.layers, within(path, "layers."), x);
        const Operand shortcut = lower_all(spec.shortcut, within(path, "shortcut."), x);
        return join(AddSpec{}, path, *layer, {main, shortcut});
    }
    Operand lower_one(const ParallelSpec& spec, const Operand& x) {
        const std::string path = path_;
        const LayerSpec* layer = layer_;
        std::vector<Operand> outputs;
        for (std::size_t i = 0; i < spec.branches.size(); ++i)
            outputs.push_back(
                lower_all(spec.branches[i], within(path, "branches." + std::to_string(i) + "."), x));
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

    static std::string within(const std::string& path, const std::string& branch) {
        return path.empty() ? branch : path + "." + branch;
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

Shape infer_shape(const UnflattenSpec& spec, const InputShapes& inputs) {
    Shape shape = inputs[0];
    if (spec.axis < 0 || spec.axis >= static_cast<index_t>(shape.size()))
        throw std::invalid_argument("dim: expected an axis of samples of shape " + shape_text(shape) +
                                    ", counted with the batch, got " + std::to_string(spec.axis + 1));
    const auto at = shape.begin() + static_cast<std::ptrdiff_t>(spec.axis);
    const index_t size = *at;
    Shape sizes = spec.sizes;
    index_t known = 1;
    for (const index_t one : sizes) known *= one < 0 ? 1 : one;
    for (index_t& one : sizes)
        if (one < 0) one = known > 0 ? size / known : 0;
    if (element_count(sizes) != size)
        throw std::invalid_argument("unflattened_size: expected sizes that make " + std::to_string(size) +
                                    " of samples of shape " + shape_text(inputs[0]) + ", got " +
                                    shape_text(spec.sizes));
    shape.insert(shape.erase(at), sizes.begin(), sizes.end());
    return shape;
}

Shape output_shape(const LayerSpec& layer, const std::vector<Shape>& inputs) {
    Graph graph;
    std::vector<Operand> operands;
    for (const Shape& shape : inputs) operands.push_back({graph.add_value(shape), shape});
    return Lowering(graph, true).lower_layer(layer, "", operands).shape;
}

Lowered lower(const std::vector<LayerSpec>& layers, const Shape& sample, bool training,
              const Wiring& wiring) {
    for (const index_t size : sample)
        if (size < 0)
            throw std::invalid_argument("input_shape: expected sizes of at least 0, got " +
                                        shape_text(sample));
    Lowered result;
    Graph& graph = result.graph;
    graph.inputs = {graph.add_value(sample)};
    Lowering lowering(graph, training);
    const Operand row{graph.inputs[0], sample};
    Operand output = wiring.is_list() ? lowering.lower_all(layers, "", row, &result.shapes)
                                      : lowering.lower_wired(layers, wiring, row, result.shapes);
    // An output is computed, be it by a copy.
    if (graph.nodes.empty())
        output =
            lowering.add_node(ActivationSpec{Activation::identity}, "Identity", "", {output}, output.shape);
    graph.outputs = {output};
    return result;
}

}  // namespace ranvier
