// The gradient of a depthwise convolution to its weights and bias. A task has some channels, of which it
// takes the images in order: the sums of an image's products are added lane by lane to those of the images
// before it, and in the end the lanes are.
#include "conv2d_depthwise.h"
#include "depthwise_layout.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

template <class T>
class DepthwiseWeights {
public:
    DepthwiseWeights(const Conv2dShape& shape, const Images<const T>& grad, const Images<const T>& x,
                     const Images<T>& grad_w, T* grad_bias, bool accumulate)
        : s_(shape),
          rows_(rows_of(shape)),
          cols_(cols_of(shape)),
          grad_(grad),
          x_(x),
          grad_w_(grad_w),
          grad_bias_(grad_bias),
          accumulate_(accumulate),
          taps_(shape.kernel_height * shape.kernel_width) {}

    void run() const {
        const double work = static_cast<double>(s_.batch) * static_cast<double>(rows_.out * cols_.out) *
                            static_cast<double>(taps_);
        const index_t block = channels_of_task(s_.in_channels, work),
                      blocks = ceil_div(s_.in_channels, block);
        const int threads = threads_for(work / 6 * static_cast<double>(s_.in_channels));
        const auto each_block = [&](auto&& add) {
            parallel_for(blocks, threads, [&](index_t task) {
                const index_t first = task * block, count = std::min(block, s_.in_channels - first);
                Scratch<T> sums(count * sums_size());
                std::fill_n(sums.data(), count * sums_size(), T{});
                add(first, count, sums.data());
                for (index_t k = 0; k < count; ++k) write(first + k, sums.data() + k * sums_size());
            });
        };
        if (FlatPlanes<T>::suit(rows_, cols_, x_.strides[2]) && grad_.strides[2] == cols_.out) {
            const FlatPlanes<T> flat(rows_, cols_);
            return each_block([&](index_t first, index_t count, T* sums) {
                for (index_t image = 0; image < s_.batch; ++image) add_flat(flat, image, first, count, sums);
            });
        }
        const PaddedRows padded(rows_, cols_, kCopied<T>, kernel_.lanes);
        each_block([&](index_t first, index_t count, T* sums) { add_rows(padded, first, count, sums); });
    }

private:
    // A vector for each tap, and one for the bias.
    index_t sums_size() const { return (taps_ + 1) * kernel_.lanes; }

    const T* source(index_t image, index_t channel) const {
        return x_.data + image * x_.strides[0] + channel * x_.strides[1];
    }
    const T* gradient(index_t image, index_t channel) const {
        return grad_.data + image * grad_.strides[0] + channel * grad_.strides[1];
    }

    void add_rows(const PaddedRows& padded, index_t first, index_t count, T* sums) const {
        const index_t together = std::min(padded.together, count);
        Scratch<T> memory(together * padded.size);
        std::fill_n(memory.data(), together * padded.size, T{});
        const TapGrid taps = padded.taps();
        for (index_t image = 0; image < s_.batch; ++image)
            for (index_t k0 = 0; k0 < count; k0 += together)
                for (index_t y0 = 0; y0 < rows_.out; y0 += padded.band) {
                    const index_t lines = std::min(padded.band, rows_.out - y0);
                    const index_t end = std::min(k0 + together, count);
                    for (index_t k = k0; k < end; ++k)
                        padded.copy(source(image, first + k), x_.strides[2], y0, lines,
                                    memory.data() + (k - k0) * padded.size);
                    for (index_t k = k0; k < end; ++k)
                        kernel_.add_products(lines, cols_.out, taps, memory.data() + (k - k0) * padded.size,
                                             gradient(image, first + k) + y0 * grad_.strides[2],
                                             grad_.strides[2], sums + k * sums_size());
                }
    }

    void add_flat(const FlatPlanes<T>& flat, index_t image, index_t first, index_t count, T* sums) const {
        const index_t together = std::min(kMostTogether, count);
        Scratch<T> memory(flat.copied() ? together * flat.channel : 0);
        for (index_t k0 = 0; k0 < count; k0 += together) {
            const index_t end = std::min(k0 + together, count);
            for (index_t k = k0; flat.copied() && k < end; ++k)
                flat.copy(source(image, first + k), x_.strides[2], memory.data() + (k - k0) * flat.channel);
            for (index_t k = k0; k < end; ++k)
                kernel_.add_products_flat(
                    flat.pixels, flat.count, flat.taps.data(), flat.masks.data(),
                    flat.copied() ? memory.data() + (k - k0) * flat.channel : source(image, first + k),
                    gradient(image, first + k), sums + k * sums_size());
        }
    }

    void write(index_t channel, const T* sums) const {
        Scratch<T> totals(taps_ + 1);
        kernel_.reduce(taps_ + 1, sums, totals.data());
        const T* total = totals.data();
        const auto put = [&](T& to, T value) { to = accumulate_ ? to + value : value; };
        for (index_t i = 0; i < s_.kernel_height; ++i)
            for (index_t j = 0; j < s_.kernel_width; ++j)
                put(grad_w_
                        .data[channel * grad_w_.strides[0] + i * grad_w_.strides[2] + j * grad_w_.strides[3]],
                    *total++);
        if (grad_bias_) put(grad_bias_[channel], *total);
    }

    const Conv2dShape& s_;
    Axis rows_, cols_;
    const Images<const T>& grad_;
    const Images<const T>& x_;
    const Images<T>& grad_w_;
    T* grad_bias_;
    bool accumulate_;
    index_t taps_;
    const DepthwiseKernels<T>& kernel_ = *kernels<T>().depthwise;
};

}  // namespace

template <class T>
void depthwise_backward_weights(const Conv2dShape& shape, const Images<const T>& grad,
                                const Images<const T>& x, const Images<T>& grad_w, T* grad_bias,
                                bool accumulate) {
    DepthwiseWeights<T>(shape, grad, x, grad_w, grad_bias, accumulate).run();
}

template void depthwise_backward_weights(const Conv2dShape&, const Images<const float>&,
                                         const Images<const float>&, const Images<float>&, float*, bool);
template void depthwise_backward_weights(const Conv2dShape&, const Images<const double>&,
                                         const Images<const double>&, const Images<double>&, double*, bool);

}  // namespace ranvier
