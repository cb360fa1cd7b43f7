// What a Plan asks of a compiled layer.
#pragma once

#include <cstdint>
#include <memory>

#include "ranvier/layers.h"
#include "ranvier/parameters.h"

namespace ranvier {

// The circumstances of one forward and its backward pass.
struct Pass {
    index_t n = 0;  // samples
    bool training = false;
    std::uint64_t seed = 0;
    std::uint64_t step = 0;  // counts the training passes: each draws fresh masks
};

template <class T>
class Layer {
public:
    virtual ~Layer() = default;

    // y = f(x), both (n, sample) without gaps.
    virtual void forward(const Pass& pass, const T* x, T* y) = 0;
    // Writes the layer's parameter gradients, and grad_x unless it is nullptr. May overwrite grad.
    virtual void backward(const Pass& pass, const T* x, const T* y, T* grad, T* grad_x) = 0;
    // True if the layer does nothing in this pass, so that its input serves as its output.
    virtual bool passes_through(const Pass&) const { return false; }
};

// Where a layer stands in the network, for its parameters and its messages.
template <class T>
struct Site {
    Parameters<T>& parameters;
    std::size_t position;
    const Shape& input;  // of a sample
    index_t capacity;

    // Throws std::invalid_argument: "layer 3 (Linear): ..."
    [[noreturn]] void refuse(const std::string& why) const;
    // The place of a parameter's values or gradient; nullptr if the layer has no such parameter.
    T* value(const char* name) const;
    T* gradient(const char* name) const;
};

// An activation that may be taken inside the layer before it.
template <class T>
struct FusedActivation {
    Activation kind = Activation::identity;
    T parameter = T{};
};

// A layer for that place, and its output's shape. Layers without arithmetic (flatten) give nullptr.
template <class T>
std::unique_ptr<Layer<T>> compile_layer(const LayerSpec& layer, const Site<T>& site,
                                        const FusedActivation<T>& fused, Shape& output);

// One for each family, in the file of that name.
template <class T>
std::unique_ptr<Layer<T>> compile_linear(const LinearSpec& spec, const Site<T>& site,
                                         const FusedActivation<T>& fused, Shape& output);
template <class T>
std::unique_ptr<Layer<T>> compile_convolution(const Conv2dSpec& spec, const Site<T>& site,
                                              const FusedActivation<T>& fused, Shape& output);
template <class T>
std::unique_ptr<Layer<T>> compile_pooling(const Pool2dSpec& spec, const Site<T>& site, Shape& output);
template <class T>
std::unique_ptr<Layer<T>> compile_elementwise(const ActivationSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_prelu(const PReLUSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_rrelu(const RReLUSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_dropout(const DropoutSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_maxout(const MaxoutSpec& spec, const Site<T>& site, Shape& output);
template <class T>
std::unique_ptr<Layer<T>> compile_softmax(const SoftmaxSpec& spec, const Site<T>& site);

// The gradient through a fused activation, in place: grad = grad * f', from the layer's output y.
template <class T>
void backward_through(const FusedActivation<T>& fused, index_t n, const T* y, T* grad) {
    if (fused.kind != Activation::identity)
        activation_backward_kept<T>(fused.kind, n, grad, y, grad, fused.parameter);
}

}  // namespace ranvier
