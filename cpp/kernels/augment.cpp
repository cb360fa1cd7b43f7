// Random augmentation of images: the maps that are drawn, and the threads over samples.
#include "ranvier/augment.h"

#include <algorithm>
#include <cmath>

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
    parallel_for((n + grouped - 1) / grouped, threads_for(static_cast<double>(n * elements) * cost),
                 [&](index_t task) {
                     for (index_t i = task * grouped; i < std::min(n, (task + 1) * grouped); ++i) body(i);
                 });
}

std::array<std::uint32_t, 4> words_of(const RandomDraws& draws, index_t sample) {
    return philox4x32(draws.seed, draws.stream, static_cast<std::uint64_t>(sample));
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

// A rotation about the centre of a plane, of which only the pixels of the source are asked.
class Rotation {
public:
    Rotation(PlaneSize size, double radians)
        : size_(size), sine_(std::sin(radians)), cosine_(std::cos(radians)) {}

    // add(to, from, weight) for each pixel of the turned plane and each of the four of the plane between
    // which it lies. Those outside and those without weight are left out, so that an infinity stays where it
    // is.
    template <class Add>
    void for_each_weight(Add&& add) const {
        for (index_t r = 0; r < size_.height; ++r)
            for (index_t c = 0; c < size_.width; ++c) {
                const double down = static_cast<double>(r) - center_row(),
                             right = static_cast<double>(c) - center_col();
                const Place row(center_row() + cosine_ * down + sine_ * right);
                const Place col(center_col() - sine_ * down + cosine_ * right);
                for (int i = 0; i < 2; ++i)
                    for (int j = 0; j < 2; ++j) {
                        const double weight = row.weight[i] * col.weight[j];
                        if (weight != 0 && inside(row.first + i, size_.height) &&
                            inside(col.first + j, size_.width))
                            add(r * size_.width + c, (row.first + i) * size_.width + col.first + j, weight);
                    }
            }
    }

private:
    // A coordinate as a pixel, and the weights of it and the next.
    struct Place {
        index_t first;
        double weight[2];

        explicit Place(double at) : first(static_cast<index_t>(at)) {
            first -= at < static_cast<double>(first);  // rounded down
            weight[1] = at - static_cast<double>(first);
            weight[0] = 1 - weight[1];
        }
    };

    static bool inside(index_t i, index_t size) { return i >= 0 && i < size; }
    double center_row() const { return static_cast<double>(size_.height - 1) / 2; }
    double center_col() const { return static_cast<double>(size_.width - 1) / 2; }

    PlaneSize size_;
    double sine_, cosine_;
};

// body(first element of the sample, its rotation) for each sample.
template <class Body>
void for_each_rotation(const ImageBatch& images, double degrees, const RandomDraws& draws, Body&& body) {
    constexpr double kRadians = 3.14159265358979323846 / 180;
    const PlaneSize size = plane_of(images);
    for_each_sample(images.n, images.channels * size.area(), 100, [&](index_t i) {
        const double uniform = words_of(draws, i)[0] * 0x1p-31 - 1;
        body(i * images.channels * size.area(), Rotation(size, degrees * kRadians * uniform));
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
    const index_t area = plane_of(images).area(), sample = images.channels * area;
    for_each_rotation(images, degrees, draws, [&](index_t first, const Rotation& rotation) {
        std::fill_n(y + first, sample, T{});
        rotation.for_each_weight([&](index_t to, index_t from, double weight) {
            for (index_t plane = first; plane < first + sample; plane += area)
                y[plane + to] += static_cast<T>(weight) * x[plane + from];
        });
    });
}

template <class T>
void random_rotation_backward(const ImageBatch& images, double degrees, const RandomDraws& draws,
                              const T* grad, T* grad_x) {
    const index_t area = plane_of(images).area(), sample = images.channels * area;
    for_each_rotation(images, degrees, draws, [&](index_t first, const Rotation& rotation) {
        std::fill_n(grad_x + first, sample, T{});
        rotation.for_each_weight([&](index_t to, index_t from, double weight) {
            for (index_t plane = first; plane < first + sample; plane += area)
                grad_x[plane + from] += static_cast<T>(weight) * grad[plane + to];
        });
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
