// The gradient to the weights with neighbouring channels: for each tap the product of the transposed pixels
// of the images (input channels, pixels) with those of the output's gradient (pixels, output channels), of
// several images at once.
//
// What is summed together depends on the shape, batch included, alone.
#include "channels_last.h"
#include "conv2d_channels_last.h"
#include "planes.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

// Up to so many weights have a sum for each chunk of images, as many as this, and of pixels no less.
constexpr index_t kMostSummedApart = 65536;
constexpr index_t kMostChunks = 16;
constexpr index_t kLeastPixels = 256;
// What is rearranged at once may take so many elements: of one chunk, and of all images.
constexpr index_t kHeldByChunk = 128 << 10;
constexpr index_t kHeld = 4 << 20;
constexpr index_t kBlockIn = 64;  // input channels of one task

template <class T>
class ChannelsLastBackwardWeights {
public:
    ChannelsLastBackwardWeights(const Conv2dShape& shape, const Images<const T>& grad,
                                const Images<const T>& x)
        : s_(shape),
          grad_(grad),
          x_(x),
          rows_(rows_of(shape)),
          cols_(cols_of(shape)),
          taps_(rows_.kernel * cols_.kernel),
          in_(x.strides[1] == 1 ? shape.in_channels : round_up(shape.in_channels, lanes_)),
          out_(round_up(shape.out_channels, lanes_)),
          pixels_(rows_.out * cols_.out),
          width_(cols_.read(cols_.out)),
          block_(std::min(in_, kBlockIn)),
          image_(rows_.read(rows_.out) * width_ * block_),
          summed_apart_(shape.in_channels * taps_ * out_ <= kMostSummedApart),
          at_once_(images_at_once()),
          offsets_(at_once_ * pixels_) {
        index_t* offset = offsets_.data();
        for (index_t image = 0; image < at_once_; ++image)
            for (index_t y = 0; y < rows_.out; ++y)
                for (index_t x0 = 0; x0 < cols_.out; ++x0)
                    *offset++ = image * image_ + (y * rows_.stride * width_ + x0 * cols_.stride) * block_;
    }

    // Added to what `w` holds if `accumulate`.
    void run(const Images<T>& w, bool accumulate) const {
        const int threads = threads_for(convolution_work(s_));
        if (!summed_apart_) return run_by_blocks(w, accumulate, threads);
        const index_t size = s_.in_channels * taps_ * out_, chunks = ceil_div(s_.batch, chunk());
        Scratch<T> memory(chunks * size);
        T* sums = memory.data();
        parallel_for(chunks, threads, [&](index_t task) {
            const index_t first = task * chunk();
            add_chunk(first, std::min(chunk(), s_.batch - first), sums + task * size);
        });
        for (index_t task = 1; task < chunks; ++task)
            kernels<T>().gemm->add_row(size, sums + task * size, sums);
        for (index_t o = 0; o < s_.out_channels; o += lanes_)
            write(sums + o, out_, 0, s_.in_channels, o, w, accumulate);
    }

private:
    index_t chunk() const {
        return std::max(ceil_div(s_.batch, kMostChunks), ceil_div(kLeastPixels, pixels_));
    }
    index_t images_at_once() const {
        const index_t most = summed_apart_ ? std::min(chunk(), s_.batch) : s_.batch;
        const index_t held = summed_apart_ ? kHeldByChunk : kHeld;
        return std::clamp<index_t>(held / (blocks() * image_ + pixels_ * out_), 1, most);
    }

    // The pixels of the images at once, block by block of the input channels, and those of their gradients,
    // panel by panel of the output channels, so that what a product reads lies together.
    index_t blocks() const { return ceil_div(in_, block_); }
    index_t block_at(index_t block, index_t image) const { return (block * at_once_ + image) * image_; }
    index_t panel_width(index_t o) const { return std::min(panel_, out_ - o); }
    index_t panel_at(index_t o, index_t image) const {
        return (at_once_ * o + image * panel_width(o)) * pixels_;
    }
    index_t channels_of(index_t block) const { return std::min(block_, s_.in_channels - block * block_); }

    // An image becomes the i-th of those at once.
    void lay_out(index_t image, index_t i, T* pixels, T* gradient) const {
        const Window read = {-rows_.padding, rows_.read(rows_.out), -cols_.padding, width_};
        for (index_t block = 0; block < blocks(); ++block) {
            const index_t channels = channels_of(block);
            gather_window(some_channels(x_, block * block_, channels), image, channels, rows_.size,
                          cols_.size, read, pixels + block_at(block, i), block_);
        }
        for (index_t o = 0; o < out_; o += panel_) {
            const index_t channels = std::min(panel_, s_.out_channels - o);
            gather_window(some_channels(grad_, o, channels), image, channels, rows_.out, cols_.out,
                          {0, rows_.out, 0, cols_.out}, gradient + panel_at(o, i), panel_width(o));
        }
    }

    // The sums over some images, [input channel][tap][output channel].
    void add_chunk(index_t first, index_t count, T* sums) const {
        Scratch<T> pixels(blocks() * at_once_ * image_), gradient(at_once_ * pixels_ * out_);
        for (index_t done = 0; done < count; done += at_once_) {
            const index_t now = std::min(at_once_, count - done);
            for (index_t i = 0; i < now; ++i) lay_out(first + done + i, i, pixels.data(), gradient.data());
            for (index_t block = 0; block < blocks(); ++block)
                for (index_t o = 0; o < out_; o += panel_)
                    multiply(now, block, pixels.data(), o, gradient.data(),
                             sums + block * block_ * taps_ * out_ + o, out_, done > 0);
        }
    }

    // All images of a chunk are rearranged; then a task is a block of input channels by a panel of output
    // channels, from the products to the gradient.
    void run_by_blocks(const Images<T>& w, bool accumulate, int threads) const {
        Scratch<T> memory(blocks() * at_once_ * image_), gradient_memory(at_once_ * pixels_ * out_);
        T *pixels = memory.data(), *gradient = gradient_memory.data();
        for (index_t first = 0; first < s_.batch; first += at_once_) {
            const index_t now = std::min(at_once_, s_.batch - first);
            parallel_for(now, threads, [&](index_t i) { lay_out(first + i, i, pixels, gradient); });
            parallel_for(blocks() * ceil_div(out_, panel_), threads, [&](index_t task) {
                const index_t block = task % blocks(), o = task / blocks() * panel_;
                const index_t in = channels_of(block), out = panel_width(o);
                Scratch<T> sums(in * taps_ * out);
                multiply(now, block, pixels, o, gradient, sums.data(), out, false);
                for (index_t k = 0; k < out; k += lanes_)
                    write(sums.data() + k, out, block * block_, in, o + k, w, accumulate || first > 0);
            });
        }
    }

    // sums (+)= the products of a block of input channels with a panel of output channels, of some images. In
    // the sums, so many output channels are neighbours.
    void multiply(index_t images, index_t block, const T* pixels, index_t o, const T* gradient, T* sums,
                  index_t neighbours, bool accumulate) const {
        const index_t depth = images * pixels_, length = depth_block<T>(depth), width = panel_width(o);
        pixels += block_at(block, 0);
        gradient += panel_at(o, 0);
        for (index_t k = 0; k < depth; k += length)
            for (index_t tap = 0; tap < taps_; ++tap) {
                const index_t i = tap / cols_.kernel, j = tap % cols_.kernel;
                kernels<T>().gemm->multiply_a_columns_apart(
                    channels_of(block), width, std::min(length, depth - k),
                    pixels + (i * rows_.dilation * width_ + j * cols_.dilation) * block_, offsets_.data() + k,
                    gradient + k * width, width, sums + tap * neighbours, taps_ * neighbours,
                    accumulate || k > 0);
            }
    }

    // `count` input channels from c0 on, of a vector's worth of output channels from o on; both begin `sums`,
    // whose taps are `stride` apart.
    void write(const T* sums, index_t stride, index_t c0, index_t count, index_t o, const Images<T>& w,
               bool accumulate) const {
        const auto [out, in, down, right] = w.strides;
        const index_t channels = std::min(lanes_, s_.out_channels - o);
        T* to = w.data + o * out + c0 * in;
        if (right == 1 && down == cols_.kernel && in == taps_)
            return kernels<T>().plane->scatter_sums(channels, count * taps_, sums, stride, to, out,
                                                    accumulate);
        for (index_t c = 0; c < count; ++c)
            for (index_t tap = 0; tap < taps_; ++tap, sums += stride)
                for (index_t lane = 0; lane < channels; ++lane) {
                    T& weight =
                        to[lane * out + c * in + tap / cols_.kernel * down + tap % cols_.kernel * right];
                    weight = accumulate ? weight + sums[lane] : sums[lane];
                }
    }

    const Conv2dShape& s_;
    const Images<const T>& grad_;
    const Images<const T>& x_;
    const index_t lanes_ = kernels<T>().plane->lanes, panel_ = kernels<T>().gemm->tile_cols;
    Axis rows_, cols_;
    index_t taps_, in_, out_;  // channels, in whole vectors if rearranged
    index_t pixels_;           // of one image of the output
    index_t width_;            // of a row of pixels that are read
    index_t block_, image_;  // input channels that are rearranged together, and elements of an image of them
    bool summed_apart_;
    index_t at_once_;  // images
    Scratch<index_t> offsets_;
};

}  // namespace

template <class T>
void channels_last_backward_weights(const Conv2dShape& shape, const Images<const T>& grad,
                                    const Images<const T>& x, const Images<T>& grad_w, bool accumulate) {
    Images<const T> read = x;
    const Conv2dShape s = without_unread_rows(shape_of_group(shape), read.strides[2]);
    for_each_group(shape, [&](index_t g) {
        const Images<const T> from = some_channels(read, g * s.in_channels, s.in_channels),
                              gradient = some_channels(grad, g * s.out_channels, s.out_channels);
        ChannelsLastBackwardWeights<T>(s, gradient, from)
            .run(from_output(grad_w, g * s.out_channels), accumulate);
    });
}

template void channels_last_backward_weights(const Conv2dShape&, const Images<const float>&,
                                             const Images<const float>&, const Images<float>&, bool);
template void channels_last_backward_weights(const Conv2dShape&, const Images<const double>&,
                                             const Images<const double>&, const Images<double>&, bool);

}  // namespace ranvier
