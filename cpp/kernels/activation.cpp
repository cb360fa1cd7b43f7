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

template <class T>
void prelu(index_t outer, index_t channels, index_t inner, const T* x, const T* slopes, index_t slope_count,
           T* y) {
    const auto& table = *kernels<T>().elementwise;
    const index_t row = channels * inner;
    const index_t grouped = std::max<index_t>(1, kElementsPerTask / std::max<index_t>(1, row));
    const auto leaky = forward_kernel<T>(Activation::leaky_relu);
    parallel_for(ceil_div(outer, grouped), threads_for(static_cast<double>(outer * row)), [&](index_t task) {
        for (index_t o = task * grouped; o < std::min(outer, (task + 1) * grouped); ++o) {
            const T* from = x + o * row;
            T* to = y + o * row;
            if (slope_count == 1)
                leaky(row, from, to, slopes[0]);
            else if (inner == 1)
                table.scale_negative(channels, from, from, slopes, to);
            else
                for (index_t c = 0; c < channels; ++c)
                    leaky(inner, from + c * inner, to + c * inner, slopes[c]);
        }
    });
}

template <class T>
void prelu_backward(index_t outer, index_t channels, index_t inner, const T* grad, const T* x,
                    const T* slopes, index_t slope_count, T* grad_x, T* grad_slope) {
    // A channel is a task of its own, so that its sum has one order.
    Scratch<double> sums(channels);
    double* sum_of = sums.data();
    parallel_for(channels, threads_for(static_cast<double>(outer * channels * inner) * 4), [&](index_t c) {
        const T slope = slopes[slope_count == 1 ? 0 : c];
        double sum = 0;
        for (index_t o = 0; o < outer; ++o) {
            const index_t first = (o * channels + c) * inner;
            for (index_t i = first; i < first + inner; ++i) {
                const bool negative = x[i] <= T{};
                if (negative) sum += static_cast<double>(grad[i]) * static_cast<double>(x[i]);
                if (grad_x) grad_x[i] = negative ? slope * grad[i] : grad[i];
            }
        }
        sum_of[c] = sum;
    });
    if (!grad_slope) return;
    if (slope_count == 1) {
        double total = 0;
        for (index_t c = 0; c < channels; ++c) total += sum_of[c];
        grad_slope[0] = static_cast<T>(total);
    } else {
        for (index_t c = 0; c < channels; ++c) grad_slope[c] = static_cast<T>(sum_of[c]);
    }
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

template <class T>
void maxout(index_t outer, index_t channels, index_t pieces, index_t inner, const T* x, T* y) {
    parallel_for(outer * channels, threads_for(static_cast<double>(outer * channels * pieces * inner)),
                 [&](index_t task) {
                     const T* from = x + task * pieces * inner;
                     T* to = y + task * inner;
                     std::copy_n(from, inner, to);
                     for (index_t k = 1; k < pieces; ++k)
                         for (index_t i = 0; i < inner; ++i) {
                             const T value = from[k * inner + i];
                             if (value > to[i] || value != value) to[i] = value;
                         }
                 });
}

template <class T>
void maxout_backward(index_t outer, index_t channels, index_t pieces, index_t inner, const T* grad,
                     const T* x, T* grad_x) {
    parallel_for(outer * channels, threads_for(static_cast<double>(outer * channels * pieces * inner) * 2),
                 [&](index_t task) {
                     const T* from = x + task * pieces * inner;
                     T* to = grad_x + task * pieces * inner;
                     for (index_t i = 0; i < inner; ++i) {
                         index_t best = 0;
                         for (index_t k = 1; k < pieces; ++k) {
                             const T value = from[k * inner + i], most = from[best * inner + i];
                             if (value > most || (value != value && most == most)) best = k;
                         }
                         for (index_t k = 0; k < pieces; ++k)
                             to[k * inner + i] = k == best ? grad[task * inner + i] : T{};
                     }
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
