// Trainers from C++: training, gradients by central differences, and layers that do not fit.
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <vector>

#include "isas.h"
#include "ranvier/threads.h"
#include "ranvier/trainer.h"

namespace {

using namespace ranvier;

std::vector<LayerSpec> small_cnn() {
    return {Conv2dSpec{1, 3, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, true},
            ActivationSpec{Activation::tanh},
            Pool2dSpec{true, {2, 2}, {2, 2}, {0, 0}},
            FlattenSpec{},
            DropoutSpec{0.3},
            LinearSpec{48, 4, true}};
}

template <class T>
std::shared_ptr<Parameters<T>> started(const std::vector<LayerSpec>& layers) {
    auto parameters = std::make_shared<Parameters<T>>(layers);
    for (index_t i = 0; i < parameters->size(); ++i)
        parameters->values()[i] = static_cast<T>(0.3 * std::sin(1.0 + 3.7 * static_cast<double>(i)));
    return parameters;
}

std::vector<double> samples(index_t n) {
    std::vector<double> x(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::cos(0.7 * static_cast<double>(i * i % 101));
    return x;
}

using TrainerTest = EachIsa;
RANVIER_EACH_ISA(TrainerTest);

TEST_P(TrainerTest, GradientsAgreeWithCentralDifferences) {
    const auto layers = small_cnn();
    const auto x = samples(3 * 64);
    const std::vector<std::int64_t> labels = {0, 3, 1};
    const Objective<double> objective = {Loss::softmax_cross_entropy, {nullptr, labels.data()}, {}};
    const auto parameters = started<double>(layers);
    // A new trainer each time: its first training pass has the same mask.
    const auto loss = [&] {
        return Trainer<double>(parameters, {1, 8, 8}, 3, 9).gradients(3, {x.data()}, objective).loss / 3;
    };
    loss();
    const std::vector<double> gradients(parameters->gradients(),
                                        parameters->gradients() + parameters->size());
    for (index_t i = 0; i < parameters->size(); i += 7) {
        double& value = parameters->values()[i];
        const double before = value;
        value = before + 1e-6;
        const double up = loss();
        value = before - 1e-6;
        const double down = loss();
        value = before;
        EXPECT_NEAR(gradients[static_cast<std::size_t>(i)], (up - down) / 2e-6, 1e-7) << i;
    }
}

TEST_P(TrainerTest, TrainsWithTheSameBitsAtAnyThreadCount) {
    const auto layers = small_cnn();
    const auto wide = samples(100 * 64);
    const std::vector<float> x(wide.begin(), wide.end());
    std::vector<std::int64_t> labels(100), order(100);
    std::vector<double> weights(100);
    double total = 0;
    for (std::size_t i = 0; i < 100; ++i) {
        labels[i] = static_cast<std::int64_t>(i % 4);
        order[i] = static_cast<std::int64_t>((i * 37) % 100);
        weights[i] = 1.0 + static_cast<double>(i % 3);
        total += weights[i];
    }
    std::vector<std::vector<float>> results;
    for (int threads : {1, 2, 3}) {
        set_num_threads(threads);
        const auto parameters = started<float>(layers);
        Trainer<float> trainer(parameters, {1, 8, 8}, 32, 9);
        UpdateOptions adam;
        adam.rule = UpdateRule::adam;
        Optimizer<float> optimizer(adam, parameters->size());
        const Objective<float> objective = {
            Loss::softmax_cross_entropy, {nullptr, labels.data(), weights.data()}, {}};
        EpochOptions<float> options;
        options.batch_size = 32;
        double first = 0, last = 0;
        for (int epoch = 0; epoch < 5; ++epoch) {
            const EpochSums sums =
                trainer.train_epoch(100, {x.data()}, objective, order.data(), optimizer, options);
            EXPECT_EQ(sums.samples, 100);
            EXPECT_EQ(sums.weight, total);
            (epoch ? last : first) = sums.loss;
        }
        EXPECT_LT(last, first);
        results.emplace_back(parameters->values(), parameters->values() + parameters->size());
    }
    set_num_threads(0);
    EXPECT_EQ(results[0], results[1]);
    EXPECT_EQ(results[0], results[2]);
}

// Two networks that start alike, with an optimizer for each.
struct Twins {
    std::shared_ptr<Parameters<float>> one, other;
    Trainer<float> first, second;
    UpdateOptions options;

    explicit Twins(const std::vector<LayerSpec>& layers, const Shape& sample, index_t capacity)
        : one(started<float>(layers)),
          other(started<float>(layers)),
          first(one, sample, capacity, 9),
          second(other, sample, capacity, 9) {
        options.rule = UpdateRule::adam;
        options.clip_norm = 0.1;
    }
    bool are_equal() const { return std::equal(one->values(), one->values() + one->size(), other->values()); }
};

TEST_P(TrainerTest, AStepIsABatchOfAnEpoch) {
    Twins twins(small_cnn(), {1, 8, 8}, 32);
    const auto wide = samples(100 * 64);
    const std::vector<float> x(wide.begin(), wide.end());
    std::vector<std::int64_t> labels, order;
    for (std::int64_t i = 0; i < 96; ++i) {
        labels.push_back(i % 4);
        order.push_back(i);
    }
    Optimizer<float> epochs(twins.options, twins.one->size()), steps(twins.options, twins.one->size());
    EpochOptions<float> options;
    options.batch_size = 32;
    Objective<float> objective = {Loss::softmax_cross_entropy, {nullptr, labels.data()}, {}};
    const double loss =
        twins.first.train_epoch(96, {x.data()}, objective, order.data(), epochs, options).loss;
    double sum = 0;
    for (index_t i = 0; i < 3; ++i) {
        objective.targets.labels = labels.data() + 32 * i;
        sum += twins.second.train_step(32, {x.data() + 32 * 64 * i}, objective, steps).loss;
    }
    EXPECT_TRUE(twins.are_equal());
    EXPECT_EQ(sum, loss);
    EXPECT_EQ(steps.steps, 3);
}

TEST_P(TrainerTest, BackwardAddsUpToTheStep) {
    Twins twins({LinearSpec{6, 5, true}, LinearSpec{5, 4, true, 0.01, 0.1}}, {6}, 20);
    const auto wide = samples(20 * 6), wide_grad = samples(20 * 4);
    const std::vector<float> x(wide.begin(), wide.end()), grad(wide_grad.begin(), wide_grad.end());
    Optimizer<float> optimizer(twins.options, twins.one->size());
    // The second half is added to the first, and to what is not to be added to.
    twins.first.forward(12, {x.data()}, true);
    twins.first.backward(12, grad.data(), nullptr, false);
    twins.first.forward(8, {x.data() + 12 * 6}, true);
    std::vector<float> grad_x(8 * 6), same(20 * 6);
    twins.first.backward(8, grad.data() + 12 * 4, grad_x.data(), true);
    twins.second.forward(20, {x.data()}, true);
    for (int k = 0; k < 2; ++k) twins.second.backward(20, grad.data(), same.data(), false);
    for (index_t i = 0; i < twins.one->size(); ++i)
        EXPECT_NEAR(twins.one->accumulated()[i], twins.other->accumulated()[i], 1e-4) << i;
    EXPECT_TRUE(std::equal(grad_x.begin(), grad_x.end(), same.begin() + 12 * 6));
    const std::vector<float> before(twins.one->values(), twins.one->values() + twins.one->size());
    twins.one->accumulated()[3] = NAN;
    EXPECT_EQ(twins.first.step(optimizer), "0.weight");
    EXPECT_TRUE(std::equal(before.begin(), before.end(), twins.one->values()));
    twins.one->accumulated()[3] = 0;
    EXPECT_EQ(twins.first.step(optimizer), "");
    EXPECT_FALSE(std::equal(before.begin(), before.end(), twins.one->values()));
    EXPECT_EQ(twins.one->accumulated()[5], 0);
    EXPECT_THROW(twins.first.backward(8, grad.data(), nullptr, false), std::invalid_argument);
}

TEST(Trainer, NamesTheLayerThatDoesNotFit) {
    const std::vector<LayerSpec> layers = {LinearSpec{4, 3, true}, LinearSpec{5, 2, true}};
    try {
        Trainer<float>(std::make_shared<Parameters<float>>(layers), {4}, 1, 0);
        FAIL() << "no error";
    } catch (const std::invalid_argument& error) {
        EXPECT_EQ(std::string(error.what()).rfind("layer 1 (Linear): expected 5 input features", 0), 0u)
            << error.what();
    }
}

TEST(Parameters, LieOnCacheLinesUnderPyTorchsNames) {
    const Parameters<double> parameters(small_cnn());
    std::vector<std::string> names;
    for (const ParameterEntry& entry : parameters.entries()) {
        names.push_back(entry.name);
        EXPECT_EQ(entry.offset % 16, 0);
    }
    EXPECT_EQ(names, (std::vector<std::string>{"0.weight", "0.bias", "5.weight", "5.bias"}));
}

}  // namespace
