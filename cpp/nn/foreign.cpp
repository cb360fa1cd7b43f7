// A layer that the program around the library computes.
#include "layer.h"

namespace ranvier {
namespace {

template <class T>
class ForeignAdapter final : public Layer<T> {
public:
    ForeignAdapter(std::shared_ptr<ForeignLayer> layer, const Shape& input, const Shape& output)
        : layer_(std::move(layer)), input_(with_batch(input)), output_(with_batch(output)) {}

    // For all that is known here: it may change itself.
    bool trains() const override { return true; }
    void forward(const Pass<T>& pass, const T* x, T* y) override {
        input_[0] = output_[0] = pass.n;
        layer_->forward(input_, x, output_, y);
    }
    void backward(const Pass<T>& pass, const T*, const T*, T* grad, T* grad_x) override {
        input_[0] = output_[0] = pass.n;
        layer_->backward(output_, grad, input_, grad_x);
    }

private:
    static Shape with_batch(Shape shape) {
        shape.insert(shape.begin(), 0);
        return shape;
    }

    std::shared_ptr<ForeignLayer> layer_;
    Shape input_, output_;  // with the batch
};

}  // namespace

template <class T>
std::unique_ptr<Layer<T>> compile_foreign(const ForeignSpec& spec, const Site<T>& site, Shape& output) {
    output = spec.layer->output_shape(site.input);
    return std::make_unique<ForeignAdapter<T>>(spec.layer, site.input, output);
}

template std::unique_ptr<Layer<float>> compile_foreign(const ForeignSpec&, const Site<float>&, Shape&);
template std::unique_ptr<Layer<double>> compile_foreign(const ForeignSpec&, const Site<double>&, Shape&);

}  // namespace ranvier
