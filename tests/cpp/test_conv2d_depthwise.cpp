// Depthwise convolution and its gradients against a naive one in double, for every kind of stride, padding
// and size; the same bits at any number of threads and in any batch.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "isas.h"
#include "ranvier/conv2d.h"
#include "ranvier/threads.h"

namespace {

using ranvier::Conv2dShape;
using ranvier::Images;
using ranvier::index_t;

Conv2dShape shape_of(index_t batch, index_t channels, index_t height, index_t width, index_t kernel_height,
                     index_t kernel_width, index_t stride_height, index_t stride_width,
                     index_t padding_height, index_t padding_width, index_t dilation = 1) {
    return {batch,         channels,     height,         width,         channels, kernel_height, kernel_width,
            stride_height, stride_width, padding_height, padding_width, dilation, dilation,      channels};
}

std::string text(const Conv2dShape& s) {
    std::string result;
    for (index_t n : {s.batch, s.in_channels, s.in_height, s.in_width, s.kernel_height, s.kernel_width,
                      s.stride_height, s.stride_width, s.padding_height, s.padding_width, s.dilation_height})
        result += std::to_string(n) + " ";
    return result;
}

std::mt19937 generator(1);

template <class T>
std::vector<T> normal(index_t size) {
    std::normal_distribution<double> distribution;
    std::vector<T> values(static_cast<std::size_t>(size));
    for (T& value : values) value = static_cast<T>(distribution(generator));
    return values;
}

// Four arrays of the shape: images of height x width whose rows and planes may have gaps between them.
template <class T>
struct Planes {
    index_t channels, height, width, pitch, plane;
    std::vector<T> memory;

    Planes(index_t batch, index_t channel_count, index_t rows, index_t cols, index_t gap)
        : channels(channel_count),
          height(rows),
          width(cols),
          pitch(cols + gap),
          plane(rows * pitch + 3 * gap),
          memory(normal<T>(batch * channels * plane)) {}
    Images<T> view() { return {memory.data(), {channels * plane, plane, pitch, 1}}; }
    T& at(index_t n, index_t c, index_t y, index_t x) {
        return memory[static_cast<std::size_t>((n * channels + c) * plane + y * pitch + x)];
    }
};

template <class T>
struct Problem {
    Conv2dShape s;
    Planes<T> x, w, grad;
    std::vector<T> bias;

    explicit Problem(const Conv2dShape& shape, index_t gap = 0)
        : s(shape),
          x(s.batch, s.in_channels, s.in_height, s.in_width, gap),
          w(s.in_channels, 1, s.kernel_height, s.kernel_width, gap),
          grad(s.batch, s.in_channels, s.out_height(), s.out_width(), gap),
          bias(normal<T>(s.in_channels)) {}

    // body(n, c, y, x, i, j, row, column) for each product.
    template <class Body>
    void each(Body&& body) const {
        for (index_t n = 0; n < s.batch; ++n)
            for (index_t c = 0; c < s.in_channels; ++c)
                for (index_t y0 = 0; y0 < s.out_height(); ++y0)
                    for (index_t x0 = 0; x0 < s.out_width(); ++x0)
                        for (index_t i = 0; i < s.kernel_height; ++i)
                            for (index_t j = 0; j < s.kernel_width; ++j) {
                                const index_t row =
                                    y0 * s.stride_height + i * s.dilation_height - s.padding_height;
                                const index_t column =
                                    x0 * s.stride_width + j * s.dilation_width - s.padding_width;
                                if (row >= 0 && row < s.in_height && column >= 0 && column < s.in_width)
                                    body(n, c, y0, x0, i, j, row, column);
                            }
    }
};

template <class T>
struct Results {
    Planes<T> y, grad_x, grad_w;
    std::vector<T> grad_bias;

    Results(const Conv2dShape& s, index_t gap)
        : y(s.batch, s.in_channels, s.out_height(), s.out_width(), gap),
          grad_x(s.batch, s.in_channels, s.in_height, s.in_width, gap),
          grad_w(s.in_channels, 1, s.kernel_height, s.kernel_width, gap),
          grad_bias(static_cast<std::size_t>(s.in_channels)) {}
};

template <class T>
Results<T> results_of(Problem<T>& p, index_t gap = 0) {
    Results<T> r(p.s, gap);
    ranvier::conv2d<T>(p.s, p.x.view(), p.w.view(), p.bias.data(), r.y.view());
    ranvier::conv2d_backward_input<T>(p.s, p.grad.view(), p.w.view(), r.grad_x.view());
    ranvier::conv2d_backward_weights<T>(p.s, p.grad.view(), p.x.view(), r.grad_w.view(), r.grad_bias.data());
    return r;
}

// That the pixels agree, and that what lies between the rows was left alone.
template <class T>
void expect_close(Planes<T> got, Planes<T> untouched, Planes<double> expected, index_t batch,
                  double tolerance) {
    for (index_t n = 0; n < batch; ++n)
        for (index_t c = 0; c < got.channels; ++c)
            for (index_t y = 0; y < got.height; ++y)
                for (index_t x = 0; x < got.width; ++x) {
                    ASSERT_NEAR(got.at(n, c, y, x), expected.at(n, c, y, x), tolerance)
                        << "at " << n << " " << c << " " << y << " " << x;
                    got.at(n, c, y, x) = untouched.at(n, c, y, x) = T{};
                }
    EXPECT_EQ(got.memory, untouched.memory);
}

template <class T>
void expect_convolution(const Conv2dShape& s, index_t gap, double eps) {
    SCOPED_TRACE(text(s) + " gap " + std::to_string(gap));
    Problem<T> p(s, gap);
    Results<double> wanted(s, 0);
    for (Planes<double>* planes : {&wanted.y, &wanted.grad_x, &wanted.grad_w})
        std::fill(planes->memory.begin(), planes->memory.end(), 0.0);
    for (index_t n = 0; n < s.batch; ++n)
        for (index_t c = 0; c < s.in_channels; ++c)
            for (index_t y = 0; y < s.out_height(); ++y)
                for (index_t x = 0; x < s.out_width(); ++x) {
                    wanted.y.at(n, c, y, x) = p.bias[c];
                    wanted.grad_bias[c] += p.grad.at(n, c, y, x);
                }
    p.each(
        [&](index_t n, index_t c, index_t y, index_t x, index_t i, index_t j, index_t row, index_t column) {
            const double pixel = p.x.at(n, c, row, column), w = p.w.at(c, 0, i, j), g = p.grad.at(n, c, y, x);
            wanted.y.at(n, c, y, x) += pixel * w;
            wanted.grad_x.at(n, c, row, column) += g * w;
            wanted.grad_w.at(c, 0, i, j) += g * pixel;
        });
    generator.seed(2);
    Results<T> got = results_of(p, gap);
    generator.seed(2);
    const Results<T> untouched(s, gap);
    const double taps = static_cast<double>(s.kernel_height * s.kernel_width);
    const double outputs = static_cast<double>(s.batch * s.out_height() * s.out_width());
    expect_close(got.y, untouched.y, wanted.y, s.batch, eps * (8 + 4 * taps));
    expect_close(got.grad_x, untouched.grad_x, wanted.grad_x, s.batch, eps * (8 + 4 * taps));
    const double tolerance = eps * (20 + 6 * outputs);
    expect_close(got.grad_w, untouched.grad_w, wanted.grad_w, s.in_channels, tolerance);
    for (index_t c = 0; c < s.in_channels; ++c)
        ASSERT_NEAR(got.grad_bias[c], wanted.grad_bias[c], tolerance) << c;
}

void expect_convolutions(const Conv2dShape& s, index_t gap = 0) {
    expect_convolution<float>(s, gap, 1e-6);
    expect_convolution<double>(s, gap, 2e-15);
}

using DepthwiseConv2d = EachIsa;
RANVIER_EACH_ISA(DepthwiseConv2d);

TEST_P(DepthwiseConv2d, AgreesWithTheReferenceForEveryWidth) {
    for (index_t width = 1; width <= 40; ++width)
        for (index_t stride : {1, 2, 3})
            for (index_t padding : {0, 1, 2}) {
                if (width + 2 * padding >= 3)
                    expect_convolutions(shape_of(1, 3, width, width, 3, 3, stride, stride, padding, padding));
                if (width + 2 * padding >= 5)
                    expect_convolutions(shape_of(1, 2, 7, width, 5, 5, stride, stride, padding, padding));
            }
}

TEST_P(DepthwiseConv2d, AgreesWithTheReferenceForEveryKindOfKernel) {
    struct Size {
        index_t height, width;
    };
    for (const Size kernel : {Size{1, 1}, {3, 3}, {5, 5}, {7, 7}, {2, 4}, {3, 1}})
        for (const Size stride : {Size{1, 1}, {2, 2}, {3, 3}, {1, 2}, {2, 1}})
            for (const Size padding : {Size{0, 0}, {1, 1}, {3, 3}, {0, 2}, {3, 1}})
                for (index_t dilation : {1, 2})
                    for (const Size image : {Size{13, 13}, {4, 4}, {7, 7}, {8, 5}, {16, 37}}) {
                        if (dilation * (kernel.height - 1) + 1 > image.height + 2 * padding.height ||
                            dilation * (kernel.width - 1) + 1 > image.width + 2 * padding.width)
                            continue;
                        expect_convolutions(shape_of(2, 3, image.height, image.width, kernel.height,
                                                     kernel.width, stride.height, stride.width,
                                                     padding.height, padding.width, dilation));
                    }
}

TEST_P(DepthwiseConv2d, AgreesWithTheReferenceForManyChannelsAndLargeMaps) {
    for (index_t channels : {1, 16, 17, 33})
        for (index_t size : {4, 7, 8, 14})
            for (index_t stride : {1, 2})
                expect_convolutions(shape_of(2, channels, size, size, 3, 3, stride, stride, 1, 1));
    for (index_t stride : {1, 2}) expect_convolutions(shape_of(2, 2, 113, 112, 3, 3, stride, stride, 1, 1));
    expect_convolutions(shape_of(1, 1, 5, 1500, 3, 3, 1, 1, 1, 1));
    expect_convolutions(shape_of(1, 2, 6, 7, 2, 2, 30000, 30000, 0, 0));
}

TEST_P(DepthwiseConv2d, TakesRowsAndPlanesThatLieApart) {
    for (index_t size : {4, 7, 8, 19})
        for (index_t stride : {1, 2, 3})
            expect_convolutions(shape_of(2, 3, size, size, 3, 3, stride, stride, 1, 1), 1);
}

template <class T>
void expect_same_bits_anywhere(const Conv2dShape& s) {
    SCOPED_TRACE(text(s));
    Problem<T> p(s);
    ranvier::set_num_threads(1);
    const Results<T> alone = results_of(p);
    for (int threads : {2, 3}) {
        ranvier::set_num_threads(threads);
        const Results<T> got = results_of(p);
        EXPECT_EQ(got.y.memory, alone.y.memory);
        EXPECT_EQ(got.grad_x.memory, alone.grad_x.memory);
        EXPECT_EQ(got.grad_w.memory, alone.grad_w.memory);
        EXPECT_EQ(got.grad_bias, alone.grad_bias);
    }
    ranvier::set_num_threads(0);
    Conv2dShape one = s;
    one.batch = 1;
    Problem<T> last(one);
    const auto keep_last = [](std::vector<T>& to, const std::vector<T>& from) {
        to.assign(from.end() - static_cast<index_t>(to.size()), from.end());
    };
    keep_last(last.x.memory, p.x.memory);
    keep_last(last.grad.memory, p.grad.memory);
    last.w = p.w;
    last.bias = p.bias;
    const Results<T> got = results_of(last);
    std::vector<T> wanted = got.y.memory;
    keep_last(wanted, alone.y.memory);
    EXPECT_EQ(got.y.memory, wanted);
    wanted = got.grad_x.memory;
    keep_last(wanted, alone.grad_x.memory);
    EXPECT_EQ(got.grad_x.memory, wanted);
}

TEST_P(DepthwiseConv2d, GivesTheSameBitsAtAnyThreadCountAndInAnyBatch) {
    for (index_t stride : {1, 2})
        for (const Conv2dShape& s : {shape_of(5, 40, 32, 32, 3, 3, stride, stride, 1, 1),
                                     shape_of(9, 67, 8, 8, 3, 3, stride, stride, 1, 1),
                                     shape_of(9, 67, 7, 7, 5, 5, stride, stride, 2, 2)}) {
            expect_same_bits_anywhere<float>(s);
            expect_same_bits_anywhere<double>(s);
        }
}

// What is not a number reaches only the outputs whose kernel covers it, and only the taps that meet it.
TEST_P(DepthwiseConv2d, NansReachWhatTheyTouch) {
    for (index_t width : {4, 8, 13, 20})
        for (index_t stride : {1, 2}) {
            const Conv2dShape s = shape_of(1, 2, 6, width, 3, 3, stride, stride, 0, 0);
            SCOPED_TRACE(text(s));
            Problem<float> p(s);
            p.x.at(0, 0, 5, width - 1) = std::numeric_limits<float>::quiet_NaN();
            Planes<int> y(1, 2, s.out_height(), s.out_width(), 0), w(2, 1, 3, 3, 0);
            y.memory.assign(y.memory.size(), 0);
            w.memory.assign(w.memory.size(), 0);
            p.each([&](index_t n, index_t c, index_t y0, index_t x0, index_t i, index_t j, index_t row,
                       index_t column) {
                if (!std::isnan(p.x.at(n, c, row, column))) return;
                y.at(n, c, y0, x0) = w.at(c, 0, i, j) = 1;
            });
            const Results<float> got = results_of(p);
            for (std::size_t k = 0; k < y.memory.size(); ++k)
                EXPECT_EQ(std::isnan(got.y.memory[k]), y.memory[k] == 1) << k;
            for (std::size_t k = 0; k < w.memory.size(); ++k)
                EXPECT_EQ(std::isnan(got.grad_w.memory[k]), w.memory[k] == 1) << k;
        }
}

TEST_P(DepthwiseConv2d, TakesTheActivationOfTheSums) {
    for (index_t size : {7, 20}) {
        const Conv2dShape s = shape_of(2, 5, size, size, 3, 3, 1, 1, 1, 1);
        Problem<float> p(s);
        Results<float> plain = results_of(p), got = results_of(p);
        ranvier::conv2d<float>(s, p.x.view(), p.w.view(), p.bias.data(), got.y.view(),
                               ranvier::Activation::relu);
        for (float& value : plain.y.memory) value = std::max(value, 0.0f);
        EXPECT_EQ(got.y.memory, plain.y.memory);
    }
}

}  // namespace
