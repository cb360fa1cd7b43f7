// Training of a small network, in samples per second.
#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "ranvier/trainer.h"

namespace {

using namespace ranvier;

// One epoch over samples of 784 numbers, in batches.
void epoch(benchmark::State& state, const std::vector<LayerSpec>& layers, const Shape& sample,
           index_t samples, index_t batch, const UpdateOptions& update) {
    const auto parameters = std::make_shared<Parameters<float>>(layers);
    Trainer<float> trainer(parameters, sample, batch, 0);
    Optimizer<float> optimizer(update, parameters->size());
    std::vector<float> x(samples * 784, 0.5f);
    std::vector<std::int64_t> labels(samples), order(samples);
    for (index_t i = 0; i < samples; ++i) {
        labels[i] = i % 10;
        order[i] = i * 7 % samples;
    }
    const Objective<float> objective = {Loss::softmax_cross_entropy, {nullptr, labels.data()}, {}};
    EpochOptions<float> options;
    options.batch_size = batch;
    for (auto _ : state)
        trainer.train_epoch(samples, {x.data()}, objective, order.data(), optimizer, options);
    state.SetItemsProcessed(state.iterations() * samples);
}

// Hidden units, batch.
void mlp_epoch(benchmark::State& state) {
    const index_t hidden = state.range(0);
    UpdateOptions sgd;
    sgd.lr = 0.1;
    epoch(state,
          {LinearSpec{784, hidden, true}, ActivationSpec{Activation::sigmoid}, LinearSpec{hidden, 10, true}},
          {784}, 2000, state.range(1), sgd);
}

// Large weights, updated by a rule with state. Hidden units, batch.
void wide_epoch(benchmark::State& state) {
    const index_t hidden = state.range(0), batch = state.range(1);
    const ActivationSpec relu = {Activation::relu};
    UpdateOptions adam;
    adam.rule = UpdateRule::adam;
    epoch(state,
          {LinearSpec{784, hidden, true}, relu, LinearSpec{hidden, hidden, true}, relu,
           LinearSpec{hidden, 10, true}},
          {784}, 10 * batch, batch, adam);
}

// Rows of targets, with the sums of errors that a history shows. Outputs, batch.
void regression_epoch(benchmark::State& state) {
    const index_t outputs = state.range(0), batch = state.range(1), samples = 20 * batch;
    const auto parameters = std::make_shared<Parameters<float>>(std::vector<LayerSpec>{
        LinearSpec{64, 64, true}, ActivationSpec{Activation::relu}, LinearSpec{64, outputs, true}});
    Trainer<float> trainer(parameters, {64}, batch, 0);
    UpdateOptions adam;
    adam.rule = UpdateRule::adam;
    Optimizer<float> optimizer(adam, parameters->size());
    std::vector<float> x(samples * 64, 0.5f), y(samples * outputs, 0.25f);
    std::vector<std::int64_t> order(samples);
    for (index_t i = 0; i < samples; ++i) order[i] = i * 7 % samples;
    std::vector<double> errors(5 * outputs);
    const Objective<float> objective = {Loss::mean_squared_error, {y.data()}, {}};
    EpochOptions<float> options;
    options.batch_size = batch;
    options.record.errors = errors.data();
    for (auto _ : state)
        trainer.train_epoch(samples, {x.data()}, objective, order.data(), optimizer, options);
    state.SetItemsProcessed(state.iterations() * samples);
}

// The notes' network.
void cnn_epoch(benchmark::State& state) {
    UpdateOptions adam;
    adam.rule = UpdateRule::adam;
    const Pool2dSpec halved = {true, {2, 2}, {2, 2}, {0, 0}};
    const ActivationSpec relu = {Activation::relu};
    epoch(state,
          {Conv2dSpec{1, 16, {5, 5}, {1, 1}, {2, 2}, {1, 1}, 1, true}, relu, halved,
           Conv2dSpec{16, 32, {5, 5}, {1, 1}, {2, 2}, {1, 1}, 1, true}, relu, halved, FlattenSpec{},
           LinearSpec{1568, 100, true}, ActivationSpec{Activation::sigmoid}, LinearSpec{100, 10, true}},
          {1, 28, 28}, 500, state.range(0), adam);
}

BENCHMARK(mlp_epoch)->Args({30, 10})->Args({100, 128})->UseRealTime();
BENCHMARK(wide_epoch)->Args({128, 32})->Args({1024, 128})->Args({512, 512})->UseRealTime();
BENCHMARK(regression_epoch)->Args({1, 64})->Args({784, 128})->UseRealTime();
BENCHMARK(cnn_epoch)->Arg(50)->UseRealTime();

}  // namespace
