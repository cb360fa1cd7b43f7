// Images laid out so that a convolution needs no patches: padded, with one plane for each phase of the
// stride.
//
// Let the padded image have the rows u and columns v, u = row + padding. Phase (r, c) of strides (s, t) is
// the plane P[U][V] = padded[U s + r][V t + c]. The tap (i, j) of a kernel meets output pixel (y, x) at u = y
// s + i d, so it reads P[y + a][x + b] of phase ((i d) mod s, (j d) mod t), where a = (i d) / s and b = (j d)
// / t. With all planes at one pitch, and output pixels numbered q = y * pitch + x, that is element q + a *
// pitch + b: for every tap a run of contiguous memory, and the whole convolution a product of the weights
// with rows at fixed offsets. The pixels with x beyond the output's width are computed too, and dropped.
#pragma once

#include <algorithm>

#include "kernel_table.h"
#include "ranvier/array.h"
#include "ranvier/conv2d.h"

namespace ranvier {

// One dimension, of the input of a convolution.
struct Axis {
    index_t size, out, kernel, stride, padding, dilation;

    index_t phase(index_t tap) const { return tap * dilation % stride; }
    index_t shift(index_t tap) const { return tap * dilation / stride; }
    index_t most_shift() const { return shift(kernel - 1); }
    // Rows (or columns) of the padded input that so many neighbouring ones of the output read.
    index_t read(index_t outputs) const { return (outputs - 1) * stride + dilation * (kernel - 1) + 1; }
    // The first of the taps that read the input, not its padding, for that row of the output, and the one
    // behind the last of them.
    index_t first_inside(index_t output) const {
        return std::min(kernel, ceil_div(std::max<index_t>(0, padding - output * stride), dilation));
    }
    index_t end_inside(index_t output) const {
        const index_t left = std::max<index_t>(0, size + padding - output * stride);
        return std::clamp(ceil_div(left, dilation), first_inside(output), kernel);
    }
    // The share of those among the taps of all rows. All taps of the rows between `top` and `bottom` are.
    double share_inside() const {
        const index_t top = std::min(out, ceil_div(padding, stride));
        const index_t before_end = std::max<index_t>(0, size + padding - dilation * (kernel - 1));
        const index_t bottom = std::clamp(ceil_div(before_end, stride), top, out);
        index_t inside = (bottom - top) * kernel;
        for (index_t y = 0; y < top; ++y) inside += end_inside(y) - first_inside(y);
        for (index_t y = bottom; y < out; ++y) inside += end_inside(y) - first_inside(y);
        return static_cast<double>(inside) / static_cast<double>(out * kernel);
    }
    // Of the phases that a tap reads.
    index_t phases() const { return std::min(stride, stride == 1 ? 1 : (kernel - 1) * dilation + 1); }
};

inline Axis rows_of(const Conv2dShape& s) {
    return {s.in_height,     s.out_height(),   s.kernel_height,
            s.stride_height, s.padding_height, s.dilation_height};
}
inline Axis cols_of(const Conv2dShape& s) {
    return {s.in_width, s.out_width(), s.kernel_width, s.stride_width, s.padding_width, s.dilation_width};
}

// Where the taps of all channels of a group read: element q + offset.
struct PlaneLayout {
    Axis rows, cols;
    index_t pitch;    // elements from one row of a plane to the next
    index_t plane;    // to the next phase's plane
    index_t channel;  // to the next channel
    index_t pixels;   // q runs from 0 to here
    bool copied;      // else the image itself serves

    // Of the image as it lies, if it needs no padding, has no phases and no gaps between its rows (what lies
    // there is not ours to read), else of a copy.
    PlaneLayout(const Conv2dShape& shape, const index_t (&strides)[4])
        : rows(rows_of(shape)), cols(cols_of(shape)) {
        copied = !(!shape.is_padded() && rows.stride == 1 && cols.stride == 1 && strides[3] == 1 &&
                   strides[2] == cols.size);
        if (copied) {
            pitch = cols.out + cols.most_shift();
            plane = (rows.out + rows.most_shift()) * pitch;
            channel = rows.phases() * cols.phases() * plane;
        } else {
            pitch = strides[2];
            plane = 0;
            channel = strides[1];
        }
        pixels = (rows.out - 1) * pitch + cols.out;
    }

    index_t offset(index_t c, index_t i, index_t j) const {
        return c * channel + (rows.phase(i) * cols.phases() + cols.phase(j)) * plane + rows.shift(i) * pitch +
               cols.shift(j);
    }

    // Of all taps, in the order of the weights of one output channel.
    void write_offsets(index_t channels, index_t* to) const {
        for (index_t c = 0; c < channels; ++c)
            for (index_t i = 0; i < rows.kernel; ++i)
                for (index_t j = 0; j < cols.kernel; ++j) *to++ = offset(c, i, j);
    }

    // One channel of one image, into `to` of `channel` elements.
    template <class T>
    void copy_channel(const T* from, index_t row_stride, index_t col_stride, T* to) const {
        if (rows.stride == 1 && cols.stride == 1 && col_stride == 1) return pad(from, row_stride, to);
        for (index_t r = 0; r < rows.phases(); ++r)
            for (index_t c = 0; c < cols.phases(); ++c, to += plane)
                for (index_t U = 0; U < plane / pitch; ++U) {
                    const index_t row = U * rows.stride + r - rows.padding;
                    T* line = to + U * pitch;
                    if (row < 0 || row >= rows.size)
                        std::fill_n(line, pitch, T{});
                    else
                        copy_line(from + row * row_stride, col_stride, c, line);
                }
    }

private:
    // The only plane of stride 1, of an image with contiguous rows.
    template <class T>
    void pad(const T* from, index_t row_stride, T* to) const {
        const index_t lines = plane / pitch, top = std::min(rows.padding, lines);
        const index_t inside = std::clamp<index_t>(rows.size, 0, lines - top);
        const index_t before = std::min(cols.padding, pitch);
        const index_t width = std::clamp<index_t>(cols.size, 0, pitch - before);
        std::fill_n(to, top * pitch, T{});
        kernels<T>().plane->pad_rows(inside, width, from, row_stride, before, pitch - before - width,
                                     to + top * pitch);
        std::fill(to + (top + inside) * pitch, to + plane, T{});
    }

    // line[V] = from[V stride + phase - padding], zero outside of the image.
    template <class T>
    void copy_line(const T* from, index_t col_stride, index_t phase, T* line) const {
        const index_t step = cols.stride, before = cols.padding - phase;
        const index_t first = std::clamp<index_t>(before > 0 ? ceil_div(before, step) : 0, 0, pitch);
        const index_t last = std::clamp<index_t>(
            cols.size + before > 0 ? ceil_div(cols.size + before, step) : 0, first, pitch);
        std::fill(line, line + first, T{});
        from += (first * step - before) * col_stride;
        kernels<T>().plane->copy_every(last - first, from, step * col_stride, line + first);
        std::fill(line + last, line + pitch, T{});
    }
};

// `pixels` pixels of up to a vector's worth of channels, pixels of any stride, as vectors of channels that
// are to_stride apart; with zeros in the lanes of channels that are not there.
template <class T>
void gather_pixels(index_t channels, index_t pixels, const T* from, index_t channel_stride,
                   index_t pixel_stride, T* to, index_t to_stride) {
    const PlaneKernels<T>& kernel = *kernels<T>().plane;
    if (pixel_stride == 1) return kernel.gather_lanes(channels, pixels, from, channel_stride, to, to_stride);
    if (channel_stride == 1) {
        for (index_t p = 0; channels < kernel.lanes && p < pixels; ++p)
            std::fill_n(to + p * to_stride + channels, kernel.lanes - channels, T{});
        return kernel.copy_rows(pixels, channels, from, pixel_stride, to, to_stride);
    }
    for (index_t p = 0; p < pixels; ++p)
        for (index_t c = 0; c < kernel.lanes; ++c)
            to[p * to_stride + c] = c < channels ? from[c * channel_stride + p * pixel_stride] : T{};
}

// The weights of all output channels, contiguous in OIHW order: those that lie so, or a copy in `memory`.
template <class T>
const T* contiguous_weights(const Conv2dShape& s, const Images<const T>& w, T* memory) {
    const index_t in = s.in_channels / s.groups, kh = s.kernel_height, kw = s.kernel_width;
    if (w.strides[3] == 1 && w.strides[2] == kw && w.strides[1] == kh * kw && w.strides[0] == in * kh * kw)
        return w.data;
    T* to = memory;
    for (index_t o = 0; o < s.out_channels; ++o)
        for (index_t c = 0; c < in; ++c)
            for (index_t i = 0; i < kh; ++i)
                for (index_t j = 0; j < kw; ++j)
                    *to++ = w.data[o * w.strides[0] + c * w.strides[1] + i * w.strides[2] + j * w.strides[3]];
    return memory;
}

// The work of a product in units of threads_for, as for matrix products.
inline double convolution_work(const Conv2dShape& s) {
    return static_cast<double>(s.batch) * static_cast<double>(s.out_channels) *
           static_cast<double>(s.out_height() * s.out_width()) *
           static_cast<double>(s.in_channels / s.groups) *
           static_cast<double>(s.kernel_height * s.kernel_width) / 6;
}

}  // namespace ranvier
