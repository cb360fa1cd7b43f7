// Names and shapes of layers.
#include "ranvier/layers.h"

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
        case Activation::heaviside:
            return "Heaviside";
        case Activation::sigmoid:
            return "Sigmoid";
        case Activation::tanh:
            return "Tanh";
        case Activation::relu:
            return "ReLU";
        case Activation::relu6:
            return "ReLU6";
        case Activation::leaky_relu:
            return "LeakyReLU";
        case Activation::elu:
            return "ELU";
        case Activation::selu:
            return "SELU";
        case Activation::softplus:
            return "Softplus";
        case Activation::gelu:
            return "GELU";
        case Activation::silu:
            return "SiLU";
        case Activation::mish:
            return "Mish";
        case Activation::hardswish:
            return "Hardswish";
    }
    return "";
}

// "Conv2d"
std::string with_axes(const char* name, int axes) { return name + std::to_string(axes) + "d"; }

}  // namespace

std::string layer_name(const LayerSpec& layer) {
    return std::visit(
        Overloaded{
            [](const LinearSpec&) -> std::string { return "Linear"; },
            [](const Conv2dSpec& conv) { return with_axes("Conv", conv.axes); },
            [](const Pool2dSpec& pool) { return with_axes(pool.maximum ? "MaxPool" : "AvgPool", pool.axes); },
            [](const AdaptivePool2dSpec& pool) {
                return with_axes(pool.maximum ? "AdaptiveMaxPool" : "AdaptiveAvgPool", pool.axes);
            },
            [](const IdentitySpec&) -> std::string { return "Identity"; },
            [](const FlattenSpec&) -> std::string { return "Flatten"; },
            [](const UnflattenSpec&) -> std::string { return "Unflatten"; },
            [](const DropoutSpec& dropout) {
                return dropout.axes ? with_axes("Dropout", dropout.axes) : std::string("Dropout");
            },
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
            [](const StandardizeSpec&) -> std::string { return "Standardize"; },
            [](const EmbeddingSpec&) -> std::string { return "Embedding"; },
            [](const GroupNormSpec&) -> std::string { return "GroupNorm"; },
            [](const ConvTranspose2dSpec&) -> std::string { return "ConvTranspose2d"; },
            [](const UpsampleSpec&) -> std::string { return "Upsample"; },
            [](const RecurrentSpec& recurrent) -> std::string {
                return recurrent.cell == RecurrentCell::gru ? "GRU" : "LSTM";
            },
            [](const GlobalAvgPool2dSpec&) -> std::string { return "GlobalAvgPool2d"; },
            [](const ResidualSpec&) -> std::string { return "Residual"; },
            [](const ParallelSpec&) -> std::string { return "Parallel"; },
            [](const CustomSpec& custom) -> std::string { return custom.layer->name(); },
            [](const AddSpec&) -> std::string { return "Add"; },
            [](const ConcatSpec&) -> std::string { return "Concat"; },
        },
        static_cast<const LayerSpec::variant&>(layer));
}

std::string shape_text(const Shape& shape) {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

index_t element_count(const Shape& shape) { return checked_product(shape, "shape"); }

}  // namespace ranvier
