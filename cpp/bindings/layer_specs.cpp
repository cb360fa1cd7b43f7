// Layers as Python describes them, (kind, fields), read into LayerSpecs.
#include "layer_specs.h"

#include <stdexcept>

namespace ranvier {
namespace {

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
    return spec;
}

Pool2dSpec pool2d_spec(const py::dict& fields, bool maximum) {
    Pool2dSpec spec{};
    spec.maximum = maximum;
    read_pair(fields, "kernel_size", spec.kernel);
    read_pair(fields, "stride", spec.stride);
    read_pair(fields, "padding", spec.padding);
    return spec;
}

LayerSpec layer_spec(const std::string& kind, const py::dict& fields) {
    if (kind == "linear")
        return LinearSpec{field<index_t>(fields, "in_features"), field<index_t>(fields, "out_features"),
                          field<bool>(fields, "bias")};
    if (kind == "conv2d") return conv2d_spec(fields);
    if (kind == "max_pool2d") return pool2d_spec(fields, true);
    if (kind == "avg_pool2d") return pool2d_spec(fields, false);
    if (kind == "flatten") return FlattenSpec{};
    if (kind == "dropout") return DropoutSpec{field<double>(fields, "p")};
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
