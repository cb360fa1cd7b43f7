// Products of pixels whose channels are neighbours with weights in panels.
//
// Weights are packed as [panel of outputs][input channel][tap][output], a panel as wide as the registers'
// tile, the last one in whole vectors.
#pragma once

#include <algorithm>

#include "kernel_table.h"
#include "ranvier/array.h"

namespace ranvier {

// Some taps: where they lie from the pixel of the output.
struct Taps {
    const index_t* offsets;
    index_t count;
};

// The width of the panel that begins at output o of `outputs`, which are whole vectors.
template <class T>
index_t panel_width(index_t outputs, index_t o) {
    return std::min(2 * kernels<T>().plane->lanes, outputs - o);
}

// The sums of `outputs` outputs at some pixels, `outputs` apart, over channels and taps; the depth is cut by
// depth_block() into blocks of whole channels.
template <class T>
void multiply_pixels(index_t pixels, const T* from, const index_t* pixel_offsets, index_t channels,
                     const Taps& taps, const T* packed, index_t outputs, T* to) {
    const PlaneKernels<T>& plane = *kernels<T>().plane;
    const index_t length =
        std::max<index_t>(1, depth_block<T>(channels * taps.count) / std::max<index_t>(1, taps.count));
    for (index_t o = 0; o < outputs; o += 2 * plane.lanes) {
        const index_t width = panel_width<T>(outputs, o);
        const T* panel = packed + o * channels * taps.count;
        for (index_t c = 0; c < channels; c += length)
            plane.multiply_pixels(pixels, width / plane.lanes, std::min(length, channels - c), taps.count,
                                  from + c, pixel_offsets, taps.offsets, panel + c * taps.count * width,
                                  to + o, outputs, c > 0);
    }
}

}  // namespace ranvier
