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
