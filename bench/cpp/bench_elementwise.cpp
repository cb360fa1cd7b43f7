// Activations, softmax and pooling, against a copy of the same bytes.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "peak.h"
#include "ranvier/activation.h"
#include "ranvier/pool2d.h"
#include "ranvier/softmax.h"

namespace {

using namespace ranvier;

void activation_forward(benchmark::State& state, Activation f) {
    const index_t n = state.range(0);
    std::vector<float> x(n), y(n);
    for (index_t i = 0; i < n; ++i) x[i] = static_cast<float>(i % 17) - 8;
    const peak::Meter meter(state);
    for (auto _ : state) activation<float>(f, n, x.data(), y.data(), 0.5f);
    meter.report_bytes(2.0 * sizeof(float) * static_cast<double>(n));
}

BENCHMARK_CAPTURE(activation_forward, relu, Activation::relu)
    ->Arg(1000)
    ->Arg(100000)
    ->Arg(4000000)
    ->UseRealTime();
BENCHMARK_CAPTURE(activation_forward, elu, Activation::elu)
    ->Arg(1000)
    ->Arg(100000)
    ->Arg(4000000)
    ->UseRealTime();
BENCHMARK_CAPTURE(activation_forward, sigmoid, Activation::sigmoid)
    ->Arg(1000)
    ->Arg(100000)
    ->Arg(4000000)
    ->UseRealTime();
BENCHMARK_CAPTURE(activation_forward, tanh, Activation::tanh)
    ->Arg(1000)
    ->Arg(100000)
    ->Arg(4000000)
    ->UseRealTime();
BENCHMARK_CAPTURE(activation_forward, softplus, Activation::softplus)
    ->Arg(1000)
    ->Arg(100000)
    ->Arg(4000000)
    ->UseRealTime();
BENCHMARK_CAPTURE(activation_forward, gelu, Activation::gelu)
    ->Arg(1000)
    ->Arg(100000)
    ->Arg(4000000)
    ->UseRealTime();

void softmax_rows(benchmark::State& state) {
    const index_t rows = state.range(0), cols = state.range(1);
    std::vector<float> x(rows * cols, 1), y(rows * cols);
    const peak::Meter meter(state);
    for (auto _ : state)
        softmax<float>(row_major<const float>(x.data(), {rows, cols}), row_major(y.data(), {rows, cols}), 1);
    meter.report_bytes(2.0 * sizeof(float) * static_cast<double>(rows * cols));
}

BENCHMARK(softmax_rows)->Args({50, 10})->Args({10000, 10})->Args({4096, 1000})->UseRealTime();

// Batch, channels, side, edge of the windows, stride.
void pool(benchmark::State& state, bool maximum) {
    const index_t size = state.range(3), stride = state.range(4), side = state.range(2);
    const Pool2dShape s = {state.range(0), state.range(1), side, side, size, size, stride, stride, 0, 0};
    const index_t planes = s.batch * s.channels, in = side * side, out = s.out_height() * s.out_width();
    std::vector<float> x(planes * in, 1), y(planes * out);
    std::vector<std::int32_t> indices(y.size());
    const Images<const float> from = {x.data(), {s.channels * in, in, side, 1}};
    const Images<float> to = {y.data(), {s.channels * out, out, s.out_width(), 1}};
    const peak::Meter meter(state);
    for (auto _ : state) {
        if (maximum)
            max_pool2d<float>(s, from, to, indices.data());
        else
            avg_pool2d<float>(s, from, to);
    }
    meter.report_bytes(sizeof(float) * static_cast<double>(planes * (in + out * (maximum ? 2 : 1))));
}

void max_pool_backward(benchmark::State& state) {
    const index_t size = state.range(3), stride = state.range(4), side = state.range(2);
    const Pool2dShape s = {state.range(0), state.range(1), side, side, size, size, stride, stride, 0, 0};
    const index_t planes = s.batch * s.channels, in = side * side, out = s.out_height() * s.out_width();
    std::vector<float> x(planes * in), y(planes * out);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 7919 % 1013);
    std::vector<std::int32_t> indices(y.size());
    const Images<float> input = {x.data(), {s.channels * in, in, side, 1}};
    const Images<float> output = {y.data(), {s.channels * out, out, s.out_width(), 1}};
    max_pool2d<float>(s, input, output, indices.data());
    const peak::Meter meter(state);
    for (auto _ : state) max_pool2d_backward<float>(s, output, indices.data(), input);
    meter.report_bytes(sizeof(float) * static_cast<double>(planes * (in + out * 2)));
}

void pools(benchmark::internal::Benchmark* b) {
    b->Args({50, 16, 28, 2, 2})->Args({50, 32, 14, 2, 2})->Args({8, 64, 112, 3, 2})->UseRealTime();
}
BENCHMARK_CAPTURE(pool, maximum, true)->Apply(pools);
BENCHMARK_CAPTURE(pool, average, false)->Apply(pools);
BENCHMARK(max_pool_backward)->Apply(pools);

}  // namespace
