// What each instruction set provides for moving rows of images and boxes of arrays.
#pragma once

#include "ranvier/array.h"

namespace ranvier {

// What becomes of the sums of neighbouring channels: a bias of each is added, unless it is nullptr, and then
// those below zero become zero if `rectify`.
template <class T>
struct PixelEpilogue {
    const T* bias = nullptr;
    bool rectify = false;
};

// A box of up to three axes of an array, the last one innermost.
struct BoxShape {
    index_t size[3];
    index_t stride[3];
};

template <class T>
struct PlaneKernels {
    index_t lanes;  // of a vector

    // Each of the rows, `cols` long, goes to a line of before + cols + after elements, with zeros around it.
    // Lines follow one another without gaps.
    void (*pad_rows)(index_t rows, index_t cols, const T* from, index_t row_stride, index_t before,
                     index_t after, T* to);
    // to[j] = from[j * step].
    void (*copy_every)(index_t n, const T* from, index_t step, T* to);
    // to[i][j] = from[i][j].
    void (*copy_rows)(index_t rows, index_t cols, const T* from, index_t from_stride, T* to,
                      index_t to_stride);

    // Lines of n elements, up to a vector's lanes of them, become vectors of their i-th elements, and back
    // again. to[i * to_stride + lane] = from[lane * stride + i], zero for the lanes from `lines` on.
    void (*gather_lanes)(index_t lines, index_t n, const T* from, index_t stride, T* to, index_t to_stride);
    // The same of lines of rows * cols elements, whose rows go to_pitch apart.
    void (*gather_rows)(index_t lines, index_t rows, index_t cols, const T* from, index_t stride, T* to,
                        index_t to_stride, index_t to_pitch);
    // to[lane * stride + i] = from[i * from_stride + lane] + addends[lane] for the first `lines` lanes; from
    // and addends have all.
    void (*scatter_lanes)(index_t lines, index_t n, const T* from, index_t from_stride, const T* addends,
                          T* to, index_t stride);
    // to[lane * stride + i] = from[i * from_stride + lane] for the first `lines` lanes, added to what is
    // there if `accumulate`.
    void (*scatter_sums)(index_t lines, index_t n, const T* from, index_t from_stride, T* to, index_t stride,
                         bool accumulate);

    // The elements of a box, in the order of its axes, to contiguous memory, and back again.
    void (*gather_box)(const BoxShape& box, const T* from, T* to);
    void (*scatter_box)(const BoxShape& box, const T* from, T* to);

    // Convolutions of images with neighbouring channels: to[i * to_stride + o] (+)= the sum over taps t and
    // channels k of from[pixel_offsets[i] + tap_offsets[t] + k] times weights[t][k][o], in this order, for
    // the output channels o of one vector or two, of which the first `outputs` are stored. The
    // epilogue is for sums that are complete then.
    void (*multiply_pixels)(index_t pixels, index_t outputs, index_t channels, index_t taps, const T* from,
                            const index_t* pixel_offsets, const index_t* tap_offsets, const T* weights, T* to,
                            index_t to_stride, bool accumulate, const PixelEpilogue<T>& epilogue);
};

}  // namespace ranvier
