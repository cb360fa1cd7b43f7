// Embedding: the row of a table for each index. Indices are numbers of the network's type.
#include <algorithm>
#include <limits>
#include <stdexcept>

#include "../bad_sample.h"
#include "instantiate.h"
#include "ranvier/memory.h"

namespace ranvier {
namespace {

template <class T>
class EmbeddingOp final : public Op<T> {
public:
    EmbeddingOp(const EmbeddingSpec& spec, const OpSite<T>& site)
        : Op<T>(traits_of(spec)),
          rows_(spec.num_embeddings),
          size_(spec.embedding_dim),
          indices_(element_count(site.input())),
          weight_(site.value("weight")),
          layer_("layer " + site.node.path + " (" + site.node.name + ")") {
        constexpr index_t kExact = index_t{1} << std::numeric_limits<T>::digits;
        if (rows_ > kExact)
            throw std::invalid_argument(layer_ + ": expected at most " + std::to_string(kExact) +
                                        " embeddings, as many integers as the network's dtype holds, got " +
                                        std::to_string(rows_));
    }

    void prepare(const Preparation<T>& next) override {
        if (next.use != Use::weight_ranges) return;
        grad_ = next.grad;
        factor_ = next.factor;
        indices_of_batch_ = next.whole->count * indices_;
    }

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        for (index_t i = 0; i < part.count; ++i) {
            const T* x = at.x[0].row(i, indices_);
            for (index_t k = 0; k < indices_; ++k)
                std::copy_n(weight_ + row_of(x[k], part.first + i) * size_, size_,
                            at.y + (i * indices_ + k) * size_);
        }
    }

    // Indices are no numbers to move: their gradient is zero.
    void backward_data(const MicroBatch& part, const Operands<T>&, const T*,
                       T* const* grad_x) const override {
        if (grad_x[0]) std::fill_n(grad_x[0], part.count * indices_, T{});
    }

    // Some rows of the table. What samples add to a row goes in their order.
    void backward_weights(const MicroBatch&, const Operands<T>& at, const T*,
                          const Sink<T>& sink) const override {
        if (!sink.accumulate) std::fill(sink.to, sink.to + (sink.end - sink.begin), T{});
        const T first = static_cast<T>(sink.begin / size_), end = static_cast<T>(ceil_div(sink.end, size_));
        for (index_t k = 0; k < indices_of_batch_; ++k) {
            const T index = at.x[0].data[k];
            if (index < first || index >= end) continue;
            const T* from = grad_ + k * size_;
            T* const to = sink.to + (static_cast<index_t>(index) * size_ - sink.begin);
            for (index_t j = 0; j < size_; ++j) to[j] += factor_ * from[j];
        }
    }

private:
    static Traits traits_of(const EmbeddingSpec& spec) {
        Traits traits;
        traits.reads_output = false;
        traits.trains = true;
        traits.weights = WeightGradient::at_once;
        traits.range_unit = spec.embedding_dim;
        return traits;
    }

    index_t row_of(T index, index_t sample) const {
        const bool inside = index >= 0 && index < static_cast<T>(rows_);
        const auto row = static_cast<index_t>(inside ? index : 0);
        if (!inside || static_cast<T>(row) != index)
            throw BadSample(sample, layer_ + ": expected integers from 0 to " + std::to_string(rows_ - 1) +
                                        ", got " + std::to_string(index));
        return row;
    }

    index_t rows_, size_;
    index_t indices_;  // of a sample
    const T* weight_;
    std::string layer_;
    // Of the whole batch, for ranges of the gradient.
    const T* grad_ = nullptr;
    T factor_ = 1;
    index_t indices_of_batch_ = 0;
};

}  // namespace

Shape infer_shape(const EmbeddingSpec& spec, const InputShapes& inputs) {
    Shape shape = inputs[0];
    shape.push_back(spec.embedding_dim);
    return shape;
}

template <class T>
std::unique_ptr<Op<T>> make_op(const EmbeddingSpec& spec, const OpSite<T>& site) {
    return std::make_unique<EmbeddingOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(EmbeddingSpec)

}  // namespace ranvier
