// The linear layer, y = x w' + b, with an activation fused behind it.
#include <algorithm>

#include "layer.h"
#include "ranvier/elementwise.h"
#include "ranvier/matmul.h"
#include "ranvier/memory.h"
#include "ranvier/optimizer.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

template <class T>
class LinearLayer final : public Layer<T> {
public:
    LinearLayer(const LinearSpec& spec, const Site<T>& site, const FusedActivation<T>& fused)
        : in_(spec.in_features),
          out_(spec.out_features),
          pitch_(site.entry("weight")->strides[1]),
          rows_(element_count(site.input) / spec.in_features),
          weight_(site.value("weight")),
          weight_gradient_(site.gradient("weight")),
          bias_(site.value("bias")),
          bias_gradient_(site.gradient("bias")),
          fused_(fused),
          capacity_(site.capacity()) {}

    void prepare(const Pass<T>& pass) override {
        opened_ = false;
        if (pass.kept && pitch_ != out_ && !filled_.size()) filled_ = Buffer<T>(capacity_ * rows_ * pitch_);
        if (pass.rate != 0 && !magnitudes_.size()) magnitudes_ = Buffer<T>(capacity_);
    }

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        if (opened_) return complete(pass, y);
        for_each_group(pass, [&](const Pass<T>& group, index_t first) {
            const index_t rows = group.n * rows_;
            const T* from = x + first * rows_ * in_;
            matmul<T>(row_major(from, rows, in_), weights(), row_major(y + first * rows_ * out_, rows, out_),
                      epilogue());
            if (pass.rate != 0) observe_magnitudes(group, {from, nullptr});
        });
    }
    void forward(const Pass<T>& pass, const ScatteredRows<T>& x, T* y) override {
        if (opened_) return complete(pass, y);
        for_each_group(pass, [&](const Pass<T>& group, index_t first) {
            const ScatteredRows<T> from = {x.data, x.offsets + first, group.n, in_};
            matmul<T>(from, weights(), row_major(y + first * out_, group.n, out_), epilogue());
            if (pass.rate != 0) observe_magnitudes(group, {from.data, from.offsets});
        });
    }

    // A task is a block of inputs for some samples.
    index_t open(const Pass<T>& pass, int pieces) override {
        const index_t length = depth_block_length<T>(in_);
        blocks_ = ceil_div(in_, length);
        opened_ = pieces > 1 && blocks_ > 1 && fits_cache(pass.n);
        if (!opened_) return 0;
        if (!products_.size()) {
            products_ = Buffer<T>(blocks_ * capacity_ * out_);
            partial_magnitudes_ = Buffer<T>(blocks_ * capacity_);
        }
        portions_ = std::min(pass.n, ceil_div(pieces, blocks_));
        return blocks_ * portions_;
    }
    void run_opening(const Pass<T>& pass, const LayerInput<T>& x, index_t task) override {
        const index_t block = task / portions_;
        const index_t length = depth_block_length<T>(in_), begin = block * length;
        const index_t depth = std::min(length, in_ - begin);
        const Matrix<const T> weights = {weight_ + begin * pitch_, depth, out_, pitch_, 1};
        for_each_group(pass.part(task % portions_, portions_), [&](const Pass<T>& group, index_t) {
            const LayerInput<T> from = x.from(group.first, in_);
            const Matrix<T> products =
                row_major(products_.data() + (block * capacity_ + group.first) * out_, group.n, out_);
            if (x.offsets)
                matmul<T>(ScatteredRows<T>{from.values + begin, from.offsets, group.n, depth}, weights,
                          products);
            else
                matmul<T>({from.values + begin, group.n, depth, in_, 1}, weights, products);
            T* magnitudes = partial_magnitudes_.data() + block * capacity_ + group.first;
            for (index_t i = 0; i < group.n; ++i)
                magnitudes[i] = largest_magnitude(depth, from.sample(i, in_) + begin);
        });
    }

    void backward(const Pass<T>& pass, const T* x, const T* y, T* grad, T* grad_x) override {
        backward_to_input(pass, y, grad, grad_x);
        finish(pass, {x, nullptr}, grad, 0, 1);
    }
    void backward(const Pass<T>& pass, const ScatteredRows<T>& x, const T* y, T* grad) override {
        backward_to_input(pass, y, grad, nullptr);
        finish(pass, {x.data, x.offsets}, grad, 0, 1);
    }

    bool reads_scattered_rows(index_t batch) const override { return fits_cache(batch); }
    bool takes_portions() const override { return true; }

    bool trains() const override { return true; }
    bool descends() const override { return true; }
    // Leaves the gradient to the sums, with a rate -rate times that, in grad or filled up.
    void backward_to_input(const Pass<T>& pass, const T* y, T* grad, T* grad_x) override {
        const index_t rows = pass.n * rows_, size = rows_ * out_;
        backward_through(fused_, rows * out_, y, grad);
        if (grad_x)
            matmul<T>(row_major<const T>(grad, rows, out_), transposed(weights()),
                      row_major(grad_x, rows, in_));
        if (pass.rate != 0) {
            scale<T>(rows * out_, static_cast<T>(-pass.rate), grad);
            for (index_t i = 0; i < pass.n; ++i)
                magnitudes_[pass.first + i] *= largest_magnitude(size, grad + i * size);
        }
        fill_up(pass, grad);
    }
    // |sum_i x_i g_i| <= sum_i |x_i| |g_i|.
    double descent_bound(const Pass<T>& pass) const override {
        double sum = 0;
        for (index_t i = 0; i < pass.n; ++i) sum += static_cast<double>(magnitudes_[i]);
        return sum * static_cast<double>(rows_);
    }

    // Some rows of the weight, and with the last ones the bias.
    void finish(const Pass<T>& pass, const LayerInput<T>& x, const T* grad, index_t piece,
                index_t pieces) override {
        const index_t first = row_of(piece, pieces), end = row_of(piece + 1, pieces);
        const bool add = pass.rate != 0;
        if (first < end)
            multiply_by_input(pass, x, grad, add ? weight_ : weight_gradient_, add, first, end - first);
        if (!bias_ || piece + 1 < pieces) return;
        const Matrix<const T> all = row_major(grad, pass.n * rows_, out_);
        add ? add_column_sums<T>(all, bias_) : column_sums<T>(all, bias_gradient_);
    }

    double flops() const override { return 2.0 * static_cast<double>(rows_ * in_ * out_); }

private:
    // Whether these samples, of one row each, stay in the second-level cache from one tile's columns to the
    // next.
    bool fits_cache(index_t batch) const {
        constexpr index_t kMostBytes = 512 << 10;
        return rows_ == 1 && batch * in_ * static_cast<index_t>(sizeof(T)) <= kMostBytes;
    }

    // Samples whose magnitudes are looked at after their product, while they are in the caches.
    static constexpr index_t kGroup = 24;
    static constexpr index_t kNarrow = 32 / static_cast<index_t>(sizeof(T));  // half of the widest vector
    static constexpr index_t kTileRows = 12;  // a multiple of every register tile's

    Epilogue<T> epilogue() const {
        Epilogue<T> all;
        all.col_bias = bias_;
        all.activation = fused_.kind;
        all.parameter = fused_.parameter;
        return all;
    }

    // body(group, its first sample) for all samples; on a single thread in groups so small that a product
    // leaves them in the caches for a look at their magnitudes.
    template <class Body>
    void for_each_group(const Pass<T>& pass, Body&& body) const {
        const index_t size = pass.rate != 0 && num_threads() == 1 ? kGroup : pass.n;
        Pass<T> group = pass;
        for (index_t first = 0; first < pass.n; first += size) {
            group.first = pass.first + first;
            group.n = std::min(size, pass.n - first);
            body(group, first);
        }
    }

    // What the opening began.
    void complete(const Pass<T>& pass, T* y) {
        sum_blocks<T>(blocks_, products_.data() + pass.first * out_, capacity_ * out_,
                      row_major(y, pass.n, out_), epilogue());
        for (index_t i = pass.first; i < pass.first + pass.n; ++i) {
            magnitudes_[i] = T(1);
            for (index_t block = 0; block < blocks_; ++block)
                magnitudes_[i] += partial_magnitudes_[block * capacity_ + i];
        }
    }

    // Of each sample: its largest number, and 1 for the bias.
    void observe_magnitudes(const Pass<T>& pass, const LayerInput<T>& x) {
        const index_t size = rows_ * in_;
        for (index_t i = 0; i < pass.n; ++i)
            magnitudes_[pass.first + i] = largest_magnitude(size, x.sample(i, size)) + T(1);
    }

    // `count` rows of x' grad from `first` on, written or added to something laid out like the weight.
    void multiply_by_input(const Pass<T>& pass, const LayerInput<T>& x, const T* grad, T* to, bool add,
                           index_t first, index_t count) const {
        const index_t rows = pass.n * rows_;
        const Matrix<const T> g = {pitch_ == out_ ? grad : filled_.data(), rows, filled_columns(), pitch_, 1};
        const Matrix<T> product = {to + first * pitch_, count, filled_columns(), pitch_, 1};
        Epilogue<T> adding;
        adding.accumulate = add;
        if (x.offsets)
            matmul_transposed<T>(ScatteredRows<T>{x.values + first, x.offsets, rows, count}, g, product,
                                 adding);
        else
            matmul<T>({x.values + first, count, rows, 1, in_}, g, product, adding);
    }

    // Columns of the weight's gradient: whole vectors, but for half a one that is narrower, as wide ones are
    // made of.
    index_t filled_columns() const { return std::min(pitch_, round_up(out_, kNarrow)); }

    // The gradient's rows as far apart as the weight's.
    void fill_up(const Pass<T>& pass, const T* grad) {
        if (pitch_ == out_) return;
        T* to = filled_.data() + pass.first * rows_ * pitch_;
        for (index_t i = 0; i < pass.n * rows_; ++i) std::copy_n(grad + i * out_, out_, to + i * pitch_);
    }

    // Where a piece of the weight's rows begins.
    index_t row_of(index_t piece, index_t pieces) const {
        return piece == pieces ? in_ : in_ * piece / pieces / kTileRows * kTileRows;
    }

    // Transposed, as it lies in memory: (in, out).
    Matrix<const T> weights() const { return {weight_, in_, out_, pitch_, 1}; }

    index_t in_, out_;
    index_t pitch_;  // of the weight's rows in memory
    index_t rows_;   // of a sample: the product of the dimensions before the last
    T* weight_;
    T* weight_gradient_;
    T* bias_;
    T* bias_gradient_;
    FusedActivation<T> fused_;
    index_t capacity_;
    Buffer<T> filled_;
    Buffer<T> magnitudes_;  // of each sample of a descent: of its numbers, then times those of its gradient
    // Of the opening: whether this pass has one, and for each block of inputs (block, sample, ...).
    bool opened_ = false;
    index_t blocks_ = 1, portions_ = 1;
    Buffer<T> products_, partial_magnitudes_;
};

}  // namespace

template <class T>
std::unique_ptr<Layer<T>> compile_linear(const LinearSpec& spec, const Site<T>& site,
                                         const FusedActivation<T>& fused, Shape& output) {
    if (site.input.empty() || site.input.back() != spec.in_features)
        site.refuse("expected " + std::to_string(spec.in_features) +
                    " input features, got samples of shape " + shape_text(site.input) +
                    (element_count(site.input) == spec.in_features ? "; put a Flatten before it" : ""));
    output.back() = spec.out_features;
    return std::make_unique<LinearLayer<T>>(spec, site, fused);
}

template std::unique_ptr<Layer<float>> compile_linear(const LinearSpec&, const Site<float>&,
                                                      const FusedActivation<float>&, Shape&);
template std::unique_ptr<Layer<double>> compile_linear(const LinearSpec&, const Site<double>&,
                                                       const FusedActivation<double>&, Shape&);

}  // namespace ranvier
