// The taps of a kernel that meet the image: of narrow images with wide padding some meet nothing but zeros.
#pragma once

#include <algorithm>

#include "ranvier/conv2d.h"

namespace ranvier {

// How many columns (or rows) of the kernel meet nothing but the padding, on either side; counted as if there
// were `extra` more of it before the image, too, as there is behind it.
inline index_t unread_taps(index_t size, index_t kernel, index_t padding, index_t extra, index_t dilation) {
    const index_t most = padding + std::max<index_t>(0, extra);
    const index_t unread = kernel - (size + most + dilation - 1) / dilation;
    return std::clamp<index_t>(unread, 0, std::min((kernel - 1) / 2, padding / dilation));
}

// The same convolution without them. Both sides lose as many, so that the outputs stay where they are.
struct ReadTaps {
    index_t rows, cols;  // that are left out on either side
    Conv2dShape shape;

    explicit ReadTaps(const Conv2dShape& s)
        : rows(
              unread_taps(s.in_height, s.kernel_height, s.padding_height, s.extra_height, s.dilation_height)),
          cols(unread_taps(s.in_width, s.kernel_width, s.padding_width, s.extra_width, s.dilation_width)),
          shape(s) {
        shape.kernel_height -= 2 * rows;
        shape.kernel_width -= 2 * cols;
        shape.padding_height -= rows * s.dilation_height;
        shape.padding_width -= cols * s.dilation_width;
    }

    bool all() const { return rows == 0 && cols == 0; }

    // Those of the weights that are read.
    template <class T>
    Images<T> of(Images<T> w) const {
        w.data += rows * w.strides[2] + cols * w.strides[3];
        return w;
    }
};

}  // namespace ranvier
