// Normalization, updates and other plain loops against their formulas in double.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "isas.h"
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

template <class T>
void expect_batch_norm(const BatchNormShape& s, double tolerance) {
    const index_t n = s.outer * s.channels * s.inner;
    const auto x = numbers<T>(n, 1, 2), grad = numbers<T>(n, 2), gamma = numbers<T>(s.channels, 3),
               beta = numbers<T>(s.channels, 4);
    std::vector<T> mean(s.channels), scale(s.channels), y(n), grad_x(n), grad_gamma(s.channels),
        grad_beta(s.channels);
    batch_norm_statistics<T>(s, x.data(), 1e-5, mean.data(), scale.data());
    batch_norm<T>(s, x.data(), mean.data(), scale.data(), gamma.data(), beta.data(), y.data());
    batch_norm_backward<T>(s, true, grad.data(), x.data(), mean.data(), scale.data(), gamma.data(),
                           grad_x.data(), grad_gamma.data(), grad_beta.data());
    const double count = static_cast<double>(s.outer * s.inner);
    for (index_t c = 0; c < s.channels; ++c) {
        const auto each = [&](auto&& body) {
            for (index_t i = 0; i < s.outer; ++i)
                for (index_t j = 0; j < s.inner; ++j) body((i * s.channels + c) * s.inner + j);
        };
        double sum = 0, squares = 0, of_grad = 0, of_product = 0;
        each([&](index_t at) { sum += x[at]; });
        const double m = sum / count;
        each([&](index_t at) { squares += (x[at] - m) * (x[at] - m); });
        const double d = 1 / std::sqrt(squares / count + 1e-5);
        each([&](index_t at) {
            of_grad += grad[at];
            of_product += grad[at] * (x[at] - m) * d;
        });
        EXPECT_NEAR(mean[c], m, tolerance);
        EXPECT_NEAR(scale[c], d, tolerance * (1 + d));
        EXPECT_NEAR(grad_beta[c], of_grad, tolerance * count);
        EXPECT_NEAR(grad_gamma[c], of_product, tolerance * count);
        each([&](index_t at) {
            const double h = (x[at] - m) * d;
            EXPECT_NEAR(y[at], h * gamma[c] + beta[c], 20 * tolerance);
            EXPECT_NEAR(grad_x[at], gamma[c] * d * (grad[at] - of_grad / count - h * of_product / count),
                        20 * tolerance * (1 + d));
        });
    }
}

TEST_P(Normalization, OfBatchesIsTheFormula) {
    for (const BatchNormShape& s : std::vector<BatchNormShape>{
             {2, 1, 1}, {7, 5, 1}, {200, 67, 1}, {3, 2, 1}, {4, 3, 17}, {2, 5, 300}, {1, 2, 9000}}) {
        expect_batch_norm<double>(s, 1e-12);
        expect_batch_norm<float>(s, 2e-6);
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
        for (int threads : {1, 2, 3, 7}) {
            set_num_threads(threads);
            std::vector<float> mean(s.channels), scale(s.channels), y(n), all;
            batch_norm_statistics<float>(s, x.data(), 1e-5, mean.data(), scale.data());
            batch_norm_backward<float>(s, true, grad.data(), x.data(), mean.data(), scale.data(), nullptr,
                                       y.data(), nullptr, nullptr);
            all = y;
            std::vector<float> row_mean(s.outer), row_scale(s.outer);
            layer_norm<float>(s.outer, n / s.outer, x.data(), 1e-5, nullptr, nullptr, y.data(),
                              row_mean.data(), row_scale.data());
            all.insert(all.end(), y.begin(), y.end());
            results.push_back(all);
        }
        set_num_threads(0);
        for (const auto& result : results) EXPECT_EQ(result, results[0]);
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

TEST_P(Normalization, ScalesAddsAndConverts) {
    const index_t n = 40001;
    const auto x = numbers<float>(n, 1);
    auto y = numbers<float>(n, 2), z = y;
    scale<float>(n, -0.3f, z.data());
    for (index_t i = 0; i < n; ++i) EXPECT_EQ(z[i], y[i] * -0.3f);
    z = y;
    add<float>(n, x.data(), z.data());
    for (index_t i = 0; i < n; ++i) EXPECT_EQ(z[i], y[i] + x[i]);
    std::vector<std::uint8_t> bytes(256);
    std::vector<float> fractions(256);
    for (int i = 0; i < 256; ++i) bytes[i] = static_cast<std::uint8_t>(i);
    bytes_to_fractions<float>(256, bytes.data(), fractions.data());
    for (int i = 0; i < 256; ++i) EXPECT_EQ(fractions[i], static_cast<float>(i) / 255.0f);
}

}  // namespace
