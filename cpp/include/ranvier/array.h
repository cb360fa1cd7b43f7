// Views of memory that someone else owns. All strides count elements, and may be zero or negative.
#pragma once

#include <cstddef>
#include <initializer_list>

namespace ranvier {

using index_t = std::ptrdiff_t;

// How many units n takes, n >= 0; and these in n's measure.
constexpr index_t ceil_div(index_t n, index_t unit) { return (n + unit - 1) / unit; }
constexpr index_t round_up(index_t n, index_t unit) { return ceil_div(n, unit) * unit; }

template <class T>
struct Matrix {
    T* data = nullptr;
    index_t rows = 0;
    index_t cols = 0;
    index_t row_stride = 0;
    index_t col_stride = 1;

    operator Matrix<const T>() const { return {data, rows, cols, row_stride, col_stride}; }
};

template <class T>
Matrix<T> transposed(const Matrix<T>& m) {
    return {m.data, m.cols, m.rows, m.col_stride, m.row_stride};
}

// A row-major matrix without gaps.
template <class T>
Matrix<T> row_major(T* data, index_t rows, index_t cols) {
    return {data, rows, cols, cols, 1};
}

inline constexpr int kMaxDims = 32;

// An n-dimensional array; only the first `ndim` entries of `shape` and `strides` mean anything.
template <class T>
struct Array {
    T* data = nullptr;
    int ndim = 0;
    index_t shape[kMaxDims];
    index_t strides[kMaxDims];
};

// One in C order without gaps.
template <class T>
Array<T> row_major(T* data, std::initializer_list<index_t> shape) {
    Array<T> array;
    array.data = data;
    index_t stride = 1;
    for (const index_t size : shape) array.shape[array.ndim++] = size;
    for (int d = array.ndim - 1; d >= 0; --d) {
        array.strides[d] = stride;
        stride *= array.shape[d];
    }
    return array;
}

// A batch of images with its four strides: sample, channel, row, column. Also weights in OIHW order.
template <class T>
struct Images {
    T* data = nullptr;
    index_t strides[4] = {0, 0, 0, 0};

    operator Images<const T>() const { return {data, {strides[0], strides[1], strides[2], strides[3]}}; }
};

}  // namespace ranvier
