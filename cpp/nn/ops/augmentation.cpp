// Ops that move, turn, mirror and cut images at random in training.
#include <stdexcept>

#include "images.h"
#include "instantiate.h"
#include "ranvier/augment.h"

namespace ranvier {
namespace {

// What they share: the shape of a sample, and numbers of their own in each pass.
template <class T>
class AugmentationOp : public Op<T> {
public:
    explicit AugmentationOp(const OpSite<T>& site)
        : Op<T>({false, false}),
          channels_(site.input()[0]),
          height_(site.input()[1]),
          width_(site.input()[2]),
          layer_(site.node.number) {}

protected:
    ImageBatch images(const MicroBatch& part) const { return {part.count, channels_, height_, width_}; }
    RandomDraws draws(const MicroBatch& part) const {
        RandomDraws draws;
        draws.seed = part.seed;
        draws.stream = stream_of(part, layer_);
        draws.first = part.position;
        return draws;
    }

private:
    index_t channels_, height_, width_;
    std::uint64_t layer_;  // its number
};

template <class T>
class RandomShiftOp final : public AugmentationOp<T> {
public:
    RandomShiftOp(const RandomShiftSpec& spec, const OpSite<T>& site)
        : AugmentationOp<T>(site), pixels_(spec.pixels) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        random_shift<T>(this->images(part), pixels_, this->draws(part), at.x[0].data, at.y);
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0])
            random_shift_backward<T>(this->images(part), pixels_, this->draws(part), grad, grad_x[0]);
    }

private:
    index_t pixels_;
};

template <class T>
class RandomRotationOp final : public AugmentationOp<T> {
public:
    RandomRotationOp(const RandomRotationSpec& spec, const OpSite<T>& site)
        : AugmentationOp<T>(site), degrees_(spec.degrees) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        random_rotation<T>(this->images(part), degrees_, this->draws(part), at.x[0].data, at.y);
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0])
            random_rotation_backward<T>(this->images(part), degrees_, this->draws(part), grad, grad_x[0]);
    }

private:
    double degrees_;
};

template <class T>
class RandomHorizontalFlipOp final : public AugmentationOp<T> {
public:
    RandomHorizontalFlipOp(const RandomHorizontalFlipSpec& spec, const OpSite<T>& site)
        : AugmentationOp<T>(site), p_(spec.p) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        random_horizontal_flip<T>(this->images(part), p_, this->draws(part), at.x[0].data, at.y);
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0]) random_horizontal_flip<T>(this->images(part), p_, this->draws(part), grad, grad_x[0]);
    }

private:
    double p_;
};

// In evaluation the window in the middle.
template <class T>
class RandomCropOp final : public AugmentationOp<T> {
public:
    RandomCropOp(const RandomCropSpec& spec, const OpSite<T>& site)
        : AugmentationOp<T>(site),
          window_{spec.size[0], spec.size[1], spec.padding[0], spec.padding[1]},
          training_(site.training) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        if (training_)
            random_crop<T>(this->images(part), window_, this->draws(part), at.x[0].data, at.y);
        else
            center_crop<T>(this->images(part), window_, at.x[0].data, at.y);
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (!grad_x[0]) return;
        if (training_)
            random_crop_backward<T>(this->images(part), window_, this->draws(part), grad, grad_x[0]);
        else
            center_crop_backward<T>(this->images(part), window_, grad, grad_x[0]);
    }

private:
    CropWindow window_;
    bool training_;
};

Shape same_images(const Shape& input) {
    require_images(input);
    return input;
}

}  // namespace

Shape infer_shape(const RandomShiftSpec&, const InputShapes& inputs) { return same_images(inputs[0]); }
Shape infer_shape(const RandomRotationSpec&, const InputShapes& inputs) { return same_images(inputs[0]); }
Shape infer_shape(const RandomHorizontalFlipSpec&, const InputShapes& inputs) {
    return same_images(inputs[0]);
}

Shape infer_shape(const RandomCropSpec& spec, const InputShapes& inputs) {
    const Shape& input = inputs[0];
    require_images(input);
    for (int axis = 0; axis < 2; ++axis)
        if (spec.size[axis] > input[static_cast<std::size_t>(axis) + 1] + 2 * spec.padding[axis])
            throw std::invalid_argument(
                "expected images, padded by " + shape_text({spec.padding[0], spec.padding[1]}) +
                " on each side, of at least the size " + shape_text({spec.size[0], spec.size[1]}) +
                ", got shape " + shape_text(input));
    return {input[0], spec.size[0], spec.size[1]};
}

template <class T>
std::unique_ptr<Op<T>> make_op(const RandomShiftSpec& spec, const OpSite<T>& site) {
    return std::make_unique<RandomShiftOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(RandomShiftSpec)

template <class T>
std::unique_ptr<Op<T>> make_op(const RandomRotationSpec& spec, const OpSite<T>& site) {
    return std::make_unique<RandomRotationOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(RandomRotationSpec)

template <class T>
std::unique_ptr<Op<T>> make_op(const RandomHorizontalFlipSpec& spec, const OpSite<T>& site) {
    return std::make_unique<RandomHorizontalFlipOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(RandomHorizontalFlipSpec)

template <class T>
std::unique_ptr<Op<T>> make_op(const RandomCropSpec& spec, const OpSite<T>& site) {
    return std::make_unique<RandomCropOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(RandomCropSpec)

}  // namespace ranvier
