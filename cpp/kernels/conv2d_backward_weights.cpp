// The gradient of a convolution to its weights and bias.
//
// In the terms of planes.h, the transposed gradient (taps, output channels) is the product of the planes'
// rows, one at each tap's offset, with the transposed gradient of the output, laid out at the planes' pitch
// with zeros where pixels were dropped. Images are summed in chunks whose number depends on the batch alone.
#include "../platform/denormals.h"
#include "kernel_table.h"
#include "planes.h"
#include "ranvier/conv2d.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

constexpr index_t kMostChunks = 16;
// A product with fewer columns than this (as in depthwise convolution) is done as inner products.
constexpr index_t kLeastColumns = 3;

template <class T>
class BackwardWeights {
public:
    BackwardWeights(const Conv2dShape& shape, const Images<const T>& grad, const Images<const T>& x)
        : s_(shape),
          grad_(grad),
          x_(x),
          layout_(shape, x.strides),
          group_in_(shape.in_channels / shape.groups),
          group_out_(shape.out_channels / shape.groups),
          taps_(group_in_ * shape.kernel_height * shape.kernel_width),
          offsets_(layout_.offsets(group_in_)),
          chunk_((shape.batch + kMostChunks - 1) / kMostChunks),
          chunks_((shape.batch + chunk_ - 1) / chunk_),
          size_(shape.groups * taps_ * group_out_) {}

    void run(const Images<T>& grad_w, T* grad_bias) const {
        const int threads = threads_for(convolution_work(s_));
        Scratch<T> sums(chunks_ * size_), biases(chunks_ * s_.out_channels);
        T *sums_of = sums.data(), *biases_of = biases.data();
        parallel_for(chunks_, threads, [&](index_t chunk) {
            add_chunk(chunk, sums_of + chunk * size_, biases_of + chunk * s_.out_channels);
        });
        for (index_t chunk = 1; chunk < chunks_; ++chunk) {
            gemm_.add_row(size_, sums_of + chunk * size_, sums_of);
            gemm_.add_row(s_.out_channels, biases_of + chunk * s_.out_channels, biases_of);
        }
        scatter(sums_of, grad_w);
        if (grad_bias) std::copy_n(biases_of, s_.out_channels, grad_bias);
    }

private:
    void add_chunk(index_t chunk, T* sums, T* biases) const {
        Scratch<T> planes(layout_.copied ? s_.in_channels * layout_.channel : 0);
        Scratch<T> rows(s_.out_channels * layout_.pixels);
        const index_t first = chunk * chunk_, end = std::min(s_.batch, first + chunk_);
        for (index_t image = first; image < end; ++image) {
            const T* source = x_.data + image * x_.strides[0];
            if (layout_.copied) {
                for (index_t c = 0; c < s_.in_channels; ++c)
                    layout_.copy_channel(source + c * x_.strides[1], x_.strides[2], x_.strides[3],
                                         planes.data() + c * layout_.channel);
                source = planes.data();
            }
            for (index_t o = 0; o < s_.out_channels; ++o) {
                T* row = rows.data() + o * layout_.pixels;
                copy_gradient(image, o, row);
                const T sum = gemm_.sum(layout_.pixels, row);
                biases[o] = image == first ? sum : biases[o] + sum;
            }
            for (index_t group = 0; group < s_.groups; ++group)
                add_image(source + group * group_in_ * layout_.channel,
                          rows.data() + group * group_out_ * layout_.pixels,
                          sums + group * taps_ * group_out_, image > first);
        }
    }

    void copy_gradient(index_t image, index_t o, T* row) const {
        const T* from = grad_.data + image * grad_.strides[0] + o * grad_.strides[1];
        const index_t width = layout_.cols.out;
        for (index_t y = 0; y < layout_.rows.out; ++y, from += grad_.strides[2], row += layout_.pitch) {
            if (grad_.strides[3] == 1)
                std::copy_n(from, width, row);
            else
                for (index_t x = 0; x < width; ++x) row[x] = from[x * grad_.strides[3]];
            if (y + 1 < layout_.rows.out) std::fill(row + width, row + layout_.pitch, T{});
        }
    }

    // sums(taps, out) += planes(taps, pixels) rows'(pixels, out)
    void add_image(const T* planes, const T* rows, T* sums, bool accumulate) const {
        if (group_out_ < kLeastColumns) {
            for (index_t tap = 0; tap < taps_; ++tap)
                for (index_t o = 0; o < group_out_; ++o) {
                    const T product =
                        gemm_.dot(layout_.pixels, planes + offsets_[static_cast<std::size_t>(tap)],
                                  rows + o * layout_.pixels);
                    T& sum = sums[tap * group_out_ + o];
                    sum = accumulate ? sum + product : product;
                }
            return;
        }
        const index_t length = depth_block<T>(layout_.pixels);
        const index_t padded = (group_out_ + gemm_.tile_cols - 1) / gemm_.tile_cols * gemm_.tile_cols;
        Scratch<T> packed(length * padded);
        for (index_t q = 0; q < layout_.pixels; q += length) {
            const index_t depth = std::min(length, layout_.pixels - q);
            gemm_.pack_b(depth, group_out_, rows + q, 1, layout_.pixels, packed.data());
            gemm_.multiply_a_by_offsets(taps_, group_out_, depth, planes + q, offsets_.data(), packed.data(),
                                        sums, group_out_, accumulate || q > 0);
        }
    }

    void scatter(const T* sums, const Images<T>& w) const {
        for (index_t o = 0; o < s_.out_channels; ++o) {
            const T* from = sums + o / group_out_ * taps_ * group_out_ + o % group_out_;
            for (index_t c = 0; c < group_in_; ++c)
                for (index_t i = 0; i < s_.kernel_height; ++i)
                    for (index_t j = 0; j < s_.kernel_width; ++j, from += group_out_)
                        w.data[o * w.strides[0] + c * w.strides[1] + i * w.strides[2] + j * w.strides[3]] =
                            *from;
        }
    }

    const Conv2dShape& s_;
    const Images<const T>& grad_;
    const Images<const T>& x_;
    const GemmKernels<T>& gemm_ = *kernels<T>().gemm;
    PlaneLayout layout_;
    index_t group_in_, group_out_, taps_;
    std::vector<index_t> offsets_;
    index_t chunk_, chunks_, size_;
};

// The gradient of nothing.
template <class T>
void clear(const Conv2dShape& s, const Images<T>& w, T* grad_bias) {
    for (index_t o = 0; o < s.out_channels; ++o) {
        if (grad_bias) grad_bias[o] = T{};
        for (index_t c = 0; c < s.in_channels / s.groups; ++c)
            for (index_t i = 0; i < s.kernel_height; ++i)
                for (index_t j = 0; j < s.kernel_width; ++j)
                    w.data[o * w.strides[0] + c * w.strides[1] + i * w.strides[2] + j * w.strides[3]] = T{};
    }
}

}  // namespace

template <class T>
void conv2d_backward_weights(const Conv2dShape& shape, const Images<const T>& grad, const Images<const T>& x,
                             const Images<T>& grad_w, T* grad_bias) {
    if (shape.batch == 0) return clear(shape, grad_w, grad_bias);
    if (shape.out_channels == 0) return;
    FlushDenormals flush;
    BackwardWeights<T>(shape, grad, x).run(grad_w, grad_bias);
}

template void conv2d_backward_weights(const Conv2dShape&, const Images<const float>&,
                                      const Images<const float>&, const Images<float>&, float*);
template void conv2d_backward_weights(const Conv2dShape&, const Images<const double>&,
                                      const Images<const double>&, const Images<double>&, double*);

}  // namespace ranvier
