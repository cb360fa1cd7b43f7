// The layout of a network's parameters in flat buffers.
#include "ranvier/parameters.h"

#include <algorithm>
#include <stdexcept>

#include "ranvier/sizes.h"

namespace ranvier {
namespace {

// Entries start on cache lines of either type.
constexpr index_t kEntryUnit = 16;

Shape c_strides(const Shape& shape) {
    Shape strides(shape.size(), 1);
    for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
    return strides;
}

// The distance of a weight's rows in memory: whole cache lines, unless that would take much more of it.
index_t row_pitch(index_t row) {
    const index_t whole = round_up(row, kEntryUnit);
    return whole * 100 <= row * 115 ? whole : row;
}

void require_positive(const char* field, index_t value) {
    if (value < 1)
        throw std::invalid_argument(std::string(field) + ": expected at least 1, got " +
                                    std::to_string(value));
    if (value > kLargestSize)
        throw std::invalid_argument(std::string(field) + ": expected at most " +
                                    std::to_string(kLargestSize) + ", got " + std::to_string(value));
}

// Collects the layers' entries, each behind the one before of its buffer.
class Layout {
public:
    explicit Layout(std::vector<ParameterEntry>& entries) : entries_(entries) {}

    void add_all(const std::vector<LayerSpec>& layers, const std::string& prefix) {
        for (std::size_t i = 0; i < layers.size(); ++i) {
            path_ = prefix + std::to_string(i);
            std::visit(*this, static_cast<const LayerSpec::variant&>(layers[i]));
        }
    }

    void operator()(const LinearSpec& spec) {
        require_positive("in_features", spec.in_features);
        require_positive("out_features", spec.out_features);
        add_transposed("weight", spec.out_features, spec.in_features);
        restrain(spec);
        if (spec.bias) add("bias", {spec.out_features}, {1});
    }
    void operator()(const Conv2dSpec& spec) {
        add_kernels(spec, spec.out_channels, spec.in_channels, spec.axes);
        restrain(spec);
        if (spec.bias) add("bias", {spec.out_channels}, {1});
    }
    void operator()(const ConvTranspose2dSpec& spec) {
        add_kernels(spec, spec.in_channels, spec.out_channels);
        if (spec.bias) add("bias", {spec.out_channels}, {1});
    }
    void operator()(const PReLUSpec& spec) {
        require_positive("num_parameters", spec.num_parameters);
        add("weight", {spec.num_parameters}, {1});
    }
    void operator()(const BatchNormSpec& spec) {
        require_positive("num_features", spec.num_features);
        if (spec.affine) {
            add("weight", {spec.num_features}, {1});
            add("bias", {spec.num_features}, {1});
        }
        add("running_mean", {spec.num_features}, {1}, false);
        add("running_var", {spec.num_features}, {1}, false);
    }
    void operator()(const LayerNormSpec& spec) {
        for (index_t size : spec.normalized_shape) require_positive("normalized_shape", size);
        if (!spec.elementwise_affine) return;
        add("weight", spec.normalized_shape, c_strides(spec.normalized_shape));
        add("bias", spec.normalized_shape, c_strides(spec.normalized_shape));
    }
    void operator()(const GroupNormSpec& spec) {
        require_positive("num_groups", spec.num_groups);
        require_positive("num_channels", spec.num_channels);
        if (!spec.affine) return;
        add("weight", {spec.num_channels}, {1});
        add("bias", {spec.num_channels}, {1});
    }
    void operator()(const EmbeddingSpec& spec) {
        require_positive("num_embeddings", spec.num_embeddings);
        require_positive("embedding_dim", spec.embedding_dim);
        const Shape shape = {spec.num_embeddings, spec.embedding_dim};
        add("weight", shape, c_strides(shape));
    }
    // PyTorch's names and order of the gates, (r, z, n) and (i, f, g, o).
    void operator()(const RecurrentSpec& spec) {
        require_positive("input_size", spec.input_size);
        require_positive("hidden_size", spec.hidden_size);
        require_positive("num_layers", spec.num_layers);
        const index_t gates = (spec.cell == RecurrentCell::gru ? 3 : 4) * spec.hidden_size;
        for (index_t k = 0; k < spec.num_layers; ++k) {
            const std::string layer = "_l" + std::to_string(k);
            add_transposed("weight_ih" + layer, gates, k ? spec.hidden_size : spec.input_size);
            add_transposed("weight_hh" + layer, gates, spec.hidden_size);
            if (!spec.bias) continue;
            add("bias_ih" + layer, {gates}, {1});
            add("bias_hh" + layer, {gates}, {1});
        }
    }
    void operator()(const StandardizeSpec& spec) {
        require_positive("num_features", spec.num_features);
        add("mean", {spec.num_features}, {1}, false);
        add("std", {spec.num_features}, {1}, false);  // 0 until there is one
    }
    void operator()(const CustomSpec& spec) {
        for (const auto& [name, shape] : spec.layer->parameters()) {
            for (const index_t size : shape) require_positive(name.c_str(), size);
            add(name, shape, c_strides(shape));
        }
    }
    void operator()(const ResidualSpec& spec) {
        const std::string path = path_;
        add_all(spec.layers, path + ".layers.");
        add_all(spec.shortcut, path + ".shortcut.");
    }
    void operator()(const ParallelSpec& spec) {
        const std::string path = path_;
        for (std::size_t i = 0; i < spec.branches.size(); ++i)
            add_all(spec.branches[i], path + ".branches." + std::to_string(i) + ".");
    }
    template <class WithoutParameters>
    void operator()(const WithoutParameters&) {}

    index_t trained() const { return trained_; }
    index_t statistics() const { return statistics_; }

private:
    // A weight of (out, in) that lies as (in, out), which the forward product reads fastest.
    void add_transposed(const std::string& name, index_t out, index_t in) {
        const index_t pitch = row_pitch(out);
        add(name, {out, in}, {1, pitch}, true, {in, pitch});
    }
    // The weight of a convolution between all `rows` channels of one side and those of a group on the other.
    template <class Spec>
    void add_kernels(const Spec& spec, index_t rows, index_t columns, int axes = 2) {
        require_positive("in_channels", spec.in_channels);
        require_positive("out_channels", spec.out_channels);
        require_positive("groups", spec.groups);
        require_positive("kernel_size", std::min(spec.kernel[0], spec.kernel[1]));
        Shape shape = {rows, columns / spec.groups, spec.kernel[0], spec.kernel[1]};
        if (axes == 1) shape.erase(shape.begin() + 2);
        add("weight", shape, c_strides(shape));
    }
    void add(const std::string& name, const Shape& shape, const Shape& strides, bool trained = true,
             const Shape& memory = {}) {
        const std::string full = path_ + "." + name;
        index_t& size = trained ? trained_ : statistics_;
        const index_t extent = checked_product(memory.empty() ? shape : memory, full.c_str());
        if (extent > kMostElements - kEntryUnit - size) refuse_product(shape, full.c_str());
        entries_.push_back({full, shape, strides, size, extent, trained});
        size += round_up(extent, kEntryUnit);
    }

    // The entry added last.
    template <class Spec>
    void restrain(const Spec& spec) {
        entries_.back().l1 = spec.l1;
        entries_.back().l2 = spec.l2;
        entries_.back().max_norm = spec.max_norm;
    }

    std::vector<ParameterEntry>& entries_;
    index_t trained_ = 0, statistics_ = 0;
    std::string path_;  // of the layer at hand
};

}  // namespace

std::vector<ParameterEntry> parameter_entries(const std::vector<LayerSpec>& layers) {
    std::vector<ParameterEntry> entries;
    Layout(entries).add_all(layers, "");
    return entries;
}

template <class T>
Parameters<T>::Parameters(const std::vector<LayerSpec>& layers, const Wiring& wiring, bool with_gradients)
    : layers_(layers), wiring_(wiring) {
    Layout layout(entries_);
    layout.add_all(layers_, "");
    values_ = Buffer<T>(layout.trained());
    if (with_gradients) gradients_ = Buffer<T>(layout.trained());
    statistics_ = Buffer<T>(layout.statistics());
    for (const ParameterEntry& entry : entries_)
        if (!entry.trained && entry.name.ends_with("running_var"))
            std::fill_n(value(entry), element_count(entry.shape), T(1));
}

template <class T>
std::shared_ptr<Parameters<T>> Parameters<T>::frozen_copy() const {
    std::shared_ptr<Parameters> copy(new Parameters(layers_, wiring_, false));
    std::copy_n(values_.data(), values_.size(), copy->values_.data());
    std::copy_n(statistics_.data(), statistics_.size(), copy->statistics_.data());
    return copy;
}

template <class T>
const ParameterEntry& Parameters<T>::entry(const std::string& name) const {
    for (const ParameterEntry& entry : entries_)
        if (entry.name == name) return entry;
    throw std::out_of_range("name: there is no parameter '" + name + "'");
}

template <class T>
void Parameters<T>::freeze(const std::string& name, bool frozen) {
    entries_[static_cast<std::size_t>(&entry(name) - entries_.data())].frozen = frozen;
}

template <class T>
const ParameterEntry* Parameters<T>::find(const std::string& path, const char* name) const {
    const std::string full = path + "." + name;
    for (const ParameterEntry& entry : entries_)
        if (entry.name == full) return &entry;
    return nullptr;
}

template class Parameters<float>;
template class Parameters<double>;

}  // namespace ranvier
