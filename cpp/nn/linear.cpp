// The linear layer, y = x w' + b, with an activation fused behind it.
#include "layer.h"
#include "ranvier/matmul.h"

namespace ranvier {
namespace {

template <class T>
class LinearLayer final : public Layer<T> {
public:
    LinearLayer(const LinearSpec& spec, const Site<T>& site, const FusedActivation<T>& fused)
        : in_(spec.in_features),
          out_(spec.out_features),
          rows_(element_count(site.input) / spec.in_features),
          weight_(site.value("weight")),
          weight_gradient_(site.gradient("weight")),
          bias_(site.value("bias")),
          bias_gradient_(site.gradient("bias")),
          fused_(fused) {}

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        const index_t rows = pass.n * rows_;
        matmul<T>(row_major(x, rows, in_), weights(), row_major(y, rows, out_), epilogue());
    }

    void backward(const Pass<T>& pass, const T* x, const T* y, T* grad, T* grad_x) override {
        const index_t rows = pass.n * rows_;
        const Matrix<const T> g = output_gradient(rows, y, grad);
        matmul<T>(transposed(row_major(x, rows, in_)), g, row_major(weight_gradient_, in_, out_));
        if (grad_x) matmul<T>(g, transposed(weights()), row_major(grad_x, rows, in_));
    }

    bool reads_scattered_rows(index_t capacity) const override {
        return rows_ == 1 && capacity * in_ * static_cast<index_t>(sizeof(T)) <= kScatteredBytes;
    }
    void forward(const Pass<T>& pass, const ScatteredRows<T>& x, T* y) override {
        matmul<T>(x, weights(), row_major(y, pass.n, out_), epilogue());
    }
    void backward(const Pass<T>& pass, const ScatteredRows<T>& x, const T* y, T* grad) override {
        matmul_transposed<T>(x, output_gradient(pass.n, y, grad), row_major(weight_gradient_, in_, out_));
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

    // The gradient to the sums, in place of that to y; leaves the bias's gradient.
    Matrix<const T> output_gradient(index_t rows, const T* y, T* grad) const {
        backward_through(fused_, rows * out_, y, grad);
        const Matrix<const T> g = row_major<const T>(grad, rows, out_);
        if (bias_) column_sums<T>(g, bias_gradient_);
        return g;
    }

    // Transposed, as it lies in memory: (in, out).
    Matrix<const T> weights() const { return row_major<const T>(weight_, in_, out_); }

    index_t in_, out_;
    index_t rows_;  // of a sample: the product of the dimensions before the last
    const T* weight_;
    T* weight_gradient_;
    const T* bias_;
    T* bias_gradient_;
    FusedActivation<T> fused_;
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
