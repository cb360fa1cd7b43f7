// The linear layer, y = x w' + b, with an activation taken over.
#include <algorithm>
#include <stdexcept>

#include "batch_norm_fold.h"
#include "instantiate.h"
#include "ranvier/elementwise.h"
#include "ranvier/matmul.h"
#include "ranvier/memory.h"

namespace ranvier {
namespace {

template <class T>
class LinearOp final : public Op<T> {
public:
    LinearOp(const LinearSpec& spec, const OpSite<T>& site)
        : Op<T>(traits_of(spec, site)),
          in_(spec.in_features),
          out_(spec.out_features),
          leading_(leading_dimension(site)),
          rows_(element_count(site.input()) / spec.in_features),
          weight_(site.value("weight")),
          bias_(site.value("bias")),
          bias_offset_(bias_ ? bias_ - weight_ : 0),
          fold_(site),
          activation_(site.node.activation) {}

    void prepare(const Preparation<T>& next) override {
        if (next.use == Use::frozen_outputs) freeze();
        // Each micro-batch would have to turn the weights.
        if (next.use == Use::backward_data) packed_transposed_.pack(transposed(weights()));
        if (next.use == Use::weight_ranges) take_gradient(next);
    }

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        const Rows<T>& x = at.x[0];
        const Matrix<T> y = row_major(at.y, part.count * rows_, out_);
        if (x.offsets)
            matmul<T>(ScatteredRows<T>{x.data, x.offsets, part.count, in_}, weights(), y, epilogue());
        else if (!packed_.empty())
            matmul<T>(row_major(x.data, part.count * rows_, in_), packed_, y, epilogue());
        else
            matmul<T>(row_major(x.data, part.count * rows_, in_), weights(), y, epilogue());
    }

    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (!grad_x[0]) return;
        const index_t rows = part.count * rows_;
        const Matrix<const T> gradient = row_major(grad, rows, out_);
        const Matrix<T> result = row_major(grad_x[0], rows, in_);
        if (packed_transposed_.empty())
            matmul<T>(gradient, transposed(weights()), result);
        else
            matmul<T>(gradient, packed_transposed_, result);
    }

    // Some rows of the weight as it lies in memory, and with the last ones the bias. What lies between
    // parameters gets zeros. The gradient is the one that prepare() was given.
    void backward_weights(const MicroBatch&, const Operands<T>& at, const T*,
                          const Sink<T>& sink) const override {
        const index_t first = sink.begin / leading_, end = std::min(in_, sink.end / leading_);
        if (first < end) multiply_by_input(at.x[0], first, end - first, sink);
        const index_t behind = std::max(sink.begin, in_ * leading_);
        if (!sink.accumulate && behind < sink.end)
            std::fill(sink.to + behind - sink.begin, sink.to + sink.end - sink.begin, T{});
        if (bias_ && bias_offset_ < sink.end)
            add_column_sums<T>({gradient_.data, gradient_.rows, out_, gradient_.row_stride, 1},
                               sink.to + bias_offset_ - sink.begin);
    }

private:
    static index_t leading_dimension(const OpSite<T>& site) {
        return site.parameters.find(site.node.path, "weight")->strides[1];
    }
    static Traits traits_of(const LinearSpec& spec, const OpSite<T>& site) {
        constexpr index_t kTileRows = 12;  // a multiple of every register tile's
        const index_t leading = leading_dimension(site), rows = kTileRows * leading;
        Traits traits;
        traits.reads_output = false;
        traits.reads_rows_apart = site.input().size() == 1;
        traits.trains = true;
        traits.weights = WeightGradient::at_once;
        // Larger than all that lies behind the weight, which is not to be cut.
        traits.range_unit = round_up(leading + 2 * kCacheLine<float>, rows);
        traits.flops = 2.0 * static_cast<double>(element_count(site.input()) * spec.out_features);
        return traits;
    }

    void freeze() {
        if (!fold_.folds()) {
            packed_ = PackedMatrix<T>(weights());
            return;
        }
        Buffer<T> scaled(in_ * out_);
        for (index_t i = 0; i < in_; ++i)
            for (index_t j = 0; j < out_; ++j)
                scaled[i * out_ + j] = weight_[i * leading_ + j] * fold_.scale(j);
        packed_ = PackedMatrix<T>(row_major<const T>(scaled.data(), in_, out_));
        folded_bias_ = fold_.bias(out_, bias_);
    }

    // The gradient to the output of the whole batch, for the products that make ranges of the parameters'.
    void take_gradient(const Preparation<T>& next) {
        gradient_ = row_major(next.grad, next.whole->count * rows_, out_);
        const bool packs = packs_gradient();
        if (next.factor != T(1) || (leading_ != out_ && !packs)) gradient_ = scaled_gradient(next.factor);
        if (packs) packed_gradient_.pack(gradient_);
    }

    Epilogue<T> epilogue() const {
        Epilogue<T> all;
        all.col_bias = folded_bias_.size() ? folded_bias_.data() : bias_;
        all.activation = activation_.kind;
        all.parameter = static_cast<T>(activation_.parameter);
        return all;
    }

    // Packing pays if the gradient would be read from afar, or rows that lie badly, for many rows of the
    // product.
    bool packs_gradient() const {
        constexpr index_t kFewRows = 64, kNearBytes = 128 << 10;
        return in_ >= kFewRows && gradient_.rows * out_ * static_cast<index_t>(sizeof(T)) >= kNearBytes;
    }

    // In rows as far apart as the weight's, so that whole vectors are multiplied.
    Matrix<const T> scaled_gradient(T factor) {
        const index_t rows = gradient_.rows;
        if (scaled_gradient_.size() < rows * leading_) scaled_gradient_ = Buffer<T>(rows * leading_);
        for (index_t i = 0; i < rows; ++i)
            for (index_t j = 0; j < out_; ++j)
                scaled_gradient_[i * leading_ + j] = factor * gradient_.data[i * out_ + j];
        return {scaled_gradient_.data(), rows, filled_columns(), leading_, 1};
    }

    // `count` rows of x' times the gradient from `first` on.
    void multiply_by_input(const Rows<T>& x, index_t first, index_t count, const Sink<T>& sink) const {
        const ScatteredRows<T> apart = {x.data + first, x.offsets, gradient_.rows, count};
        const Matrix<const T> columns = {x.data + first, count, gradient_.rows, 1, in_};
        const Matrix<T> product = {sink.to, count, gradient_.cols, leading_, 1};
        Epilogue<T> adding;
        adding.accumulate = sink.accumulate;
        const auto multiply_by = [&](const auto& gradient) {
            x.offsets ? matmul_transposed<T>(apart, gradient, product, adding)
                      : matmul<T>(columns, gradient, product, adding);
        };
        packs_gradient() ? multiply_by(packed_gradient_) : multiply_by(gradient_);
        if (!sink.accumulate)
            for (index_t i = 0; product.cols < leading_ && i < count; ++i)
                std::fill(product.data + i * leading_ + product.cols, product.data + (i + 1) * leading_, T{});
    }

    // Columns of the weight's gradient: whole vectors, but for half a one that is narrower, as wide ones are
    // made of.
    index_t filled_columns() const {
        constexpr index_t kNarrow = 32 / static_cast<index_t>(sizeof(T));  // half of the widest vector
        return std::min(leading_, round_up(out_, kNarrow));
    }

    // Transposed, as it lies in memory: (in, out).
    Matrix<const T> weights() const { return {weight_, in_, out_, leading_, 1}; }

    index_t in_, out_;
    index_t leading_;  // of the weight in memory
    index_t rows_;     // of a sample: the product of the dimensions before the last
    const T* weight_;
    const T* bias_;
    index_t bias_offset_;
    BatchNormFold<T> fold_;
    ActivationSpec activation_;
    PackedMatrix<T> packed_, packed_transposed_;
    Buffer<T> folded_bias_;
    // The gradient to the output, as products of the whole batch read it.
    Matrix<const T> gradient_ = {};
    Buffer<T> scaled_gradient_;
    PackedMatrix<T> packed_gradient_;
};

}  // namespace

Shape infer_shape(const LinearSpec& spec, const InputShapes& inputs) {
    Shape shape = inputs[0];
    if (shape.empty() || shape.back() != spec.in_features)
        throw std::invalid_argument(
            "expected " + std::to_string(spec.in_features) + " input features, got samples of shape " +
            shape_text(shape) +
            (element_count(shape) == spec.in_features ? "; put a Flatten before it" : ""));
    shape.back() = spec.out_features;
    return shape;
}

template <class T>
std::unique_ptr<Op<T>> make_op(const LinearSpec& spec, const OpSite<T>& site) {
    return std::make_unique<LinearOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(LinearSpec)

}  // namespace ranvier
