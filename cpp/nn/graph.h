// A network as a graph: values, and nodes that compute one value from others. Plain data, which passes
// rewrite.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ranvier/conv2d.h"
#include "ranvier/layers.h"

namespace ranvier {

// The elements of a sample from `begin` on, as many as the output has.
struct SliceSpec {
    index_t begin;
};

// One of the layers of a RecurrentSpec.
struct RecurrentLayerSpec {
    RecurrentCell cell;
    index_t input_size, hidden_size;
    index_t number;  // from 0, the lowest
    bool return_sequences;
};

// What a node computes. Layers that hold others are lowered to nodes of these kinds, and those that give a
// sample another shape to none.
struct Operation
    : std::variant<LinearSpec, Conv2dSpec, Pool2dSpec, AdaptivePool2dSpec, DropoutSpec, GaussianNoiseSpec,
                   RandomShiftSpec, RandomRotationSpec, RandomHorizontalFlipSpec, RandomCropSpec,
                   ActivationSpec, PReLUSpec, RReLUSpec, MaxoutSpec, SoftmaxSpec, BatchNormSpec,
                   LayerNormSpec, StandardizeSpec, UpsampleSpec, ConvTranspose2dSpec, GroupNormSpec,
                   EmbeddingSpec, RecurrentLayerSpec, CustomSpec, AddSpec, ConcatSpec, SliceSpec> {
    using variant::variant;
};

// A value as a node reads it. The shape is that of a sample; Flatten makes it another one than the value's
// own, and convolutions and poolings of one axis read (channels, length) as (channels, 1, length).
struct Operand {
    int value;
    Shape shape;
    MemoryFormat format = MemoryFormat::channels_first;  // of images
};

// A batch normalization by running statistics that a product has taken over.
struct FoldedBatchNorm {
    std::string path;
    double eps;
};

struct Node {
    Operation operation;
    std::vector<Operand> inputs;
    int output;
    std::string path;          // of the layer: "3", or "3.layers.0" within a branch
    std::string name;          // "Conv2d", or with what it has taken over "Conv2d + ReLU"
    std::uint64_t number = 0;  // of the layer, which numbers its stream of random numbers
    // Post-ops, in this order.
    std::optional<FoldedBatchNorm> batch_norm;
    ActivationSpec activation{Activation::identity};
    MemoryFormat format = MemoryFormat::channels_first;  // of the output
    std::string parameters = {};  // how the names of its parameters end, if the layer is several nodes
};

struct Graph {
    std::vector<Shape> values;  // the shape of a sample of each, by id
    std::vector<Node> nodes;    // each behind those that compute its inputs
    std::vector<int> inputs;    // values that are given
    std::vector<Operand> outputs;

    int add_value(const Shape& shape);
    // The node that computes a value, -1 if it is given.
    int producer(int value) const;
    // The nodes that read a value, each as often as it does.
    std::vector<int> consumers(int value) const;
    bool is_output(int value) const;
};

// One node a line, for tests and messages: "v2 = 0 Conv2d + ReLU (v0)", and ", channels last" if that is how
// the output lies.
std::string text_of(const Graph& graph);

// What a network is lowered to.
struct Lowered {
    Graph graph;
    std::vector<Shape> shapes;  // of a sample after each layer
};

// The graph for samples of that shape, of training or of evaluation (where dropout and its like are nothing).
// Throws std::invalid_argument, naming the layer by path and kind, if a layer does not fit its input.
Lowered lower(const std::vector<LayerSpec>& layers, const Shape& sample, bool training,
              const Wiring& wiring = {});

}  // namespace ranvier
