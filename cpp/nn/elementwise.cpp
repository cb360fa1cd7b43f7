// Layers that work element by element: activations, the random ones, maxout; and softmax.
#include <algorithm>

#include "layer.h"
#include "ranvier/softmax.h"

namespace ranvier {
namespace {

template <class T>
class ActivationLayer final : public Layer<T> {
public:
    ActivationLayer(const ActivationSpec& spec, index_t size)
        : kind_(spec.kind),
          parameter_(static_cast<T>(spec.parameter)),
          reads_output_(activation_backward_reads_output(spec.kind, spec.parameter)),
          size_(size) {}

    bool takes_portions() const override { return true; }
    void forward(const Pass<T>& pass, const T* x, T* y) override {
        activation<T>(kind_, pass.n * size_, x, y, parameter_);
    }
    void backward(const Pass<T>& pass, const T* x, const T* y, T* grad, T* grad_x) override {
        if (grad_x)
            activation_backward_kept<T>(kind_, pass.n * size_, grad, reads_output_ ? y : x, grad_x,
                                        parameter_);
    }

private:
    Activation kind_;
    T parameter_;
    bool reads_output_;
    index_t size_;
};

template <class T>
class PReLULayer final : public Layer<T> {
public:
    PReLULayer(const PReLUSpec& spec, const Site<T>& site)
        : count_(spec.num_parameters),
          channels_(site.input.empty() ? 1 : site.input[0]),
          inner_(site.input.empty() ? 1 : element_count(site.input) / site.input[0]),
          slopes_(site.value("weight")),
          slopes_gradient_(site.gradient("weight")) {}

    bool trains() const override { return true; }
    void forward(const Pass<T>& pass, const T* x, T* y) override {
        prelu<T>(pass.n, channels_, inner_, x, slopes_, count_, y);
    }
    void backward(const Pass<T>& pass, const T* x, const T*, T* grad, T* grad_x) override {
        prelu_backward<T>(pass.n, channels_, inner_, grad, x, slopes_, count_, grad_x ? grad_x : grad,
                          slopes_gradient_);
    }

private:
    index_t count_, channels_, inner_;
    const T* slopes_;
    T* slopes_gradient_;
};

template <class T>
class RReLULayer final : public Layer<T> {
public:
    RReLULayer(const RReLUSpec& spec, const Site<T>& site)
        : spec_(spec), layer_(site.compilation.layers), size_(element_count(site.input)) {}

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        if (pass.training)
            rrelu<T>(slopes(pass), pass.n * size_, x, y);
        else
            activation<T>(Activation::leaky_relu, pass.n * size_, x, y, mean_slope());
    }
    void backward(const Pass<T>& pass, const T* x, const T*, T* grad, T* grad_x) override {
        if (!grad_x) return;
        if (pass.training)
            rrelu_backward<T>(slopes(pass), pass.n * size_, grad, x, grad_x);
        else
            activation_backward_kept<T>(Activation::leaky_relu, pass.n * size_, grad, x, grad_x,
                                        mean_slope());
    }

private:
    T mean_slope() const { return static_cast<T>((spec_.lower + spec_.upper) / 2); }
    RandomSlopes slopes(const Pass<T>& pass) const {
        return {spec_.lower, spec_.upper, pass.seed, stream_of(pass, layer_)};
    }

    RReLUSpec spec_;
    std::uint64_t layer_;  // its number
    index_t size_;
};

template <class T>
class DropoutLayer final : public Layer<T> {
public:
    DropoutLayer(const DropoutSpec& spec, const Site<T>& site)
        : p_(spec.p), layer_(site.compilation.layers), size_(element_count(site.input)) {}

    bool passes_through(const Pass<T>& pass) const override { return !pass.training || p_ == 0; }
    void forward(const Pass<T>& pass, const T* x, T* y) override {
        dropout<T>(mask(pass), pass.n * size_, x, y);
    }
    void backward(const Pass<T>& pass, const T*, const T*, T* grad, T* grad_x) override {
        if (grad_x) dropout<T>(mask(pass), pass.n * size_, grad, grad_x);
    }

private:
    RandomMask mask(const Pass<T>& pass) const { return {p_, pass.seed, stream_of(pass, layer_)}; }

    double p_;
    std::uint64_t layer_;  // its number
    index_t size_;
};

template <class T>
class GaussianNoiseLayer final : public Layer<T> {
public:
    GaussianNoiseLayer(const GaussianNoiseSpec& spec, const Site<T>& site)
        : std_(spec.std), layer_(site.compilation.layers), size_(element_count(site.input)) {}

    bool passes_through(const Pass<T>& pass) const override { return !pass.training || std_ == 0; }
    void forward(const Pass<T>& pass, const T* x, T* y) override {
        gaussian_noise<T>({std_, pass.seed, stream_of(pass, layer_)}, pass.n * size_, x, y);
    }
    void backward(const Pass<T>& pass, const T*, const T*, T* grad, T* grad_x) override {
        if (grad_x) std::copy_n(grad, pass.n * size_, grad_x);
    }

private:
    double std_;
    std::uint64_t layer_;  // its number
    index_t size_;
};

template <class T>
class MaxoutLayer final : public Layer<T> {
public:
    MaxoutLayer(const MaxoutSpec& spec, const Shape& output)
        : pieces_(spec.pieces),
          channels_(output[0]),
          inner_(output[0] ? element_count(output) / output[0] : 0) {}

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        maxout<T>(pass.n, channels_, pieces_, inner_, x, y);
    }
    void backward(const Pass<T>& pass, const T* x, const T*, T* grad, T* grad_x) override {
        if (grad_x) maxout_backward<T>(pass.n, channels_, pieces_, inner_, grad, x, grad_x);
    }

private:
    index_t pieces_, channels_, inner_;
};

// Over the first axis of a sample: its channels, or its features if it has no more axes.
template <class T>
class SoftmaxLayer final : public Layer<T> {
public:
    SoftmaxLayer(const SoftmaxSpec& spec, const Shape& input)
        : logarithm_(spec.logarithm), channels_(input[0]), inner_(element_count(input) / input[0]) {}

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        const auto run = logarithm_ ? &log_softmax<T> : &softmax<T>;
        each(pass, [&](auto view) { run(view(x), view(y)); });
    }
    void backward(const Pass<T>& pass, const T*, const T* y, T* grad, T* grad_x) override {
        if (!grad_x) return;
        const auto run = logarithm_ ? &log_softmax_backward<T> : &softmax_backward<T>;
        each(pass, [&](auto view) { run(view(static_cast<const T*>(grad)), view(y), view(grad_x)); });
    }

private:
    // Calls body(view), where view(data) is the matrix whose rows are to be normalised: the whole batch at
    // once if a sample is one row, else sample by sample.
    template <class Body>
    void each(const Pass<T>& pass, Body&& body) const {
        if (inner_ == 1) return body([&](auto* data) { return row_major(data, pass.n, channels_); });
        for (index_t i = 0; i < pass.n; ++i)
            body([&](auto* data) {
                return transposed(row_major(data + i * channels_ * inner_, channels_, inner_));
            });
    }

    bool logarithm_;
    index_t channels_, inner_;
};

}  // namespace

template <class T>
std::unique_ptr<Layer<T>> compile_elementwise(const ActivationSpec& spec, const Site<T>& site) {
    return std::make_unique<ActivationLayer<T>>(spec, element_count(site.input));
}

template <class T>
std::unique_ptr<Layer<T>> compile_prelu(const PReLUSpec& spec, const Site<T>& site) {
    const index_t channels = site.input.empty() ? 1 : site.input[0];
    if (spec.num_parameters != 1 && spec.num_parameters != channels)
        site.refuse("expected samples of " + std::to_string(spec.num_parameters) + " channels, got shape " +
                    shape_text(site.input));
    return std::make_unique<PReLULayer<T>>(spec, site);
}

template <class T>
std::unique_ptr<Layer<T>> compile_rrelu(const RReLUSpec& spec, const Site<T>& site) {
    return std::make_unique<RReLULayer<T>>(spec, site);
}

template <class T>
std::unique_ptr<Layer<T>> compile_dropout(const DropoutSpec& spec, const Site<T>& site) {
    return std::make_unique<DropoutLayer<T>>(spec, site);
}

template <class T>
std::unique_ptr<Layer<T>> compile_gaussian_noise(const GaussianNoiseSpec& spec, const Site<T>& site) {
    return std::make_unique<GaussianNoiseLayer<T>>(spec, site);
}

template <class T>
std::unique_ptr<Layer<T>> compile_maxout(const MaxoutSpec& spec, const Site<T>& site, Shape& output) {
    if (site.input.empty() || site.input[0] % spec.pieces != 0)
        site.refuse("expected samples whose first size is a multiple of " + std::to_string(spec.pieces) +
                    " pieces, got shape " + shape_text(site.input));
    output[0] /= spec.pieces;
    return std::make_unique<MaxoutLayer<T>>(spec, output);
}

template <class T>
std::unique_ptr<Layer<T>> compile_softmax(const SoftmaxSpec& spec, const Site<T>& site) {
    if (site.input.empty() || site.input[0] == 0)
        site.refuse("expected samples with at least one element, got shape " + shape_text(site.input));
    return std::make_unique<SoftmaxLayer<T>>(spec, site.input);
}

#define RANVIER_INSTANTIATE(T)                                                                           \
    template std::unique_ptr<Layer<T>> compile_elementwise(const ActivationSpec&, const Site<T>&);       \
    template std::unique_ptr<Layer<T>> compile_prelu(const PReLUSpec&, const Site<T>&);                  \
    template std::unique_ptr<Layer<T>> compile_rrelu(const RReLUSpec&, const Site<T>&);                  \
    template std::unique_ptr<Layer<T>> compile_dropout(const DropoutSpec&, const Site<T>&);              \
    template std::unique_ptr<Layer<T>> compile_gaussian_noise(const GaussianNoiseSpec&, const Site<T>&); \
    template std::unique_ptr<Layer<T>> compile_maxout(const MaxoutSpec&, const Site<T>&, Shape&);        \
    template std::unique_ptr<Layer<T>> compile_softmax(const SoftmaxSpec&, const Site<T>&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
