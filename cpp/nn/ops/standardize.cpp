// Standardization: (x - mean) / std of each entry of a sample's first axis, by statistics of data that were
// looked at before.
#include <stdexcept>

#include "instantiate.h"
#include "ranvier/memory.h"

namespace ranvier {
namespace {

template <class T>
class StandardizeOp final : public Op<T> {
public:
    StandardizeOp(const StandardizeSpec& spec, const OpSite<T>& site)
        : Op<T>(its_traits()),
          features_(spec.num_features),
          inner_(element_count(site.input()) / spec.num_features),
          path_(site.node.path),
          mean_(site.value("mean")),
          std_(site.value("std")),
          inverse_(spec.num_features) {}

    void prepare(const Preparation<T>& next) override {
        if (!next.begins_pass()) return;
        if (std_[0] == 0)
            throw std::runtime_error(
                "layer " + path_ +
                " (Standardize): expected the mean and std of data; call adapt(x) of the "
                "network before");
        for (index_t c = 0; c < features_; ++c) inverse_[c] = T(1) / std_[c];
    }

    // The mean is subtracted first, for it may be much larger than the deviations from it.
    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        const index_t size = features_ * inner_;
        for (index_t i = 0; i < part.count; ++i)
            each(at.x[0].row(i, size), at.y + i * size,
                 [&](T x, index_t c) { return (x - mean_[c]) * inverse_[c]; });
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (!grad_x[0]) return;
        const index_t size = features_ * inner_;
        for (index_t i = 0; i < part.count; ++i)
            each(grad + i * size, grad_x[0] + i * size, [&](T g, index_t c) { return g * inverse_[c]; });
    }

private:
    static Traits its_traits() {
        Traits traits;
        traits.reads_input = traits.reads_output = false;
        traits.reads_rows_apart = true;
        return traits;
    }

    // to = f(from, feature) of a sample.
    template <class F>
    void each(const T* from, T* to, F&& f) const {
        if (inner_ == 1) {
            for (index_t c = 0; c < features_; ++c) to[c] = f(from[c], c);
            return;
        }
        for (index_t c = 0; c < features_; ++c)
            for (index_t j = c * inner_; j < (c + 1) * inner_; ++j) to[j] = f(from[j], c);
    }

    index_t features_, inner_;
    std::string path_;
    const T *mean_, *std_;
    Buffer<T> inverse_;
};

}  // namespace

Shape infer_shape(const StandardizeSpec& spec, const InputShapes& inputs) {
    const Shape& input = inputs[0];
    if (input.empty() || input[0] != spec.num_features)
        throw std::invalid_argument("expected samples of shape (" + std::to_string(spec.num_features) +
                                    ", ...), got " + shape_text(input));
    return input;
}

template <class T>
std::unique_ptr<Op<T>> make_op(const StandardizeSpec& spec, const OpSite<T>& site) {
    return std::make_unique<StandardizeOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(StandardizeSpec)

}  // namespace ranvier
