// Ops that work element by element with nothing drawn: activations, the parametric ReLU, maxout.
#include "ranvier/activation.h"

#include <stdexcept>

#include "instantiate.h"
#include "ranvier/elementwise.h"
#include "ranvier/memory.h"

namespace ranvier {
namespace {

template <class T>
class ActivationOp final : public Op<T> {
public:
    ActivationOp(const ActivationSpec& spec, const OpSite<T>& site)
        : Op<T>(traits_of(spec)),
          kind_(spec.kind),
          parameter_(static_cast<T>(spec.parameter)),
          size_(element_count(site.output)) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        activation<T>(kind_, part.count * size_, at.x[0].data, at.y, parameter_);
    }
    void backward_data(const MicroBatch& part, const Operands<T>& at, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0])
            activation_backward_kept<T>(kind_, part.count * size_, grad,
                                        this->traits.reads_output ? at.y : at.x[0].data, grad_x[0],
                                        parameter_);
    }

private:
    static Traits traits_of(const ActivationSpec& spec) {
        Traits traits;
        traits.reads_output = activation_backward_reads_output(spec.kind, spec.parameter);
        traits.reads_input = !traits.reads_output;
        return traits;
    }

    Activation kind_;
    T parameter_;
    index_t size_;  // of a sample
};

template <class T>
class PReLUOp final : public Op<T> {
public:
    PReLUOp(const PReLUSpec& spec, const OpSite<T>& site)
        : Op<T>(traits_of()),
          count_(spec.num_parameters),
          channels_(site.input().empty() ? 1 : site.input()[0]),
          inner_(channels_ ? element_count(site.input()) / channels_ : 0),
          slopes_(site.value("weight")) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        prelu<T>(samples(part, at.x[0].data), slopes(), samples(part, at.y));
    }
    void backward_data(const MicroBatch& part, const Operands<T>& at, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0])
            prelu_backward_data<T>(samples(part, grad), samples(part, at.x[0].data), slopes(),
                                   samples(part, grad_x[0]));
    }
    void backward_weights(const MicroBatch& part, const Operands<T>& at, const T* grad,
                          const Sink<T>& sink) const override {
        Scratch<T> memory(count_);
        T* to = sink.accumulate ? memory.data() : sink.to;
        prelu_backward_weights<T>(samples(part, grad), samples(part, at.x[0].data), row_major(to, {count_}));
        if (sink.accumulate) add<T>(count_, to, sink.to);
    }

private:
    static Traits traits_of() {
        Traits traits;
        traits.reads_output = false;
        traits.trains = true;
        traits.weights = WeightGradient::partial_sums;
        return traits;
    }

    template <class Element>
    Array<Element> samples(const MicroBatch& part, Element* data) const {
        return row_major(data, {part.count, channels_, inner_});
    }
    Array<const T> slopes() const { return row_major(slopes_, {count_}); }

    index_t count_, channels_, inner_;
    const T* slopes_;
};

template <class T>
class MaxoutOp final : public Op<T> {
public:
    MaxoutOp(const MaxoutSpec& spec, const OpSite<T>& site)
        : Op<T>({true, false}),
          pieces_(spec.pieces),
          channels_(site.output[0]),
          inner_(channels_ ? element_count(site.output) / channels_ : 0) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        maxout<T>(pieces_, groups(part, at.x[0].data), maxima(part, at.y));
    }
    void backward_data(const MicroBatch& part, const Operands<T>& at, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0])
            maxout_backward<T>(pieces_, maxima(part, grad), groups(part, at.x[0].data),
                               groups(part, grad_x[0]));
    }

private:
    template <class Element>
    Array<Element> groups(const MicroBatch& part, Element* data) const {
        return row_major(data, {part.count, channels_ * pieces_, inner_});
    }
    template <class Element>
    Array<Element> maxima(const MicroBatch& part, Element* data) const {
        return row_major(data, {part.count, channels_, inner_});
    }

    index_t pieces_, channels_, inner_;
};

}  // namespace

Shape infer_shape(const ActivationSpec&, const InputShapes& inputs) { return inputs[0]; }

Shape infer_shape(const PReLUSpec& spec, const InputShapes& inputs) {
    const index_t channels = inputs[0].empty() ? 1 : inputs[0][0];
    if (spec.num_parameters != 1 && spec.num_parameters != channels)
        throw std::invalid_argument("expected samples of " + std::to_string(spec.num_parameters) +
                                    " channels, got shape " + shape_text(inputs[0]));
    return inputs[0];
}

Shape infer_shape(const MaxoutSpec& spec, const InputShapes& inputs) {
    Shape shape = inputs[0];
    if (shape.empty() || shape[0] % spec.pieces != 0)
        throw std::invalid_argument("expected samples whose first size is a multiple of " +
                                    std::to_string(spec.pieces) + " pieces, got shape " + shape_text(shape));
    shape[0] /= spec.pieces;
    return shape;
}

template <class T>
std::unique_ptr<Op<T>> make_op(const ActivationSpec& spec, const OpSite<T>& site) {
    return std::make_unique<ActivationOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(ActivationSpec)

template <class T>
std::unique_ptr<Op<T>> make_op(const PReLUSpec& spec, const OpSite<T>& site) {
    return std::make_unique<PReLUOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(PReLUSpec)

template <class T>
std::unique_ptr<Op<T>> make_op(const MaxoutSpec& spec, const OpSite<T>& site) {
    return std::make_unique<MaxoutOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(MaxoutSpec)

}  // namespace ranvier
