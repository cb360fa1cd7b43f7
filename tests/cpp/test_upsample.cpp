// Upsampling, forward and backward, against the formula of each pixel in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "ranvier/threads.h"
#include "ranvier/upsample.h"

namespace {

using namespace ranvier;

enum class Mode { nearest, linear, linear_by_corners };

struct Case {
    index_t planes, height, width;
    double factor_of_rows, factor_of_columns;
};

const std::vector<Case> kCases = {
    {1, 1, 1, 1, 1},     {2, 3, 5, 2, 2},    {3, 4, 3, 3, 2},     {1, 7, 11, 1.5, 2.5},
    {2, 5, 4, 0.5, 0.7}, {1, 1, 6, 4, 1.25}, {4, 6, 1, 1, 5},     {0, 3, 3, 2, 2},
    {2, 4, 4, 0.2, 2},   {3, 17, 13, 2, 2},  {5, 31, 67, 2, 3.3}, {70, 16, 16, 2, 2},
};

std::vector<UpsampleSource> sources_of(Mode mode, index_t size, double factor) {
    return mode == Mode::nearest ? nearest_sources(size, factor)
                                 : linear_sources(size, factor, mode == Mode::linear_by_corners);
}

// How much the pixel at `position` of an enlarged axis takes of pixel `source` of the axis.
double share_of(Mode mode, index_t size, double factor, index_t position, index_t source) {
    const double count = std::floor(static_cast<double>(size) * factor), last = static_cast<double>(size - 1);
    const double i = static_cast<double>(position), s = static_cast<double>(source);
    if (mode == Mode::nearest) return std::min(std::floor(i / factor), last) == s ? 1 : 0;
    double at = (i + 0.5) / factor - 0.5;
    if (mode == Mode::linear_by_corners) at = count > 1 ? i * last / (count - 1) : 0;
    return std::max(0.0, 1 - std::abs(std::clamp(at, 0.0, last) - s));  // a tent
}

template <class T>
std::vector<T> numbers(index_t n, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal;
    std::vector<T> x(static_cast<std::size_t>(n));
    for (T& value : x) value = static_cast<T>(normal(generator));
    return x;
}

// y = rows x columns', of each plane, with the shares as matrices, or grad_x = rows' grad columns.
template <class T>
void expect_formula(const Case& c, Mode mode) {
    const auto rows = sources_of(mode, c.height, c.factor_of_rows);
    const auto columns = sources_of(mode, c.width, c.factor_of_columns);
    const auto height = static_cast<index_t>(rows.size()), width = static_cast<index_t>(columns.size());
    ASSERT_EQ(height, static_cast<index_t>(std::floor(static_cast<double>(c.height) * c.factor_of_rows)));
    ASSERT_EQ(width, static_cast<index_t>(std::floor(static_cast<double>(c.width) * c.factor_of_columns)));
    const auto x = numbers<T>(c.planes * c.height * c.width, 1),
               grad = numbers<T>(c.planes * height * width, 2);
    std::vector<T> y(grad.size(), T(99)), grad_x(x.size(), T(99));
    std::vector<double> wanted(grad.size()), wanted_grad(x.size()), size(x.size());
    upsample<T>(c.planes, c.height, c.width, rows, columns, x.data(), y.data());
    upsample_backward<T>(c.planes, c.height, c.width, rows, columns, grad.data(), grad_x.data());
    for (index_t i = 0; i < height; ++i)
        for (index_t h = 0; h < c.height; ++h) {
            const double of_row = share_of(mode, c.height, c.factor_of_rows, i, h);
            if (of_row == 0) continue;
            for (index_t j = 0; j < width; ++j)
                for (index_t w = 0; w < c.width; ++w) {
                    const double share = of_row * share_of(mode, c.width, c.factor_of_columns, j, w);
                    for (index_t p = 0; p < c.planes; ++p) {
                        const index_t small = (p * c.height + h) * c.width + w;
                        const index_t large = (p * height + i) * width + j;
                        wanted[large] += share * x[small];
                        wanted_grad[small] += share * grad[large];
                        size[small] += share * std::abs(grad[large]);
                    }
                }
        }
    // A place is rounded by its own size.
    const double side = static_cast<double>(std::max(c.height, c.width));
    const double tolerance = 20 * (1 + side / 4) * std::numeric_limits<T>::epsilon();
    for (std::size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], wanted[i], tolerance) << i;
    for (std::size_t i = 0; i < grad_x.size(); ++i)
        ASSERT_NEAR(grad_x[i], wanted_grad[i], tolerance * (1 + size[i])) << i;
}

TEST(Upsample, IsTheFormula) {
    for (const Mode mode : {Mode::nearest, Mode::linear, Mode::linear_by_corners})
        for (const Case& c : kCases) {
            SCOPED_TRACE(testing::Message()
                         << static_cast<int>(mode) << " of " << c.planes << " x " << c.height << " x "
                         << c.width << " by " << c.factor_of_rows << " and " << c.factor_of_columns);
            expect_formula<float>(c, mode);
            expect_formula<double>(c, mode);
        }
}

TEST(Upsample, TakesNothingOfAPixelWhoseShareIsZero) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> x = {1, nan, nan, nan};  // the pixels beside the first one
    for (const Mode mode : {Mode::nearest, Mode::linear, Mode::linear_by_corners}) {
        const auto sources = sources_of(mode, 2, 2);
        std::vector<float> y(16);
        upsample<float>(1, 2, 2, sources, sources, x.data(), y.data());
        EXPECT_EQ(y[0], 1);
        EXPECT_TRUE(std::isnan(y[15]));
    }
}

TEST(Upsample, HasTheSameBitsAtAnyThreadCount) {
    const index_t planes = 70, side = 33;
    const auto sources = linear_sources(side, 2, false);
    const auto count = static_cast<index_t>(sources.size());
    const auto x = numbers<float>(planes * side * side, 1), grad = numbers<float>(planes * count * count, 2);
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 3, 7}) {
        set_num_threads(threads);
        std::vector<float> y(grad.size()), grad_x(x.size());
        upsample<float>(planes, side, side, sources, sources, x.data(), y.data());
        upsample_backward<float>(planes, side, side, sources, sources, grad.data(), grad_x.data());
        y.insert(y.end(), grad_x.begin(), grad_x.end());
        results.push_back(y);
    }
    set_num_threads(0);
    for (const auto& result : results) EXPECT_EQ(result, results[0]);
}

}  // namespace
