// Softmax and its logarithm over the first axis of a sample: its channels, or its features if it has no more
// axes.
#include "ranvier/softmax.h"

#include <stdexcept>

#include "instantiate.h"

namespace ranvier {
namespace {

template <class T>
class SoftmaxOp final : public Op<T> {
public:
    SoftmaxOp(const SoftmaxSpec& spec, const Shape& input)
        : Op<T>({false, true}),
          logarithm_(spec.logarithm),
          channels_(input[0]),
          inner_(element_count(input) / input[0]) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        const auto run = logarithm_ ? &log_softmax<T> : &softmax<T>;
        run(samples(part, at.x[0].data), samples(part, at.y), 1);
    }
    void backward_data(const MicroBatch& part, const Operands<T>& at, const T* grad,
                       T* const* grad_x) const override {
        if (!grad_x[0]) return;
        const auto run = logarithm_ ? &log_softmax_backward<T> : &softmax_backward<T>;
        run(samples(part, grad), samples(part, static_cast<const T*>(at.y)), samples(part, grad_x[0]), 1);
    }

private:
    template <class Element>
    Array<Element> samples(const MicroBatch& part, Element* data) const {
        return row_major(data, {part.count, channels_, inner_});
    }

    bool logarithm_;
    index_t channels_, inner_;
};

}  // namespace

Shape infer_shape(const SoftmaxSpec&, const InputShapes& inputs) {
    if (inputs[0].empty() || inputs[0][0] == 0)
        throw std::invalid_argument("expected samples with at least one element, got shape " +
                                    shape_text(inputs[0]));
    return inputs[0];
}

template <class T>
std::unique_ptr<Op<T>> make_op(const SoftmaxSpec& spec, const OpSite<T>& site) {
    return std::make_unique<SoftmaxOp<T>>(spec, site.input());
}
RANVIER_INSTANTIATE_OP(SoftmaxSpec)

}  // namespace ranvier
