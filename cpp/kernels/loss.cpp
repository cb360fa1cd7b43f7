// Losses of a batch: those of its rows, in any order, and their sums, in double and one after the other.
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

// The target of one sample: a dense row, or a class number that stands for a one-hot row. With one output,
// label 1 stands for itself and label 0 for `zero`.
template <class T>
struct Target {
    const T* row;
    index_t label;
    index_t outputs;
    double zero;

    double operator[](index_t j) const {
        if (row) return static_cast<double>(row[j]);
        return (outputs == 1 ? label == 1 : j == label) ? 1 : zero;
    }
    index_t best() const { return row ? largest(outputs, row) : label; }
};

template <class T>
Target<T> target_of(Loss loss, const Targets<T>& targets, index_t i, index_t outputs) {
    return {targets.dense ? targets.dense + i * outputs : nullptr,
            targets.labels ? static_cast<index_t>(targets.labels[i]) : 0, outputs,
            loss == Loss::hinge ? -1.0 : 0.0};
}

template <class T>
bool is_hit(Loss loss, const T* p, const Target<T>& target) {
    if (target.outputs > 1) return largest(target.outputs, p) == target.best();
    const bool signs = loss == Loss::binary_cross_entropy_with_logits || loss == Loss::hinge;
    return (static_cast<double>(p[0]) > (signs ? 0 : 0.5)) == (target[0] > 0.5);
}

double positive_weight(const LossSpec& loss, index_t j) {
    const std::vector<double>& weights = loss.positive_weights;
    return weights.empty() ? 1 : weights.size() == 1 ? weights[0] : weights[static_cast<std::size_t>(j)];
}

// The loss of output j, and its derivative in `slope`.
double element_loss(const LossSpec& loss, index_t j, double p, double t, double& slope) {
    switch (loss.kind) {
        case Loss::quadratic:
            slope = p - t;
            return 0.5 * (p - t) * (p - t);
        case Loss::sum_squared_residuals:
        case Loss::mean_squared_error:
            slope = 2 * (p - t);
            return (p - t) * (p - t);
        case Loss::binary_cross_entropy: {
            // As PyTorch does: logarithms are cut at -100, and the slope's denominator at 1e-12.
            slope = (p - t) / std::max(p * (1 - p), 1e-12);
            return -t * std::max(std::log(p), -100.0) - (1 - t) * std::max(std::log1p(-p), -100.0);
        }
        case Loss::binary_cross_entropy_with_logits: {
            const double e = std::exp(-std::abs(p)), log = std::log1p(e);
            const double sigmoid = p >= 0 ? 1 / (1 + e) : e / (1 + e);
            const double extra = (positive_weight(loss, j) - 1) * t;  // times -log sigmoid(p)
            slope = sigmoid - t;
            if (extra == 0) return std::max(p, 0.0) - p * t + log;
            slope -= extra * (p >= 0 ? e / (1 + e) : 1 / (1 + e));
            return std::max(p, 0.0) - p * t + log + extra * (std::max(-p, 0.0) + log);
        }
        case Loss::hinge: {
            const double margin = 1 - t * p;
            const bool met = margin <= 0;  // false for NaN, which must not pass for a loss of 0
            slope = met ? 0 : -t;
            return met ? 0 : margin;
        }
        case Loss::softmax_cross_entropy:
            break;
    }
    return 0;
}

// Of each row function: the loss before weights; grad, if wanted, is `scale` times its gradient.
template <class T>
double elementwise_row(const LossSpec& loss, const T* p, const Target<T>& target, T* grad, double scale) {
    double sum = 0;
    for (index_t j = 0; j < target.outputs; ++j) {
        double slope = 0;
        sum += element_loss(loss, j, static_cast<double>(p[j]), target[j], slope);
        if (grad) grad[j] = static_cast<T>(slope * scale);
    }
    return sum;
}

template <class T>
double wrong_classes_row(const T* p, const Target<T>& target, T* grad, double scale) {
    const double own = static_cast<double>(p[target.label]);
    double sum = 0;
    index_t unmet = 0;
    for (index_t j = 0; j < target.outputs; ++j) {
        if (j == target.label) continue;
        const double margin = 1 - own + static_cast<double>(p[j]);
        const bool met = margin <= 0;
        if (!met) sum += margin;
        unmet += !met;
        if (grad) grad[j] = static_cast<T>(met ? 0 : scale);
    }
    if (grad) grad[target.label] = static_cast<T>(-static_cast<double>(unmet) * scale);
    return sum;
}

// What -log softmax(p)_j is multiplied by: the smoothed target times the class's weight.
template <class T>
double share(const LossSpec& loss, const Target<T>& target, index_t j) {
    const double t = target.row ? static_cast<double>(target.row[j]) : j == target.label;
    const double smoothed =
        (1 - loss.label_smoothing) * t + loss.label_smoothing / static_cast<double>(target.outputs);
    return loss.class_weights.empty() ? smoothed : smoothed * loss.class_weights[static_cast<std::size_t>(j)];
}

// sum_j share_j (log-sum-exp(p) - p_j), with the gradient softmax(p) sum(share) - share.
template <class T>
double cross_entropy_row(const LossSpec& loss, const T* p, const Target<T>& target, T* grad, double scale) {
    const index_t n = target.outputs;
    const bool one_class = !target.row && loss.label_smoothing == 0;
    const index_t begin = one_class ? target.label : 0, end = one_class ? begin + 1 : n;
    double total = 0, weighted = 0;
    for (index_t j = begin; j < end; ++j) {
        const double part = share(loss, target, j);
        total += part;
        if (part != 0) weighted += part * static_cast<double>(p[j]);
    }
    const auto [most, log_sum] = kernels<T>().elementwise->softmax_row(n, p, grad);
    if (grad) {
        const T all = static_cast<T>(total * scale);
        for (index_t j = 0; j < n; ++j) grad[j] *= all;
        for (index_t j = begin; j < end; ++j) grad[j] -= static_cast<T>(share(loss, target, j) * scale);
    }
    return total * static_cast<double>(most) - weighted + total * static_cast<double>(log_sum);
}

template <class T>
double row_loss(const LossSpec& loss, const T* p, const Target<T>& target, T* grad, double scale) {
    if (loss.kind == Loss::softmax_cross_entropy) return cross_entropy_row(loss, p, target, grad, scale);
    if (loss.kind == Loss::hinge && !target.row && target.outputs > 1)
        return wrong_classes_row(p, target, grad, scale);
    return elementwise_row(loss, p, target, grad, scale);
}

}  // namespace

double loss_divisor(Loss loss, double weight, index_t outputs) {
    if (loss == Loss::sum_squared_residuals || weight == 0) return 1;
    const bool over_outputs = loss == Loss::mean_squared_error || loss == Loss::binary_cross_entropy ||
                              loss == Loss::binary_cross_entropy_with_logits;
    return over_outputs ? weight * static_cast<double>(outputs) : weight;
}

template <class T>
double sum_of_weights(const LossSpec& loss, index_t samples, const Targets<T>& targets) {
    const bool by_class = targets.labels && !loss.class_weights.empty();
    if (!targets.weights && !by_class) return static_cast<double>(samples);
    double sum = 0;
    for (index_t i = 0; i < samples; ++i)
        sum += (targets.weights ? targets.weights[i] : 1) *
               (by_class ? loss.class_weights[static_cast<std::size_t>(targets.labels[i])] : 1);
    return sum;
}

template <class T>
void loss_of_samples(const LossSpec& loss, index_t first, index_t count, index_t outputs, const T* prediction,
                     const Targets<T>& targets, double divisor, T* grad, SampleLoss* losses) {
    for (index_t i = first; i < first + count; ++i) {
        const T* p = prediction + i * outputs;
        const Target<T> target = target_of(loss.kind, targets, i, outputs);
        const double weight = targets.weights ? targets.weights[i] : 1;
        losses[i].hit = is_hit(loss.kind, p, target);
        losses[i].loss =
            weight * row_loss(loss, p, target, grad ? grad + i * outputs : nullptr, weight / divisor);
    }
}

LossSums sum_of_losses(index_t samples, const SampleLoss* losses, double weight) {
    LossSums sums;
    sums.weight = weight;
    for (index_t i = 0; i < samples; ++i) {
        sums.loss += losses[i].loss;
        sums.hits += losses[i].hit;
    }
    return sums;
}

template <class T>
LossSums loss_of_batch(const LossSpec& loss, index_t samples, index_t outputs, const T* prediction,
                       const Targets<T>& targets, T* grad) {
    const double weight = sum_of_weights(loss, samples, targets);
    const double divisor = loss_divisor(loss.kind, weight, outputs);
    const index_t blocks = ceil_div(samples, kRowsPerBlock);
    Scratch<SampleLoss> memory(samples);
    SampleLoss* losses = memory.data();
    parallel_for(blocks, threads_for(static_cast<double>(samples * outputs) * 20), [&](index_t block) {
        const index_t first = block * kRowsPerBlock, count = std::min(kRowsPerBlock, samples - first);
        loss_of_samples(loss, first, count, outputs, prediction, targets, divisor, grad, losses);
    });
    return sum_of_losses(samples, losses, weight);
}

#define RANVIER_INSTANTIATE(T)                                                                             \
    template double sum_of_weights(const LossSpec&, index_t, const Targets<T>&);                           \
    template void loss_of_samples(const LossSpec&, index_t, index_t, index_t, const T*, const Targets<T>&, \
                                  double, T*, SampleLoss*);                                                \
    template LossSums loss_of_batch(const LossSpec&, index_t, index_t, const T*, const Targets<T>&, T*);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
