// Random augmentation of images: the maps that are drawn, and the threads over samples.
#include "ranvier/augment.h"

#include <algorithm>
#include <cmath>

#include "ranvier/memory.h"
#include "ranvier/random.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

struct PlaneSize {
    index_t height, width;

    index_t area() const { return height * width; }
};

// body(sample) for each sample, on several threads if they have so many elements of that cost.
template <class Body>
void for_each_sample(index_t n, index_t elements, double cost, Body&& body) {
    constexpr index_t kElementsPerTask = 16384;
    const index_t grouped = std::max<index_t>(1, kElementsPerTask / std::max<index_t>(1, elements));
    parallel_for(ceil_div(n, grouped), threads_for(static_cast<double>(n * elements) * cost),
                 [&](index_t task) {
                     for (index_t i = task * grouped; i < std::min(n, (task + 1) * grouped); ++i) body(i);
                 });
}

std::array<std::uint32_t, 4> words_of(const RandomDraws& draws, index_t sample) {
    return philox4x32(draws.seed, draws.stream, static_cast<std::uint64_t>(draws.first + sample));
}

// A word as a number of 0 .. count - 1 (Lemire 2019): each has 2^32 / count words, or one more.
index_t below(index_t count, std::uint32_t word) {
    return static_cast<index_t>((std::uint64_t{word} * static_cast<std::uint64_t>(count)) >> 32);
}

// Where a window's first pixel lies in the image. Seen from the window, the image lies at minus that: copying
// it from there is the adjoint.
struct Corner {
    index_t top, left;

    Corner operator-() const { return {-top, -left}; }
};

// to[r, c] = from[r + top, c + left], or zero where that is outside.
template <class T>
void copy_window(PlaneSize from_size, const T* from, PlaneSize to_size, T* to, Corner corner) {
    const index_t first = std::clamp<index_t>(-corner.left, 0, to_size.width);
    const index_t last = std::clamp<index_t>(from_size.width - corner.left, first, to_size.width);
    for (index_t r = 0; r < to_size.height; ++r, to += to_size.width) {
        const index_t row = r + corner.top;
        if (row < 0 || row >= from_size.height) {
            std::fill_n(to, to_size.width, T{});
            continue;
        }
        std::fill(to, to + first, T{});
        std::copy_n(from + row * from_size.width + corner.left + first, last - first, to + first);
        std::fill(to + last, to + to_size.width, T{});
    }
}

// The windows of all planes, with the corner that corner_of(sample) gives.
template <class T, class CornerOf>
void copy_windows(const ImageBatch& images, PlaneSize from_size, const T* from, PlaneSize to_size, T* to,
                  CornerOf&& corner_of) {
    for_each_sample(images.n, images.channels * to_size.area(), 1, [&](index_t i) {
        const Corner corner = corner_of(i);
        for (index_t plane = i * images.channels; plane < (i + 1) * images.channels; ++plane)
            copy_window(from_size, from + plane * from_size.area(), to_size, to + plane * to_size.area(),
                        corner);
    });
}

PlaneSize plane_of(const ImageBatch& images) { return {images.height, images.width}; }
PlaneSize plane_of(const CropWindow& window) { return {window.height, window.width}; }

Corner shift_corner(index_t pixels, const RandomDraws& draws, index_t sample) {
    const auto words = words_of(draws, sample);
    return {pixels - below(2 * pixels + 1, words[0]), pixels - below(2 * pixels + 1, words[1])};
}

Corner crop_corner(const ImageBatch& images, const CropWindow& window, const RandomDraws& draws,
                   index_t sample) {
    const auto words = words_of(draws, sample);
    const index_t rows = images.height + 2 * window.padding_height - window.height + 1;
    const index_t cols = images.width + 2 * window.padding_width - window.width + 1;
    return {below(rows, words[0]) - window.padding_height, below(cols, words[1]) - window.padding_width};
}

Corner center_corner(const ImageBatch& images, const CropWindow& window) {
    // An arithmetic shift rounds down where the window is the larger, too.
    return {(images.height - window.height) >> 1, (images.width - window.width) >> 1};
}

// A rotation of a plane about its centre. It reads, or writes, a copy of the plane with zeros around, so that
// a pixel from far outside needs no case of its own: it is moved to where all four neighbours are zero.
class Rotation {
public:
    static constexpr index_t kMargin = 2;  // and one more behind

    Rotation(PlaneSize size, double radians)
        : size_(size), sine_(std::sin(radians)), cosine_(std::cos(radians)) {}

    static PlaneSize padded(PlaneSize size) {
        return {size.height + 2 * kMargin + 1, size.width + 2 * kMargin + 1};
    }

    // body(pixel, first, shares): a pixel of the turned plane, and of the padded one the first of the four
    // between which it lies, and their shares in it, row by row.
    template <class T, class Body>
    void for_each_pixel(Body&& body) const {
        const double center_row = static_cast<double>(size_.height - 1) / 2;
        const double center_col = static_cast<double>(size_.width - 1) / 2;
        for (index_t r = 0; r < size_.height; ++r) {
            const double down = static_cast<double>(r) - center_row;
            for (index_t c = 0; c < size_.width; ++c) {
                const double right = static_cast<double>(c) - center_col;
                const Place row(center_row + cosine_ * down + sine_ * right, size_.height);
                const Place col(center_col - sine_ * down + cosine_ * right, size_.width);
                const T shares[] = {static_cast<T>((1 - row.next) * (1 - col.next)),
                                    static_cast<T>((1 - row.next) * col.next),
                                    static_cast<T>(row.next * (1 - col.next)),
                                    static_cast<T>(row.next * col.next)};
                body(r * size_.width + c, row.first * padded(size_).width + col.first, shares);
            }
        }
    }

private:
    // A coordinate as a pixel of the padded plane, and the share of the next one.
    struct Place {
        index_t first;
        double next;

        Place(double at, index_t size) {
            const double moved = std::clamp(at + kMargin, 0.0, static_cast<double>(size + 2 * kMargin - 1));
            first = static_cast<index_t>(moved);
            next = moved - static_cast<double>(first);
        }
    };

    PlaneSize size_;
    double sine_, cosine_;
};

// body(first element of the sample, its rotation, its padded planes) for each sample.
template <class T, class Body>
void for_each_rotation(const ImageBatch& images, double degrees, const RandomDraws& draws, Body&& body) {
    constexpr double kRadians = 3.14159265358979323846 / 180;
    const PlaneSize size = plane_of(images);
    for_each_sample(images.n, images.channels * size.area(), 50, [&](index_t i) {
        const double uniform = words_of(draws, i)[0] * 0x1p-31 - 1;
        Scratch<T> planes(images.channels * Rotation::padded(size).area());
        body(i * images.channels * size.area(), Rotation(size, degrees * kRadians * uniform), planes.data());
    });
}

}  // namespace

template <class T>
void random_shift(const ImageBatch& images, index_t pixels, const RandomDraws& draws, const T* x, T* y) {
    const PlaneSize size = plane_of(images);
    copy_windows(images, size, x, size, y, [&](index_t i) { return shift_corner(pixels, draws, i); });
}

template <class T>
void random_shift_backward(const ImageBatch& images, index_t pixels, const RandomDraws& draws, const T* grad,
                           T* grad_x) {
    const PlaneSize size = plane_of(images);
    copy_windows(images, size, grad, size, grad_x,
                 [&](index_t i) { return -shift_corner(pixels, draws, i); });
}

template <class T>
void random_rotation(const ImageBatch& images, double degrees, const RandomDraws& draws, const T* x, T* y) {
    const PlaneSize size = plane_of(images), padded = Rotation::padded(size);
    constexpr Corner kCorner = {-Rotation::kMargin, -Rotation::kMargin};
    for_each_rotation<T>(images, degrees, draws, [&](index_t sample, const Rotation& rotation, T* planes) {
        for (index_t c = 0; c < images.channels; ++c)
            copy_window(size, x + sample + c * size.area(), padded, planes + c * padded.area(), kCorner);
        rotation.for_each_pixel<T>([&](index_t pixel, index_t first, const T(&shares)[4]) {
            for (index_t c = 0; c < images.channels; ++c) {
                const T* upper = planes + c * padded.area() + first;
                const T* lower = upper + padded.width;
                y[sample + c * size.area() + pixel] =
                    shares[0] * upper[0] + shares[1] * upper[1] + shares[2] * lower[0] + shares[3] * lower[1];
            }
        });
    });
}

template <class T>
void random_rotation_backward(const ImageBatch& images, double degrees, const RandomDraws& draws,
                              const T* grad, T* grad_x) {
    const PlaneSize size = plane_of(images), padded = Rotation::padded(size);
    constexpr Corner kCorner = {Rotation::kMargin, Rotation::kMargin};
    for_each_rotation<T>(images, degrees, draws, [&](index_t sample, const Rotation& rotation, T* planes) {
        std::fill_n(planes, images.channels * padded.area(), T{});
        rotation.for_each_pixel<T>([&](index_t pixel, index_t first, const T(&shares)[4]) {
            for (index_t c = 0; c < images.channels; ++c) {
                const T value = grad[sample + c * size.area() + pixel];
                T* upper = planes + c * padded.area() + first;
                T* lower = upper + padded.width;
                upper[0] += shares[0] * value;
                upper[1] += shares[1] * value;
                lower[0] += shares[2] * value;
                lower[1] += shares[3] * value;
            }
        });
        for (index_t c = 0; c < images.channels; ++c)
            copy_window(padded, planes + c * padded.area(), size, grad_x + sample + c * size.area(), kCorner);
    });
}

template <class T>
void random_horizontal_flip(const ImageBatch& images, double p, const RandomDraws& draws, const T* x, T* y) {
    const index_t rows = images.channels * images.height, sample = rows * images.width;
    for_each_sample(images.n, sample, 1, [&](index_t i) {
        const T* from = x + i * sample;
        T* to = y + i * sample;
        if (words_of(draws, i)[0] >= p * 0x1p32) {
            std::copy_n(from, sample, to);
            return;
        }
        for (index_t row = 0; row < rows; ++row, from += images.width, to += images.width)
            std::reverse_copy(from, from + images.width, to);
    });
}

template <class T>
void random_crop(const ImageBatch& images, const CropWindow& window, const RandomDraws& draws, const T* x,
                 T* y) {
    copy_windows(images, plane_of(images), x, plane_of(window), y,
                 [&](index_t i) { return crop_corner(images, window, draws, i); });
}

template <class T>
void random_crop_backward(const ImageBatch& images, const CropWindow& window, const RandomDraws& draws,
                          const T* grad, T* grad_x) {
    copy_windows(images, plane_of(window), grad, plane_of(images), grad_x,
                 [&](index_t i) { return -crop_corner(images, window, draws, i); });
}

template <class T>
void center_crop(const ImageBatch& images, const CropWindow& window, const T* x, T* y) {
    copy_windows(images, plane_of(images), x, plane_of(window), y,
                 [&](index_t) { return center_corner(images, window); });
}

template <class T>
void center_crop_backward(const ImageBatch& images, const CropWindow& window, const T* grad, T* grad_x) {
    copy_windows(images, plane_of(window), grad, plane_of(images), grad_x,
                 [&](index_t) { return -center_corner(images, window); });
}

#define RANVIER_INSTANTIATE(T)                                                                             \
    template void random_shift(const ImageBatch&, index_t, const RandomDraws&, const T*, T*);              \
    template void random_shift_backward(const ImageBatch&, index_t, const RandomDraws&, const T*, T*);     \
    template void random_rotation(const ImageBatch&, double, const RandomDraws&, const T*, T*);            \
    template void random_rotation_backward(const ImageBatch&, double, const RandomDraws&, const T*, T*);   \
    template void random_horizontal_flip(const ImageBatch&, double, const RandomDraws&, const T*, T*);     \
    template void random_crop(const ImageBatch&, const CropWindow&, const RandomDraws&, const T*, T*);     \
    template void random_crop_backward(const ImageBatch&, const CropWindow&, const RandomDraws&, const T*, \
                                       T*);                                                                \
    template void center_crop(const ImageBatch&, const CropWindow&, const T*, T*);                         \
    template void center_crop_backward(const ImageBatch&, const CropWindow&, const T*, T*);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
