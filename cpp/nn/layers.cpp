// Names and shapes of layers, and the choice of the family that compiles each.
#include "ranvier/layers.h"

#include <stdexcept>

#include "layer.h"

namespace ranvier {
namespace {

template <class... F>
struct Overloaded : F... {
    using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

const char* activation_name(Activation kind) {
    switch (kind) {
        case Activation::identity:
            return "Identity";
        case Activation::step:
            return "Step";
        case Activation::sigmoid:
            return "Sigmoid";
        case Activation::tanh:
            return "Tanh";
        case Activation::relu:
            return "ReLU";
        case Activation::leaky_relu:
            return "LeakyReLU";
        case Activation::elu:
            return "ELU";
        case Activation::softplus:
            return "Softplus";
        case Activation::gelu:
            return "GELU";
    }
    return "";
}

}  // namespace

std::string layer_name(const LayerSpec& layer) {
    return std::visit(
        Overloaded{
            [](const LinearSpec&) { return "Linear"; },
            [](const Conv2dSpec&) { return "Conv2d"; },
            [](const Pool2dSpec& pool) { return pool.maximum ? "MaxPool2d" : "AvgPool2d"; },
            [](const FlattenSpec&) { return "Flatten"; },
            [](const DropoutSpec&) { return "Dropout"; },
            [](const ActivationSpec& activation) { return activation_name(activation.kind); },
            [](const PReLUSpec&) { return "PReLU"; },
            [](const RReLUSpec&) { return "RReLU"; },
            [](const MaxoutSpec&) { return "Maxout"; },
            [](const SoftmaxSpec& softmax) { return softmax.logarithm ? "LogSoftmax" : "Softmax"; },
        },
        layer);
}

std::string shape_text(const Shape& shape) {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

index_t element_count(const Shape& shape) {
    index_t count = 1;
    for (index_t size : shape) count *= size;
    return count;
}

template <class T>
void Site<T>::refuse(const std::string& why) const {
    throw std::invalid_argument("layer " + std::to_string(position) + " (" +
                                layer_name(parameters.layers()[position]) + "): " + why);
}

template <class T>
T* Site<T>::value(const char* name) const {
    const ParameterEntry* entry = parameters.find(position, name);
    return entry ? parameters.values() + entry->offset : nullptr;
}

template <class T>
T* Site<T>::gradient(const char* name) const {
    const ParameterEntry* entry = parameters.find(position, name);
    return entry ? parameters.gradients() + entry->offset : nullptr;
}

template <class T>
std::unique_ptr<Layer<T>> compile_layer(const LayerSpec& layer, const Site<T>& site,
                                        const FusedActivation<T>& fused, Shape& output) {
    using Result = std::unique_ptr<Layer<T>>;
    output = site.input;
    return std::visit(
        Overloaded{
            [&](const LinearSpec& spec) -> Result { return compile_linear(spec, site, fused, output); },
            [&](const Conv2dSpec& spec) -> Result { return compile_convolution(spec, site, fused, output); },
            [&](const Pool2dSpec& spec) -> Result { return compile_pooling(spec, site, output); },
            [&](const FlattenSpec&) -> Result {
                output = {element_count(site.input)};
                return nullptr;
            },
            [&](const DropoutSpec& spec) -> Result { return compile_dropout(spec, site); },
            [&](const ActivationSpec& spec) -> Result { return compile_elementwise(spec, site); },
            [&](const PReLUSpec& spec) -> Result { return compile_prelu(spec, site); },
            [&](const RReLUSpec& spec) -> Result { return compile_rrelu(spec, site); },
            [&](const MaxoutSpec& spec) -> Result { return compile_maxout(spec, site, output); },
            [&](const SoftmaxSpec& spec) -> Result { return compile_softmax(spec, site); },
        },
        layer);
}

template struct Site<float>;
template struct Site<double>;
template std::unique_ptr<Layer<float>> compile_layer(const LayerSpec&, const Site<float>&,
                                                     const FusedActivation<float>&, Shape&);
template std::unique_ptr<Layer<double>> compile_layer(const LayerSpec&, const Site<double>&,
                                                      const FusedActivation<double>&, Shape&);

}  // namespace ranvier
