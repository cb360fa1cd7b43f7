// Layer normalization: the last axes of a sample to mean 0 and variance 1.
#include <algorithm>
#include <stdexcept>

#include "instantiate.h"
#include "ranvier/elementwise.h"
#include "ranvier/memory.h"
#include "ranvier/normalization.h"

namespace ranvier {
namespace {

// Saves mean and inverse deviation of each row: for a sample its means, then its inverse deviations.
template <class T>
class LayerNormOp final : public Op<T> {
public:
    LayerNormOp(const LayerNormSpec& spec, const OpSite<T>& site)
        : Op<T>(traits_of(spec, site)),
          epsilon_(spec.eps),
          size_(element_count(spec.normalized_shape)),
          rows_(element_count(site.input()) / size_),
          gamma_(site.value("weight")),
          beta_(site.value("bias")),
          beta_offset_(beta_ ? beta_ - gamma_ : 0) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        const Moments moments(part.count * rows_);
        layer_norm<T>(part.count * rows_, size_, at.x[0].data, epsilon_, gamma_, beta_, at.y, moments.mean(),
                      moments.inverse_deviation());
        if (at.saved)
            for_each_sample(part, moments, at.saved,
                            [&](T* own, T* saved) { std::copy_n(own, rows_, saved); });
    }
    void backward_data(const MicroBatch& part, const Operands<T>& at, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0]) backward(part, at, grad, grad_x[0], nullptr, nullptr);
    }
    void backward_weights(const MicroBatch& part, const Operands<T>& at, const T* grad,
                          const Sink<T>& sink) const override {
        T* const to_beta = sink.to + beta_offset_;
        if (!sink.accumulate) return backward(part, at, grad, nullptr, sink.to, to_beta);
        Scratch<T> own(2 * size_);
        backward(part, at, grad, nullptr, own.data(), own.data() + size_);
        add<T>(size_, own.data(), sink.to);
        add<T>(size_, own.data() + size_, to_beta);
    }

private:
    static Traits traits_of(const LayerNormSpec& spec, const OpSite<T>& site) {
        Traits traits;
        traits.reads_output = false;
        traits.trains = spec.elementwise_affine;
        if (spec.elementwise_affine) traits.weights = WeightGradient::partial_sums;
        traits.saved = 2 * element_count(site.input()) / element_count(spec.normalized_shape);
        return traits;
    }

    // Those of the rows of a micro-batch.
    class Moments {
    public:
        explicit Moments(index_t rows) : memory_(2 * rows), rows_(rows) {}
        T* mean() const { return memory_.data(); }
        T* inverse_deviation() const { return memory_.data() + rows_; }

    private:
        Scratch<T> memory_;
        index_t rows_;
    };

    // body(a sample's own numbers, where they are saved), of the means and of the inverse deviations.
    template <class Body>
    void for_each_sample(const MicroBatch& part, const Moments& moments, T* saved, Body&& body) const {
        for (index_t i = 0; i < part.count; ++i) {
            body(moments.mean() + i * rows_, saved + 2 * i * rows_);
            body(moments.inverse_deviation() + i * rows_, saved + (2 * i + 1) * rows_);
        }
    }

    void backward(const MicroBatch& part, const Operands<T>& at, const T* grad, T* grad_x, T* grad_gamma,
                  T* grad_beta) const {
        const Moments moments(part.count * rows_);
        for_each_sample(part, moments, at.saved, [&](T* own, T* saved) { std::copy_n(saved, rows_, own); });
        layer_norm_backward<T>(part.count * rows_, size_, grad, at.x[0].data, moments.mean(),
                               moments.inverse_deviation(), gamma_, grad_x, grad_gamma, grad_beta);
    }

    double epsilon_;
    index_t size_, rows_;  // of a row; rows of a sample
    const T *gamma_, *beta_;
    index_t beta_offset_;
};

}  // namespace

Shape infer_shape(const LayerNormSpec& spec, const InputShapes& inputs) {
    const Shape &input = inputs[0], &wanted = spec.normalized_shape;
    if (wanted.empty() || wanted.size() > input.size() ||
        !std::equal(wanted.rbegin(), wanted.rend(), input.rbegin()))
        throw std::invalid_argument("expected samples whose shape ends with " + shape_text(wanted) +
                                    ", got " + shape_text(input));
    return input;
}

template <class T>
std::unique_ptr<Op<T>> make_op(const LayerNormSpec& spec, const OpSite<T>& site) {
    return std::make_unique<LayerNormOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(LayerNormSpec)

}  // namespace ranvier
