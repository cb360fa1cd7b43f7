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
        each(part, [&](auto view) { run(view(at.x[0].data), view(at.y)); });
    }
    void backward_data(const MicroBatch& part, const Operands<T>& at, const T* grad,
                       T* const* grad_x) const override {
        if (!grad_x[0]) return;
        const auto run = logarithm_ ? &log_softmax_backward<T> : &softmax_backward<T>;
        each(part, [&](auto view) { run(view(grad), view(static_cast<const T*>(at.y)), view(grad_x[0])); });
    }

private:
    // Calls body(view), where view(data) is the matrix whose rows are to be normalised: all samples at once
    // if a sample is one row, else sample by sample.
    template <class Body>
    void each(const MicroBatch& part, Body&& body) const {
        if (inner_ == 1) return body([&](auto* data) { return row_major(data, part.count, channels_); });
        for (index_t i = 0; i < part.count; ++i)
            body([&](auto* data) {
                return transposed(row_major(data + i * channels_ * inner_, channels_, inner_));
            });
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
