// Layers as Python describes them, (kind, fields), read into LayerSpecs.
#include "layer_specs.h"

#include <pybind11/numpy.h>

#include <map>
#include <stdexcept>

#include "../platform/denormals.h"

namespace ranvier {
namespace {

// A layer that Python computes: functions from array to array, which check what they give back.
class PythonLayer final : public CustomLayer {
public:
    explicit PythonLayer(const py::dict& fields)
        : name_(fields["name"].cast<std::string>()),
          output_shape_(fields["output_shape"].cast<py::function>()),
          forward_(fields["forward"].cast<py::function>()),
          backward_(fields["backward"].cast<py::function>()) {}
    PythonLayer(const PythonLayer&) = delete;
    ~PythonLayer() override {
        py::gil_scoped_acquire acquire;
        output_shape_ = forward_ = backward_ = py::function();
    }

    std::string name() const override { return name_; }
    // Asked once for each input shape: the function tries the layer on zeros.
    Shape output_shape(const Shape& input) override {
        py::gil_scoped_acquire acquire;
        const auto known = output_shapes_.find(input);
        if (known != output_shapes_.end()) return known->second;
        return output_shapes_[input] = output_shape_(py::cast(input)).cast<Shape>();
    }
    void forward(const Shape& in, const float* x, const Shape& out, float* y) override {
        call(forward_, in, x, out, y);
    }
    void forward(const Shape& in, const double* x, const Shape& out, double* y) override {
        call(forward_, in, x, out, y);
    }
    void backward(const Shape& out, const float* grad, const Shape& in, float* grad_x) override {
        call(backward_, out, grad, in, grad_x);
    }
    void backward(const Shape& out, const double* grad, const Shape& in, double* grad_x) override {
        call(backward_, out, grad, in, grad_x);
    }

private:
    // `to` may be nullptr if only what the function does is wanted. Arrays are copied: Python may keep them.
    template <class T>
    static void call(const py::function& function, const Shape& from_shape, const T* from,
                     const Shape& to_shape, T* to) {
        const CallersDenormals denormals;
        py::gil_scoped_acquire acquire;
        const auto result =
            function(py::array_t<T>(from_shape, from), py::cast(to_shape)).template cast<py::array_t<T>>();
        if (to) std::copy_n(result.data(), result.size(), to);
    }

    std::string name_;
    std::map<Shape, Shape> output_shapes_;
    py::function output_shape_, forward_, backward_;
};

template <class T>
T field(const py::dict& fields, const char* name) {
    if (!fields.contains(name)) throw py::value_error(std::string("layers: missing field '") + name + "'");
    return fields[name].cast<T>();
}

void read_pair(const py::dict& fields, const char* name, index_t (&pair)[2]) {
    const auto [height, width] = field<std::pair<index_t, index_t>>(fields, name);
    pair[0] = height;
    pair[1] = width;
}

Conv2dSpec conv2d_spec(const py::dict& fields) {
    Conv2dSpec spec{};
    spec.in_channels = field<index_t>(fields, "in_channels");
    spec.out_channels = field<index_t>(fields, "out_channels");
    read_pair(fields, "kernel_size", spec.kernel);
    read_pair(fields, "stride", spec.stride);
    read_pair(fields, "padding", spec.padding);
    read_pair(fields, "dilation", spec.dilation);
    spec.groups = field<index_t>(fields, "groups");
    spec.bias = field<bool>(fields, "bias");
    spec.l1 = field<double>(fields, "l1");
    spec.l2 = field<double>(fields, "l2");
    return spec;
}

std::vector<LayerSpec> specs(const py::dict& fields, const char* name) {
    return layer_specs(field<py::sequence>(fields, name));
}

ParallelSpec parallel_spec(const py::dict& fields) {
    ParallelSpec spec;
    for (const py::handle branch : field<py::sequence>(fields, "branches"))
        spec.branches.push_back(layer_specs(branch.cast<py::sequence>()));
    return spec;
}

BatchNormSpec batch_norm_spec(const py::dict& fields, int axes) {
    return {field<index_t>(fields, "num_features"), field<double>(fields, "epsilon"),
            field<double>(fields, "momentum"), field<bool>(fields, "affine"), axes};
}

Pool2dSpec pool2d_spec(const py::dict& fields, bool maximum) {
    Pool2dSpec spec{};
    spec.maximum = maximum;
    read_pair(fields, "kernel_size", spec.kernel);
    read_pair(fields, "stride", spec.stride);
    read_pair(fields, "padding", spec.padding);
    return spec;
}

RandomCropSpec random_crop_spec(const py::dict& fields) {
    RandomCropSpec spec{};
    read_pair(fields, "size", spec.size);
    read_pair(fields, "padding", spec.padding);
    return spec;
}

LayerSpec layer_spec(const std::string& kind, const py::dict& fields) {
    if (kind == "linear")
        return LinearSpec{field<index_t>(fields, "in_features"), field<index_t>(fields, "out_features"),
                          field<bool>(fields, "bias"), field<double>(fields, "l1"),
                          field<double>(fields, "l2")};
    if (kind == "conv2d") return conv2d_spec(fields);
    if (kind == "max_pool2d") return pool2d_spec(fields, true);
    if (kind == "avg_pool2d") return pool2d_spec(fields, false);
    if (kind == "global_avg_pool2d") return GlobalAvgPool2dSpec{};
    if (kind == "batch_norm1d") return batch_norm_spec(fields, 1);
    if (kind == "batch_norm2d") return batch_norm_spec(fields, 3);
    if (kind == "layer_norm")
        return LayerNormSpec{field<Shape>(fields, "normalized_shape"), field<double>(fields, "epsilon"),
                             field<bool>(fields, "affine")};
    if (kind == "residual") return ResidualSpec{specs(fields, "layers"), specs(fields, "shortcut")};
    if (kind == "parallel") return parallel_spec(fields);
    if (kind == "python") return CustomSpec{std::make_shared<PythonLayer>(fields)};
    if (kind == "flatten") return FlattenSpec{};
    if (kind == "dropout") return DropoutSpec{field<double>(fields, "p")};
    if (kind == "gaussian_noise") return GaussianNoiseSpec{field<double>(fields, "std")};
    if (kind == "random_shift") return RandomShiftSpec{field<index_t>(fields, "pixels")};
    if (kind == "random_rotation") return RandomRotationSpec{field<double>(fields, "degrees")};
    if (kind == "random_horizontal_flip") return RandomHorizontalFlipSpec{field<double>(fields, "p")};
    if (kind == "random_crop") return random_crop_spec(fields);
    if (kind == "prelu") return PReLUSpec{field<index_t>(fields, "num_parameters")};
    if (kind == "rrelu") return RReLUSpec{field<double>(fields, "lower"), field<double>(fields, "upper")};
    if (kind == "maxout") return MaxoutSpec{field<index_t>(fields, "pieces")};
    if (kind == "softmax") return SoftmaxSpec{false};
    if (kind == "log_softmax") return SoftmaxSpec{true};
    if (kind == "leaky_relu")
        return ActivationSpec{Activation::leaky_relu, field<double>(fields, "negative_slope")};
    if (kind == "elu") return ActivationSpec{Activation::elu, field<double>(fields, "alpha")};
    if (kind == "step") return ActivationSpec{Activation::step};
    if (kind == "sigmoid") return ActivationSpec{Activation::sigmoid};
    if (kind == "tanh") return ActivationSpec{Activation::tanh};
    if (kind == "relu") return ActivationSpec{Activation::relu};
    if (kind == "softplus") return ActivationSpec{Activation::softplus};
    if (kind == "gelu") return ActivationSpec{Activation::gelu};
    throw py::value_error("layers: there is no layer of kind '" + kind + "'");
}

}  // namespace

std::vector<LayerSpec> layer_specs(const py::sequence& layers) {
    std::vector<LayerSpec> specs;
    for (const py::handle layer : layers) {
        const auto [kind, fields] = layer.cast<std::pair<std::string, py::dict>>();
        specs.push_back(layer_spec(kind, fields));
    }
    return specs;
}

}  // namespace ranvier
