// Two-dimensional convolution (cross-correlation, as every neural-network library calls it) of NCHW
// images with OIHW weights.
#pragma once

#include <vector>

#include "ranvier/array.h"
#include "ranvier/matmul.h"
#include "ranvier/memory.h"

namespace ranvier {

struct Conv2dShape {
    index_t batch = 0, in_channels = 0, in_height = 0, in_width = 0;
    index_t out_channels = 0, kernel_height = 0, kernel_width = 0;
    index_t stride_height = 1, stride_width = 1;
    index_t padding_height = 0, padding_width = 0;
    index_t dilation_height = 1, dilation_width = 1;
    index_t groups = 1;
    // Padding below and to the right beyond that above and to the left.
    index_t extra_height = 0, extra_width = 0;

    bool is_padded() const { return padding_height || padding_width || extra_height || extra_width; }
    index_t out_height() const;
    index_t out_width() const;
};

// Throws std::invalid_argument naming the field if a size is negative, a kernel, stride, dilation or
// group count is below 1, the channels do not divide by groups, or the kernel exceeds the padded image.
void check(const Conv2dShape& shape);

// How convolutions are computed. `automatic` estimates what is fastest for the shape (whatever its batch) in
// single precision, and is `direct` in double; the others hold wherever they apply, and else `direct` does:
// the one of `planes` and `channels_last` that seems faster, which add the same products in another order.
// Winograd's algorithm (Lavin and Gray 2016) computes tiles of 2 x 2 or 4 x 4 outputs at once, for kernels of
// 3 x 3 or (4 x 4 only) 5 x 5 with stride and dilation 1 in one group. It rounds more (docs/accuracy.md), and
// a NaN or infinity spreads over its tile.
enum class Conv2dAlgorithm { automatic, direct, planes, channels_last, winograd_2, winograd_4 };

// For the whole process. Meant for tests and benchmarks.
void set_conv2d_algorithm(Conv2dAlgorithm algorithm);

// What the automatic choice expects of the algorithms that apply in single precision, cheapest first: that
// one is chosen. Meant for benchmarks, too.
enum class Conv2dPass { forward, backward_input, backward_weights };
struct Conv2dCost {
    Conv2dAlgorithm algorithm;
    double cycles;  // of one thread, for an image
};
std::vector<Conv2dCost> conv2d_costs(const Conv2dShape& shape, Conv2dPass pass);

// How images lie in memory: a channel is a plane of neighbouring pixels, or a pixel one of neighbouring
// channels.
enum class MemoryFormat { channels_first, channels_last };

// Whether the forward pass of such a shape is fast with images of neighbouring channels: in one group on
// either side or on both, in several on both.
template <class T>
bool suits_channels_last(const Conv2dShape& shape);

// Weights in the form in which the algorithm reads them, made once for several calls: for the forward pass of
// images in that format (channels_last if it is the format of either side), or for the gradient to the input,
// of a shape whatever its batch. Empty for what reads them where they lie. Calls only read it, so any number
// of threads may share one.
template <class T>
struct PreparedWeights {
    Buffer<T> transformed;
};
template <class T>
void prepare_forward(const Conv2dShape& shape, const Images<const T>& w, PreparedWeights<T>& prepared,
                     MemoryFormat format = MemoryFormat::channels_first);
template <class T>
void prepare_backward_input(const Conv2dShape& shape, const Images<const T>& w, PreparedWeights<T>& prepared);

// y = x * w + bias, then the activation. bias may be nullptr, else is contiguous and out_channels long.
template <class T>
void conv2d(const Conv2dShape& shape, const Images<const T>& x, const Images<const T>& w, const T* bias,
            const Images<T>& y, Activation activation = Activation::identity, T parameter = T{},
            const PreparedWeights<T>* prepared = nullptr);

// The gradients of a loss whose gradient to y is `grad`. Results are written; those to the weights and the
// bias (nullptr if it is not wanted) are added to what is there if `accumulate`.
template <class T>
void conv2d_backward_input(const Conv2dShape& shape, const Images<const T>& grad, const Images<const T>& w,
                           const Images<T>& grad_x, const PreparedWeights<T>* prepared = nullptr);
template <class T>
void conv2d_backward_weights(const Conv2dShape& shape, const Images<const T>& grad, const Images<const T>& x,
                             const Images<T>& grad_w, T* grad_bias, bool accumulate = false);

}  // namespace ranvier
