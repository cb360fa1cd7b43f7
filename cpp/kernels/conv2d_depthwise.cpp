// Depthwise convolution, forward and to the input. The gradient to the input with stride 1 is the forward
// pass of the output's gradient with the kernel turned round; with a larger stride, each residue of the rows
// and columns has some of the taps, and the residues of a row are interleaved in registers.
#include "conv2d_depthwise.h"

#include "depthwise_layout.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

template <class T>
struct Kernel {
    const T* first;  // of the first channel, the first tap that is read
    index_t step;    // to the next one, 1 or -1
};

template <class T>
class Depthwise {
public:
    Depthwise(const Axis& rows, const Axis& cols, index_t batch, index_t channels, const Images<const T>& x,
              const Kernel<T>& w, const T* bias, const Images<T>& y, Activation activation, T parameter)
        : rows_(rows),
          cols_(cols),
          batch_(batch),
          channels_(channels),
          x_(x),
          w_(w),
          bias_(bias),
          y_(y),
          activation_(activation),
          parameter_(parameter) {}

    void run() const {
        const double work =
            static_cast<double>(rows_.out * cols_.out) * static_cast<double>(rows_.kernel * cols_.kernel);
        const index_t block = channels_of_task(channels_, work), blocks = ceil_div(channels_, block);
        const int threads = threads_for(work / 6 * static_cast<double>(batch_ * channels_));
        const auto each_block = [&](auto&& body) {
            parallel_for(batch_ * blocks, threads, [&](index_t task) {
                const index_t first = task % blocks * block;
                body(task / blocks, first, std::min(block, channels_ - first));
            });
        };
        if (FlatPlanes<T>::suit(rows_, cols_, x_.strides[2]) && y_.strides[2] == cols_.out) {
            const FlatPlanes<T> flat(rows_, cols_);
            return each_block(
                [&](index_t image, index_t first, index_t count) { run_flat(flat, image, first, count); });
        }
        const PaddedRows padded(rows_, cols_, kCopied<T>, kernel_.lanes);
        each_block(
            [&](index_t image, index_t first, index_t count) { run_rows(padded, image, first, count); });
    }

private:
    const T* source(index_t image, index_t channel) const {
        return x_.data + image * x_.strides[0] + channel * x_.strides[1];
    }
    T* target(index_t image, index_t channel) const {
        return y_.data + image * y_.strides[0] + channel * y_.strides[1];
    }
    const T* weights(index_t channel) const { return w_.first + channel * rows_.kernel * cols_.kernel; }
    const T* bias(index_t channel) const { return bias_ ? bias_ + channel : nullptr; }

    void run_rows(const PaddedRows& padded, index_t image, index_t first, index_t count) const {
        const index_t together = std::min(padded.together, count);
        Scratch<T> memory(together * padded.size);
        std::fill_n(memory.data(), together * padded.size, T{});
        const TapGrid taps = padded.taps();
        for (index_t c = first; c < first + count; c += together) {
            const index_t now = std::min(together, first + count - c);
            for (index_t y0 = 0; y0 < rows_.out; y0 += padded.band) {
                const index_t lines = std::min(padded.band, rows_.out - y0);
                for (index_t k = 0; k < now; ++k)
                    padded.copy(source(image, c + k), x_.strides[2], y0, lines,
                                memory.data() + k * padded.size);
                for (index_t k = 0; k < now; ++k) {
                    T* to = target(image, c + k) + y0 * y_.strides[2];
                    kernel_.correlate(lines, cols_.out, taps, weights(c + k), w_.step,
                                      memory.data() + k * padded.size, bias(c + k), to, y_.strides[2]);
                    activate(lines, to);
                }
            }
        }
    }

    void run_flat(const FlatPlanes<T>& flat, index_t image, index_t first, index_t count) const {
        const index_t together = flat.copied() ? std::min(kMostTogether, count) : count;
        Scratch<T> memory(flat.copied() ? together * flat.channel : 0);
        for (index_t c = first; c < first + count; c += together) {
            const index_t now = std::min(together, first + count - c);
            for (index_t k = 0; flat.copied() && k < now; ++k)
                flat.copy(source(image, c + k), x_.strides[2], memory.data() + k * flat.channel);
            kernel_.correlate_flat(now, flat.pixels, flat.count, flat.taps.data(), flat.masks.data(),
                                   weights(c), w_.step, flat.copied() ? memory.data() : source(image, c),
                                   flat.copied() ? flat.channel : x_.strides[1], bias(c), target(image, c),
                                   y_.strides[1]);
            for (index_t k = 0; k < now; ++k) activate(rows_.out, target(image, c + k));
        }
    }

    // Some rows of one channel.
    void activate(index_t lines, T* to) const {
        if (activation_ == Activation::identity) return;
        const auto f = kernels<T>().elementwise->activation[static_cast<int>(activation_)];
        if (y_.strides[2] == cols_.out) return f(lines * cols_.out, to, to, parameter_);
        for (index_t i = 0; i < lines; ++i, to += y_.strides[2]) f(cols_.out, to, to, parameter_);
    }

    const Axis rows_, cols_;
    index_t batch_, channels_;
    const Images<const T>& x_;
    Kernel<T> w_;
    const T* bias_;
    const Images<T>& y_;
    Activation activation_;
    T parameter_;
    const DepthwiseKernels<T>& kernel_ = *kernels<T>().depthwise;
};

// One axis of a transposed convolution: position stride * m + residue of the input's gradient is met by those
// taps for which residue + padding - tap * dilation is a multiple of the stride, at that multiple beyond m.
struct TransposedAxis {
    Axis axis;              // of the forward pass
    index_t residues;       // that there are
    index_t before, reach;  // positions in front of m that a tap reaches, and over which all of them reach

    explicit TransposedAxis(const Axis& forward)
        : axis(forward), residues(std::min(forward.stride, forward.size)) {
        index_t least = 0, most = 0;
        bool any = false;
        for (index_t residue = 0; residue < residues; ++residue)
            for (index_t tap = 0; tap < axis.kernel; ++tap) {
                if (!meets(residue, tap)) continue;
                least = any ? std::min(least, offset(residue, tap)) : offset(residue, tap);
                most = any ? std::max(most, offset(residue, tap)) : offset(residue, tap);
                any = true;
            }
        before = -least;
        reach = most - least + 1;
    }

    bool meets(index_t residue, index_t tap) const { return multiple(residue, tap) % axis.stride == 0; }
    index_t offset(index_t residue, index_t tap) const { return multiple(residue, tap) / axis.stride; }
    // Positions of a residue.
    index_t count(index_t residue) const {
        return residue < axis.size ? ceil_div(axis.size - residue, axis.stride) : 0;
    }
    // The output's gradient as the source of a convolution that has all of those offsets.
    Axis source() const { return {axis.out, count(0), reach, 1, before, 1}; }

private:
    index_t multiple(index_t residue, index_t tap) const {
        return residue + axis.padding - tap * axis.dilation;
    }
};

template <class T>
class TransposedDepthwise {
public:
    TransposedDepthwise(const Conv2dShape& shape, const Images<const T>& grad, const T* w,
                        const Images<T>& grad_x)
        : s_(shape),
          grad_(grad),
          grad_x_(grad_x),
          w_(w),
          rows_(rows_of(shape)),
          cols_(cols_of(shape)),
          padded_(rows_.source(), cols_.source(), kCopied<T>, kernel_.lanes),
          count_(shape.kernel_height * shape.kernel_width),
          residues_(std::max<index_t>(2, cols_.residues)),
          taps_(count_),
          offsets_(count_),
          counts_(rows_.residues * residues_) {
        fill_tables();
    }

    void run() const {
        const double work =
            static_cast<double>(s_.out_height() * s_.out_width()) * static_cast<double>(count_);
        const index_t block = channels_of_task(s_.in_channels, work),
                      blocks = ceil_div(s_.in_channels, block);
        const int threads = threads_for(work / 6 * static_cast<double>(s_.batch * s_.in_channels));
        parallel_for(s_.batch * blocks, threads, [&](index_t task) {
            const index_t first = task % blocks * block;
            run_block(task / blocks, first, std::min(block, s_.in_channels - first));
        });
    }

private:
    // The taps of each residue of the rows, and in these of each residue of the columns.
    void fill_tables() {
        index_t k = 0;
        for (index_t r = 0; r < rows_.residues; ++r)
            for (index_t c = 0; c < residues_; ++c) {
                const index_t begin = k;
                for (index_t i = 0; i < s_.kernel_height; ++i)
                    for (index_t j = 0; j < s_.kernel_width; ++j) {
                        if (!rows_.meets(r, i) || !cols_.meets(c, j) || c >= cols_.residues) continue;
                        taps_.data()[k] = i * s_.kernel_width + j;
                        offsets_.data()[k++] = (rows_.offset(r, i) + rows_.before) * padded_.pitch +
                                               padded_.lead + cols_.offset(c, j) + cols_.before;
                    }
                counts_.data()[r * residues_ + c] = k - begin;
            }
        total_ = k;
    }

    void run_block(index_t image, index_t first, index_t count) const {
        const index_t together = std::min(padded_.together, count);
        Scratch<T> memory(together * padded_.size), weights(count_);
        std::fill_n(memory.data(), together * padded_.size, T{});
        for (index_t c = first; c < first + count; c += together) {
            const index_t now = std::min(together, first + count - c);
            for (index_t m0 = 0; m0 < padded_.rows.out; m0 += padded_.band) {
                const index_t lines = std::min(padded_.band, padded_.rows.out - m0);
                for (index_t k = 0; k < now; ++k)
                    padded_.copy(grad_.data + image * grad_.strides[0] + (c + k) * grad_.strides[1],
                                 grad_.strides[2], m0, lines, memory.data() + k * padded_.size);
                for (index_t k = 0; k < now; ++k) {
                    for (index_t t = 0; t < total_; ++t)
                        weights.data()[t] = w_[(c + k) * count_ + taps_.data()[t]];
                    spread(image, c + k, m0, lines, weights.data(), memory.data() + k * padded_.size);
                }
            }
        }
    }

    // The rows stride * m + residue of one channel, m from m0 on.
    void spread(index_t image, index_t channel, index_t m0, index_t lines, const T* weights,
                const T* from) const {
        T* to = grad_x_.data + image * grad_x_.strides[0] + channel * grad_x_.strides[1];
        const index_t* offsets = offsets_.data();
        for (index_t r = 0; r < rows_.residues; ++r) {
            const index_t* counts = counts_.data() + r * residues_;
            const index_t rows = std::min(lines, rows_.count(r) - m0);
            if (rows > 0)
                kernel_.spread(rows, s_.in_width, {s_.stride_width, counts, offsets, weights}, from,
                               padded_.pitch, to + (m0 * s_.stride_height + r) * grad_x_.strides[2],
                               s_.stride_height * grad_x_.strides[2]);
            for (index_t c = 0; c < residues_; ++c) {
                offsets += counts[c];
                weights += counts[c];
            }
        }
    }

    const Conv2dShape& s_;
    const Images<const T>& grad_;
    const Images<T>& grad_x_;
    const T* w_;
    const DepthwiseKernels<T>& kernel_ = *kernels<T>().depthwise;
    TransposedAxis rows_, cols_;
    PaddedRows padded_;
    index_t count_, total_ = 0;
    index_t residues_;  // of the columns, as many as the tables have
    Scratch<index_t> taps_, offsets_, counts_;
};

// The forward pass that the gradient to the input is, if the stride is 1.
Axis reversed(const Axis& a) {
    return {a.out, a.size, a.kernel, 1, (a.kernel - 1) * a.dilation - a.padding, a.dilation};
}

}  // namespace

bool is_depthwise(const Conv2dShape& s) {
    return s.groups == s.in_channels && s.groups == s.out_channels && s.in_channels > 0;
}

template <class T>
void depthwise_forward(const Conv2dShape& s, const Images<const T>& x, const Images<const T>& w,
                       const T* bias, const Images<T>& y, Activation activation, T parameter) {
    Scratch<T> memory(s.out_channels * s.kernel_height * s.kernel_width);
    const Kernel<T> kernel = {contiguous_weights(s, w, memory.data()), 1};
    Depthwise<T>(rows_of(s), cols_of(s), s.batch, s.in_channels, x, kernel, bias, y, activation, parameter)
        .run();
}

template <class T>
void depthwise_backward_input(const Conv2dShape& s, const Images<const T>& grad, const Images<const T>& w,
                              const Images<T>& grad_x) {
    const index_t taps = s.kernel_height * s.kernel_width;
    Scratch<T> memory(s.out_channels * taps);
    const T* weights = contiguous_weights(s, w, memory.data());
    if (s.stride_height != 1 || s.stride_width != 1)
        return TransposedDepthwise<T>(s, grad, weights, grad_x).run();
    Depthwise<T>(reversed(rows_of(s)), reversed(cols_of(s)), s.batch, s.in_channels, grad,
                 {weights + taps - 1, -1}, nullptr, grad_x, Activation::identity, T{})
        .run();
}

#define RANVIER_INSTANTIATE(T)                                                                          \
    template void depthwise_forward(const Conv2dShape&, const Images<const T>&, const Images<const T>&, \
                                    const T*, const Images<T>&, Activation, T);                         \
    template void depthwise_backward_input(const Conv2dShape&, const Images<const T>&,                  \
                                           const Images<const T>&, const Images<T>&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
