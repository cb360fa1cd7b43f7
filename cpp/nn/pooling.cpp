// The pooling layers.
#include <stdexcept>

#include "images.h"
#include "layer.h"
#include "ranvier/memory.h"
#include "ranvier/normalization.h"
#include "ranvier/pool2d.h"

namespace ranvier {
namespace {

template <class T>
class PoolingLayer : public Layer<T> {
public:
    explicit PoolingLayer(const Pool2dShape& shape) : shape_(shape) {}

    bool reads_input() const override { return false; }
    bool takes_portions() const override { return true; }

protected:
    Pool2dShape shape_of(const Pass<T>& pass) const {
        Pool2dShape shape = shape_;
        shape.batch = pass.n;
        return shape;
    }

    template <class U>
    Images<U> input(U* data) const {
        return packed_images(data, shape_.channels, shape_.in_height, shape_.in_width);
    }
    template <class U>
    Images<U> output(U* data) const {
        return packed_images(data, shape_.channels, shape_.out_height(), shape_.out_width());
    }

    Pool2dShape shape_;
};

template <class T>
class MaxPoolingLayer final : public PoolingLayer<T> {
public:
    MaxPoolingLayer(const Pool2dShape& shape, index_t capacity, bool rectified)
        : PoolingLayer<T>(shape),
          rectified_(rectified),
          indices_(capacity * shape.channels * shape.out_height() * shape.out_width()) {}

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        max_pool2d<T>(this->shape_of(pass), this->input(x), this->output(y),
                      pass.kept ? indices_of(pass) : nullptr);
        if (rectified_) activation<T>(Activation::relu, pass.n * outputs(), y, y, T{});
    }
    void backward(const Pass<T>& pass, const T*, const T* y, T* grad, T* grad_x) override {
        if (rectified_ && grad_x)
            activation_backward_kept<T>(Activation::relu, pass.n * outputs(), grad, y, grad, T{});
        if (grad_x)
            max_pool2d_backward<T>(this->shape_of(pass), this->template output<const T>(grad),
                                   indices_of(pass), this->input(grad_x));
    }

private:
    // Of a sample.
    index_t outputs() const {
        return this->shape_.channels * this->shape_.out_height() * this->shape_.out_width();
    }
    std::int32_t* indices_of(const Pass<T>& pass) { return indices_.data() + pass.first * outputs(); }

    bool rectified_;
    Buffer<std::int32_t> indices_;
};

template <class T>
class AveragePoolingLayer final : public PoolingLayer<T> {
public:
    using PoolingLayer<T>::PoolingLayer;

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        avg_pool2d<T>(this->shape_of(pass), this->input(x), this->output(y));
    }
    void backward(const Pass<T>& pass, const T*, const T*, T* grad, T* grad_x) override {
        if (grad_x)
            avg_pool2d_backward<T>(this->shape_of(pass), this->template output<const T>(grad),
                                   this->input(grad_x));
    }
};

template <class T>
class GlobalAveragePoolingLayer final : public Layer<T> {
public:
    explicit GlobalAveragePoolingLayer(const Shape& input)
        : channels_(input[0]), size_(input[1] * input[2]) {}

    bool takes_portions() const override { return true; }

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        plane_means<T>(pass.n * channels_, size_, x, y);
    }
    void backward(const Pass<T>& pass, const T*, const T*, T* grad, T* grad_x) override {
        if (grad_x) plane_means_backward<T>(pass.n * channels_, size_, grad, grad_x);
    }

private:
    index_t channels_, size_;
};

}  // namespace

template <class T>
std::unique_ptr<Layer<T>> compile_pooling(const Pool2dSpec& spec, const Site<T>& site, Shape& output) {
    require_images(site);
    Pool2dShape shape;
    shape.channels = site.input[0];
    shape.in_height = site.input[1];
    shape.in_width = site.input[2];
    shape.kernel_height = spec.kernel[0];
    shape.kernel_width = spec.kernel[1];
    shape.stride_height = spec.stride[0];
    shape.stride_width = spec.stride[1];
    shape.padding_height = spec.padding[0];
    shape.padding_width = spec.padding[1];
    try {
        check(shape);
    } catch (const std::invalid_argument& error) {
        site.refuse(error.what());
    }
    output = {shape.channels, shape.out_height(), shape.out_width()};
    if (spec.maximum) return std::make_unique<MaxPoolingLayer<T>>(shape, site.capacity(), site.rectified);
    return std::make_unique<AveragePoolingLayer<T>>(shape);
}

template <class T>
std::unique_ptr<Layer<T>> compile_global_pooling(const Site<T>& site, Shape& output) {
    require_images(site);
    output = {site.input[0]};
    return std::make_unique<GlobalAveragePoolingLayer<T>>(site.input);
}

template std::unique_ptr<Layer<float>> compile_global_pooling(const Site<float>&, Shape&);
template std::unique_ptr<Layer<double>> compile_global_pooling(const Site<double>&, Shape&);
template std::unique_ptr<Layer<float>> compile_pooling(const Pool2dSpec&, const Site<float>&, Shape&);
template std::unique_ptr<Layer<double>> compile_pooling(const Pool2dSpec&, const Site<double>&, Shape&);

}  // namespace ranvier
