// Normalization: which elements belong together, and how they are shared among threads.
//
// A channel of (outer, channels, inner) is many runs if inner > 1; with inner = 1 it is a column, and columns
// are worked on side by side. Sums go by fixed pieces, added in order.
#include "ranvier/normalization.h"

#include <algorithm>
#include <cmath>

#include "../platform/denormals.h"
#include "kernel_table.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

constexpr index_t kColumns = 64;        // of one task, if channels are columns
constexpr index_t kRowsOfPartial = 64;  // that are added up in T before they go into a double
constexpr index_t kRowsOfTask = 16;     // of layer normalization
constexpr double kCost = 2;             // of an element, for threads_for

// body(channel, channels) for tasks that each have some channels to themselves.
template <class Body>
void for_each_channel(const BatchNormShape& s, Body&& body) {
    const index_t size = s.outer * s.inner;
    const index_t each =
        s.inner == 1 ? kColumns
                     : std::clamp<index_t>(4096 / std::max<index_t>(1, size), 1, kColumns);  // of a task
    parallel_for(ceil_div(s.channels, each), threads_for(static_cast<double>(size * s.channels) * kCost),
                 [&](index_t task) { body(task * each, std::min(each, s.channels - task * each)); });
}

// sums[c] = sum over a column of what add(row, sums in T) adds for each row of columns `first` to first + n.
template <class T, class Add>
void column_totals(index_t rows, index_t n, double* totals, Add&& add) {
    T part[kColumns];
    std::fill_n(totals, n, 0.0);
    for (index_t from = 0; from < rows; from += kRowsOfPartial) {
        std::fill_n(part, n, T{});
        for (index_t row = from; row < std::min(rows, from + kRowsOfPartial); ++row) add(row, part);
        for (index_t c = 0; c < n; ++c) totals[c] += static_cast<double>(part[c]);
    }
}

// The sum over the runs of a channel of run(offset of the run).
template <class Run>
double run_total(const BatchNormShape& s, index_t channel, Run&& run) {
    double total = 0;
    for (index_t i = 0; i < s.outer; ++i) total += run((i * s.channels + channel) * s.inner);
    return total;
}

// The mean of the elements of a channel, and their sum of squares about it, for `n` channels from `first` on.
template <class T>
void moments_of_channels(const BatchNormShape& s, const T* x, index_t first, index_t n, double* mean,
                         double* squares) {
    const auto& table = *kernels<T>().normalization;
    const double count = static_cast<double>(s.outer * s.inner);
    T about[kColumns];
    if (s.inner == 1) {
        column_totals<T>(s.outer, n, mean, [&](index_t row, T* part) {
            kernels<T>().gemm->add_row(n, x + row * s.channels + first, part);
        });
        for (index_t c = 0; c < n; ++c) about[c] = static_cast<T>(mean[c] /= count);
        column_totals<T>(s.outer, n, squares, [&](index_t row, T* part) {
            table.add_squares_each(n, x + row * s.channels + first, about, part);
        });
    } else {
        for (index_t c = 0; c < n; ++c) {
            mean[c] = run_total(s, first + c, [&](index_t at) { return table.sum(s.inner, x + at); }) / count;
            about[c] = static_cast<T>(mean[c]);
            squares[c] = run_total(
                s, first + c, [&](index_t at) { return table.squares_about(s.inner, x + at, about[c]); });
        }
    }
    // The squares are about the mean as it is in T.
    for (index_t c = 0; c < n; ++c) {
        const double off = static_cast<double>(about[c]) - mean[c];
        squares[c] = std::max(squares[c] - count * off * off, 0.0);
    }
}

}  // namespace

template <class T>
void batch_norm_moments(const BatchNormShape& s, const T* x, const ChannelMoments& moments) {
    FlushDenormals flush;
    for_each_channel(s, [&](index_t first, index_t n) {
        moments_of_channels(s, x, first, n, moments.mean + first, moments.squares + first);
    });
}

double join_moments(index_t channels, double total_count, const ChannelMoments& total, double count,
                    const ChannelMoments& part) {
    const double all = total_count + count;
    for (index_t c = 0; c < channels; ++c) {
        const double apart = part.mean[c] - total.mean[c];
        total.mean[c] += apart * (count / all);
        total.squares[c] += part.squares[c] + apart * apart * (total_count * count / all);
    }
    return all;
}

template <class T>
void batch_norm(const BatchNormShape& s, const T* x, const T* scale, const T* shift, T* y, Activation f,
                T parameter) {
    FlushDenormals flush;
    const auto& table = *kernels<T>().normalization;
    const auto activate = kernels<T>().elementwise->activation[static_cast<int>(f)];
    const bool by_runs = f != Activation::identity && s.inner > 1;
    for_each_channel(s, [&](index_t first, index_t n) {
        for (index_t i = 0; i < s.outer; ++i) {
            const index_t at = (i * s.channels + first) * s.inner;
            if (s.inner == 1)
                table.affine_each(n, x + at, scale + first, shift + first, y + at);
            else
                for (index_t c = 0; c < n; ++c)
                    table.affine(s.inner, x + at + c * s.inner, scale[first + c], shift[first + c],
                                 y + at + c * s.inner);
            if (by_runs) activate(n * s.inner, y + at, y + at, parameter);
        }
    });
    if (f != Activation::identity && s.inner == 1) activation<T>(f, s.outer * s.channels, y, y, parameter);
}

template <class T>
void add_to_channels(const BatchNormShape& s, const T* bias, T* y) {
    FlushDenormals flush;
    const auto& table = *kernels<T>().normalization;
    for_each_channel(s, [&](index_t first, index_t n) {
        for (index_t i = 0; i < s.outer; ++i)
            for (index_t c = first; c < first + n; ++c) {
                T* const plane = y + (i * s.channels + c) * s.inner;
                table.affine(s.inner, plane, T(1), bias[c], plane);
            }
    });
}

template <class T>
void channel_sums(const BatchNormShape& s, const T* x, T* sums, bool accumulate) {
    FlushDenormals flush;
    const auto sum = kernels<T>().normalization->sum;
    for_each_channel(s, [&](index_t first, index_t n) {
        for (index_t c = first; c < first + n; ++c) {
            const double total = run_total(s, c, [&](index_t at) { return sum(s.inner, x + at); });
            sums[c] = static_cast<T>(total) + (accumulate ? sums[c] : T{});
        }
    });
}

template <class T>
void batch_norm_gradient_sums(const BatchNormShape& s, const T* grad, const T* x, const T* mean, double* sums,
                              double* products, bool accumulate, const OutputActivation<T>& f) {
    FlushDenormals flush;
    const auto& table = *kernels<T>().normalization;
    const auto through = kernels<T>().elementwise->backward_from_output[static_cast<int>(f.kind)];
    const bool activated = f.kind != Activation::identity;
    const T* before = activated ? f.grad : grad;
    if (activated && s.inner == 1)
        activation_backward_kept<T>(f.kind, s.outer * s.channels, grad, f.y, f.grad, f.parameter);
    for_each_channel(s, [&](index_t first, index_t n) {
        double part_sums[kColumns] = {}, part_products[kColumns] = {};
        if (s.inner == 1) {
            column_totals<T>(s.outer, n, part_sums, [&](index_t row, T* part) {
                kernels<T>().gemm->add_row(n, before + row * s.channels + first, part);
            });
            column_totals<T>(s.outer, n, part_products, [&](index_t row, T* part) {
                const index_t at = row * s.channels + first;
                table.add_products_each(n, before + at, x + at, mean + first, part);
            });
        } else {
            for (index_t i = 0; i < s.outer; ++i) {
                const index_t at = (i * s.channels + first) * s.inner;
                if (activated) through(n * s.inner, grad + at, f.y + at, f.grad + at, f.parameter);
                for (index_t c = 0; c < n; ++c) {
                    double sum, product;
                    table.gradient_sums(s.inner, before + at + c * s.inner, x + at + c * s.inner,
                                        mean[first + c], &sum, &product);
                    part_sums[c] += sum;
                    part_products[c] += product;
                }
            }
        }
        for (index_t c = 0; c < n; ++c) {
            sums[first + c] = part_sums[c] + (accumulate ? sums[first + c] : 0);
            products[first + c] = part_products[c] + (accumulate ? products[first + c] : 0);
        }
    });
}

template <class T>
void batch_norm_input_gradient(const BatchNormShape& s, const T* grad, const T* x, const T* a, const T* b,
                               const T* c, T* grad_x) {
    FlushDenormals flush;
    const auto& table = *kernels<T>().normalization;
    for_each_channel(s, [&](index_t first, index_t n) {
        for (index_t i = 0; i < s.outer; ++i) {
            const index_t at = (i * s.channels + first) * s.inner;
            if (s.inner == 1)
                table.combine_each(n, grad + at, x + at, a + first, b + first, c + first, grad_x + at);
            else
                for (index_t k = 0; k < n; ++k)
                    table.combine(s.inner, grad + at + k * s.inner, x + at + k * s.inner, a[first + k],
                                  b[first + k], c[first + k], grad_x + at + k * s.inner);
        }
    });
}

template <class T>
void layer_norm(index_t rows, index_t size, const T* x, double eps, const T* gamma, const T* beta, T* y,
                T* mean, T* inverse_deviation) {
    FlushDenormals flush;
    const auto& table = *kernels<T>().normalization;
    const double count = static_cast<double>(size);
    parallel_for(ceil_div(rows, kRowsOfTask), threads_for(static_cast<double>(rows * size) * kCost),
                 [&](index_t task) {
                     for (index_t i = task * kRowsOfTask; i < std::min(rows, (task + 1) * kRowsOfTask); ++i) {
                         const T* row = x + i * size;
                         mean[i] = static_cast<T>(table.sum(size, row) / count);
                         const double variance = table.squares_about(size, row, mean[i]) / count;
                         inverse_deviation[i] = static_cast<T>(1 / std::sqrt(variance + eps));
                         table.normalize_row(size, row, mean[i], inverse_deviation[i], gamma, beta,
                                             y + i * size);
                     }
                 });
}

template <class T>
void layer_norm_backward(index_t rows, index_t size, const T* grad, const T* x, const T* mean,
                         const T* inverse_deviation, const T* gamma, T* grad_x, T* grad_gamma, T* grad_beta) {
    FlushDenormals flush;
    const auto& table = *kernels<T>().normalization;
    const double count = static_cast<double>(size);
    const int threads = threads_for(static_cast<double>(rows * size) * kCost);
    if (grad_gamma || grad_beta)
        parallel_for(ceil_div(size, kColumns), threads, [&](index_t task) {
            const index_t first = task * kColumns, n = std::min(kColumns, size - first);
            double totals[kColumns];
            if (grad_gamma) {
                column_totals<T>(rows, n, totals, [&](index_t i, T* part) {
                    const index_t at = i * size + first;
                    table.add_row_products(n, grad + at, x + at, mean[i], inverse_deviation[i], part);
                });
                for (index_t j = 0; j < n; ++j) grad_gamma[first + j] = static_cast<T>(totals[j]);
            }
            if (grad_beta) {
                column_totals<T>(rows, n, totals, [&](index_t i, T* part) {
                    kernels<T>().gemm->add_row(n, grad + i * size + first, part);
                });
                for (index_t j = 0; j < n; ++j) grad_beta[first + j] = static_cast<T>(totals[j]);
            }
        });
    if (!grad_x) return;
    parallel_for(ceil_div(rows, kRowsOfTask), threads, [&](index_t task) {
        for (index_t i = task * kRowsOfTask; i < std::min(rows, (task + 1) * kRowsOfTask); ++i) {
            const T *g = grad + i * size, *row = x + i * size;
            double sum, product;
            table.row_sums(size, g, row, mean[i], inverse_deviation[i], gamma, &sum, &product);
            table.row_gradient(size, g, row, mean[i], inverse_deviation[i], gamma,
                               static_cast<T>(sum / count), static_cast<T>(product / count),
                               grad_x + i * size);
        }
    });
}

template <class T>
void plane_means(index_t planes, index_t size, const T* x, T* y) {
    const auto sum = kernels<T>().normalization->sum;
    const index_t each = std::max<index_t>(1, 4096 / std::max<index_t>(1, size));
    parallel_for(ceil_div(planes, each), threads_for(static_cast<double>(planes * size)), [&](index_t task) {
        for (index_t i = task * each; i < std::min(planes, (task + 1) * each); ++i)
            y[i] = static_cast<T>(sum(size, x + i * size) / static_cast<double>(size));
    });
}

template <class T>
void plane_means_backward(index_t planes, index_t size, const T* grad, T* grad_x) {
    const index_t each = std::max<index_t>(1, 4096 / std::max<index_t>(1, size));
    parallel_for(ceil_div(planes, each), threads_for(static_cast<double>(planes * size)), [&](index_t task) {
        for (index_t i = task * each; i < std::min(planes, (task + 1) * each); ++i)
            std::fill_n(grad_x + i * size, size, grad[i] / static_cast<T>(size));
    });
}

template <class T>
void pixel_means(index_t images, index_t pixels, index_t channels, const T* x, T* y) {
    const auto add_row = kernels<T>().gemm->add_row;
    const index_t blocks = ceil_div(channels, kColumns);
    const double work = static_cast<double>(pixels * channels) * static_cast<double>(images);
    parallel_for(images * blocks, threads_for(work), [&](index_t task) {
        const index_t first = task % blocks * kColumns, n = std::min(kColumns, channels - first);
        const T* from = x + task / blocks * pixels * channels + first;
        double totals[kColumns];
        column_totals<T>(pixels, n, totals,
                         [&](index_t row, T* part) { add_row(n, from + row * channels, part); });
        for (index_t c = 0; c < n; ++c)
            y[task / blocks * channels + first + c] = static_cast<T>(totals[c] / static_cast<double>(pixels));
    });
}

#define RANVIER_INSTANTIATE(T)                                                                             \
    template void batch_norm_moments(const BatchNormShape&, const T*, const ChannelMoments&);              \
    template void batch_norm(const BatchNormShape&, const T*, const T*, const T*, T*, Activation, T);      \
    template void add_to_channels(const BatchNormShape&, const T*, T*);                                    \
    template void channel_sums(const BatchNormShape&, const T*, T*, bool);                                 \
    template void batch_norm_gradient_sums(const BatchNormShape&, const T*, const T*, const T*, double*,   \
                                           double*, bool, const OutputActivation<T>&);                     \
    template void batch_norm_input_gradient(const BatchNormShape&, const T*, const T*, const T*, const T*, \
                                            const T*, T*);                                                 \
    template void layer_norm(index_t, index_t, const T*, double, const T*, const T*, T*, T*, T*);          \
    template void layer_norm_backward(index_t, index_t, const T*, const T*, const T*, const T*, const T*,  \
                                      T*, T*, T*);                                                         \
    template void plane_means(index_t, index_t, const T*, T*);                                             \
    template void plane_means_backward(index_t, index_t, const T*, T*);                                    \
    template void pixel_means(index_t, index_t, index_t, const T*, T*);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
