// Depthwise convolution, forward, of images whose channels are neighbours: vectors run along the channels, so
// that strides and the edges of small maps cost nothing. Taps that would meet the padding are left out.
#include <vector>

#include "conv2d_depthwise.h"
#include "planes.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

// Outputs next to each other that the same taps [first, end) of an axis meet.
struct Run {
    index_t begin, count, first, end;
};

Run run_at(const Axis& axis, index_t output) {
    const index_t before = axis.padding - output * axis.stride, behind = axis.size + before;
    const index_t first = before > 0 ? ceil_div(before, axis.dilation) : 0;
    const index_t end = behind > 0 ? std::min(axis.kernel, ceil_div(behind, axis.dilation)) : 0;
    return {output, 1, first, std::max(first, end)};
}

std::vector<Run> runs_of(const Axis& axis) {
    std::vector<Run> runs;
    for (index_t output = 0; output < axis.out; ++output) {
        const Run run = run_at(axis, output);
        if (!runs.empty() && runs.back().first == run.first && runs.back().end == run.end)
            ++runs.back().count;
        else
            runs.push_back(run);
    }
    return runs;
}

// The weights as (taps, channels). `w` is contiguous.
template <class T>
void transpose_weights(const Conv2dShape& s, const T* w, T* to) {
    const index_t taps = s.kernel_height * s.kernel_width;
    for (index_t t = 0; t < taps; ++t)
        for (index_t c = 0; c < s.in_channels; ++c) to[t * s.in_channels + c] = w[c * taps + t];
}

template <class T>
class DepthwisePixels {
public:
    DepthwisePixels(const Conv2dShape& shape, const Images<const T>& x, const T* w, const T* bias,
                    const Images<T>& y, Activation activation, T parameter)
        : s_(shape),
          x_(x),
          y_(y),
          w_(w),
          bias_(bias),
          activation_(activation),
          parameter_(parameter),
          rows_(rows_of(shape)),
          cols_(cols_of(shape)),
          runs_(runs_of(cols_)) {}

    void run() const {
        constexpr double kWork = 0.5;  // of a multiplication, see threads_for()
        const index_t rows = s_.batch * rows_.out;
        const double work = kWork * static_cast<double>(cols_.out * rows_.kernel * cols_.kernel) *
                            static_cast<double>(s_.in_channels);
        const int threads = threads_for(work * static_cast<double>(rows));
        const index_t count = threads == 1 ? rows : ceil_div(rows, 4 * threads);
        parallel_for(ceil_div(rows, count), threads, [&](index_t task) {
            for (index_t row = task * count; row < std::min(rows, (task + 1) * count); ++row)
                compute(row / rows_.out, row % rows_.out);
        });
    }

private:
    void compute(index_t image, index_t row) const {
        const Run lines = run_at(rows_, row);
        const T* from = x_.data + image * x_.strides[0] +
                        (row * rows_.stride - rows_.padding + lines.first * rows_.dilation) * x_.strides[2];
        T* to = y_.data + image * y_.strides[0] + row * y_.strides[2];
        for (const Run& run : runs_) {
            const PixelTaps taps = {lines.end - lines.first,        run.end - run.first,
                                    rows_.dilation * x_.strides[2], cols_.dilation * x_.strides[3],
                                    cols_.kernel * s_.in_channels,  s_.in_channels};
            kernels<T>().depthwise->correlate_pixels(
                run.count, s_.in_channels, taps,
                w_ + (lines.first * cols_.kernel + run.first) * s_.in_channels,
                from +
                    (run.begin * cols_.stride - cols_.padding + run.first * cols_.dilation) * x_.strides[3],
                cols_.stride * x_.strides[3], {bias_, activation_ == Activation::relu},
                to + run.begin * y_.strides[3], y_.strides[3]);
        }
        activate(to);
    }

    // One row, but for ReLU.
    void activate(T* to) const {
        if (activation_ == Activation::identity || activation_ == Activation::relu) return;
        const auto f = kernels<T>().elementwise->activation[static_cast<int>(activation_)];
        if (y_.strides[3] == s_.in_channels) return f(cols_.out * s_.in_channels, to, to, parameter_);
        for (index_t x = 0; x < cols_.out; ++x, to += y_.strides[3]) f(s_.in_channels, to, to, parameter_);
    }

    const Conv2dShape& s_;
    const Images<const T>& x_;
    const Images<T>& y_;
    const T* w_;
    const T* bias_;
    Activation activation_;
    T parameter_;
    Axis rows_, cols_;
    std::vector<Run> runs_;  // of the columns
};

}  // namespace

template <class T>
void depthwise_forward_pixels(const Conv2dShape& s, const Images<const T>& x, const Images<const T>& w,
                              const T* prepared, const T* bias, const Images<T>& y, Activation activation,
                              T parameter) {
    const index_t size = prepared ? 0 : s.in_channels * s.kernel_height * s.kernel_width;
    Scratch<T> contiguous(size), memory(size);
    if (!prepared) {
        transpose_weights(s, contiguous_weights(s, w, contiguous.data()), memory.data());
        prepared = memory.data();
    }
    DepthwisePixels<T>(s, x, prepared, bias, y, activation, parameter).run();
}

template <class T>
void prepare_depthwise_pixels(const Conv2dShape& s, const Images<const T>& w, Buffer<T>& to) {
    const index_t size = s.in_channels * s.kernel_height * s.kernel_width;
    if (to.size() != size) to = Buffer<T>(size);
    Scratch<T> contiguous(size);
    transpose_weights(s, contiguous_weights(s, w, contiguous.data()), to.data());
}

#define RANVIER_INSTANTIATE(T)                                                                           \
    template void depthwise_forward_pixels(const Conv2dShape&, const Images<const T>&,                   \
                                           const Images<const T>&, const T*, const T*, const Images<T>&, \
                                           Activation, T);                                               \
    template void prepare_depthwise_pixels(const Conv2dShape&, const Images<const T>&, Buffer<T>&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
