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

    void forward(const Pass& pass, const T* x, T* y) override {
        const index_t rows = pass.n * rows_;
        Epilogue<T> epilogue;
        epilogue.col_bias = bias_;
        epilogue.activation = fused_.kind;
        epilogue.parameter = fused_.parameter;
        matmul<T>(row_major(x, rows, in_), weights(), row_major(y, rows, out_), epilogue);
    }

    void backward(const Pass& pass, const T* x, const T* y, T* grad, T* grad_x) override {
        const index_t rows = pass.n * rows_;
        backward_through(fused_, rows * out_, y, grad);
        const Matrix<const T> g = row_major<const T>(grad, rows, out_);
        matmul<T>(transposed(row_major(x, rows, in_)), g, row_major(weight_gradient_, in_, out_));
        if (bias_) column_sums<T>(g, bias_gradient_);
        if (grad_x) matmul<T>(g, transposed(weights()), row_major(grad_x, rows, in_));
    }

private:
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
