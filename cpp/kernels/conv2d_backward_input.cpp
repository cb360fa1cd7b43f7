// The gradient of a convolution to its input: for each phase of the stride, a convolution with stride 1 of
// the zero-padded gradient with those taps of the weights that reach the phase.
//
// In the terms of planes.h: phase (r, c) of the padded input's gradient is
// G[U][V] = sum over output channels o and taps (i, j) of that phase of w[o][.][i][j] grad[o][U - a][V - b].
#include "../platform/denormals.h"
#include "conv2d_algorithm.h"
#include "conv2d_channels_last.h"
#include "conv2d_depthwise.h"
#include "conv2d_pointwise.h"
#include "conv2d_taps.h"
#include "planes.h"
#include "ranvier/conv2d.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"
#include "winograd.h"

namespace ranvier {
namespace {

constexpr index_t kChannelBlock = 16;
constexpr index_t kBlockPixels = 1024;

// The positions U of one phase along one axis whose pixels, U * stride + phase - padding, are in the image.
struct PhaseRange {
    index_t first, count;

    PhaseRange(const Axis& axis, index_t phase) {
        const index_t before = axis.padding - phase;
        first = before > 0 ? ceil_div(before, axis.stride) : 0;
        const index_t end = axis.size + before > 0 ? ceil_div(axis.size + before, axis.stride) : 0;
        count = std::max<index_t>(0, end - first);
    }
};

// The phases that have any position in the image are the first so many.
index_t phases_of(const Axis& axis) { return std::min(axis.stride, axis.size + axis.padding); }

// Along one axis the gradient is stored with `before` zeros in front and zeros up to `size`.
struct PaddedAxis {
    index_t before, size;

    explicit PaddedAxis(const Axis& axis)
        : before(axis.most_shift()),
          size(axis.most_shift() + std::max(axis.out, (axis.size - 1 + axis.padding) / axis.stride + 1)) {}
};

struct Phase {
    index_t row_phase, col_phase;
    PhaseRange rows, cols;
    const index_t* taps;  // where the weights of those that reach the phase lie, from the first tap's
    index_t tap_count;
    const index_t* offsets;  // from pixel (rows.first, cols.first) of the padded gradient
    index_t depth;           // how many offsets
    index_t weights;         // where its weights begin: (input channels, depth)
};

template <class T>
class BackwardInput {
public:
    BackwardInput(const Conv2dShape& shape, const Images<const T>& grad, const Images<const T>& w,
                  const Images<T>& grad_x)
        : s_(shape),
          grad_(grad),
          w_(w),
          grad_x_(grad_x),
          rows_(rows_of(shape)),
          cols_(cols_of(shape)),
          padded_rows_(rows_),
          padded_cols_(cols_),
          plane_(padded_rows_.size * padded_cols_.size),
          block_rows_(std::max<index_t>(1, kBlockPixels / padded_cols_.size)),
          group_in_(shape.in_channels / shape.groups),
          group_out_(shape.out_channels / shape.groups),
          phases_(phases_of(rows_) * phases_of(cols_)),
          tables_(rows_.kernel * cols_.kernel * (1 + group_out_)) {
        index_t* table = tables_.data();
        for (index_t r = 0; r < phases_of(rows_); ++r)
            for (index_t c = 0; c < phases_of(cols_); ++c) table = add_phase(r, c, table);
    }

    // Elements of the weights of all phases.
    index_t weights_size() const { return weights_size_; }

    void run(T* weights) {
        weights_ = weights;
        const int threads = threads_for(convolution_work(s_));
        parallel_for(ceil_div(s_.in_channels, kChannelBlock), threads,
                     [&](index_t block) { arrange_weights(block, weights); });
        const index_t size = s_.out_channels * plane_;
        index_t blocks = 1;  // of rows, in the phase that has most
        for (index_t p = 0; p < phase_count_; ++p)
            blocks = std::max(blocks, (phases_.data()[p].rows.count + block_rows_ - 1) / block_rows_);
        const auto multiply_task = [&](index_t image, index_t task, const T* padded) {
            const Phase& phase = phases_.data()[task / blocks % phase_count_];
            multiply(image, task / blocks / phase_count_, phase, task % blocks * block_rows_, padded);
        };
        const index_t tasks = s_.groups * phase_count_ * blocks;
        if (s_.batch >= threads) {
            parallel_for(s_.batch, threads, [&](index_t image) {
                Scratch<T> padded(size);
                for (index_t o = 0; o < s_.out_channels; ++o) copy(image, o, padded.data());
                for (index_t task = 0; task < tasks; ++task) multiply_task(image, task, padded.data());
            });
            return;
        }
        Scratch<T> padded(size);
        T* shared = padded.data();
        for (index_t image = 0; image < s_.batch; ++image) {
            parallel_for(s_.out_channels, threads, [&](index_t o) { copy(image, o, shared); });
            parallel_for(tasks, threads, [&](index_t task) { multiply_task(image, task, shared); });
        }
    }

private:
    // Writes the phase's taps and offsets to the table; returns the table's next free place.
    index_t* add_phase(index_t r, index_t c, index_t* table) {
        Phase phase = {r, c, PhaseRange(rows_, r), PhaseRange(cols_, c), table, 0, nullptr, 0, weights_size_};
        if (phase.rows.count == 0 || phase.cols.count == 0) return table;
        each_tap(r, c, [&](index_t i, index_t j) { *table++ = i * w_.strides[2] + j * w_.strides[3]; });
        phase.tap_count = table - phase.taps;
        phase.offsets = table;
        const index_t corner = (phase.rows.first + padded_rows_.before) * padded_cols_.size +
                               phase.cols.first + padded_cols_.before;
        for (index_t o = 0; o < group_out_; ++o)
            each_tap(r, c, [&](index_t i, index_t j) {
                *table++ = corner + o * plane_ - rows_.shift(i) * padded_cols_.size - cols_.shift(j);
            });
        phase.depth = group_out_ * phase.tap_count;
        weights_size_ += s_.in_channels * phase.depth;
        phases_.data()[phase_count_++] = phase;
        return table;
    }

    template <class Body>
    void each_tap(index_t row_phase, index_t col_phase, Body&& body) const {
        for (index_t i = 0; i < rows_.kernel; ++i)
            for (index_t j = 0; j < cols_.kernel; ++j)
                if (rows_.phase(i) == row_phase && cols_.phase(j) == col_phase) body(i, j);
    }

    // The rows of a block of input channels in each phase's weights: (output channels of the group, taps). A
    // block of channels at a time, for each output channel's weights for them are neighbours.
    void arrange_weights(index_t block, T* weights) const {
        const index_t first = block * kChannelBlock, end = std::min(s_.in_channels, first + kChannelBlock);
        for (index_t p = 0; p < phase_count_; ++p)
            for (index_t o = 0; o < group_out_; ++o)
                for (index_t channel = first; channel < end; ++channel)
                    arrange_taps(phases_.data()[p], channel, o, weights);
    }

    void arrange_taps(const Phase& phase, index_t channel, index_t o, T* weights) const {
        const T* from = w_.data + (channel / group_in_ * group_out_ + o) * w_.strides[0] +
                        channel % group_in_ * w_.strides[1];
        T* to = weights + phase.weights + channel * phase.depth + o * phase.tap_count;
        for (index_t t = 0; t < phase.tap_count; ++t) to[t] = from[phase.taps[t]];
    }

    void copy(index_t image, index_t o, T* padded) const {
        T* to = padded + o * plane_;
        const T* from = grad_.data + image * grad_.strides[0] + o * grad_.strides[1];
        if (grad_.strides[3] == 1) {
            const index_t pitch = padded_cols_.size, top = padded_rows_.before * pitch;
            std::fill_n(to, top, T{});
            kernels<T>().plane->pad_rows(rows_.out, cols_.out, from, grad_.strides[2], padded_cols_.before,
                                         pitch - padded_cols_.before - cols_.out, to + top);
            std::fill(to + top + rows_.out * pitch, to + plane_, T{});
            return;
        }
        std::fill_n(to, plane_, T{});
        to += padded_rows_.before * padded_cols_.size + padded_cols_.before;
        for (index_t y = 0; y < rows_.out; ++y)
            for (index_t x = 0; x < cols_.out; ++x)
                to[y * padded_cols_.size + x] = from[y * grad_.strides[2] + x * grad_.strides[3]];
    }

    // The rows of one phase from U0 on, as many as a block has.
    void multiply(index_t image, index_t group, const Phase& phase, index_t U0, const T* padded) const {
        const index_t rows = std::min(block_rows_, phase.rows.count - U0);
        if (rows <= 0) return;
        const index_t pixels = (rows - 1) * padded_cols_.size + phase.cols.count;
        Scratch<T> memory(group_in_ * pixels);
        if (phase.depth == 0) std::fill_n(memory.data(), group_in_ * pixels, T{});
        const T* weights = weights_ + phase.weights + group * group_in_ * phase.depth;
        const T* source = padded + group * group_out_ * plane_ + U0 * padded_cols_.size;
        const index_t length = depth_block<T>(phase.depth);
        for (index_t k0 = 0; k0 < phase.depth; k0 += length)
            gemm_.multiply_b_by_offsets(group_in_, pixels, std::min(length, phase.depth - k0), weights + k0,
                                        phase.depth, 1, source, phase.offsets + k0, memory.data(), pixels,
                                        k0 > 0, nullptr);
        for (index_t c = 0; c < group_in_; ++c)
            scatter(image, group * group_in_ + c, phase, U0, rows, memory.data() + c * pixels);
    }

    void scatter(index_t image, index_t channel, const Phase& phase, index_t U0, index_t rows,
                 const T* values) const {
        const index_t row0 = (phase.rows.first + U0) * rows_.stride + phase.row_phase - rows_.padding;
        const index_t col0 = phase.cols.first * cols_.stride + phase.col_phase - cols_.padding;
        T* to = grad_x_.data + image * grad_x_.strides[0] + channel * grad_x_.strides[1] +
                row0 * grad_x_.strides[2] + col0 * grad_x_.strides[3];
        const index_t row_step = rows_.stride * grad_x_.strides[2],
                      col_step = cols_.stride * grad_x_.strides[3];
        if (col_step == 1)
            return kernels<T>().plane->copy_rows(rows, phase.cols.count, values, padded_cols_.size, to,
                                                 row_step);
        for (index_t U = 0; U < rows; ++U) {
            const T* from = values + U * padded_cols_.size;
            T* line = to + U * row_step;
            for (index_t V = 0; V < phase.cols.count; ++V) line[V * col_step] = from[V];
        }
    }

    const Conv2dShape& s_;
    const Images<const T>& grad_;
    const Images<const T>& w_;
    const Images<T>& grad_x_;
    const GemmKernels<T>& gemm_ = *kernels<T>().gemm;
    Axis rows_, cols_;
    PaddedAxis padded_rows_, padded_cols_;
    index_t plane_, block_rows_, group_in_, group_out_;
    Scratch<Phase> phases_;
    Scratch<index_t> tables_;
    index_t phase_count_ = 0, weights_size_ = 0;
    const T* weights_ = nullptr;
};

// The weights as the convolution back reads them, and whose transposed pass the gradient is.
template <class T>
Images<const T> reversed_weights(const Conv2dShape& s, const Images<const T>& w) {
    const index_t last = (s.kernel_height - 1) * w.strides[2] + (s.kernel_width - 1) * w.strides[3];
    return {w.data + last, {w.strides[1], w.strides[0], -w.strides[2], -w.strides[3]}};
}

}  // namespace

template <class T>
void conv2d_backward_input(const Conv2dShape& whole, const Images<const T>& grad,
                           const Images<const T>& whole_w, const Images<T>& grad_x,
                           const PreparedWeights<T>* prepared) {
    if (whole.batch == 0 || whole.in_channels == 0 || whole.in_height == 0 || whole.in_width == 0) return;
    FlushDenormals flush;
    const ReadTaps taps(whole);
    const Conv2dShape& shape = taps.shape;
    const Images<const T> w = taps.of(whole_w);
    const T* weights = prepared ? prepared->transformed.data() : nullptr;
    if (is_depthwise(shape) && has_unit_columns(grad) && has_unit_columns(grad_x))
        return depthwise_backward_input(shape, grad, w, grad_x);
    const Conv2dChoice<T> choice = choose_algorithm<T>(shape, Conv2dPass::backward_input);
    if (choice.transforms)
        return winograd_forward<T>(*choice.transforms, reversed(shape), grad, reversed_weights(shape, w),
                                   weights, nullptr, grad_x, Activation::identity, T{});
    if (choice.is_channels_last()) return channels_last_backward_input(shape, grad, w, weights, grad_x);
    if (is_pointwise(shape) && is_matrix(grad, shape.in_width) && is_matrix(grad_x, shape.in_width))
        return pointwise_backward_input(shape, grad, w, grad_x);
    BackwardInput<T> pass(shape, grad, w, grad_x);
    Scratch<T> memory(pass.weights_size());
    pass.run(memory.data());
}

template <class T>
void prepare_backward_input(const Conv2dShape& whole, const Images<const T>& whole_w,
                            PreparedWeights<T>& prepared) {
    const ReadTaps taps(whole);
    const Conv2dShape& shape = taps.shape;
    const Images<const T> w = taps.of(whole_w);
    const Conv2dChoice<T> choice = choose_algorithm<T>(shape, Conv2dPass::backward_input);
    if (choice.transforms)
        winograd_transform_weights(*choice.transforms, reversed(shape), reversed_weights(shape, w),
                                   prepared.transformed);
    else if (choice.is_channels_last())
        pack_backward_input(shape, w, prepared.transformed);
}

#define RANVIER_INSTANTIATE(T)                                                                              \
    template void conv2d_backward_input(const Conv2dShape&, const Images<const T>&, const Images<const T>&, \
                                        const Images<T>&, const PreparedWeights<T>*);                       \
    template void prepare_backward_input(const Conv2dShape&, const Images<const T>&, PreparedWeights<T>&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
