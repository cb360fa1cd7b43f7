// The gradient of a convolution to its weights and bias.
//
// In the terms of planes.h, the transposed gradient (taps, output channels) is the product of the planes'
// rows, one at each tap's offset, with the transposed gradient of the output, laid out at the planes' pitch
// with zeros where pixels were dropped. Images are summed in chunks whose number depends on the batch alone.
#include "../platform/denormals.h"
#include "conv2d_algorithm.h"
#include "conv2d_channels_last.h"
#include "conv2d_depthwise.h"
#include "conv2d_taps.h"
#include "planes.h"
#include "ranvier/conv2d.h"
#include "ranvier/matmul.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"
#include "winograd.h"

namespace ranvier {
namespace {

constexpr index_t kMostChunks = 16;
// More weights than this have one sum, whose rows are shared out, instead of one for each chunk of images.
constexpr index_t kMostSummedApart = 65536;
constexpr index_t kRowsOfTask = 48;
// What the images that are laid out at once may take, in elements.
constexpr index_t kLaidOut = 4 << 20;
// A product with fewer columns than this (as in depthwise convolution) is done as inner products.
constexpr index_t kLeastColumns = 3;

// Of the planes of some output channels of one image's gradient.
template <class T>
void sums_of_planes(const Conv2dShape& s, const Images<const T>& grad, index_t image, index_t first,
                    index_t count, T* sums) {
    const index_t height = s.out_height(), width = s.out_width();
    const auto [batch, channel, row, col] = grad.strides;
    const T* from = grad.data + image * batch + first * channel;
    if (row == width * col)
        return column_sums(Matrix<const T>{from, height * width, count, col, channel}, sums);
    std::fill_n(sums, count, T{});
    for (index_t y = 0; y < height; ++y)
        add_column_sums(Matrix<const T>{from + y * row, width, count, col, channel}, sums);
}

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
          columns_(round_up(group_out_, kernels<T>().plane->lanes)),
          taps_(group_in_ * shape.kernel_height * shape.kernel_width),
          offsets_(taps_),
          chunk_(ceil_div(shape.batch, kMostChunks)),
          chunks_(ceil_div(shape.batch, chunk_)),
          size_(shape.groups * taps_ * group_out_) {
        layout_.write_offsets(group_in_, offsets_.data());
    }

    // The gradients are added to what is there if `accumulate`.
    void run(const Images<T>& grad_w, T* grad_bias, bool accumulate) const {
        if (size_ > kMostSummedApart) return run_by_rows(grad_w, grad_bias, accumulate);
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
        scatter(sums_of, grad_w, accumulate, 1);
        write_biases(biases_of, grad_bias, accumulate);
    }

private:
    void add_chunk(index_t chunk, T* sums, T* biases) const {
        Scratch<T> planes(planes_size()), gradient(gradient_size());
        const index_t first = chunk * chunk_, end = std::min(s_.batch, first + chunk_);
        for (index_t image = first; image < end; ++image) {
            lay_out(image, planes.data(), gradient.data());
            add_biases(image, biases, image > first);
            for (index_t group = 0; group < s_.groups; ++group)
                add_rows(group, 0, taps_, source_of(image, planes.data()), gradient.data(),
                         sums + group * taps_ * group_out_, image > first);
        }
    }

    // All images of a chunk are laid out; then each task adds them up for some rows of the sums.
    void run_by_rows(const Images<T>& grad_w, T* grad_bias, bool accumulate) const {
        const int threads = threads_for(convolution_work(s_));
        const index_t each = planes_size() + gradient_size();
        const index_t chunk = std::clamp<index_t>(kLaidOut / each, 1, s_.batch);
        const index_t row_tasks = ceil_div(taps_, kRowsOfTask);
        Scratch<T> memory(chunk * each), sums(size_), biases(s_.out_channels);
        T *memory_of = memory.data(), *sums_of = sums.data();
        for (index_t first = 0; first < s_.batch; first += chunk) {
            const index_t now = std::min(chunk, s_.batch - first);
            parallel_for(now, threads, [&](index_t i) {
                lay_out(first + i, memory_of + i * each, memory_of + i * each + planes_size());
            });
            for (index_t i = 0; i < now; ++i) add_biases(first + i, biases.data(), first + i > 0);
            parallel_for(s_.groups * row_tasks, threads, [&](index_t task) {
                const index_t group = task / row_tasks, row = task % row_tasks * kRowsOfTask;
                for (index_t i = 0; i < now; ++i) {
                    const T* planes = memory_of + i * each;
                    add_rows(group, row, std::min(kRowsOfTask, taps_ - row), source_of(first + i, planes),
                             planes + planes_size(), sums_of + (group * taps_ + row) * group_out_,
                             first + i > 0);
                }
            });
        }
        scatter(sums_of, grad_w, accumulate, threads);
        write_biases(biases.data(), grad_bias, accumulate);
    }

    // Of one image's planes and its gradient's rows or columns; multiples of a cache line.
    index_t planes_size() const {
        return layout_.copied ? round_up(s_.in_channels * layout_.channel, kCacheLine<T>) : 0;
    }
    index_t gradient_size() const { return round_up(s_.groups * group_size(), kCacheLine<T>); }
    index_t group_size() const { return (by_columns() ? columns_ : group_out_) * layout_.pixels; }
    bool by_columns() const { return group_out_ >= kLeastColumns; }

    const T* source_of(index_t image, const T* planes) const {
        return layout_.copied ? planes : x_.data + image * x_.strides[0];
    }

    // Copies one image's planes (if need be) and gradient.
    void lay_out(index_t image, T* planes, T* gradient) const {
        for (index_t c = 0; layout_.copied && c < s_.in_channels; ++c)
            layout_.copy_channel(x_.data + image * x_.strides[0] + c * x_.strides[1], x_.strides[2],
                                 x_.strides[3], planes + c * layout_.channel);
        for (index_t group = 0; group < s_.groups; ++group, gradient += group_size()) {
            const index_t first = group * group_out_;
            if (by_columns())
                copy_columns(image, first, gradient);
            else
                for (index_t o = 0; o < group_out_; ++o)
                    copy_row(image, first + o, gradient + o * layout_.pixels);
        }
    }

    void add_biases(index_t image, T* biases, bool accumulate) const {
        if (!accumulate) return sums_of_planes(s_, grad_, image, 0, s_.out_channels, biases);
        Scratch<T> sums(s_.out_channels);
        sums_of_planes(s_, grad_, image, 0, s_.out_channels, sums.data());
        gemm_.add_row(s_.out_channels, sums.data(), biases);
    }

    void copy_row(index_t image, index_t o, T* row) const {
        const T* from = grad_.data + image * grad_.strides[0] + o * grad_.strides[1];
        const index_t width = layout_.cols.out;
        for (index_t y = 0; y < layout_.rows.out; ++y, from += grad_.strides[2], row += layout_.pitch) {
            kernels<T>().plane->copy_every(width, from, grad_.strides[3], row);
            if (y + 1 < layout_.rows.out) std::fill(row + width, row + layout_.pitch, T{});
        }
    }

    // The panels of the transposed gradient of one group, (pixels, out): as wide as a register tile, the last
    // one in whole vectors.
    index_t panel_width(index_t o) const { return std::min(gemm_.tile_cols, columns_ - o); }

    void copy_columns(index_t image, index_t first, T* columns) const {
        const index_t lanes = kernels<T>().plane->lanes;
        const T* from = grad_.data + image * grad_.strides[0] + first * grad_.strides[1];
        for (index_t o = 0; o < columns_; o += lanes) {
            const index_t panel = o / gemm_.tile_cols * gemm_.tile_cols, width = panel_width(panel);
            copy_vector(std::min(lanes, group_out_ - o), from + o * grad_.strides[1],
                        columns + panel * layout_.pixels + (o - panel), width);
        }
    }

    // A vector's worth of output channels, with zeros for the pixels between rows.
    void copy_vector(index_t channels, const T* from, T* to, index_t to_stride) const {
        const index_t lanes = kernels<T>().plane->lanes, width = layout_.cols.out;
        if (layout_.pitch == width && grad_.strides[2] == width * grad_.strides[3])
            return gather_pixels(channels, layout_.pixels, from, grad_.strides[1], grad_.strides[3], to,
                                 to_stride);
        for (index_t y = 0; y < layout_.rows.out; ++y, from += grad_.strides[2]) {
            gather_pixels(channels, width, from, grad_.strides[1], grad_.strides[3], to, to_stride);
            to += width * to_stride;
            if (y + 1 == layout_.rows.out) return;
            for (index_t x = width; x < layout_.pitch; ++x, to += to_stride) std::fill_n(to, lanes, T{});
        }
    }

    // sums(taps, out) += planes(taps, pixels) gradient'(pixels, out) for the taps from `first` on.
    void add_rows(index_t group, index_t first, index_t count, const T* source, const T* gradient, T* sums,
                  bool accumulate) const {
        const T* planes = source + group * group_in_ * layout_.channel;
        const index_t* offsets = offsets_.data() + first;
        gradient += group * group_size();
        if (!by_columns()) {
            for (index_t tap = 0; tap < count; ++tap)
                for (index_t o = 0; o < group_out_; ++o) {
                    const T product =
                        gemm_.dot(layout_.pixels, planes + offsets[tap], gradient + o * layout_.pixels);
                    T& sum = sums[tap * group_out_ + o];
                    sum = accumulate ? sum + product : product;
                }
            return;
        }
        const index_t length = depth_block<T>(layout_.pixels);
        for (index_t q = 0; q < layout_.pixels; q += length)
            for (index_t o = 0; o < group_out_; o += gemm_.tile_cols) {
                const index_t width = panel_width(o);
                gemm_.multiply_a_rows_apart(count, std::min(width, group_out_ - o),
                                            std::min(length, layout_.pixels - q), planes + q, offsets,
                                            gradient + o * layout_.pixels + q * width, width, sums + o,
                                            group_out_, accumulate || q > 0);
            }
    }

    // A vector's worth of a group's output channels at a time, for they are neighbours in the sums.
    void scatter(const T* sums, const Images<T>& w, bool accumulate, int threads) const {
        const index_t lanes = kernels<T>().plane->lanes, blocks = ceil_div(group_out_, lanes);
        parallel_for(s_.groups * blocks, threads, [&](index_t block) {
            const index_t group = block / blocks, o = block % blocks * lanes;
            scatter_channels(std::min(lanes, group_out_ - o), sums + group * taps_ * group_out_ + o,
                             w.data + (group * group_out_ + o) * w.strides[0], w, accumulate);
        });
    }

    void scatter_channels(index_t channels, const T* from, T* to, const Images<T>& w, bool accumulate) const {
        const index_t kh = s_.kernel_height, kw = s_.kernel_width;
        const auto [out, in, rows, cols] = w.strides;
        if (cols == 1 && rows == kw && in == kh * kw)
            return kernels<T>().plane->scatter_sums(channels, taps_, from, group_out_, to, out, accumulate);
        for (index_t tap = 0; tap < taps_; ++tap, from += group_out_)
            for (index_t o = 0; o < channels; ++o) {
                T& weight = to[o * out + tap / (kh * kw) * in + tap / kw % kh * rows + tap % kw * cols];
                weight = accumulate ? weight + from[o] : from[o];
            }
    }

    void write_biases(const T* sums, T* to, bool accumulate) const {
        if (!to) return;
        if (accumulate)
            gemm_.add_row(s_.out_channels, sums, to);
        else
            std::copy_n(sums, s_.out_channels, to);
    }

    const Conv2dShape& s_;
    const Images<const T>& grad_;
    const Images<const T>& x_;
    const GemmKernels<T>& gemm_ = *kernels<T>().gemm;
    PlaneLayout layout_;
    index_t group_in_, group_out_;
    index_t columns_;  // the output channels of a group, in whole vectors
    index_t taps_;
    Scratch<index_t> offsets_;
    index_t chunk_, chunks_, size_;
};

// The bias's gradient by itself.
template <class T>
void sum_planes(const Conv2dShape& s, const Images<const T>& grad, T* sums, bool accumulate) {
    constexpr index_t kChannels = 64;  // of one task
    const double elements = static_cast<double>(s.batch * s.out_channels * s.out_height() * s.out_width());
    const auto add_row = kernels<T>().gemm->add_row;
    parallel_for(ceil_div(s.out_channels, kChannels), threads_for(elements), [&](index_t task) {
        const index_t first = task * kChannels, count = std::min(kChannels, s.out_channels - first);
        T of_image[kChannels], of_all[kChannels] = {};
        for (index_t image = 0; image < s.batch; ++image) {
            sums_of_planes(s, grad, image, first, count, of_image);
            add_row(count, of_image, of_all);
        }
        if (accumulate)
            add_row(count, of_all, sums + first);
        else
            std::copy_n(of_all, count, sums + first);
    });
}

// The gradient of nothing.
template <class T>
void clear(const Conv2dShape& s, const Images<T>& w, T* grad_bias) {
    const index_t in = s.in_channels / s.groups, kh = s.kernel_height, kw = s.kernel_width;
    if (grad_bias) std::fill_n(grad_bias, s.out_channels, T{});
    const bool dense = w.strides[3] == 1 && w.strides[2] == kw && w.strides[1] == kh * kw;
    for (index_t o = 0; o < s.out_channels; ++o) {
        T* to = w.data + o * w.strides[0];
        if (dense) {
            std::fill_n(to, in * kh * kw, T{});
            continue;
        }
        for (index_t c = 0; c < in; ++c)
            for (index_t i = 0; i < kh; ++i)
                for (index_t j = 0; j < kw; ++j)
                    to[c * w.strides[1] + i * w.strides[2] + j * w.strides[3]] = T{};
    }
}

}  // namespace

template <class T>
void conv2d_backward_weights(const Conv2dShape& whole, const Images<const T>& grad, const Images<const T>& x,
                             const Images<T>& whole_grad_w, T* grad_bias, bool accumulate) {
    if (whole.out_channels == 0) return;
    const ReadTaps taps(whole);
    if (!accumulate && (whole.batch == 0 || !taps.all())) clear(whole, whole_grad_w, grad_bias);
    if (whole.batch == 0) return;
    const Conv2dShape& shape = taps.shape;
    const Images<T> grad_w = taps.of(whole_grad_w);
    FlushDenormals flush;
    if (is_depthwise(shape) && has_unit_columns(grad) && has_unit_columns(x))
        return depthwise_backward_weights(shape, grad, x, grad_w, grad_bias, accumulate);
    const Conv2dChoice<T> choice = choose_algorithm<T>(shape, Conv2dPass::backward_weights);
    if (choice.transforms) {
        winograd_backward_weights(*choice.transforms, shape, grad, x, grad_w, accumulate);
        if (grad_bias) sum_planes(shape, grad, grad_bias, accumulate);
    } else if (choice.is_channels_last()) {
        channels_last_backward_weights(shape, grad, x, grad_w, accumulate);
        if (grad_bias) sum_planes(shape, grad, grad_bias, accumulate);
    } else {
        BackwardWeights<T>(shape, grad, x).run(grad_w, grad_bias, accumulate);
    }
}

template void conv2d_backward_weights(const Conv2dShape&, const Images<const float>&,
                                      const Images<const float>&, const Images<float>&, float*, bool);
template void conv2d_backward_weights(const Conv2dShape&, const Images<const double>&,
                                      const Images<const double>&, const Images<double>&, double*, bool);

}  // namespace ranvier
