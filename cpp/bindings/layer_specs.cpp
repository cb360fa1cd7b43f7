// Layers as Python describes them, (kind, fields), read into LayerSpecs.
#include "layer_specs.h"

#include <pybind11/numpy.h>

#include <stdexcept>
#include <utility>

#include "../platform/denormals.h"

namespace ranvier {
namespace {

// A finalizer may come to a layer whose functions the garbage collector has taken.
void require(const py::function& function) {
    if (!function) throw std::runtime_error("this layer is no more: its network is garbage");
}

// `to` may be nullptr if only what the function does is wanted.
template <class T>
void copy_array(const py::handle& array, T* to) {
    const auto numbers = array.cast<py::array_t<T>>();
    if (to) std::copy_n(numbers.data(), numbers.size(), to);
}

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

// What a convolution and a transposed one have.
template <class Spec>
Spec convolution_spec(const py::dict& fields) {
    Spec spec{};
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

Conv2dSpec conv2d_spec(const py::dict& fields, int axes) {
    auto spec = convolution_spec<Conv2dSpec>(fields);
    spec.axes = axes;
    read_pair(fields, "extra_padding", spec.extra_padding);
    spec.l1 = field<double>(fields, "l1");
    spec.l2 = field<double>(fields, "l2");
    spec.max_norm = field<double>(fields, "max_norm");
    return spec;
}

ConvTranspose2dSpec conv_transpose2d_spec(const py::dict& fields) {
    auto spec = convolution_spec<ConvTranspose2dSpec>(fields);
    read_pair(fields, "output_padding", spec.output_padding);
    return spec;
}

UpsampleSpec upsample_spec(const py::dict& fields) {
    const auto [height, width] = field<std::pair<double, double>>(fields, "scale_factor");
    return {{height, width},
            field<std::string>(fields, "mode") == "bilinear",
            field<bool>(fields, "align_corners")};
}

using Found = std::vector<std::shared_ptr<PythonLayer>>;

std::vector<LayerSpec> layer_specs(const py::sequence& layers, Found& found);

std::vector<LayerSpec> specs(const py::dict& fields, const char* name, Found& found) {
    return layer_specs(field<py::sequence>(fields, name), found);
}

ParallelSpec parallel_spec(const py::dict& fields, Found& found) {
    ParallelSpec spec;
    for (const py::handle branch : field<py::sequence>(fields, "branches"))
        spec.branches.push_back(layer_specs(branch.cast<py::sequence>(), found));
    return spec;
}

CustomSpec python_spec(const py::dict& fields, Found& found) {
    found.push_back(std::make_shared<PythonLayer>(fields));
    return CustomSpec{found.back()};
}

BatchNormSpec batch_norm_spec(const py::dict& fields, int axes) {
    return {field<index_t>(fields, "num_features"), field<double>(fields, "eps"),
            field<double>(fields, "momentum"), field<bool>(fields, "affine"), axes};
}

AdaptivePool2dSpec adaptive_pool2d_spec(const py::dict& fields, bool maximum, int axes) {
    AdaptivePool2dSpec spec{};
    spec.maximum = maximum;
    read_pair(fields, "output_size", spec.output);
    spec.axes = axes;
    return spec;
}

Pool2dSpec pool2d_spec(const py::dict& fields, bool maximum, int axes) {
    Pool2dSpec spec{};
    spec.axes = axes;
    spec.maximum = maximum;
    read_pair(fields, "kernel_size", spec.kernel);
    read_pair(fields, "stride", spec.stride);
    read_pair(fields, "padding", spec.padding);
    spec.ceil_mode = field<bool>(fields, "ceil_mode");
    spec.count_include_pad = maximum || field<bool>(fields, "count_include_pad");
    return spec;
}

RandomCropSpec random_crop_spec(const py::dict& fields) {
    RandomCropSpec spec{};
    read_pair(fields, "size", spec.size);
    read_pair(fields, "padding", spec.padding);
    return spec;
}

RecurrentSpec recurrent_spec(const py::dict& fields, RecurrentCell cell) {
    return {cell,
            field<index_t>(fields, "input_size"),
            field<index_t>(fields, "hidden_size"),
            field<index_t>(fields, "num_layers"),
            field<bool>(fields, "bias"),
            field<bool>(fields, "return_sequences")};
}

LayerSpec layer_spec(const std::string& kind, const py::dict& fields, Found& found) {
    if (kind == "linear")
        return LinearSpec{field<index_t>(fields, "in_features"), field<index_t>(fields, "out_features"),
                          field<bool>(fields, "bias"),           field<double>(fields, "l1"),
                          field<double>(fields, "l2"),           field<double>(fields, "max_norm")};
    if (kind == "conv1d") return conv2d_spec(fields, 1);
    if (kind == "conv2d") return conv2d_spec(fields, 2);
    if (kind == "conv_transpose2d") return conv_transpose2d_spec(fields);
    if (kind == "upsample") return upsample_spec(fields);
    if (kind == "max_pool1d") return pool2d_spec(fields, true, 1);
    if (kind == "max_pool2d") return pool2d_spec(fields, true, 2);
    if (kind == "avg_pool1d") return pool2d_spec(fields, false, 1);
    if (kind == "avg_pool2d") return pool2d_spec(fields, false, 2);
    if (kind == "adaptive_max_pool1d") return adaptive_pool2d_spec(fields, true, 1);
    if (kind == "adaptive_max_pool2d") return adaptive_pool2d_spec(fields, true, 2);
    if (kind == "adaptive_avg_pool1d") return adaptive_pool2d_spec(fields, false, 1);
    if (kind == "adaptive_avg_pool2d") return adaptive_pool2d_spec(fields, false, 2);
    if (kind == "global_avg_pool2d") return GlobalAvgPool2dSpec{};
    if (kind == "batch_norm1d") return batch_norm_spec(fields, 1);
    if (kind == "batch_norm2d") return batch_norm_spec(fields, 3);
    if (kind == "layer_norm")
        return LayerNormSpec{field<Shape>(fields, "normalized_shape"), field<double>(fields, "eps"),
                             field<bool>(fields, "elementwise_affine")};
    if (kind == "group_norm")
        return GroupNormSpec{field<index_t>(fields, "num_groups"), field<index_t>(fields, "num_channels"),
                             field<double>(fields, "eps"), field<bool>(fields, "affine")};
    if (kind == "embedding")
        return EmbeddingSpec{field<index_t>(fields, "num_embeddings"),
                             field<index_t>(fields, "embedding_dim")};
    if (kind == "gru") return recurrent_spec(fields, RecurrentCell::gru);
    if (kind == "lstm") return recurrent_spec(fields, RecurrentCell::lstm);
    if (kind == "standardize") return StandardizeSpec{field<index_t>(fields, "num_features")};
    if (kind == "residual")
        return ResidualSpec{specs(fields, "layers", found), specs(fields, "shortcut", found)};
    if (kind == "parallel") return parallel_spec(fields, found);
    if (kind == "python") return python_spec(fields, found);
    if (kind == "identity") return IdentitySpec{};
    if (kind == "add") return AddSpec{};
    if (kind == "concat") return ConcatSpec{};
    if (kind == "flatten") return FlattenSpec{};
    if (kind == "unflatten")
        return UnflattenSpec{field<index_t>(fields, "dim") - 1, field<Shape>(fields, "unflattened_size")};
    if (kind == "dropout") return DropoutSpec{field<double>(fields, "p")};
    if (kind == "dropout1d") return DropoutSpec{field<double>(fields, "p"), 1};
    if (kind == "dropout2d") return DropoutSpec{field<double>(fields, "p"), 2};
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
    if (kind == "heaviside") return ActivationSpec{Activation::heaviside};
    if (kind == "sigmoid") return ActivationSpec{Activation::sigmoid};
    if (kind == "tanh") return ActivationSpec{Activation::tanh};
    if (kind == "relu") return ActivationSpec{Activation::relu};
    if (kind == "relu6") return ActivationSpec{Activation::relu6};
    if (kind == "selu") return ActivationSpec{Activation::selu};
    if (kind == "softplus") return ActivationSpec{Activation::softplus};
    if (kind == "gelu") return ActivationSpec{Activation::gelu};
    if (kind == "silu") return ActivationSpec{Activation::silu};
    if (kind == "mish") return ActivationSpec{Activation::mish};
    if (kind == "hardswish") return ActivationSpec{Activation::hardswish};
    throw py::value_error("layers: there is no layer of kind '" + kind + "'");
}

std::vector<LayerSpec> layer_specs(const py::sequence& layers, Found& found) {
    std::vector<LayerSpec> specs;
    for (const py::handle layer : layers) {
        const auto [kind, fields] = layer.cast<std::pair<std::string, py::dict>>();
        specs.push_back(layer_spec(kind, fields, found));
    }
    return specs;
}

}  // namespace

PythonLayer::PythonLayer(const py::dict& fields)
    : name_(fields["name"].cast<std::string>()),
      parameters_(field<std::vector<std::pair<std::string, Shape>>>(fields, "parameters")),
      trains_itself_(field<bool>(fields, "trains_itself")),
      output_shape_(fields["output_shape"].cast<py::function>()),
      forward_(fields["forward"].cast<py::function>()),
      backward_(fields["backward"].cast<py::function>()) {}

PythonLayer::~PythonLayer() {
    py::gil_scoped_acquire acquire;
    clear();
}

Shape PythonLayer::output_shape(const Shape& input) {
    py::gil_scoped_acquire acquire;
    const auto known = output_shapes_.find(input);
    if (known != output_shapes_.end()) return known->second;
    require(output_shape_);
    return output_shapes_[input] = output_shape_(py::cast(input)).cast<Shape>();
}

// Arrays are copied: Python may keep them.
template <class T>
void PythonLayer::run_forward(const Forward<T>& pass) {
    const CallersDenormals denormals;
    py::gil_scoped_acquire acquire;
    require(forward_);
    py::list values;
    for (std::size_t i = 0; i < parameters_.size(); ++i)
        values.append(py::array_t<T>(parameters_[i].second, pass.parameters[i]));
    const auto [y, kept] = forward_(py::array_t<T>(pass.batch_in, pass.x), py::cast(pass.batch_out), values,
                                    pass.training, pass.seed, pass.stream)
                               .template cast<std::pair<py::object, py::object>>();
    copy_array(y, pass.y);
    if (pass.keeps) kept_ = kept;
}

template <class T>
void PythonLayer::run_backward(const Backward<T>& pass) {
    const CallersDenormals denormals;
    py::gil_scoped_acquire acquire;
    require(backward_);
    const auto [grad_x, gradients] =
        backward_(py::array_t<T>(pass.batch_out, pass.grad), py::cast(pass.batch_in), kept_)
            .template cast<std::pair<py::object, std::vector<py::object>>>();
    copy_array(grad_x, pass.grad_x);
    for (std::size_t i = 0; i < pass.gradients.size(); ++i) copy_array(gradients.at(i), pass.gradients[i]);
}

int PythonLayer::traverse(visitproc visit, void* arg) const {
    Py_VISIT(output_shape_.ptr());
    Py_VISIT(forward_.ptr());
    Py_VISIT(backward_.ptr());
    Py_VISIT(kept_.ptr());
    return 0;
}

void PythonLayer::clear() {
    // Whatever their ends lead to finds none of them here.
    const py::object gone[] = {std::move(output_shape_), std::move(forward_), std::move(backward_),
                               std::move(kept_)};
}

ReadLayers read_layers(const py::sequence& layers) {
    Found found;
    ReadLayers read{layer_specs(layers, found), py::none()};
    if (!found.empty()) read.python = py::cast(PythonLayers{std::move(found)});
    return read;
}

void bind_python_layers(py::module_& m) {
    py::class_<PythonLayers>(m, "_PythonLayers", py::custom_type_setup([](PyHeapTypeObject* heap_type) {
                                 PyTypeObject& type = heap_type->ht_type;
                                 type.tp_flags |= Py_TPFLAGS_HAVE_GC;
                                 type.tp_traverse = [](PyObject* self, visitproc visit, void* arg) {
                                     Py_VISIT(Py_TYPE(self));
                                     if (const auto* layers = constructed<PythonLayers>(self))
                                         for (const auto& layer : layers->all)
                                             if (const int result = layer->traverse(visit, arg))
                                                 return result;
                                     return 0;
                                 };
                                 type.tp_clear = [](PyObject* self) {
                                     if (auto* layers = constructed<PythonLayers>(self))
                                         for (const auto& layer : layers->all) layer->clear();
                                     return 0;
                                 };
                             }));
}

}  // namespace ranvier
