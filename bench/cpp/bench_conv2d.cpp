// Convolutions, forward and backward, for the instruction set in use: operations of the direct algorithm, so
// that a better one may exceed the peak.
#include <benchmark/benchmark.h>

#include <vector>

#include "peak.h"
#include "ranvier/conv2d.h"

namespace {

using ranvier::Conv2dShape;
using ranvier::Images;
using ranvier::index_t;

// Batch, channels in and out, size of the square image, kernel, stride, padding, groups.
void shapes(benchmark::internal::Benchmark* b) {
    b->Args({50, 1, 16, 28, 5, 1, 2, 1});
    b->Args({50, 16, 32, 14, 5, 1, 2, 1});
    b->Args({8, 64, 64, 56, 3, 1, 1, 1});
    b->Args({8, 256, 64, 56, 1, 1, 0, 1});
    b->Args({1, 3, 64, 224, 7, 2, 3, 1});
    b->Args({8, 512, 512, 7, 3, 1, 1, 1});
    // Depthwise.
    b->Args({8, 128, 128, 56, 3, 1, 1, 128});
    b->Args({8, 128, 128, 56, 3, 2, 1, 128});
    b->Args({8, 512, 512, 7, 5, 1, 2, 512});
    // Micro-batches of small networks.
    for (const index_t batch : {1, 4}) {
        b->Args({batch, 3, 16, 32, 3, 1, 1, 1});
        b->Args({batch, 16, 16, 32, 3, 1, 1, 1});
        b->Args({batch, 16, 32, 32, 3, 2, 1, 1});
        b->Args({batch, 32, 64, 16, 3, 2, 1, 1});
        b->Args({batch, 64, 64, 8, 3, 1, 1, 1});
        b->Args({batch, 32, 64, 16, 1, 2, 0, 1});
        b->Args({batch, 128, 128, 4, 3, 1, 1, 1});
        b->Args({batch, 128, 256, 4, 3, 2, 1, 1});
        b->Args({batch, 256, 256, 16, 3, 1, 1, 1});  // whose weights lie in no near cache
    }
}

// Of the shapes above, those that stand for the others.
void few_shapes(benchmark::internal::Benchmark* b) {
    b->Args({50, 16, 32, 14, 5, 1, 2, 1});
    b->Args({8, 64, 64, 56, 3, 1, 1, 1});
    b->Args({8, 256, 64, 56, 1, 1, 0, 1});
    b->Args({8, 128, 128, 56, 3, 1, 1, 128});
    b->Args({4, 32, 64, 16, 3, 2, 1, 1});
}

// Layers of networks of depthwise and pointwise convolutions, in one image.
void mobile_shapes(benchmark::internal::Benchmark* b) {
    b->Args({1, 32, 32, 32, 3, 1, 1, 32});
    b->Args({1, 32, 64, 32, 1, 1, 0, 1});
    b->Args({1, 64, 64, 32, 3, 2, 1, 64});
    b->Args({1, 128, 128, 16, 1, 1, 0, 1});
    b->Args({1, 144, 144, 16, 5, 1, 2, 144});
    b->Args({1, 144, 24, 16, 1, 1, 0, 1});
    b->Args({1, 512, 512, 7, 3, 1, 1, 512});
    b->Args({1, 512, 2048, 7, 1, 1, 0, 1});
}

template <class T>
struct Problem {
    Conv2dShape s;
    std::vector<T> x, w, y;

    explicit Problem(const benchmark::State& state) {
        s.batch = state.range(0);
        s.in_channels = state.range(1);
        s.out_channels = state.range(2);
        s.in_height = s.in_width = state.range(3);
        s.kernel_height = s.kernel_width = state.range(4);
        s.stride_height = s.stride_width = state.range(5);
        s.padding_height = s.padding_width = state.range(6);
        s.groups = state.range(7);
        x.assign(s.batch * s.in_channels * s.in_height * s.in_width, 1);
        w.assign(s.out_channels * s.in_channels / s.groups * s.kernel_height * s.kernel_width, 1);
        y.assign(s.batch * s.out_channels * s.out_height() * s.out_width(), 1);
    }

    Images<T> images(std::vector<T>& data, index_t c, index_t h, index_t v) {
        return {data.data(), {c * h * v, h * v, v, 1}};
    }
    Images<T> pixels(std::vector<T>& data, index_t c, index_t h, index_t v) {
        return {data.data(), {c * h * v, 1, v * c, c}};
    }
    Images<T> in() { return images(x, s.in_channels, s.in_height, s.in_width); }
    Images<T> out() { return images(y, s.out_channels, s.out_height(), s.out_width()); }
    Images<T> weights() { return images(w, s.in_channels / s.groups, s.kernel_height, s.kernel_width); }

    void report(const peak::Meter& meter) const {
        meter.report_flops(
            2.0 * static_cast<double>(y.size()) * static_cast<double>(w.size() / s.out_channels),
            sizeof(T) == sizeof(double));
    }
};

template <class T>
void conv2d_forward(benchmark::State& state) {
    Problem<T> p(state);
    ranvier::PreparedWeights<T> prepared;
    ranvier::prepare_forward<T>(p.s, p.weights(), prepared);
    const peak::Meter meter(state);
    for (auto _ : state)
        ranvier::conv2d<T>(p.s, p.in(), p.weights(), nullptr, p.out(), ranvier::Activation::identity, 0,
                           &prepared);
    p.report(meter);
}

// With planes as channels or with neighbouring channels, and ReLU.
template <ranvier::MemoryFormat FORMAT>
void conv2d_in_format(benchmark::State& state) {
    Problem<float> p(state);
    ranvier::PreparedWeights<float> prepared;
    ranvier::prepare_forward<float>(p.s, p.weights(), prepared, FORMAT);
    const bool last = FORMAT == ranvier::MemoryFormat::channels_last;
    const Images<float> x = last ? p.pixels(p.x, p.s.in_channels, p.s.in_height, p.s.in_width) : p.in();
    const Images<float> y =
        last ? p.pixels(p.y, p.s.out_channels, p.s.out_height(), p.s.out_width()) : p.out();
    const peak::Meter meter(state);
    for (auto _ : state)
        ranvier::conv2d<float>(p.s, x, p.weights(), nullptr, y, ranvier::Activation::relu, 0, &prepared);
    p.report(meter);
}

template <class T>
void conv2d_to_input(benchmark::State& state) {
    Problem<T> p(state);
    ranvier::PreparedWeights<T> prepared;
    ranvier::prepare_backward_input<T>(p.s, p.weights(), prepared);
    const peak::Meter meter(state);
    for (auto _ : state) ranvier::conv2d_backward_input<T>(p.s, p.out(), p.weights(), p.in(), &prepared);
    p.report(meter);
}

template <class T>
void conv2d_to_weights(benchmark::State& state) {
    Problem<T> p(state);
    std::vector<T> bias(p.s.out_channels);
    const peak::Meter meter(state);
    for (auto _ : state) ranvier::conv2d_backward_weights<T>(p.s, p.out(), p.in(), p.weights(), bias.data());
    p.report(meter);
}

BENCHMARK(conv2d_forward<float>)->Name("conv2d_forward")->Apply(shapes)->UseRealTime();
BENCHMARK(conv2d_in_format<ranvier::MemoryFormat::channels_first>)
    ->Name("conv2d_channels_first")
    ->Apply(mobile_shapes)
    ->UseRealTime();
BENCHMARK(conv2d_in_format<ranvier::MemoryFormat::channels_last>)
    ->Name("conv2d_channels_last")
    ->Apply(mobile_shapes)
    ->UseRealTime();
BENCHMARK(conv2d_to_input<float>)->Name("conv2d_to_input")->Apply(shapes)->UseRealTime();
BENCHMARK(conv2d_to_weights<float>)->Name("conv2d_to_weights")->Apply(shapes)->UseRealTime();
BENCHMARK(conv2d_forward<double>)->Name("conv2d_forward_float64")->Apply(few_shapes)->UseRealTime();
BENCHMARK(conv2d_to_input<double>)->Name("conv2d_to_input_float64")->Apply(few_shapes)->UseRealTime();
BENCHMARK(conv2d_to_weights<double>)->Name("conv2d_to_weights_float64")->Apply(few_shapes)->UseRealTime();

}  // namespace
