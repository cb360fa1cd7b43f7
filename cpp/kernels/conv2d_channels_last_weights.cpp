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
          in_(round_up(shape.in_channels, lanes_)),
          out_(round_up(shape.out_channels, lanes_)),
          pixels_(rows_.out * cols_.out),
          width_(cols_.read(cols_.out)),
          image_(rows_.read(rows_.out) * width_ * in_),
          summed_apart_(shape.in_channels * taps_ * out_ <= kMostSummedApart),
          at_once_(images_at_once()),
          offsets_(at_once_ * pixels_) {
        index_t* offset = offsets_.data();
        for (index_t image = 0; image < at_once_; ++image)
            for (index_t y = 0; y < rows_.out; ++y)
                for (index_t x0 = 0; x0 < cols_.out; ++x0)
                    *offset++ = image * image_ + (y * rows_.stride * width_ + x0 * cols_.stride) * in_;
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
        return std::clamp<index_t>(held / (image_ + pixels_ * out_), 1, most);
    }

    void lay_out(index_t image, T* pixels, T* gradient) const {
        gather_window(x_, image, s_.in_channels, rows_.size, cols_.size,
                      {-rows_.padding, rows_.read(rows_.out), -cols_.padding, width_}, pixels, in_);
        gather_window(grad_, image, s_.out_channels, rows_.out, cols_.out, {0, rows_.out, 0, cols_.out},
                      gradient, out_);
    }

    // The sums over some images, [input channel][tap][output channel].
    void add_chunk(index_t first, index_t count, T* sums) const {
        Scratch<T> pixels(at_once_ * image_), gradient(at_once_ * pixels_ * out_);
        for (index_t done = 0; done < count; done += at_once_) {
            const index_t now = std::min(at_once_, count - done);
            for (index_t i = 0; i < now; ++i)
                lay_out(first + done + i, pixels.data() + i * image_, gradient.data() + i * pixels_ * out_);
            multiply(now, pixels.data(), s_.in_channels, gradient.data(), out_, sums, done > 0);
        }
    }

    // All images of a portion are rearranged; then a task is a block of input channels by a panel of output
    // channels, from the products to the gradient.
    void run_by_blocks(const Images<T>& w, bool accumulate, int threads) const {
        const index_t panel = kernels<T>().gemm->tile_cols, in_blocks = ceil_div(s_.in_channels, kBlockIn);
        Scratch<T> memory(at_once_ * image_), gradient_memory(at_once_ * pixels_ * out_);
        T *pixels = memory.data(), *gradient = gradient_memory.data();
        for (index_t first = 0; first < s_.batch; first += at_once_) {
            const index_t now = std::min(at_once_, s_.batch - first);
            parallel_for(now, threads, [&](index_t i) {
                lay_out(first + i, pixels + i * image_, gradient + i * pixels_ * out_);
            });
            parallel_for(in_blocks * ceil_div(out_, panel), threads, [&](index_t task) {
                const index_t c = task % in_blocks * kBlockIn, o = task / in_blocks * panel;
                const index_t in = std::min(kBlockIn, s_.in_channels - c), out = std::min(panel, out_ - o);
                Scratch<T> sums(in * taps_ * out);
                multiply(now, pixels + c, in, gradient + o, out, sums.data(), false);
                for (index_t k = 0; k < out; k += lanes_)
                    write(sums.data() + k, out, c, in, o + k, w, accumulate || first > 0);
            });
        }
    }

    // sums (+)= the products of `in` and `out` channels of some images.
    void multiply(index_t images, const T* pixels, index_t in, const T* gradient, index_t out, T* sums,
                  bool accumulate) const {
        const GemmKernels<T>& gemm = *kernels<T>().gemm;
        const index_t depth = images * pixels_, length = depth_block<T>(depth);
        for (index_t k = 0; k < depth; k += length)
            for (index_t o = 0; o < out; o += gemm.tile_cols)
                for (index_t tap = 0; tap < taps_; ++tap) {
                    const index_t i = tap / cols_.kernel, j = tap % cols_.kernel;
                    gemm.multiply_a_columns_apart(
                        in, std::min(gemm.tile_cols, out - o), std::min(length, depth - k),
                        pixels + (i * rows_.dilation * width_ + j * cols_.dilation) * in_,
                        offsets_.data() + k, gradient + k * out_ + o, out_, sums + tap * out + o, taps_ * out,
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
    const index_t lanes_ = kernels<T>().plane->lanes;
    Axis rows_, cols_;
    index_t taps_, in_, out_;  // channels in whole vectors
    index_t pixels_;           // of one image of the output
    index_t width_, image_;    // of a row of pixels, and of an image, that are read
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
        const Images<const T> from = from_channel(read, g * s.in_channels),
                              gradient = from_channel(grad, g * s.out_channels);
        ChannelsLastBackwardWeights<T>(s, gradient, from)
            .run(from_output(grad_w, g * s.out_channels), accumulate);
    });
}

template void channels_last_backward_weights(const Conv2dShape&, const Images<const float>&,
                                             const Images<const float>&, const Images<float>&, bool);
template void channels_last_backward_weights(const Conv2dShape&, const Images<const double>&,
                                             const Images<const double>&, const Images<double>&, bool);

}  // namespace ranvier
