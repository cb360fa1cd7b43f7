// What a Plan asks of a compiled layer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ranvier/layers.h"
#include "ranvier/matmul.h"
#include "ranvier/parameters.h"
#include "ranvier/plan.h"

namespace ranvier {

// The circumstances of one forward and its backward pass, over a batch or a portion of one.
template <class T>
struct Pass {
    index_t n = 0;         // samples
    index_t first = 0;     // of the portion, in the batch
    index_t portion = 0;   // which one
    index_t portions = 0;  // how many go back by themselves (see Layer); 0: the batch goes layer by layer
    double rate = 0;       // of a plain descent (see Layer), else 0
    bool training = false;
    bool kept = false;  // a backward pass may follow, so outputs stay
    std::uint64_t seed = 0;
    std::uint64_t step = 0;  // counts the training passes: each draws fresh masks
    Observer<T>* observer = nullptr;

    // Of a whole batch's pass: that of one portion of `count` about equal ones.
    Pass part(index_t number, index_t count) const {
        Pass part = *this;
        part.portion = number;
        part.first = number * n / count;
        part.n = (number + 1) * n / count - part.first;
        return part;
    }
};

// The numbers that a random layer draws in a pass are those of a stream of its own. Streams below 2^48 are
// those of shuffles.
template <class T>
std::uint64_t stream_of(const Pass<T>& pass, std::uint64_t layer) {
    return ((layer + 1) << 48) | pass.step;
}

// A layer's input: samples without gaps, or rows of a table, picked by their offsets.
template <class T>
struct LayerInput {
    const T* values = nullptr;
    const index_t* offsets = nullptr;

    // From a sample on, if they are of that size.
    LayerInput from(index_t first, index_t size) const {
        return offsets ? LayerInput{values, offsets + first} : LayerInput{values + first * size, nullptr};
    }
    const T* sample(index_t i, index_t size) const { return values + (offsets ? offsets[i] : i * size); }
};

template <class T>
class Layer {
public:
    virtual ~Layer() = default;

    // Before a batch goes forward, on one thread: memory that the pass needs.
    virtual void prepare(const Pass<T>&) {}
    // y = f(x), both (n, sample) without gaps.
    virtual void forward(const Pass<T>& pass, const T* x, T* y) = 0;
    // Writes the layer's parameter gradients, and grad_x unless it is nullptr. May overwrite grad.
    virtual void backward(const Pass<T>& pass, const T* x, const T* y, T* grad, T* grad_x) = 0;
    // Whether backward() reads x and y; if not, they need not stay.
    virtual bool reads_input() const { return true; }
    virtual bool reads_output() const { return true; }
    // True if the layer does nothing in this pass, so that its input serves as its output.
    virtual bool passes_through(const Pass<T>&) const { return false; }
    // After a training pass whose values were all finite: takes over what it has observed (running
    // statistics).
    virtual void commit(const Pass<T>&) {}

    // Whether samples of such batches can be read where they lie in their table; then without a gradient to
    // them.
    virtual bool reads_scattered_rows(index_t /*batch*/) const { return false; }
    virtual void forward(const Pass<T>&, const ScatteredRows<T>&, T*) {}
    virtual void backward(const Pass<T>&, const ScatteredRows<T>&, const T*, T*) {}

    // Whether several threads may take portions of a batch forward and back at once; and whether each of
    // these makes parameters' gradients of its own, whose sum depends on how many there are.
    virtual bool takes_portions() const { return false; }
    virtual bool sums_portions() const { return false; }
    // Of the network's first layer, in a pass that has a rate: what is to be done before forward(), which
    // then completes it, in tasks that may run at once. For a product over many inputs, it is better if
    // threads share out these than the samples: each then reads the weights that it updates. Says how many
    // tasks.
    virtual index_t open(const Pass<T>&, int /*pieces*/) { return 0; }
    virtual void run_opening(const Pass<T>&, const LayerInput<T>&, index_t /*task*/) {}

    // Whether the layer has parameters that are trained; and whether it can do without their gradient, which
    // plain gradient descent needs for a moment only: the product that makes it then adds to the parameters.
    virtual bool trains() const { return false; }
    virtual bool descends() const { return false; }
    // Of a layer that descends: as backward(), but leaves the parameters' gradients.
    virtual void backward_to_input(const Pass<T>&, const T* y, T* grad, T* grad_x) {
        (void)y, (void)grad, (void)grad_x;
    }
    // Once the whole batch went back: a bound on what descend() adds to any parameter; not finite if x or a
    // gradient was not.
    virtual double descent_bound(const Pass<T>&) const { return 0; }
    // Once all portions went back, for one of `pieces` pieces of the parameters: their gradients, of a layer
    // that sums portions, or that descends (from x and what backward_to_input() left of grad); with a rate,
    // parameters -= rate * gradients instead.
    virtual void finish(const Pass<T>&, const LayerInput<T>&, const T*, index_t /*piece*/,
                        index_t /*pieces*/) {}

    // Multiplications and additions of a sample's forward pass; 0 for layers that do less than some for each
    // element.
    virtual double flops() const { return 0; }
};

// What the layers of one Plan are compiled with.
template <class T>
struct Compilation {
    Parameters<T>& parameters;
    index_t capacity;
    std::uint64_t layers = 0;  // compiled so far, which numbers them
};

// Where a layer stands in the network, for its parameters and its messages.
template <class T>
struct Site {
    Compilation<T>& compilation;
    std::string path;  // "3", or "3.layers.0" within a branch
    const LayerSpec& spec;
    const Shape& input;      // of a sample
    bool rectified = false;  // a max pooling that begins with a ReLU

    index_t capacity() const { return compilation.capacity; }
    // Throws std::invalid_argument: "layer 3 (Linear): ..."
    [[noreturn]] void refuse(const std::string& why) const;
    const ParameterEntry* entry(const char* name) const;
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
std::unique_ptr<Layer<T>> compile_layer(const Site<T>& site, const FusedActivation<T>& fused, Shape& output);

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
std::unique_ptr<Layer<T>> compile_global_pooling(const Site<T>& site, Shape& output);
template <class T>
std::unique_ptr<Layer<T>> compile_elementwise(const ActivationSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_prelu(const PReLUSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_rrelu(const RReLUSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_dropout(const DropoutSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_gaussian_noise(const GaussianNoiseSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_augmentation(const RandomShiftSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_augmentation(const RandomRotationSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_augmentation(const RandomHorizontalFlipSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_augmentation(const RandomCropSpec& spec, const Site<T>& site,
                                               Shape& output);
template <class T>
std::unique_ptr<Layer<T>> compile_maxout(const MaxoutSpec& spec, const Site<T>& site, Shape& output);
template <class T>
std::unique_ptr<Layer<T>> compile_softmax(const SoftmaxSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_batch_norm(const BatchNormSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_layer_norm(const LayerNormSpec& spec, const Site<T>& site);
template <class T>
std::unique_ptr<Layer<T>> compile_residual(const ResidualSpec& spec, const Site<T>& site, Shape& output);
template <class T>
std::unique_ptr<Layer<T>> compile_parallel(const ParallelSpec& spec, const Site<T>& site, Shape& output);
template <class T>
std::unique_ptr<Layer<T>> compile_foreign(const ForeignSpec& spec, const Site<T>& site, Shape& output);

// The gradient through a fused activation, in place: grad = grad * f', from the layer's output y.
template <class T>
void backward_through(const FusedActivation<T>& fused, index_t n, const T* y, T* grad) {
    if (fused.kind != Activation::identity)
        activation_backward_kept<T>(fused.kind, n, grad, y, grad, fused.parameter);
}

}  // namespace ranvier
