// Every loss with every setting, for the tests of losses.
#pragma once

#include <vector>

#include "ranvier/loss.h"

inline std::vector<ranvier::LossSpec> every_loss(ranvier::index_t outputs) {
    using ranvier::index_t, ranvier::Loss, ranvier::LossSpec;
    std::vector<LossSpec> all = {Loss::quadratic,
                                 Loss::sum_squared_residuals,
                                 Loss::mean_squared_error,
                                 Loss::binary_cross_entropy,
                                 Loss::binary_cross_entropy_with_logits,
                                 Loss::softmax_cross_entropy,
                                 Loss::hinge,
                                 Loss::l1,
                                 Loss::huber,
                                 Loss::smooth_l1,
                                 Loss::quantile,
                                 Loss::negative_log_likelihood,
                                 Loss::focal,
                                 Loss::poisson};
    LossSpec logarithms = Loss::negative_log_likelihood, quantiles = Loss::quantile, means = Loss::poisson;
    LossSpec balanced = Loss::focal, near = Loss::smooth_l1, straight = Loss::smooth_l1, wide = Loss::huber;
    means.log_input = false;
    balanced.alpha = 0.25;
    balanced.gamma = 0.5;
    near.beta = 0.375;
    straight.beta = 0;
    wide.delta = 4;
    LossSpec smoothed = Loss::softmax_cross_entropy, weighted = Loss::softmax_cross_entropy;
    LossSpec positive = Loss::binary_cross_entropy_with_logits;
    smoothed.label_smoothing = 0.2;
    for (index_t j = 0; j < outputs; ++j) {
        weighted.weight.push_back(static_cast<double>(j % 3) / 2);
        positive.pos_weight.push_back(0.5 + static_cast<double>(j % 4));
        quantiles.quantile.push_back(0.125 + static_cast<double>(j % 6) / 8);
    }
    logarithms.weight = weighted.weight;
    all.insert(all.end(), {logarithms, quantiles, means, balanced, near, straight, wide});
    all.insert(all.end(), {smoothed, weighted, positive});
    smoothed.weight = weighted.weight;
    all.push_back(smoothed);
    return all;
}
