// Shapes of convolutions, and the forward pass: the product of the weights with the images' planes.
#include "ranvier/conv2d.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "../platform/denormals.h"
#include "conv2d_algorithm.h"
#include "conv2d_channels_last.h"
#include "conv2d_depthwise.h"
#include "conv2d_pointwise.h"
#include "conv2d_taps.h"
#include "planes.h"
#include "ranvier/memory.h"
#include "ranvier/sizes.h"
#include "ranvier/threads.h"
#include "winograd.h"

namespace ranvier {
namespace {

// `padding` is that of both sides.
index_t out_size(index_t in, index_t kernel, index_t stride, index_t padding, index_t dilation) {
    return (in + padding - dilation * (kernel - 1) - 1) / stride + 1;
}

void require(bool holds, const char* field, const std::string& expected, index_t got) {
    if (!holds)
        throw std::invalid_argument(std::string(field) + ": expected " + expected + ", got " +
                                    std::to_string(got));
}

void check_axis(index_t in, index_t kernel, index_t stride, index_t padding, index_t extra,
                index_t dilation) {
    const auto require_range = [](const char* field, index_t least, index_t value) {
        if (value < least || value > kLargestSize)
            require(false, field,
                    value < least ? "at least " + std::to_string(least)
                                  : "at most " + std::to_string(kLargestSize),
                    value);
    };
    require_range("kernel_size", 1, kernel);
    require_range("stride", 1, stride);
    require_range("padding", 0, padding);
    require_range("dilation", 1, dilation);
    const index_t reach = dilation * (kernel - 1) + 1;
    const index_t padded = in + 2 * padding + extra;
    require(reach <= padded, "kernel_size",
            "a kernel (dilated) no larger than the padded image of " + std::to_string(padded), reach);
}

// Pixels of one block of work; enough to amortise a call, few enough that the block's output stays in cache.
constexpr index_t kBlockPixels = 512;

template <class T>
class Forward {
public:
    Forward(const Conv2dShape& shape, const Images<const T>& x, const T* w, const T* bias, const Images<T>& y,
            Activation activation, T parameter)
        : s_(shape),
          x_(x),
          y_(y),
          w_(w),
          bias_(bias),
          activation_(activation),
          parameter_(parameter),
          layout_(shape, x.strides),
          group_in_(shape.in_channels / shape.groups),
          group_out_(shape.out_channels / shape.groups),
          depth_(group_in_ * shape.kernel_height * shape.kernel_width),
          block_rows_(std::clamp<index_t>(kBlockPixels / layout_.pitch, 1, layout_.rows.out)),
          rows_apart_(rows_apart()),
          offsets_(depth_) {
        layout_.write_offsets(group_in_, offsets_.data());
    }

    // The groups of all images if there are enough of them; else, one after the other, its channels to be
    // copied, and then its blocks of pixels, are shared out.
    void run() const {
        const int threads = threads_for(convolution_work(s_));
        const index_t size = layout_.copied ? group_in_ * layout_.channel : 0;
        const index_t units = s_.batch * s_.groups, copies = layout_.copied ? group_in_ : 0;
        const index_t blocks = ceil_div(layout_.rows.out, block_rows_);
        if (units >= threads) {
            parallel_for(units, threads, [&](index_t unit) {
                Scratch<T> planes(size);
                for (index_t c = 0; c < copies; ++c) copy(unit, c, planes.data());
                for (index_t block = 0; block < blocks; ++block) multiply(unit, block, planes.data());
            });
            return;
        }
        Scratch<T> planes(size);
        T* shared = planes.data();
        for (index_t unit = 0; unit < units; ++unit) {
            parallel_for(copies, threads, [&](index_t c) { copy(unit, c, shared); });
            parallel_for(blocks, threads, [&](index_t block) { multiply(unit, block, shared); });
        }
    }

private:
    // Channel c of a unit, which is a group of an image.
    void copy(index_t unit, index_t c, T* planes) const {
        const index_t channel = unit % s_.groups * group_in_ + c;
        layout_.copy_channel(x_.data + unit / s_.groups * x_.strides[0] + channel * x_.strides[1],
                             x_.strides[2], x_.strides[3], planes + c * layout_.channel);
    }

    void multiply(index_t unit, index_t block, const T* planes) const {
        const index_t image = unit / s_.groups, group = unit % s_.groups;
        const index_t y0 = block * block_rows_, rows = std::min(block_rows_, layout_.rows.out - y0);
        const T* source =
            (layout_.copied ? planes
                            : x_.data + image * x_.strides[0] + group * group_in_ * layout_.channel) +
            y0 * layout_.pitch;
        T* to = y_.data + image * y_.strides[0] + group * group_out_ * y_.strides[1] + y0 * y_.strides[2];
        if (rows_apart_)
            for (index_t i = 0; i < rows; ++i)
                multiply_run(group, source + i * layout_.pitch, layout_.cols.out, to + i * y_.strides[2],
                             y_.strides[1]);
        else
            return multiply_through_copy(group, source, rows, to);
        for (index_t o = 0; o < group_out_; ++o) activate(rows, to + o * y_.strides[1], y_.strides[2]);
    }

    // All output channels of a group at `pixels` neighbouring pixels, without the activation.
    void multiply_run(index_t group, const T* source, index_t pixels, T* c, index_t c_stride) const {
        const index_t length = depth_block<T>(depth_), first = group * group_out_;
        for (index_t k0 = 0; k0 < depth_; k0 += length) {
            const bool last = k0 + length >= depth_;
            gemm_.multiply_b_by_offsets(group_out_, pixels, std::min(length, depth_ - k0),
                                        w_ + first * depth_ + k0, depth_, 1, source, offsets_.data() + k0, c,
                                        c_stride, k0 > 0, last && bias_ ? bias_ + first : nullptr);
        }
        for (index_t o = 0; depth_ == 0 && o < group_out_; ++o)
            std::fill_n(c + o * c_stride, pixels, bias_ ? bias_[first + o] : T{});
    }

    // Some rows with the pixels between them, of which the valid ones are then copied to the output.
    void multiply_through_copy(index_t group, const T* source, index_t rows, T* to) const {
        const index_t pixels = (rows - 1) * layout_.pitch + layout_.cols.out;
        Scratch<T> memory(group_out_ * pixels);
        multiply_run(group, source, pixels, memory.data(), pixels);
        for (index_t o = 0; o < group_out_; ++o, to += y_.strides[1]) {
            T* products = memory.data() + o * pixels;
            if (y_.strides[3] == 1) {
                kernels<T>().plane->copy_rows(rows, layout_.cols.out, products, layout_.pitch, to,
                                              y_.strides[2]);
                activate(rows, to, y_.strides[2]);
                continue;
            }
            activate(rows, products, layout_.pitch);
            for (index_t i = 0; i < rows; ++i)
                for (index_t j = 0; j < layout_.cols.out; ++j)
                    to[i * y_.strides[2] + j * y_.strides[3]] = products[i * layout_.pitch + j];
        }
    }

    // Some rows of one channel, of unit column stride.
    void activate(index_t rows, T* to, index_t stride) const {
        if (activation_ == Activation::identity) return;
        const auto f = kernels<T>().elementwise->activation[static_cast<int>(activation_)];
        const index_t width = layout_.cols.out;
        if (stride == width) return f(rows * width, to, to, parameter_);
        for (index_t i = 0; i < rows; ++i, to += stride) f(width, to, to, parameter_);
    }

    // Whether it is best to compute each row of the output by itself, where it lies: if no more is lost in
    // the last, partial vector of each than by the pixels between rows, and their copy.
    bool rows_apart() const {
        if (y_.strides[3] != 1) return false;
        if (layout_.pitch == layout_.cols.out && y_.strides[2] == layout_.pitch && block_rows_ == 1)
            return true;
        // In vectors: those of a row, where a single last one costs more than half of two; and those of a row
        // with the pixels up to the next, and the copy.
        const index_t lanes = gemm_.tile_cols / 2, vectors = ceil_div(layout_.cols.out, lanes);
        constexpr double kSingle = 1.3, kCopy = 1.1;
        const double apart = static_cast<double>(vectors) + (vectors % 2 ? kSingle - 1 : 0);
        return apart <= kCopy * static_cast<double>(layout_.pitch) / static_cast<double>(lanes);
    }

    const Conv2dShape& s_;
    const Images<const T>& x_;
    const Images<T>& y_;
    const T* w_;
    const T* bias_;
    Activation activation_;
    T parameter_;
    const GemmKernels<T>& gemm_ = *kernels<T>().gemm;
    PlaneLayout layout_;
    index_t group_in_, group_out_, depth_;
    index_t block_rows_;  // of output pixels in one task
    bool rows_apart_;
    Scratch<index_t> offsets_;
};

}  // namespace

index_t Conv2dShape::out_height() const {
    return out_size(in_height, kernel_height, stride_height, 2 * padding_height + extra_height,
                    dilation_height);
}

index_t Conv2dShape::out_width() const {
    return out_size(in_width, kernel_width, stride_width, 2 * padding_width + extra_width, dilation_width);
}

void check(const Conv2dShape& s) {
    require(s.batch >= 0, "batch", "at least 0", s.batch);
    require(s.in_channels >= 0, "in_channels", "at least 0", s.in_channels);
    require(s.out_channels >= 0, "out_channels", "at least 0", s.out_channels);
    require(s.groups >= 1, "groups", "at least 1", s.groups);
    require(s.in_channels % s.groups == 0, "groups",
            "a divisor of the " + std::to_string(s.in_channels) + " input channels", s.groups);
    require(s.out_channels % s.groups == 0, "groups",
            "a divisor of the " + std::to_string(s.out_channels) + " output channels", s.groups);
    checked_product({s.batch, s.in_channels, s.in_height, s.in_width}, "x");
    check_axis(s.in_height, s.kernel_height, s.stride_height, s.padding_height, s.extra_height,
               s.dilation_height);
    check_axis(s.in_width, s.kernel_width, s.stride_width, s.padding_width, s.extra_width, s.dilation_width);
    checked_product({s.out_channels, s.in_channels / s.groups, s.kernel_height, s.kernel_width}, "w");
    const index_t batch = std::max<index_t>(1, s.batch);  // 0 where only a sample's shape is known yet
    checked_product({batch, s.out_channels, s.out_height(), s.out_width()}, "padding, output");
    // A padded copy of an image is at most twice as long along each axis, with the planes of all phases.
    checked_product({s.in_channels, 2 * (s.in_height + 2 * s.padding_height + s.extra_height),
                     2 * (s.in_width + 2 * s.padding_width + s.extra_width)},
                    "padding, padded x");
}

namespace {

// Whether the images have neighbouring channels and no neighbouring pixels.
template <class T>
bool has_channels_last(const Images<T>& images) {
    return images.strides[1] == 1 && images.strides[3] != 1;
}

}  // namespace

template <class T>
bool suits_channels_last(const Conv2dShape& whole) {
    const Conv2dShape shape = ReadTaps(whole).shape;
    if (is_depthwise(shape)) return shape.in_channels >= kernels<T>().plane->lanes / 2;
    return shape.groups == 1 && shape.in_channels > 0 && shape.out_channels >= 8 &&
           !choose_algorithm<T>(shape, Conv2dPass::forward).transforms;
}

template <class T>
void conv2d(const Conv2dShape& whole, const Images<const T>& x, const Images<const T>& whole_w, const T* bias,
            const Images<T>& y, Activation activation, T parameter, const PreparedWeights<T>* prepared) {
    if (whole.batch == 0 || whole.out_channels == 0) return;
    FlushDenormals flush;
    const ReadTaps taps(whole);
    const Conv2dShape& shape = taps.shape;
    const Images<const T> w = taps.of(whole_w);
    const T* weights = prepared ? prepared->transformed.data() : nullptr;
    const bool last = has_channels_last(x) || has_channels_last(y);
    if (is_depthwise(shape) && has_channels_last(x) && has_channels_last(y))
        return depthwise_forward_pixels(shape, x, w, weights, bias, y, activation, parameter);
    if (is_depthwise(shape) && has_unit_columns(x) && has_unit_columns(y))
        return depthwise_forward(shape, x, w, bias, y, activation, parameter);
    if (last && shape.groups == 1 && suits_channels_last<T>(shape))
        return channels_last_forward(shape, x, w, weights, bias, y, activation, parameter);
    const Conv2dChoice<T> choice = choose_algorithm<T>(shape, Conv2dPass::forward);
    if (choice.transforms)
        return winograd_forward(*choice.transforms, shape, x, w, weights, bias, y, activation, parameter);
    if (choice.is_channels_last())
        return channels_last_forward(shape, x, w, weights, bias, y, activation, parameter);
    if (is_pointwise(shape) && is_matrix(x, shape.in_width) && is_matrix(y, shape.in_width))
        return pointwise_forward(shape, x, w, bias, y, activation, parameter);
    Scratch<T> memory(shape.out_channels * (shape.in_channels / shape.groups) * shape.kernel_height *
                      shape.kernel_width);
    Forward<T>(shape, x, contiguous_weights(shape, w, memory.data()), bias, y, activation, parameter).run();
}

template <class T>
void prepare_forward(const Conv2dShape& whole, const Images<const T>& whole_w, PreparedWeights<T>& prepared,
                     MemoryFormat format) {
    const ReadTaps taps(whole);
    const Conv2dShape& shape = taps.shape;
    const Images<const T> w = taps.of(whole_w);
    const bool last = format == MemoryFormat::channels_last;
    const Conv2dChoice<T> choice = choose_algorithm<T>(shape, Conv2dPass::forward);
    if (is_depthwise(shape)) {
        if (last) prepare_depthwise_pixels(shape, w, prepared.transformed);
    } else if (choice.transforms) {
        winograd_transform_weights(*choice.transforms, shape, w, prepared.transformed);
    } else if (last || choice.is_channels_last()) {
        pack_forward(shape, w, prepared.transformed);
    }
}

#define RANVIER_INSTANTIATE(T)                                                                         \
    template void conv2d(const Conv2dShape&, const Images<const T>&, const Images<const T>&, const T*, \
                         const Images<T>&, Activation, T, const PreparedWeights<T>*);                  \
    template bool suits_channels_last<T>(const Conv2dShape&);                                          \
    template void prepare_forward(const Conv2dShape&, const Images<const T>&, PreparedWeights<T>&,     \
                                  MemoryFormat);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
