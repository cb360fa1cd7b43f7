// Layers that hold branches: the residual block and parallel paths.
#include <algorithm>

#include "ranvier/elementwise.h"
#include "sequence.h"

namespace ranvier {
namespace {

template <class T>
class ResidualLayer final : public Layer<T> {
public:
    ResidualLayer(const ResidualSpec& spec, const Site<T>& site)
        : size_(0),
          layers_(spec.layers, site.compilation, site.path + ".layers.", site.input),
          shortcut_(spec.shortcut, site.compilation, site.path + ".shortcut.", site.input),
          input_size_(element_count(site.input)) {
        if (layers_.output_shape() != shortcut_.output_shape())
            site.refuse("expected layers and shortcut to give samples of one shape, got " +
                        shape_text(layers_.output_shape()) + " and " + shape_text(shortcut_.output_shape()));
        size_ = element_count(layers_.output_shape());
        grad_ = Buffer<T>(site.capacity() * std::max(size_, input_size_));
    }

    const Shape& output_shape() const { return layers_.output_shape(); }
    bool trains() const override { return layers_.trains() || shortcut_.trains(); }
    double flops() const override { return layers_.flops() + shortcut_.flops(); }

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        std::copy_n(layers_.forward(pass, {x}), pass.n * size_, y);
        add(pass.n * size_, shortcut_.forward(pass, {x}), y);
    }

    void backward(const Pass<T>& pass, const T*, const T*, T* grad, T* grad_x) override {
        std::copy_n(grad, pass.n * size_, grad_.data());
        layers_.backward(pass, grad_.data(), grad_x);
        shortcut_.backward(pass, grad, grad_x ? grad_.data() : nullptr);
        if (grad_x) add(pass.n * input_size_, grad_.data(), grad_x);
    }

    void commit(const Pass<T>& pass) override {
        layers_.commit(pass);
        shortcut_.commit(pass);
    }

private:
    index_t size_;  // of a sample of the output
    Sequence<T> layers_, shortcut_;
    index_t input_size_;
    Buffer<T> grad_;  // the output's, for the layers; then the input's, from the shortcut
};

template <class T>
class ParallelLayer final : public Layer<T> {
public:
    ParallelLayer(const ParallelSpec& spec, const Site<T>& site) : input_size_(element_count(site.input)) {
        branches_.reserve(spec.branches.size());
        for (std::size_t i = 0; i < spec.branches.size(); ++i) {
            branches_.emplace_back(spec.branches[i], site.compilation,
                                   site.path + ".branches." + std::to_string(i) + ".", site.input);
            add_to_shape(branches_.back().output_shape(), site);
            sizes_.push_back(element_count(branches_.back().output_shape()));
        }
        grad_ = Buffer<T>(site.capacity() * *std::max_element(sizes_.begin(), sizes_.end()));
        grad_x_ = Buffer<T>(site.capacity() * input_size_);
    }

    const Shape& output_shape() const { return shape_; }
    bool trains() const override {
        return std::any_of(branches_.begin(), branches_.end(),
                           [](const auto& branch) { return branch.trains(); });
    }
    double flops() const override {
        double total = 0;
        for (const Sequence<T>& branch : branches_) total += branch.flops();
        return total;
    }

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        for_each_branch([&](Sequence<T>& branch, index_t size, index_t first) {
            const T* output = branch.forward(pass, {x});
            for (index_t i = 0; i < pass.n; ++i)
                std::copy_n(output + i * size, size, y + i * total_size() + first);
        });
    }

    void backward(const Pass<T>& pass, const T*, const T*, T* grad, T* grad_x) override {
        for_each_branch([&](Sequence<T>& branch, index_t size, index_t first) {
            for (index_t i = 0; i < pass.n; ++i)
                std::copy_n(grad + i * total_size() + first, size, grad_.data() + i * size);
            T* to = !grad_x || first == 0 ? grad_x : grad_x_.data();
            branch.backward(pass, grad_.data(), to);
            if (grad_x && first > 0) add(pass.n * input_size_, to, grad_x);
        });
    }

    void commit(const Pass<T>& pass) override {
        for (Sequence<T>& branch : branches_) branch.commit(pass);
    }

private:
    void add_to_shape(const Shape& branch, const Site<T>& site) {
        if (shape_.empty()) {
            shape_ = branch;
            return;
        }
        if (branch.size() != shape_.size() ||
            !std::equal(branch.begin() + 1, branch.end(), shape_.begin() + 1))
            site.refuse("expected branches whose samples differ in the first size only, got " +
                        shape_text(shape_) + " and " + shape_text(branch));
        shape_[0] += branch[0];
    }

    index_t total_size() const { return element_count(shape_); }

    // body(branch, size of a sample of its output, where that begins in a sample of the whole)
    template <class Body>
    void for_each_branch(Body&& body) {
        index_t first = 0;
        for (std::size_t i = 0; i < branches_.size(); ++i) {
            body(branches_[i], sizes_[i], first);
            first += sizes_[i];
        }
    }

    index_t input_size_;
    std::vector<Sequence<T>> branches_;
    std::vector<index_t> sizes_;
    Shape shape_;
    Buffer<T> grad_, grad_x_;  // of the branch at hand
};

}  // namespace

template <class T>
std::unique_ptr<Layer<T>> compile_residual(const ResidualSpec& spec, const Site<T>& site, Shape& output) {
    auto layer = std::make_unique<ResidualLayer<T>>(spec, site);
    output = layer->output_shape();
    return layer;
}

template <class T>
std::unique_ptr<Layer<T>> compile_parallel(const ParallelSpec& spec, const Site<T>& site, Shape& output) {
    if (spec.branches.empty()) site.refuse("expected at least one branch, got none");
    if (site.input.empty()) site.refuse("expected samples with at least one axis, got shape ()");
    auto layer = std::make_unique<ParallelLayer<T>>(spec, site);
    output = layer->output_shape();
    return layer;
}

#define RANVIER_INSTANTIATE(T)                                                                        \
    template std::unique_ptr<Layer<T>> compile_residual(const ResidualSpec&, const Site<T>&, Shape&); \
    template std::unique_ptr<Layer<T>> compile_parallel(const ParallelSpec&, const Site<T>&, Shape&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
