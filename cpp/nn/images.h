// A batch of NCHW images without gaps.
#pragma once

#include "ranvier/array.h"

namespace ranvier {

template <class T>
Images<T> packed_images(T* data, index_t channels, index_t height, index_t width) {
    return {data, {channels * height * width, height * width, width, 1}};
}

}  // namespace ranvier
