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
        s.inner == 1 ? kColumns : std::max<index_t>(1, 4096 / std::max<index_t>(1, size));  // of a task
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

}  // namespace

template <class T>
void batch_norm_statistics(const BatchNormShape& s, const T* x, double epsilon, T* mean,
                           T* inverse_deviation) {
    FlushDenormals flush;
    const auto& table = *kernels<T>().normalization;
    const double count = static_cast<double>(s.outer * s.inner);
    const auto finish = [&](index_t c, double squares) {
        inverse_deviation[c] = static_cast<T>(1 / std::sqrt(squares / count + epsilon));
    };
    for_each_channel(s, [&](index_t first, index_t n) {
        if (s.inner == 1) {
            double totals[kColumns];
            column_totals<T>(s.outer, n, totals, [&](index_t row, T* part) {
                kernels<T>().gemm->add_row(n, x + row * s.channels + first, part);
            });
            for (index_t c = 0; c < n; ++c) mean[first + c] = static_cast<T>(totals[c] / count);
            column_totals<T>(s.outer, n, totals, [&](index_t row, T* part) {
                table.add_squares_each(n, x + row * s.channels + first, mean + first, part);
            });
            for (index_t c = 0; c < n; ++c) finish(first + c, totals[c]);
            return;
        }
        for (index_t c = first; c < first + n; ++c) {
            mean[c] = static_cast<T>(run_total(s, c, [&](index_t at) { return table.sum(s.inner, x + at); }) /
                                     count);
            finish(c, run_total(s, c,
                                [&](index_t at) { return table.squares_about(s.inner, x + at, mean[c]); }));
        }
    });
}

template <class T>
void batch_norm(const BatchNormShape& s, const T* x, const T* mean, const T* inverse_deviation,
                const T* gamma, const T* beta, T* y) {
    FlushDenormals flush;
    const auto& table = *kernels<T>().normalization;
    for_each_channel(s, [&](index_t first, index_t n) {
        Scratch<T> factors(2 * n);
        T *a = factors.data(), *b = a + n;
        for (index_t c = 0; c < n; ++c) {
            a[c] = inverse_deviation[first + c] * (gamma ? gamma[first + c] : T(1));
            b[c] = (beta ? beta[first + c] : T{}) - mean[first + c] * a[c];
        }
        for (index_t i = 0; i < s.outer; ++i) {
            const index_t at = (i * s.channels + first) * s.inner;
            if (s.inner == 1)
                table.affine_each(n, x + at, a, b, y + at);
            else
                for (index_t c = 0; c < n; ++c)
                    table.affine(s.inner, x + at + c * s.inner, a[c], b[c], y + at + c * s.inner);
        }
    });
}

// With h = (x - mean) d, y = gamma h + beta and N elements: grad_x = gamma d (g - sum(g) / N - h sum(g h) /
// N), the two sums falling away for constant mean and d. As a g + b x + c.
template <class T>
void batch_norm_backward(const BatchNormShape& s, bool from_batch, const T* grad, const T* x, const T* mean,
                         const T* inverse_deviation, const T* gamma, T* grad_x, T* grad_gamma, T* grad_beta) {
    FlushDenormals flush;
    const auto& table = *kernels<T>().normalization;
    const double count = static_cast<double>(s.outer * s.inner);
    for_each_channel(s, [&](index_t first, index_t n) {
        Scratch<double> totals(2 * n);
        double *sums = totals.data(), *products = sums + n;
        if (s.inner == 1) {
            column_totals<T>(s.outer, n, sums, [&](index_t row, T* part) {
                kernels<T>().gemm->add_row(n, grad + row * s.channels + first, part);
            });
            column_totals<T>(s.outer, n, products, [&](index_t row, T* part) {
                const index_t at = row * s.channels + first;
                table.add_products_each(n, grad + at, x + at, mean + first, part);
            });
        } else {
            for (index_t c = 0; c < n; ++c) {
                sums[c] = run_total(s, first + c, [&](index_t at) { return table.sum(s.inner, grad + at); });
                products[c] = run_total(s, first + c, [&](index_t at) {
                    return table.products_about(s.inner, grad + at, x + at, mean[first + c]);
                });
            }
        }
        Scratch<T> factors(3 * n);
        T *a = factors.data(), *b = a + n, *d = b + n;
        for (index_t c = 0; c < n; ++c) {
            const double scale = static_cast<double>(inverse_deviation[first + c]);
            const double product = products[c] * scale;  // sum g h
            if (grad_gamma) grad_gamma[first + c] = static_cast<T>(product);
            if (grad_beta) grad_beta[first + c] = static_cast<T>(sums[c]);
            const double outer = scale * (gamma ? static_cast<double>(gamma[first + c]) : 1.0);
            const double slope = from_batch ? -outer * scale * product / count : 0;
            a[c] = static_cast<T>(outer);
            b[c] = static_cast<T>(slope);
            d[c] = static_cast<T>((from_batch ? -outer * sums[c] / count : 0) -
                                  slope * static_cast<double>(mean[first + c]));
        }
        for (index_t i = 0; grad_x && i < s.outer; ++i) {
            const index_t at = (i * s.channels + first) * s.inner;
            if (s.inner == 1)
                table.combine_each(n, grad + at, x + at, a, b, d, grad_x + at);
            else
                for (index_t c = 0; c < n; ++c)
                    table.combine(s.inner, grad + at + c * s.inner, x + at + c * s.inner, a[c], b[c], d[c],
                                  grad_x + at + c * s.inner);
        }
    });
}

template <class T>
void layer_norm(index_t rows, index_t size, const T* x, double epsilon, const T* gamma, const T* beta, T* y,
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
                         inverse_deviation[i] = static_cast<T>(1 / std::sqrt(variance + epsilon));
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

#define RANVIER_INSTANTIATE(T)                                                                             \
    template void batch_norm_statistics(const BatchNormShape&, const T*, double, T*, T*);                  \
    template void batch_norm(const BatchNormShape&, const T*, const T*, const T*, const T*, const T*, T*); \
    template void batch_norm_backward(const BatchNormShape&, bool, const T*, const T*, const T*, const T*, \
                                      const T*, T*, T*, T*);                                               \
    template void layer_norm(index_t, index_t, const T*, double, const T*, const T*, T*, T*, T*);          \
    template void layer_norm_backward(index_t, index_t, const T*, const T*, const T*, const T*, const T*,  \
                                      T*, T*, T*);                                                         \
    template void plane_means(index_t, index_t, const T*, T*);                                             \
    template void plane_means_backward(index_t, index_t, const T*, T*);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
