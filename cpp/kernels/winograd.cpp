// The forward pass by Winograd's algorithm, which is also the gradient to the input (planes and weights
// exchanged).
//
// For each of the points of a transformed tile, the outputs are a product of (tiles, input channels) by
// (input channels, output channels). Every tile is summed by itself, so its bits depend neither on the batch
// nor on the way in which tiles and channels are shared out.
#include "winograd.h"

#include "channels_last.h"
#include "ranvier/threads.h"
#include "winograd_tiles.h"

namespace ranvier {
namespace {

// Output channels that are done at once, a multiple of every register tile's width.
constexpr index_t kBlockChannels = 64;
// Transformed tiles of images and outputs that one task holds, in elements: they should stay in the
// second-level cache.
constexpr index_t kHeld = 192 << 10;
constexpr index_t kLeastTiles = 24;
// Of one image or two, threads share fewer tiles, or else output channels.
constexpr index_t kLeastSharedTiles = 8;
// For few tiles, or weights that would not stay in the third-level cache, transformed weights are used up
// block by block, and never meet in memory.
constexpr index_t kFewTiles = 96;
constexpr index_t kManyWeights = 3 << 20;
constexpr index_t kAhead = 4;  // input channels whose weights are fetched before their turn

// The weights of a convolution, transformed.
template <class T>
class WinogradWeights {
public:
    WinogradWeights(const WinogradTransforms<T>& transforms, const Conv2dShape& shape,
                    const Images<const T>& w)
        : t_(transforms), s_(shape), w_(w), out_(round_up(s_.out_channels, winograd_.lanes)) {}

    // Where those of `width` output channels lie: for each point in panels as wide as register tiles, but for
    // the last one, which is as wide as it need be; one block of the depth (the input channels) after the
    // other.
    struct Layout {
        index_t plane, width;
    };
    Layout layout_of(index_t width) const { return {apart<T>(width * s_.in_channels), width}; }
    index_t size(const Layout& layout) const { return t_.points() * t_.points() * layout.plane; }
    // The panel of the layout's channel o, in the block of the depth from k0 on.
    struct Panel {
        index_t first, width;
        index_t at;  // where it begins
    };
    Panel panel(const Layout& layout, index_t o, index_t k0) const {
        const index_t depth = std::min(depth_block<T>(s_.in_channels), s_.in_channels - k0);
        const index_t first = o / gemm_.tile_cols * gemm_.tile_cols;
        return {first, std::min(gemm_.tile_cols, layout.width - first), k0 * layout.width + first * depth};
    }

    // All of them.
    Layout all() const { return layout_of(out_); }
    void transform_all(T* to, int threads) const {
        parallel_for(out_ / winograd_.lanes, threads, [&](index_t block) {
            transform(block * winograd_.lanes, all(), block * winograd_.lanes, to);
        });
    }

    // A vector's worth of output channels from o0 on, into the layout's columns from o on.
    void transform(index_t o0, const Layout& layout, index_t o, T* transformed) const {
        const index_t lanes = winograd_.lanes, taps = t_.kernel * t_.kernel;
        const index_t length = depth_block<T>(s_.in_channels);
        const index_t row = t_.kernel * lanes;
        Scratch<T> memory(std::min(length, s_.in_channels) * taps * lanes);
        for (index_t k0 = 0; k0 < s_.in_channels; k0 += length) {
            const index_t depth = std::min(length, s_.in_channels - k0);
            const bool reversed = gather_weights(o0, k0, depth, memory.data());
            const index_t sign = reversed ? -1 : 1;
            const Panel to = panel(layout, o, k0);
            t_.weights(depth, memory.data() + (reversed ? (taps - 1) * lanes : 0), sign * row, sign * lanes,
                       taps * lanes, transformed + to.at + (o - to.first), t_.points() * layout.plane,
                       layout.plane, to.width);
        }
    }

private:
    // For the gradient to the input, each input channel's weights lie far from the last one's.
    static void prefetch_weights(const T* from, index_t elements) {
        for (index_t i = 0; i < elements; i += kAlignment / sizeof(T)) __builtin_prefetch(from + i);
    }

    // [input channel][tap][lane]; returns whether the taps came out in reversed order.
    bool gather_weights(index_t o0, index_t k0, index_t depth, T* to) const {
        const index_t lanes = winograd_.lanes, taps = t_.kernel * t_.kernel;
        const index_t channels = std::clamp<index_t>(s_.out_channels - o0, 0, lanes);
        const auto [out, in, rows, cols] = w_.strides;
        const T* from = w_.data + o0 * out + k0 * in;
        if (channels > 0 && cols == 1 && rows == t_.kernel && in == taps) {
            plane_.gather_lanes(channels, depth * taps, from, out, to, lanes);
            return false;
        }
        const bool reversed = cols == -1 && rows == -t_.kernel;
        if (channels > 0 && (reversed || (cols == 1 && rows == t_.kernel))) {
            for (index_t c = 0; c < depth; ++c) {
                prefetch_weights(from + (c + kAhead) * in - (reversed ? taps - 1 : 0), channels * taps);
                plane_.gather_lanes(channels, taps, from + c * in - (reversed ? taps - 1 : 0), out,
                                    to + c * taps * lanes, lanes);
            }
            return reversed;
        }
        for (index_t c = 0; c < depth; ++c)
            for (index_t i = 0; i < taps; ++i)
                for (index_t lane = 0; lane < lanes; ++lane)
                    *to++ = lane < channels
                                ? from[lane * out + c * in + i / t_.kernel * rows + i % t_.kernel * cols]
                                : T{};
        return false;
    }

    const WinogradTransforms<T>& t_;
    const Conv2dShape& s_;
    const Images<const T>& w_;
    const GemmKernels<T>& gemm_ = *kernels<T>().gemm;
    const WinogradKernels<T>& winograd_ = *kernels<T>().winograd;
    const PlaneKernels<T>& plane_ = *kernels<T>().plane;
    index_t out_;  // channels, in whole vectors
};

template <class T>
class WinogradForward {
public:
    WinogradForward(const WinogradTransforms<T>& transforms, const Conv2dShape& shape,
                    const Images<const T>& x, const Images<const T>& w, const T* transformed, const T* bias,
                    const Images<T>& y, Activation activation, T parameter)
        : t_(transforms),
          s_(shape),
          weights_(transforms, shape, w),
          transformed_(transformed),
          grid_{t_.tile, t_.points(), ceil_div(s_.out_height(), t_.tile), ceil_div(s_.out_width(), t_.tile)},
          source_{x, s_.in_channels, s_.in_height, s_.in_width, s_.padding_height, t_.points(), t_.image},
          in_stride_(round_up(s_.in_channels, winograd_.lanes)),
          out_(round_up(s_.out_channels, winograd_.lanes)),
          writer_(y, s_.out_channels, s_.out_width(), bias, activation, parameter) {}

    void run() const {
        const index_t tiles = s_.batch * grid_.rows * grid_.cols;
        const int threads = threads_for(static_cast<double>(tiles * grid_.squares()) *
                                        static_cast<double>(s_.in_channels * s_.out_channels) / 6);
        const index_t weights = grid_.squares() * s_.in_channels * s_.out_channels;
        const bool many_weights = weights > kManyWeights;
        if (transformed_ && threads > 1 && tiles < 2 * kLeastSharedTiles && out_ > gemm_.tile_cols)
            return run_by_channels(0, s_.batch * grid_.rows, threads);
        if (transformed_ || (tiles > kFewTiles && !many_weights)) return run_by_tiles(tiles, threads);
        const index_t rows = s_.batch * grid_.rows, portion = std::max<index_t>(1, kFewTiles / grid_.cols);
        for (index_t first = 0; first < rows; first += portion)
            run_by_channels(first, std::min(portion, rows - first), threads);
    }

private:
    using WeightLayout = typename WinogradWeights<T>::Layout;

    // All tiles of some rows first; then a task is a block of output channels, from its weights (unless they
    // are transformed) to the image.
    void run_by_channels(index_t first, index_t rows, int threads) const {
        const index_t plane = apart<T>(rows * grid_.cols * in_stride_);
        Scratch<T> memory(grid_.squares() * plane);
        const TileMatrices<T> images = {memory.data(), plane, in_stride_};
        parallel_for(in_stride_ / winograd_.lanes, threads, [&](index_t block) {
            transform_tiles(grid_, source_, first, rows, block * winograd_.lanes, images);
        });
        const index_t width = std::min(gemm_.tile_cols, out_);
        const WeightLayout layout = weights_.layout_of(width);
        parallel_for(ceil_div(s_.out_channels, width), threads, [&](index_t block) {
            const index_t first_channel = block * width;
            if (transformed_)
                return outputs(images, first, rows, first_channel, std::min(width, out_ - first_channel),
                               transformed_, weights_.all(), first_channel);
            Scratch<T> weights(weights_.size(layout));
            for (index_t o = 0; o < width; o += winograd_.lanes)
                weights_.transform(first_channel + o, layout, o, weights.data());
            outputs(images, first, rows, first_channel, width, weights.data(), layout, 0);
        });
    }

    // All weights first; then a task is some rows of tiles, from the images to the outputs.
    void run_by_tiles(index_t tiles, int threads) const {
        Scratch<T> memory(transformed_ ? 0 : weights_.size(weights_.all()));
        if (!transformed_) weights_.transform_all(memory.data(), threads);
        const T* weights = transformed_ ? transformed_ : memory.data();
        const index_t rows = s_.batch * grid_.rows;
        const index_t held = kHeld / (grid_.squares() * (in_stride_ + std::min(kBlockChannels, out_)));
        const index_t least = tiles < 2 * kLeastTiles && threads > 1 ? kLeastSharedTiles : kLeastTiles;
        const index_t shared = std::max(least, tiles / (4 * threads));
        const index_t most = std::max<index_t>(1, std::clamp<index_t>(held, least, shared) / grid_.cols);
        // As many for each thread.
        const index_t task_rows = ceil_div(rows, round_up(ceil_div(rows, most), threads));
        parallel_for(ceil_div(rows, task_rows), threads, [&](index_t task) {
            const index_t first = task * task_rows, count = std::min(task_rows, rows - first);
            const index_t images_plane = apart<T>(count * grid_.cols * in_stride_);
            Scratch<T> tile_memory(grid_.squares() * images_plane);
            const TileMatrices<T> images = {tile_memory.data(), images_plane, in_stride_};
            for (index_t c = 0; c < s_.in_channels; c += winograd_.lanes)
                transform_tiles(grid_, source_, first, count, c, images);
            for (index_t o = 0; o < out_; o += kBlockChannels)
                outputs(images, first, count, o, std::min(kBlockChannels, out_ - o), weights, weights_.all(),
                        o);
        });
    }

    // `count` rows of tiles from `first` on (whose tiles begin `images`), of the output channels from o0 on;
    // their weights are the layout's columns from `at` on.
    void outputs(const TileMatrices<T>& images, index_t first, index_t count, index_t o0, index_t channels,
                 const T* weights, const WeightLayout& layout, index_t at) const {
        const index_t tiles = count * grid_.cols, plane = apart<T>(tiles * channels);
        Scratch<T> memory(grid_.squares() * plane);
        const index_t length = depth_block<T>(s_.in_channels);
        for (index_t point = 0; point < grid_.squares(); ++point)
            for (index_t k0 = 0; k0 < s_.in_channels; k0 += length)
                for (index_t o = 0; o < channels; o += gemm_.tile_cols) {
                    const auto from = weights_.panel(layout, at + o, k0);
                    gemm_.multiply_panel(tiles, from.width, std::min(length, s_.in_channels - k0),
                                         images.data + point * images.plane + k0, images.stride,
                                         weights + point * layout.plane + from.at,
                                         memory.data() + point * plane + o, channels, k0 > 0);
                }
        for (index_t o = 0; o < channels && o0 + o < s_.out_channels; o += winograd_.lanes)
            write_channels(memory.data() + o, plane, channels, first, count, o0 + o);
    }

    // A vector's worth of output channels of some rows of tiles, from their transforms to the images.
    void write_channels(const T* products, index_t plane, index_t stride, index_t first, index_t count,
                        index_t o) const {
        const index_t lanes = winograd_.lanes, pitch = grid_.cols * t_.tile * lanes;
        for_each_image(grid_.rows, first, count, [&](index_t image, index_t row, index_t rows) {
            Scratch<T> pixels(rows * t_.tile * pitch);
            for (index_t i = 0; i < rows; ++i, products += grid_.cols * stride)
                t_.output(grid_.cols, products, grid_.points * plane, plane, stride,
                          pixels.data() + i * t_.tile * pitch, pitch, lanes, t_.tile * lanes);
            const index_t y0 = row * t_.tile, height = std::min(rows * t_.tile, s_.out_height() - y0);
            writer_.write(pixels.data(), pitch, lanes, image, o, y0, height);
        });
    }

    const WinogradTransforms<T>& t_;
    const Conv2dShape& s_;
    WinogradWeights<T> weights_;
    const T* transformed_;  // all weights, unless nullptr
    const GemmKernels<T>& gemm_ = *kernels<T>().gemm;
    const WinogradKernels<T>& winograd_ = *kernels<T>().winograd;
    TileGrid grid_;
    TileSource<T> source_;
    index_t in_stride_, out_;  // channels, in whole vectors
    ChannelWriter<T> writer_;
};

}  // namespace

template <class T>
void winograd_forward(const WinogradTransforms<T>& transforms, const Conv2dShape& shape,
                      const Images<const T>& x, const Images<const T>& w, const T* transformed, const T* bias,
                      const Images<T>& y, Activation activation, T parameter) {
    WinogradForward<T>(transforms, shape, x, w, transformed, bias, y, activation, parameter).run();
}

template <class T>
void winograd_transform_weights(const WinogradTransforms<T>& transforms, const Conv2dShape& shape,
                                const Images<const T>& w, Buffer<T>& to) {
    const WinogradWeights<T> weights(transforms, shape, w);
    const index_t size = weights.size(weights.all());
    if (to.size() != size) to = Buffer<T>(size);
    weights.transform_all(to.data(), threads_for(static_cast<double>(size)));
}

#define RANVIER_INSTANTIATE(T)                                                                               \
    template void winograd_forward(const WinogradTransforms<T>&, const Conv2dShape&, const Images<const T>&, \
                                   const Images<const T>&, const T*, const T*, const Images<T>&, Activation, \
                                   T);                                                                       \
    template void winograd_transform_weights(const WinogradTransforms<T>&, const Conv2dShape&,               \
                                             const Images<const T>&, Buffer<T>&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
