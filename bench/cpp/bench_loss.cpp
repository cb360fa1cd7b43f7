// Losses of a batch with their gradients, on one thread.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "ranvier/loss.h"
#include "ranvier/threads.h"

namespace {

using namespace ranvier;

// Samples and outputs.
template <class T>
void loss_and_gradient(benchmark::State& state, Loss loss, bool labels) {
    const index_t n = state.range(0), outputs = state.range(1);
    std::vector<T> prediction(n * outputs), dense(prediction.size()), grad(prediction.size());
    std::vector<std::int64_t> classes(n);
    for (index_t i = 0; i < n * outputs; ++i) {
        prediction[i] = static_cast<T>(0.5 + 0.4 * std::sin(1 + 3.7 * static_cast<double>(i)));
        dense[i] = static_cast<T>(i * 7 % 5 < 2);
    }
    for (index_t i = 0; i < n; ++i) classes[i] = i * 13 % outputs;
    Targets<T> targets;
    targets.dense = labels ? nullptr : dense.data();
    targets.labels = labels ? classes.data() : nullptr;
    set_num_threads(1);
    for (auto _ : state)
        benchmark::DoNotOptimize(loss_of_batch<T>(loss, n, outputs, prediction.data(), targets, grad.data()));
    set_num_threads(0);
    state.SetItemsProcessed(state.iterations() * n * outputs);
}

constexpr auto loss_float32 = loss_and_gradient<float>;
constexpr auto loss_float64 = loss_and_gradient<double>;

#define RANVIER_LOSS_BENCHMARKS(type)                                                          \
    BENCHMARK_CAPTURE(type, mean_squared_error, Loss::mean_squared_error, false)               \
        ->Args({128, 784})                                                                     \
        ->Args({256, 1});                                                                      \
    BENCHMARK_CAPTURE(type, cross_entropy, Loss::softmax_cross_entropy, true)                  \
        ->Args({128, 10})                                                                      \
        ->Args({64, 1000});                                                                    \
    BENCHMARK_CAPTURE(type, binary_with_logits, Loss::binary_cross_entropy_with_logits, false) \
        ->Args({256, 10});
RANVIER_LOSS_BENCHMARKS(loss_float32)
RANVIER_LOSS_BENCHMARKS(loss_float64)

}  // namespace
