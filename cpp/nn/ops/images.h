// What ops of images share: batches of NCHW images without gaps, and the check of their shape.
#pragma once

#include <stdexcept>

#include "ranvier/array.h"
#include "ranvier/layers.h"

namespace ranvier {

template <class T>
Images<T> packed_images(T* data, index_t channels, index_t height, index_t width) {
    return {data, {channels * height * width, height * width, width, 1}};
}

inline void require_images(const Shape& input) {
    if (input.size() != 3)
        throw std::invalid_argument("expected samples of shape (channels, height, width), got " +
                                    shape_text(input));
}

}  // namespace ranvier
