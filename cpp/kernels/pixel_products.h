// Products of pixels whose channels are neighbours with weights in panels.
//
// Panels are as wide as the registers' tile, the last one in whole vectors. The depth is cut by depth_block()
// into blocks of whole channels; in each panel lie, block by block, the weights as [tap][channel][output].
#pragma once

#include <algorithm>

#include "kernel_table.h"
#include "ranvier/array.h"

namespace ranvier {

// How the weights of `channels` inputs and `taps` taps for `outputs` outputs (in whole vectors) are packed.
template <class T>
struct PackedPanels {
    index_t channels, taps, outputs;
    index_t panel = 2 * kernels<T>().plane->lanes;
    index_t block = std::max<index_t>(1, taps == 0 ? 1 : depth_block<T>(channels * taps) / taps);

    index_t size() const { return channels * taps * outputs; }
    index_t width(index_t o) const { return std::min(panel, outputs - o); }
    // Where the vector of (channel c, tap t) begins in the panel of output o, which is a panel's first.
    index_t at(index_t o, index_t c, index_t t) const {
        const index_t first = c / block * block, length = std::min(block, channels - first);
        return o * channels * taps + (first * taps + t * length + c - first) * width(o);
    }
};

// Some of the taps.
struct TapRange {
    index_t first, count;

    bool operator==(const TapRange&) const = default;
};

// The outputs [first, end) at some pixels, to_stride apart; `first` is a panel's first.
template <class T>
void multiply_pixels(index_t pixels, const T* from, const index_t* pixel_offsets, const index_t* tap_offsets,
                     const TapRange& taps, const PackedPanels<T>& panels, const T* packed, index_t first,
                     index_t end, T* to, index_t to_stride, const PixelEpilogue<T>& epilogue = {}) {
    for (index_t o = first; o < end; o += panels.panel)
        for (index_t c = 0; c < panels.channels; c += panels.block) {
            PixelEpilogue<T> last;
            if (c + panels.block >= panels.channels)
                last = {epilogue.bias ? epilogue.bias + o : nullptr, epilogue.rectify};
            kernels<T>().plane->multiply_pixels(
                pixels, std::min(panels.panel, end - o), std::min(panels.block, panels.channels - c),
                taps.count, from + c, pixel_offsets, tap_offsets + taps.first,
                packed + panels.at(o, c, taps.first), to + o, to_stride, c > 0, last);
        }
}

}  // namespace ranvier
