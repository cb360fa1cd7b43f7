// Activations of arrays: strides and threads around the instruction sets' loops.
#include "ranvier/activation.h"

#include <algorithm>

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
        case Activation::gelu:
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
    for_each_run<T, 2>({&x}, y, cost_of(f),
                       [&](index_t n, const T* const* in, T* out) { kernel(n, in[0], out, parameter); });
}

template <class T>
void activation_backward(Activation f, const Array<const T>& grad, const Array<const T>& x,
                         const Array<T>& grad_x, T parameter) {
    const auto kernel = kernels<T>().elementwise->backward_from_input[static_cast<int>(f)];
    for_each_run<T, 3>({&grad, &x}, grad_x, cost_of(f), [&](index_t n, const T* const* in, T* out) {
        kernel(n, in[0], in[1], out, parameter);
    });
}

template <class T>
void activation(Activation f, index_t n, const T* x, T* y, T parameter) {
    const auto kernel = forward_kernel<T>(f);
    for_each_block(n, cost_of(f), [&](index_t i, index_t count) { kernel(count, x + i, y + i, parameter); });
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

// Runs of a channel from so many elements on are worked on by themselves; shorter ones have their slopes
// repeated beside them.
constexpr index_t kLongRun = 64;

// y = x, or times the slope of its channel where `sign` is not positive, for whole rows of channels * inner.
template <class T>
void scale_negatives(index_t outer, index_t channels, index_t inner, const T* x, const T* sign,
                     const T* slopes, index_t slope_count, T* y) {
    const auto scale = kernels<T>().elementwise->scale_negative;
    constexpr index_t kRepeated = 1024;
    const index_t row = channels * inner;
    const bool same = slope_count == 1, short_runs = !same && inner < kLongRun;
    // A piece of `period` elements begins again with the first of its factors.
    const index_t period = same         ? kRepeated
                           : short_runs ? round_up(row >= kRepeated ? row : kRepeated, row)
                                        : inner;
    const bool as_they_lie = short_runs && inner == 1 && row >= kRepeated;
    Scratch<T> factors(as_they_lie ? 0 : short_runs ? period : kRepeated);
    if (same) std::fill_n(factors.data(), kRepeated, slopes[0]);
    if (short_runs && !as_they_lie) {
        for (index_t c = 0; c < channels; ++c) std::fill_n(factors.data() + c * inner, inner, slopes[c]);
        for (index_t i = row; i < period; ++i) factors.data()[i] = factors.data()[i - row];
    }
    const T* repeated = as_they_lie ? slopes : factors.data();
    for_each_block(outer * row, 1, [&](index_t first, index_t count) {
        T run_factors[kRepeated];
        for (index_t i = first; i < first + count;) {
            const index_t at = i % period;
            index_t now = std::min(period - at, first + count - i);
            const T* factor = repeated + at;
            if (!same && !short_runs) {
                now = std::min(now, kRepeated);
                factor = run_factors;
                std::fill_n(run_factors, now, slopes[i / inner % channels]);
            }
            scale(now, x + i, sign + i, factor, y + i);
            i += now;
        }
    });
}

// The gradients to the slopes of channels first to first + n - 1, each summed up in the order of memory.
template <class T>
void slope_gradients(index_t outer, index_t channels, index_t inner, const T* grad, const T* x, index_t first,
                     index_t n, double* sums) {
    std::fill_n(sums, n, 0.0);
    const auto term = [&](index_t i) {
        return x[i] <= T{} ? static_cast<double>(grad[i]) * static_cast<double>(x[i]) : 0.0;
    };
    for (index_t o = 0; o < outer; ++o) {
        const index_t at = (o * channels + first) * inner;
        for (index_t c = 0; inner == 1 && c < n; ++c) sums[c] += term(at + c);
        for (index_t c = 0; inner > 1 && c < n; ++c) {
            double part[4] = {};
            index_t i = at + c * inner;
            const index_t end = i + inner;
            for (; i + 4 <= end; i += 4)
                for (int k = 0; k < 4; ++k) part[k] += term(i + k);
            for (; i < end; ++i) part[0] += term(i);
            sums[c] += (part[0] + part[1]) + (part[2] + part[3]);
        }
    }
}

}  // namespace

template <class T>
void prelu(index_t outer, index_t channels, index_t inner, const T* x, const T* slopes, index_t slope_count,
           T* y) {
    if (outer * channels * inner == 0) return;
    scale_negatives(outer, channels, inner, x, x, slopes, slope_count, y);
}

template <class T>
void prelu_backward(index_t outer, index_t channels, index_t inner, const T* grad, const T* x,
                    const T* slopes, index_t slope_count, T* grad_x, T* grad_slope) {
    if (grad_slope) {
        // Some channels are a task, so that each one's sum has one order.
        Scratch<double> sums(channels);
        const index_t each =
            inner < kLongRun ? std::max<index_t>(8, kLongRun / std::max<index_t>(1, inner)) : 1;
        parallel_for(ceil_div(channels, each), threads_for(static_cast<double>(outer * channels * inner) * 4),
                     [&](index_t task) {
                         const index_t first = task * each;
                         slope_gradients(outer, channels, inner, grad, x, first,
                                         std::min(each, channels - first), sums.data() + first);
                     });
        double total = 0;
        for (index_t c = 0; c < channels; ++c) {
            total += sums.data()[c];
            if (slope_count > 1 || channels == 1) grad_slope[c] = static_cast<T>(sums.data()[c]);
        }
        if (slope_count == 1) grad_slope[0] = static_cast<T>(total);
    }
    // Last, for grad_x may be grad.
    if (grad_x && outer * channels * inner > 0)
        scale_negatives(outer, channels, inner, grad, x, slopes, slope_count, grad_x);
}

namespace {

// Runs body(i, count, words) over pieces of n elements, with one Philox word for each element; the first of
// them has the number that `random` says.
template <class T, class Random, class Body>
void with_random_words(const Random& random, index_t n, Body&& body) {
    constexpr index_t kPiece = 1024, kBlock = 4;
    const auto& table = *kernels<T>().elementwise;
    const index_t skipped = random.first % kBlock;  // in each piece's first block
    for_each_block(n, 10, [&](index_t begin, index_t count) {
        std::uint32_t words[kPiece + kBlock];
        for (index_t done = 0; done < count; done += kPiece) {
            const index_t now = std::min(kPiece, count - done);
            table.random_words(random.seed, random.stream,
                               static_cast<std::uint64_t>((random.first + begin + done) / kBlock),
                               ceil_div(skipped + now, kBlock), words);
            body(begin + done, now, words + skipped);
        }
    });
}

template <class T, class Apply>
void with_random_slopes(const RandomSlopes& range, index_t n, Apply&& apply) {
    constexpr index_t kPiece = 1024;
    const auto& table = *kernels<T>().elementwise;
    with_random_words<T>(range, n, [&](index_t first, index_t count, const std::uint32_t* words) {
        T slopes[kPiece];
        table.slopes(count, words, static_cast<T>(range.lower), static_cast<T>(range.upper - range.lower),
                     slopes);
        apply(first, count, slopes);
    });
}

}  // namespace

template <class T>
void rrelu(const RandomSlopes& range, index_t n, const T* x, T* y) {
    const auto& table = *kernels<T>().elementwise;
    with_random_slopes<T>(range, n, [&](index_t i, index_t count, const T* slopes) {
        table.scale_negative(count, x + i, x + i, slopes, y + i);
    });
}

template <class T>
void rrelu_backward(const RandomSlopes& range, index_t n, const T* grad, const T* x, T* grad_x) {
    const auto& table = *kernels<T>().elementwise;
    with_random_slopes<T>(range, n, [&](index_t i, index_t count, const T* slopes) {
        table.scale_negative(count, grad + i, x + i, slopes, grad_x + i);
    });
}

template <class T>
void dropout(const RandomMask& mask, index_t n, const T* x, T* y) {
    const auto& table = *kernels<T>().elementwise;
    const auto threshold = static_cast<std::uint32_t>(mask.p * 4294967296.0);
    const T scale = static_cast<T>(1 / (1 - mask.p));
    with_random_words<T>(mask, n, [&](index_t i, index_t count, const std::uint32_t* words) {
        table.mask(count, x + i, words, threshold, scale, y + i);
    });
}

template <class T>
void gaussian_noise(const RandomNoise& noise, index_t n, const T* x, T* y) {
    const auto& table = *kernels<T>().elementwise;
    const T std = static_cast<T>(noise.std);
    const auto add = [&](const RandomNoise& part, index_t count, const T* from, T* to) {
        with_random_words<T>(part, count, [&](index_t i, index_t now, const std::uint32_t* words) {
            table.add_noise(now, from + i, words, std, to + i);
        });
    };
    if (noise.first % 2 == 0 || n == 0) return add(noise, n, x, y);
    // The first element is the second of a pair, which is made whole.
    RandomNoise pair = noise, rest = noise;
    pair.first -= 1;
    rest.first += 1;
    T both[] = {T{}, x[0]};
    add(pair, 2, both, both);
    y[0] = both[1];
    add(rest, n - 1, x + 1, y + 1);
}

namespace {

// Shorter runs are worked on a vector of outputs at a time, side by side.
constexpr index_t kShortPiece = 16;

// body(first, count) over groups of up to `most` outputs.
template <class Body>
void for_each_maxout(index_t outputs, index_t size, index_t most, Body&& body) {
    const index_t each = round_up(std::max<index_t>(1, kElementsPerTask / std::max<index_t>(1, size)), most);
    parallel_for(ceil_div(outputs, each), threads_for(static_cast<double>(outputs * size) * 2),
                 [&](index_t task) {
                     const index_t end = std::min(outputs, (task + 1) * each);
                     for (index_t first = task * each; first < end; first += most)
                         body(first, std::min(most, end - first));
                 });
}

}  // namespace

template <class T>
void maxout(index_t outer, index_t channels, index_t pieces, index_t inner, const T* x, T* y) {
    const auto& table = *kernels<T>().elementwise;
    const auto& plane = *kernels<T>().plane;
    const index_t size = pieces * inner, lanes = plane.lanes;
    if (inner >= kShortPiece)
        return for_each_maxout(outer * channels, size, 1, [&](index_t i, index_t) {
            table.largest_of(pieces, inner, x + i * size, y + i * inner);
        });
    for_each_maxout(outer * channels, size, lanes, [&](index_t first, index_t count) {
        Scratch<T> memory((size + inner) * lanes);
        T* largest = memory.data() + size * lanes;
        plane.gather_lanes(count, size, x + first * size, size, memory.data(), lanes);
        table.largest_of(pieces, inner * lanes, memory.data(), largest);
        plane.scatter_sums(count, inner, largest, lanes, y + first * inner, inner, false);
    });
}

template <class T>
void maxout_backward(index_t outer, index_t channels, index_t pieces, index_t inner, const T* grad,
                     const T* x, T* grad_x) {
    const auto& table = *kernels<T>().elementwise;
    const auto& plane = *kernels<T>().plane;
    const index_t size = pieces * inner, lanes = plane.lanes;
    if (inner >= kShortPiece)
        return for_each_maxout(outer * channels, size, 1, [&](index_t i, index_t) {
            table.largest_of_backward(pieces, inner, grad + i * inner, x + i * size, grad_x + i * size);
        });
    for_each_maxout(outer * channels, size, lanes, [&](index_t first, index_t count) {
        Scratch<T> memory((2 * size + inner) * lanes);
        T *g = memory.data() + size * lanes, *result = g + inner * lanes;
        plane.gather_lanes(count, size, x + first * size, size, memory.data(), lanes);
        plane.gather_lanes(count, inner, grad + first * inner, inner, g, lanes);
        table.largest_of_backward(pieces, inner * lanes, g, memory.data(), result);
        plane.scatter_sums(count, size, result, lanes, grad_x + first * size, size, false);
    });
}

#define RANVIER_INSTANTIATE(T)                                                                              \
    template void activation(Activation, const Array<const T>&, const Array<T>&, T);                        \
    template void activation_backward(Activation, const Array<const T>&, const Array<const T>&,             \
                                      const Array<T>&, T);                                                  \
    template void activation(Activation, index_t, const T*, T*, T);                                         \
    template void activation_backward_kept(Activation, index_t, const T*, const T*, T*, T);                 \
    template void prelu(index_t, index_t, index_t, const T*, const T*, index_t, T*);                        \
    template void prelu_backward(index_t, index_t, index_t, const T*, const T*, const T*, index_t, T*, T*); \
    template void rrelu(const RandomSlopes&, index_t, const T*, T*);                                        \
    template void rrelu_backward(const RandomSlopes&, index_t, const T*, const T*, T*);                     \
    template void dropout(const RandomMask&, index_t, const T*, T*);                                        \
    template void gaussian_noise(const RandomNoise&, index_t, const T*, T*);                                \
    template void maxout(index_t, index_t, index_t, index_t, const T*, T*);                                 \
    template void maxout_backward(index_t, index_t, index_t, index_t, const T*, const T*, T*);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
