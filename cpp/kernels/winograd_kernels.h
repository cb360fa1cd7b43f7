// What each instruction set provides for Winograd's convolutions: transforms of tiles.
#pragma once

#include "ranvier/array.h"

namespace ranvier {

// Transforms `count` square tiles of vectors. Element (i, j) of a tile lies at i * row + j * col, the next
// tile a step further on.
template <class T>
using TileTransform = void (*)(index_t count, const T* from, index_t from_row, index_t from_col,
                               index_t from_step, T* to, index_t to_row, index_t to_col, index_t to_step);

// Of F(tile x tile, kernel x kernel). An edge of the transformed tile has tile + kernel - 1 points.
template <class T>
struct WinogradTransforms {
    index_t tile, kernel;
    TileTransform<T> image;            // points x points pixels to as many points
    TileTransform<T> weights;          // kernel x kernel weights to points
    TileTransform<T> output;           // points to tile x tile pixels
    TileTransform<T> gradient;         // tile x tile pixels of the output's gradient to points
    TileTransform<T> weight_gradient;  // points to kernel x kernel weights

    index_t points() const { return tile + kernel - 1; }
};

inline constexpr int kWinogradCount = 3;

template <class T>
struct WinogradKernels {
    index_t lanes;  // channels of a vector
    WinogradTransforms<T> transforms[kWinogradCount];
};

}  // namespace ranvier
