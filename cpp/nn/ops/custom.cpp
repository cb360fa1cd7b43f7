// A layer that the program around the library computes, for the whole batch on the calling thread.
#include <algorithm>

#include "instantiate.h"
#include "ranvier/memory.h"

namespace ranvier {
namespace {

template <class T>
class CustomOp final : public Op<T> {
public:
    CustomOp(const CustomSpec& spec, const OpSite<T>& site)
        : Op<T>(traits_of(spec)),
          layer_(spec.layer),
          input_(site.input()),
          output_(site.output),
          number_(site.node.number),
          training_(site.training),
          keeps_(site.backward) {
        for (const auto& [name, shape] : layer_->parameters()) {
            values_.push_back(site.value(name.c_str()));
            gradients_.emplace_back(element_count(shape));
        }
    }

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        layer_->forward({batch_of(part, input_), at.x[0].data, batch_of(part, output_), at.y, values_,
                         training_, keeps_, part.seed, stream_of(part, number_)});
    }
    // The gradients of the parameters come with that to the input.
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        std::vector<T*> gradients;
        for (Buffer<T>& gradient : gradients_) gradients.push_back(gradient.data());
        layer_->backward({batch_of(part, output_), grad, batch_of(part, input_), grad_x[0], gradients});
    }
    void backward_weights(const MicroBatch&, const Operands<T>&, const T*,
                          const Sink<T>& sink) const override {
        for (std::size_t i = 0; i < gradients_.size(); ++i)
            std::copy_n(gradients_[i].data(), gradients_[i].size(), sink.to + (values_[i] - values_[0]));
    }

private:
    static Traits traits_of(const CustomSpec& spec) {
        const bool has_parameters = !spec.layer->parameters().empty();
        Traits traits;
        traits.reads_input = traits.reads_output = false;
        traits.whole_batch = true;
        traits.trains = has_parameters || spec.layer->trains_itself();
        if (has_parameters) traits.weights = WeightGradient::partial_sums;
        return traits;
    }
    static Shape batch_of(const MicroBatch& part, Shape sample) {
        sample.insert(sample.begin(), part.count);
        return sample;
    }

    std::shared_ptr<CustomLayer> layer_;
    Shape input_, output_;  // of a sample
    std::uint64_t number_;
    bool training_, keeps_;
    std::vector<const T*> values_;
    mutable std::vector<Buffer<T>> gradients_;  // of the last backward pass
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
