// The loss of a batch, for micro-batches as they come, and what it sums up to.
#pragma once

#include <algorithm>

#include "batches.h"
#include "clock.h"
#include "ranvier/loss.h"

namespace ranvier {

template <class T>
class BatchLoss {
public:
    // Adds the time to `seconds`, unless that is nullptr.
    BatchLoss(const Batch<T>& batch, const Objective<T>& objective, index_t outputs, double* seconds)
        : batch_(batch), objective_(objective), outputs_(outputs), seconds_(seconds), losses_(batch.n) {
        if (objective.custom) return;
        weight_ = sum_of_weights<T>(objective.loss, batch.n, batch.targets);
        divisor_ = batch.summed ? 1 : loss_divisor(objective.loss.kind, weight_, outputs);
    }

    // Of a custom loss, the whole batch.
    void operator()(index_t first, index_t count, const T* prediction, T* grad) {
        const Stopwatch watch(seconds_);
        if (batch_.predictions)
            std::copy_n(prediction, count * outputs_, batch_.predictions + first * outputs_);
        if (objective_.custom) return compare(count, prediction, grad);
        const Targets<T>& all = batch_.targets;
        const Targets<T> targets = {all.dense ? all.dense + first * outputs_ : nullptr,
                                    all.labels ? all.labels + first : nullptr,
                                    all.weights ? all.weights + first : nullptr};
        loss_of_samples<T>(objective_.loss, 0, count, outputs_, prediction, targets, divisor_, grad,
                           losses_.data() + first);
    }

    LossSums sums() const {
        return objective_.custom ? custom_ : sum_of_losses(batch_.n, losses_.data(), weight_);
    }

private:
    void compare(index_t count, const T* prediction, T* grad) {
        custom_ = objective_.custom(count, prediction, batch_.samples, grad);
        if (!batch_.summed) return;
        const T weight = static_cast<T>(custom_.weight);
        std::transform(grad, grad + count * outputs_, grad, [&](T slope) { return weight * slope; });
    }

    const Batch<T>& batch_;
    const Objective<T>& objective_;
    index_t outputs_;
    double* seconds_;
    Scratch<SampleLoss> losses_;
    double weight_ = 0, divisor_ = 1;
    LossSums custom_;
};

}  // namespace ranvier
