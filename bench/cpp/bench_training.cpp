// Training of a small network, in samples per second.
#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "ranvier/plan.h"

namespace {

using namespace ranvier;

// One epoch of an MLP with `hidden` units on 2000 samples of 784 numbers, in batches.
void mlp_epoch(benchmark::State& state) {
    constexpr index_t kSamples = 2000;
    const index_t hidden = state.range(0), batch = state.range(1);
    const std::vector<LayerSpec> layers = {LinearSpec{784, hidden, true}, ActivationSpec{Activation::sigmoid},
                                           LinearSpec{hidden, 10, true}};
    const auto parameters = std::make_shared<Parameters<float>>(layers);
    Plan<float> plan(parameters, {784}, batch, 0);
    UpdateOptions sgd;
    sgd.learning_rate = 0.1;
    Optimizer<float> optimizer(sgd, parameters->size());
    std::vector<float> x(kSamples * 784, 0.5f);
    std::vector<std::int64_t> labels(kSamples), order(kSamples);
    for (index_t i = 0; i < kSamples; ++i) {
        labels[i] = i % 10;
        order[i] = i * 7 % kSamples;
    }
    const Objective<float> objective = {Loss::softmax_cross_entropy, {nullptr, labels.data()}, {}};
    EpochOptions<float> options;
    options.batch_size = batch;
    for (auto _ : state) plan.train_epoch(kSamples, {x.data()}, objective, order.data(), optimizer, options);
    state.SetItemsProcessed(state.iterations() * kSamples);
}

BENCHMARK(mlp_epoch)->Args({30, 10})->Args({100, 128})->UseRealTime();

}  // namespace
