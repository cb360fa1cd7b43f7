// Convolution against a naive one in double, and the same bits at any number of threads.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "isas.h"
#include "ranvier/conv2d.h"
#include "ranvier/threads.h"

namespace {

using ranvier::Conv2dShape;
using ranvier::Images;
using ranvier::index_t;

template <class T>
struct Tensor {
    index_t shape[4];
    std::vector<T> memory;

    Tensor(index_t a, index_t b, index_t c, index_t d, unsigned seed) : shape{a, b, c, d} {
        memory.resize(static_cast<std::size_t>(a * b * c * d));
        std::mt19937 generator(seed);
        std::normal_distribution<double> normal;
        for (T& value : memory) value = static_cast<T>(normal(generator));
    }
    Images<T> view() {
        return {memory.data(), {shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1}};
    }
    T& at(index_t a, index_t b, index_t c, index_t d) {
        return memory[static_cast<std::size_t>(((a * shape[1] + b) * shape[2] + c) * shape[3] + d)];
    }
};

template <class T>
struct Problem {
    Conv2dShape s;
    Tensor<T> x, w, y, grad;

    explicit Problem(const Conv2dShape& shape)
        : s(shape),
          x(s.batch, s.in_channels, s.in_height, s.in_width, 1),
          w(s.out_channels, s.in_channels / s.groups, s.kernel_height, s.kernel_width, 2),
          y(s.batch, s.out_channels, s.out_height(), s.out_width(), 3),
          grad(s.batch, s.out_channels, s.out_height(), s.out_width(), 4) {}

    // body(sample, output channel, y, x, input channel of the group, i, j, row, column) for each product.
    template <class Body>
    void each(Body&& body) const {
        const index_t in = s.in_channels / s.groups, out = s.out_channels / s.groups;
        for (index_t n = 0; n < s.batch; ++n)
            for (index_t o = 0; o < s.out_channels; ++o)
                for (index_t y0 = 0; y0 < s.out_height(); ++y0)
                    for (index_t x0 = 0; x0 < s.out_width(); ++x0)
                        for (index_t c = 0; c < in; ++c)
                            for (index_t i = 0; i < s.kernel_height; ++i)
                                for (index_t j = 0; j < s.kernel_width; ++j) {
                                    const index_t row =
                                        y0 * s.stride_height + i * s.dilation_height - s.padding_height;
                                    const index_t col =
                                        x0 * s.stride_width + j * s.dilation_width - s.padding_width;
                                    if (row < 0 || row >= s.in_height || col < 0 || col >= s.in_width)
                                        continue;
                                    body(n, o, y0, x0, c, o / out * in + c, i, j, row, col);
                                }
    }
};

template <class T>
void expect_close(const std::vector<T>& got, const std::vector<double>& expected, double tolerance) {
    for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], expected[i], tolerance) << "element " << i;
}

template <class T>
void expect_convolution(const Conv2dShape& shape, double tolerance) {
    Problem<T> p(shape);
    std::vector<double> y(p.y.memory.size()), grad_x(p.x.memory.size()), grad_w(p.w.memory.size());
    p.each([&](index_t n, index_t o, index_t y0, index_t x0, index_t c, index_t channel, index_t i, index_t j,
               index_t row, index_t col) {
        const double x = p.x.at(n, channel, row, col), w = p.w.at(o, c, i, j), g = p.grad.at(n, o, y0, x0);
        y[&p.y.at(n, o, y0, x0) - p.y.memory.data()] += x * w;
        grad_x[&p.x.at(n, channel, row, col) - p.x.memory.data()] += g * w;
        grad_w[&p.w.at(o, c, i, j) - p.w.memory.data()] += g * x;
    });
    Problem<T> got(shape);
    ranvier::conv2d<T>(shape, p.x.view(), p.w.view(), nullptr, got.y.view());
    expect_close(got.y.memory, y, tolerance);
    ranvier::conv2d_backward_input<T>(shape, p.grad.view(), p.w.view(), got.x.view());
    expect_close(got.x.memory, grad_x, tolerance);
    std::vector<T> bias(static_cast<std::size_t>(shape.out_channels));
    ranvier::conv2d_backward_weights<T>(shape, p.grad.view(), p.x.view(), got.w.view(), bias.data());
    expect_close(got.w.memory, grad_w, tolerance);
}

Conv2dShape shape_of(index_t batch, index_t in, index_t out, index_t height, index_t width, index_t kernel,
                     index_t stride, index_t padding, index_t dilation, index_t groups) {
    return {batch,  in,     height,  width,   out,      kernel,   kernel,
            stride, stride, padding, padding, dilation, dilation, groups};
}

using Conv2d = EachIsa;
RANVIER_EACH_ISA(Conv2d);

// body() by the automatic choice, and by either way of the direct algorithm.
template <class Body>
void by_each_way(Body&& body) {
    using ranvier::Conv2dAlgorithm;
    for (const auto algorithm :
         {Conv2dAlgorithm::automatic, Conv2dAlgorithm::planes, Conv2dAlgorithm::channels_last}) {
        SCOPED_TRACE(static_cast<int>(algorithm));
        ranvier::set_conv2d_algorithm(algorithm);
        body();
    }
    ranvier::set_conv2d_algorithm(Conv2dAlgorithm::automatic);
}

// Of a kernel some of whose taps meet nothing but the padding.
const Conv2dShape kUnreadTaps[] = {
    shape_of(9, 20, 33, 1, 1, 3, 1, 1, 1, 1), shape_of(3, 9, 10, 2, 2, 5, 2, 2, 1, 1),
    shape_of(2, 4, 11, 1, 3, 7, 1, 3, 1, 1), shape_of(2, 6, 9, 2, 9, 5, 1, 4, 2, 3),
    shape_of(4, 3, 5, 1, 2, 3, 3, 2, 2, 1), shape_of(2, 6, 6, 1, 2, 5, 1, 2, 1, 6),
    // Rows of taps that only some rows of the output meet, or none.
    shape_of(3, 5, 9, 12, 17, 11, 2, 10, 2, 1), shape_of(2, 20, 18, 10, 12, 3, 1, 6, 6, 1),
    shape_of(2, 4, 6, 5, 17, 3, 1, 4, 4, 2), shape_of(2, 3, 5, 4, 9, 3, 1, 5, 1, 1)};

TEST_P(Conv2d, AgreesWithTheReferenceWherePaddingIsAllThatSomeTapsMeet) {
    by_each_way([] {
        for (const Conv2dShape& shape : kUnreadTaps) {
            expect_convolution<float>(shape, 2e-3);
            expect_convolution<double>(shape, 1e-11);
        }
    });
}

TEST_P(Conv2d, AgreesWithTheReferenceInGroups) {
    by_each_way([] {
        for (const Conv2dShape& shape :
             {shape_of(2, 6, 4, 9, 8, 3, 1, 1, 1, 2), shape_of(3, 40, 24, 5, 3, 3, 2, 1, 1, 4),
              shape_of(1, 32, 64, 4, 4, 1, 1, 0, 1, 2), shape_of(2, 7, 14, 6, 11, 3, 3, 2, 2, 7),
              shape_of(2, 150, 51, 3, 2, 2, 1, 0, 1, 3)}) {
            expect_convolution<float>(shape, 2e-3);
            expect_convolution<double>(shape, 1e-11);
        }
    });
}

TEST_P(Conv2d, AgreesWithTheReference) {
    by_each_way([] {
        for (const Conv2dShape& shape :
             {shape_of(2, 1, 16, 28, 28, 5, 1, 2, 1, 1), shape_of(1, 16, 32, 14, 14, 5, 1, 2, 1, 1),
              shape_of(2, 3, 7, 19, 23, 3, 2, 1, 1, 1), shape_of(1, 4, 6, 9, 11, 3, 3, 2, 2, 2),
              shape_of(2, 5, 5, 12, 33, 3, 1, 1, 1, 5), shape_of(1, 6, 4, 8, 8, 1, 1, 0, 1, 1),
              shape_of(1, 2, 3, 7, 7, 2, 3, 0, 1, 1), shape_of(3, 50, 13, 6, 6, 3, 1, 1, 1, 1),
              // Strides and small maps of many channels.
              shape_of(2, 16, 37, 13, 15, 3, 2, 1, 1, 1), shape_of(9, 20, 33, 4, 4, 3, 2, 1, 1, 1),
              shape_of(5, 70, 18, 2, 2, 3, 1, 1, 1, 1), shape_of(1, 8, 40, 31, 30, 5, 3, 0, 2, 1),
              shape_of(2, 33, 9, 16, 15, 1, 2, 0, 1, 1), shape_of(1, 9, 8, 70, 9, 2, 3, 2, 1, 1),
              shape_of(2, 11, 12, 1, 1, 1, 2, 3, 1, 1), shape_of(5, 1, 2, 21, 5, 2, 2, 0, 1, 1),
              shape_of(2, 9, 1, 8, 7, 3, 1, 1, 1, 1), shape_of(1, 130, 10, 5, 3, 3, 2, 2, 1, 1),
              // Several blocks of channels, with few weights and with many.
              shape_of(3, 150, 21, 4, 5, 1, 1, 0, 1, 1), shape_of(2, 170, 90, 4, 3, 3, 1, 1, 1, 1)}) {
            expect_convolution<float>(shape, 2e-3);
            expect_convolution<double>(shape, 1e-11);
        }
    });
}

TEST_P(Conv2d, AgreesWithTheReferenceByWinograd) {
    for (const auto algorithm :
         {ranvier::Conv2dAlgorithm::winograd_2, ranvier::Conv2dAlgorithm::winograd_4}) {
        ranvier::set_conv2d_algorithm(algorithm);
        for (const Conv2dShape& shape :
             {shape_of(2, 1, 16, 9, 28, 5, 1, 2, 1, 1), shape_of(1, 16, 32, 14, 14, 5, 1, 2, 1, 1),
              shape_of(3, 50, 13, 6, 6, 3, 1, 1, 1, 1), shape_of(1, 17, 70, 8, 3, 3, 1, 2, 1, 1),
              shape_of(30, 20, 40, 13, 7, 3, 1, 0, 1, 1), shape_of(1, 1, 1, 1, 1, 3, 1, 1, 1, 1)}) {
            expect_convolution<float>(shape, 5e-3);
            expect_convolution<double>(shape, 1e-10);
        }
    }
    ranvier::set_conv2d_algorithm(ranvier::Conv2dAlgorithm::automatic);
}

// Those added to what is there are, to the bit, those written, and added.
template <class T>
void expect_accumulation(const Conv2dShape& shape) {
    Problem<T> written(shape), added(shape);
    Problem<T> p(shape);
    const auto channels = static_cast<std::size_t>(shape.out_channels);
    std::vector<T> bias(channels), sum(channels, T(3));
    ranvier::conv2d_backward_weights<T>(shape, p.grad.view(), p.x.view(), written.w.view(), bias.data());
    ranvier::conv2d_backward_weights<T>(shape, p.grad.view(), p.x.view(), added.w.view(), sum.data(), true);
    for (std::size_t i = 0; i < p.w.memory.size(); ++i)
        ASSERT_EQ(added.w.memory[i], p.w.memory[i] + written.w.memory[i]) << "weight " << i;
    for (std::size_t o = 0; o < channels; ++o) ASSERT_EQ(sum[o], T(3) + bias[o]) << "bias " << o;
    // The same for weights that are not contiguous.
    Images<T> columns = added.w.view();
    std::swap(columns.strides[2], columns.strides[3]);
    added.w.memory = p.w.memory;
    ranvier::conv2d_backward_weights<T>(shape, p.grad.view(), p.x.view(), columns, nullptr, true);
    const index_t kernel = shape.kernel_height;
    for (std::size_t i = 0; i < p.w.memory.size(); ++i) {
        const index_t tap = static_cast<index_t>(i) % (kernel * kernel);
        const std::size_t from = i - tap + tap % kernel * kernel + tap / kernel;
        ASSERT_EQ(added.w.memory[i], p.w.memory[i] + written.w.memory[from]) << "weight " << i;
    }
}

TEST_P(Conv2d, GradientsToWeightsAreAddedToWhatIsThere) {
    for (const auto algorithm :
         {ranvier::Conv2dAlgorithm::automatic, ranvier::Conv2dAlgorithm::planes,
          ranvier::Conv2dAlgorithm::channels_last, ranvier::Conv2dAlgorithm::winograd_2,
          ranvier::Conv2dAlgorithm::winograd_4}) {
        ranvier::set_conv2d_algorithm(algorithm);
        for (const Conv2dShape& shape :
             {shape_of(2, 1, 16, 9, 28, 5, 1, 2, 1, 1), shape_of(3, 50, 13, 6, 6, 3, 1, 1, 1, 1),
              shape_of(4, 4, 6, 9, 11, 3, 3, 2, 2, 2), shape_of(2, 5, 5, 12, 33, 3, 1, 1, 1, 5),
              shape_of(9, 16, 20, 32, 32, 3, 1, 1, 1, 1), shape_of(2, 6, 4, 8, 8, 1, 1, 0, 1, 1),
              shape_of(2, 90, 100, 5, 4, 3, 1, 1, 1, 1), shape_of(3, 10, 19, 9, 8, 3, 2, 1, 1, 1),
              shape_of(0, 3, 4, 5, 5, 3, 1, 1, 1, 1)}) {
            expect_accumulation<float>(shape);
            expect_accumulation<double>(shape);
        }
        for (const Conv2dShape& shape : kUnreadTaps) expect_accumulation<float>(shape);
    }
    ranvier::set_conv2d_algorithm(ranvier::Conv2dAlgorithm::automatic);
}

TEST_P(Conv2d, PreparedWeightsGiveTheSameBits) {
    by_each_way([] {
        for (const Conv2dShape& shape :
             {shape_of(3, 16, 32, 14, 14, 5, 1, 2, 1, 1), shape_of(40, 20, 17, 9, 13, 3, 1, 1, 1, 1),
              shape_of(2, 3, 8, 10, 10, 3, 2, 1, 1, 1), shape_of(3, 20, 35, 12, 9, 3, 2, 1, 1, 1),
              shape_of(3, 9, 10, 2, 2, 5, 2, 2, 1, 1), shape_of(3, 40, 24, 5, 3, 3, 2, 1, 1, 4)}) {
            Problem<float> p(shape), prepared(shape);
            ranvier::PreparedWeights<float> weights;
            for (int time = 0; time < 2; ++time) {
                ranvier::prepare_forward<float>(shape, p.w.view(), weights);
                ranvier::conv2d<float>(shape, p.x.view(), p.w.view(), nullptr, p.y.view());
                ranvier::conv2d<float>(shape, p.x.view(), p.w.view(), nullptr, prepared.y.view(),
                                       ranvier::Activation::identity, 0.0f, &weights);
                EXPECT_EQ(prepared.y.memory, p.y.memory);
                Problem<float> wanted(shape), got(shape);
                ranvier::prepare_backward_input<float>(shape, p.w.view(), weights);
                ranvier::conv2d_backward_input<float>(shape, p.grad.view(), p.w.view(), wanted.x.view());
                ranvier::conv2d_backward_input<float>(shape, p.grad.view(), p.w.view(), got.x.view(),
                                                      &weights);
                EXPECT_EQ(got.x.memory, wanted.x.memory);
            }
        }
    });
}

TEST_P(Conv2d, GivesTheSameBitsAtAnyThreadCount) {
    by_each_way([] {
        for (const Conv2dShape& shape :
             {shape_of(3, 16, 24, 40, 40, 3, 1, 1, 1, 1), shape_of(5, 16, 24, 40, 40, 3, 2, 1, 1, 1),
              shape_of(1, 32, 40, 16, 16, 3, 1, 1, 1, 1), shape_of(1, 64, 72, 8, 8, 3, 1, 1, 1, 1),
              shape_of(9, 130, 96, 4, 4, 3, 2, 1, 1, 1), shape_of(5, 40, 80, 12, 12, 3, 1, 1, 1, 4)}) {
            Problem<float> p(shape);
            ranvier::PreparedWeights<float> forward, back;
            ranvier::prepare_forward<float>(shape, p.w.view(), forward);
            ranvier::prepare_backward_input<float>(shape, p.w.view(), back);
            std::vector<std::vector<float>> results;
            for (int threads : {1, 2, 3, 4}) {
                ranvier::set_num_threads(threads);
                Problem<float> got(shape);
                std::vector<float> bias(static_cast<std::size_t>(shape.out_channels));
                ranvier::conv2d<float>(shape, p.x.view(), p.w.view(), nullptr, got.y.view(),
                                       ranvier::Activation::identity, 0.0f, &forward);
                ranvier::conv2d_backward_input<float>(shape, p.grad.view(), p.w.view(), got.x.view(), &back);
                ranvier::conv2d_backward_weights<float>(shape, p.grad.view(), p.x.view(), got.w.view(),
                                                        bias.data());
                std::vector<float> all = got.y.memory;
                for (const auto* part : {&got.x.memory, &got.w.memory, &bias})
                    all.insert(all.end(), part->begin(), part->end());
                results.push_back(all);
            }
            ranvier::set_num_threads(0);
            for (const auto& result : results) EXPECT_EQ(result, results[0]);
        }
    });
}

// An image's outputs, and its gradient, in a batch are those that it has alone.
TEST_P(Conv2d, AnImageDoesNotDependOnItsBatch) {
    for (const Conv2dShape& shape :
         {shape_of(7, 16, 24, 11, 10, 3, 2, 1, 1, 1), shape_of(7, 40, 33, 2, 2, 3, 1, 1, 1, 1),
          shape_of(7, 32, 40, 16, 16, 3, 1, 1, 1, 1)}) {
        Problem<float> p(shape);
        ranvier::conv2d<float>(shape, p.x.view(), p.w.view(), nullptr, p.y.view());
        Problem<float> back(shape);
        ranvier::conv2d_backward_input<float>(shape, p.grad.view(), p.w.view(), back.x.view());
        Conv2dShape one = shape;
        one.batch = 1;
        for (index_t n = 0; n < shape.batch; ++n) {
            Problem<float> alone(one);
            Images<float> x = p.x.view(), grad = p.grad.view();
            x.data += n * x.strides[0];
            grad.data += n * grad.strides[0];
            ranvier::conv2d<float>(one, x, p.w.view(), nullptr, alone.y.view());
            ranvier::conv2d_backward_input<float>(one, grad, p.w.view(), alone.x.view());
            for (std::size_t i = 0; i < alone.y.memory.size(); ++i)
                ASSERT_EQ(alone.y.memory[i],
                          p.y.memory[static_cast<std::size_t>(n) * alone.y.memory.size() + i]);
            for (std::size_t i = 0; i < alone.x.memory.size(); ++i)
                ASSERT_EQ(alone.x.memory[i],
                          back.x.memory[static_cast<std::size_t>(n) * alone.x.memory.size() + i]);
        }
    }
}

TEST(Conv2dShape, RefusesWhatMakesNoSense) {
    Conv2dShape good = shape_of(1, 4, 4, 8, 8, 3, 1, 1, 1, 2);
    EXPECT_NO_THROW(check(good));
    for (auto field : {&Conv2dShape::stride_height, &Conv2dShape::kernel_width, &Conv2dShape::dilation_width,
                       &Conv2dShape::groups}) {
        Conv2dShape bad = good;
        bad.*field = 0;
        EXPECT_THROW(check(bad), std::invalid_argument);
    }
    good.groups = 3;
    EXPECT_THROW(check(good), std::invalid_argument);
}

}  // namespace
