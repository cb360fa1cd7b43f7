// Activations of arrays: strides and threads around the instruction sets' loops.
#include "ranvier/activation.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>

#include "kernel_table.h"
#include "ranvier/memory.h"
#include "strided.h"

namespace ranvier {
namespace {

// The work of one element in units of threads_for: a transcendental one costs as much as a few memory-bound
// ones.
double cost_of(Activation f) {
    switch (f) {
        case Activation::sigmoid:
        case Activation::tanh:
        case Activation::elu:
        case Activation::softplus:
        case Activation::selu:
        case Activation::gelu:
        case Activation::silu:
        case Activation::mish:
            return 3;
        default:
            return 1;
    }
}

template <class T>
auto forward_kernel(Activation f) {
    return kernels<T>().elementwise->activation[static_cast<int>(f)];
}

}  // namespace

bool activation_backward_reads_output(Activation f, double parameter) {
    switch (f) {
        case Activation::gelu:
        case Activation::silu:
        case Activation::mish:
        case Activation::hardswish:
            return false;
        // The sign of y tells that of x only if the function does not turn at zero.
        case Activation::leaky_relu:
            return parameter >= 0;
        case Activation::elu:
            return parameter > 0;
        default:
            return true;
    }
}

template <class T>
void activation(Activation f, const Array<const T>& x, const Array<T>& y, T parameter) {
    const auto kernel = forward_kernel<T>(f);
    const auto line = kernels<T>().elementwise->line_activation[static_cast<int>(f)];
    for_each_run_or_line<T, 2>(
        {&x}, y, cost_of(f), [&](index_t n, const T* const* in, T* out) { kernel(n, in[0], out, parameter); },
        [&](index_t n, const T* const* in, T* out, const index_t* steps) {
            line(n, in[0], steps[0], out, steps[1], parameter);
        });
}

template <class T>
void activation_backward(Activation f, const Array<const T>& grad, const Array<const T>& x,
                         const Array<T>& grad_x, T parameter) {
    const auto kernel = kernels<T>().elementwise->backward_from_input[static_cast<int>(f)];
    const auto line = kernels<T>().elementwise->line_backward_from_input[static_cast<int>(f)];
    if (f == Activation::heaviside)  // whose slope is the same everywhere, so that x need not be read
        return for_each_run_or_line<T, 2>(
            {&grad}, grad_x, cost_of(f),
            [&](index_t n, const T* const* in, T* out) { kernel(n, in[0], in[0], out, parameter); },
            [&](index_t n, const T* const* in, T* out, const index_t* steps) {
                line(n, in[0], steps[0], in[0], steps[0], out, steps[1], parameter);
            });
    for_each_run_or_line<T, 3>(
        {&grad, &x}, grad_x, cost_of(f),
        [&](index_t n, const T* const* in, T* out) { kernel(n, in[0], in[1], out, parameter); },
        [&](index_t n, const T* const* in, T* out, const index_t* steps) {
            line(n, in[0], steps[0], in[1], steps[1], out, steps[2], parameter);
        });
}

template <class T>
void activation(Activation f, index_t n, const T* x, T* y, T parameter) {
    const auto kernel = forward_kernel<T>(f);
    for_each_block(n, cost_of(f), [&](index_t i, index_t count) { kernel(count, x + i, y + i, parameter); });
}

// In pieces that stay in the first-level cache. Summands come from convolutions that threads have shared, and
// what another thread has just written comes from its caches: so the work is that of three reads.
template <class T>
void activation_of_sum(Activation f, index_t n, const T* a, const T* b, T* y, T parameter) {
    constexpr index_t kPiece = 2048;
    constexpr double kCost = 3;
    const auto& elementwise = *kernels<T>().elementwise;
    const auto kernel = forward_kernel<T>(f);
    parallel_for(ceil_div(n, kPiece), threads_for(kCost * static_cast<double>(n)), [&](index_t piece) {
        const index_t i = piece * kPiece, count = std::min(kPiece, n - i);
        elementwise.add(count, a + i, b + i, y + i);
        if (f != Activation::identity) kernel(count, y + i, y + i, parameter);
    });
}

template <class T>
void activation_backward_kept(Activation f, index_t n, const T* grad, const T* kept, T* grad_x, T parameter) {
    const auto& table = *kernels<T>().elementwise;
    const auto kernel = activation_backward_reads_output(f, static_cast<double>(parameter))
                            ? table.backward_from_output[static_cast<int>(f)]
                            : table.backward_from_input[static_cast<int>(f)];
    for_each_block(n, cost_of(f), [&](index_t i, index_t count) {
        kernel(count, grad + i, kept + i, grad_x + i, parameter);
    });
}

namespace {

// The axis of x's channels.
int channel_axis(int ndim) { return ndim > 1 ? 1 : 0; }

// The slopes as an array of x's shape, each one repeated where its channel is.
template <class T>
Array<const T> repeated(const Array<const T>& slopes, const Array<const T>& x) {
    Array<const T> result;
    result.data = slopes.data;
    result.ndim = x.ndim;
    std::copy_n(x.shape, x.ndim, result.shape);
    std::fill_n(result.strides, x.ndim, index_t{0});
    if (x.ndim > 0 && slopes.shape[0] > 1) result.strides[channel_axis(x.ndim)] = slopes.strides[0];
    return result;
}

// The sum of a contiguous run's terms.
template <class T>
double slope_gradient(index_t n, const T* grad, const T* x) {
    const auto term = [&](index_t i) {
        // By a mask, since a branch would be mispredicted at every second change of the sign.
        const auto product =
            std::bit_cast<std::uint64_t>(static_cast<double>(grad[i]) * static_cast<double>(x[i]));
        return std::bit_cast<double>(product & -static_cast<std::uint64_t>(x[i] <= T{}));
    };
    double part[4] = {};
    index_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int k = 0; k < 4; ++k) part[k] += term(i + k);
    for (; i < n; ++i) part[0] += term(i);
    return (part[0] + part[1]) + (part[2] + part[3]);
}

}  // namespace

template <class T>
void prelu(const Array<const T>& x, const Array<const T>& slopes, const Array<T>& y) {
    const auto scale = kernels<T>().elementwise->scale_negative;
    const Array<const T> factors = repeated(slopes, x);
    for_each_run<T, 3>({&x, &factors}, y, 1,
                       [&](index_t n, const T* const* in, T* out) { scale(n, in[0], in[0], in[1], out); });
}

template <class T>
void prelu_backward_data(const Array<const T>& grad, const Array<const T>& x, const Array<const T>& slopes,
                         const Array<T>& grad_x) {
    const auto scale = kernels<T>().elementwise->scale_negative;
    const Array<const T> factors = repeated(slopes, x);
    for_each_run<T, 4>({&grad, &x, &factors}, grad_x, 1,
                       [&](index_t n, const T* const* in, T* out) { scale(n, in[0], in[1], in[2], out); });
}

namespace {

// The sum of each channel's terms; there are some.
template <class T>
void sum_slope_gradients(const Array<const T>& grad, const Array<const T>& x, index_t channels,
                         double* sums) {
    const int axis = channel_axis(x.ndim);
    const index_t steps[2] = {x.ndim ? grad.strides[axis] : 0, x.ndim ? x.strides[axis] : 0};
    StridedLoop<2> loop(x.ndim, x.shape, {grad.strides, x.strides}, axis);
    // Some channels are a task, so that each one's sum has one order.
    const bool neighbours = std::abs(steps[1]) < std::abs(loop.stride(1, 2)) || loop.size() < kGathered / 16;
    const index_t each = neighbours ? std::min<index_t>(channels, 16) : 1;
    index_t box[3];
    detail::choose_box(loop, 2, false, kGathered / each, box);
    if (each > 1) {
        box[0] = 1;  // in whose place are the channels
        box[2] = std::min(box[2], kGathered / each);
    }
    const T* const data[2] = {grad.data, x.data};
    parallel_for(ceil_div(channels, each), threads_for(static_cast<double>(channels * loop.size()) * 4),
                 [&](index_t task) {
                     detail::StagedBox<T> staged[2];
                     const index_t first = task * each, now = std::min(each, channels - first);
                     std::fill_n(sums + first, now, 0.0);
                     loop.each_box(
                         box, 0, loop.boxes(box), [&](const index_t(&at)[2], const index_t(&sizes)[3]) {
                             const T* runs[2];
                             for (int k = 0; k < 2; ++k) {
                                 BoxShape part = loop.box_of(k, sizes);
                                 if (each > 1) {
                                     part.size[0] = now;
                                     part.stride[0] = steps[k];
                                 }
                                 runs[k] = staged[k].read(part, data[k] + first * steps[k] + at[k]);
                             }
                             const index_t n = sizes[0] * sizes[1] * sizes[2];
                             for (index_t c = 0; c < now; ++c)
                                 sums[first + c] += slope_gradient(n, runs[0] + c * n, runs[1] + c * n);
                         });
                 });
}

// The sum of all terms: a task's terms in one sum, whatever the threads, and the sums in order.
template <class T>
double sum_all_slope_gradients(const Array<const T>& grad, const Array<const T>& x) {
    StridedLoop<2> loop(x.ndim, x.shape, {grad.strides, x.strides});
    if (loop.size() == 0) return 0;
    index_t box[3];
    detail::choose_box(loop, 2, false, kGathered, box);
    const index_t boxes = loop.boxes(box), grouped = loop.boxes_of_task(box, 1);
    Scratch<double> sums(ceil_div(boxes, grouped));
    loop.for_each_task(box, 2, 1, [&](index_t first, index_t end) {
        detail::StagedBox<T> staged[2];
        double sum = 0;
        loop.each_box(box, first, end, [&](const index_t(&at)[2], const index_t(&sizes)[3]) {
            sum += slope_gradient(sizes[0] * sizes[1] * sizes[2],
                                  staged[0].read(loop.box_of(0, sizes), grad.data + at[0]),
                                  staged[1].read(loop.box_of(1, sizes), x.data + at[1]));
        });
        sums.data()[first / grouped] = sum;
    });
    double total = 0;
    for (index_t task = 0; task < ceil_div(boxes, grouped); ++task) total += sums.data()[task];
    return total;
}

}  // namespace

template <class T>
void prelu_backward_weights(const Array<const T>& grad, const Array<const T>& x,
                            const Array<T>& grad_slopes) {
    if (grad_slopes.shape[0] == 1) {
        grad_slopes.data[0] = static_cast<T>(sum_all_slope_gradients(grad, x));
        return;
    }
    const index_t channels = x.shape[channel_axis(x.ndim)];
    Scratch<double> sums(channels);
    if (std::all_of(x.shape, x.shape + x.ndim, [](index_t size) { return size > 0; }))
        sum_slope_gradients(grad, x, channels, sums.data());
    else
        std::fill_n(sums.data(), channels, 0.0);
    for (index_t c = 0; c < channels; ++c)
        grad_slopes.data[c * grad_slopes.strides[0]] = static_cast<T>(sums.data()[c]);
}

namespace {

constexpr index_t kRandomPiece = 1024;  // elements for which numbers are drawn at a time

// body(i, count, bits) for pieces of n elements, with a word or, as Bits says, half a word of Philox for each
// element; the first of them has that number.
template <class T, class Bits, class Random, class Body>
void with_random_bits(const Random& random, index_t first, index_t n, Body&& body) {
    constexpr index_t kBlock = 16 / static_cast<index_t>(sizeof(Bits));
    const auto& table = *kernels<T>().elementwise;
    std::uint32_t words[(kRandomPiece + kBlock) * sizeof(Bits) / 4];
    for (index_t done = 0; done < n; done += kRandomPiece) {
        const index_t now = std::min(kRandomPiece, n - done), number = first + done,
                      skipped = number % kBlock;
        table.random_words(random.seed, random.stream, static_cast<std::uint64_t>(number / kBlock),
                           ceil_div(skipped + now, kBlock), words);
        body(done, now, reinterpret_cast<const Bits*>(words) + skipped);
    }
}

constexpr double kRandomCost = 5;  // of an element, in units of threads_for

// scale(i, count, slopes) likewise. Half a word is digits enough for a slope that is noise.
template <class T, class Scale>
void with_random_slopes(const RandomSlopes& range, index_t first, index_t n, Scale&& scale) {
    const T lower = static_cast<T>(range.lower), width = static_cast<T>(range.upper - range.lower);
    const auto draw = kernels<T>().elementwise->slopes;
    with_random_bits<T, std::uint16_t>(range, range.first + first, n,
                                       [&](index_t i, index_t count, const std::uint16_t* halves) {
                                           T slopes[kRandomPiece];
                                           draw(count, halves, lower, width, slopes);
                                           scale(i, count, slopes);
                                       });
}

}  // namespace

template <class T>
void rrelu(const RandomSlopes& range, const Array<const T>& x, const Array<T>& y) {
    const auto scale = kernels<T>().elementwise->scale_negative;
    for_each_run_in_order<T, 2>(
        {&x}, y, kRandomCost, [&](index_t n, const T* const* in, T* out, index_t first) {
            with_random_slopes<T>(range, first, n, [&](index_t i, index_t count, const T* slopes) {
                scale(count, in[0] + i, in[0] + i, slopes, out + i);
            });
        });
}

template <class T>
void rrelu_slopes(const RandomSlopes& range, const Array<const T>& x, const Array<T>& slopes) {
    const auto scale = kernels<T>().elementwise->scale_negative;
    for_each_run_in_order<T, 2>(
        {&x}, slopes, kRandomCost, [&](index_t n, const T* const* in, T* out, index_t first) {
            T ones[kRandomPiece];
            std::fill_n(ones, std::min(n, kRandomPiece), T(1));
            with_random_slopes<T>(range, first, n, [&](index_t i, index_t count, const T* drawn) {
                scale(count, ones, in[0] + i, drawn, out + i);
            });
        });
}

template <class T>
void multiply(const Array<const T>& a, const Array<const T>& b, const Array<T>& y) {
    const auto kernel = kernels<T>().elementwise->multiply;
    const auto line = kernels<T>().elementwise->line_multiply;
    for_each_run_or_line<T, 3>(
        {&a, &b}, y, 1, [&](index_t n, const T* const* in, T* out) { kernel(n, in[0], in[1], out, T{}); },
        [&](index_t n, const T* const* in, T* out, const index_t* steps) {
            line(n, in[0], steps[0], in[1], steps[1], out, steps[2], T{});
        });
}

template <class T>
void dropout(const RandomMask& mask, const Array<const T>& x, const Array<T>& y) {
    const auto apply = kernels<T>().elementwise->mask;
    const auto threshold = static_cast<std::uint32_t>(mask.p * 4294967296.0);
    const T scale = static_cast<T>(1 / (1 - mask.p));
    for_each_run_in_order<T, 2>(
        {&x}, y, kRandomCost, [&](index_t n, const T* const* in, T* out, index_t first) {
            with_random_bits<T, std::uint32_t>(mask, mask.first + first, n,
                                               [&](index_t i, index_t count, const std::uint32_t* words) {
                                                   apply(count, in[0] + i, words, threshold, scale, out + i);
                                               });
        });
}

template <class T>
void dropout(const RandomMask& mask, index_t n, const T* x, T* y) {
    dropout(mask, row_major(x, {n}), row_major(y, {n}));
}

template <class T>
void gaussian_noise(const RandomNoise& noise, index_t n, const T* x, T* y) {
    const auto& table = *kernels<T>().elementwise;
    const T std = static_cast<T>(noise.std);
    const auto add = [&](index_t first, index_t count, const T* from, T* to) {
        for_each_block(count, 2 * kRandomCost, [&](index_t begin, index_t block) {
            with_random_bits<T, std::uint32_t>(
                noise, first + begin, block, [&](index_t i, index_t now, const std::uint32_t* words) {
                    table.add_noise(now, from + begin + i, words, std, to + begin + i);
                });
        });
    };
    if (noise.first % 2 == 0 || n == 0) return add(noise.first, n, x, y);
    // The first element is the second of a pair, which is made whole.
    T both[] = {T{}, x[0]};
    add(noise.first - 1, 2, both, both);
    y[0] = both[1];
    add(noise.first + 1, n - 1, x + 1, y + 1);
}

namespace {

// The first piece of each group of channels, and how far it is from one piece to the next.
template <class T>
struct FirstPieces {
    Array<T> array;
    index_t step;

    FirstPieces(const Array<T>& x, index_t pieces) : array(x) {
        const int axis = channel_axis(x.ndim);
        step = x.strides[axis];
        array.shape[axis] /= pieces;
        array.strides[axis] *= pieces;
    }
};

// A box of each of the pieces, beside one another.
BoxShape with_pieces(BoxShape box, index_t pieces, index_t step) {
    box.size[0] = pieces;
    box.stride[0] = step;
    return box;
}

// Boxes for which the pieces fit a buffer, with no more than two axes of their own.
template <int N>
void choose_maxout_box(StridedLoop<N>& loop, index_t pieces, index_t (&box)[3]) {
    detail::choose_box(loop, N, false, std::max<index_t>(64, 4 * kGathered / pieces), box);
    box[0] = 1;
}

}  // namespace

template <class T>
void maxout(index_t pieces, const Array<const T>& x, const Array<T>& y) {
    const auto& table = *kernels<T>().elementwise;
    const FirstPieces<const T> first_of(x, pieces);
    StridedLoop<2> loop(y.ndim, y.shape, {first_of.array.strides, y.strides});
    if (loop.size() == 0) return;
    index_t box[3];
    choose_maxout_box(loop, pieces, box);
    loop.for_each_task(box, 2 * static_cast<double>(pieces), pieces, [&](index_t first, index_t end) {
        loop.each_box(box, first, end, [&](const index_t(&at)[2], const index_t(&sizes)[3]) {
            const index_t n = sizes[1] * sizes[2];
            const BoxShape from = loop.box_of(0, sizes), to = loop.box_of(1, sizes);
            const bool in_place = is_contiguous(from), written = is_contiguous(to);
            Scratch<T> memory((in_place ? 0 : pieces * n) + (written ? 0 : n));
            T* target = written ? y.data + at[1] : memory.data();
            const T* source = x.data + at[0];
            if (!in_place) {
                T* const gathered = memory.data() + (written ? 0 : n);
                kernels<T>().plane->gather_box(with_pieces(from, pieces, first_of.step), source, gathered);
                source = gathered;
            }
            table.largest_of(pieces, n, source, in_place ? first_of.step : n, target);
            if (!written) kernels<T>().plane->scatter_box(to, target, y.data + at[1]);
        });
    });
}

template <class T>
void maxout_backward(index_t pieces, const Array<const T>& grad, const Array<const T>& x,
                     const Array<T>& grad_x) {
    const auto& table = *kernels<T>().elementwise;
    const auto& plane = *kernels<T>().plane;
    const FirstPieces<const T> first_of(x, pieces);
    const FirstPieces<T> first_of_grad(grad_x, pieces);
    StridedLoop<3> loop(grad.ndim, grad.shape,
                        {grad.strides, first_of.array.strides, first_of_grad.array.strides});
    if (loop.size() == 0) return;
    index_t box[3];
    choose_maxout_box(loop, pieces, box);
    loop.for_each_task(box, 2 * static_cast<double>(pieces), pieces, [&](index_t first, index_t end) {
        loop.each_box(box, first, end, [&](const index_t(&at)[3], const index_t(&sizes)[3]) {
            const index_t n = sizes[1] * sizes[2];
            const BoxShape share = loop.box_of(0, sizes), from = loop.box_of(1, sizes),
                           to = loop.box_of(2, sizes);
            const bool shares_lie = is_contiguous(share), lie = is_contiguous(from),
                       written = is_contiguous(to);
            Scratch<T> memory((shares_lie ? 0 : n) + ((lie ? 0 : n) + (written ? 0 : n)) * pieces);
            T* free = memory.data();
            const auto gathered = [&](const BoxShape& shape, const T* data) {
                T* const buffer = free;
                free += shape.size[0] * n;
                plane.gather_box(shape, data, buffer);
                return static_cast<const T*>(buffer);
            };
            const T *shares = grad.data + at[0], *source = x.data + at[1];
            T* const home = grad_x.data + at[2];
            if (!shares_lie) shares = gathered(share, shares);
            if (!lie) source = gathered(with_pieces(from, pieces, first_of.step), source);
            T* const target = written ? home : free;
            table.largest_of_backward(pieces, n, shares, source, lie ? first_of.step : n, target,
                                      written ? first_of_grad.step : n);
            if (!written) plane.scatter_box(with_pieces(to, pieces, first_of_grad.step), target, home);
        });
    });
}

#define RANVIER_INSTANTIATE(T)                                                                             \
    template void activation(Activation, const Array<const T>&, const Array<T>&, T);                       \
    template void activation_backward(Activation, const Array<const T>&, const Array<const T>&,            \
                                      const Array<T>&, T);                                                 \
    template void activation(Activation, index_t, const T*, T*, T);                                        \
    template void activation_of_sum(Activation, index_t, const T*, const T*, T*, T);                       \
    template void activation_backward_kept(Activation, index_t, const T*, const T*, T*, T);                \
    template void prelu(const Array<const T>&, const Array<const T>&, const Array<T>&);                    \
    template void prelu_backward_data(const Array<const T>&, const Array<const T>&, const Array<const T>&, \
                                      const Array<T>&);                                                    \
    template void prelu_backward_weights(const Array<const T>&, const Array<const T>&, const Array<T>&);   \
    template void rrelu(const RandomSlopes&, const Array<const T>&, const Array<T>&);                      \
    template void rrelu_slopes(const RandomSlopes&, const Array<const T>&, const Array<T>&);               \
    template void multiply(const Array<const T>&, const Array<const T>&, const Array<T>&);                 \
    template void dropout(const RandomMask&, const Array<const T>&, const Array<T>&);                      \
    template void dropout(const RandomMask&, index_t, const T*, T*);                                       \
    template void gaussian_noise(const RandomNoise&, index_t, const T*, T*);                               \
    template void maxout(index_t, const Array<const T>&, const Array<T>&);                                 \
    template void maxout_backward(index_t, const Array<const T>&, const Array<const T>&, const Array<T>&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
