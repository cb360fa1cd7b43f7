// The parameters of a network's layers and their gradients, each in one flat buffer, and the optimizers that
// carry the one towards the other.
#pragma once

#include <atomic>
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

// A named piece of a flat buffer. Its strides are not always those of a C-ordered array: the weight of a
// linear layer is (out, in) in Fortran order, in which the forward product reads it fastest, and its columns
// may be filled up to whole cache lines.
struct ParameterEntry {
    std::string name;  // "0.weight": the layer's path, then PyTorch's name
    Shape shape;
    std::vector<index_t> strides;  // elements
    index_t offset = 0;            // elements from the start of the buffer; aligned to a cache line
    index_t extent = 0;            // elements that it takes, with the zeros that fill up its rows
    bool trained = true;           // else one of the statistics
    bool frozen = false;           // training leaves it as it is
    double max_norm = 0;           // of the weights that lead to an output, after each update; 0: any
    double l1 = 0, l2 = 0;         // the penalty l1 * sum(|w|) + l2 / 2 * sum(w^2) that training adds
};

// What the parameters of such layers are; throws std::invalid_argument if a layer's numbers make no sense.
std::vector<ParameterEntry> parameter_entries(const std::vector<LayerSpec>& layers);

template <class T>
class Parameters {
public:
    // All zero but the running variances, which are one. Throws std::invalid_argument if a layer's numbers
    // make no sense.
    explicit Parameters(const std::vector<LayerSpec>& layers, const Wiring& wiring = {})
        : Parameters(layers, wiring, true) {}

    // The same values and statistics, without memory for gradients.
    std::shared_ptr<Parameters> frozen_copy() const;

    const std::vector<LayerSpec>& layers() const { return layers_; }
    const Wiring& wiring() const { return wiring_; }
    const std::vector<ParameterEntry>& entries() const { return entries_; }
    // The entry of that name; throws std::out_of_range.
    const ParameterEntry& entry(const std::string& name) const;
    // Whether training is to leave an entry as it is. A Trainer sees what is so when it is made.
    void freeze(const std::string& name, bool frozen);
    // The entry of a layer's parameter, nullptr if the layer has none of that name.
    const ParameterEntry* find(const std::string& path, const char* name) const;

    // Where an entry's values and gradients begin. Statistics have no gradients: nullptr.
    T* value(const ParameterEntry& entry) {
        return (entry.trained ? values_ : statistics_).data() + entry.offset;
    }
    T* gradient(const ParameterEntry& entry) {
        return entry.trained ? gradients_.data() + entry.offset : nullptr;
    }

    index_t size() const { return values_.size(); }  // of the trained ones
    T* values() { return values_.data(); }
    T* gradients() { return gradients_.data(); }  // of the last batch
    // What backward passes have added up for the next step; zero at first, and memory from the first call on.
    T* accumulated() {
        if (accumulated_.size() < size()) accumulated_ = Buffer<T>(size());
        return accumulated_.data();
    }

private:
    Parameters(const std::vector<LayerSpec>& layers, const Wiring& wiring, bool with_gradients);

    std::vector<LayerSpec> layers_;
    Wiring wiring_;
    std::vector<ParameterEntry> entries_;
    Buffer<T> values_;
    Buffer<T> gradients_, accumulated_;
    Buffer<T> statistics_;  // what training observes: running means and variances
};

// An update rule with its state for one Parameters.
template <class T>
class Optimizer {
public:
    Optimizer(const UpdateOptions& options, index_t parameter_count);

    // Parameters, by their positions among the entries, with options of their own.
    struct Group {
        double lr, weight_decay;
        std::vector<std::size_t> entries;
    };

    // One update of the values from the gradients that are there.
    void step(Parameters<T>& parameters);
    // The same in parts: its beginning, for gradients of that sum of squares, and then ranges of the flat
    // buffers, which threads may share out; `gradients` are those of the range.
    void begin_step(const Parameters<T>& parameters, double squares);
    void update_range(Parameters<T>& parameters, const T* gradients, index_t first, index_t count);
    // Whether an average follows the values, and a range of them after an update.
    bool averages() const { return average_.size() > 0; }
    void average_range(Parameters<T>& parameters, index_t first, index_t count);
    // The buffers that a resumed training needs, by name.
    std::vector<std::pair<std::string, Buffer<T>*>> state();

    // Learning rates: that of `options`, then those of the groups.
    std::size_t rates() const { return 1 + groups.size(); }
    void set_learning_rates(const double* rates);

    UpdateOptions options;
    std::vector<Group> groups;
    std::int64_t steps = 0;  // done so far
    // Of these, by the position of an entry, those in which it was frozen: its own count from its first one.
    // Empty: none.
    std::vector<std::int64_t> missed;
    // Whether the state is that of all parameters. Peers that share the update have each its share only.
    std::atomic<bool> is_whole{true};

private:
    void update_part(const UpdateStep& now, Parameters<T>& parameters, const T* gradients, index_t first,
                     index_t count);

    // One for all parameters; or one for each entry, if they differ or some are frozen.
    std::vector<UpdateStep> now_;
    bool differ_ = false;
    Buffer<T> velocity_, first_moment_, second_moment_, average_;
};

}  // namespace ranvier
