// The parameters of a list of layers and their gradients, each in one flat buffer, and the optimizers that
// carry the one towards the other.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ranvier/array.h"
#include "ranvier/layers.h"
#include "ranvier/memory.h"
#include "ranvier/optimizer.h"

namespace ranvier {

// A named piece of the flat buffers. Its strides are not always those of a C-ordered array: the weight of a
// linear layer is (out, in) in Fortran order, in which the forward product reads it fastest.
struct ParameterEntry {
    std::string name;  // "0.weight": the layer's position, then PyTorch's name
    Shape shape;
    std::vector<index_t> strides;  // elements
    index_t offset = 0;            // elements from the start of the buffer; aligned to a cache line
};

template <class T>
class Parameters {
public:
    // All zero. Throws std::invalid_argument if a layer's numbers make no sense.
    explicit Parameters(const std::vector<LayerSpec>& layers);

    const std::vector<LayerSpec>& layers() const { return layers_; }
    const std::vector<ParameterEntry>& entries() const { return entries_; }
    // The entry of that name; throws std::out_of_range.
    const ParameterEntry& entry(const std::string& name) const;
    // The entry of a layer's parameter, nullptr if the layer has none of that name.
    const ParameterEntry* find(std::size_t layer, const char* name) const;

    index_t size() const { return values_.size(); }
    T* values() { return values_.data(); }
    T* gradients() { return gradients_.data(); }

private:
    std::vector<LayerSpec> layers_;
    std::vector<ParameterEntry> entries_;
    Buffer<T> values_;
    Buffer<T> gradients_;
};

// An optimizer with its state for one Parameters.
template <class T>
class Optimizer {
public:
    virtual ~Optimizer() = default;
    // One update of the values from the gradients that are there.
    virtual void step(Parameters<T>& parameters) = 0;
    // The buffers that a resumed training needs, by name.
    virtual std::vector<std::pair<std::string, Buffer<T>*>> state() = 0;

    double learning_rate = 0;
    std::int64_t steps = 0;  // done so far
};

template <class T>
std::unique_ptr<Optimizer<T>> make_sgd(const SgdOptions& options, index_t parameter_count);
template <class T>
std::unique_ptr<Optimizer<T>> make_adam(const AdamOptions& options, index_t parameter_count);

}  // namespace ranvier
