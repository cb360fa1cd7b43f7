// The forward pass of images with neighbouring channels on either side, against a naive one in double; the
// same bits at any number of threads, in any batch, and of prepared weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "isas.h"
#include "ranvier/conv2d.h"
#include "ranvier/normalization.h"
#include "ranvier/threads.h"

namespace {

using namespace ranvier;

constexpr auto kFirst = MemoryFormat::channels_first, kLast = MemoryFormat::channels_last;
struct Sides {
    MemoryFormat in, out;
};
constexpr Sides kSides[] = {{kLast, kLast}, {kFirst, kLast}, {kLast, kFirst}};

std::mt19937 generator(1);

template <class T>
struct Tensor {
    index_t channels, height, width, gap;
    MemoryFormat format;
    std::vector<T> memory;

    // `gap` is between neighbouring pixels of the last format, and between rows.
    Tensor(index_t batch, index_t c, index_t h, index_t w, MemoryFormat f, index_t between = 0)
        : channels(c), height(h), width(w), gap(between), format(f) {
        std::normal_distribution<double> normal;
        memory.resize(static_cast<std::size_t>(batch * view().strides[0]));
        for (T& value : memory) value = static_cast<T>(normal(generator));
    }
    Images<T> view() {
        if (format == kFirst) {
            const index_t row = width + gap;
            return {memory.data(), {channels * height * row, height * row, row, 1}};
        }
        const index_t pixel = channels + gap, row = width * pixel + gap;
        return {memory.data(), {height * row, 1, row, pixel}};
    }
    T& at(index_t n, index_t c, index_t y, index_t x) {
        const auto [sample, channel, row, col] = view().strides;
        return memory[static_cast<std::size_t>(n * sample + c * channel + y * row + x * col)];
    }
};

Conv2dShape shape_of(index_t batch, index_t in, index_t out, index_t height, index_t width, index_t kernel,
                     index_t stride, index_t padding, index_t dilation = 1, index_t groups = 1) {
    return {batch,  in,     height,  width,   out,      kernel,   kernel,
            stride, stride, padding, padding, dilation, dilation, groups};
}

std::string text(const Conv2dShape& s, const Sides& sides) {
    std::string result;
    for (index_t n : {s.batch, s.in_channels, s.out_channels, s.in_height, s.in_width, s.kernel_height,
                      s.stride_height, s.padding_height, s.dilation_height, s.groups})
        result += std::to_string(n) + " ";
    return result + (sides.in == kLast ? "last " : "first ") + (sides.out == kLast ? "last" : "first");
}

template <class T>
struct Problem {
    Conv2dShape s;
    Tensor<T> x, y;
    Tensor<T> w;
    std::vector<T> bias;

    Problem(const Conv2dShape& shape, const Sides& sides, index_t gap = 0)
        : s(shape),
          x(s.batch, s.in_channels, s.in_height, s.in_width, sides.in, gap),
          y(s.batch, s.out_channels, s.out_height(), s.out_width(), sides.out, gap),
          w(s.out_channels, s.in_channels / s.groups, s.kernel_height, s.kernel_width, kFirst),
          bias(Tensor<T>(1, s.out_channels, 1, 1, kFirst).memory) {}

    void run(Activation activation = Activation::identity, T parameter = T{},
             const PreparedWeights<T>* prepared = nullptr) {
        conv2d<T>(s, x.view(), w.view(), bias.data(), y.view(), activation, parameter, prepared);
    }

    double expected(index_t n, index_t o, index_t y0, index_t x0) {
        const index_t in = s.in_channels / s.groups, out = s.out_channels / s.groups;
        double sum = bias[static_cast<std::size_t>(o)];
        for (index_t c = 0; c < in; ++c)
            for (index_t i = 0; i < s.kernel_height; ++i)
                for (index_t j = 0; j < s.kernel_width; ++j) {
                    const index_t row = y0 * s.stride_height + i * s.dilation_height - s.padding_height;
                    const index_t col = x0 * s.stride_width + j * s.dilation_width - s.padding_width;
                    if (row >= 0 && row < s.in_height && col >= 0 && col < s.in_width)
                        sum += static_cast<double>(x.at(n, o / out * in + c, row, col)) * w.at(o, c, i, j);
                }
        return sum;
    }
};

// With an activation, and nothing written between the pixels.
template <class T>
void expect_convolution(const Conv2dShape& s, const Sides& sides, index_t gap, Activation activation,
                        double eps) {
    SCOPED_TRACE(text(s, sides) + " gap " + std::to_string(gap));
    Problem<T> p(s, sides, gap);
    Tensor<T> untouched = p.y;
    p.run(activation, T(0.5));
    const double terms = static_cast<double>(s.in_channels / s.groups * s.kernel_height * s.kernel_width);
    for (index_t n = 0; n < s.batch; ++n)
        for (index_t o = 0; o < s.out_channels; ++o)
            for (index_t y = 0; y < s.out_height(); ++y)
                for (index_t x = 0; x < s.out_width(); ++x) {
                    double wanted = p.expected(n, o, y, x);
                    if (wanted < 0 && activation == Activation::relu) wanted = 0;
                    if (wanted < 0 && activation == Activation::leaky_relu) wanted *= 0.5;
                    ASSERT_NEAR(p.y.at(n, o, y, x), wanted, eps * (20 + 4 * terms))
                        << "at " << n << " " << o << " " << y << " " << x;
                    p.y.at(n, o, y, x) = untouched.at(n, o, y, x) = T{};
                }
    EXPECT_EQ(p.y.memory, untouched.memory);
}

void expect_convolutions(const Conv2dShape& s) {
    for (const Sides& sides : kSides)
        for (index_t gap : {0, 3}) {
            expect_convolution<float>(s, sides, gap, Activation::relu, 1e-6);
            expect_convolution<double>(s, sides, gap, Activation::leaky_relu, 2e-15);
        }
}

using ChannelsLast = EachIsa;
RANVIER_EACH_ISA(ChannelsLast);

TEST_P(ChannelsLast, PointwiseAgreesWithTheReference) {
    for (index_t in : {1, 3, 8, 17, 40})
        for (index_t out : {1, 7, 8, 9, 16, 24, 35, 64})
            expect_convolutions(shape_of(2, in, out, 3, 5, 1, 1, 0));
    for (index_t size : {1, 2, 4, 7, 13}) expect_convolutions(shape_of(1, 24, 40, size, size, 1, 1, 0));
    expect_convolutions(shape_of(1, 520, 24, 4, 4, 1, 1, 0));  // two blocks of the depth
    expect_convolutions(shape_of(2, 16, 24, 9, 8, 1, 2, 0));
}

TEST_P(ChannelsLast, DenseKernelsAgreeWithTheReference) {
    for (index_t stride : {1, 2, 3})
        for (index_t padding : {0, 1, 2})
            for (index_t dilation : {1, 2}) {
                expect_convolutions(shape_of(2, 3, 16, 9, 11, 3, stride, padding, dilation));
                expect_convolutions(shape_of(1, 16, 20, 9, 11, 3, stride, padding, dilation));
            }
    expect_convolutions(shape_of(1, 12, 8, 6, 7, 5, 2, 2));
    expect_convolutions(
        shape_of(3, 64, 24, 4, 4, 3, 2, 1));  // several images to a task, two blocks of the depth
}

TEST_P(ChannelsLast, DepthwiseKernelsAgreeWithTheReference) {
    for (index_t channels : {2, 4, 7, 8, 16, 19, 40})
        for (index_t stride : {1, 2, 3})
            for (index_t padding : {0, 1, 3})
                expect_convolutions(shape_of(2, channels, channels, 7, 9, 3, stride, padding, 1, channels));
    for (index_t kernel : {1, 2, 4, 5, 7})
        for (index_t stride : {1, 2})
            for (index_t dilation : {1, 2})
                expect_convolutions(shape_of(1, 20, 20, 14, 13, kernel, stride, kernel / 2, dilation, 20));
    for (index_t width = 1; width <= 24; ++width)
        expect_convolutions(shape_of(1, 16, 16, 3, width, 3, 1, 1, 1, 16));
    expect_convolutions(shape_of(1, 16, 16, 2, 2, 3, 2, 5, 1, 16));  // outputs that no tap reaches
}

TEST_P(ChannelsLast, OtherGroupsAgreeWithTheReference) {
    for (const Sides& sides : kSides)
        expect_convolution<float>(shape_of(2, 6, 4, 7, 8, 3, 1, 1, 1, 2), sides, 0, Activation::relu, 1e-6);
}

const std::vector<Conv2dShape> kShapes = {
    shape_of(5, 24, 40, 14, 14, 1, 1, 0),        shape_of(1, 96, 200, 7, 7, 1, 1, 0),
    shape_of(3, 3, 32, 20, 21, 3, 2, 1),         shape_of(4, 32, 24, 9, 9, 3, 2, 1),
    shape_of(5, 72, 72, 21, 20, 3, 1, 1, 1, 72), shape_of(3, 40, 40, 30, 30, 5, 2, 2, 1, 40)};

TEST_P(ChannelsLast, GivesTheSameBitsAtAnyThreadCount) {
    for (const Conv2dShape& s : kShapes)
        for (const Sides& sides : kSides) {
            SCOPED_TRACE(text(s, sides));
            Problem<float> p(s, sides);
            std::vector<std::vector<float>> results;
            for (int threads : {1, 2, 3, 4}) {
                set_num_threads(threads);
                p.run(Activation::relu);
                results.push_back(p.y.memory);
            }
            set_num_threads(0);
            for (const auto& result : results) EXPECT_EQ(result, results[0]);
        }
}

TEST_P(ChannelsLast, AnImageDoesNotDependOnItsBatch) {
    for (const Conv2dShape& s : kShapes)
        for (const Sides& sides : kSides) {
            SCOPED_TRACE(text(s, sides));
            Problem<float> p(s, sides);
            p.run();
            Conv2dShape one = s;
            one.batch = 1;
            for (index_t n = 0; n < s.batch; ++n) {
                Tensor<float> alone(1, s.out_channels, s.out_height(), s.out_width(), sides.out);
                Images<float> x = p.x.view();
                x.data += n * x.strides[0];
                conv2d<float>(one, x, p.w.view(), p.bias.data(), alone.view());
                const auto first = p.y.memory.begin() + n * p.y.view().strides[0];
                EXPECT_TRUE(std::equal(alone.memory.begin(), alone.memory.end(), first)) << n;
            }
        }
}

TEST_P(ChannelsLast, PreparedWeightsGiveTheSameBits) {
    for (const Conv2dShape& s : kShapes)
        for (const Sides& sides : kSides) {
            SCOPED_TRACE(text(s, sides));
            Problem<float> p(s, sides);
            p.run();
            const std::vector<float> wanted = p.y.memory;
            PreparedWeights<float> weights;
            for (int time = 0; time < 2; ++time) {
                prepare_forward<float>(s, p.w.view(), weights, kLast);
                std::fill(p.y.memory.begin(), p.y.memory.end(), 0.0f);
                p.run(Activation::identity, 0, &weights);
                EXPECT_EQ(p.y.memory, wanted);
            }
        }
}

// ReLU in the epilogue is ReLU: a NaN stays, and minus zero becomes zero.
TEST_P(ChannelsLast, RectifiesAsReluDoes) {
    for (index_t groups : {1, 8}) {
        Problem<float> p(shape_of(1, 8, 8, 2, 2, 1, 1, 0, 1, groups), kSides[0]);
        std::fill(p.x.memory.begin(), p.x.memory.end(), 0.0f);
        std::fill(p.bias.begin(), p.bias.end(), -0.0f);
        p.bias[1] = std::numeric_limits<float>::quiet_NaN();
        p.bias[2] = std::numeric_limits<float>::infinity();
        p.bias[3] = -std::numeric_limits<float>::infinity();
        p.run(Activation::relu);
        EXPECT_FALSE(std::signbit(p.y.at(0, 0, 1, 1)));
        EXPECT_TRUE(std::isnan(p.y.at(0, 1, 1, 1)));
        EXPECT_EQ(p.y.at(0, 2, 1, 1), std::numeric_limits<float>::infinity());
        EXPECT_EQ(p.y.at(0, 3, 1, 1), 0.0f);
    }
}

TEST_P(ChannelsLast, MeansOfPixelsAreThoseOfTheChannels) {
    for (index_t pixels : {1, 3, 64, 65, 200})
        for (index_t channels : {1, 8, 63, 64, 65, 300}) {
            Tensor<float> x(3, channels, 1, pixels, kLast);
            std::vector<float> got(static_cast<std::size_t>(3 * channels));
            pixel_means<float>(3, pixels, channels, x.memory.data(), got.data());
            for (index_t n = 0; n < 3; ++n)
                for (index_t c = 0; c < channels; ++c) {
                    double sum = 0;
                    for (index_t i = 0; i < pixels; ++i) sum += x.at(n, c, 0, i);
                    ASSERT_NEAR(got[static_cast<std::size_t>(n * channels + c)],
                                sum / static_cast<double>(pixels), 2e-6);
                }
        }
}

}  // namespace
