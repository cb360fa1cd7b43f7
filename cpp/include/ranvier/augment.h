// Random augmentation of images: each sample of a batch is moved, turned, mirrored or cut by a map of its
// own, drawn from the Philox block at (seed, stream, number of the sample). The maps are linear; each
// _backward, with the same numbers, is the exact adjoint. Batches are NCHW without gaps; what is written may
// not overlap what is read.
#pragma once

#include <cstdint>

#include "ranvier/array.h"

namespace ranvier {

struct ImageBatch {
    index_t n, channels, height, width;
};
struct RandomDraws {
    std::uint64_t seed = 0;
    std::uint64_t stream = 0;
    index_t first = 0;  // the number of the first sample, where these images are a part of a batch
};

// By whole pixels, -pixels to pixels, down and to the right; zeros move in.
template <class T>
void random_shift(const ImageBatch& images, index_t pixels, const RandomDraws& draws, const T* x, T* y);
template <class T>
void random_shift_backward(const ImageBatch& images, index_t pixels, const RandomDraws& draws, const T* grad,
                           T* grad_x);

// About the centre, by an angle uniform in [-degrees, degrees). A pixel is interpolated bilinearly between
// the four nearest of the image, which is zero outside. Beside an infinity there may be a NaN.
template <class T>
void random_rotation(const ImageBatch& images, double degrees, const RandomDraws& draws, const T* x, T* y);
template <class T>
void random_rotation_backward(const ImageBatch& images, double degrees, const RandomDraws& draws,
                              const T* grad, T* grad_x);

// Left to right, with probability p. Backward is the same call on the gradient.
template <class T>
void random_horizontal_flip(const ImageBatch& images, double p, const RandomDraws& draws, const T* x, T* y);

// A window of height x width of the image with so many zeros added on each side, where it must fit in.
struct CropWindow {
    index_t height, width;
    index_t padding_height = 0, padding_width = 0;
};
template <class T>
void random_crop(const ImageBatch& images, const CropWindow& window, const RandomDraws& draws, const T* x,
                 T* y);
template <class T>
void random_crop_backward(const ImageBatch& images, const CropWindow& window, const RandomDraws& draws,
                          const T* grad, T* grad_x);

// The window in the middle; half a pixel is rounded up and to the left.
template <class T>
void center_crop(const ImageBatch& images, const CropWindow& window, const T* x, T* y);
template <class T>
void center_crop_backward(const ImageBatch& images, const CropWindow& window, const T* grad, T* grad_x);

}  // namespace ranvier
