// Graphs: what layers are lowered to, and what each pass makes of that, or leaves alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../cpp/nn/graph.h"
#include "../../cpp/nn/passes/passes.h"
#include "../../cpp/nn/passes/plan_memory.h"
#include "../../cpp/nn/passes/segments.h"

namespace {

using namespace ranvier;

constexpr Purpose kPurposes[] = {Purpose::gradients, Purpose::live_outputs, Purpose::frozen_outputs};

const LayerSpec relu = ActivationSpec{Activation::relu}, gelu = ActivationSpec{Activation::gelu},
                tanh_layer = ActivationSpec{Activation::tanh};
const LayerSpec norm = BatchNormSpec{2, 1e-3, 0.1, true, 3};

LayerSpec conv(index_t in, index_t out) {
    return Conv2dSpec{in, out, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, true};
}
LayerSpec linear(index_t in, index_t out) { return LinearSpec{in, out, true}; }
LayerSpec pool(bool maximum) { return Pool2dSpec{maximum, {3, 3}, {1, 1}, {1, 1}}; }
LayerSpec residual(const std::vector<LayerSpec>& layers, const std::vector<LayerSpec>& shortcut = {}) {
    ResidualSpec spec;
    spec.layers = layers;
    spec.shortcut = shortcut;
    return spec;
}
LayerSpec parallel(const std::vector<std::vector<LayerSpec>>& branches) {
    ParallelSpec spec;
    spec.branches = branches;
    return spec;
}

// Of samples that are images of 4 x 4 pixels in 2 channels, in training.
Graph lowered(const std::vector<LayerSpec>& layers) { return lower(layers, {2, 4, 4}, true).graph; }

using PassFunction = void (*)(Graph&, Purpose);

std::string text_after(PassFunction pass, Graph graph, Purpose purpose) {
    pass(graph, purpose);
    return text_of(graph);
}
void expect_left_alone(PassFunction pass, const Graph& graph, Purpose purpose) {
    EXPECT_EQ(text_after(pass, graph, purpose), text_of(graph));
}
// With the output of a node among the graph's.
Graph with_output(Graph graph, std::size_t node) {
    const int value = graph.nodes[node].output;
    graph.outputs.push_back({value, graph.values[static_cast<std::size_t>(value)]});
    return graph;
}

// --- lowering ----------------------------------------------------------------------------------------------

TEST(Lowering, MakesANodeOfALayer) {
    const Lowered result = lower({conv(2, 3), relu, pool(true)}, {2, 4, 4}, true);
    EXPECT_EQ(text_of(result.graph),
              "v1 = 0 Conv2d (v0)\n"
              "v2 = 1 ReLU (v1)\n"
              "v3 = 2 MaxPool2d (v2)\n");
    EXPECT_EQ(result.graph.inputs, std::vector<int>{0});
    ASSERT_EQ(result.graph.outputs.size(), 1u);
    EXPECT_EQ(result.graph.outputs[0].value, 3);
    EXPECT_EQ(result.graph.values, (std::vector<Shape>{{2, 4, 4}, {3, 4, 4}, {3, 4, 4}, {3, 4, 4}}));
    EXPECT_EQ(result.shapes, (std::vector<Shape>{{3, 4, 4}, {3, 4, 4}, {3, 4, 4}}));
}

TEST(Lowering, MakesASumOfAResidual) {
    EXPECT_EQ(text_of(lowered({residual({conv(2, 2), relu}), tanh_layer})),
              "v1 = 0.layers.0 Conv2d (v0)\n"
              "v2 = 0.layers.1 ReLU (v1)\n"
              "v3 = 0 Residual (v2, v0)\n"
              "v4 = 1 Tanh (v3)\n");
    const Graph graph = lowered({residual({conv(2, 3)}, {residual({conv(2, 2)}), conv(2, 3)})});
    EXPECT_EQ(text_of(graph),
              "v1 = 0.layers.0 Conv2d (v0)\n"
              "v2 = 0.shortcut.0.layers.0 Conv2d (v0)\n"
              "v3 = 0.shortcut.0 Residual (v2, v0)\n"
              "v4 = 0.shortcut.1 Conv2d (v3)\n"
              "v5 = 0 Residual (v1, v4)\n");
    EXPECT_TRUE(std::holds_alternative<AddSpec>(graph.nodes.back().operation));
}

TEST(Lowering, MakesAConcatenationOfBranches) {
    const Graph graph = lowered({parallel({{conv(2, 3)}, {}, {relu, conv(2, 4)}})});
    EXPECT_EQ(text_of(graph),
              "v1 = 0.branches.0.0 Conv2d (v0)\n"
              "v2 = 0.branches.2.0 ReLU (v0)\n"
              "v3 = 0.branches.2.1 Conv2d (v2)\n"
              "v4 = 0 Parallel (v1, v0, v3)\n");
    EXPECT_TRUE(std::holds_alternative<ConcatSpec>(graph.nodes.back().operation));
    EXPECT_EQ(graph.outputs[0].shape, (Shape{9, 4, 4}));
}

TEST(Lowering, CutsARowIntoInputsAndJoinsOutputs) {
    const Wiring wiring = {{{2, 4, 4}, {3}}, {{-1}, {0}, {1, -2}, {2}}, {3, 1}};
    const Lowered result = lower({conv(2, 1), FlattenSpec{}, ConcatSpec{}, relu}, {35}, true, wiring);
    EXPECT_EQ(text_of(result.graph),
              "v1 = inputs Input (v0)\n"
              "v2 = inputs Input (v0)\n"
              "v3 = 0 Conv2d (v1)\n"
              "v4 = 2 Concat (v3, v2)\n"
              "v5 = 3 ReLU (v4)\n"
              "v6 = outputs Concat (v5, v3)\n");
    EXPECT_EQ(std::get<SliceSpec>(result.graph.nodes[1].operation).begin, 32);
    EXPECT_EQ(result.graph.outputs[0].shape, (Shape{35}));
    EXPECT_EQ(result.shapes, (std::vector<Shape>{{1, 4, 4}, {16}, {19}, {19}}));
    EXPECT_THROW(lower({relu}, {34}, true, {{{2, 4, 4}, {3}}, {{-1}}, {0}}), std::invalid_argument);
    for (const int source : {-3, 0, 1})
        EXPECT_THROW(lower({relu}, {2}, true, {{{1}, {1}}, {{source}}, {0}}), std::out_of_range);
}

TEST(Lowering, RefusesTooFewOrTooManyInputs) {
    EXPECT_THROW(output_shape(ConcatSpec{}, {{3}}), std::invalid_argument);
    EXPECT_THROW(output_shape(AddSpec{}, {{3}}), std::invalid_argument);
    EXPECT_THROW(output_shape(AddSpec{}, {{3}, {4}}), std::invalid_argument);
    EXPECT_THROW(output_shape(relu, {{3}, {3}}), std::invalid_argument);
    EXPECT_EQ(output_shape(ConcatSpec{}, {{3}, {4}, {3}}), (Shape{10}));
    EXPECT_THROW(lower({AddSpec{}}, {3}, true), std::invalid_argument);
}

TEST(Lowering, MakesAnotherShapeOfFlatten) {
    const Lowered result = lower({relu, FlattenSpec{}, linear(32, 5)}, {2, 4, 4}, true);
    EXPECT_EQ(text_of(result.graph),
              "v1 = 0 ReLU (v0)\n"
              "v2 = 2 Linear (v1)\n");
    EXPECT_EQ(result.graph.values[1], (Shape{2, 4, 4}));
    EXPECT_EQ(result.graph.nodes[1].inputs[0].shape, Shape{32});
    EXPECT_EQ(result.shapes, (std::vector<Shape>{{2, 4, 4}, {32}, {5}}));
}

TEST(Lowering, LeavesOutWhatIsNothingInEvaluation) {
    const std::vector<LayerSpec> layers = {DropoutSpec{0.5}, GaussianNoiseSpec{1},
                                           RandomHorizontalFlipSpec{0.5}, relu, DropoutSpec{0.1}};
    EXPECT_EQ(lower(layers, {2, 4, 4}, true).graph.nodes.size(), 5u);
    const Lowered evaluation = lower(layers, {2, 4, 4}, false);
    EXPECT_EQ(text_of(evaluation.graph), "v1 = 3 ReLU (v0)\n");
    EXPECT_EQ(evaluation.shapes.size(), 5u);
    // A random crop makes images of another size: it stays.
    const Lowered crop = lower({RandomCropSpec{{3, 3}, {0, 0}}}, {2, 4, 4}, false);
    EXPECT_EQ(crop.graph.nodes.size(), 1u);
}

TEST(Lowering, CopiesIfThereIsNothingToDo) {
    for (const std::vector<LayerSpec>& layers :
         {std::vector<LayerSpec>{}, {FlattenSpec{}}, {DropoutSpec{0.5}, FlattenSpec{}}}) {
        const Graph graph = lower(layers, {2, 4, 4}, false).graph;
        ASSERT_EQ(graph.nodes.size(), 1u);
        EXPECT_EQ(graph.nodes[0].name, "Identity");
        EXPECT_EQ(graph.outputs[0].value, 1);
        EXPECT_EQ(graph.outputs[0].shape, layers.empty() ? (Shape{2, 4, 4}) : (Shape{32}));
    }
}

TEST(Lowering, NumbersTheStreamsOfRandomLayers) {
    const Graph graph =
        lowered({DropoutSpec{0.5}, residual({DropoutSpec{0.5}, DropoutSpec{0.5}}, {DropoutSpec{0.5}}),
                 parallel({{DropoutSpec{0.5}}, {DropoutSpec{0.5}}}), DropoutSpec{0.5}});
    std::set<std::uint64_t> numbers;
    for (const Node& node : graph.nodes) numbers.insert(node.number);
    EXPECT_EQ(numbers.size(), graph.nodes.size());
}

void expect_refused(const std::vector<LayerSpec>& layers, const std::string& beginning) {
    try {
        lowered(layers);
        FAIL() << "no error";
    } catch (const std::invalid_argument& error) {
        EXPECT_EQ(std::string(error.what()).rfind(beginning, 0), 0u) << error.what();
    }
}

TEST(Lowering, NamesTheLayerThatDoesNotFit) {
    expect_refused({relu, linear(32, 2)}, "layer 1 (Linear): ");
    expect_refused({residual({relu, conv(3, 2)})}, "layer 0.layers.1 (Conv2d): ");
    expect_refused({residual({}, {residual({}), conv(3, 2)})}, "layer 0.shortcut.1 (Conv2d): ");
    expect_refused({parallel({{relu}, {conv(3, 2)}})}, "layer 0.branches.1.0 (Conv2d): ");
    expect_refused({relu, residual({conv(2, 3)})}, "layer 1 (Residual): ");
    expect_refused({parallel({{relu}, {FlattenSpec{}}})}, "layer 0 (Parallel): ");
}

// --- ReLU and max pooling ----------------------------------------------------------------------------------

TEST(MoveReluBehindMaxPool, GoesIntoThePooling) {
    for (Purpose purpose : kPurposes) {
        Graph graph = lowered({conv(2, 2), relu, pool(true), tanh_layer});
        move_relu_behind_max_pool(graph, purpose);
        EXPECT_EQ(text_of(graph),
                  "v1 = 0 Conv2d (v0)\n"
                  "v3 = 1 ReLU + MaxPool2d (v1)\n"
                  "v4 = 3 Tanh (v3)\n");
        EXPECT_EQ(graph.nodes[1].activation.kind, Activation::relu);
    }
}

TEST(MoveReluBehindMaxPool, LeavesOthersAlone) {
    const std::vector<Graph> graphs = {
        lowered({conv(2, 2), tanh_layer, pool(true)}),
        lowered({conv(2, 2), ActivationSpec{Activation::leaky_relu, 0.1}, pool(true)}),
        lowered({conv(2, 2), relu, pool(false)}),
        lowered({conv(2, 2), pool(true), relu}),
        // Two readers; the same reader twice, by way of a branch; and one beside the caller.
        lowered({relu, residual({pool(true)})}),
        lowered({relu, parallel({{pool(true)}, {pool(true)}})}),
        with_output(lowered({conv(2, 2), relu, pool(true)}), 1),
    };
    for (const Graph& graph : graphs)
        for (Purpose purpose : kPurposes) expect_left_alone(&move_relu_behind_max_pool, graph, purpose);
}

// --- batch normalization and products ----------------------------------------------------------------------

TEST(FoldBatchNorm, GoesIntoTheProduct) {
    Graph graph = lowered({conv(2, 2), norm, relu});
    fold_batch_norm(graph, Purpose::frozen_outputs);
    EXPECT_EQ(text_of(graph),
              "v2 = 0 Conv2d + BatchNorm2d (v0)\n"
              "v3 = 2 ReLU (v2)\n");
    ASSERT_TRUE(graph.nodes[0].batch_norm);
    EXPECT_EQ(graph.nodes[0].batch_norm->path, "1");
    EXPECT_EQ(graph.nodes[0].batch_norm->eps, 1e-3);
    EXPECT_EQ(text_after(&fold_batch_norm,
                         lowered({FlattenSpec{}, linear(32, 5), BatchNormSpec{5, 1e-3, 0.1, false, 1}}),
                         Purpose::frozen_outputs),
              "v2 = 1 Linear + BatchNorm1d (v0)\n");
}

TEST(FoldBatchNorm, BringsItsActivationAlong) {
    Graph graph = lowered({conv(2, 2), norm, relu});
    fuse_activation(graph, Purpose::frozen_outputs);
    fold_batch_norm(graph, Purpose::frozen_outputs);
    EXPECT_EQ(text_of(graph), "v3 = 0 Conv2d + BatchNorm2d + ReLU (v0)\n");
    EXPECT_EQ(graph.nodes[0].activation.kind, Activation::relu);
}

TEST(FoldBatchNorm, IsForFrozenOutputsAlone) {
    for (Purpose purpose : {Purpose::gradients, Purpose::live_outputs})
        expect_left_alone(&fold_batch_norm, lowered({conv(2, 2), norm}), purpose);
}

TEST(FoldBatchNorm, LeavesOthersAlone) {
    Graph activated = lowered({conv(2, 2), relu, norm});
    fuse_activation(activated, Purpose::frozen_outputs);
    const std::vector<Graph> graphs = {
        lowered({norm}),
        lowered({pool(true), norm}),
        lowered({conv(2, 2), relu, norm}),
        activated,
        // Another reader; and the caller.
        lowered({conv(2, 2), residual({norm})}),
        with_output(lowered({conv(2, 2), norm}), 0),
        // After Flatten each pixel is a feature.
        lowered({conv(2, 2), FlattenSpec{}, BatchNormSpec{32, 1e-3, 0.1, true, 1}}),
    };
    for (const Graph& graph : graphs) expect_left_alone(&fold_batch_norm, graph, Purpose::frozen_outputs);
    // A product takes one.
    EXPECT_EQ(text_after(&fold_batch_norm, lowered({conv(2, 2), norm, norm}), Purpose::frozen_outputs),
              "v2 = 0 Conv2d + BatchNorm2d (v0)\n"
              "v3 = 2 BatchNorm2d (v2)\n");
}

// --- activations -------------------------------------------------------------------------------------------

TEST(FuseActivation, GoesIntoProductsNormalizationsAndSums) {
    for (Purpose purpose : kPurposes)
        EXPECT_EQ(text_after(&fuse_activation,
                             lowered({conv(2, 2), relu, norm, tanh_layer, residual({pool(true)}), relu,
                                      FlattenSpec{}, linear(32, 3), ActivationSpec{Activation::sigmoid}}),
                             purpose),
                  "v2 = 0 Conv2d + ReLU (v0)\n"
                  "v4 = 2 BatchNorm2d + Tanh (v2)\n"
                  "v5 = 4.layers.0 MaxPool2d (v4)\n"
                  "v7 = 4 Residual + ReLU (v5, v4)\n"
                  "v9 = 7 Linear + Sigmoid (v7)\n");
}

TEST(FuseActivation, KeepsItsParameter) {
    Graph graph = lowered({conv(2, 2), ActivationSpec{Activation::leaky_relu, 0.3}});
    fuse_activation(graph, Purpose::gradients);
    ASSERT_EQ(graph.nodes.size(), 1u);
    EXPECT_EQ(graph.nodes[0].activation.kind, Activation::leaky_relu);
    EXPECT_EQ(graph.nodes[0].activation.parameter, 0.3);
}

TEST(FuseActivation, WantsADerivativeByTheOutputIfGradientsFollow) {
    for (const ActivationSpec& f :
         {ActivationSpec{Activation::gelu}, ActivationSpec{Activation::leaky_relu, -0.1},
          ActivationSpec{Activation::elu, -1.0}}) {
        const Graph graph = lowered({conv(2, 2), f});
        expect_left_alone(&fuse_activation, graph, Purpose::gradients);
        for (Purpose purpose : {Purpose::live_outputs, Purpose::frozen_outputs})
            EXPECT_EQ(text_after(&fuse_activation, graph, purpose),
                      "v2 = 0 Conv2d + " + layer_name(f) + " (v0)\n");
    }
}

TEST(FuseActivation, LeavesOthersAlone) {
    const std::vector<Graph> graphs = {
        lowered({relu}),
        lowered({pool(true), relu}),
        lowered({parallel({{conv(2, 2)}, {conv(2, 2)}}), relu}),
        lowered({DropoutSpec{0.5}, relu}),
        // Another reader; and the caller.
        lowered({conv(2, 2), residual({relu})}),
        with_output(lowered({conv(2, 2), relu}), 0),
    };
    for (const Graph& graph : graphs)
        for (Purpose purpose : kPurposes) expect_left_alone(&fuse_activation, graph, purpose);
    EXPECT_EQ(text_after(&fuse_activation, lowered({conv(2, 2), relu, tanh_layer}), Purpose::gradients),
              "v2 = 0 Conv2d + ReLU (v0)\n"
              "v3 = 2 Tanh (v2)\n");
}

// --- choose_memory_formats ---------------------------------------------------------------------------------

LayerSpec wide_conv(index_t in, index_t out, index_t kernel, index_t stride, index_t groups = 1) {
    const index_t padding = kernel / 2;
    return Conv2dSpec{in, out, {kernel, kernel}, {stride, stride}, {padding, padding}, {1, 1}, groups, false};
}
std::string text_with_formats(const std::vector<LayerSpec>& layers) {
    return text_after(&choose_memory_formats, lower(layers, {16, 8, 8}, false).graph,
                      Purpose::frozen_outputs);
}

TEST(ChooseMemoryFormats, TakesWhatLiesBetweenConvolutions) {
    EXPECT_EQ(text_with_formats({wide_conv(16, 64, 1, 1), relu, wide_conv(64, 64, 3, 2, 64),
                                 wide_conv(64, 16, 1, 1), GlobalAvgPool2dSpec{}, linear(16, 3)}),
              "v1 = 0 Conv2d (v0), channels last\n"
              "v2 = 1 ReLU (v1), channels last\n"
              "v3 = 2 Conv2d (v2), channels last\n"
              "v4 = 3 Conv2d (v3), channels last\n"
              "v5 = 4 GlobalAvgPool2d (v4)\n"
              "v6 = 5 Linear (v5)\n");
    EXPECT_EQ(text_with_formats({wide_conv(16, 64, 1, 1), wide_conv(64, 16, 1, 1),
                                 AdaptivePool2dSpec{false, {1, 1}}, FlattenSpec{}, linear(16, 3)}),
              "v1 = 0 Conv2d (v0), channels last\n"
              "v2 = 1 Conv2d (v1), channels last\n"
              "v3 = 2 AdaptiveAvgPool2d (v2)\n"
              "v4 = 4 Linear (v3)\n");
}

TEST(ChooseMemoryFormats, TakesASumWithAllItsOperandsOrNone) {
    const LayerSpec point = wide_conv(16, 16, 1, 1);
    EXPECT_EQ(text_with_formats({point, residual({point, relu, point}), point}),
              "v1 = 0 Conv2d (v0), channels last\n"
              "v2 = 1.layers.0 Conv2d (v1), channels last\n"
              "v3 = 1.layers.1 ReLU (v2), channels last\n"
              "v4 = 1.layers.2 Conv2d (v3), channels last\n"
              "v5 = 1 Residual (v4, v1), channels last\n"
              "v6 = 2 Conv2d (v5)\n");
    // The shortcut is the given image.
    EXPECT_EQ(text_with_formats({residual({point, relu, point}), point}),
              "v1 = 0.layers.0 Conv2d (v0), channels last\n"
              "v2 = 0.layers.1 ReLU (v1), channels last\n"
              "v3 = 0.layers.2 Conv2d (v2)\n"
              "v4 = 0 Residual (v3, v0)\n"
              "v5 = 1 Conv2d (v4)\n");
}

TEST(ChooseMemoryFormats, TakesADepthwiseConvolutionWithBothSidesOrNone) {
    const LayerSpec depthwise = wide_conv(16, 16, 3, 1, 16), point = wide_conv(16, 16, 1, 1);
    EXPECT_EQ(text_with_formats({depthwise, point, depthwise, point}),
              "v1 = 0 Conv2d (v0)\n"
              "v2 = 1 Conv2d (v1), channels last\n"
              "v3 = 2 Conv2d (v2), channels last\n"
              "v4 = 3 Conv2d (v3)\n");
}

TEST(ChooseMemoryFormats, LeavesWhatOthersReadOrWrite) {
    const LayerSpec point = wide_conv(16, 16, 1, 1);
    for (const std::vector<LayerSpec>& layers : std::vector<std::vector<LayerSpec>>{
             {point, pool(true), point},
             {point, FlattenSpec{}, linear(1024, 3)},
             {point, relu},
             {point, parallel({{point}, {}}), wide_conv(32, 16, 1, 1)},
             {wide_conv(16, 32, 3, 1), wide_conv(32, 16, 3, 1)}})  // Winograd's algorithm
        expect_left_alone(&choose_memory_formats, lower(layers, {16, 8, 8}, false).graph,
                          Purpose::frozen_outputs);
}

TEST(ChooseMemoryFormats, IsForFrozenOutputsAlone) {
    const Graph graph = lower({wide_conv(16, 16, 1, 1), wide_conv(16, 16, 1, 1)}, {16, 8, 8}, false).graph;
    for (Purpose purpose : {Purpose::gradients, Purpose::live_outputs})
        expect_left_alone(&choose_memory_formats, graph, purpose);
    EXPECT_NE(text_after(&choose_memory_formats, graph, Purpose::frozen_outputs), text_of(graph));
}

// --- all passes --------------------------------------------------------------------------------------------

class Passes : public testing::Test {
protected:
    void TearDown() override { set_disabled_passes({}); }

    static std::string optimized(Graph graph, Purpose purpose) {
        optimize(graph, purpose);
        return text_of(graph);
    }
    const Graph network_ = lowered({conv(2, 2), norm, relu, pool(true), FlattenSpec{}, linear(32, 3), gelu});
};

TEST_F(Passes, RunInTheirOrder) {
    EXPECT_EQ(optimized(network_, Purpose::gradients),
              "v1 = 0 Conv2d (v0)\n"
              "v2 = 1 BatchNorm2d (v1)\n"
              "v4 = 2 ReLU + MaxPool2d (v2)\n"
              "v5 = 5 Linear (v4)\n"
              "v6 = 6 GELU (v5)\n");
    EXPECT_EQ(optimized(network_, Purpose::live_outputs),
              "v1 = 0 Conv2d (v0)\n"
              "v2 = 1 BatchNorm2d (v1)\n"
              "v4 = 2 ReLU + MaxPool2d (v2)\n"
              "v6 = 5 Linear + GELU (v4)\n");
    EXPECT_EQ(optimized(network_, Purpose::frozen_outputs),
              "v2 = 0 Conv2d + BatchNorm2d (v0)\n"
              "v4 = 2 ReLU + MaxPool2d (v2)\n"
              "v6 = 5 Linear + GELU (v4)\n");
}

TEST_F(Passes, CanBeDisabled) {
    set_disabled_passes({"move_relu_behind_max_pool"});
    EXPECT_EQ(optimized(network_, Purpose::frozen_outputs),
              "v3 = 0 Conv2d + BatchNorm2d + ReLU (v0)\n"
              "v4 = 3 MaxPool2d (v3)\n"
              "v6 = 5 Linear + GELU (v4)\n");
    // The setting replaces the one before.
    set_disabled_passes({"fold_batch_norm", "fuse_activation"});
    EXPECT_EQ(optimized(network_, Purpose::frozen_outputs),
              "v1 = 0 Conv2d (v0)\n"
              "v2 = 1 BatchNorm2d (v1)\n"
              "v4 = 2 ReLU + MaxPool2d (v2)\n"
              "v5 = 5 Linear (v4)\n"
              "v6 = 6 GELU (v5)\n");
    std::vector<std::string> all;
    for (const Pass& pass : all_passes()) all.push_back(pass.name);
    set_disabled_passes(all);
    for (Purpose purpose : kPurposes) EXPECT_EQ(optimized(network_, purpose), text_of(network_));
}

TEST_F(Passes, NamesThePassThatIsNone) {
    set_disabled_passes({"fold_batch_norm"});
    const std::string before = optimized(network_, Purpose::frozen_outputs);
    try {
        set_disabled_passes({"fuse_activation", "no_such_pass"});
        FAIL() << "no error";
    } catch (const std::invalid_argument& error) {
        EXPECT_STREQ(error.what(), "names: there is no pass 'no_such_pass'");
    }
    EXPECT_EQ(optimized(network_, Purpose::frozen_outputs), before) << "the setting has changed";
}

// --- segments ----------------------------------------------------------------------------------------------

// A graph of values alone: node i computes value i + 1 from those that are named.
Graph of_inputs(const std::vector<std::vector<int>>& inputs) {
    Graph graph;
    graph.inputs = {graph.add_value({1})};
    for (const std::vector<int>& values : inputs) {
        Node node{AddSpec{}, {}, graph.add_value({1}), "", "", 0, {}, {Activation::identity}};
        for (int value : values) node.inputs.push_back({value, {1}});
        graph.nodes.push_back(node);
    }
    return graph;
}
constexpr Sampling kOwn = Sampling::independent, kSums = Sampling::reducing, kWhole = Sampling::whole;

std::vector<int> segments_of_chain(const std::vector<Sampling>& sampling) {
    std::vector<std::vector<int>> inputs;
    for (std::size_t i = 0; i < sampling.size(); ++i) inputs.push_back({static_cast<int>(i)});
    return segments_of(of_inputs(inputs), sampling);
}

TEST(Segments, OfChains) {
    using Numbers = std::vector<int>;
    EXPECT_EQ(segments_of_chain({}), Numbers{});
    EXPECT_EQ(segments_of_chain({kOwn, kOwn, kOwn}), (Numbers{0, 0, 0}));
    EXPECT_EQ(segments_of_chain({kOwn, kSums, kOwn}), (Numbers{0, 2, 2}));
    EXPECT_EQ(segments_of_chain({kSums, kSums}), (Numbers{2, 4}));
    EXPECT_EQ(segments_of_chain({kOwn, kWhole, kOwn}), (Numbers{0, 1, 2}));
    EXPECT_EQ(segments_of_chain({kWhole, kWhole, kOwn, kWhole}), (Numbers{1, 1, 2, 3}));
    // The whole batch's segment takes the sums, and the next one goes on.
    EXPECT_EQ(segments_of_chain({kWhole, kSums, kSums, kWhole}), (Numbers{1, 2, 4, 5}));
}

TEST(Segments, OfBranches) {
    using Numbers = std::vector<int>;
    EXPECT_EQ(segments_of(of_inputs({{0}, {1}, {2, 1}, {3}}), {kOwn, kSums, kOwn, kOwn}),
              (Numbers{0, 2, 2, 2}));
    // A short branch beside a long one; the sum waits for both.
    EXPECT_EQ(segments_of(of_inputs({{0}, {1}, {0}, {3, 2}}), {kSums, kSums, kOwn, kOwn}),
              (Numbers{2, 4, 0, 4}));
    EXPECT_EQ(segments_of(of_inputs({{0}, {0}, {1, 2}}), {kWhole, kOwn, kOwn}), (Numbers{1, 0, 2}));
    EXPECT_EQ(segments_of(of_inputs({{0}, {0}, {2, 1}}), {kWhole, kSums, kOwn}), (Numbers{1, 2, 2}));
}

TEST(Segments, OfAnyGraphGrowAlongItsEdges) {
    std::mt19937 random(1);
    for (int round = 0; round < 500; ++round) {
        std::vector<std::vector<int>> inputs;
        std::vector<Sampling> sampling;
        for (int i = 0; i < 12; ++i) {
            sampling.push_back(random() % 4 == 0 ? kWhole : random() % 3 == 0 ? kSums : kOwn);
            inputs.emplace_back();
            for (unsigned k = 0; k <= random() % 3; ++k)
                inputs.back().push_back(static_cast<int>(random() % (i + 1u)));
            if (sampling.back() == kSums) inputs.back().resize(1);
        }
        const std::vector<int> segments = segments_of(of_inputs(inputs), sampling);
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            EXPECT_EQ(takes_whole_batch(segments[i]), sampling[i] == kWhole);
            for (int value : inputs[i]) {
                const int before = value ? segments[static_cast<std::size_t>(value - 1)] : 0;
                EXPECT_GE(segments[i], before + (sampling[i] == kSums));
            }
        }
    }
}

// --- memory ------------------------------------------------------------------------------------------------

// Whether no two buffers that live at a common moment share memory.
bool is_sound(const std::vector<Lifetime>& buffers, const MemoryPlan& plan, index_t unit) {
    for (std::size_t i = 0; i < buffers.size(); ++i) {
        const Lifetime& a = buffers[i];
        if (plan.offsets[i] < 0 || plan.offsets[i] % unit != 0 || plan.offsets[i] + a.size > plan.size)
            return false;
        for (std::size_t j = 0; j < i; ++j) {
            const Lifetime& b = buffers[j];
            const bool together = a.first <= b.last && b.first <= a.last;
            const bool apart =
                plan.offsets[i] + a.size <= plan.offsets[j] || plan.offsets[j] + b.size <= plan.offsets[i];
            if (together && !apart) return false;
        }
    }
    return true;
}

index_t rounded_up(index_t n, index_t unit) { return (n + unit - 1) / unit * unit; }

TEST(PlanMemory, IsSoundForAnyLifetimes) {
    std::mt19937 random(2);
    for (int round = 0; round < 2000; ++round) {
        const index_t unit = round % 2 ? 16 : 1;
        std::vector<Lifetime> buffers(random() % 12);
        index_t sum = 0;
        for (Lifetime& buffer : buffers) {
            buffer.size = random() % 100;
            buffer.first = static_cast<int>(random() % 8);
            buffer.last = buffer.first + static_cast<int>(random() % 4);
            sum += rounded_up(buffer.size, unit);
        }
        const MemoryPlan plan = plan_memory(buffers, unit);
        ASSERT_EQ(plan.offsets.size(), buffers.size());
        EXPECT_TRUE(is_sound(buffers, plan, unit)) << round;
        EXPECT_LE(plan.size, sum);
        index_t most = 0;  // at one moment
        for (int now = 0; now < 12; ++now) {
            index_t alive = 0;
            for (const Lifetime& buffer : buffers)
                if (buffer.first <= now && now <= buffer.last) alive += buffer.size;
            most = std::max(most, alive);
        }
        EXPECT_GE(plan.size, most);
    }
}

TEST(PlanMemory, UsesMemoryAgain) {
    // A chain, each value of which is read by the next step alone, takes the two largest neighbours.
    std::vector<Lifetime> chain;
    for (int i = 0; i < 10; ++i) chain.push_back({32, i, i + 1});
    EXPECT_EQ(plan_memory(chain, 16).size, 64);
    // Lives that meet at a moment are in common: there one is read while the other is written.
    EXPECT_EQ(plan_memory({{32, 0, 1}, {32, 1, 2}}, 16).size, 64);
    EXPECT_EQ(plan_memory({{32, 0, 1}, {32, 2, 3}}, 16).size, 32);
    // A gap between two others.
    const MemoryPlan plan = plan_memory({{64, 0, 9}, {48, 0, 3}, {40, 0, 9}, {33, 4, 9}}, 16);
    EXPECT_EQ(plan.offsets, (std::vector<index_t>{0, 64, 112, 64}));
    EXPECT_EQ(plan.size, 160);
    EXPECT_EQ(plan_memory({}, 16).size, 0);
}

}  // namespace
