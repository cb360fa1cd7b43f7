// The convolution layer, with an activation taken over.
#include <algorithm>
#include <stdexcept>

#include "batch_norm_fold.h"
#include "images.h"
#include "instantiate.h"
#include "ranvier/conv2d.h"
#include "ranvier/memory.h"

namespace ranvier {
namespace {

template <class T>
class ConvolutionOp final : public Op<T> {
public:
    ConvolutionOp(const Conv2dSpec& spec, const OpSite<T>& site)
        : Op<T>(traits_of(spec, site)),
          shape_(conv2d_shape(spec, site.input())),
          weight_(site.value("weight")),
          bias_(site.value("bias")),
          bias_offset_(bias_ ? bias_ - weight_ : 0),
          backward_(site.backward),
          input_format_(site.node.inputs[0].format),
          output_format_(site.node.format),
          fold_(site),
          activation_(site.node.activation) {}

    void prepare(const Preparation<T>& next) override {
        if (!next.begins_pass()) return;
        ready_ = next.use != Use::one_pass;
        if (fold_.folds()) fold();
        if (!ready_) return;
        prepare_forward<T>(shape_, weights<const T>(weight()), forward_weights_, format());
        if (backward_) prepare_backward_input<T>(shape_, weights<const T>(weight_), backward_weights_);
    }

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        conv2d<T>(for_batch(shape_, part.count), input(at.x[0].data), weights(weight()),
                  folded_bias_.size() ? folded_bias_.data() : bias_, output(at.y), activation_.kind,
                  static_cast<T>(activation_.parameter), ready_ ? &forward_weights_ : nullptr);
    }

    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0])
            conv2d_backward_input<T>(for_batch(shape_, part.count), output(grad), weights(weight_),
                                     input(grad_x[0]), ready_ ? &backward_weights_ : nullptr);
    }

    void backward_weights(const MicroBatch& part, const Operands<T>& at, const T* grad,
                          const Sink<T>& sink) const override {
        conv2d_backward_weights<T>(for_batch(shape_, part.count), output(grad), input(at.x[0].data),
                                   weights(sink.to), bias_ ? sink.to + bias_offset_ : nullptr,
                                   sink.accumulate);
    }

private:
    static Traits traits_of(const Conv2dSpec& spec, const OpSite<T>& site) {
        Traits traits;
        traits.reads_output = false;
        traits.trains = true;
        traits.weights = WeightGradient::partial_sums;
        traits.flops = 2.0 * static_cast<double>(element_count(site.output)) *
                       static_cast<double>(spec.in_channels / spec.groups * spec.kernel[0] * spec.kernel[1]);
        return traits;
    }

    void fold() {
        const index_t size = group_channels() * shape_.kernel_height * shape_.kernel_width;
        if (!folded_.size()) folded_ = Buffer<T>(shape_.out_channels * size);
        for (index_t c = 0; c < shape_.out_channels; ++c) {
            const T scale = fold_.scale(c);
            for (index_t i = c * size; i < (c + 1) * size; ++i) folded_[i] = weight_[i] * scale;
        }
        folded_bias_ = fold_.bias(shape_.out_channels, bias_);
    }

    MemoryFormat format() const {
        return input_format_ == MemoryFormat::channels_last ? input_format_ : output_format_;
    }
    const T* weight() const { return folded_.size() ? folded_.data() : weight_; }
    index_t group_channels() const { return shape_.in_channels / shape_.groups; }

    template <class U>
    Images<U> input(U* data) const {
        return packed_images(data, shape_.in_channels, shape_.in_height, shape_.in_width, input_format_);
    }
    template <class U>
    Images<U> output(U* data) const {
        return packed_images(data, shape_.out_channels, shape_.out_height(), shape_.out_width(),
                             output_format_);
    }
    template <class U>
    Images<U> weights(U* data) const {
        return packed_images(data, group_channels(), shape_.kernel_height, shape_.kernel_width);
    }

    Conv2dShape shape_;
    const T* weight_;
    const T* bias_;
    index_t bias_offset_;
    bool backward_;
    MemoryFormat input_format_, output_format_;
    BatchNormFold<T> fold_;
    ActivationSpec activation_;
    Buffer<T> folded_, folded_bias_;
    bool ready_ = false;
    PreparedWeights<T> forward_weights_, backward_weights_;
};

}  // namespace

Shape infer_shape(const Conv2dSpec& spec, const InputShapes& inputs) {
    const Shape& input = inputs[0];
    if (input.size() != 3 || input[0] != spec.in_channels)
        throw std::invalid_argument("expected samples of shape (" + std::to_string(spec.in_channels) +
                                    (spec.axes == 1 ? ", length), got " + shape_text({input[0], input[2]})
                                                    : ", height, width), got " + shape_text(input)));
    const Conv2dShape shape = conv2d_shape(spec, input);
    check(shape);
    return {shape.out_channels, shape.out_height(), shape.out_width()};
}

template <class T>
std::unique_ptr<Op<T>> make_op(const Conv2dSpec& spec, const OpSite<T>& site) {
    return std::make_unique<ConvolutionOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(Conv2dSpec)

}  // namespace ranvier
