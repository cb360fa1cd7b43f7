// Upsampling of images.
#include <cmath>
#include <stdexcept>

#include "images.h"
#include "instantiate.h"
#include "ranvier/sizes.h"
#include "ranvier/upsample.h"

namespace ranvier {
namespace {

template <class T>
class UpsampleOp final : public Op<T> {
public:
    UpsampleOp(const UpsampleSpec& spec, const OpSite<T>& site)
        : Op<T>({false, false}),
          channels_(site.input()[0]),
          height_(site.input()[1]),
          width_(site.input()[2]),
          rows_(sources(spec, height_, spec.scale_factor[0])),
          columns_(sources(spec, width_, spec.scale_factor[1])) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        upsample<T>(part.count * channels_, height_, width_, rows_, columns_, at.x[0].data, at.y);
    }
    void backward_data(const MicroBatch& part, const Operands<T>&, const T* grad,
                       T* const* grad_x) const override {
        if (grad_x[0])
            upsample_backward<T>(part.count * channels_, height_, width_, rows_, columns_, grad, grad_x[0]);
    }

private:
    static std::vector<UpsampleSource> sources(const UpsampleSpec& spec, index_t size, double factor) {
        return spec.bilinear ? linear_sources(size, factor, spec.align_corners)
                             : nearest_sources(size, factor);
    }

    index_t channels_, height_, width_;
    std::vector<UpsampleSource> rows_, columns_;
};

}  // namespace

Shape infer_shape(const UpsampleSpec& spec, const InputShapes& inputs) {
    require_images(inputs[0]);
    Shape shape = inputs[0];
    for (std::size_t axis = 0; axis < 2; ++axis) {
        const double size = std::floor(static_cast<double>(shape[axis + 1]) * spec.scale_factor[axis]);
        if (!(size >= 1 && size <= static_cast<double>(kLargestSize)))
            throw std::invalid_argument(
                "expected a scale_factor that leaves 1 to " + std::to_string(kLargestSize) +
                " pixels of an image's height and width, got " + shape_text(inputs[0]));
        shape[axis + 1] = static_cast<index_t>(size);
    }
    return shape;
}

template <class T>
std::unique_ptr<Op<T>> make_op(const UpsampleSpec& spec, const OpSite<T>& site) {
    return std::make_unique<UpsampleOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(UpsampleSpec)

}  // namespace ranvier
