// The tiles of a batch of images: cut out, padded with zeros, with channels in vectors' lanes, and
// transformed.
//
// Transformed tiles lie as [point][tile][channel], so that each point's are a matrix. The tiles of all images
// are numbered in rows: row r of tiles is row r % rows of image r / rows.
#pragma once

#include <algorithm>

#include "channels_last.h"
#include "kernel_table.h"
#include "ranvier/memory.h"

namespace ranvier {

struct TileGrid {
    index_t tile;        // pixels of an edge that a tile yields
    index_t points;      // of an edge of a transformed tile
    index_t rows, cols;  // of tiles in an image

    index_t squares() const { return points * points; }
};

// Matrices at an odd number of cache lines from one another, so that a tile's values, which are written to
// all of them, do not meet in one set of the cache.
template <class T>
index_t apart(index_t elements) {
    return (ceil_div(elements, kCacheLine<T>) | 1) * kCacheLine<T>;
}

// Where the transformed tiles go: element (point, tile, channel) at point * plane + tile * stride + channel.
template <class T>
struct TileMatrices {
    T* data;
    index_t plane, stride;
};

// Images, and what of them a tile takes.
template <class T>
struct TileSource {
    const Images<const T>& images;
    index_t channels, height, width;
    index_t before;  // zeros above the first row and to the left of the first column
    index_t extent;  // pixels of an edge that a tile reads
    TileTransform<T> transform;
};

// The tiles of `count` rows from `first` on, of the channels from c0 on that fill a vector. Tile 0 is the
// first one of row `first`.
template <class T>
void transform_tiles(const TileGrid& grid, const TileSource<T>& source, index_t first, index_t count,
                     index_t c0, const TileMatrices<T>& to) {
    const index_t lanes = kernels<T>().plane->lanes, channels = std::min(lanes, source.channels - c0);
    const index_t cols = (grid.cols - 1) * grid.tile + source.extent, pitch = cols * lanes;
    const Images<const T>& all = source.images;
    const Images<const T> images = {all.data + c0 * all.strides[1],
                                    {all.strides[0], all.strides[1], all.strides[2], all.strides[3]}};
    T* tile = to.data + c0;
    for_each_image(grid.rows, first, count, [&](index_t image, index_t row, index_t rows) {
        const index_t height = (rows - 1) * grid.tile + source.extent;
        Scratch<T> memory(height * pitch);
        gather_window(images, image, channels, source.height, source.width,
                      {row * grid.tile - source.before, height, -source.before, cols}, memory.data(), lanes);
        for (index_t i = 0; i < rows; ++i, tile += grid.cols * to.stride)
            source.transform(grid.cols, memory.data() + i * grid.tile * pitch, pitch, lanes,
                             grid.tile * lanes, tile, grid.points * to.plane, to.plane, to.stride);
    });
}

}  // namespace ranvier
