// The convolution layer, with an activation fused behind it.
#include <algorithm>
#include <stdexcept>

#include "images.h"
#include "layer.h"
#include "ranvier/conv2d.h"
#include "ranvier/elementwise.h"
#include "ranvier/memory.h"

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

    void prepare(const Pass<T>& pass) override {
        if (pass.portions <= 1) return;
        if (partial_.size() < pass.portions * partial_size())
            partial_ = Buffer<T>(pass.portions * partial_size());
        prepare_forward<T>(shape_, weights<const T>(weight_), forward_weights_);
        prepare_backward_input<T>(shape_, weights<const T>(weight_), backward_weights_);
    }

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        conv2d<T>(shape_of(pass), input(x), weights(weight_), bias_, output(y), fused_.kind, fused_.parameter,
                  pass.portions > 1 ? &forward_weights_ : nullptr);
    }

    void backward(const Pass<T>& pass, const T* x, const T* y, T* grad, T* grad_x) override {
        const Conv2dShape shape = shape_of(pass);
        backward_through(fused_, pass.n * shape.out_channels * shape.out_height() * shape.out_width(), y,
                         grad);
        const Images<const T> g = output<const T>(grad);
        const bool whole = pass.portions <= 1;
        T* partial = partial_.data() + pass.portion * partial_size();
        conv2d_backward_weights<T>(shape, g, input(x), weights(whole ? weight_gradient_ : partial),
                                   !bias_  ? nullptr
                                   : whole ? bias_gradient_
                                           : partial + weight_size());
        if (grad_x)
            conv2d_backward_input<T>(shape, g, weights(weight_), input(grad_x),
                                     whole ? nullptr : &backward_weights_);
    }

    bool reads_output() const override { return fused_.kind != Activation::identity; }
    bool takes_portions() const override { return weight_size() <= kMostSummedApart; }
    bool sums_portions() const override { return true; }
    void finish(const Pass<T>& pass, const LayerInput<T>&, const T*, index_t piece, index_t pieces) override {
        if (pass.portions <= 1) return;
        const index_t begin = piece * weight_size() / pieces, end = (piece + 1) * weight_size() / pieces;
        sum_portions(pass, begin, end - begin, weight_gradient_ + begin);
        if (bias_ && piece == 0) sum_portions(pass, weight_size(), shape_.out_channels, bias_gradient_);
    }

    bool trains() const override { return true; }
    double flops() const override {
        const index_t taps = shape_.in_channels / shape_.groups * shape_.kernel_height * shape_.kernel_width;
        return 2.0 *
               static_cast<double>(shape_.out_channels * shape_.out_height() * shape_.out_width() * taps);
    }

private:
    // Weights whose gradients are summed portion by portion; more of them take too much memory.
    static constexpr index_t kMostSummedApart = 65536;

    Conv2dShape shape_of(const Pass<T>& pass) const {
        Conv2dShape shape = shape_;
        shape.batch = pass.n;
        return shape;
    }

    index_t weight_size() const {
        return shape_.out_channels * (shape_.in_channels / shape_.groups) * shape_.kernel_height *
               shape_.kernel_width;
    }
    // Of one portion's gradients: the weight's, then the bias's.
    index_t partial_size() const { return weight_size() + shape_.out_channels; }

    // `count` of the gradients from `first` on.
    void sum_portions(const Pass<T>& pass, index_t first, index_t count, T* to) const {
        std::copy_n(partial_.data() + first, count, to);
        for (index_t portion = 1; portion < pass.portions; ++portion)
            add<T>(count, partial_.data() + portion * partial_size() + first, to);
    }

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
    // Of a batch in portions: the gradients of each, and what all share.
    Buffer<T> partial_;
    PreparedWeights<T> forward_weights_, backward_weights_;
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
