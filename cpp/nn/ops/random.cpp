// Ops that draw numbers for each element: dropout, Gaussian noise, the randomized ReLU.
#include <algorithm>

#include "instantiate.h"
#include "ranvier/activation.h"

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

// In evaluation the slope is the mean of those in training.
template <class T>
class RReLUOp final : public RandomOp<T> {
public:
    RReLUOp(const RReLUSpec& spec, const OpSite<T>& site)
        : RandomOp<T>(site, {true, false}),
          training_(site.training),
          mean_slope_(static_cast<T>((spec.lower + spec.upper) / 2)) {
        slopes_.lower = spec.lower;
        slopes_.upper = spec.upper;
    }

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        const index_t n = part.count * this->size_;
        if (training_)
            rrelu<T>(this->draws(slopes_, part), n, at.x[0].data, at.y);
        else
            activation<T>(Activation::leaky_relu, n, at.x[0].data, at.y, mean_slope_);
    }
    void backward_data(const MicroBatch& part, const Operands<T>& at, const T* grad,
                       T* const* grad_x) const override {
        if (!grad_x[0]) return;
        const index_t n = part.count * this->size_;
        if (training_)
            rrelu_backward<T>(this->draws(slopes_, part), n, grad, at.x[0].data, grad_x[0]);
        else
            activation_backward_kept<T>(Activation::leaky_relu, n, grad, at.x[0].data, grad_x[0],
                                        mean_slope_);
    }

private:
    RandomSlopes slopes_;
    bool training_;
    T mean_slope_;
};

}  // namespace

Shape infer_shape(const DropoutSpec&, const InputShapes& inputs) { return inputs[0]; }
Shape infer_shape(const GaussianNoiseSpec&, const InputShapes& inputs) { return inputs[0]; }
Shape infer_shape(const RReLUSpec&, const InputShapes& inputs) { return inputs[0]; }

template <class T>
std::unique_ptr<Op<T>> make_op(const DropoutSpec& spec, const OpSite<T>& site) {
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
