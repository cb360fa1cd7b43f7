// The transposed convolution: what a convolution of its weights computes as the gradient to its input.
#include <algorithm>
#include <stdexcept>

#include "images.h"
#include "instantiate.h"
#include "ranvier/conv2d.h"
#include "ranvier/memory.h"
#include "ranvier/normalization.h"

namespace ranvier {
namespace {

// The convolution that goes the other way, from an output to an input of that shape.
Conv2dShape reversed_shape(const ConvTranspose2dSpec& spec, const Shape& input) {
    const auto size = [&](std::size_t axis) {
        return (input[axis + 1] - 1) * spec.stride[axis] - 2 * spec.padding[axis] +
               spec.dilation[axis] * (spec.kernel[axis] - 1) + spec.output_padding[axis] + 1;
    };
    Conv2dSpec reversed = {spec.out_channels, spec.in_channels, {}, {}, {}, {}, spec.groups, spec.bias};
    std::copy_n(spec.kernel, 2, reversed.kernel);
    std::copy_n(spec.stride, 2, reversed.stride);
    std::copy_n(spec.padding, 2, reversed.padding);
    std::copy_n(spec.dilation, 2, reversed.dilation);
    return conv2d_shape(reversed, {spec.out_channels, size(0), size(1)});
}

template <class T>
class TransposedConvolutionOp final : public Op<T> {
public:
    TransposedConvolutionOp(const ConvTranspose2dSpec& spec, const OpSite<T>& site)
        : Op<T>(traits_of(spec, site)),
          shape_(reversed_shape(spec, site.input())),
          weight_(site.value("weight")),
          bias_(site.value("bias")),
          bias_offset_(bias_ ? bias_ - weight_ : 0),
          backward_(site.backward) {}

    void prepare(const Preparation<T>& next) override {
        if (!next.begins_pass()) return;
        ready_ = next.use != Use::one_pass;
        if (!ready_) return;
        prepare_backward_input<T>(shape_, weights<const T>(weight_), forward_weights_);
        if (backward_) prepare_forward<T>(shape_, weights<const T>(weight_), backward_weights_);
    }

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        conv2d_backward_input<T>(for_batch(shape_, part.count), input(at.x[0].data), weights(weight_),
                                 output(at.y), ready_ ? &forward_weights_ : nullptr);
        if (bias_) add_to_channels<T>({part.count, shape_.in_channels, pixels()}, bias_, at.y);
    }

    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0])
            conv2d<T>(for_batch(shape_, part.count), output(grad), weights(weight_), nullptr,
                      input(grad_x[0]), Activation::identity, T{}, ready_ ? &backward_weights_ : nullptr);
    }

    void backward_weights(const MicroBatch& part, const Operands<T>& at, const T* grad,
                          const Sink<T>& sink) const override {
        conv2d_backward_weights<T>(for_batch(shape_, part.count), input(at.x[0].data), output(grad),
                                   weights(sink.to), nullptr, sink.accumulate);
        if (bias_)
            channel_sums<T>({part.count, shape_.in_channels, pixels()}, grad, sink.to + bias_offset_,
                            sink.accumulate);
    }

private:
    static Traits traits_of(const ConvTranspose2dSpec& spec, const OpSite<T>& site) {
        Traits traits;
        traits.reads_output = false;
        traits.trains = true;
        traits.weights = WeightGradient::partial_sums;
        traits.flops = 2.0 * static_cast<double>(element_count(site.input())) *
                       static_cast<double>(spec.out_channels / spec.groups * spec.kernel[0] * spec.kernel[1]);
        return traits;
    }

    index_t pixels() const { return shape_.in_height * shape_.in_width; }
    template <class U>
    Images<U> input(U* data) const {
        return packed_images(data, shape_.out_channels, shape_.out_height(), shape_.out_width());
    }
    template <class U>
    Images<U> output(U* data) const {
        return packed_images(data, shape_.in_channels, shape_.in_height, shape_.in_width);
    }
    template <class U>
    Images<U> weights(U* data) const {
        return packed_images(data, shape_.in_channels / shape_.groups, shape_.kernel_height,
                             shape_.kernel_width);
    }

    Conv2dShape shape_;  // its output is the layer's input
    const T* weight_;
    const T* bias_;
    index_t bias_offset_;
    bool backward_;
    bool ready_ = false;
    PreparedWeights<T> forward_weights_, backward_weights_;
};

}  // namespace

Shape infer_shape(const ConvTranspose2dSpec& spec, const InputShapes& inputs) {
    const Shape& input = inputs[0];
    if (input.size() != 3 || input[0] != spec.in_channels)
        throw std::invalid_argument("expected samples of shape (" + std::to_string(spec.in_channels) +
                                    ", height, width), got " + shape_text(input));
    for (std::size_t axis = 0; axis < 2; ++axis)
        if (spec.output_padding[axis] >= spec.stride[axis])
            throw std::invalid_argument("output_padding: expected less than the stride");
    const Conv2dShape shape = reversed_shape(spec, input);
    if (input[1] < 1 || input[2] < 1 || shape.in_height < 1 || shape.in_width < 1)
        throw std::invalid_argument("expected images that leave an output, got " + shape_text(input));
    check(shape);
    return {shape.in_channels, shape.in_height, shape.in_width};
}

template <class T>
std::unique_ptr<Op<T>> make_op(const ConvTranspose2dSpec& spec, const OpSite<T>& site) {
    return std::make_unique<TransposedConvolutionOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(ConvTranspose2dSpec)

}  // namespace ranvier
