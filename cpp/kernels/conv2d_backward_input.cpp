// The gradient of a convolution to its input: for each phase of the stride, a convolution with stride 1 of
// the zero-padded gradient with those taps of the weights that reach the phase.
//
// In the terms of planes.h: phase (r, c) of the padded input's gradient is
// G[U][V] = sum over output channels o and taps (i, j) of that phase of w[o][.][i][j] grad[o][U - a][V - b].
#include "../platform/denormals.h"
#include "kernel_table.h"
#include "planes.h"
#include "ranvier/conv2d.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

// The positions U of one phase along one axis whose pixels, U * stride + phase - padding, are in the image.
struct PhaseRange {
    index_t first, count;

    PhaseRange(const Axis& axis, index_t phase) {
        const index_t before = axis.padding - phase;
        first = before > 0 ? (before + axis.stride - 1) / axis.stride : 0;
        const index_t end = axis.size + before > 0 ? (axis.size + before + axis.stride - 1) / axis.stride : 0;
        count = std::max<index_t>(0, end - first);
    }
};

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
    index_t depth = 0;
    std::vector<index_t> taps;     // i * kernel width + j of those that reach the phase
    std::vector<index_t> offsets;  // from pixel (rows.first, cols.first) of the padded gradient
    index_t weights = 0;           // where its weights begin: (input channels, depth)
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
          group_in_(shape.in_channels / shape.groups),
          group_out_(shape.out_channels / shape.groups) {
        for (index_t r = 0; r < rows_.stride; ++r)
            for (index_t c = 0; c < cols_.stride; ++c) add_phase(r, c);
    }

    // Elements of the weights of all phases.
    index_t weights_size() const { return weights_size_; }

    void run(T* weights) {
        weights_ = weights;
        const int threads = threads_for(convolution_work(s_));
        parallel_for(s_.in_channels, threads, [&](index_t channel) { arrange_weights(channel, weights); });
        const index_t size = s_.out_channels * plane_;
        const auto count = static_cast<index_t>(phases_.size());
        if (s_.batch >= threads) {
            parallel_for(s_.batch, threads, [&](index_t image) {
                Scratch<T> padded(size);
                for (index_t o = 0; o < s_.out_channels; ++o) copy(image, o, padded.data());
                for (index_t task = 0; task < s_.groups * count; ++task)
                    multiply(image, task / count, phases_[task % count], padded.data());
            });
            return;
        }
        Scratch<T> padded(size);
        T* shared = padded.data();
        for (index_t image = 0; image < s_.batch; ++image) {
            parallel_for(s_.out_channels, threads, [&](index_t o) { copy(image, o, shared); });
            parallel_for(s_.groups * count, threads,
                         [&](index_t task) { multiply(image, task / count, phases_[task % count], shared); });
        }
    }

private:
    void add_phase(index_t r, index_t c) {
        Phase phase{r, c, PhaseRange(rows_, r), PhaseRange(cols_, c), 0, {}, {}, weights_size_};
        if (phase.rows.count == 0 || phase.cols.count == 0) return;
        for (index_t i = 0; i < rows_.kernel; ++i)
            for (index_t j = 0; j < cols_.kernel; ++j)
                if (rows_.phase(i) == r && cols_.phase(j) == c) phase.taps.push_back(i * cols_.kernel + j);
        for (index_t o = 0; o < group_out_; ++o)
            for (index_t tap : phase.taps) {
                const index_t a = rows_.shift(tap / cols_.kernel), b = cols_.shift(tap % cols_.kernel);
                phase.offsets.push_back(o * plane_ +
                                        (phase.rows.first - a + padded_rows_.before) * padded_cols_.size +
                                        phase.cols.first - b + padded_cols_.before);
            }
        phase.depth = static_cast<index_t>(phase.offsets.size());
        weights_size_ += s_.in_channels * phase.depth;
        phases_.push_back(std::move(phase));
    }

    // The row of one input channel in each phase's weights: (output channels of its group, taps).
    void arrange_weights(index_t channel, T* weights) const {
        const T* first =
            w_.data + channel / group_in_ * group_out_ * w_.strides[0] + channel % group_in_ * w_.strides[1];
        for (const Phase& phase : phases_) {
            T* to = weights + phase.weights + channel * phase.depth;
            for (index_t o = 0; o < group_out_; ++o)
                for (index_t tap : phase.taps)
                    *to++ = first[o * w_.strides[0] + tap / cols_.kernel * w_.strides[2] +
                                  tap % cols_.kernel * w_.strides[3]];
        }
    }

    void copy(index_t image, index_t o, T* padded) const {
        T* to = padded + o * plane_;
        const T* from = grad_.data + image * grad_.strides[0] + o * grad_.strides[1];
        std::fill_n(to, plane_, T{});
        to += padded_rows_.before * padded_cols_.size + padded_cols_.before;
        for (index_t y = 0; y < rows_.out; ++y)
            for (index_t x = 0; x < cols_.out; ++x)
                to[y * padded_cols_.size + x] = from[y * grad_.strides[2] + x * grad_.strides[3]];
    }

    void multiply(index_t image, index_t group, const Phase& phase, const T* padded) const {
        const index_t pixels = (phase.rows.count - 1) * padded_cols_.size + phase.cols.count;
        Scratch<T> memory(group_in_ * pixels);
        if (phase.depth == 0) std::fill_n(memory.data(), group_in_ * pixels, T{});
        const T* weights = weights_ + phase.weights + group * group_in_ * phase.depth;
        const index_t length = depth_block<T>(phase.depth);
        for (index_t k0 = 0; k0 < phase.depth; k0 += length)
            gemm_.multiply_b_by_offsets(group_in_, pixels, std::min(length, phase.depth - k0), weights + k0,
                                        phase.depth, 1, padded + group * group_out_ * plane_,
                                        phase.offsets.data() + k0, memory.data(), pixels, k0 > 0);
        for (index_t c = 0; c < group_in_; ++c)
            scatter(image, group * group_in_ + c, phase, memory.data() + c * pixels);
    }

    void scatter(index_t image, index_t channel, const Phase& phase, const T* values) const {
        const index_t row0 = phase.rows.first * rows_.stride + phase.row_phase - rows_.padding;
        const index_t col0 = phase.cols.first * cols_.stride + phase.col_phase - cols_.padding;
        T* to = grad_x_.data + image * grad_x_.strides[0] + channel * grad_x_.strides[1] +
                row0 * grad_x_.strides[2] + col0 * grad_x_.strides[3];
        const index_t row_step = rows_.stride * grad_x_.strides[2],
                      col_step = cols_.stride * grad_x_.strides[3];
        for (index_t U = 0; U < phase.rows.count; ++U) {
            const T* from = values + U * padded_cols_.size;
            T* line = to + U * row_step;
            if (col_step == 1)
                std::copy_n(from, phase.cols.count, line);
            else
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
    index_t plane_, group_in_, group_out_;
    std::vector<Phase> phases_;
    index_t weights_size_ = 0;
    const T* weights_ = nullptr;
};

}  // namespace

template <class T>
void conv2d_backward_input(const Conv2dShape& shape, const Images<const T>& grad, const Images<const T>& w,
                           const Images<T>& grad_x) {
    if (shape.batch == 0 || shape.in_channels == 0) return;
    FlushDenormals flush;
    BackwardInput<T> pass(shape, grad, w, grad_x);
    Scratch<T> weights(pass.weights_size());
    pass.run(weights.data());
}

template void conv2d_backward_input(const Conv2dShape&, const Images<const float>&,
                                    const Images<const float>&, const Images<float>&);
template void conv2d_backward_input(const Conv2dShape&, const Images<const double>&,
                                    const Images<const double>&, const Images<double>&);

}  // namespace ranvier
