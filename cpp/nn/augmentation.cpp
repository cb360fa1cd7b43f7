// Layers that move, turn, mirror and cut images at random in training.
#include "images.h"
#include "layer.h"
#include "ranvier/augment.h"

namespace ranvier {
namespace {

// What they share: the shape of a sample, and numbers of their own in each pass. An idle one changes nothing.
template <class T>
class AugmentationLayer : public Layer<T> {
public:
    AugmentationLayer(const Site<T>& site, bool idle)
        : channels_(site.input[0]),
          height_(site.input[1]),
          width_(site.input[2]),
          layer_(site.compilation.layers),
          idle_(idle) {}

    bool passes_through(const Pass<T>& pass) const override { return !pass.training || idle_; }

protected:
    ImageBatch images(const Pass<T>& pass) const { return {pass.n, channels_, height_, width_}; }
    RandomDraws draws(const Pass<T>& pass) const { return {pass.seed, stream_of(pass, layer_)}; }

private:
    index_t channels_, height_, width_;
    std::uint64_t layer_;  // its number
    bool idle_;
};

template <class T>
class RandomShiftLayer final : public AugmentationLayer<T> {
public:
    RandomShiftLayer(const RandomShiftSpec& spec, const Site<T>& site)
        : AugmentationLayer<T>(site, spec.pixels == 0), pixels_(spec.pixels) {}

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        random_shift<T>(this->images(pass), pixels_, this->draws(pass), x, y);
    }
    void backward(const Pass<T>& pass, const T*, const T*, T* grad, T* grad_x) override {
        if (grad_x) random_shift_backward<T>(this->images(pass), pixels_, this->draws(pass), grad, grad_x);
    }

private:
    index_t pixels_;
};

template <class T>
class RandomRotationLayer final : public AugmentationLayer<T> {
public:
    RandomRotationLayer(const RandomRotationSpec& spec, const Site<T>& site)
        : AugmentationLayer<T>(site, spec.degrees == 0), degrees_(spec.degrees) {}

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        random_rotation<T>(this->images(pass), degrees_, this->draws(pass), x, y);
    }
    void backward(const Pass<T>& pass, const T*, const T*, T* grad, T* grad_x) override {
        if (grad_x)
            random_rotation_backward<T>(this->images(pass), degrees_, this->draws(pass), grad, grad_x);
    }

private:
    double degrees_;
};

template <class T>
class RandomHorizontalFlipLayer final : public AugmentationLayer<T> {
public:
    RandomHorizontalFlipLayer(const RandomHorizontalFlipSpec& spec, const Site<T>& site)
        : AugmentationLayer<T>(site, spec.p == 0), p_(spec.p) {}

    void forward(const Pass<T>& pass, const T* x, T* y) override {
        random_horizontal_flip<T>(this->images(pass), p_, this->draws(pass), x, y);
    }
    void backward(const Pass<T>& pass, const T*, const T*, T* grad, T* grad_x) override {
        if (grad_x) random_horizontal_flip<T>(this->images(pass), p_, this->draws(pass), grad, grad_x);
    }

private:
    double p_;
};

template <class T>
class RandomCropLayer final : public AugmentationLayer<T> {
public:
    RandomCropLayer(const CropWindow& window, const Site<T>& site)
        : AugmentationLayer<T>(site, window.padding_height == 0 && window.padding_width == 0),
          window_(window),
          same_size_(window.height == site.input[1] && window.width == site.input[2]) {}

    bool passes_through(const Pass<T>& pass) const override {
        return same_size_ && AugmentationLayer<T>::passes_through(pass);
    }
    void forward(const Pass<T>& pass, const T* x, T* y) override {
        if (pass.training)
            random_crop<T>(this->images(pass), window_, this->draws(pass), x, y);
        else
            center_crop<T>(this->images(pass), window_, x, y);
    }
    void backward(const Pass<T>& pass, const T*, const T*, T* grad, T* grad_x) override {
        if (!grad_x) return;
        if (pass.training)
            random_crop_backward<T>(this->images(pass), window_, this->draws(pass), grad, grad_x);
        else
            center_crop_backward<T>(this->images(pass), window_, grad, grad_x);
    }

private:
    CropWindow window_;
    bool same_size_;
};

}  // namespace

template <class T>
std::unique_ptr<Layer<T>> compile_augmentation(const RandomShiftSpec& spec, const Site<T>& site) {
    require_images(site);
    return std::make_unique<RandomShiftLayer<T>>(spec, site);
}

template <class T>
std::unique_ptr<Layer<T>> compile_augmentation(const RandomRotationSpec& spec, const Site<T>& site) {
    require_images(site);
    return std::make_unique<RandomRotationLayer<T>>(spec, site);
}

template <class T>
std::unique_ptr<Layer<T>> compile_augmentation(const RandomHorizontalFlipSpec& spec, const Site<T>& site) {
    require_images(site);
    return std::make_unique<RandomHorizontalFlipLayer<T>>(spec, site);
}

template <class T>
std::unique_ptr<Layer<T>> compile_augmentation(const RandomCropSpec& spec, const Site<T>& site,
                                               Shape& output) {
    require_images(site);
    for (int axis = 0; axis < 2; ++axis)
        if (spec.size[axis] > site.input[axis + 1] + 2 * spec.padding[axis])
            site.refuse("expected images, padded by " + shape_text({spec.padding[0], spec.padding[1]}) +
                        " on each side, of at least the size " + shape_text({spec.size[0], spec.size[1]}) +
                        ", got shape " + shape_text(site.input));
    output = {site.input[0], spec.size[0], spec.size[1]};
    const CropWindow window = {spec.size[0], spec.size[1], spec.padding[0], spec.padding[1]};
    return std::make_unique<RandomCropLayer<T>>(window, site);
}

#define RANVIER_INSTANTIATE(T)                                                                          \
    template std::unique_ptr<Layer<T>> compile_augmentation(const RandomShiftSpec&, const Site<T>&);    \
    template std::unique_ptr<Layer<T>> compile_augmentation(const RandomRotationSpec&, const Site<T>&); \
    template std::unique_ptr<Layer<T>> compile_augmentation(const RandomHorizontalFlipSpec&,            \
                                                            const Site<T>&);                            \
    template std::unique_ptr<Layer<T>> compile_augmentation(const RandomCropSpec&, const Site<T>&, Shape&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
