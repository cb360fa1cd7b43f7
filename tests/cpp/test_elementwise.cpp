// Activations, softmax, pooling and random masks, where a C++ program calls them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "isas.h"
#include "ranvier/activation.h"
#include "ranvier/loss.h"
#include "ranvier/pool2d.h"
#include "ranvier/random.h"
#include "ranvier/softmax.h"

namespace {

using ranvier::Activation;
using ranvier::index_t;

using Elementwise = EachIsa;
RANVIER_EACH_ISA(Elementwise);

template <class T>
void expect_activation(Activation f, double (*reference)(double), T parameter = T(0.25)) {
    for (index_t n : {0, 1, 3, 7, 15, 16, 17, 100}) {
        std::vector<T> x(static_cast<std::size_t>(n)), y(x.size());
        for (index_t i = 0; i < n; ++i) x[i] = static_cast<T>(std::sin(i * 1.7) * (i % 5 + 0.3) * 3);
        ranvier::activation<T>(f, n, x.data(), y.data(), parameter);
        for (index_t i = 0; i < n; ++i) {
            const double expected = reference(static_cast<double>(x[i]));
            EXPECT_NEAR(y[i], expected, 4 * std::numeric_limits<T>::epsilon() * (1e-3 + std::abs(expected)))
                << x[i];
        }
    }
}

TEST_P(Elementwise, ActivationsAgreeWithTheLibrary) {
    const auto each = [](Activation f, double (*reference)(double)) {
        expect_activation<float>(f, reference);
        expect_activation<double>(f, reference);
    };
    each(Activation::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); });
    each(Activation::tanh, [](double x) { return std::tanh(x); });
    each(Activation::relu, [](double x) { return x > 0 ? x : 0; });
    each(Activation::leaky_relu, [](double x) { return x > 0 ? x : 0.25 * x; });
    each(Activation::elu, [](double x) { return x > 0 ? x : 0.25 * std::expm1(x); });
    each(Activation::softplus, [](double x) { return std::log1p(std::exp(x)); });
    each(Activation::relu6, [](double x) { return std::min(std::max(x, 0.0), 6.0); });
    each(Activation::selu,
         [](double x) { return 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * std::expm1(x)); });
    each(Activation::silu, [](double x) { return x / (1 + std::exp(-x)); });
    each(Activation::mish, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); });
    each(Activation::hardswish, [](double x) { return x * std::min(std::max(x + 3, 0.0), 6.0) / 6; });
    each(Activation::heaviside, [](double x) { return x > 0 ? 1.0 : 0.0; });
}

// Steps so small that each piece of a table has many numbers, on both sides of zero.
void expect_small_relative_errors(Activation f, double (*reference)(double)) {
    constexpr index_t kCount = 200'001;
    std::vector<float> x(kCount), y(kCount);
    for (index_t i = 0; i < kCount; ++i) x[i] = static_cast<float>(i - kCount / 2) * 1e-4f;
    ranvier::activation<float>(f, kCount, x.data(), y.data(), 0.0f);
    for (index_t i = 0; i < kCount; ++i) {
        const double expected = reference(static_cast<double>(x[i]));
        ASSERT_LE(std::abs(static_cast<double>(y[i]) - expected), 6 * 0x1p-23 * std::abs(expected)) << x[i];
    }
}

TEST_P(Elementwise, TanhAndGeluAreExactFromEndToEnd) {
    expect_small_relative_errors(Activation::tanh, [](double x) { return std::tanh(x); });
    expect_small_relative_errors(Activation::gelu,
                                 [](double x) { return 0.5 * x * std::erfc(-x * std::sqrt(0.5)); });
}

// The first summand is the output, too.
template <class T>
void expect_activation_of_sum(index_t n) {
    std::vector<T> a(static_cast<std::size_t>(n)), b(a.size());
    std::vector<double> expected(a.size());
    for (index_t i = 0; i < n; ++i) {
        a[i] = static_cast<T>(std::cos(0.7 * static_cast<double>(i)));
        b[i] = static_cast<T>(std::cos(1.7 * static_cast<double>(i)));
        expected[i] = static_cast<double>(a[i]) + static_cast<double>(b[i]);
    }
    ranvier::activation_of_sum<T>(Activation::leaky_relu, n, a.data(), b.data(), a.data(), T(0.25));
    for (index_t i = 0; i < n; ++i)
        ASSERT_NEAR(a[i], std::max(expected[i], 0.25 * expected[i]), 8 * std::numeric_limits<T>::epsilon())
            << i;
}

TEST_P(Elementwise, ActivationsOfSumsAreThoseOfTheSum) {
    for (index_t n : {0, 1, 17, 2047, 2048, 2049, 13'001, 40'000}) {
        expect_activation_of_sum<float>(n);
        expect_activation_of_sum<double>(n);
    }
}

TEST_P(Elementwise, SoftmaxRowsAreShares) {
    for (index_t cols : {1, 5, 16, 33}) {
        std::vector<double> x(static_cast<std::size_t>(3 * cols)), y(x.size());
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::cos(static_cast<double>(i)) * 50;
        ranvier::softmax<double>(ranvier::row_major<const double>(x.data(), {3, cols}),
                                 ranvier::row_major(y.data(), {3, cols}), 1);
        for (index_t i = 0; i < 3; ++i) {
            const auto row = [&](const std::vector<double>& from) { return from.begin() + i * cols; };
            const double most = *std::max_element(row(x), row(x) + cols);
            double total = 0;
            for (index_t j = 0; j < cols; ++j) total += std::exp(row(x)[j] - most);
            for (index_t j = 0; j < cols; ++j) {
                const double expected = std::exp(row(x)[j] - most) / total;
                EXPECT_NEAR(row(y)[j], expected, 1e-14 * expected);
            }
        }
    }
}

// Beyond 2^(max exponent) a sum of two halves of x overflows; GELU has its limits there all the same.
template <class T>
void expect_gelu_limits() {
    for (T x : {T(39), std::ldexp(T(1), std::numeric_limits<T>::max_exponent - 1),
                std::numeric_limits<T>::max(), std::numeric_limits<T>::infinity()}) {
        const T in[2] = {x, -x}, one[2] = {1, 1};
        T y[2], slope[2];
        ranvier::activation<T>(Activation::gelu, 2, in, y, T{});
        ranvier::activation_backward_kept<T>(Activation::gelu, 2, one, in, slope, T{});
        EXPECT_EQ(y[0], x);
        EXPECT_EQ(y[1], 0) << x;
        EXPECT_EQ(slope[0], 1) << x;
        EXPECT_EQ(slope[1], 0) << x;
    }
}

TEST_P(Elementwise, GeluKeepsItsLimits) {
    expect_gelu_limits<float>();
    expect_gelu_limits<double>();
}

// Adding a number to all logits changes nothing: the logarithm of the sum must not be rounded beside it.
template <class T>
void expect_offset_is_lost(T offset) {
    const double tolerance = 8 * std::numeric_limits<T>::epsilon();
    // Beyond the offset, numbers that are exact beside it.
    const double beyond[3] = {0, 0.5, -1.25};
    double total = 0;
    for (double value : beyond) total += std::exp(value);
    std::vector<T> x(6), y(6);
    for (const bool columns : {false, true}) {
        const index_t rows = columns ? 3 : 2, cols = columns ? 2 : 3;
        const auto position = [&](std::size_t i) { return columns ? i / 2 : i % 3; };
        for (std::size_t i = 0; i < 6; ++i) x[i] = offset + static_cast<T>(beyond[position(i)]);
        ranvier::log_softmax<T>(ranvier::row_major<const T>(x.data(), {rows, cols}),
                                ranvier::row_major(y.data(), {rows, cols}), columns ? 0 : 1);
        for (std::size_t i = 0; i < 6; ++i)
            EXPECT_NEAR(y[i], beyond[position(i)] - std::log(total), tolerance) << offset;
    }
    for (std::size_t i = 0; i < 6; ++i) x[i] = offset + static_cast<T>(beyond[i % 3]);
    const double expected = std::log(total) - (beyond[0] + beyond[2]) / 2;  // the mean of the labels' two
    const std::int64_t labels[2] = {0, 2};
    const T dense[6] = {1, 0, 0, 0, 0, 1};
    const auto loss = ranvier::Loss::softmax_cross_entropy;
    const auto labelled = ranvier::loss_of_batch<T>(loss, 2, 3, x.data(), {nullptr, labels}, nullptr);
    const auto targeted = ranvier::loss_of_batch<T>(loss, 2, 3, x.data(), {dense}, nullptr);
    EXPECT_NEAR(labelled.loss, 2 * expected, 2 * tolerance) << offset;
    EXPECT_NEAR(targeted.loss, 2 * expected, 2 * tolerance) << offset;
}

TEST_P(Elementwise, LogSoftmaxDoesNotSeeACommonOffset) {
    for (double offset : {0.0, 100.0, -1e4, 1e6}) {
        expect_offset_is_lost<float>(static_cast<float>(offset));
        expect_offset_is_lost<double>(offset);
    }
}

TEST_P(Elementwise, MaximaAndTheirGradients) {
    ranvier::Pool2dShape shape;
    shape.batch = 1;
    shape.channels = 2;
    shape.in_height = shape.in_width = 37;
    shape.kernel_height = shape.kernel_width = 3;
    shape.stride_height = shape.stride_width = 2;
    shape.padding_height = shape.padding_width = 1;
    const index_t out = shape.out_height();
    std::vector<float> x(2 * 37 * 37), y(static_cast<std::size_t>(2 * out * out)), grad_x(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>((i * 7919) % 1009);
    std::vector<std::int32_t> indices(y.size());
    const ranvier::Images<float> from = {x.data(), {2 * 37 * 37, 37 * 37, 37, 1}};
    const ranvier::Images<float> to = {y.data(), {2 * out * out, out * out, out, 1}};
    const ranvier::Images<float> back = {grad_x.data(), {2 * 37 * 37, 37 * 37, 37, 1}};
    ranvier::max_pool2d<float>(shape, from, to, indices.data());
    for (std::size_t i = 0; i < y.size(); ++i)
        EXPECT_EQ(
            y[i],
            x[i / static_cast<std::size_t>(out * out) * 37 * 37 + static_cast<std::size_t>(indices[i])]);
    ranvier::max_pool2d_backward<float>(shape, to, indices.data(), back);
    double sum_y = 0, sum_grad = 0;
    for (float value : y) sum_y += value;
    for (float value : grad_x) sum_grad += value;
    EXPECT_EQ(sum_y, sum_grad);
}

// Reference vectors of Random123 for Philox4x32-10.
TEST(Philox, GivesTheReferenceVectors) {
    const std::array<std::uint32_t, 4> zero = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    const std::array<std::uint32_t, 4> ones = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    EXPECT_EQ(ranvier::philox4x32(0, 0, 0), zero);
    EXPECT_EQ(ranvier::philox4x32(~0ull, ~0ull, ~0ull), ones);
}

TEST(Philox, PermutationsHoldEachNumberOnce) {
    for (index_t n : {0, 1, 2, 17, 1000, 32768, 32769, 100003}) {
        std::vector<std::int64_t> order(static_cast<std::size_t>(n)), again(order.size());
        std::vector<int> seen(order.size());
        ranvier::random_permutation(5, 7, n, order.data());
        ranvier::random_permutation(5, 7, n, again.data());
        EXPECT_EQ(order, again);
        for (std::int64_t i : order) ++seen[static_cast<std::size_t>(i)];
        for (int count : seen) EXPECT_EQ(count, 1);
    }
}

}  // namespace
