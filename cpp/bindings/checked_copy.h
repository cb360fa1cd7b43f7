// Integers that say where to read or write: a private copy, checked. The GIL is released while they are used,
// and another thread may then write to the array that they came from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ranvier/array.h"

namespace ranvier {

// Copies data[0 .. n), all from 0 to below `limit`; refuse(value, position), which must throw, is called with
// the first that is not. The check reads the copy, so what is checked is what is used.
template <class Refuse>
void checked_copy(const std::int64_t* data, index_t n, index_t limit, std::vector<std::int64_t>& copy,
                  Refuse&& refuse) {
    copy.assign(data, data + n);
    // A sign bit: of the value, or of what is left to the largest. No branches, so that vectors do it.
    const auto outside = [most = static_cast<std::uint64_t>(limit) - 1](std::int64_t value) {
        return static_cast<std::uint64_t>(value) | (most - static_cast<std::uint64_t>(value));
    };
    std::uint64_t any = 0;
    for (const std::int64_t value : copy) any |= outside(value);
    if (any >> 63) {
        const auto first =
            std::find_if(copy.begin(), copy.end(), [&](std::int64_t value) { return outside(value) >> 63; });
        refuse(*first, static_cast<index_t>(first - copy.begin()));
    }
}

}  // namespace ranvier
