// A network compiled for a sample shape and a batch capacity: it owns every buffer that a forward pass,
// a backward pass and an update need, and allocates nothing while it runs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ranvier/array.h"
#include "ranvier/layers.h"
#include "ranvier/loss.h"
#include "ranvier/memory.h"
#include "ranvier/optimizer.h"

namespace ranvier {

// A named piece of the flat buffers. Its strides are not always those of a C-ordered array: the
// weight of a linear layer is (out, in) in Fortran order, which is what the forward product reads fastest.
struct ParameterEntry {
    std::string name;  // "0.weight": the layer's position, then PyTorch's name
    Shape shape;
    std::vector<index_t> strides;  // elements
    index_t offset = 0;            // elements from the start of the buffer, a multiple of 16
};

// All parameters of a list of layers, and their gradients, in one flat buffer each.
template <class T>
class Parameters {
public:
    explicit Parameters(const std::vector<LayerSpec>& layers);

    const std::vector<ParameterEntry>& entries() const { return entries_; }
    index_t size() const { return values_.size(); }
    T* values() { return values_.data(); }
    T* gradients() { return gradients_.data(); }

private:
    std::vector<ParameterEntry> entries_;
    Buffer<T> values_;
    Buffer<T> gradients_;
};

// The state of an optimizer over one Parameters.
template <class T>
class Optimizer {
public:
    virtual ~Optimizer() = default;
    virtual void step(index_t n, T* values, const T* gradients) = 0;
};

// What a batch is compared with: either dense rows of the output's size, or one class number a sample.
template <class T>
struct Targets {
    const T* dense = nullptr;
    const std::int64_t* labels = nullptr;
};

struct EpochSums {
    double loss = 0;  // sum over the samples done
    index_t hits = 0;
    index_t samples = 0;   // done
    bool stopped = false;  // the report asked for it; the parameters are those after the last whole batch
};

template <class T>
class Plan {
public:
    // Throws std::invalid_argument, naming the layer by position and kind, if a layer does not fit its input.
    Plan(const std::vector<LayerSpec>& layers, std::shared_ptr<Parameters<T>> parameters,
         const Shape& sample_shape, index_t capacity, std::uint64_t seed);
    ~Plan();

    const Shape& input_shape() const;
    const Shape& output_shape() const;
    const std::vector<Shape>& shapes() const;  // of a sample after each layer
    index_t capacity() const;

    // The output of any number of samples, run in pieces of at most the capacity, in evaluation mode.
    void predict(index_t n, const T* x, T* y);

    // One batch, n <= capacity, keeping what backward needs; a random layer draws a fresh mask each time
    // that `training` is true. Returns the output, (n, output), valid until the next call.
    const T* forward(index_t n, const T* x, bool training);
    // From the gradient to the last forward's output: writes all parameter gradients, and grad_x if not
    // nullptr.
    void backward(const T* grad, T* grad_x);

    // forward, loss and backward of one batch; the gradients are of the loss's mean.
    LossSums gradients(index_t n, const T* x, const Targets<T>& targets, Loss loss);

    // The loss and hits of any number of samples, in evaluation mode.
    LossSums evaluate(index_t n, const T* x, const Targets<T>& targets, Loss loss);

    // One pass over the samples in the given order, in batches (the last may be smaller), with an update
    // after each. `report` (may be empty) is called from time to time, about every 100 ms, with the sums so
    // far; if it returns false the pass stops.
    EpochSums train_epoch(index_t n, const T* x, const Targets<T>& targets, const std::int64_t* order,
                          index_t batch_size, Loss loss, Optimizer<T>& optimizer,
                          const std::function<bool(const EpochSums&)>& report);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace ranvier
