// Losses of a batch: rows in fixed blocks, their sums in double and added in order.
#include "ranvier/loss.h"

#include <algorithm>
#include <cmath>

#include "kernel_table.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

constexpr index_t kRowsPerBlock = 64;

template <class T>
index_t largest(index_t n, const T* row) {
    index_t best = 0;
    for (index_t j = 1; j < n; ++j)
        if (row[j] > row[best]) best = j;
    return best;
}

// The target of one sample: a dense row, or a class number that stands for a one-hot row (with one output,
// for itself).
template <class T>
struct Target {
    const T* row;
    index_t label;
    index_t outputs;

    double operator[](index_t j) const {
        if (row) return static_cast<double>(row[j]);
        return outputs == 1 ? static_cast<double>(label) : j == label;
    }
    index_t best() const { return row ? largest(outputs, row) : label; }
};

template <class T>
bool is_hit(Loss loss, index_t n, const T* p, const Target<T>& target) {
    if (n > 1) return largest(n, p) == target.best();
    const double boundary = loss == Loss::binary_cross_entropy_with_logits ? 0 : 0.5;
    return (static_cast<double>(p[0]) > boundary) == (target[0] > 0.5);
}

// One output's loss, and its derivative in `slope`.
double element_loss(Loss loss, double p, double t, double& slope) {
    switch (loss) {
        case Loss::quadratic:
            slope = p - t;
            return 0.5 * (p - t) * (p - t);
        case Loss::sum_squared_residuals:
            slope = 2 * (p - t);
            return (p - t) * (p - t);
        case Loss::binary_cross_entropy: {
            // As PyTorch does: logarithms are cut at -100, and the slope's denominator at 1e-12.
            slope = (p - t) / std::max(p * (1 - p), 1e-12);
            return -t * std::max(std::log(p), -100.0) - (1 - t) * std::max(std::log1p(-p), -100.0);
        }
        case Loss::binary_cross_entropy_with_logits: {
            const double e = std::exp(-std::abs(p));
            slope = (p >= 0 ? 1 / (1 + e) : e / (1 + e)) - t;
            return std::max(p, 0.0) - p * t + std::log1p(e);
        }
        case Loss::softmax_cross_entropy:
            break;
    }
    return 0;
}

template <class T>
double elementwise_row(Loss loss, index_t n, const T* p, const Target<T>& target, T* grad, double divisor) {
    double sum = 0;
    for (index_t j = 0; j < n; ++j) {
        double slope;
        sum += element_loss(loss, static_cast<double>(p[j]), target[j], slope);
        if (grad) grad[j] = static_cast<T>(slope / divisor);
    }
    return sum;
}

// sum_j t_j (log-sum-exp(p) - p_j), with the gradient softmax(p) sum(t) - t.
template <class T>
double cross_entropy_row(index_t n, const T* p, const Target<T>& target, T* grad, double divisor) {
    double weight = 0, weighted = 0;
    if (target.row) {
        for (index_t j = 0; j < n; ++j) {
            weight += target[j];
            if (target[j] != 0) weighted += target[j] * static_cast<double>(p[j]);
        }
    } else {
        weight = 1;
        weighted = static_cast<double>(p[target.label]);
    }
    const auto [most, log_sum] = kernels<T>().elementwise->softmax_row(n, p, grad);
    if (grad) {
        const T scale = static_cast<T>(weight / divisor), inverse = static_cast<T>(1 / divisor);
        for (index_t j = 0; j < n; ++j) grad[j] *= scale;
        if (target.row)
            for (index_t j = 0; j < n; ++j) grad[j] -= target.row[j] * inverse;
        else
            grad[target.label] -= inverse;
    }
    return weight * static_cast<double>(most) - weighted + weight * static_cast<double>(log_sum);
}

template <class T>
LossSums loss_of_batch(Loss loss, index_t samples, index_t outputs, const T* prediction, const T* dense,
                       const std::int64_t* labels, T* grad, double divisor) {
    const index_t blocks = (samples + kRowsPerBlock - 1) / kRowsPerBlock;
    Scratch<LossSums> partial(blocks);
    parallel_for(blocks, threads_for(static_cast<double>(samples * outputs) * 20), [&](index_t block) {
        LossSums sums;
        for (index_t i = block * kRowsPerBlock; i < std::min(samples, (block + 1) * kRowsPerBlock); ++i) {
            const T* p = prediction + i * outputs;
            T* g = grad ? grad + i * outputs : nullptr;
            const Target<T> target = {dense ? dense + i * outputs : nullptr,
                                      labels ? static_cast<index_t>(labels[i]) : 0, outputs};
            sums.hits += is_hit(loss, outputs, p, target);
            sums.loss += loss == Loss::softmax_cross_entropy
                             ? cross_entropy_row(outputs, p, target, g, divisor)
                             : elementwise_row(loss, outputs, p, target, g, divisor);
        }
        partial.data()[block] = sums;
    });
    LossSums total;
    for (index_t block = 0; block < blocks; ++block) {
        total.loss += partial.data()[block].loss;
        total.hits += partial.data()[block].hits;
    }
    return total;
}

}  // namespace

double loss_divisor(Loss loss, index_t samples, index_t outputs) {
    switch (loss) {
        case Loss::sum_squared_residuals:
            return 1;
        case Loss::binary_cross_entropy:
        case Loss::binary_cross_entropy_with_logits:
            return static_cast<double>(samples * outputs);
        default:
            return static_cast<double>(samples);
    }
}

template <class T>
LossSums loss_with_targets(Loss loss, index_t samples, index_t outputs, const T* prediction, const T* target,
                           T* grad, double divisor) {
    return loss_of_batch<T>(loss, samples, outputs, prediction, target, nullptr, grad, divisor);
}

template <class T>
LossSums loss_with_labels(Loss loss, index_t samples, index_t outputs, const T* prediction,
                          const std::int64_t* labels, T* grad, double divisor) {
    return loss_of_batch<T>(loss, samples, outputs, prediction, nullptr, labels, grad, divisor);
}

#define RANVIER_INSTANTIATE(T)                                                                   \
    template LossSums loss_with_targets(Loss, index_t, index_t, const T*, const T*, T*, double); \
    template LossSums loss_with_labels(Loss, index_t, index_t, const T*, const std::int64_t*, T*, double);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
