// The normalization layers.
#include "ranvier/normalization.h"

#include <algorithm>
#include <cmath>

#include "layer.h"
#include "ranvier/memory.h"

namespace ranvier {
namespace {

template <class T>
class BatchNormLayer final : public Layer<T> {
public:
    BatchNormLayer(const BatchNormSpec& spec, const Site<T>& site)
        : spec_(spec),
          inner_(element_count(site.input) / spec.num_features),
          gamma_(site.value("weight")),
          beta_(site.value("bias")),
          gamma_gradient_(site.gradient("weight")),
          beta_gradient_(site.gradient("bias")),
          running_mean_(site.value("running_mean")),
          running_variance_(site.value("running_var")),
          mean_(spec.num_features),
          inverse_deviation_(spec.num_features) {}

    bool trains() const override { return gamma_ != nullptr; }
    void forward(const Pass<T>& pass, const T* x, T* y) override {
        if (pass.training) {
            batch_norm_statistics<T>(shape(pass), x, spec_.epsilon, mean_.data(), inverse_deviation_.data());
        } else {
            std::copy_n(running_mean_, spec_.num_features, mean_.data());
            for (index_t c = 0; c < spec_.num_features; ++c)
                inverse_deviation_[c] =
                    T(1) / std::sqrt(running_variance_[c] + static_cast<T>(spec_.epsilon));
        }
        batch_norm<T>(shape(pass), x, mean_.data(), inverse_deviation_.data(), gamma_, beta_, y);
    }

    void backward(const Pass<T>& pass, const T* x, const T*, T* grad, T* grad_x) override {
        batch_norm_backward<T>(shape(pass), pass.training, grad, x, mean_.data(), inverse_deviation_.data(),
                               gamma_, grad_x, gamma_gradient_, beta_gradient_);
    }

    // As in PyTorch, the running variance is of the unbiased one, with the divisor count - 1.
    void commit(const Pass<T>& pass) override {
        const double count = static_cast<double>(pass.n * inner_);
        const double unbiased = count / std::max(count - 1, 1.0), share = spec_.momentum;
        for (index_t c = 0; c < spec_.num_features; ++c) {
            const double deviation = 1 / static_cast<double>(inverse_deviation_[c]);
            const double variance = std::max(deviation * deviation - spec_.epsilon, 0.0) * unbiased;
            approach(running_mean_[c], static_cast<double>(mean_[c]), share);
            approach(running_variance_[c], variance, share);
        }
    }

private:
    BatchNormShape shape(const Pass<T>& pass) const { return {pass.n, spec_.num_features, inner_}; }
    static void approach(T& running, double now, double share) {
        running = static_cast<T>(static_cast<double>(running) * (1 - share) + now * share);
    }

    BatchNormSpec spec_;
    index_t inner_;  // pixels of a channel
    const T *gamma_, *beta_;
    T *gamma_gradient_, *beta_gradient_;
    T *running_mean_, *running_variance_;
    Buffer<T> mean_, inverse_deviation_;  // of the last pass
};

template <class T>
class LayerNormLayer final : public Layer<T> {
public:
    LayerNormLayer(const LayerNormSpec& spec, const Site<T>& site)
        : epsilon_(spec.epsilon),
          size_(element_count(spec.normalized_shape)),
          rows_(element_count(site.input) / size_),
          gamma_(site.value("weight")),
          beta_(site.value("bias")),
          gamma_gradient_(site.gradient("weight")),
          beta_gradient_(site.gradient("bias")),
          mean_(site.capacity() * rows_),
          inverse_deviation_(site.capacity() * rows_) {}

    bool trains() const override { return gamma_ != nullptr; }
    void forward(const Pass<T>& pass, const T* x, T* y) override {
        layer_norm<T>(pass.n * rows_, size_, x, epsilon_, gamma_, beta_, y, mean_.data(),
                      inverse_deviation_.data());
    }
    void backward(const Pass<T>& pass, const T* x, const T*, T* grad, T* grad_x) override {
        layer_norm_backward<T>(pass.n * rows_, size_, grad, x, mean_.data(), inverse_deviation_.data(),
                               gamma_, grad_x, gamma_gradient_, beta_gradient_);
    }

private:
    double epsilon_;
    index_t size_, rows_;  // of a row; rows of a sample
    const T *gamma_, *beta_;
    T *gamma_gradient_, *beta_gradient_;
    Buffer<T> mean_, inverse_deviation_;
};

}  // namespace

template <class T>
std::unique_ptr<Layer<T>> compile_batch_norm(const BatchNormSpec& spec, const Site<T>& site) {
    const bool fits = static_cast<int>(site.input.size()) == spec.axes && site.input[0] == spec.num_features;
    if (!fits)
        site.refuse("expected samples of shape (" + std::to_string(spec.num_features) +
                    (spec.axes == 1 ? ",)" : ", height, width)") + ", got " + shape_text(site.input));
    return std::make_unique<BatchNormLayer<T>>(spec, site);
}

template <class T>
std::unique_ptr<Layer<T>> compile_layer_norm(const LayerNormSpec& spec, const Site<T>& site) {
    const Shape& wanted = spec.normalized_shape;
    if (wanted.empty() || wanted.size() > site.input.size() ||
        !std::equal(wanted.rbegin(), wanted.rend(), site.input.rbegin()))
        site.refuse("expected samples whose shape ends with " + shape_text(wanted) + ", got " +
                    shape_text(site.input));
    return std::make_unique<LayerNormLayer<T>>(spec, site);
}

#define RANVIER_INSTANTIATE(T)                                                                   \
    template std::unique_ptr<Layer<T>> compile_batch_norm(const BatchNormSpec&, const Site<T>&); \
    template std::unique_ptr<Layer<T>> compile_layer_norm(const LayerNormSpec&, const Site<T>&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
