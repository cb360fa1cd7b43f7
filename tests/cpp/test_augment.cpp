// Gaussian noise and random augmentation, against plain float64 loops.
#include <cmath>
#include <vector>

#include "isas.h"
#include "ranvier/activation.h"
#include "ranvier/augment.h"
#include "ranvier/random.h"

namespace {

using ranvier::CropWindow;
using ranvier::ImageBatch;
using ranvier::index_t;
using ranvier::RandomDraws;

class Augment : public EachIsa {};
RANVIER_EACH_ISA(Augment);

template <class T>
std::vector<T> numbers(index_t n, int seed) {
    std::vector<T> values(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<T>(std::sin(static_cast<double>(seed) + 1.7 * static_cast<double>(i)));
    return values;
}

// Element i of the noise, from the words of its pair.
double normal_number(std::uint64_t seed, std::uint64_t stream, std::uint64_t i) {
    const auto words = ranvier::philox4x32(seed, stream, i / 4);
    const std::uint32_t* pair = &words[i % 4 / 2 * 2];
    const double radius = std::sqrt(-2 * std::log((pair[0] + 0.5) / 4294967296.0));
    const double angle = 2 * std::acos(-1.0) * pair[1] / 4294967296.0;
    return radius * (i % 2 ? std::sin(angle) : std::cos(angle));
}

template <class T>
void expect_noise(index_t n, double tolerance) {
    const auto x = numbers<T>(n, 1);
    std::vector<T> y(x.size());
    ranvier::gaussian_noise<T>({0.5, 11, 12}, n, x.data(), y.data());
    for (std::size_t i = 0; i < x.size(); ++i)
        EXPECT_NEAR(y[i], static_cast<double>(x[i]) + 0.5 * normal_number(11, 12, i), tolerance)
            << n << " " << i;
}

TEST_P(Augment, NoiseIsThatOfBoxAndMuller) {
    for (index_t n : {0, 1, 2, 3, 7, 31, 32, 33, 1023, 1025, 16385, 40001}) {
        expect_noise<float>(n, 3e-6);
        expect_noise<double>(n, 1e-14);
    }
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

// <forward(x), grad> = <x, backward(grad)>, the outputs being planes of that height and width.
template <class Forward, class Backward>
void expect_adjoint(const ImageBatch& images, index_t height, index_t width, Forward&& forward,
                    Backward&& backward) {
    const index_t planes = images.n * images.channels;
    const auto x = numbers<double>(planes * images.height * images.width, 1);
    const auto grad = numbers<double>(planes * height * width, 2);
    std::vector<double> y(grad.size(), 7), grad_x(x.size(), 7);  // all of it is to be written
    forward(x.data(), y.data());
    backward(grad.data(), grad_x.data());
    EXPECT_NEAR(dot(y, grad), dot(x, grad_x), 1e-11) << images.height << " x " << images.width;
}

TEST(RandomImages, BackwardIsTheAdjoint) {
    const RandomDraws draws = {3, 4};
    for (const ImageBatch& images :
         {ImageBatch{5, 2, 9, 8}, {7, 1, 1, 1}, {3, 3, 1, 13}, {0, 2, 4, 4}, {4, 0, 3, 3}}) {
        const auto [n, channels, height, width] = images;
        const ImageBatch batch = images;
        expect_adjoint(
            batch, height, width,
            [&](auto* x, auto* y) { ranvier::random_shift<double>(batch, 4, draws, x, y); },
            [&](auto* grad, auto* to) { ranvier::random_shift_backward<double>(batch, 4, draws, grad, to); });
        expect_adjoint(
            batch, height, width,
            [&](auto* x, auto* y) { ranvier::random_rotation<double>(batch, 70, draws, x, y); },
            [&](auto* grad, auto* to) {
                ranvier::random_rotation_backward<double>(batch, 70, draws, grad, to);
            });
        expect_adjoint(
            batch, height, width,
            [&](auto* x, auto* y) { ranvier::random_horizontal_flip<double>(batch, 0.5, draws, x, y); },
            [&](auto* grad, auto* to) {
                ranvier::random_horizontal_flip<double>(batch, 0.5, draws, grad, to);
            });
        const CropWindow window = {3, 5, 1, 2};
        expect_adjoint(
            batch, 3, 5, [&](auto* x, auto* y) { ranvier::random_crop<double>(batch, window, draws, x, y); },
            [&](auto* grad, auto* to) {
                ranvier::random_crop_backward<double>(batch, window, draws, grad, to);
            });
        expect_adjoint(
            batch, 3, 5, [&](auto* x, auto* y) { ranvier::center_crop<double>(batch, window, x, y); },
            [&](auto* grad, auto* to) { ranvier::center_crop_backward<double>(batch, window, grad, to); });
    }
}

// Sample i of a shift by one pixel holds pixel (r - down, c - right) at (r, c).
TEST(RandomImages, AShiftIsOneOfNine) {
    const index_t n = 200, size = 5;
    const auto x = numbers<float>(n * size * size, 1);
    std::vector<float> y(x.size());
    ranvier::random_shift<float>({n, 1, size, size}, 1, {1, 2}, x.data(), y.data());
    int seen[9] = {};
    for (index_t i = 0; i < n; ++i)
        for (int map = 0; map < 9; ++map) {
            const index_t down = map / 3 - 1, right = map % 3 - 1;
            bool same = true;
            for (index_t r = 0; r < size; ++r)
                for (index_t c = 0; c < size; ++c) {
                    const index_t row = r - down, col = c - right;
                    const bool inside = row >= 0 && row < size && col >= 0 && col < size;
                    const float* image = x.data() + i * size * size;
                    same = same && y[static_cast<std::size_t>((i * size + r) * size + c)] ==
                                       (inside ? image[row * size + col] : 0);
                }
            seen[map] += same;
        }
    int total = 0;
    for (int count : seen) {
        EXPECT_GT(count, 5);
        total += count;
    }
    EXPECT_EQ(total, n);
}

}  // namespace
