// Activations in billions of elements per second, and training of a small network in samples per second.
#include <benchmark/benchmark.h>

#include <vector>

#include "ranvier/activation.h"
#include "ranvier/plan.h"

namespace {

using namespace ranvier;

void activation_forward(benchmark::State& state, Activation f) {
    const index_t n = state.range(0);
    std::vector<float> x(n), y(n);
    for (index_t i = 0; i < n; ++i) x[i] = static_cast<float>(i % 17) - 8;
    for (auto _ : state) activation<float>(f, n, x.data(), y.data(), 0.5f);
    state.SetItemsProcessed(state.iterations() * n);
}

void relu(benchmark::State& state) { activation_forward(state, Activation::relu); }
void sigmoid(benchmark::State& state) { activation_forward(state, Activation::sigmoid); }
void tanh(benchmark::State& state) { activation_forward(state, Activation::tanh); }
void elu(benchmark::State& state) { activation_forward(state, Activation::elu); }
void softplus(benchmark::State& state) { activation_forward(state, Activation::softplus); }
void gelu(benchmark::State& state) { activation_forward(state, Activation::gelu); }

BENCHMARK(relu)->Arg(1000)->Arg(1000000)->UseRealTime();
BENCHMARK(sigmoid)->Arg(1000)->Arg(1000000)->UseRealTime();
BENCHMARK(tanh)->Arg(1000)->Arg(1000000)->UseRealTime();
BENCHMARK(elu)->Arg(1000)->Arg(1000000)->UseRealTime();
BENCHMARK(softplus)->Arg(1000)->Arg(1000000)->UseRealTime();
BENCHMARK(gelu)->Arg(1000)->Arg(1000000)->UseRealTime();

// One epoch of an MLP with `hidden` units on 2000 samples of 784 numbers, in batches.
void mlp_epoch(benchmark::State& state) {
    constexpr index_t kSamples = 2000;
    const index_t hidden = state.range(0), batch = state.range(1);
    const std::vector<LayerSpec> layers = {LinearSpec{784, hidden, true}, ActivationSpec{Activation::sigmoid},
                                           LinearSpec{hidden, 10, true}};
    const auto parameters = std::make_shared<Parameters<float>>(layers);
    Plan<float> plan(parameters, {784}, batch, 0);
    const auto sgd = make_sgd<float>({0.1, 0, 0, false}, parameters->size());
    std::vector<float> x(kSamples * 784, 0.5f);
    std::vector<std::int64_t> labels(kSamples), order(kSamples);
    for (index_t i = 0; i < kSamples; ++i) {
        labels[i] = i % 10;
        order[i] = i * 7 % kSamples;
    }
    for (auto _ : state)
        plan.train_epoch(kSamples, x.data(), {nullptr, labels.data()}, order.data(), batch,
                         Loss::softmax_cross_entropy, *sgd, {});
    state.SetItemsProcessed(state.iterations() * kSamples);
}

BENCHMARK(mlp_epoch)->Args({30, 10})->Args({100, 128})->UseRealTime();

}  // namespace
