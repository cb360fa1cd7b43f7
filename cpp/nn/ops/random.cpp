// Ops that draw numbers for each element: dropout, Gaussian noise, the randomized ReLU.
#include <algorithm>
#include <stdexcept>

#include "instantiate.h"
#include "ranvier/activation.h"
#include "ranvier/memory.h"

namespace ranvier {
namespace {

// Has the layer's number, and the size of a sample.
template <class T>
class RandomOp : public Op<T> {
public:
    RandomOp(const OpSite<T>& site, const Traits& traits)
        : Op<T>(traits), layer_(site.node.number), size_(element_count(site.output)) {}

protected:
    // Sets where a micro-batch's draws begin.
    template <class Draws>
    Draws draws(Draws from, const MicroBatch& part) const {
        from.seed = part.seed;
        from.stream = stream_of(part, layer_);
        from.first = part.position * size_;
        return from;
    }

    std::uint64_t layer_;
    index_t size_;
};

template <class T>
class DropoutOp final : public RandomOp<T> {
public:
    DropoutOp(const DropoutSpec& spec, const OpSite<T>& site) : RandomOp<T>(site, {false, false}) {
        mask_.p = spec.p;
    }

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        dropout<T>(this->draws(mask_, part), part.count * this->size_, at.x[0].data, at.y);
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0]) dropout<T>(this->draws(mask_, part), part.count * this->size_, grad, grad_x[0]);
    }

private:
    RandomMask mask_;
};

// One number is drawn for each channel.
template <class T>
class ChannelDropoutOp final : public RandomOp<T> {
public:
    ChannelDropoutOp(const DropoutSpec& spec, const OpSite<T>& site)
        : RandomOp<T>(site, {false, false}),
          channels_(site.output[0]),
          inner_(channels_ ? this->size_ / channels_ : 0) {
        this->size_ = channels_;
        mask_.p = spec.p;
    }

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        apply(part, at.x[0].data, at.y);
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0]) apply(part, grad, grad_x[0]);
    }

private:
    void apply(const MicroBatch& part, const T* x, T* y) const {
        Scratch<T> factors(part.count * channels_);
        std::fill_n(factors.data(), part.count * channels_, T(1));
        dropout<T>(this->draws(mask_, part), part.count * channels_, factors.data(), factors.data());
        for (index_t c = 0; c < part.count * channels_; ++c, x += inner_, y += inner_) {
            const T factor = factors.data()[c];
            if (factor == 0)
                std::fill_n(y, inner_, T{});
            else
                for (index_t i = 0; i < inner_; ++i) y[i] = x[i] * factor;
        }
    }

    index_t channels_, inner_;
    RandomMask mask_;
};

template <class T>
class GaussianNoiseOp final : public RandomOp<T> {
public:
    GaussianNoiseOp(const GaussianNoiseSpec& spec, const OpSite<T>& site)
        : RandomOp<T>(site, {false, false}) {
        noise_.std = spec.std;
    }

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        gaussian_noise<T>(this->draws(noise_, part), part.count * this->size_, at.x[0].data, at.y);
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0]) std::copy_n(grad, part.count * this->size_, grad_x[0]);
    }

private:
    RandomNoise noise_;
};

// The slopes of training are kept for the way back. In evaluation the slope is their mean.
template <class T>
class RReLUOp final : public RandomOp<T> {
public:
    RReLUOp(const RReLUSpec& spec, const OpSite<T>& site)
        : RandomOp<T>(site, traits_of(site)),
          training_(site.training),
          mean_slope_(static_cast<T>((spec.lower + spec.upper) / 2)) {
        slopes_.lower = spec.lower;
        slopes_.upper = spec.upper;
    }

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        const index_t n = part.count * this->size_;
        const T* const x = at.x[0].data;
        if (!training_) return activation<T>(Activation::leaky_relu, n, x, at.y, mean_slope_);
        const RandomSlopes range = this->draws(slopes_, part);
        if (!at.saved) return rrelu<T>(range, row_major(x, {n}), row_major(at.y, {n}));
        rrelu_slopes<T>(range, row_major(x, {n}), row_major(at.saved, {n}));
        multiply_by_slopes(n, x, at.saved, at.y);
    }
    void backward_data(const MicroBatch& part, const Operands<T>& at, const T* grad,
                       T* const* grad_x) const override {
        if (!grad_x[0]) return;
        const index_t n = part.count * this->size_;
        if (training_)
            multiply_by_slopes(n, grad, at.saved, grad_x[0]);
        else
            activation_backward_kept<T>(Activation::leaky_relu, n, grad, at.x[0].data, grad_x[0],
                                        mean_slope_);
    }

private:
    static Traits traits_of(const OpSite<T>& site) {
        Traits traits;
        traits.reads_output = false;
        traits.reads_input = !site.training;
        if (site.training) traits.saved = element_count(site.output);
        return traits;
    }
    static void multiply_by_slopes(index_t n, const T* x, const T* slopes, T* y) {
        multiply<T>(row_major(x, {n}), row_major(slopes, {n}), row_major(y, {n}));
    }

    RandomSlopes slopes_;
    bool training_;
    T mean_slope_;
};

}  // namespace

Shape infer_shape(const DropoutSpec& spec, const InputShapes& inputs) {
    if (spec.axes && static_cast<int>(inputs[0].size()) != spec.axes + 1)
        throw std::invalid_argument(std::string("expected samples of shape ") +
                                    (spec.axes == 1 ? "(channels, length)" : "(channels, height, width)") +
                                    ", got " + shape_text(inputs[0]));
    return inputs[0];
}
Shape infer_shape(const GaussianNoiseSpec&, const InputShapes& inputs) { return inputs[0]; }
Shape infer_shape(const RReLUSpec&, const InputShapes& inputs) { return inputs[0]; }

template <class T>
std::unique_ptr<Op<T>> make_op(const DropoutSpec& spec, const OpSite<T>& site) {
    if (spec.axes) return std::make_unique<ChannelDropoutOp<T>>(spec, site);
    return std::make_unique<DropoutOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(DropoutSpec)

template <class T>
std::unique_ptr<Op<T>> make_op(const GaussianNoiseSpec& spec, const OpSite<T>& site) {
    return std::make_unique<GaussianNoiseOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(GaussianNoiseSpec)

template <class T>
std::unique_ptr<Op<T>> make_op(const RReLUSpec& spec, const OpSite<T>& site) {
    return std::make_unique<RReLUOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(RReLUSpec)

}  // namespace ranvier
