// The gradient to the input with neighbouring channels: for each phase of the stride a product of the
// output's gradient with those taps of the weights that reach the phase; tasks are some rows of the gradient.
//
// In the terms of planes.h: pixel (U, V) of phase (r, c) has the sum over the phase's taps, with shifts (a,
// b), of the gradient's pixel (U - a, V - b).
#include "channels_last.h"
#include "conv2d_channels_last.h"
#include "pixel_products.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

// As in the forward pass.
constexpr index_t kHeld = 96 << 10;
constexpr index_t kLeastPixels = 96;

// The taps of all phases, phase by phase, as (i, j), and where each phase's begin.
class PhaseTaps {
public:
    PhaseTaps(const Axis& rows, const Axis& cols)
        : cols_(cols.stride), taps_(rows.kernel * cols.kernel), first_(rows.stride * cols.stride + 1) {
        index_t* tap = taps_.data();
        for (index_t phase = 0; phase < rows.stride * cols.stride; ++phase) {
            first_.data()[phase] = tap - taps_.data();
            for (index_t i = 0; i < rows.kernel; ++i)
                for (index_t j = 0; j < cols.kernel; ++j)
                    if (rows.phase(i) == phase / cols.stride && cols.phase(j) == phase % cols.stride)
                        *tap++ = i * cols.kernel + j;
        }
        first_.data()[rows.stride * cols.stride] = tap - taps_.data();
    }

    index_t first(index_t phase) const { return first_.data()[phase]; }
    index_t count(index_t phase) const { return first(phase + 1) - first(phase); }
    // The k-th of all, as its place in the kernel.
    index_t tap(index_t k) const { return taps_.data()[k]; }
    index_t phase_of(index_t r, index_t c) const { return r * cols_ + c; }

private:
    index_t cols_;
    Scratch<index_t> taps_, first_;
};

template <class T>
index_t packed_size(const Conv2dShape& s) {
    return round_up(s.in_channels, kernels<T>().plane->lanes) * s.out_channels * s.kernel_height *
           s.kernel_width;
}

template <class T>
class ChannelsLastBackwardInput {
public:
    ChannelsLastBackwardInput(const Conv2dShape& shape, const Images<const T>& grad, const T* packed,
                              const Images<T>& grad_x)
        : s_(shape),
          grad_(grad),
          packed_(packed),
          rows_(rows_of(shape)),
          cols_(cols_of(shape)),
          taps_(rows_, cols_),
          in_(round_up(shape.in_channels, kernels<T>().plane->lanes)),
          out_(round_up(shape.out_channels, kernels<T>().plane->lanes)),
          window_(first_read(cols_, 0)),
          width_(last_read(cols_, cols_.size - 1) - window_ + 1),
          offsets_(rows_.kernel * cols_.kernel),
          writer_(grad_x, shape.in_channels, cols_.size, nullptr, Activation::identity, T{}) {
        for (index_t k = 0; k < rows_.kernel * cols_.kernel; ++k) {
            const index_t i = taps_.tap(k) / cols_.kernel, j = taps_.tap(k) % cols_.kernel;
            offsets_.data()[k] = -(rows_.shift(i) * width_ + cols_.shift(j)) * out_;
        }
    }

    void run() const {
        const int threads = threads_for(convolution_work(s_));
        const index_t rows = s_.batch * rows_.size;
        const index_t held = kHeld / (cols_.size * 2 * in_ + ceil_div(width_ * out_, rows_.stride));
        const index_t least = ceil_div(kLeastPixels, cols_.size);
        const index_t shared = threads == 1 ? rows : ceil_div(rows, 4 * threads);
        const index_t count = std::max(least, std::min(held, shared));
        parallel_for(ceil_div(rows, count), threads,
                     [&](index_t task) { compute(task * count, std::min(count, rows - task * count)); });
    }

private:
    // The gradient's rows (or columns) that a row of the input meets, which may lie outside of it.
    static index_t last_read(const Axis& axis, index_t row) { return (row + axis.padding) / axis.stride; }
    static index_t first_read(const Axis& axis, index_t row) {
        return last_read(axis, row) - axis.most_shift();
    }
    // The first row (or column) of the input from that one on that is in the phase.
    static index_t first_in_phase(const Axis& axis, index_t phase, index_t row) {
        return round_up(row + axis.padding - phase, axis.stride) + phase - axis.padding;
    }
    index_t height_for(index_t row, index_t rows) const {
        return last_read(rows_, row + rows - 1) - first_read(rows_, row) + 1;
    }

    // `count` rows of the gradient to the input from `first` on.
    void compute(index_t first, index_t count) const {
        const index_t pixels = count * cols_.size;
        index_t height = 0;
        for_each_image(rows_.size, first, count,
                       [&](index_t, index_t row, index_t rows) { height += height_for(row, rows); });
        Scratch<T> source(height * width_ * out_), sums(pixels * in_);
        T* to = source.data();
        for_each_image(rows_.size, first, count, [&](index_t image, index_t row, index_t rows) {
            const index_t u = first_read(rows_, row), heights = height_for(row, rows);
            gather_window(grad_, image, s_.out_channels, rows_.out, cols_.out, {u, heights, window_, width_},
                          to, out_);
            to += heights * width_ * out_;
        });
        for (index_t r = 0; r < rows_.stride; ++r)
            for (index_t c = 0; c < cols_.stride; ++c)
                multiply(first, count, r, c, source.data(), sums.data());
        const T* from = sums.data();
        for_each_image(rows_.size, first, count, [&](index_t image, index_t row, index_t rows) {
            for (index_t c = 0; c < s_.in_channels; c += kernels<T>().plane->lanes)
                writer_.write(from + c, cols_.size * in_, in_, image, c, row, rows);
            from += rows * cols_.size * in_;
        });
    }

    // The pixels of one phase: their places among the task's pixels, and where they read.
    void multiply(index_t first, index_t count, index_t r, index_t c, const T* source, T* sums) const {
        Scratch<index_t> memory(2 * count * cols_.size);
        index_t *places = memory.data(), *offsets = places + count * cols_.size;
        index_t pixels = 0, row_of_task = 0, row_of_source = 0;
        const index_t column = first_in_phase(cols_, c, 0);
        if (column >= cols_.size) return;
        for_each_image(rows_.size, first, count, [&](index_t, index_t row, index_t rows) {
            for (index_t y = first_in_phase(rows_, r, row); y < row + rows; y += rows_.stride) {
                const index_t line = row_of_source + last_read(rows_, y) - first_read(rows_, row);
                index_t x = column, offset = (line * width_ + last_read(cols_, x) - window_) * out_;
                for (; x < cols_.size; x += cols_.stride, offset += out_, ++pixels) {
                    places[pixels] = (row_of_task + y - row) * cols_.size + x;
                    offsets[pixels] = offset;
                }
            }
            row_of_task += rows;
            row_of_source += height_for(row, rows);
        });
        const index_t phase = taps_.phase_of(r, c), skipped = taps_.first(phase);
        if (taps_.count(phase) == 0) {
            for (index_t k = 0; k < pixels; ++k) std::fill_n(sums + places[k] * in_, in_, T{});
            return;
        }
        const bool all = pixels == count * cols_.size;
        Scratch<T> products(all ? 0 : pixels * in_);
        const PackedPanels<T> panels = {s_.out_channels, taps_.count(phase), in_};
        multiply_pixels(pixels, source, offsets, offsets_.data() + skipped, {0, panels.taps}, panels,
                        packed_ + skipped * in_ * s_.out_channels, 0, in_, all ? sums : products.data(), in_);
        for (index_t k = 0; !all && k < pixels; ++k)
            std::copy_n(products.data() + k * in_, in_, sums + places[k] * in_);
    }

    const Conv2dShape& s_;
    const Images<const T>& grad_;
    const T* packed_;
    Axis rows_, cols_;
    PhaseTaps taps_;
    index_t in_, out_;        // channels, in whole vectors
    index_t window_, width_;  // the columns of the gradient that are read
    Scratch<index_t> offsets_;
    ChannelWriter<T> writer_;
};

// The weights of one group: of each phase, with the gradient's channels as the inputs.
template <class T>
class PhasePacking {
public:
    PhasePacking(const Conv2dShape& shape, const Images<const T>& w, T* to)
        : s_(shape),
          w_(w),
          to_(to),
          taps_(rows_of(shape), cols_of(shape)),
          inputs_(round_up(shape.in_channels, plane_.lanes)),
          kernel_(shape.kernel_height * shape.kernel_width) {}

    void run() const {
        const int threads = threads_for(static_cast<double>(packed_size<T>(s_)));
        const index_t most = std::max<index_t>(1, kGathered / (kernel_ * plane_.lanes));
        parallel_for(inputs_ / plane_.lanes, threads, [&](index_t task) {
            for (index_t o = 0; o < s_.out_channels; o += most)
                pack(task * plane_.lanes, o, std::min(most, s_.out_channels - o));
        });
    }

private:
    static constexpr index_t kGathered = 4096;  // elements at once, which stay in the first-level cache

    // A vector's worth of input channels from c on, for `count` output channels from o on.
    void pack(index_t c, index_t o, index_t count) const {
        Scratch<T> vectors(count * kernel_ * plane_.lanes);
        const auto [out, in, down, right] = w_.strides;
        gather_taps(std::min(plane_.lanes, s_.in_channels - c), count, s_.kernel_height, s_.kernel_width,
                    w_.data + o * out + c * in, in, out, down, right, vectors.data());
        for (index_t phase = 0; phase < s_.stride_height * s_.stride_width; ++phase)
            if (taps_.count(phase) > 0) pack_phase(phase, c, o, count, vectors.data());
    }

    void pack_phase(index_t phase, index_t c, index_t o, index_t count, const T* vectors) const {
        const PackedPanels<T> panels = {s_.out_channels, taps_.count(phase), inputs_};
        const index_t panel = c / panels.panel * panels.panel, skipped = taps_.first(phase);
        T* to = to_ + skipped * inputs_ * s_.out_channels + c - panel;
        for (index_t done = 0; done < count;) {  // the part in each block of the depth
            const index_t now = std::min(count - done, panels.block - (o + done) % panels.block);
            for (index_t t = 0; t < panels.taps; ++t)
                plane_.copy_rows(
                    now, plane_.lanes, vectors + (done * kernel_ + taps_.tap(skipped + t)) * plane_.lanes,
                    kernel_ * plane_.lanes, to + panels.at(panel, o + done, t), panels.width(panel));
            done += now;
        }
    }

    const Conv2dShape& s_;
    const Images<const T>& w_;
    T* to_;
    const PlaneKernels<T>& plane_ = *kernels<T>().plane;
    PhaseTaps taps_;
    index_t inputs_, kernel_;
};

// All groups, one behind the other.
template <class T>
void pack_groups(const Conv2dShape& shape, const Images<const T>& w, T* to) {
    const Conv2dShape s = shape_of_group(shape);
    const index_t size = packed_size<T>(s);
    for_each_group(shape, [&](index_t g) {
        const Images<const T> from = from_output(w, g * s.out_channels);
        PhasePacking<T>(s, from, to + g * size).run();
    });
}

}  // namespace

template <class T>
void channels_last_backward_input(const Conv2dShape& shape, const Images<const T>& grad,
                                  const Images<const T>& w, const T* packed, const Images<T>& grad_x) {
    const Conv2dShape s = shape_of_group(shape);
    const index_t size = packed_size<T>(s);
    Scratch<T> memory(packed ? 0 : shape.groups * size);
    if (!packed) {
        pack_groups(shape, w, memory.data());
        packed = memory.data();
    }
    for_each_group(shape, [&](index_t g) {
        const Images<const T> from = some_channels(grad, g * s.out_channels, s.out_channels);
        const Images<T> to = some_channels(grad_x, g * s.in_channels, s.in_channels);
        ChannelsLastBackwardInput<T>(s, from, packed + g * size, to).run();
    });
}

template <class T>
void pack_backward_input(const Conv2dShape& shape, const Images<const T>& w, Buffer<T>& to) {
    const index_t size = shape.groups * packed_size<T>(shape_of_group(shape));
    if (to.size() != size) to = Buffer<T>(size);
    pack_groups(shape, w, to.data());
}

#define RANVIER_INSTANTIATE(T)                                                                      \
    template void channels_last_backward_input(const Conv2dShape&, const Images<const T>&,          \
                                               const Images<const T>&, const T*, const Images<T>&); \
    template void pack_backward_input(const Conv2dShape&, const Images<const T>&, Buffer<T>&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
