// What layers of images share: batches of NCHW images without gaps, and the check of their shape.
#pragma once

#include "layer.h"
#include "ranvier/array.h"

namespace ranvier {

template <class T>
Images<T> packed_images(T* data, index_t channels, index_t height, index_t width) {
    return {data, {channels * height * width, height * width, width, 1}};
}

template <class T>
void require_images(const Site<T>& site) {
    if (site.input.size() != 3)
        site.refuse("expected samples of shape (channels, height, width), got " + shape_text(site.input));
}

}  // namespace ranvier
