// Products of sizes: exact up to the limit, an error beyond it, wherever sizes come from outside.
#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

#include "ranvier/conv2d.h"
#include "ranvier/layers.h"
#include "ranvier/memory.h"
#include "ranvier/parameters.h"
#include "ranvier/pool2d.h"
#include "ranvier/sizes.h"

namespace {

using ranvier::checked_product;
using ranvier::checked_sum;
using ranvier::index_t;
using ranvier::kLargestSize;
using ranvier::kMostElements;

TEST(Sizes, MultiplyToTheLimit) {
    EXPECT_EQ(checked_product({}, "x"), 1);
    EXPECT_EQ(checked_product({3, 5, 7}, "x"), 105);
    EXPECT_EQ(checked_product({kMostElements}, "x"), kMostElements);
    EXPECT_EQ(checked_product({kMostElements, 1, 1}, "x"), kMostElements);
    EXPECT_EQ(checked_product({kMostElements, kMostElements, 0}, "x"), 0);
    EXPECT_EQ(checked_product({0, kMostElements, kMostElements}, "x"), 0);
}

TEST(Sizes, BeyondTheLimitAreRefused) {
    EXPECT_THROW(checked_product({kMostElements, 2}, "x"), std::invalid_argument);
    EXPECT_THROW(checked_product({kMostElements + 1}, "x"), std::invalid_argument);
    // These wrap around to small numbers.
    EXPECT_THROW(checked_product({index_t{1} << 32, index_t{1} << 32}, "x"), std::invalid_argument);
    EXPECT_THROW(checked_product({index_t{1} << 32, index_t{1} << 32, 3, 5}, "x"), std::invalid_argument);
    try {
        checked_product({index_t{1} << 40, 1, index_t{1} << 41}, "weight");
        FAIL();
    } catch (const std::invalid_argument& error) {
        EXPECT_STREQ(error.what(),
                     "weight: expected sizes of an array that memory can hold, got 1099511627776 x 1 x "
                     "2199023255552 elements");
    }
}

TEST(Sizes, AddUpToTheLimit) {
    EXPECT_EQ(checked_sum(3, 4, "x"), 7);
    EXPECT_EQ(checked_sum(kMostElements, 0, "x"), kMostElements);
    EXPECT_EQ(checked_sum(kMostElements - 5, 5, "x"), kMostElements);
    EXPECT_THROW(checked_sum(kMostElements, 1, "x"), std::invalid_argument);
    EXPECT_THROW(checked_sum(kMostElements, kMostElements, "x"), std::invalid_argument);
}

TEST(Sizes, OfShapesBeyondTheLimitAreRefused) {
    EXPECT_EQ(ranvier::element_count({2, 3, 4}), 24);
    EXPECT_EQ(ranvier::element_count({}), 1);
    EXPECT_THROW(ranvier::element_count({index_t{1} << 31, index_t{1} << 31}), std::invalid_argument);
}

TEST(Sizes, OfBuffersBeyondMemoryAreRefused) {
    EXPECT_THROW(ranvier::Buffer<float>(index_t{1} << 62), std::bad_alloc);
    EXPECT_THROW(ranvier::Buffer<double>(-1), std::bad_alloc);
    EXPECT_THROW(ranvier::Scratch<double>(index_t{1} << 61), std::bad_alloc);
}

TEST(Sizes, OfConvolutionsAreChecked) {
    ranvier::Conv2dShape good;
    good.in_channels = good.out_channels = 1;
    good.in_height = good.in_width = 4;
    good.kernel_height = good.kernel_width = 1;
    EXPECT_NO_THROW(check(good));
    ranvier::Conv2dShape bad = good;
    bad.padding_height = bad.padding_width = (index_t{1} << 30) - 2;  // 2^31 x 2^31 outputs
    EXPECT_THROW(check(bad), std::invalid_argument);
    for (auto field : {&ranvier::Conv2dShape::padding_height, &ranvier::Conv2dShape::stride_width,
                       &ranvier::Conv2dShape::dilation_height, &ranvier::Conv2dShape::kernel_width}) {
        bad = good;
        bad.*field = kLargestSize + 1;
        EXPECT_THROW(check(bad), std::invalid_argument);
    }
    bad = good;
    bad.batch = bad.in_height = bad.in_width = index_t{1} << 21;
    EXPECT_THROW(check(bad), std::invalid_argument);
    bad = good;
    bad.out_channels = bad.in_channels = index_t{1} << 31;
    EXPECT_THROW(check(bad), std::invalid_argument);
}

TEST(Sizes, OfPoolingAreChecked) {
    ranvier::Pool2dShape good = {1, 1, 4, 4, 2, 2, 2, 2, 0, 0};
    EXPECT_NO_THROW(check(good));
    ranvier::Pool2dShape bad = good;
    bad.batch = bad.channels = index_t{1} << 30;
    EXPECT_THROW(check(bad), std::invalid_argument);
    bad = good;
    bad.kernel_height = index_t{1} << 62;
    bad.padding_height = index_t{1} << 61;
    EXPECT_THROW(check(bad), std::invalid_argument);
}

TEST(Sizes, OfParametersAreChecked) {
    const auto parameters = [](auto... layers) { return ranvier::Parameters<float>({layers...}); };
    const auto linear = [](index_t in, index_t out) { return ranvier::LinearSpec{in, out}; };
    EXPECT_NO_THROW(parameters(linear(3, 4)));
    EXPECT_THROW(parameters(linear(kLargestSize, kLargestSize)), std::invalid_argument);
    EXPECT_THROW(parameters(linear(1, index_t{1} << 62)), std::invalid_argument);
    // Each fits, and all together do not.
    const auto large = linear(kLargestSize, index_t{1} << 28);
    EXPECT_THROW(parameters(large, large, large, large), std::invalid_argument);
}

}  // namespace
