// The layout of a network's parameters in one flat buffer.
#include "ranvier/parameters.h"

#include <algorithm>
#include <stdexcept>

namespace ranvier {
namespace {

// Entries start on cache lines of either type.
constexpr index_t kEntryUnit = 16;

Shape c_strides(const Shape& shape) {
    Shape strides(shape.size(), 1);
    for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
    return strides;
}

void require_positive(const char* field, index_t value) {
    if (value < 1)
        throw std::invalid_argument(std::string(field) + ": expected at least 1, got " +
                                    std::to_string(value));
}

// Collects a layer's entries, each behind the one before.
class Layout {
public:
    Layout(std::vector<ParameterEntry>& entries, index_t& size) : entries_(entries), size_(size) {}

    void operator()(const LinearSpec& spec) {
        require_positive("in_features", spec.in_features);
        require_positive("out_features", spec.out_features);
        add("weight", {spec.out_features, spec.in_features}, {1, spec.out_features});
        if (spec.bias) add("bias", {spec.out_features}, {1});
    }
    void operator()(const Conv2dSpec& spec) {
        require_positive("in_channels", spec.in_channels);
        require_positive("out_channels", spec.out_channels);
        require_positive("groups", spec.groups);
        require_positive("kernel_size", std::min(spec.kernel[0], spec.kernel[1]));
        const Shape shape = {spec.out_channels, spec.in_channels / spec.groups, spec.kernel[0],
                             spec.kernel[1]};
        add("weight", shape, c_strides(shape));
        if (spec.bias) add("bias", {spec.out_channels}, {1});
    }
    void operator()(const PReLUSpec& spec) {
        require_positive("num_parameters", spec.num_parameters);
        add("weight", {spec.num_parameters}, {1});
    }
    template <class WithoutParameters>
    void operator()(const WithoutParameters&) {}

    std::size_t position = 0;

private:
    void add(const char* name, const Shape& shape, const Shape& strides) {
        entries_.push_back({std::to_string(position) + "." + name, shape, strides, size_});
        size_ += (element_count(shape) + kEntryUnit - 1) / kEntryUnit * kEntryUnit;
    }

    std::vector<ParameterEntry>& entries_;
    index_t& size_;
};

}  // namespace

template <class T>
Parameters<T>::Parameters(const std::vector<LayerSpec>& layers) : layers_(layers) {
    index_t size = 0;
    Layout layout(entries_, size);
    for (; layout.position < layers_.size(); ++layout.position) std::visit(layout, layers_[layout.position]);
    values_ = Buffer<T>(size);
    gradients_ = Buffer<T>(size);
}

template <class T>
const ParameterEntry& Parameters<T>::entry(const std::string& name) const {
    for (const ParameterEntry& entry : entries_)
        if (entry.name == name) return entry;
    throw std::out_of_range("name: there is no parameter '" + name + "'");
}

template <class T>
const ParameterEntry* Parameters<T>::find(std::size_t layer, const char* name) const {
    const std::string full = std::to_string(layer) + "." + name;
    for (const ParameterEntry& entry : entries_)
        if (entry.name == full) return &entry;
    return nullptr;
}

template class Parameters<float>;
template class Parameters<double>;

}  // namespace ranvier
