// Losses of a batch: those of its rows, in any order, and their sums, in double and in a fixed order.
//
// Rows of few outputs are turned, so that a vector holds one output of many samples; others are taken one by
// one. Which way is a matter of the number of outputs alone, and so are a row's bits.
#include "ranvier/loss.h"

#include <algorithm>

#include "kernel_table.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

constexpr index_t kRowsPerBlock = 64;
constexpr index_t kShort = 32;  // outputs of rows that are turned

LossForm form_of(const LossSpec& loss, bool labels, index_t outputs) {
    switch (loss.kind) {
        case Loss::quadratic:
        case Loss::sum_squared_residuals:
        case Loss::mean_squared_error:
            return LossForm::squares;
        case Loss::binary_cross_entropy:
            return LossForm::binary;
        case Loss::binary_cross_entropy_with_logits:
            return LossForm::logits;
        case Loss::hinge:
            return labels && outputs > 1 ? LossForm::wrong_classes : LossForm::margin;
        case Loss::l1:
        case Loss::quantile:
            return LossForm::pinball;
        case Loss::huber:
            return LossForm::huber;
        case Loss::smooth_l1:
            return loss.beta > 0 ? LossForm::huber : LossForm::pinball;
        case Loss::negative_log_likelihood:
            return LossForm::log_likelihood;
        case Loss::focal:
            return LossForm::focal;
        case Loss::poisson:
            return loss.log_input ? LossForm::poisson_log : LossForm::poisson;
        case Loss::softmax_cross_entropy:
            break;
    }
    return LossForm::cross_entropy;
}

// What a form's sum and its slopes are multiplied by.
struct FormFactors {
    double value, slope;
};
FormFactors form_factors(const LossSpec& loss) {
    switch (loss.kind) {
        case Loss::quadratic:
            return {0.5, 1};
        case Loss::sum_squared_residuals:
        case Loss::mean_squared_error:
            return {1, 2};
        case Loss::l1:
            return {2, 2};
        case Loss::smooth_l1:
            return loss.beta > 0 ? FormFactors{1 / loss.beta, 1 / loss.beta} : FormFactors{2, 2};
        default:
            return {1, 1};
    }
}

// Whether a single output is a logit, of which 0 is the middle.
bool is_of_logits(Loss loss) {
    return loss == Loss::binary_cross_entropy_with_logits || loss == Loss::hinge || loss == Loss::focal;
}

// The losses of samples, with all that is the same for each of them.
template <class T>
class Comparison {
public:
    Comparison(const LossSpec& loss, index_t outputs, const T* prediction, const Targets<T>& targets,
               double divisor, T* grad)
        : form_(static_cast<int>(form_of(loss, targets.labels != nullptr, outputs))),
          outputs_(outputs),
          prediction_(prediction),
          targets_(targets),
          grad_(grad),
          value_factor_(form_factors(loss).value),
          slope_factor_(form_factors(loss).slope / divisor),
          threshold_(is_of_logits(loss.kind) ? T(0) : T(0.5)),
          no_label_(loss.kind == Loss::hinge && outputs == 1 ? T(-1) : T(0)),
          memory_(2 * outputs) {
        take_settings(loss);
    }

    void take(index_t first, index_t count, SampleLoss* losses) const {
        if (outputs_ == 0)
            std::fill_n(losses + first, count, SampleLoss{});
        else if (outputs_ <= kShort)
            take_columns(first, count, losses);
        else
            take_rows(first, count, losses);
    }

private:
    void take_settings(const LossSpec& loss) {
        switch (static_cast<LossForm>(form_)) {
            case LossForm::cross_entropy:
                factors_.keep = static_cast<T>(1 - loss.label_smoothing);
                factors_.even = static_cast<T>(loss.label_smoothing / static_cast<double>(outputs_));
                return take_factors(loss.weight, 0);
            case LossForm::log_likelihood:
                return take_factors(loss.weight.empty() ? std::vector<double>{1} : loss.weight, 0);
            case LossForm::logits:
                return take_factors(loss.pos_weight, 1);
            case LossForm::pinball:
                if (loss.kind == Loss::quantile) take_factors(loss.quantile, 0.5);
                return;
            case LossForm::huber:
                factors_.parameter = static_cast<T>(loss.kind == Loss::huber ? loss.delta : loss.beta);
                return;
            case LossForm::focal:
                factors_.parameter = static_cast<T>(loss.gamma);
                factors_.keep = static_cast<T>(loss.alpha ? 2 * *loss.alpha - 1 : 0);
                factors_.even = static_cast<T>(loss.alpha ? 1 - *loss.alpha : 1);
                return;
            case LossForm::poisson:
                factors_.parameter = static_cast<T>(loss.eps);
                return;
            default:
                return;
        }
    }
    void take_factors(const std::vector<double>& weights, double origin) {
        if (weights.empty()) return;
        T* factors = memory_.data();
        for (index_t j = 0; j < outputs_; ++j)
            factors[j] =
                static_cast<T>(weights[weights.size() == 1 ? 0 : static_cast<std::size_t>(j)] - origin);
        factors_.outputs = factors;
    }

    double weight(index_t sample) const { return targets_.weights ? targets_.weights[sample] : 1; }
    T scale(index_t sample) const { return static_cast<T>(slope_factor_ * weight(sample)); }

    // A row for labels to stand in, unless the kernel asks for nothing else than the label.
    T* blank_target() const {
        const bool label_suffices =
            form_ == static_cast<int>(LossForm::wrong_classes) ||
            (form_ == static_cast<int>(LossForm::cross_entropy) && factors_.even == 0);
        if (targets_.dense || label_suffices) return nullptr;
        T* row = memory_.data() + outputs_;
        std::fill_n(row, outputs_, no_label_);
        return row;
    }

    void take_rows(index_t first, index_t count, SampleLoss* losses) const {
        const LossKernels<T>& table = *kernels<T>().loss;
        const auto row_loss = table.row[form_];
        T* blank = blank_target();
        for (index_t i = first; i < first + count; ++i) {
            const T* p = prediction_ + i * outputs_;
            const T* t = targets_.dense ? targets_.dense + i * outputs_ : blank;
            const index_t own = targets_.dense ? table.largest(outputs_, t) : targets_.labels[i];
            const bool hit = table.largest(outputs_, p) == own;
            if (blank) blank[own] = 1;
            const double loss =
                row_loss(factors_, outputs_, p, t, own, scale(i), grad_ ? grad_ + i * outputs_ : nullptr);
            if (blank) blank[own] = no_label_;
            losses[i] = {weight(i) * value_factor_ * loss, hit};
        }
    }

    void take_columns(index_t first, index_t count, SampleLoss* losses) const {
        const LossKernels<T>& table = *kernels<T>().loss;
        const index_t lanes = kernels<T>().plane->lanes;
        const auto columns_loss = table.columns[form_];
        Scratch<T> memory(2 * outputs_ * lanes);
        T *columns = memory.data(), *target_columns = columns + outputs_ * lanes;
        T scales[kMostLanes<T>] = {};
        double sums[kMostLanes<T>];
        bool hits[kMostLanes<T>];
        std::fill_n(scales, lanes, scale(first));
        for (index_t i = first; i < first + count; i += lanes) {
            const index_t now = std::min(lanes, first + count - i);
            if (targets_.weights)
                for (index_t lane = 0; lane < now; ++lane) scales[lane] = scale(i + lane);
            const T* p = turned(now, prediction_ + i * outputs_, columns);
            const T* t = targets_.dense ? turned(now, targets_.dense + i * outputs_, target_columns)
                                        : one_hot(now, targets_.labels + i, target_columns);
            table.hit_columns(outputs_, p, t, threshold_, hits);
            columns_loss(factors_, outputs_, p, t, scales, grad_ ? columns : nullptr, sums);
            if (grad_) turn_back(now, columns, grad_ + i * outputs_);
            for (index_t lane = 0; lane < now; ++lane)
                losses[i + lane] = {weight(i + lane) * value_factor_ * sums[lane], hits[lane]};
        }
    }

    // Output j of sample `lane` goes to j * lanes + lane; lanes without a sample get zeros.
    const T* turned(index_t samples, const T* rows, T* columns) const {
        const PlaneKernels<T>& plane = *kernels<T>().plane;
        if (outputs_ > 1)
            plane.gather_lanes(samples, outputs_, rows, outputs_, columns, plane.lanes);
        else if (samples == plane.lanes)
            return rows;
        else
            std::fill(std::copy_n(rows, samples, columns), columns + plane.lanes, T{});
        return columns;
    }
    const T* one_hot(index_t samples, const std::int64_t* labels, T* columns) const {
        const index_t lanes = kernels<T>().plane->lanes;
        std::fill_n(columns, outputs_ * lanes, no_label_);
        for (index_t lane = 0; lane < samples; ++lane)
            if (outputs_ > 1)
                columns[labels[lane] * lanes + lane] = 1;
            else if (labels[lane] == 1)
                columns[lane] = 1;
        return columns;
    }
    void turn_back(index_t samples, const T* columns, T* rows) const {
        const T zeros[kMostLanes<T>] = {};
        if (outputs_ > 1)
            kernels<T>().plane->scatter_lanes(samples, outputs_, columns, kernels<T>().plane->lanes, zeros,
                                              rows, outputs_);
        else
            std::copy_n(columns, samples, rows);
    }

    int form_;  // a LossForm
    index_t outputs_;
    const T* prediction_;
    const Targets<T>& targets_;
    T* grad_;
    double value_factor_;  // from a form's sum to the loss
    double slope_factor_;  // from a form's slopes to the gradient of the mean
    T threshold_;          // between the two answers of a single output
    T no_label_;           // the target of an output that is not the label's
    LossFactors<T> factors_;
    Scratch<T> memory_;  // factors of the outputs, and a row of targets
};

}  // namespace

double loss_divisor(Loss loss, double weight, index_t outputs) {
    if (loss == Loss::sum_squared_residuals || weight == 0) return 1;
    switch (loss) {
        case Loss::quadratic:
        case Loss::hinge:
        case Loss::softmax_cross_entropy:
        case Loss::negative_log_likelihood:
            return weight;
        default:
            return weight * static_cast<double>(outputs);
    }
}

template <class T>
double sum_of_weights(const LossSpec& loss, index_t samples, const Targets<T>& targets) {
    const bool by_class = targets.labels && !loss.weight.empty();
    if (!targets.weights && !by_class) return static_cast<double>(samples);
    double sum = 0;
    for (index_t i = 0; i < samples; ++i)
        sum += (targets.weights ? targets.weights[i] : 1) *
               (by_class ? loss.weight[static_cast<std::size_t>(targets.labels[i])] : 1);
    return sum;
}

template <class T>
void loss_of_samples(const LossSpec& loss, index_t first, index_t count, index_t outputs, const T* prediction,
                     const Targets<T>& targets, double divisor, T* grad, SampleLoss* losses) {
    if (count > 0)
        Comparison<T>(loss, outputs, prediction, targets, divisor, grad).take(first, count, losses);
}

LossSums sum_of_losses(index_t samples, const SampleLoss* losses, double weight) {
    // Four sums side by side, for an addition takes longer than a load.
    constexpr index_t kSums = 4;
    double sums[kSums] = {};
    index_t hits = 0, i = 0;
    for (; i + kSums <= samples; i += kSums)
        for (index_t k = 0; k < kSums; ++k) {
            sums[k] += losses[i + k].loss;
            hits += losses[i + k].hit;
        }
    for (; i < samples; ++i) {
        sums[0] += losses[i].loss;
        hits += losses[i].hit;
    }
    return {(sums[0] + sums[1]) + (sums[2] + sums[3]), hits, weight};
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

template <class T>
void add_errors(index_t n, index_t outputs, const T* prediction, const T* target, double* sums) {
    constexpr index_t kColumns = 16;  // a cache line of each row is read once
    constexpr double kCost = 3;       // of an element, in units of threads_for()
    parallel_for(ceil_div(outputs, kColumns), threads_for(static_cast<double>(n * outputs) * kCost),
                 [&](index_t task) {
                     const index_t j = task * kColumns;
                     kernels<T>().loss->add_errors(n, outputs, std::min(kColumns, outputs - j),
                                                   prediction + j, target + j, sums + j);
                 });
}

#define RANVIER_INSTANTIATE(T)                                                                             \
    template double sum_of_weights(const LossSpec&, index_t, const Targets<T>&);                           \
    template void loss_of_samples(const LossSpec&, index_t, index_t, index_t, const T*, const Targets<T>&, \
                                  double, T*, SampleLoss*);                                                \
    template LossSums loss_of_batch(const LossSpec&, index_t, index_t, const T*, const Targets<T>&, T*);   \
    template void add_errors(index_t, index_t, const T*, const T*, double*);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
