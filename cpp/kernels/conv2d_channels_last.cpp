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

// `w` is contiguous.
template <class T>
void pack(const Conv2dShape& s, const T* w, T* to) {
    const index_t lanes = kernels<T>().plane->lanes;
    const PackedPanels<T> panels = panels_of<T>(s);
    const index_t taps = panels.taps, depth = panels.channels * taps;
    parallel_for(panels.outputs / lanes, threads_for(static_cast<double>(panels.size())), [&](index_t task) {
        const index_t o = task * lanes, panel = o / panels.panel * panels.panel;
        Scratch<T> vectors(depth * lanes);
        kernels<T>().plane->gather_lanes(std::min(lanes, s.out_channels - o), depth, w + o * depth, depth,
                                         vectors.data(), lanes);
        for (index_t c = 0; c < panels.channels; ++c)
            for (index_t t = 0; t < taps; ++t)
                std::copy_n(vectors.data() + (c * taps + t) * lanes, lanes,
                            to + panels.at(panel, c, t) + o - panel);
    });
}

template <class T>
class ChannelsLastForward {
public:
    ChannelsLastForward(const Conv2dShape& shape, const Images<const T>& x, const T* packed, const T* bias,
                        const Images<T>& y, Activation activation, T parameter)
        : s_(shape),
          x_(x),
          packed_(packed),
          rows_(rows_of(shape)),
          cols_(cols_of(shape)),
          in_(round_up(shape.in_channels, kernels<T>().plane->lanes)),
          out_(round_up(shape.out_channels, kernels<T>().plane->lanes)),
          width_(cols_.read(cols_.out)),
          taps_(rows_.kernel * cols_.kernel),
          panels_(panels_of<T>(shape)),
          writer_(y, shape.out_channels, cols_.out, bias, activation, parameter) {
        for (index_t i = 0; i < rows_.kernel; ++i)
            for (index_t j = 0; j < cols_.kernel; ++j)
                taps_.data()[i * cols_.kernel + j] = (i * rows_.dilation * width_ + j * cols_.dilation) * in_;
    }

    void run() const {
        const int threads = threads_for(convolution_work(s_));
        const index_t rows = s_.batch * rows_.out;
        const index_t held = kHeld / (cols_.out * out_ + rows_.stride * width_ * in_);
        const index_t least = ceil_div(kLeastPixels, cols_.out);
        const index_t shared = threads == 1 ? rows : ceil_div(rows, 4 * threads);
        const index_t count = std::max(least, std::min(held, shared));
        parallel_for(ceil_div(rows, count), threads,
                     [&](index_t task) { compute(task * count, std::min(count, rows - task * count)); });
    }

private:
    // `count` rows of outputs from `first` on.
    void compute(index_t first, index_t count) const {
        const index_t pixels = count * cols_.out;
        index_t height = 0;
        for_each_image(rows_.out, first, count,
                       [&](index_t, index_t, index_t rows) { height += rows_.read(rows); });
        Scratch<T> source(height * width_ * in_), products(pixels * out_);
        Scratch<index_t> offsets(pixels);
        index_t* offset = offsets.data();
        T* to = source.data();
        for_each_image(rows_.out, first, count, [&](index_t image, index_t row, index_t rows) {
            gather_window(x_, image, s_.in_channels, rows_.size, cols_.size,
                          {row * rows_.stride - rows_.padding, rows_.read(rows), -cols_.padding, width_}, to,
                          in_);
            for (index_t y = 0; y < rows; ++y)
                for (index_t x = 0; x < cols_.out; ++x)
                    *offset++ = to - source.data() + (y * rows_.stride * width_ + x * cols_.stride) * in_;
            to += rows_.read(rows) * width_ * in_;
        });
        multiply_pixels(pixels, source.data(), offsets.data(), taps_.data(), panels_, packed_,
                        products.data());
        const T* from = products.data();
        for_each_image(rows_.out, first, count, [&](index_t image, index_t row, index_t rows) {
            for (index_t o = 0; o < s_.out_channels; o += kernels<T>().plane->lanes)
                writer_.write(from + o, cols_.out * out_, out_, image, o, row, rows);
            from += rows * cols_.out * out_;
        });
    }

    const Conv2dShape& s_;
    const Images<const T>& x_;
    const T* packed_;
    Axis rows_, cols_;
    index_t in_, out_;  // channels, in whole vectors
    index_t width_;     // of the part of an image's row that the outputs read
    Scratch<index_t> taps_;
    PackedPanels<T> panels_;
    ChannelWriter<T> writer_;
};

}  // namespace

Conv2dShape without_unread_rows(const Conv2dShape& shape, index_t& row_stride) {
    Conv2dShape s = shape;
    if (s.kernel_height == 1 && s.padding_height == 0) {
        s.in_height = s.out_height();
        row_stride *= s.stride_height;
        s.stride_height = 1;
    }
    return s;
}

template <class T>
bool is_channels_last(const Conv2dShape& s) {
    return s.groups == 1 && s.in_channels >= 8 && s.out_channels >= 8;
}

template <class T>
void channels_last_forward(const Conv2dShape& shape, const Images<const T>& x, const Images<const T>& w,
                           const T* packed, const T* bias, const Images<T>& y, Activation activation,
                           T parameter) {
    Images<const T> read = x;
    const Conv2dShape s = without_unread_rows(shape, read.strides[2]);
    const index_t size = packed ? 0 : panels_of<T>(shape).size();
    Scratch<T> memory(size), contiguous(size);
    if (!packed) {
        pack(shape, contiguous_weights(shape, w, contiguous.data()), memory.data());
        packed = memory.data();
    }
    ChannelsLastForward<T>(s, read, packed, bias, y, activation, parameter).run();
}

template <class T>
void pack_forward(const Conv2dShape& shape, const Images<const T>& w, Buffer<T>& to) {
    const index_t size = panels_of<T>(shape).size();
    if (to.size() != size) to = Buffer<T>(size);
    Scratch<T> contiguous(size);
    pack(shape, contiguous_weights(shape, w, contiguous.data()), to.data());
}

#define RANVIER_INSTANTIATE(T)                                                                              \
    template bool is_channels_last<T>(const Conv2dShape&);                                                  \
    template void channels_last_forward(const Conv2dShape&, const Images<const T>&, const Images<const T>&, \
                                        const T*, const T*, const Images<T>&, Activation, T);               \
    template void pack_forward(const Conv2dShape&, const Images<const T>&, Buffer<T>&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
