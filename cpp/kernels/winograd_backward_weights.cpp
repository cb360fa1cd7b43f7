// The gradient to the weights by Winograd's algorithm: the tiles of the output's gradient are the kernels,
// and the weights' gradient is the output.
//
// For each point, the transformed gradient is a product of (input channels, tiles) by (tiles, output
// channels): the sum over tiles is taken before the transform back. Tiles are added up in portions whose size
// depends on the shape of an image and on the channels alone.
#include "ranvier/threads.h"
#include "winograd.h"
#include "winograd_tiles.h"

namespace ranvier {
namespace {

// Sums of up to so many elements are kept apart for groups of tiles, so that what a thread transforms no
// other needs.
constexpr index_t kMostSummedApart = 256 << 10;
constexpr index_t kMostGroups = 16;
constexpr index_t kLeastTilesOfGroup = 192;
// What the transformed tiles of a portion may take, in elements: of one thread, and of all together.
constexpr index_t kHeldByTask = 128 << 10;
constexpr index_t kHeld = 4 << 20;
constexpr index_t kBlockIn = 48, kBlockOut = 64;  // channels of one product
constexpr index_t kTaskTiles = 64;                // tiles that are transformed at once

template <class T>
class WinogradBackwardWeights {
public:
    WinogradBackwardWeights(const WinogradTransforms<T>& transforms, const Conv2dShape& shape,
                            const Images<const T>& grad, const Images<const T>& x)
        : t_(transforms),
          s_(shape),
          grid_{t_.tile, t_.points(), ceil_div(s_.out_height(), t_.tile), ceil_div(s_.out_width(), t_.tile)},
          image_{x, s_.in_channels, s_.in_height, s_.in_width, s_.padding_height, t_.points(), t_.image},
          gradient_{grad, s_.out_channels, s_.out_height(), s_.out_width(), 0, t_.tile, t_.gradient},
          in_(round_up(s_.in_channels, winograd_.lanes)),
          out_(round_up(s_.out_channels, winograd_.lanes)),
          sums_plane_(apart<T>(in_ * out_)) {}

    // The gradient is added to what grad_w holds if `accumulate`.
    void run(const Images<T>& grad_w, bool accumulate) const {
        const double tiles = static_cast<double>(rows() * grid_.cols * grid_.squares());
        const int threads = threads_for(tiles * static_cast<double>(s_.in_channels * s_.out_channels) / 6);
        const index_t size = grid_.squares() * sums_plane_;
        const index_t least_rows = std::max<index_t>(1, kLeastTilesOfGroup / grid_.cols);
        const index_t groups =
            size > kMostSummedApart ? 1 : std::clamp<index_t>(rows() / least_rows, 1, kMostGroups);
        const index_t group_rows = ceil_div(rows(), groups);
        const index_t held = groups > 1 ? kHeldByTask : kHeld;
        if (groups == 1 && rows() <= portion_of(held)) return run_by_blocks(grad_w, accumulate, threads);
        Scratch<T> memory(groups * size);
        T* sums = memory.data();
        // With one group this is a loop, and the parallel one is within.
        parallel_for(groups, groups > 1 ? threads : 1, [&](index_t group) {
            const index_t first = group * group_rows;
            add_rows(first, std::min(group_rows, rows() - first), held, sums + group * size, threads);
        });
        parallel_for(out_ / winograd_.lanes, threads, [&](index_t block) {
            const index_t o = block * winograd_.lanes;
            for (index_t group = 1; group < groups; ++group)
                if (group * group_rows < rows()) add_sums(sums + group * size + o, sums + o);
            write({sums + o, sums_plane_, out_}, 0, s_.in_channels, o, grad_w, accumulate);
        });
    }

private:
    index_t rows() const { return s_.batch * grid_.rows; }
    // Rows of tiles whose transforms have up to `held` elements.
    index_t portion_of(index_t held) const {
        return std::max<index_t>(1, held / (grid_.squares() * (in_ + out_) * grid_.cols));
    }

    // All tiles first; then a task is a block of input channels by a block of output channels, from the
    // products to the gradient, and no sums meet in memory.
    void run_by_blocks(const Images<T>& grad_w, bool accumulate, int threads) const {
        const index_t tiles = rows() * grid_.cols;
        const index_t in_plane = apart<T>(tiles * in_), out_plane = apart<T>(tiles * out_);
        Scratch<T> memory(grid_.squares() * (in_plane + out_plane));
        const TileMatrices<T> images = {memory.data(), in_plane, in_};
        const TileMatrices<T> gradients = {memory.data() + grid_.squares() * in_plane, out_plane, out_};
        lay_out(0, rows(), images, gradients, threads);
        const index_t in_blocks = ceil_div(s_.in_channels, kBlockIn);
        const index_t out_blocks = ceil_div(out_, kBlockOut);
        parallel_for(in_blocks * out_blocks, threads, [&](index_t task) {
            const index_t c = task % in_blocks * kBlockIn, o = task / in_blocks * kBlockOut;
            const index_t in = std::min(kBlockIn, s_.in_channels - c), out = std::min(kBlockOut, out_ - o);
            const index_t plane = apart<T>(in * out);
            Scratch<T> sums(grid_.squares() * plane);
            for (index_t point = 0; point < grid_.squares(); ++point)
                multiply(tiles, {images.data + point * in_plane + c, 0, in_}, in,
                         {gradients.data + point * out_plane + o, 0, out_}, out, sums.data() + point * plane,
                         out, false);
            for (index_t from = 0; from < out; from += winograd_.lanes)
                write({sums.data() + from, plane, out}, c, in, o + from, grad_w, accumulate);
        });
    }

    // sums (+)= the products of one point's matrices over all tiles.
    void multiply(index_t tiles, const TileMatrices<T>& images, index_t in, const TileMatrices<T>& gradients,
                  index_t out, T* sums, index_t sums_stride, bool accumulate) const {
        const index_t length = depth_block<T>(tiles);
        for (index_t k0 = 0; k0 < tiles; k0 += length)
            gemm_.multiply_unpacked(in, out, std::min(length, tiles - k0), images.data + k0 * images.stride,
                                    1, images.stride, gradients.data + k0 * gradients.stride,
                                    gradients.stride, sums, sums_stride, accumulate || k0 > 0);
    }

    // The sums over `count` rows of tiles from `first` on, which are none if count is not positive.
    void add_rows(index_t first, index_t count, index_t held, T* sums, int threads) const {
        const index_t portion = portion_of(held);
        const index_t most = std::max<index_t>(0, std::min(portion, count)) * grid_.cols;
        const index_t in_plane = apart<T>(most * in_), out_plane = apart<T>(most * out_);
        Scratch<T> memory(grid_.squares() * (in_plane + out_plane));
        const TileMatrices<T> images = {memory.data(), in_plane, in_};
        const TileMatrices<T> gradients = {memory.data() + grid_.squares() * in_plane, out_plane, out_};
        for (index_t done = 0; done < count; done += portion) {
            const index_t now = std::min(portion, count - done);
            lay_out(first + done, now, images, gradients, threads);
            add_products(now * grid_.cols, images, gradients, sums, done > 0, threads);
        }
    }

    // A vector's worth of output channels of one group's sums.
    void add_sums(const T* from, T* to) const {
        for (index_t point = 0; point < grid_.squares(); ++point)
            for (index_t c = 0; c < s_.in_channels; ++c) {
                const index_t at = point * sums_plane_ + c * out_;
                gemm_.add_row(winograd_.lanes, from + at, to + at);
            }
    }

    void lay_out(index_t first, index_t count, const TileMatrices<T>& images,
                 const TileMatrices<T>& gradients, int threads) const {
        const index_t task_rows = std::max<index_t>(1, kTaskTiles / grid_.cols);
        parallel_for(ceil_div(count, task_rows), threads, [&](index_t task) {
            const index_t row = task * task_rows, now = std::min(task_rows, count - row);
            const auto from_row = [&](TileMatrices<T> m) {
                m.data += row * grid_.cols * m.stride;
                return m;
            };
            for (index_t c = 0; c < in_; c += winograd_.lanes)
                transform_tiles(grid_, image_, first + row, now, c, from_row(images));
            for (index_t o = 0; o < out_; o += winograd_.lanes)
                transform_tiles(grid_, gradient_, first + row, now, o, from_row(gradients));
        });
    }

    void add_products(index_t tiles, const TileMatrices<T>& images, const TileMatrices<T>& gradients, T* sums,
                      bool accumulate, int threads) const {
        const index_t blocks = ceil_div(s_.in_channels, kBlockIn);
        parallel_for(grid_.squares() * blocks, threads, [&](index_t task) {
            const index_t point = task / blocks, c = task % blocks * kBlockIn;
            multiply(tiles, {images.data + point * images.plane + c, 0, in_},
                     std::min(kBlockIn, s_.in_channels - c),
                     {gradients.data + point * gradients.plane, 0, out_}, out_,
                     sums + point * sums_plane_ + c * out_, out_, accumulate);
        });
    }

    // `count` input channels from c0 on, of a vector's worth of output channels from o on; both begin `sums`.
    void write(const TileMatrices<T>& sums, index_t c0, index_t count, index_t o, const Images<T>& w,
               bool accumulate) const {
        const index_t lanes = winograd_.lanes, taps = t_.kernel * t_.kernel;
        const index_t channels = std::min(lanes, s_.out_channels - o);
        Scratch<T> memory(count * taps * lanes);
        T* weights = memory.data();
        t_.weight_gradient(count, sums.data, grid_.points * sums.plane, sums.plane, sums.stride, weights,
                           t_.kernel * lanes, lanes, taps * lanes);
        const auto [out, in, rows, cols] = w.strides;
        T* to = w.data + o * out + c0 * in;
        if (cols == 1 && rows == t_.kernel && in == taps)
            return plane_.scatter_sums(channels, count * taps, weights, lanes, to, out, accumulate);
        for (index_t c = 0; c < count; ++c)
            for (index_t i = 0; i < taps; ++i, weights += lanes)
                for (index_t lane = 0; lane < channels; ++lane) {
                    T& weight = to[lane * out + c * in + i / t_.kernel * rows + i % t_.kernel * cols];
                    weight = accumulate ? weight + weights[lane] : weights[lane];
                }
    }

    const WinogradTransforms<T>& t_;
    const Conv2dShape& s_;
    const GemmKernels<T>& gemm_ = *kernels<T>().gemm;
    const WinogradKernels<T>& winograd_ = *kernels<T>().winograd;
    const PlaneKernels<T>& plane_ = *kernels<T>().plane;
    TileGrid grid_;
    TileSource<T> image_, gradient_;
    index_t in_, out_;    // channels, in whole vectors
    index_t sums_plane_;  // from one point's sums, (input channels, output channels), to the next
};

}  // namespace

template <class T>
void winograd_backward_weights(const WinogradTransforms<T>& transforms, const Conv2dShape& shape,
                               const Images<const T>& grad, const Images<const T>& x, const Images<T>& grad_w,
                               bool accumulate) {
    WinogradBackwardWeights<T>(transforms, shape, grad, x).run(grad_w, accumulate);
}

template void winograd_backward_weights(const WinogradTransforms<float>&, const Conv2dShape&,
                                        const Images<const float>&, const Images<const float>&,
                                        const Images<float>&, bool);
template void winograd_backward_weights(const WinogradTransforms<double>&, const Conv2dShape&,
                                        const Images<const double>&, const Images<const double>&,
                                        const Images<double>&, bool);

}  // namespace ranvier
