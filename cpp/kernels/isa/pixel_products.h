// Products of pixels, whose channels are neighbours in memory, with weights: convolutions that need no
// patches, of one instruction set.
//
// A tile of ROWS pixels by VECS vectors of output channels stays in registers while the depth (input channels
// and taps) runs by: at each step a vector or two of weights, and one broadcast element of each pixel.
#pragma once

#include "../../platform/simd_registers.h"
#include "../plane_kernels.h"
#include "activations.h"

namespace ranvier::RANVIER_ISA {

inline constexpr int kPixelVecs = 2;
inline constexpr int kPixelRows = kAccumulators / kPixelVecs;

template <class T>
struct PixelOperands {
    index_t channels, taps;
    const T* pixels;
    const index_t *pixel_offsets, *tap_offsets;
    const T* weights;
    T* to;
    index_t to_stride;
    bool accumulate;
    index_t last_outputs;  // of the last vector
    PixelEpilogue<T> epilogue;
};

// body(row, vector, where it goes, how many lanes of it) for the tile's vectors.
template <class T, int ROWS, int VECS, class Body>
RANVIER_INLINE void each_output(const PixelOperands<T>& o, Body&& body) {
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 2
        for (int v = 0; v < VECS; ++v)
            body(i, v, o.to + i * o.to_stride + v * kLanes<T>, v == VECS - 1 ? o.last_outputs : kLanes<T>);
}

template <class T, int ROWS, int VECS>
void pixel_tile(const PixelOperands<T>& o) {
    const T* pixels[ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) pixels[i] = o.pixels + o.pixel_offsets[i];
    Vec<T> sum[ROWS][VECS] = {};
    const T* weights = o.weights;
    for (index_t tap = 0; tap < o.taps; ++tap) {
        const index_t first = o.tap_offsets[tap], end = first + o.channels;
        for (index_t at = first; at < end; ++at, weights += VECS * kLanes<T>) {
            Vec<T> column[VECS];
#pragma GCC unroll 2
            for (int v = 0; v < VECS; ++v) column[v] = load(weights + v * kLanes<T>);
#pragma GCC unroll 16
            for (int i = 0; i < ROWS; ++i) {
                const Vec<T> element = broadcast(pixels[i][at]);
#pragma GCC unroll 2
                for (int v = 0; v < VECS; ++v) sum[i][v] = fma(element, column[v], sum[i][v]);
            }
        }
    }
    if (o.accumulate)
        each_output<T, ROWS, VECS>(
            o, [&](int i, int v, const T* to, index_t count)
                   __attribute__((always_inline)) { sum[i][v] = load_partial(to, count) + sum[i][v]; });
    if (o.epilogue.bias)
        each_output<T, ROWS, VECS>(
            o, [&](int i, int v, const T*, index_t count) __attribute__((always_inline)) {
                sum[i][v] += load_partial(o.epilogue.bias + v * kLanes<T>, count);
            });
    if (o.epilogue.rectify)
        each_output<T, ROWS, VECS>(
            o, [&](int i, int v, const T*, index_t)
                   __attribute__((always_inline)) { sum[i][v] = Relu::value<T>(sum[i][v], Vec<T>{}); });
    each_output<T, ROWS, VECS>(
        o, [&](int i, int v, T* to, index_t count)
               __attribute__((always_inline)) { store_partial(to, sum[i][v], count); });
}

template <class T>
using PixelTile = void (*)(const PixelOperands<T>& o);

template <class T, int VECS, std::size_t... I>
constexpr auto pixel_tiles(std::index_sequence<I...>) {
    struct {
        PixelTile<T> at[kPixelRows];
    } table = {{pixel_tile<T, I + 1, VECS>...}};
    return table;
}
template <class T, int VECS>
inline constexpr auto kPixelTiles = pixel_tiles<T, VECS>(std::make_index_sequence<kPixelRows>{});

// See PlaneKernels::multiply_pixels.
template <class T>
void multiply_pixels(index_t pixels, index_t outputs, index_t channels, index_t taps, const T* from,
                     const index_t* pixel_offsets, const index_t* tap_offsets, const T* weights, T* to,
                     index_t to_stride, bool accumulate, const PixelEpilogue<T>& epilogue) {
    const bool wide = outputs > kLanes<T>;
    PixelOperands<T> o = {channels, taps, from,      pixel_offsets, tap_offsets,
                          weights,  to,   to_stride, accumulate,    wide ? outputs - kLanes<T> : outputs,
                          epilogue};
    while (pixels > 0) {  // two even halves at the end rather than a full tile and a sliver
        const index_t now = pixels >= 2 * kPixelRows || pixels == kPixelRows ? kPixelRows
                            : pixels > kPixelRows                            ? (pixels + 1) / 2
                                                                             : pixels;
        (wide ? kPixelTiles<T, 2>.at : kPixelTiles<T, 1>.at)[now - 1](o);
        o.pixel_offsets += now;
        o.to += now * to_stride;
        pixels -= now;
    }
}

}  // namespace ranvier::RANVIER_ISA
