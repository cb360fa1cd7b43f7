// Products of sizes that come from outside: an array that no memory could hold is an error, not an overflow.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>

#include "ranvier/array.h"

namespace ranvier {

// The most elements of an array: an index_t counts their bytes, too, if each takes 8.
inline constexpr index_t kMostElements = PTRDIFF_MAX / 8;
// The largest number of features or channels, kernel, stride, padding: products of two still fit an index_t.
inline constexpr index_t kLargestSize = INT32_MAX;

[[noreturn]] inline void refuse_product(std::span<const index_t> sizes, const char* name) {
    std::string product;
    for (const index_t size : sizes) product += (product.empty() ? "" : " x ") + std::to_string(size);
    throw std::invalid_argument(std::string(name) +
                                ": expected sizes of an array that memory can hold, got " + product +
                                " elements");
}

// The product of sizes of at least 0, of what is called `name`; throws std::invalid_argument if it exceeds
// kMostElements.
inline index_t checked_product(std::span<const index_t> sizes, const char* name) {
    index_t product = 1;
    bool fits = true;
    for (const index_t size : sizes) {
        if (size == 0) return 0;
        fits = !__builtin_mul_overflow(product, size, &product) && fits;
    }
    if (!fits || product > kMostElements) refuse_product(sizes, name);
    return product;
}
inline index_t checked_product(std::initializer_list<index_t> sizes, const char* name) {
    return checked_product(std::span(sizes.begin(), sizes.size()), name);
}

// The elements of two arrays, neither of which has more than kMostElements; throws likewise.
inline index_t checked_sum(index_t a, index_t b, const char* name) {
    if (a > kMostElements - b)
        throw std::invalid_argument(std::string(name) + ": expected arrays that memory can hold, got " +
                                    std::to_string(a) + " + " + std::to_string(b) + " elements");
    return a + b;
}

}  // namespace ranvier
