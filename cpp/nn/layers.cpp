// Names and shapes of layers, and the choice of the family that compiles each.
#include "ranvier/layers.h"

#include <stdexcept>

#include "layer.h"
#include "ranvier/sizes.h"

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
            [](const LinearSpec&) -> std::string { return "Linear"; },
            [](const Conv2dSpec&) -> std::string { return "Conv2d"; },
            [](const Pool2dSpec& pool) -> std::string { return pool.maximum ? "MaxPool2d" : "AvgPool2d"; },
            [](const FlattenSpec&) -> std::string { return "Flatten"; },
            [](const DropoutSpec&) -> std::string { return "Dropout"; },
            [](const GaussianNoiseSpec&) -> std::string { return "GaussianNoise"; },
            [](const RandomShiftSpec&) -> std::string { return "RandomShift"; },
            [](const RandomRotationSpec&) -> std::string { return "RandomRotation"; },
            [](const RandomHorizontalFlipSpec&) -> std::string { return "RandomHorizontalFlip"; },
            [](const RandomCropSpec&) -> std::string { return "RandomCrop"; },
            [](const ActivationSpec& activation) -> std::string { return activation_name(activation.kind); },
            [](const PReLUSpec&) -> std::string { return "PReLU"; },
            [](const RReLUSpec&) -> std::string { return "RReLU"; },
            [](const MaxoutSpec&) -> std::string { return "Maxout"; },
            [](const SoftmaxSpec& softmax) -> std::string {
                return softmax.logarithm ? "LogSoftmax" : "Softmax";
            },
            [](const BatchNormSpec& norm) -> std::string {
                return norm.axes == 1 ? "BatchNorm1d" : "BatchNorm2d";
            },
            [](const LayerNormSpec&) -> std::string { return "LayerNorm"; },
            [](const GlobalAvgPool2dSpec&) -> std::string { return "GlobalAvgPool2d"; },
            [](const ResidualSpec&) -> std::string { return "Residual"; },
            [](const ParallelSpec&) -> std::string { return "Parallel"; },
            [](const ForeignSpec& foreign) -> std::string { return foreign.layer->name(); },
        },
        static_cast<const LayerSpec::variant&>(layer));
}

std::string shape_text(const Shape& shape) {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

index_t element_count(const Shape& shape) { return checked_product(shape, "shape"); }

template <class T>
void Site<T>::refuse(const std::string& why) const {
    throw std::invalid_argument("layer " + path + " (" + layer_name(spec) + "): " + why);
}

template <class T>
const ParameterEntry* Site<T>::entry(const char* name) const {
    return compilation.parameters.find(path, name);
}

template <class T>
T* Site<T>::value(const char* name) const {
    const ParameterEntry* found = entry(name);
    return found ? compilation.parameters.value(*found) : nullptr;
}

template <class T>
T* Site<T>::gradient(const char* name) const {
    const ParameterEntry* found = entry(name);
    return found ? compilation.parameters.gradient(*found) : nullptr;
}

template <class T>
std::unique_ptr<Layer<T>> compile_layer(const Site<T>& site, const FusedActivation<T>& fused, Shape& output) {
    using Result = std::unique_ptr<Layer<T>>;
    output = site.input;
    return std::visit(
        Overloaded{
            [&](const LinearSpec& spec) -> Result { return compile_linear(spec, site, fused, output); },
            [&](const Conv2dSpec& spec) -> Result { return compile_convolution(spec, site, fused, output); },
            [&](const Pool2dSpec& spec) -> Result { return compile_pooling(spec, site, output); },
            [&](const GlobalAvgPool2dSpec&) -> Result { return compile_global_pooling(site, output); },
            [&](const FlattenSpec&) -> Result {
                output = {element_count(site.input)};
                return nullptr;
            },
            [&](const DropoutSpec& spec) -> Result { return compile_dropout(spec, site); },
            [&](const GaussianNoiseSpec& spec) -> Result { return compile_gaussian_noise(spec, site); },
            [&](const RandomShiftSpec& spec) -> Result { return compile_augmentation(spec, site); },
            [&](const RandomRotationSpec& spec) -> Result { return compile_augmentation(spec, site); },
            [&](const RandomHorizontalFlipSpec& spec) -> Result { return compile_augmentation(spec, site); },
            [&](const RandomCropSpec& spec) -> Result { return compile_augmentation(spec, site, output); },
            [&](const ActivationSpec& spec) -> Result { return compile_elementwise(spec, site); },
            [&](const PReLUSpec& spec) -> Result { return compile_prelu(spec, site); },
            [&](const RReLUSpec& spec) -> Result { return compile_rrelu(spec, site); },
            [&](const MaxoutSpec& spec) -> Result { return compile_maxout(spec, site, output); },
            [&](const SoftmaxSpec& spec) -> Result { return compile_softmax(spec, site); },
            [&](const BatchNormSpec& spec) -> Result { return compile_batch_norm(spec, site); },
            [&](const LayerNormSpec& spec) -> Result { return compile_layer_norm(spec, site); },
            [&](const ResidualSpec& spec) -> Result { return compile_residual(spec, site, output); },
            [&](const ParallelSpec& spec) -> Result { return compile_parallel(spec, site, output); },
            [&](const ForeignSpec& spec) -> Result { return compile_foreign(spec, site, output); },
        },
        static_cast<const LayerSpec::variant&>(site.spec));
}

template struct Site<float>;
template struct Site<double>;
template std::unique_ptr<Layer<float>> compile_layer(const Site<float>&, const FusedActivation<float>&,
                                                     Shape&);
template std::unique_ptr<Layer<double>> compile_layer(const Site<double>&, const FusedActivation<double>&,
                                                      Shape&);

}  // namespace ranvier
