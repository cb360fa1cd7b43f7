// The model counts what the loops do, and takes a constant number of cycles for each: docs/kernels.md says
// how these were measured. They are for vectors, of whichever width.
#include "conv2d_cost.h"

#include <algorithm>
#include <cmath>

#include "conv2d_channels_last.h"
#include "conv2d_pointwise.h"
#include "planes.h"

namespace ranvier {
namespace {

constexpr double kMultiplyAdd = 0.55;  // of vectors, in a register tile
constexpr double kLoad = 0.85;         // of a vector, for the rows of a register tile
constexpr double kCall = 310;          // of a product, with what is prepared for it
constexpr double kRun = 8;             // of pixels in memory, in which something is copied
constexpr double kCopy = 3;            // of a vector in a run
constexpr double kElement = 1.2;       // copied by itself
constexpr double kTranspose = 7;       // of a vector, between planes and pixels
constexpr double kPack = 17;           // of a vector of weights, or their gradient

// Of Winograd's algorithm, for a vector at a point of a tile.
constexpr double kProduct = 0.6;           // of a vector of weights
constexpr double kImageTransform = 8;      // with the gathering
constexpr double kGradientTransform = 11;  // of the output, with the gathering
constexpr double kOutputTransform = 5;
constexpr double kWeightTransform = 6;  // or that of its gradient, to memory and back
constexpr double kOf16Registers = 2;    // times as much for the last two where there are no 32

constexpr double kBatch = 4;  // images that are taken to share what is done once

double real(index_t n) { return static_cast<double>(n); }

double images_of(const Conv2dShape& s, Conv2dPass pass) {
    return pass == Conv2dPass::backward_weights ? std::max(1.0, real(s.batch)) : kBatch;
}

// Of the direct algorithm, in either way.
template <class T>
class DirectCost {
public:
    DirectCost(const Conv2dShape& shape, Conv2dPass pass)
        : s_(shape),
          rows_(rows_of(shape)),
          cols_(cols_of(shape)),
          images_(images_of(shape, pass)),
          groups_(real(shape.groups)),
          in_(shape.in_channels / shape.groups),
          out_(shape.out_channels / shape.groups),
          taps_(real(shape.kernel_height * shape.kernel_width)) {}

    // As in conv2d_pointwise.cpp: each image is a matrix, or, of one pixel, a row of a matrix.
    double matrix_product(index_t outputs, index_t depth) {
        const index_t pixels = rows_.out * cols_.out;
        if (pixels == 1) {
            add_product_of_pixels(1, vectors(outputs), real(depth));
            add_calls(1 / images_);
            return cycles_;
        }
        add_product(outputs, vectors(pixels), real(depth));
        add_weights_read();
        add_calls(1);
        return cycles_;
    }

    // As in conv2d.cpp.
    double forward_planes() {
        constexpr double kSingle = 0.3;   // what a last vector without a partner costs besides
        constexpr double kBetween = 1.1;  // of rows together, with the pixels between them
        const double of_row = vectors(cols_.out) + (ceil_div(cols_.out, lanes_) % 2 ? kSingle : 0);
        const double apart = real(rows_.out) * of_row;
        const double together = kBetween * real(rows_.out * pitch()) / real(lanes_);
        const double depth = real(in_) * taps_;
        add_planes();
        add_product(out_, std::min(apart, together), depth);
        if (together < apart) add_copies(real(s_.out_channels * rows_.out), 0);
        add_weights_read();
        add_calls(1);
        add_packed(depth / groups_);  // where the taps read, in all groups
        return cycles_;
    }

    // As in conv2d_channels_last.cpp.
    double forward_pixels() {
        const double outputs = vectors(out_), pixels = real(rows_.out * cols_.out);
        const double taps = skips_padding(rows_, cols_) ? rows_.share_inside() * taps_ : taps_;
        add_pixels(in_, rows_.size, real(rows_.size * cols_.read(cols_.out)));
        add_product_of_pixels(pixels, outputs, real(in_) * taps);
        add_pixels(out_, rows_.out, pixels);
        add_calls(1);
        add_packed(outputs * real(in_) * taps_);
        return cycles_;
    }

    // As in conv2d_backward_input.cpp. The gradient is padded once, and each phase reads all of it.
    double input_planes() {
        const index_t width = padded(cols_), rows = ceil_div(rows_.size, rows_.stride);
        const double pixels = vectors(rows * width), phases = real(phases_of(rows_) * phases_of(cols_));
        const double of_gradient = real(s_.out_channels * padded(rows_) * width) / real(lanes_);
        constexpr double kBegun = 2;  // runs that a plane costs besides
        add_copies(real(s_.out_channels) * (real(rows_.out) + kBegun), of_gradient);
        add_product(in_, pixels, real(out_) * taps_);
        add_copies(real(s_.in_channels * rows_.size), real(s_.in_channels) * pixels * phases);
        if (cols_.stride > 1) add_elements(real(s_.in_channels * rows_.size * cols_.size));
        add_weights_read();
        add_calls(phases);
        add_packed(real(in_ * out_) * taps_ / 4);  // by elements
        return cycles_;
    }

    // As in conv2d_channels_last_input.cpp.
    double input_pixels() {
        const double inputs = vectors(in_), pixels = real(rows_.size * cols_.size);
        const double phases = real(rows_.stride * cols_.stride);
        add_transposed(vectors(out_), rows_.out, real(rows_.out * cols_.out));
        add_product_of_pixels(pixels / phases, inputs, real(out_) * taps_);
        add_transposed(inputs, rows_.size, (phases > 1 ? 1.5 : 1) * pixels);
        add_calls(phases);
        add_packed(inputs * real(out_) * taps_);
        return cycles_;
    }

    // As in conv2d_backward_weights.cpp. Of few columns it takes inner products.
    double weights_planes() {
        constexpr index_t kLeastColumns = 3;
        const double depth = real(in_) * taps_, pixels = real((rows_.out - 1) * pitch() + cols_.out);
        const double outputs = vectors(out_);
        add_planes();
        if (out_ < kLeastColumns) {
            add_product(1, real(out_) * pixels / real(lanes_), depth);
            add_calls(0.1 * depth * real(out_));
        } else {
            add_transposed(outputs, 0, pixels);
            add_product(in_ * s_.kernel_height * s_.kernel_width, outputs, pixels);
        }
        add_copies(0, 3 * groups_ * depth * outputs / images_in_a_sum(groups_ * depth * real(out_), 0));
        add_calls(1);
        add_packed(depth * outputs);
        return cycles_;
    }

    // As in conv2d_channels_last_weights.cpp: a product for each tap and panel, of some images or pixels.
    double weights_pixels() {
        constexpr double kLeastPixels = 256, kDepth = 512, kOfProduct = 0.6;
        const double outputs = vectors(out_), pixels = real(rows_.out * cols_.out);
        const double sums = real(in_) * taps_ * outputs;
        const double images = images_in_a_sum(sums * real(lanes_), kLeastPixels / pixels);
        const double products = std::ceil(outputs / 2) * taps_ * std::max(1 / images, pixels / kDepth);
        add_pixels(in_, rows_.size, real(rows_.read(rows_.out) * cols_.read(cols_.out)));
        add_transposed(outputs, 0, pixels);
        add_product(in_, outputs, pixels * taps_);
        add_calls(1 + kOfProduct * products);
        add_packed(sums);
        return cycles_;
    }

private:
    double vectors(index_t n) const { return real(ceil_div(n, lanes_)); }
    // Of a plane of the input, from one row to the next.
    index_t pitch() const { return cols_.out + cols_.most_shift(); }
    // How many rows or columns of the output's gradient, with the padding.
    static index_t padded(const Axis& axis) {
        return std::max(axis.out, (axis.size - 1 + axis.padding) / axis.stride + 1) + axis.most_shift();
    }
    static index_t phases_of(const Axis& axis) { return std::min(axis.stride, axis.size + axis.padding); }
    // The images, `least` or more, that are summed before the sum goes to memory: of so many weights.
    double images_in_a_sum(double weights, double least) const {
        constexpr double kMostSummedApart = 65536, kMostChunks = 16;
        if (weights > kMostSummedApart) return images_;
        return std::min(images_, std::max(std::ceil(images_ / kMostChunks), least));
    }

    // Each group's product of (rows, depth) by so many vectors of columns.
    void add_product(index_t rows, double columns, double depth) {
        const double tiles = real(ceil_div(rows, tile_rows_));
        cycles_ += groups_ * depth * columns * (kMultiplyAdd * real(rows) + kLoad * tiles);
    }
    // Pixels of several images are rows of one product, of which no tile is partial.
    void add_product_of_pixels(double rows, double columns, double depth) {
        cycles_ += groups_ * depth * columns * rows * (kMultiplyAdd + kLoad / real(tile_rows_));
    }
    void add_calls(double calls) { cycles_ += kCall * groups_ * calls; }
    void add_copies(double runs, double vectors) { cycles_ += kRun * runs + kCopy * vectors; }
    void add_elements(double elements) { cycles_ += kElement * elements; }
    // Each group's pixels, of so many vectors of channels.
    void add_transposed(double channels, index_t runs, double pixels) {
        cycles_ += groups_ * channels * (kRun * real(runs) + kTranspose * pixels);
    }
    // The same, where the pixels of one channel only are copied.
    void add_pixels(index_t channels, index_t runs, double pixels) {
        if (channels > 1) return add_transposed(vectors(channels), runs, pixels);
        cycles_ += groups_ * (kRun * real(runs) + kCopy * pixels / real(lanes_));
    }
    // Once more for each image, where pixels of several do not share a product.
    void add_weights_read() { add_copies(0, real(s_.out_channels * in_) * taps_ / real(lanes_)); }
    void add_packed(double vectors) { cycles_ += kPack * groups_ * vectors / images_; }

    // The copy of an image by PlaneLayout.
    void add_planes() {
        constexpr double kFilled = 5;  // runs that a line of a phase costs
        const bool strided = rows_.stride > 1 || cols_.stride > 1;
        if (!strided && rows_.padding == 0 && cols_.padding == 0) return;
        const double lines =
            real(s_.in_channels * rows_.phases() * cols_.phases() * (rows_.out + rows_.most_shift()));
        const double elements = lines * real(pitch());
        if (!strided) return add_copies(lines, elements / real(lanes_));
        add_copies(kFilled * lines, 0);
        add_elements(elements);
    }

    const Conv2dShape& s_;
    const index_t lanes_ = kernels<T>().plane->lanes, tile_rows_ = kernels<T>().gemm->tile_rows;
    Axis rows_, cols_;
    double images_, groups_;
    index_t in_, out_;  // channels of a group
    double taps_;
    double cycles_ = 0;
};

}  // namespace

template <class T>
double planes_cost(const Conv2dShape& s, Conv2dPass pass) {
    DirectCost<T> cost(s, pass);
    if (pass == Conv2dPass::backward_weights) return cost.weights_planes();
    if (pass == Conv2dPass::forward)
        return is_pointwise(s) ? cost.matrix_product(s.out_channels, s.in_channels) : cost.forward_planes();
    return is_pointwise(s) ? cost.matrix_product(s.in_channels, s.out_channels) : cost.input_planes();
}

template <class T>
double channels_last_cost(const Conv2dShape& s, Conv2dPass pass) {
    DirectCost<T> cost(s, pass);
    switch (pass) {
        case Conv2dPass::forward:
            return cost.forward_pixels();
        case Conv2dPass::backward_input:
            return cost.input_pixels();
        default:
            return cost.weights_pixels();
    }
}

template <class T>
double winograd_cost(const WinogradTransforms<T>& t, const Conv2dShape& s, Conv2dPass pass) {
    const WinogradKernels<T>& kernel = *kernels<T>().winograd;
    constexpr index_t kBytes = 64;  // of a vector on AVX-512
    const double spilling = kernel.lanes * static_cast<index_t>(sizeof(T)) < kBytes ? kOf16Registers : 1;
    const double tiles = real(ceil_div(s.out_height(), t.tile) * ceil_div(s.out_width(), t.tile));
    const double in = real(s.in_channels), out = real(ceil_div(s.out_channels, kernel.lanes));
    const double of_output =
        pass == Conv2dPass::backward_weights ? kGradientTransform : kOutputTransform * spilling;
    const double of_tile =
        in * out * kProduct + real(ceil_div(s.in_channels, kernel.lanes)) * kImageTransform + out * of_output;
    const double of_weights = in * out * kWeightTransform * spilling / images_of(s, pass);
    return real(t.points() * t.points()) * (tiles * of_tile + of_weights);
}

#define RANVIER_INSTANTIATE(T)                                             \
    template double planes_cost<T>(const Conv2dShape&, Conv2dPass);        \
    template double channels_last_cost<T>(const Conv2dShape&, Conv2dPass); \
    template double winograd_cost(const WinogradTransforms<T>&, const Conv2dShape&, Conv2dPass);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
