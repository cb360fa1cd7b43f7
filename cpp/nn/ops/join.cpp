// Ops of several inputs: their sum, with an activation taken over, and one behind the other; and the op that
// takes one of them back out of such a row.
#include <algorithm>
#include <stdexcept>

#include "instantiate.h"
#include "ranvier/activation.h"
#include "ranvier/elementwise.h"

namespace ranvier {
namespace {

// The gradient to each input is that to the output: the executor takes it from there.
template <class T>
class AddOp final : public Op<T> {
public:
    explicit AddOp(const OpSite<T>& site)
        : Op<T>({false, false}),
          inputs_(site.node.inputs.size()),
          size_(element_count(site.output)),
          activation_(site.node.activation) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        const index_t n = part.count * size_;
        const T* sum = at.x[0].data;
        for (std::size_t i = 1; i + 1 < inputs_; ++i, sum = at.y) add<T>(n, sum, at.x[i].data, at.y);
        activation_of_sum<T>(activation_.kind, n, sum, at.x[inputs_ - 1].data, at.y,
                             static_cast<T>(activation_.parameter));
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        for (std::size_t i = 0; i < inputs_; ++i)
            if (grad_x[i]) std::copy_n(grad, part.count * size_, grad_x[i]);
    }

private:
    std::size_t inputs_;
    index_t size_;  // of a sample
    ActivationSpec activation_;
};

template <class T>
class ConcatOp final : public Op<T> {
public:
    explicit ConcatOp(const OpSite<T>& site) : Op<T>({false, false}), size_(element_count(site.output)) {
        for (const Operand& input : site.node.inputs) sizes_.push_back(element_count(input.shape));
    }

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        for_each_input([&](std::size_t i, index_t size, index_t begin) {
            for (index_t k = 0; k < part.count; ++k)
                std::copy_n(at.x[i].data + k * size, size, at.y + k * size_ + begin);
        });
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        for_each_input([&](std::size_t i, index_t size, index_t begin) {
            for (index_t k = 0; grad_x[i] && k < part.count; ++k)
                std::copy_n(grad + k * size_ + begin, size, grad_x[i] + k * size);
        });
    }

private:
    // body(input, size of a sample of it, where that begins in the output's)
    template <class Body>
    void for_each_input(Body&& body) const {
        index_t begin = 0;
        for (std::size_t i = 0; i < sizes_.size(); ++i) {
            body(i, sizes_[i], begin);
            begin += sizes_[i];
        }
    }

    index_t size_;
    std::vector<index_t> sizes_;
};

template <class T>
class SliceOp final : public Op<T> {
public:
    explicit SliceOp(const SliceSpec& spec, const OpSite<T>& site)
        : Op<T>({.reads_input = false, .reads_output = false, .reads_rows_apart = true}),
          begin_(spec.begin),
          size_(element_count(site.output)),
          whole_(element_count(site.input())) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        for (index_t i = 0; i < part.count; ++i)
            std::copy_n(at.x[0].row(i, whole_) + begin_, size_, at.y + i * size_);
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (!grad_x[0]) return;
        std::fill_n(grad_x[0], part.count * whole_, T{});
        for (index_t i = 0; i < part.count; ++i)
            std::copy_n(grad + i * size_, size_, grad_x[0] + i * whole_ + begin_);
    }

private:
    index_t begin_, size_, whole_;
};

}  // namespace

Shape infer_shape(const AddSpec&, const InputShapes& inputs) {
    for (const Shape& shape : inputs)
        if (shape != inputs[0])
            throw std::invalid_argument("expected samples of one shape, got " + shape_text(inputs[0]) +
                                        " and " + shape_text(shape));
    return inputs[0];
}

Shape infer_shape(const ConcatSpec&, const InputShapes& inputs) {
    if (inputs.empty()) throw std::invalid_argument("expected at least one input, got none");
    Shape all = inputs[0];
    if (all.empty()) throw std::invalid_argument("expected samples with at least one axis, got shape ()");
    for (std::size_t i = 1; i < inputs.size(); ++i) {
        const Shape& shape = inputs[i];
        if (shape.size() != all.size() || !std::equal(shape.begin() + 1, shape.end(), all.begin() + 1))
            throw std::invalid_argument("expected samples that differ in the first size only, got " +
                                        shape_text(all) + " and " + shape_text(shape));
        all[0] += shape[0];
    }
    return all;
}

template <class T>
std::unique_ptr<Op<T>> make_op(const AddSpec&, const OpSite<T>& site) {
    return std::make_unique<AddOp<T>>(site);
}
RANVIER_INSTANTIATE_OP(AddSpec)

template <class T>
std::unique_ptr<Op<T>> make_op(const ConcatSpec&, const OpSite<T>& site) {
    return std::make_unique<ConcatOp<T>>(site);
}
RANVIER_INSTANTIATE_OP(ConcatSpec)

template <class T>
std::unique_ptr<Op<T>> make_op(const SliceSpec& spec, const OpSite<T>& site) {
    return std::make_unique<SliceOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(SliceSpec)

}  // namespace ranvier
