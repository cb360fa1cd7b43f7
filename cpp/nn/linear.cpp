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

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        const index_t rows = pass.n * rows_;
        matmul<T>(row_major(x, rows, in_), weights(), row_major(y, rows, out_), epilogue());
    }
    void forward(const Pass<T>& pass, const ScatteredRows<T>& x, T* y) override {
        matmul<T>(x, weights(), row_major(y, pass.n, out_), epilogue());
    }

    void backward(const Pass<T>& pass, const T* x, const T* y, T* grad, T* grad_x) override {
        backward_to_input(pass, y, grad, grad_x);
        write_gradients(pass, {x}, grad);
    }
    void backward(const Pass<T>& pass, const ScatteredRows<T>& x, const T* y, T* grad) override {
        backward_to_input(pass, y, grad, nullptr);
        write_gradients(pass, {x.data, x.offsets}, grad);
    }

    bool reads_scattered_rows(index_t batch) const override {
        return rows_ == 1 && batch * in_ * static_cast<index_t>(sizeof(T)) <= kScatteredBytes;
    }

    bool trains() const override { return true; }
    bool descends() const override { return true; }
    // Leaves the gradient to the sums in place of that to y.
    void backward_to_input(const Pass<T>& pass, const T* y, T* grad, T* grad_x) override {
        const index_t rows = pass.n * rows_;
        backward_through(fused_, rows * out_, y, grad);
        if (grad_x)
            matmul<T>(row_major<const T>(grad, rows, out_), transposed(weights()),
                      row_major(grad_x, rows, in_));
    }
    double descent_bound(const Pass<T>& pass, const LayerInput<T>& x, const T* grad,
                         double rate) const override {
        const index_t rows = pass.n * rows_, size = rows_ * in_;
        Scratch<T> magnitudes(pass.n);
        T* magnitudes_of = magnitudes.data();
        parallel_for(pass.n, threads_for(static_cast<double>(pass.n * size)), [&](index_t i) {
            magnitudes_of[i] = largest_magnitude(size, x.values + (x.offsets ? x.offsets[i] : i * size));
        });
        const T most = largest_magnitude(pass.n, magnitudes_of) + T(1);  // the bias's input is 1
        return rate * static_cast<double>(most) * static_cast<double>(largest_magnitude(rows * out_, grad)) *
               static_cast<double>(rows);
    }
    void descend(const Pass<T>& pass, const LayerInput<T>& x, T* grad, double rate) override {
        const index_t rows = pass.n * rows_;
        scale<T>(rows * out_, static_cast<T>(-rate), grad);
        multiply_by_input(pass, x, grad, weight_, true);
        if (bias_) add_column_sums<T>(row_major<const T>(grad, rows, out_), bias_);
    }

    double flops() const override { return 2.0 * static_cast<double>(rows_ * in_ * out_); }

private:
    // Samples that stay in the second-level cache from one tile's columns to the next.
    static constexpr index_t kScatteredBytes = 512 << 10;

    Epilogue<T> epilogue() const {
        Epilogue<T> all;
        all.col_bias = bias_;
        all.activation = fused_.kind;
        all.parameter = fused_.parameter;
        return all;
    }

    void write_gradients(const Pass<T>& pass, const LayerInput<T>& x, const T* grad) {
        multiply_by_input(pass, x, grad, weight_gradient_, false);
        if (bias_) column_sums<T>(row_major<const T>(grad, pass.n * rows_, out_), bias_gradient_);
    }

    // x' grad, written or added to something laid out like the weight.
    void multiply_by_input(const Pass<T>& pass, const LayerInput<T>& x, const T* grad, T* to, bool add) {
        const index_t rows = pass.n * rows_;
        const Matrix<const T> g = filled_up(grad, rows);
        const Matrix<T> product = row_major(to, in_, pitch_);
        Epilogue<T> adding;
        adding.accumulate = add;
        if (x.offsets)
            matmul_transposed<T>(ScatteredRows<T>{x.values, x.offsets, rows, in_}, g, product, adding);
        else
            matmul<T>(transposed(row_major(x.values, rows, in_)), g, product, adding);
    }

    // The gradient with rows as long as the weight's, so that their product has whole vectors only.
    Matrix<const T> filled_up(const T* grad, index_t rows) {
        if (pitch_ == out_) return row_major(grad, rows, out_);
        if (!filled_.size()) filled_ = Buffer<T>(capacity_ * rows_ * pitch_);
        for (index_t i = 0; i < rows; ++i) std::copy_n(grad + i * out_, out_, filled_.data() + i * pitch_);
        return row_major<const T>(filled_.data(), rows, pitch_);
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
