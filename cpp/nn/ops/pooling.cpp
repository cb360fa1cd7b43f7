// Maximum and average pooling, over windows of one size or so that outputs have one.
#include <algorithm>

#include "images.h"
#include "instantiate.h"
#include "ranvier/memory.h"
#include "ranvier/normalization.h"
#include "ranvier/pool2d.h"

namespace ranvier {
namespace {

Pool2dShape shape_of(const Pool2dSpec& spec, const Shape& input) {
    Pool2dShape shape;
    shape.channels = input[0];
    shape.in_height = input[1];
    shape.in_width = input[2];
    shape.kernel_height = spec.kernel[0];
    shape.kernel_width = spec.kernel[1];
    shape.stride_height = spec.stride[0];
    shape.stride_width = spec.stride[1];
    shape.padding_height = spec.padding[0];
    shape.padding_width = spec.padding[1];
    shape.ceil_mode = spec.ceil_mode;
    shape.count_include_pad = spec.count_include_pad;
    return shape;
}

// What pooling layers share.
template <class T>
class PoolingOp : public Op<T> {
public:
    PoolingOp(const Pool2dSpec& spec, const OpSite<T>& site, const Traits& traits)
        : Op<T>(traits), shape_(shape_of(spec, site.input())) {}

protected:
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

// Saves the place of each maximum. A ReLU that it has taken over comes behind it.
template <class T>
class MaxPoolOp final : public PoolingOp<T> {
public:
    MaxPoolOp(const Pool2dSpec& spec, const OpSite<T>& site)
        : PoolingOp<T>(spec, site, traits_of(site)),
          outputs_(element_count(site.output)),
          activation_(site.node.activation) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        max_pool2d<T>(for_batch(this->shape_, part.count), this->input(at.x[0].data), this->output(at.y),
                      indices(at.saved));
        if (activation_.kind != Activation::identity)
            activation<T>(activation_.kind, part.count * outputs_, at.y, at.y,
                          static_cast<T>(activation_.parameter));
    }
    void backward_data(const MicroBatch& part, const Operands<T>& at, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0])
            max_pool2d_backward<T>(for_batch(this->shape_, part.count), this->output(grad), indices(at.saved),
                                   this->input(grad_x[0]));
    }

private:
    static Traits traits_of(const OpSite<T>& site) {
        Traits traits;
        traits.reads_input = traits.reads_output = false;
        traits.saved =
            ceil_div(element_count(site.output) * index_t{sizeof(std::int32_t)}, index_t{sizeof(T)});
        return traits;
    }
    static std::int32_t* indices(T* saved) { return reinterpret_cast<std::int32_t*>(saved); }

    index_t outputs_;  // of a sample
    ActivationSpec activation_;
};

template <class T>
class AvgPoolOp final : public PoolingOp<T> {
public:
    AvgPoolOp(const Pool2dSpec& spec, const OpSite<T>& site) : PoolingOp<T>(spec, site, {false, false}) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        avg_pool2d<T>(for_batch(this->shape_, part.count), this->input(at.x[0].data), this->output(at.y));
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0])
            avg_pool2d_backward<T>(for_batch(this->shape_, part.count), this->output(grad),
                                   this->input(grad_x[0]));
    }
};

template <class T>
class GlobalAvgPoolOp final : public Op<T> {
public:
    explicit GlobalAvgPoolOp(const OpSite<T>& site)
        : Op<T>({false, false}),
          channels_(site.input()[0]),
          size_(site.input()[1] * site.input()[2]),
          format_(site.node.inputs[0].format) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        if (format_ == MemoryFormat::channels_last)
            return pixel_means<T>(part.count, size_, channels_, at.x[0].data, at.y);
        plane_means<T>(part.count * channels_, size_, at.x[0].data, at.y);
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0]) plane_means_backward<T>(part.count * channels_, size_, grad, grad_x[0]);
    }

private:
    index_t channels_, size_;
    MemoryFormat format_;
};

AdaptivePool2dShape adaptive_shape(const AdaptivePool2dSpec& spec, const Shape& input) {
    return {input[0], input[1], input[2], spec.output[0] ? spec.output[0] : input[1],
            spec.output[1] ? spec.output[1] : input[2]};
}

AdaptivePool2dShape for_samples(AdaptivePool2dShape shape, index_t count) {
    shape.planes *= count;
    return shape;
}

template <class T>
class AdaptiveAvgPoolOp final : public Op<T> {
public:
    explicit AdaptiveAvgPoolOp(const AdaptivePool2dShape& shape) : Op<T>({false, false}), shape_(shape) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        adaptive_avg_pool2d<T>(for_samples(shape_, part.count), at.x[0].data, at.y);
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0]) adaptive_avg_pool2d_backward<T>(for_samples(shape_, part.count), grad, grad_x[0]);
    }

private:
    AdaptivePool2dShape shape_;
};

// Saves the place of each maximum.
template <class T>
class AdaptiveMaxPoolOp final : public Op<T> {
public:
    explicit AdaptiveMaxPoolOp(const AdaptivePool2dShape& shape)
        : Op<T>(traits_of(shape)),
          shape_(shape),
          sizes_(pool2d_of_sizes(shape.in_height, shape.in_width, shape.out_height, shape.out_width)) {
        sizes_.channels = shape.planes;
    }

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        const AdaptivePool2dShape shape = for_samples(shape_, part.count);
        if (at.saved) return adaptive_max_pool2d<T>(shape, at.x[0].data, at.y, indices(at.saved));
        Scratch<std::int32_t> unread(shape.planes * shape.out_height * shape.out_width);
        adaptive_max_pool2d<T>(shape, at.x[0].data, at.y, unread.data());
    }
    void backward_data(const MicroBatch& part, const Operands<T>& at, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0])
            max_pool2d_backward<T>(
                for_batch(sizes_, part.count),
                packed_images(grad, shape_.planes, shape_.out_height, shape_.out_width), indices(at.saved),
                packed_images(grad_x[0], shape_.planes, shape_.in_height, shape_.in_width));
    }

private:
    static Traits traits_of(const AdaptivePool2dShape& shape) {
        Traits traits;
        traits.reads_input = traits.reads_output = false;
        traits.saved =
            ceil_div(shape.planes * shape.out_height * shape.out_width * index_t{sizeof(std::int32_t)},
                     index_t{sizeof(T)});
        return traits;
    }
    static std::int32_t* indices(T* saved) { return reinterpret_cast<std::int32_t*>(saved); }

    AdaptivePool2dShape shape_;  // of a sample
    Pool2dShape sizes_;
};

}  // namespace

Shape infer_shape(const Pool2dSpec& spec, const InputShapes& inputs) {
    require_images(inputs[0]);
    const Pool2dShape shape = shape_of(spec, inputs[0]);
    check(shape);
    return {shape.channels, shape.out_height(), shape.out_width()};
}

Shape infer_shape(const AdaptivePool2dSpec& spec, const InputShapes& inputs) {
    require_images(inputs[0]);
    if (inputs[0][1] < 1 || inputs[0][2] < 1)
        throw std::invalid_argument("expected planes of at least 1 pixel a side, got shape " +
                                    shape_text(inputs[0]));
    const AdaptivePool2dShape shape = adaptive_shape(spec, inputs[0]);
    return {shape.planes, shape.out_height, shape.out_width};
}

template <class T>
std::unique_ptr<Op<T>> make_op(const Pool2dSpec& spec, const OpSite<T>& site) {
    if (spec.maximum) return std::make_unique<MaxPoolOp<T>>(spec, site);
    return std::make_unique<AvgPoolOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(Pool2dSpec)

template <class T>
std::unique_ptr<Op<T>> make_op(const AdaptivePool2dSpec& spec, const OpSite<T>& site) {
    if (is_global_average(spec)) return std::make_unique<GlobalAvgPoolOp<T>>(site);
    const AdaptivePool2dShape shape = adaptive_shape(spec, site.input());
    if (shape.in_height % shape.out_height == 0 && shape.in_width % shape.out_width == 0) {
        const index_t height = shape.in_height / shape.out_height, width = shape.in_width / shape.out_width;
        return make_op(Pool2dSpec{spec.maximum, {height, width}, {height, width}, {0, 0}}, site);
    }
    if (spec.maximum) return std::make_unique<AdaptiveMaxPoolOp<T>>(shape);
    return std::make_unique<AdaptiveAvgPoolOp<T>>(shape);
}
RANVIER_INSTANTIATE_OP(AdaptivePool2dSpec)

}  // namespace ranvier
