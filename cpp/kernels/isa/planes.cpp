// Rows of images of one instruction set: copied, with zeros around them or without, and turned into vectors
// of channels; and boxes of strided memory.
#include "../../platform/simd_strided.h"
#include "../../platform/simd_transpose.h"
#include "boxes.h"
#include "isa.h"
#include "pixel_products.h"

namespace ranvier::RANVIER_ISA {
namespace {

template <class T>
RANVIER_INLINE T* clear(index_t n, T* to) {
    for (; n >= kLanes<T>; n -= kLanes<T>, to += kLanes<T>) store(to, Vec<T>{});
    if (n > 0) store_partial(to, Vec<T>{}, n);
    return to + n;
}

template <class T>
void pad_rows(index_t rows, index_t cols, const T* from, index_t row_stride, index_t before, index_t after,
              T* to) {
    for (; rows > 0; --rows, from += row_stride) {
        to = clear(before, to);
        index_t j = 0;
        for (; j + kLanes<T> <= cols; j += kLanes<T>) store(to + j, load(from + j));
        if (j < cols) store_partial(to + j, load_partial(from + j, cols - j), cols - j);
        to = clear(after, to + cols);
    }
}

template <class T>
void copy_every(index_t n, const T* from, index_t step, T* to) {
    for (index_t j = 0; j < n; j += kLanes<T>) {
        const index_t count = n - j < kLanes<T> ? n - j : kLanes<T>;
        store_partial(to + j, load_every(from + j * step, step, count), count);
    }
}

template <class T>
RANVIER_INLINE void copy_row(index_t cols, const T* from, T* to) {
    index_t j = 0;
    for (; j + kLanes<T> <= cols; j += kLanes<T>) store(to + j, load(from + j));
    if (j < cols) store_partial(to + j, load_partial(from + j, cols - j), cols - j);
}

template <class T>
void copy_rows(index_t rows, index_t cols, const T* from, index_t from_stride, T* to, index_t to_stride) {
    if (from_stride == 0 && cols <= kLanes<T>) {  // a load would wait for the store of the last copy
        const Vec<T> row = load_partial(from, cols);
        for (; rows > 0; --rows, to += to_stride) store_partial(to, row, cols);
        return;
    }
    for (; rows > 0; --rows, from += from_stride, to += to_stride) copy_row(cols, from, to);
}

// `n` elements of each line, a vector's lanes at most, as vectors.
template <class T>
RANVIER_INLINE void load_transposed(index_t lines, index_t n, const T* from, index_t stride,
                                    Vec<T> (&square)[kLanes<T>]) {
    if (n == kLanes<T> && lines == kLanes<T>) {
#pragma GCC unroll 16
        for (int k = 0; k < kLanes<T>; ++k) square[k] = load(from + k * stride);
    } else {
#pragma GCC unroll 16
        for (int k = 0; k < kLanes<T>; ++k)
            square[k] = k < lines ? load_partial(from + k * stride, n) : Vec<T>{};
    }
    transpose<T>(square);
}

template <class T>
void gather_rows(index_t lines, index_t rows, index_t cols, const T* from, index_t stride, T* to,
                 index_t to_stride, index_t to_pitch) {
    const index_t gap = to_pitch - cols * to_stride;
    index_t col = 0;
    for (index_t n = rows * cols; n > 0; n -= kLanes<T>, from += kLanes<T>) {
        const index_t now = n < kLanes<T> ? n : kLanes<T>;
        Vec<T> square[kLanes<T>];
        load_transposed(lines, now, from, stride, square);
#pragma GCC unroll 16
        for (int k = 0; k < kLanes<T>; ++k) {
            if (k >= now) break;
            store(to, square[k]);
            to += to_stride;
            if (++col < cols) continue;
            to += gap;
            col = 0;
        }
    }
}

template <class T>
void scatter_lanes(index_t lines, index_t n, const T* from, index_t from_stride, const T* addends, T* to,
                   index_t stride) {
    const Vec<T> addend = load(addends);
    for (; n > 0; n -= kLanes<T>, from += kLanes<T> * from_stride, to += kLanes<T>) {
        Vec<T> square[kLanes<T>];
        if (n >= kLanes<T> && lines == kLanes<T>) {
#pragma GCC unroll 16
            for (int k = 0; k < kLanes<T>; ++k) square[k] = load(from + k * from_stride) + addend;
            transpose<T>(square);
#pragma GCC unroll 16
            for (int k = 0; k < kLanes<T>; ++k) store(to + k * stride, square[k]);
            continue;
        }
        const index_t now = n < kLanes<T> ? n : kLanes<T>;
#pragma GCC unroll 16
        for (int k = 0; k < kLanes<T>; ++k)
            square[k] = k < now ? load(from + k * from_stride) + addend : Vec<T>{};
        transpose<T>(square);
#pragma GCC unroll 16
        for (int k = 0; k < kLanes<T>; ++k)
            if (k < lines) store_partial(to + k * stride, square[k], now);
    }
}

}  // namespace

template <class T>
void gather_lanes(index_t lines, index_t n, const T* from, index_t stride, T* to, index_t to_stride) {
    for (; n > 0; n -= kLanes<T>, from += kLanes<T>, to += kLanes<T> * to_stride) {
        const index_t now = n < kLanes<T> ? n : kLanes<T>;
        Vec<T> square[kLanes<T>];
        load_transposed(lines, now, from, stride, square);
#pragma GCC unroll 16
        for (int k = 0; k < kLanes<T>; ++k)
            if (k < now) store(to + k * to_stride, square[k]);
    }
}

template <class T>
void scatter_sums(index_t lines, index_t n, const T* from, index_t from_stride, T* to, index_t stride,
                  bool accumulate) {
    for (; n > 0; n -= kLanes<T>, from += kLanes<T> * from_stride, to += kLanes<T>) {
        const index_t now = n < kLanes<T> ? n : kLanes<T>;
        Vec<T> square[kLanes<T>];
#pragma GCC unroll 16
        for (int k = 0; k < kLanes<T>; ++k)
            square[k] = k >= now             ? Vec<T>{}
                        : lines == kLanes<T> ? load(from + k * from_stride)
                                             : load_partial(from + k * from_stride, lines);
        transpose<T>(square);
#pragma GCC unroll 16
        for (int k = 0; k < kLanes<T>; ++k) {
            if (k >= lines) break;
            T* line = to + k * stride;
            if (now == kLanes<T>)
                store(line, accumulate ? load(line) + square[k] : square[k]);
            else
                store_partial(line, accumulate ? load_partial(line, now) + square[k] : square[k], now);
        }
    }
}

constinit const PlaneKernels<float> plane_float32 = {
    kLanes<float>,       pad_rows<float>,    copy_every<float>,     copy_rows<float>,
    gather_lanes<float>, gather_rows<float>, scatter_lanes<float>,  scatter_sums<float>,
    gather_box<float>,   scatter_box<float>, multiply_pixels<float>};
constinit const PlaneKernels<double> plane_float64 = {
    kLanes<double>,       pad_rows<double>,    copy_every<double>,     copy_rows<double>,
    gather_lanes<double>, gather_rows<double>, scatter_lanes<double>,  scatter_sums<double>,
    gather_box<double>,   scatter_box<double>, multiply_pixels<double>};

}  // namespace ranvier::RANVIER_ISA
