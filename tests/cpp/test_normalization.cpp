// Normalization, updates and other plain loops against their formulas in double.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "isas.h"
#include "ranvier/activation.h"
#include "ranvier/elementwise.h"
#include "ranvier/normalization.h"
#include "ranvier/optimizer.h"
#include "ranvier/threads.h"

namespace {

using namespace ranvier;

template <class T>
std::vector<T> numbers(index_t n, unsigned seed, double shift = 0) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal;
    std::vector<T> x(static_cast<std::size_t>(n));
    for (T& value : x) value = static_cast<T>(normal(generator) + shift);
    return x;
}

using Normalization = EachIsa;
RANVIER_EACH_ISA(Normalization);

// Which samples of a batch make a part.
struct Part {
    index_t first, count;
};
using Parts = std::vector<Part>;

// The whole; its halves; and a part of one sample, another of at most 3, and the rest.
std::vector<Parts> ways_to_part(index_t n) {
    std::vector<Parts> ways = {{{0, n}}};
    if (n > 1) ways.push_back({{0, n / 2}, {n / 2, n - n / 2}});
    if (n > 4) ways.push_back({{0, 1}, {1, 3}, {4, n - 4}});
    return ways;
}

struct Moments {
    std::vector<double> mean, squares;
    double count = 0;

    explicit Moments(index_t channels)
        : mean(static_cast<std::size_t>(channels)), squares(static_cast<std::size_t>(channels)) {}
    ChannelMoments pointers() { return {mean.data(), squares.data()}; }
};

// Those of a batch by way of its parts.
template <class T>
Moments joined_moments(const BatchNormShape& s, const Parts& parts, const T* x) {
    Moments total(s.channels);
    for (const Part& part : parts) {
        Moments own(s.channels);
        batch_norm_moments<T>({part.count, s.channels, s.inner}, x + part.first * s.channels * s.inner,
                              own.pointers());
        const double count = static_cast<double>(part.count * s.inner);
        if (part.first == 0) {
            total = own;
            total.count = count;
        } else {
            total.count = join_moments(s.channels, total.count, total.pointers(), count, own.pointers());
        }
    }
    return total;
}

// A batch normalized by its parts, forward and backward, against the formula for the whole.
template <class T>
void expect_batch_norm(const BatchNormShape& s, const Parts& parts, double tolerance) {
    const index_t n = s.outer * s.channels * s.inner, row = s.channels * s.inner;
    const auto x = numbers<T>(n, 1, 2), grad = numbers<T>(n, 2), gamma = numbers<T>(s.channels, 3),
               beta = numbers<T>(s.channels, 4);
    const double count = static_cast<double>(s.outer * s.inner);
    const Moments moments = joined_moments(s, parts, x.data());
    EXPECT_EQ(moments.count, count);
    std::vector<T> mean(s.channels), scale(s.channels), shift(s.channels), y(n), grad_x(n);
    for (index_t c = 0; c < s.channels; ++c) {
        mean[c] = static_cast<T>(moments.mean[c]);
        const double deviation = std::sqrt(moments.squares[c] / count + 1e-5);
        scale[c] = static_cast<T>(gamma[c] / deviation);
        shift[c] = static_cast<T>(beta[c] - moments.mean[c] * gamma[c] / deviation);
    }
    // What accumulation begins with is overwritten.
    std::vector<double> sums(s.channels, 1e9), products(s.channels, 1e9);
    for (const Part& part : parts) {
        const BatchNormShape own = {part.count, s.channels, s.inner};
        const index_t at = part.first * row;
        batch_norm<T>(own, x.data() + at, scale.data(), shift.data(), y.data() + at);
        batch_norm_gradient_sums<T>(own, grad.data() + at, x.data() + at, mean.data(), sums.data(),
                                    products.data(), part.first > 0);
    }
    // Up to 64 rows are added up in T.
    const double rounding = 64 * static_cast<double>(std::numeric_limits<T>::epsilon());
    for (index_t c = 0; c < s.channels; ++c) {
        const auto each = [&](auto&& body) {
            for (index_t i = 0; i < s.outer; ++i)
                for (index_t j = 0; j < s.inner; ++j) body((i * s.channels + c) * s.inner + j);
        };
        double sum = 0, squares = 0, of_grad = 0, of_product = 0, size = 0;
        each([&](index_t at) { sum += x[at]; });
        const double m = sum / count;
        each([&](index_t at) { squares += (x[at] - m) * (x[at] - m); });
        each([&](index_t at) {
            of_grad += grad[at];
            of_product += static_cast<double>(grad[at]) * (x[at] - static_cast<double>(mean[c]));
            size += std::abs(grad[at]) * (1 + std::abs(x[at]));
        });
        EXPECT_NEAR(moments.mean[c], m, rounding * (1 + std::abs(m)));
        EXPECT_NEAR(moments.squares[c], squares, rounding * count * (1 + squares / count));
        EXPECT_NEAR(sums[c], of_grad, tolerance * size);
        EXPECT_NEAR(products[c], of_product, tolerance * size);
        const double d = 1 / std::sqrt(squares / count + 1e-5);
        each([&](index_t at) {
            EXPECT_NEAR(y[at], (x[at] - m) * d * gamma[c] + beta[c], 20 * tolerance * (1 + d));
        });
    }
}

TEST_P(Normalization, OfBatchesIsTheFormulaHoweverTheyAreParted) {
    for (const BatchNormShape& s : std::vector<BatchNormShape>{
             {2, 1, 1}, {7, 5, 1}, {200, 67, 1}, {3, 2, 1}, {4, 3, 17}, {2, 5, 300}, {1, 2, 9000}})
        for (const Parts& parts : ways_to_part(s.outer)) {
            expect_batch_norm<double>(s, parts, 1e-13);
            expect_batch_norm<float>(s, parts, 2e-6);
        }
}

// With an activation it is to the bit what two steps give, one after the other.
template <class T>
void expect_activated(const BatchNormShape& s, Activation f, T parameter) {
    const index_t n = s.outer * s.channels * s.inner;
    const auto x = numbers<T>(n, 1), grad = numbers<T>(n, 2), scale = numbers<T>(s.channels, 3),
               shift = numbers<T>(s.channels, 4), mean = numbers<T>(s.channels, 5);
    std::vector<T> y(n), wanted(n), before(n), wanted_before(n);
    batch_norm<T>(s, x.data(), scale.data(), shift.data(), y.data(), f, parameter);
    batch_norm<T>(s, x.data(), scale.data(), shift.data(), wanted.data());
    activation<T>(f, n, wanted.data(), wanted.data(), parameter);
    EXPECT_EQ(y, wanted);
    Moments sums(s.channels), wanted_sums(s.channels);
    batch_norm_gradient_sums<T>(s, grad.data(), x.data(), mean.data(), sums.mean.data(), sums.squares.data(),
                                false, {f, parameter, y.data(), before.data()});
    activation_backward_kept<T>(f, n, grad.data(), y.data(), wanted_before.data(), parameter);
    batch_norm_gradient_sums<T>(s, wanted_before.data(), x.data(), mean.data(), wanted_sums.mean.data(),
                                wanted_sums.squares.data(), false);
    EXPECT_EQ(before, wanted_before);
    EXPECT_EQ(sums.mean, wanted_sums.mean);
    EXPECT_EQ(sums.squares, wanted_sums.squares);
}

TEST_P(Normalization, OfBatchesTakesAnActivation) {
    for (const BatchNormShape& s : std::vector<BatchNormShape>{
             {1, 1, 1}, {7, 5, 1}, {70, 67, 1}, {4, 3, 17}, {3, 70, 9}, {2, 5, 300}, {1, 2, 9000}}) {
        expect_activated<float>(s, Activation::relu, 0);
        expect_activated<double>(s, Activation::leaky_relu, 0.1);
        expect_activated<float>(s, Activation::tanh, 0);
    }
}

// A variance that is tiny beside the mean is lost by sums of squares, and kept by those about the mean.
TEST_P(Normalization, MomentsOfPartsFarFromZero) {
    const BatchNormShape s = {64, 3, 5};
    for (double shift : {1e3, 1e6}) {
        const auto x = numbers<double>(s.outer * s.channels * s.inner, 5, shift);
        const Moments whole = joined_moments(s, {{0, 64}}, x.data());
        Parts singles;
        for (index_t i = 0; i < s.outer; ++i) singles.push_back({i, 1});
        for (const Parts& parts : {singles, Parts{{0, 7}, {7, 50}, {57, 7}}}) {
            const Moments got = joined_moments(s, parts, x.data());
            for (index_t c = 0; c < s.channels; ++c) {
                EXPECT_NEAR(got.mean[c], whole.mean[c], 1e-14 * shift);
                EXPECT_NEAR(got.squares[c], whole.squares[c], 1e-14 * shift * whole.squares[c]);
            }
        }
    }
}

template <class T>
void expect_input_gradient(const BatchNormShape& s, double tolerance) {
    const index_t n = s.outer * s.channels * s.inner;
    const auto x = numbers<T>(n, 1, 2), grad = numbers<T>(n, 2), a = numbers<T>(s.channels, 3),
               b = numbers<T>(s.channels, 4), c = numbers<T>(s.channels, 5);
    std::vector<T> apart(n), in_place = grad;
    batch_norm_input_gradient<T>(s, grad.data(), x.data(), a.data(), b.data(), c.data(), apart.data());
    batch_norm_input_gradient<T>(s, in_place.data(), x.data(), a.data(), b.data(), c.data(), in_place.data());
    EXPECT_EQ(in_place, apart);
    for (index_t i = 0; i < n; ++i) {
        const index_t k = i / s.inner % s.channels;
        const double wanted = static_cast<double>(a[k]) * grad[i] + static_cast<double>(b[k]) * x[i] + c[k];
        const double size = std::abs(a[k] * grad[i]) + std::abs(b[k] * x[i]) + std::abs(c[k]);
        ASSERT_NEAR(apart[i], wanted, tolerance * size) << i;
    }
}

TEST_P(Normalization, InputGradientIsTheSumOfItsTerms) {
    for (const BatchNormShape& s : std::vector<BatchNormShape>{
             {1, 1, 1}, {7, 5, 1}, {200, 67, 1}, {4, 3, 17}, {2, 5, 300}, {1, 2, 9000}, {0, 3, 4}}) {
        expect_input_gradient<double>(s, 1e-15);
        expect_input_gradient<float>(s, 4e-7);
    }
}

// The coefficients as the batch's sums make them: then the gradient is that of central differences.
TEST_P(Normalization, OfBatchesHasTheGradientOfCentralDifferences) {
    const BatchNormShape s = {6, 2, 3};
    const index_t n = s.outer * s.channels * s.inner;
    const double count = static_cast<double>(s.outer * s.inner), eps = 1e-3;
    auto x = numbers<double>(n, 1, 2);
    const auto grad = numbers<double>(n, 2);
    const auto objective = [&] {
        const Moments moments = joined_moments(s, {{0, s.outer}}, x.data());
        double sum = 0;
        for (index_t i = 0; i < n; ++i) {
            const index_t c = i / s.inner % s.channels;
            sum += grad[i] * (x[i] - moments.mean[c]) / std::sqrt(moments.squares[c] / count + eps);
        }
        return sum;
    };
    const Moments moments = joined_moments(s, {{0, s.outer}}, x.data());
    std::vector<double> sums(2), products(2), a(2), b(2), c(2), grad_x(n);
    batch_norm_gradient_sums<double>(s, grad.data(), x.data(), moments.mean.data(), sums.data(),
                                     products.data(), false);
    for (std::size_t k = 0; k < 2; ++k) {
        a[k] = 1 / std::sqrt(moments.squares[k] / count + eps);
        b[k] = -a[k] * a[k] * a[k] * products[k] / count;
        c[k] = -a[k] * sums[k] / count - b[k] * moments.mean[k];
    }
    batch_norm_input_gradient<double>(s, grad.data(), x.data(), a.data(), b.data(), c.data(), grad_x.data());
    for (index_t i = 0; i < n; ++i) {
        const double before = x[i];
        x[i] = before + 1e-6;
        const double up = objective();
        x[i] = before - 1e-6;
        const double down = objective();
        x[i] = before;
        EXPECT_NEAR(grad_x[i], (up - down) / 2e-6, 1e-8) << i;
    }
}

TEST_P(Normalization, OfLayersIsTheFormula) {
    for (index_t size : {1, 3, 16, 33, 1000}) {
        const index_t rows = 21;
        const auto x = numbers<double>(rows * size, 1, 3), grad = numbers<double>(rows * size, 2),
                   gamma = numbers<double>(size, 3), beta = numbers<double>(size, 4);
        std::vector<double> y(rows * size), mean(rows), scale(rows), grad_x(rows * size), grad_gamma(size),
            grad_beta(size), wanted_gamma(size), wanted_beta(size);
        layer_norm<double>(rows, size, x.data(), 1e-3, gamma.data(), beta.data(), y.data(), mean.data(),
                           scale.data());
        layer_norm_backward<double>(rows, size, grad.data(), x.data(), mean.data(), scale.data(),
                                    gamma.data(), grad_x.data(), grad_gamma.data(), grad_beta.data());
        for (index_t i = 0; i < rows; ++i) {
            double m = 0, squares = 0, first = 0, second = 0;
            for (index_t j = 0; j < size; ++j) m += x[i * size + j] / size;
            for (index_t j = 0; j < size; ++j) squares += std::pow(x[i * size + j] - m, 2) / size;
            const double d = 1 / std::sqrt(squares + 1e-3);
            for (index_t j = 0; j < size; ++j) {
                const double h = (x[i * size + j] - m) * d, g = grad[i * size + j];
                first += g * gamma[j] / size;
                second += g * gamma[j] * h / size;
                wanted_gamma[j] += g * h;
                wanted_beta[j] += g;
                EXPECT_NEAR(y[i * size + j], h * gamma[j] + beta[j], 1e-11);
            }
            for (index_t j = 0; j < size; ++j) {
                const double h = (x[i * size + j] - m) * d;
                EXPECT_NEAR(grad_x[i * size + j], d * (grad[i * size + j] * gamma[j] - first - h * second),
                            1e-10);
            }
        }
        for (index_t j = 0; j < size; ++j) {
            EXPECT_NEAR(grad_gamma[j], wanted_gamma[j], 1e-10);
            EXPECT_NEAR(grad_beta[j], wanted_beta[j], 1e-10);
        }
    }
}

TEST_P(Normalization, HasTheSameBitsAtAnyThreadCount) {
    const BatchNormShape shapes[] = {{300, 130, 1}, {20, 13, 700}};
    for (const BatchNormShape& s : shapes) {
        const index_t n = s.outer * s.channels * s.inner;
        const auto x = numbers<float>(n, 1), grad = numbers<float>(n, 2);
        std::vector<std::vector<float>> results;
        std::vector<std::vector<double>> doubles;
        for (int threads : {1, 2, 3, 7}) {
            set_num_threads(threads);
            doubles.emplace_back();
            const Moments moments = joined_moments(s, {{0, s.outer}}, x.data());
            const std::vector<float> mean(moments.mean.begin(), moments.mean.end()), one(s.channels, 1);
            std::vector<double> sums(s.channels), products(s.channels);
            std::vector<float> y(n), all;
            batch_norm_gradient_sums<float>(s, grad.data(), x.data(), mean.data(), sums.data(),
                                            products.data(), false);
            batch_norm<float>(s, x.data(), mean.data(), one.data(), y.data());
            all = y;
            batch_norm_input_gradient<float>(s, grad.data(), x.data(), mean.data(), one.data(), mean.data(),
                                             y.data());
            all.insert(all.end(), y.begin(), y.end());
            for (const auto& of_channels : {moments.mean, moments.squares, sums, products})
                doubles.back().insert(doubles.back().end(), of_channels.begin(), of_channels.end());
            std::vector<float> row_mean(s.outer), row_scale(s.outer);
            layer_norm<float>(s.outer, n / s.outer, x.data(), 1e-5, nullptr, nullptr, y.data(),
                              row_mean.data(), row_scale.data());
            all.insert(all.end(), y.begin(), y.end());
            results.push_back(all);
        }
        set_num_threads(0);
        for (const auto& result : results) EXPECT_EQ(result, results[0]);
        for (const auto& result : doubles) EXPECT_EQ(result, doubles[0]);
    }
}

TEST_P(Normalization, MeansOfPlanes) {
    for (index_t size : {1, 5, 49, 500}) {
        const auto x = numbers<double>(6 * size, 1), grad = numbers<double>(6, 2);
        std::vector<double> y(6), grad_x(6 * size);
        plane_means<double>(6, size, x.data(), y.data());
        plane_means_backward<double>(6, size, grad.data(), grad_x.data());
        for (index_t i = 0; i < 6; ++i) {
            double sum = 0;
            for (index_t j = 0; j < size; ++j) {
                sum += x[i * size + j];
                EXPECT_DOUBLE_EQ(grad_x[i * size + j], grad[i] / static_cast<double>(size));
            }
            EXPECT_NEAR(y[i], sum / static_cast<double>(size), 1e-14);
        }
    }
}

// Biases of channels, and their gradients.
template <class T>
void expect_channel_sums(const BatchNormShape& s, double tolerance) {
    const index_t n = s.outer * s.channels * s.inner;
    const auto x = numbers<T>(n, 1, 1), bias = numbers<T>(s.channels, 2);
    auto y = x;
    add_to_channels<T>(s, bias.data(), y.data());
    std::vector<double> wanted(s.channels), size(s.channels);
    for (index_t i = 0; i < n; ++i) {
        const index_t c = i / s.inner % s.channels;
        ASSERT_EQ(y[i], x[i] + bias[c]) << i;
        wanted[c] += x[i];
        size[c] += std::abs(x[i]);
    }
    std::vector<T> written(s.channels, T(99)), added = bias;
    channel_sums<T>(s, x.data(), written.data(), false);
    channel_sums<T>(s, x.data(), added.data(), true);
    for (index_t c = 0; c < s.channels; ++c) {
        EXPECT_NEAR(written[c], wanted[c], tolerance * size[c]) << c;
        EXPECT_NEAR(added[c], wanted[c] + bias[c], tolerance * (size[c] + std::abs(bias[c]))) << c;
    }
}

TEST_P(Normalization, AddsToChannelsAndSumsThem) {
    for (const BatchNormShape& s : std::vector<BatchNormShape>{{1, 1, 1},
                                                               {7, 5, 1},
                                                               {200, 67, 1},
                                                               {4, 3, 17},
                                                               {2, 5, 300},
                                                               {1, 2, 9000},
                                                               {0, 3, 4},
                                                               {3, 0, 4}}) {
        expect_channel_sums<double>(s, 1e-14);
        expect_channel_sums<float>(s, 1e-6);
    }
}

TEST_P(Normalization, SumsOfChannelsHaveTheSameBitsAtAnyThreadCount) {
    const BatchNormShape s = {20, 13, 700};
    const auto x = numbers<float>(s.outer * s.channels * s.inner, 1);
    std::vector<std::vector<float>> results;
    for (int threads : {1, 2, 3, 7}) {
        set_num_threads(threads);
        std::vector<float> sums(s.channels), y = x;
        channel_sums<float>(s, x.data(), sums.data(), false);
        add_to_channels<float>(s, sums.data(), y.data());
        y.insert(y.end(), sums.begin(), sums.end());
        results.push_back(y);
    }
    set_num_threads(0);
    for (const auto& result : results) EXPECT_EQ(result, results[0]);
}

TEST_P(Normalization, FindsWhatIsNotFinite) {
    for (index_t n : {1, 15, 16, 63, 64, 65, 1000, 50000})
        for (float bad : {INFINITY, -INFINITY, NAN}) {
            auto x = numbers<float>(n, 1);
            EXPECT_TRUE(all_finite(n, x.data()));
            float most = 0;
            double squares = 0;
            for (float value : x) {
                most = std::max(most, std::abs(value));
                squares += static_cast<double>(value) * value;
            }
            EXPECT_EQ(largest_magnitude(n, x.data()), most);
            EXPECT_NEAR(sum_of_squares(n, x.data()), squares, 1e-5 * squares);
            for (index_t at : {index_t{0}, n / 2, n - 1}) {
                const float before = x[at];
                x[at] = bad;
                EXPECT_FALSE(all_finite(n, x.data())) << n << " " << at;
                EXPECT_FALSE(std::isfinite(largest_magnitude(n, x.data()))) << n << " " << at;
                x[at] = before;
            }
        }
}

TEST_P(Normalization, AddsAndConverts) {
    const index_t n = 40001;
    const auto x = numbers<float>(n, 1);
    const auto y = numbers<float>(n, 2);
    auto z = y, sum = x;
    add<float>(n, x.data(), z.data());
    add<float>(n, sum.data(), y.data(), sum.data());
    for (index_t i = 0; i < n; ++i) {
        EXPECT_EQ(z[i], y[i] + x[i]);
        EXPECT_EQ(sum[i], y[i] + x[i]);
    }
    std::vector<std::uint8_t> bytes(256);
    std::vector<float> fractions(256);
    for (int i = 0; i < 256; ++i) bytes[i] = static_cast<std::uint8_t>(i);
    bytes_to_fractions<float>(256, bytes.data(), fractions.data());
    for (int i = 0; i < 256; ++i) EXPECT_EQ(fractions[i], static_cast<float>(i) / 255.0f);
}

}  // namespace
