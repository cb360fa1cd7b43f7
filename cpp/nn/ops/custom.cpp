// A layer that the program around the library computes, for the whole batch on the calling thread.
#include "instantiate.h"

namespace ranvier {
namespace {

template <class T>
class CustomOp final : public Op<T> {
public:
    CustomOp(const CustomSpec& spec, const OpSite<T>& site)
        : Op<T>(traits_of()), layer_(spec.layer), input_(site.input()), output_(site.output) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        layer_->forward(batch_of(part, input_), at.x[0].data, batch_of(part, output_), at.y);
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        layer_->backward(batch_of(part, output_), grad, batch_of(part, input_), grad_x[0]);
    }

private:
    static Traits traits_of() {
        Traits traits;
        traits.reads_input = traits.reads_output = false;
        traits.whole_batch = true;
        traits.trains = true;  // for all that is known here: it may change itself
        return traits;
    }
    static Shape batch_of(const MicroBatch& part, Shape sample) {
        sample.insert(sample.begin(), part.count);
        return sample;
    }

    std::shared_ptr<CustomLayer> layer_;
    Shape input_, output_;  // of a sample
};

}  // namespace

Shape infer_shape(const CustomSpec& spec, const InputShapes& inputs) {
    return spec.layer->output_shape(inputs[0]);
}

template <class T>
std::unique_ptr<Op<T>> make_op(const CustomSpec& spec, const OpSite<T>& site) {
    return std::make_unique<CustomOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(CustomSpec)

}  // namespace ranvier
