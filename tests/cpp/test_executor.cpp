// Programs run: graphs made by hand, the same bits at any number of threads, and predictions with live and
// frozen weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "../../cpp/nn/executor.h"
#include "isas.h"
#include "ranvier/predictor.h"
#include "ranvier/threads.h"

namespace {

using namespace ranvier;

constexpr index_t kBatches[] = {1, 2, 5, 33, 64};
constexpr int kThreads[] = {1, 2, 3, 7};

template <class T>
std::vector<T> waves(index_t n, double step) {
    std::vector<T> x(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = static_cast<T>(std::cos(step * static_cast<double>(i * i % 1013)));
    return x;
}

// Values without order, and running statistics that are those of no batch.
template <class T>
std::shared_ptr<Parameters<T>> started(const std::vector<LayerSpec>& layers, double size) {
    auto parameters = std::make_shared<Parameters<T>>(layers);
    for (const ParameterEntry& entry : parameters->entries()) {
        T* values = parameters->value(entry);
        const bool variance = entry.name.ends_with("running_var");
        for (index_t i = 0; i < entry.extent; ++i) {
            const double wave = std::sin(1.0 + 3.7 * static_cast<double>((i + entry.offset) % 1009));
            values[i] = static_cast<T>(variance ? 1.5 + wave : size * wave);
        }
    }
    return parameters;
}

using Executor = EachIsa;
RANVIER_EACH_ISA(Executor);

// --- a graph with two inputs and two outputs ---------------------------------------------------------------

Node node_of(const Operation& operation, const std::vector<Operand>& inputs, int output,
             const std::string& path) {
    return {operation, inputs, output, path, path, 0, {}, {Activation::identity}};
}

// a = Linear0(x), b = Linear1(z), h = ReLU(a + b); the outputs are Linear2(h) and h behind x.
Graph two_by_two(const std::vector<LayerSpec>& layers) {
    Graph graph;
    const int x = graph.add_value({3}), z = graph.add_value({2});
    const int a = graph.add_value({4}), b = graph.add_value({4}), sum = graph.add_value({4}),
              h = graph.add_value({4}), y = graph.add_value({2}), both = graph.add_value({7});
    graph.inputs = {x, z};
    const auto linear = [&](std::size_t i) { return Operation(std::get<LinearSpec>(layers[i])); };
    graph.nodes = {
        node_of(linear(0), {{x, {3}}}, a, "0"),
        node_of(linear(1), {{z, {2}}}, b, "1"),
        node_of(AddSpec{}, {{a, {4}}, {b, {4}}}, sum, "sum"),
        node_of(ActivationSpec{Activation::relu}, {{sum, {4}}}, h, "relu"),
        node_of(linear(2), {{h, {4}}}, y, "2"),
        node_of(ConcatSpec{}, {{x, {3}}, {h, {4}}}, both, "both"),
    };
    graph.outputs = {{y, {2}}, {both, {7}}};
    return graph;
}

// The reference of a linear layer, for one sample.
std::vector<double> linear(Parameters<double>& parameters, const std::string& path,
                           const std::vector<double>& x) {
    const ParameterEntry &weight = parameters.entry(path + ".weight"),
                         &bias = parameters.entry(path + ".bias");
    std::vector<double> y;
    for (index_t o = 0; o < weight.shape[0]; ++o) {
        double sum = parameters.value(bias)[o];
        for (index_t i = 0; i < weight.shape[1]; ++i)
            sum += parameters.value(weight)[o * weight.strides[0] + i * weight.strides[1]] *
                   x[static_cast<std::size_t>(i)];
        y.push_back(sum);
    }
    return y;
}

TEST_P(Executor, RunsGraphsOfTwoInputsAndTwoOutputs) {
    const std::vector<LayerSpec> layers = {LinearSpec{3, 4}, LinearSpec{2, 4}, LinearSpec{4, 2}};
    const auto parameters = started<double>(layers, 0.8);
    ProgramOptions options;
    options.purpose = Purpose::live_outputs;
    options.training = false;
    const Program<double> program(two_by_two(layers), *parameters, options);
    EXPECT_EQ(program.graph.nodes.size(), 5u) << "the sum takes ReLU";
    for (const auto& op : program.ops) op->prepare({Use::one_pass});
    for (index_t n : kBatches) {
        const auto x = waves<double>(3 * n, 0.7), z = waves<double>(2 * n, 1.1);
        std::vector<double> y(static_cast<std::size_t>(2 * n)), both(static_cast<std::size_t>(7 * n));
        std::vector<double> batch(static_cast<std::size_t>(program.batch_size * n));
        const Rows<double> inputs[] = {{x.data(), nullptr}, {z.data(), nullptr}};
        double* const outputs[] = {y.data(), both.data()};
        ranvier::Run<double> run;
        run.inputs = inputs;
        run.outputs = outputs;
        run.n = run.capacity = n;
        run.batch = batch.data();
        run_phases(program, run, 0, program.phases.size());
        for (index_t i = 0; i < n; ++i) {
            const std::vector<double> row(x.begin() + 3 * i, x.begin() + 3 * (i + 1)),
                a = linear(*parameters, "0", row),
                b = linear(*parameters, "1", {z.begin() + 2 * i, z.begin() + 2 * (i + 1)});
            std::vector<double> h;
            for (std::size_t k = 0; k < 4; ++k) h.push_back(std::max(0.0, a[k] + b[k]));
            const std::vector<double> wanted = linear(*parameters, "2", h);
            for (index_t k = 0; k < 2; ++k)
                ASSERT_NEAR(y[static_cast<std::size_t>(2 * i + k)], wanted[static_cast<std::size_t>(k)],
                            1e-13)
                    << i;
            for (index_t k = 0; k < 7; ++k)
                ASSERT_NEAR(both[static_cast<std::size_t>(7 * i + k)],
                            k < 3 ? row[static_cast<std::size_t>(k)] : h[static_cast<std::size_t>(k - 3)],
                            1e-13)
                    << i;
        }
    }
}

// --- gradients ---------------------------------------------------------------------------------------------

LayerSpec conv(index_t in, index_t out) {
    return Conv2dSpec{in, out, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, true};
}
LayerSpec norm(index_t channels, int axes) { return BatchNormSpec{channels, 1e-5, 0.1, true, axes}; }
LayerSpec act(Activation kind) { return ActivationSpec{kind}; }
LayerSpec pool() { return Pool2dSpec{true, {2, 2}, {2, 2}, {0, 0}}; }

// Of images of 16 x 16 pixels in 3 channels.
const Shape kImage = {3, 16, 16};
std::vector<LayerSpec> residual_network() {
    ResidualSpec residual;
    residual.layers = {conv(16, 16), norm(16, 3), act(Activation::relu), conv(16, 16), norm(16, 3)};
    return {conv(3, 16),           norm(16, 3), act(Activation::relu), residual,
            act(Activation::relu), pool(),      FlattenSpec{},         LinearSpec{1024, 10}};
}

// What a phase touches, which its micro-batches follow from, is not what waits in memory for later phases.
TEST_P(Executor, APhaseOfADeepNetworkTouchesNoMoreThanThatOfAShallowOne) {
    const auto most_touched = [](int depth) {
        std::vector<LayerSpec> layers;
        for (int i = 0; i < depth; ++i) {
            layers.push_back(conv(4, 4));
            layers.push_back(norm(4, 3));
            layers.push_back(act(Activation::relu));
        }
        const auto parameters = started<float>(layers, 0.3);
        const Program<float> program(lower(layers, {4, 8, 8}, true).graph, *parameters, {});
        index_t most = 0;
        for (const Phase& phase : program.phases) most = std::max(most, phase.touched_size);
        return most;
    };
    EXPECT_EQ(most_touched(9), most_touched(3));
}

// What later layers read of it is computed again on the way back; only the graph's output stays.
TEST_P(Executor, OutputsOfBatchNormalizationsDoNotStayInMemory) {
    const std::vector<LayerSpec> layers = {conv(4, 4), norm(4, 3), act(Activation::relu),
                                           conv(4, 4), norm(4, 3), act(Activation::relu),
                                           conv(4, 4), norm(4, 3), act(Activation::relu)};
    const auto parameters = started<float>(layers, 0.3);
    const Program<float> program(lower(layers, {4, 8, 8}, true).graph, *parameters, {});
    index_t forward = 0, again = 0;
    for (std::size_t i = 0; i < program.phases.size(); ++i)
        for (const Step& step : program.phases[i].steps) {
            const Node& node = program.graph.nodes[step.node];
            if (step.action != Action::forward || !std::holds_alternative<BatchNormSpec>(node.operation))
                continue;
            ++(i < program.first_backward ? forward : again);
            EXPECT_EQ(step.y.memory, program.graph.is_output(node.output) ? Memory::batch : Memory::local);
        }
    EXPECT_EQ(forward, 3);
    EXPECT_EQ(again, 2);
}

std::vector<float> gradients(const std::vector<LayerSpec>& layers, index_t n, index_t capacity) {
    const auto parameters = started<float>(layers, 0.3);
    Trainer<float> trainer(parameters, kImage, capacity, 1);
    const auto x = waves<float>(n * element_count(kImage), 0.7);
    std::vector<std::int64_t> labels;
    for (index_t i = 0; i < n; ++i) labels.push_back(i * 7 % 10);
    trainer.gradients(n, {x.data()}, {Loss::softmax_cross_entropy, {nullptr, labels.data()}, {}});
    return {parameters->gradients(), parameters->gradients() + parameters->size()};
}

TEST_P(Executor, GradientsHaveTheSameBitsAtAnyThreadCount) {
    for (index_t n : kBatches) {
        std::vector<float> serial;
        for (int threads : kThreads) {
            set_num_threads(threads);
            const std::vector<float> got = gradients(residual_network(), n, n);
            if (threads == 1) {
                serial = got;
                EXPECT_TRUE(std::any_of(got.begin(), got.end(), [](float g) { return g != 0; }));
            }
            EXPECT_EQ(got, serial) << n << " samples, " << threads << " threads";
            if (n < 33) {
                EXPECT_EQ(gradients(residual_network(), n, 64), serial) << n << " samples of at most 64";
            }
        }
    }
    set_num_threads(0);
}

// --- predictions -------------------------------------------------------------------------------------------

std::vector<LayerSpec> network_of_many_layers() {
    ResidualSpec residual;
    residual.layers = {conv(8, 8), norm(8, 3), act(Activation::relu), conv(8, 8), norm(8, 3)};
    ParallelSpec parallel;
    parallel.branches = {{conv(8, 6), norm(6, 3)},
                         {Conv2dSpec{8, 5, {1, 1}, {1, 1}, {0, 0}, {1, 1}, 1, false}}};
    return {conv(3, 8),
            norm(8, 3),
            act(Activation::relu),
            pool(),
            residual,
            act(Activation::relu),
            parallel,
            pool(),
            FlattenSpec{},
            LinearSpec{176, 40},
            norm(40, 1),
            act(Activation::gelu),
            DropoutSpec{0.5},
            LinearSpec{40, 7}};
}

std::vector<float> predictions(const Predictor<float>& predictor, index_t n, const float* x) {
    std::vector<float> y(static_cast<std::size_t>(n * element_count(predictor.output_shape())));
    predictor.predict(n, {x}, y.data());
    return y;
}

TEST_P(Executor, FrozenPredictionsAreThoseOfLiveWeights) {
    const auto parameters = started<float>(network_of_many_layers(), 0.3);
    const auto x = waves<float>(64 * element_count(kImage), 0.7);
    Predictor<float> live(parameters, kImage, Weights::live), frozen(parameters, kImage, Weights::frozen);
    for (index_t n : kBatches) {
        live.prepare(n);
        frozen.prepare(n);
        const std::vector<float> wanted = predictions(live, n, x.data()),
                                 got = predictions(frozen, n, x.data());
        float most = 0;
        for (float value : wanted) most = std::max(most, std::abs(value));
        ASSERT_GT(most, 0);
        for (std::size_t i = 0; i < wanted.size(); ++i)
            ASSERT_NEAR(got[i], wanted[i], 1e-5f * most) << n << " " << i;
    }
}

TEST_P(Executor, PredictionsHaveTheSameBitsInAnyBatchAndAtAnyThreadCount) {
    const auto parameters = started<float>(network_of_many_layers(), 0.3);
    const index_t size = element_count(kImage), outputs = 7;
    const auto x = waves<float>(64 * size, 0.7);
    for (Weights weights : {Weights::live, Weights::frozen}) {
        Predictor<float> predictor(parameters, kImage, weights);
        predictor.prepare(64);
        set_num_threads(1);
        const std::vector<float> whole = predictions(predictor, 64, x.data());
        for (int threads : kThreads) {
            set_num_threads(threads);
            for (index_t n : kBatches)
                for (index_t first = 0; first + n <= 64; first += n) {
                    const std::vector<float> wanted(whole.begin() + first * outputs,
                                                    whole.begin() + (first + n) * outputs);
                    ASSERT_EQ(predictions(predictor, n, x.data() + first * size), wanted)
                        << n << " samples from " << first << " on, " << threads << " threads";
                }
        }
    }
    set_num_threads(0);
}

}  // namespace
