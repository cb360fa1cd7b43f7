// Shapes of convolutions, and the forward pass: the product of the weights with the images' planes.
#include "ranvier/conv2d.h"

#include <stdexcept>
#include <string>

#include "../platform/denormals.h"
#include "conv2d_algorithm.h"
#include "conv2d_pointwise.h"
#include "planes.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"
#include "winograd.h"

namespace ranvier {
namespace {

index_t out_size(index_t in, index_t kernel, index_t stride, index_t padding, index_t dilation) {
    return (in + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
}

void require(bool holds, const char* field, const std::string& expected, index_t got) {
    if (!holds)
        throw std::invalid_argument(std::string(field) + ": expected " + expected + ", got " +
                                    std::to_string(got));
}

void check_axis(index_t in, index_t kernel, index_t stride, index_t padding, index_t dilation) {
    require(kernel >= 1, "kernel_size", "at least 1", kernel);
    require(stride >= 1, "stride", "at least 1", stride);
    require(padding >= 0, "padding", "at least 0", padding);
    require(dilation >= 1, "dilation", "at least 1", dilation);
    const index_t reach = dilation * (kernel - 1) + 1;
    require(reach <= in + 2 * padding, "kernel_size",
            "a kernel (dilated) no larger than the padded image of " + std::to_string(in + 2 * padding),
            reach);
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
          offsets_(depth_) {
        layout_.write_offsets(group_in_, offsets_.data());
    }

    // Whole images at once if there are enough of them; else the channels to be copied, and then the blocks
    // of pixels, are shared out.
    void run() const {
        const int threads = threads_for(convolution_work(s_));
        const index_t size = layout_.copied ? s_.in_channels * layout_.channel : 0;
        const index_t blocks = (layout_.rows.out + block_rows_ - 1) / block_rows_;
        if (s_.batch >= threads) {
            parallel_for(s_.batch, threads, [&](index_t image) {
                Scratch<T> planes(size);
                for (index_t c = 0; layout_.copied && c < s_.in_channels; ++c) copy(image, c, planes.data());
                for (index_t group = 0; group < s_.groups; ++group)
                    for (index_t block = 0; block < blocks; ++block)
                        multiply(image, group, block, planes.data());
            });
            return;
        }
        Scratch<T> planes(size);
        T* shared = planes.data();
        for (index_t image = 0; image < s_.batch; ++image) {
            if (layout_.copied)
                parallel_for(s_.in_channels, threads, [&](index_t c) { copy(image, c, shared); });
            parallel_for(s_.groups * blocks, threads,
                         [&](index_t task) { multiply(image, task / blocks, task % blocks, shared); });
        }
    }

private:
    void copy(index_t image, index_t c, T* planes) const {
        layout_.copy_channel(x_.data + image * x_.strides[0] + c * x_.strides[1], x_.strides[2],
                             x_.strides[3], planes + c * layout_.channel);
    }

    void multiply(index_t image, index_t group, index_t block, const T* planes) const {
        const T* source = layout_.copied ? planes : x_.data + image * x_.strides[0];
        source += group * group_in_ * layout_.channel;
        const index_t y0 = block * block_rows_, rows = std::min(block_rows_, layout_.rows.out - y0);
        const index_t q0 = y0 * layout_.pitch, pixels = (rows - 1) * layout_.pitch + layout_.cols.out;
        T* to = y_.data + image * y_.strides[0] + group * group_out_ * y_.strides[1] + y0 * y_.strides[2];
        // The result is the output as it lies if there are no pixels to drop.
        const bool direct =
            layout_.pitch == layout_.cols.out && y_.strides[3] == 1 && y_.strides[2] == layout_.pitch;
        Scratch<T> memory(direct ? 0 : group_out_ * pixels);
        T* c = direct ? to : memory.data();
        const index_t c_stride = direct ? y_.strides[1] : pixels;
        for (index_t o = 0; depth_ == 0 && o < group_out_; ++o) std::fill_n(c + o * c_stride, pixels, T{});
        const index_t length = depth_block<T>(depth_);
        for (index_t k0 = 0; k0 < depth_; k0 += length)
            gemm_.multiply_b_by_offsets(group_out_, pixels, std::min(length, depth_ - k0),
                                        w_ + group * group_out_ * depth_ + k0, depth_, 1, source + q0,
                                        offsets_.data() + k0, c, c_stride, k0 > 0);
        for (index_t o = 0; o < group_out_; ++o)
            finish(group * group_out_ + o, rows, c + o * c_stride, to + o * y_.strides[1]);
    }

    // Bias and activation of some rows of one channel, from the products (which may be the rows themselves).
    void finish(index_t channel, index_t rows, T* products, T* to) const {
        const index_t width = layout_.cols.out;
        const bool contiguous = y_.strides[3] == 1;
        const T bias = bias_ ? bias_[channel] : T{};
        T* result = contiguous ? to : products;
        const index_t stride = contiguous ? y_.strides[2] : layout_.pitch;
        if (bias_ || result != products)
            kernels<T>().plane->add_bias(rows, width, products, layout_.pitch, bias, result, stride);
        if (activation_ != Activation::identity) {
            const auto activate = kernels<T>().elementwise->activation[static_cast<int>(activation_)];
            const bool one_run = stride == width;
            for (index_t i = 0; i < (one_run ? 1 : rows); ++i)
                activate(one_run ? rows * width : width, result + i * stride, result + i * stride,
                         parameter_);
        }
        if (contiguous) return;
        for (index_t i = 0; i < rows; ++i)
            for (index_t j = 0; j < width; ++j)
                to[i * y_.strides[2] + j * y_.strides[3]] = result[i * stride + j];
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
    Scratch<index_t> offsets_;
};

}  // namespace

index_t Conv2dShape::out_height() const {
    return out_size(in_height, kernel_height, stride_height, padding_height, dilation_height);
}

index_t Conv2dShape::out_width() const {
    return out_size(in_width, kernel_width, stride_width, padding_width, dilation_width);
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
    check_axis(s.in_height, s.kernel_height, s.stride_height, s.padding_height, s.dilation_height);
    check_axis(s.in_width, s.kernel_width, s.stride_width, s.padding_width, s.dilation_width);
}

template <class T>
void conv2d(const Conv2dShape& shape, const Images<const T>& x, const Images<const T>& w, const T* bias,
            const Images<T>& y, Activation activation, T parameter) {
    if (shape.batch == 0 || shape.out_channels == 0) return;
    FlushDenormals flush;
    if (is_pointwise(shape) && is_matrix(x, shape.in_width) && is_matrix(y, shape.in_width))
        return pointwise_forward(shape, x, w, bias, y, activation, parameter);
    if (const auto* transforms = winograd_for_outputs<T>(shape))
        return winograd_forward(*transforms, shape, x, w, bias, y, activation, parameter);
    Scratch<T> memory(shape.out_channels * (shape.in_channels / shape.groups) * shape.kernel_height *
                      shape.kernel_width);
    Forward<T>(shape, x, contiguous_weights(shape, w, memory.data()), bias, y, activation, parameter).run();
}

template void conv2d(const Conv2dShape&, const Images<const float>&, const Images<const float>&, const float*,
                     const Images<float>&, Activation, float);
template void conv2d(const Conv2dShape&, const Images<const double>&, const Images<const double>&,
                     const double*, const Images<double>&, Activation, double);

}  // namespace ranvier
