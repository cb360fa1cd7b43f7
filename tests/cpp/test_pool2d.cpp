// Pooling against naive loops, and the same bits at any number of threads.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include "isas.h"
#include "ranvier/pool2d.h"
#include "ranvier/threads.h"

namespace {

using ranvier::Images;
using ranvier::index_t;
using ranvier::Pool2dShape;

struct Problem {
    Pool2dShape s;
    std::vector<float> x, y;
    std::vector<std::int32_t> indices;

    explicit Problem(const Pool2dShape& shape) : s(shape) {
        x.resize(static_cast<std::size_t>(s.batch * s.channels * s.in_height * s.in_width));
        y.resize(static_cast<std::size_t>(s.batch * s.channels * s.out_height() * s.out_width()));
        indices.resize(y.size());
        std::mt19937 generator(5);
        std::uniform_int_distribution<int> few(0, 9);  // so that there are equal pixels
        for (float& value : x) value = static_cast<float>(few(generator));
    }
    Images<const float> in() const { return images<const float>(x.data(), s.in_height, s.in_width); }
    Images<float> out() { return images<float>(y.data(), s.out_height(), s.out_width()); }

    // body(output, top, left, plane's first pixel) for each window, the corner in pixels of the image.
    template <class Body>
    void each(Body&& body) const {
        std::size_t at = 0;
        for (index_t plane = 0; plane < s.batch * s.channels; ++plane)
            for (index_t i = 0; i < s.out_height(); ++i)
                for (index_t j = 0; j < s.out_width(); ++j, ++at)
                    body(at, i * s.stride_height - s.padding_height, j * s.stride_width - s.padding_width,
                         x.data() + plane * s.in_height * s.in_width);
    }

    // body(position in the plane, value) for the pixels of a window that are in the image.
    template <class Body>
    void each_pixel(index_t top, index_t left, const float* plane, Body&& body) const {
        for (index_t i = top; i < top + s.kernel_height; ++i)
            for (index_t j = left; j < left + s.kernel_width; ++j)
                if (i >= 0 && i < s.in_height && j >= 0 && j < s.in_width)
                    body(i * s.in_width + j, plane[i * s.in_width + j]);
    }

private:
    template <class T>
    Images<T> images(T* data, index_t height, index_t width) const {
        return {data, {s.channels * height * width, height * width, width, 1}};
    }
};

const Pool2dShape kShapes[] = {
    {2, 3, 28, 28, 2, 2, 2, 2, 0, 0}, {1, 5, 14, 14, 2, 2, 2, 2, 0, 0}, {2, 2, 57, 75, 3, 3, 2, 2, 1, 1},
    {1, 2, 9, 40, 3, 3, 1, 1, 1, 1},  {1, 1, 5, 3, 5, 3, 1, 1, 0, 0},   {3, 1, 31, 100, 2, 5, 3, 4, 1, 2},
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 0},   {1, 2, 33, 33, 2, 2, 2, 2, 1, 1},
};

using Pool2d = EachIsa;
RANVIER_EACH_ISA(Pool2d);

TEST_P(Pool2d, MaximaAndTheirFirstPositions) {
    for (const Pool2dShape& shape : kShapes) {
        Problem p(shape);
        ranvier::max_pool2d<float>(shape, p.in(), p.out(), p.indices.data());
        p.each([&](std::size_t at, index_t top, index_t left, const float* plane) {
            float most = -std::numeric_limits<float>::infinity();
            index_t where = -1;
            p.each_pixel(top, left, plane, [&](index_t position, float value) {
                if (value > most) {
                    most = value;
                    where = position;
                }
            });
            ASSERT_EQ(p.y[at], most);
            ASSERT_EQ(p.indices[at], where);
        });
    }
}

TEST_P(Pool2d, TheFirstNanWins) {
    for (const Pool2dShape& shape : kShapes) {
        Problem p(shape);
        for (std::size_t i = 0; i < p.x.size(); i += 7) p.x[i] = std::nanf("");
        ranvier::max_pool2d<float>(shape, p.in(), p.out(), p.indices.data());
        p.each([&](std::size_t at, index_t top, index_t left, const float* plane) {
            index_t first = -1;
            p.each_pixel(top, left, plane, [&](index_t position, float value) {
                if (std::isnan(value) && first < 0) first = position;
            });
            ASSERT_EQ(std::isnan(p.y[at]), first >= 0);
            if (first >= 0) {
                ASSERT_EQ(p.indices[at], first);
            }
        });
    }
}

TEST_P(Pool2d, AveragesCountThePadding) {
    for (const Pool2dShape& shape : kShapes) {
        Problem p(shape);
        ranvier::avg_pool2d<float>(shape, p.in(), p.out());
        p.each([&](std::size_t at, index_t top, index_t left, const float* plane) {
            double sum = 0;
            p.each_pixel(top, left, plane, [&](index_t, float value) { sum += static_cast<double>(value); });
            ASSERT_NEAR(p.y[at], sum / static_cast<double>(shape.kernel_height * shape.kernel_width), 1e-5);
        });
    }
}

// Whatever the indices are, nothing is written outside of the gradient.
TEST_P(Pool2d, RefusesIndicesOutsideOfThePlane) {
    const Pool2dShape shape = {2, 3, 9, 7, 3, 3, 2, 2, 1, 1};
    Problem p(shape);
    std::vector<float> grad_x(p.x.size());
    const auto backward = [&] {
        ranvier::max_pool2d_backward<float>(shape, p.out(), p.indices.data(),
                                            {grad_x.data(), {3 * 63, 63, 7, 1}});
    };
    ranvier::max_pool2d<float>(shape, p.in(), p.out(), p.indices.data());
    EXPECT_NO_THROW(backward());
    for (const std::int32_t bad :
         {63, -1, std::numeric_limits<std::int32_t>::max(), std::numeric_limits<std::int32_t>::min()}) {
        const std::int32_t good = std::exchange(p.indices[30], bad);
        EXPECT_THROW(backward(), std::invalid_argument);
        p.indices[30] = good;
    }
    EXPECT_NO_THROW(backward());
}

TEST_P(Pool2d, GivesTheSameBitsAtAnyThreadCount) {
    const Pool2dShape shape = {8, 16, 56, 56, 3, 3, 2, 2, 1, 1};
    Problem p(shape);
    std::vector<float> maxima, averages;
    for (int threads : {1, 2, 3, 4}) {
        ranvier::set_num_threads(threads);
        ranvier::max_pool2d<float>(shape, p.in(), p.out(), p.indices.data());
        if (threads == 1) maxima = p.y;
        EXPECT_EQ(p.y, maxima);
        ranvier::avg_pool2d<float>(shape, p.in(), p.out());
        if (threads == 1) averages = p.y;
        EXPECT_EQ(p.y, averages);
    }
    ranvier::set_num_threads(0);
}

}  // namespace
