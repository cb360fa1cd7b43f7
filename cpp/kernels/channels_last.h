// Between images, whose channels are planes or neighbours, and pixels, whose channels are neighbours (in
// vectors' lanes).
#pragma once

#include <algorithm>

#include "kernel_table.h"
#include "planes.h"
#include "ranvier/memory.h"

namespace ranvier {

// The rows of all images are numbered: row r is row r % height of image r / height. `count` rows from `first`
// on, as (image, row in it, rows) for body.
template <class Body>
void for_each_image(index_t height, index_t first, index_t count, Body&& body) {
    while (count > 0) {
        const index_t row = first % height, now = std::min(count, height - row);
        body(first / height, row, now);
        first += now;
        count -= now;
    }
}

// Up to a vector's worth of lines of weights, `lane` apart, as vectors of their elements: so many channels,
// each with its taps in rows and columns.
template <class T>
void gather_taps(index_t lines, index_t channels, index_t rows, index_t cols, const T* from, index_t lane,
                 index_t channel, index_t down, index_t right, T* to) {
    const PlaneKernels<T>& plane = *kernels<T>().plane;
    const index_t taps = rows * cols;
    if (lane == 1) {
        if (lines < plane.lanes) std::fill_n(to, channels * taps * plane.lanes, T{});
        for (index_t i = 0; i < rows; ++i)
            for (index_t j = 0; j < cols; ++j)
                plane.copy_rows(channels, lines, from + i * down + j * right, channel,
                                to + (i * cols + j) * plane.lanes, taps * plane.lanes);
        return;
    }
    if ((cols == 1 || right == 1) && (rows == 1 || down == cols)) {
        if (channels == 1 || channel == taps)
            return plane.gather_lanes(lines, channels * taps, from, lane, to, plane.lanes);
        for (index_t c = 0; c < channels; ++c)
            plane.gather_lanes(lines, taps, from + c * channel, lane, to + c * taps * plane.lanes,
                               plane.lanes);
        return;
    }
    for (index_t c = 0; c < channels; ++c)
        for (index_t i = 0; i < rows; ++i)
            for (index_t j = 0; j < cols; ++j, to += plane.lanes)
                for (index_t k = 0; k < plane.lanes; ++k)
                    to[k] = k < lines ? from[k * lane + c * channel + i * down + j * right] : T{};
}

// A rectangle of an image, which may reach beyond it.
struct Window {
    index_t row, rows, col, cols;
};

// Pixels whose channels are neighbours, to where they are `stride` apart, with zeros up to whole vectors of
// channels.
template <class T>
void copy_pixels(index_t rows, index_t cols, index_t channels, const T* from, index_t row, index_t col, T* to,
                 index_t pitch, index_t stride) {
    const PlaneKernels<T>& plane = *kernels<T>().plane;
    if (col == channels && stride == channels)
        return plane.copy_rows(rows, cols * channels, from, row, to, pitch);
    const index_t left = std::min(stride, round_up(channels, plane.lanes)) - channels;
    for (index_t i = 0; i < rows; ++i, from += row, to += pitch) {
        plane.copy_rows(cols, channels, from, col, to, stride);
        for (index_t x = 0; left > 0 && x < cols; ++x) std::fill_n(to + x * stride + channels, left, T{});
    }
}

// The window's pixels of an image of some channels, height and width, row after row, `stride` apart, with
// zeros outside of the image and in the lanes of channels that are not there.
template <class T>
void gather_window(const Images<const T>& images, index_t image, index_t channels, index_t height,
                   index_t width, const Window& window, T* to, index_t stride) {
    const index_t lanes = kernels<T>().plane->lanes, pitch = window.cols * stride;
    const index_t before = std::clamp<index_t>(-window.col, 0, window.cols);
    const index_t end = std::clamp<index_t>(width - window.col, before, window.cols);
    const index_t top = std::clamp<index_t>(-window.row, 0, window.rows);
    const index_t bottom = std::clamp<index_t>(height - window.row, top, window.rows);
    std::fill_n(to, top * pitch, T{});
    for (T* line = to + top * pitch; line < to + bottom * pitch; line += pitch) {
        std::fill_n(line, before * stride, T{});
        std::fill(line + end * stride, line + pitch, T{});
    }
    std::fill(to + bottom * pitch, to + window.rows * pitch, T{});
    const auto [sample, channel, row, col] = images.strides;
    const T* from = images.data + image * sample + (window.row + top) * row + (window.col + before) * col;
    index_t rows = bottom - top, cols = end - before;
    if (cols == window.cols && row == cols * col) {  // one long row
        cols *= rows;
        rows = std::min<index_t>(rows, 1);
    }
    to += top * pitch + before * stride;
    if (channel == 1) return copy_pixels(rows, cols, channels, from, row, col, to, pitch, stride);
    if (col == 1 && row == cols && rows > 1) {
        for (index_t c = 0; c < channels; c += lanes)
            kernels<T>().plane->gather_rows(std::min(lanes, channels - c), rows, cols, from + c * channel,
                                            channel, to + c, stride, pitch);
        return;
    }
    for (index_t c = 0; c < channels; c += lanes)
        for (index_t i = 0; i < rows; ++i)
            gather_pixels(std::min(lanes, channels - c), cols, from + c * channel + i * row, channel, col,
                          to + i * pitch + c, stride);
}

// Where pixels become images again: their biases are added and their activation is taken on the way.
template <class T>
class ChannelWriter {
public:
    ChannelWriter(const Images<T>& images, index_t channels, index_t width, const T* bias,
                  Activation activation, T parameter)
        : images_(images),
          channels_(channels),
          width_(width),
          activation_(activation),
          parameter_(parameter),
          biases_(round_up(channels, plane_.lanes)) {
        std::fill_n(biases_.data(), round_up(channels, plane_.lanes), T{});
        if (bias) std::copy_n(bias, channels, biases_.data());
    }

    // A vector's worth of channels from o on, of `rows` rows of an image; `pitch` from one row of pixels to
    // the next, `stride` from one pixel to the next.
    void write(const T* pixels, index_t pitch, index_t stride, index_t image, index_t o, index_t row,
               index_t rows) const {
        const auto [sample, channel, down, right] = images_.strides;
        const index_t count = std::min(plane_.lanes, channels_ - o);
        T* to = images_.data + image * sample + o * channel + row * down;
        index_t cols = width_;
        const bool contiguous = right == 1;
        if (contiguous && down == cols && pitch == cols * stride) {  // one long row
            cols *= rows;
            rows = std::min<index_t>(rows, 1);
        }
        Scratch<T> memory(contiguous ? 0 : plane_.lanes * cols);
        for (index_t i = 0; i < rows; ++i, pixels += pitch, to += down) {
            T* lines = contiguous ? to : memory.data();
            const index_t line = contiguous ? channel : cols;
            plane_.scatter_lanes(count, cols, pixels, stride, biases_.data() + o, lines, line);
            for (index_t c = 0; c < count; ++c) finish(cols, lines + c * line, to + c * channel);
        }
    }

private:
    // One row of one channel, that stands at `line` and belongs at `to`.
    void finish(index_t cols, T* line, T* to) const {
        if (activation_ != Activation::identity)
            kernels<T>().elementwise->activation[static_cast<int>(activation_)](cols, line, line, parameter_);
        if (line == to) return;
        for (index_t x = 0; x < cols; ++x) to[x * images_.strides[3]] = line[x];
    }

    const Images<T>& images_;
    const PlaneKernels<T>& plane_ = *kernels<T>().plane;
    index_t channels_, width_;
    Activation activation_;
    T parameter_;
    Scratch<T> biases_;
};

}  // namespace ranvier
