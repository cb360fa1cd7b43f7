// The convolution layer, with an activation fused behind it.
#include <stdexcept>

#include "images.h"
#include "layer.h"
#include "ranvier/conv2d.h"

namespace ranvier {
namespace {

template <class T>
class ConvolutionLayer final : public Layer<T> {
public:
    ConvolutionLayer(const Conv2dShape& shape, const Site<T>& site, const FusedActivation<T>& fused)
        : shape_(shape),
          weight_(site.value("weight")),
          weight_gradient_(site.gradient("weight")),
          bias_(site.value("bias")),
          bias_gradient_(site.gradient("bias")),
          fused_(fused) {}

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        shape_.batch = pass.n;
        conv2d<T>(shape_, input(x), weights(weight_), bias_, output(y), fused_.kind, fused_.parameter);
    }

    void backward(const Pass<T>& pass, const T* x, const T* y, T* grad, T* grad_x) override {
        shape_.batch = pass.n;
        backward_through(fused_, pass.n * shape_.out_channels * shape_.out_height() * shape_.out_width(), y,
                         grad);
        const Images<const T> g = output<const T>(grad);
        conv2d_backward_weights<T>(shape_, g, input(x), weights(weight_gradient_), bias_gradient_);
        if (grad_x) conv2d_backward_input<T>(shape_, g, weights(weight_), input(grad_x));
    }

    bool trains() const override { return true; }
    double flops() const override {
        const index_t taps = shape_.in_channels / shape_.groups * shape_.kernel_height * shape_.kernel_width;
        return 2.0 *
               static_cast<double>(shape_.out_channels * shape_.out_height() * shape_.out_width() * taps);
    }

private:
    template <class U>
    Images<U> input(U* data) const {
        return packed_images(data, shape_.in_channels, shape_.in_height, shape_.in_width);
    }
    template <class U>
    Images<U> output(U* data) const {
        return packed_images(data, shape_.out_channels, shape_.out_height(), shape_.out_width());
    }
    template <class U>
    Images<U> weights(U* data) const {
        return packed_images(data, shape_.in_channels / shape_.groups, shape_.kernel_height,
                             shape_.kernel_width);
    }

    Conv2dShape shape_;
    const T* weight_;
    T* weight_gradient_;
    const T* bias_;
    T* bias_gradient_;
    FusedActivation<T> fused_;
};

}  // namespace

template <class T>
std::unique_ptr<Layer<T>> compile_convolution(const Conv2dSpec& spec, const Site<T>& site,
                                              const FusedActivation<T>& fused, Shape& output) {
    if (site.input.size() != 3 || site.input[0] != spec.in_channels)
        site.refuse("expected samples of shape (" + std::to_string(spec.in_channels) +
                    ", height, width), got " + shape_text(site.input));
    Conv2dShape shape;
    shape.in_channels = spec.in_channels;
    shape.in_height = site.input[1];
    shape.in_width = site.input[2];
    shape.out_channels = spec.out_channels;
    shape.kernel_height = spec.kernel[0];
    shape.kernel_width = spec.kernel[1];
    shape.stride_height = spec.stride[0];
    shape.stride_width = spec.stride[1];
    shape.padding_height = spec.padding[0];
    shape.padding_width = spec.padding[1];
    shape.dilation_height = spec.dilation[0];
    shape.dilation_width = spec.dilation[1];
    shape.groups = spec.groups;
    try {
        check(shape);
    } catch (const std::invalid_argument& error) {
        site.refuse(error.what());
    }
    output = {shape.out_channels, shape.out_height(), shape.out_width()};
    return std::make_unique<ConvolutionLayer<T>>(shape, site, fused);
}

template std::unique_ptr<Layer<float>> compile_convolution(const Conv2dSpec&, const Site<float>&,
                                                           const FusedActivation<float>&, Shape&);
template std::unique_ptr<Layer<double>> compile_convolution(const Conv2dSpec&, const Site<double>&,
                                                            const FusedActivation<double>&, Shape&);

}  // namespace ranvier
