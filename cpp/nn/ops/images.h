// What ops of images share: batches of images without gaps, the check of their shape, and that of a
// convolution.
#pragma once

#include <stdexcept>

#include "ranvier/array.h"
#include "ranvier/conv2d.h"
#include "ranvier/layers.h"

namespace ranvier {

template <class T>
Images<T> packed_images(T* data, index_t channels, index_t height, index_t width,
                        MemoryFormat format = MemoryFormat::channels_first) {
    if (format == MemoryFormat::channels_last)
        return {data, {channels * height * width, 1, width * channels, channels}};
    return {data, {channels * height * width, height * width, width, 1}};
}

// The shape of a convolution or a pooling, for so many images.
template <class ImageShape>
ImageShape for_batch(ImageShape shape, index_t count) {
    shape.batch = count;
    return shape;
}

inline void require_images(const Shape& input) {
    if (input.size() != 3)
        throw std::invalid_argument("expected samples of shape (channels, height, width), got " +
                                    shape_text(input));
}

// A mean over the whole of each channel, which takes its pixels in any order.
inline bool is_global_average(const AdaptivePool2dSpec& spec) {
    return !spec.maximum && spec.output[0] == 1 && spec.output[1] == 1;
}

// Of a sample.
inline Conv2dShape conv2d_shape(const Conv2dSpec& spec, const Shape& input) {
    Conv2dShape shape;
    shape.in_channels = input[0];
    shape.in_height = input[1];
    shape.in_width = input[2];
    shape.out_channels = spec.out_channels;
    shape.kernel_height = spec.kernel[0];
    shape.kernel_width = spec.kernel[1];
    shape.stride_height = spec.stride[0];
    shape.stride_width = spec.stride[1];
    shape.padding_height = spec.padding[0];
    shape.padding_width = spec.padding[1];
    shape.dilation_height = spec.dilation[0];
    shape.dilation_width = spec.dilation[1];
    shape.extra_height = spec.extra_padding[0];
    shape.extra_width = spec.extra_padding[1];
    shape.groups = spec.groups;
    return shape;
}

}  // namespace ranvier
