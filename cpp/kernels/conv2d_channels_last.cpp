// The forward pass with neighbouring channels: tasks are some rows of outputs, of one image or of several.
#include "conv2d_channels_last.h"

#include "channels_last.h"
#include "pixel_products.h"
#include "planes.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

// What a task holds of images and outputs should stay in the second-level cache: so many elements.
constexpr index_t kHeld = 96 << 10;
// Enough pixels in a task for the weights that are read once in it.
constexpr index_t kLeastPixels = 48;

template <class T>
PackedPanels<T> panels_of(const Conv2dShape& s) {
    return {s.in_channels, s.kernel_height * s.kernel_width,
            round_up(s.out_channels, kernels<T>().plane->lanes)};
}

// The weights of one group, block by block of the depth.
template <class T>
void pack(const Conv2dShape& s, const Images<const T>& w, T* to) {
    const PlaneKernels<T>& plane = *kernels<T>().plane;
    const PackedPanels<T> panels = panels_of<T>(s);
    const auto [out, in, down, right] = w.strides;
    const auto pack_block = [&, out = out, in = in, down = down, right = right](index_t o, index_t c) {
        const index_t length = std::min(panels.block, panels.channels - c);
        Scratch<T> vectors(length * panels.taps * plane.lanes);
        gather_taps(std::min(plane.lanes, s.out_channels - o), length, s.kernel_height, s.kernel_width,
                    w.data + o * out + c * in, out, in, down, right, vectors.data());
        const index_t panel = o / panels.panel * panels.panel;
        for (index_t t = 0; t < panels.taps; ++t)
            plane.copy_rows(length, plane.lanes, vectors.data() + t * plane.lanes, panels.taps * plane.lanes,
                            to + panels.at(panel, c, t) + o - panel, panels.width(panel));
    };
    const int threads = threads_for(static_cast<double>(panels.size()));
    parallel_for(panels.outputs / plane.lanes, threads, [&](index_t task) {
        for (index_t c = 0; c < panels.channels; c += panels.block) pack_block(task * plane.lanes, c);
    });
}

// All groups, one behind the other.
template <class T>
void pack_groups(const Conv2dShape& shape, const Images<const T>& w, T* to) {
    const Conv2dShape s = shape_of_group(shape);
    const index_t size = panels_of<T>(s).size();
    for_each_group(shape, [&](index_t g) { pack(s, from_output(w, g * s.out_channels), to + g * size); });
}

template <class T>
class ChannelsLastForward {
public:
    ChannelsLastForward(const Conv2dShape& shape, const Images<const T>& x, const T* packed, const T* bias,
                        const Images<T>& y, Activation activation, T parameter)
        : s_(shape),
          x_(x),
          y_(y),
          packed_(packed),
          bias_(bias),
          activation_(activation),
          parameter_(parameter),
          rows_(rows_of(shape)),
          cols_(cols_of(shape)),
          in_place_(x.strides[1] == 1 && !shape.is_padded()),
          writes_pixels_(is_dense(y)),
          in_(x.strides[1] == 1 ? shape.in_channels : round_up(shape.in_channels, kernels<T>().plane->lanes)),
          out_(writes_pixels_ ? shape.out_channels : round_up(shape.out_channels, kernels<T>().plane->lanes)),
          width_(cols_.read(cols_.out)),
          row_step_(in_place_ ? x.strides[2] : width_ * in_),
          col_step_(in_place_ ? x.strides[3] : in_),
          taps_(rows_.kernel * cols_.kernel),
          skips_padding_(skips_padding(rows_, cols_)),
          tap_offsets_(taps_),
          panels_(panels_of<T>(shape)),
          writer_(y, shape.out_channels, cols_.out, bias, activation, parameter) {
        for (index_t i = 0; i < rows_.kernel; ++i)
            for (index_t j = 0; j < cols_.kernel; ++j)
                tap_offsets_.data()[i * cols_.kernel + j] =
                    i * rows_.dilation * row_step_ + j * cols_.dilation * col_step_;
    }

    // A task takes some rows; if there are few of them, only some of the outputs, too.
    void run() const {
        const int threads = threads_for(convolution_work(s_));
        const index_t rows = s_.batch * rows_.out;
        const index_t held = kHeld / (cols_.out * out_ + rows_.stride * width_ * in_);
        const index_t least = ceil_div(kLeastPixels, cols_.out);
        const index_t shared = threads == 1 ? rows : ceil_div(rows, 4 * threads);
        const index_t parts = ceil_div(rows, std::max(least, std::min(held, shared)));
        const index_t count = ceil_div(rows, parts), panels = ceil_div(panels_.outputs, panels_.panel);
        const index_t shares =
            threads == 1 || parts >= threads ? 1 : std::min(panels, ceil_div(index_t{2} * threads, parts));
        const index_t outputs = ceil_div(panels, shares) * panels_.panel;
        parallel_for(ceil_div(rows, count) * shares, threads, [&](index_t task) {
            const index_t first = task / shares * count, o = task % shares * outputs;
            if (o < out_) compute(first, std::min(count, rows - first), o, std::min(o + outputs, out_));
        });
    }

private:
    // Whether the pixels of all images lie one behind the other, their channels as neighbours.
    bool is_dense(const Images<T>& y) const {
        const auto [sample, channel, row, col] = y.strides;
        return channel == 1 && col == s_.out_channels && row == cols_.out * col &&
               (s_.batch == 1 || sample == rows_.out * row);
    }

    // The outputs [o, end) of `count` rows from `first` on.
    void compute(index_t first, index_t count, index_t o, index_t end) const {
        Scratch<T> window(in_place_ ? 0 : window_height(first, count) * row_step_);
        Scratch<index_t> offsets(count * cols_.out);
        if (!in_place_) copy_window(first, count, window.data());
        write_offsets(first, count, offsets.data());
        const T* source = in_place_ ? x_.data : window.data();
        const index_t pixels = count * cols_.out;
        if (writes_pixels_) {
            T* to = y_.data + first * cols_.out * out_;
            multiply(first, count, source, offsets.data(), o, end, to,
                     {bias_, activation_ == Activation::relu});
            return activate(pixels, end - o, to + o);
        }
        Scratch<T> products(pixels * out_);
        multiply(first, count, source, offsets.data(), o, end, products.data(), {});
        const T* from = products.data();
        for_each_image(rows_.out, first, count, [&](index_t image, index_t row, index_t rows) {
            for (index_t k = o; k < std::min(end, s_.out_channels); k += kernels<T>().plane->lanes)
                writer_.write(from + k, cols_.out * out_, out_, image, k, row, rows);
            from += rows * cols_.out * out_;
        });
    }

    index_t window_height(index_t first, index_t count) const {
        index_t height = 0;
        for_each_image(rows_.out, first, count,
                       [&](index_t, index_t, index_t rows) { height += rows_.read(rows); });
        return height;
    }

    // What those rows read, with zeros around it, image after image.
    void copy_window(index_t first, index_t count, T* to) const {
        for_each_image(rows_.out, first, count, [&](index_t image, index_t row, index_t rows) {
            gather_window(x_, image, s_.in_channels, rows_.size, cols_.size,
                          {row * rows_.stride - rows_.padding, rows_.read(rows), -cols_.padding, width_}, to,
                          in_);
            to += rows_.read(rows) * row_step_;
        });
    }

    // Where each pixel of those rows finds its first tap.
    void write_offsets(index_t first, index_t count, index_t* offset) const {
        index_t line = 0;
        for_each_image(rows_.out, first, count, [&](index_t image, index_t row, index_t rows) {
            index_t at = in_place_ ? image * x_.strides[0] + row * rows_.stride * row_step_ : line;
            for (index_t y = 0; y < rows; ++y, at += rows_.stride * row_step_)
                for (index_t x = 0; x < cols_.out; ++x) *offset++ = at + x * cols_.stride * col_step_;
            line += rows_.read(rows) * row_step_;
        });
    }

    TapRange taps_of(index_t row) const {
        if (!skips_padding_) return {0, taps_};
        const index_t y = row % rows_.out, i = rows_.first_inside(y);
        return {i * cols_.kernel, (rows_.end_inside(y) - i) * cols_.kernel};
    }

    // As many rows at once as have the same taps.
    void multiply(index_t first, index_t count, const T* source, const index_t* offsets, index_t o,
                  index_t end, T* to, const PixelEpilogue<T>& epilogue) const {
        for (index_t row = 0; row < count;) {
            const TapRange taps = taps_of(first + row);
            index_t next = skips_padding_ ? row + 1 : count;
            while (next < count && taps_of(first + next) == taps) ++next;
            multiply_pixels((next - row) * cols_.out, source, offsets + row * cols_.out, tap_offsets_.data(),
                            taps, panels_, packed_, o, end, to + row * cols_.out * out_, out_, epilogue);
            row = next;
        }
    }

    // Of so many outputs of neighbouring pixels, but for ReLU.
    void activate(index_t pixels, index_t outputs, T* to) const {
        if (activation_ == Activation::identity || activation_ == Activation::relu) return;
        const auto f = kernels<T>().elementwise->activation[static_cast<int>(activation_)];
        if (outputs == out_) return f(pixels * out_, to, to, parameter_);
        for (index_t i = 0; i < pixels; ++i, to += out_) f(outputs, to, to, parameter_);
    }

    const Conv2dShape& s_;
    const Images<const T>& x_;
    const Images<T>& y_;
    const T* packed_;
    const T* bias_;
    Activation activation_;
    T parameter_;
    Axis rows_, cols_;
    bool in_place_;                // what the taps read, with neighbouring channels and no padding
    bool writes_pixels_;           // to the images themselves
    index_t in_, out_;             // channels from one pixel to the next, in whole vectors if rearranged
    index_t width_;                // of the part of an image's row that the outputs read
    index_t row_step_, col_step_;  // of what the taps read
    index_t taps_;
    bool skips_padding_;
    Scratch<index_t> tap_offsets_;
    PackedPanels<T> panels_;
    ChannelWriter<T> writer_;
};

}  // namespace

Conv2dShape without_unread_rows(const Conv2dShape& shape, index_t& row_stride) {
    Conv2dShape s = shape;
    if (s.kernel_height == 1 && s.padding_height == 0 && s.extra_height == 0) {
        s.in_height = s.out_height();
        row_stride *= s.stride_height;
        s.stride_height = 1;
    }
    return s;
}

template <class T>
void channels_last_forward(const Conv2dShape& shape, const Images<const T>& x, const Images<const T>& w,
                           const T* packed, const T* bias, const Images<T>& y, Activation activation,
                           T parameter) {
    const Conv2dShape of_group = shape_of_group(shape);
    const index_t size = panels_of<T>(of_group).size();
    Scratch<T> memory(packed ? 0 : shape.groups * size);
    if (!packed) {
        pack_groups(shape, w, memory.data());
        packed = memory.data();
    }
    Images<const T> read = x;
    const Conv2dShape s = without_unread_rows(of_group, read.strides[2]);
    for_each_group(shape, [&](index_t g) {
        const Images<const T> from = some_channels(read, g * s.in_channels, s.in_channels);
        const Images<T> to = some_channels(y, g * s.out_channels, s.out_channels);
        ChannelsLastForward<T>(s, from, packed + g * size, bias ? bias + g * s.out_channels : nullptr, to,
                               activation, parameter)
            .run();
    });
}

template <class T>
void pack_forward(const Conv2dShape& shape, const Images<const T>& w, Buffer<T>& to) {
    const index_t size = shape.groups * panels_of<T>(shape_of_group(shape)).size();
    if (to.size() != size) to = Buffer<T>(size);
    pack_groups(shape, w, to.data());
}

#define RANVIER_INSTANTIATE(T)                                                                              \
    template void channels_last_forward(const Conv2dShape&, const Images<const T>&, const Images<const T>&, \
                                        const T*, const T*, const Images<T>&, Activation, T);               \
    template void pack_forward(const Conv2dShape&, const Images<const T>&, Buffer<T>&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
