// A batch normalization by running statistics as a scale and a shift of each channel.
#pragma once

#include <cmath>

#include "../op.h"
#include "ranvier/memory.h"

namespace ranvier {

// That which a product has taken over, if it has.
template <class T>
class BatchNormFold {
public:
    explicit BatchNormFold(const OpSite<T>& site) {
        if (!site.node.batch_norm) return;
        const auto& [path, eps] = *site.node.batch_norm;
        *this = BatchNormFold(site, path, eps);
    }
    BatchNormFold(const OpSite<T>& site, const std::string& path, double eps)
        : gamma_(site.value_of(path, "weight")),
          beta_(site.value_of(path, "bias")),
          mean_(site.value_of(path, "running_mean")),
          variance_(site.value_of(path, "running_var")),
          eps_(static_cast<T>(eps)) {}

    bool folds() const { return mean_ != nullptr; }
    T scale(index_t c) const { return (gamma_ ? gamma_[c] : T(1)) / std::sqrt(variance_[c] + eps_); }
    // What is added to a scaled channel that has this addend of its own.
    T shift(index_t c, T addend = T{}) const {
        return (addend - mean_[c]) * scale(c) + (beta_ ? beta_[c] : T{});
    }
    // The bias of a product that is scaled by scale(), whose own bias (nullptr: none) is given.
    Buffer<T> bias(index_t channels, const T* own) const {
        Buffer<T> all(channels);
        for (index_t c = 0; c < channels; ++c) all[c] = shift(c, own ? own[c] : T{});
        return all;
    }

private:
    const T *gamma_ = nullptr, *beta_ = nullptr, *mean_ = nullptr, *variance_ = nullptr;
    T eps_{};
};

}  // namespace ranvier
