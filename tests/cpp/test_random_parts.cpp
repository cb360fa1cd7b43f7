// Random functions of a part of an array or batch: to the bit what the whole gets there.
#include <algorithm>
#include <vector>

#include "isas.h"
#include "ranvier/activation.h"
#include "ranvier/augment.h"

namespace {

using namespace ranvier;

// Lengths of parts, within a block of four numbers, around a vector's and a piece's end, and far beyond it.
constexpr index_t kParts[] = {1, 3, 1, 5, 2, 63, 64, 65, 0, 7, 1021, 1, 1023, 1024, 1025, 17, 20011, 4};

template <class T>
std::vector<T> numbers(index_t n) {
    std::vector<T> values(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<T>(static_cast<double>(i * 37 % 101) - 50.25);
    return values;
}

// run(first, n, x, y) on the whole, and on its parts one after the other. Sizes are in units of `from`
// elements read and `to` written; the whole begins at number `origin`.
template <class T, class Run>
void expect_parts_equal_whole(const char* name, index_t origin, index_t from, index_t to,
                              const std::vector<index_t>& parts, Run&& run) {
    index_t n = 0;
    for (const index_t count : parts) n += count;
    const std::vector<T> x = numbers<T>(n * from);
    std::vector<T> whole(static_cast<std::size_t>(n * to)), pieces(whole.size());
    run(origin, n, x.data(), whole.data());
    index_t first = 0;
    for (const index_t count : parts) {
        run(origin + first, count, x.data() + first * from, pieces.data() + first * to);
        first += count;
    }
    const auto differ = std::mismatch(whole.begin(), whole.end(), pieces.begin());
    EXPECT_TRUE(differ.first == whole.end())
        << name << " from " << origin << ", element " << differ.first - whole.begin();
}

template <class T>
void expect_elements() {
    const std::vector<index_t> parts(std::begin(kParts), std::end(kParts));
    for (const index_t origin : {index_t{0}, index_t{1}, index_t{6}, index_t{4096 + 3}, index_t{1} << 34}) {
        expect_parts_equal_whole<T>("dropout", origin, 1, 1, parts,
                                    [](index_t first, index_t n, auto x, auto y) {
                                        dropout<T>({0.4, 5, 6, first}, n, x, y);
                                    });
        expect_parts_equal_whole<T>("noise", origin, 1, 1, parts,
                                    [](index_t first, index_t n, auto x, auto y) {
                                        gaussian_noise<T>({0.5, 5, 6, first}, n, x, y);
                                    });
        expect_parts_equal_whole<T>(
            "rrelu", origin, 1, 1, parts, [](index_t first, index_t n, auto x, auto y) {
                rrelu<T>({0.1, 0.7, 5, 6, first}, row_major(x, {n}), row_major(y, {n}));
            });
        expect_parts_equal_whole<T>(
            "rrelu_slopes", origin, 1, 1, parts, [](index_t first, index_t n, auto x, auto y) {
                rrelu_slopes<T>({0.1, 0.7, 5, 6, first}, row_major(x, {n}), row_major(y, {n}));
            });
    }
}

class RandomParts : public EachIsa {};
RANVIER_EACH_ISA(RandomParts);

TEST_P(RandomParts, OfElementsEqualTheWhole) {
    expect_elements<float>();
    expect_elements<double>();
}

// A whole that begins at a number is, in turn, the end of a longer one.
TEST_P(RandomParts, BeginWhereTheySay) {
    const std::vector<float> x(100, 1.0f);
    std::vector<float> whole(100), end(100);
    for (index_t first = 0; first < 12; ++first) {
        const std::size_t skipped = static_cast<std::size_t>(first);
        gaussian_noise<float>({1, 5, 6}, 100, x.data(), whole.data());
        gaussian_noise<float>({1, 5, 6, first}, 100 - first, x.data(), end.data());
        EXPECT_TRUE(std::equal(whole.begin() + first, whole.end(), end.begin())) << first;
        EXPECT_NE(end[0], whole[skipped + 1]) << first;
        dropout<float>({0.5, 5, 6}, 100, x.data(), whole.data());
        dropout<float>({0.5, 5, 6, first}, 100 - first, x.data(), end.data());
        EXPECT_TRUE(std::equal(whole.begin() + first, whole.end(), end.begin())) << first;
    }
}

template <class T>
void expect_images() {
    constexpr index_t kChannels = 2, kHeight = 6, kWidth = 5, kSample = kChannels * kHeight * kWidth;
    const CropWindow window = {4, 3, 1, 2};
    const index_t cropped = kChannels * window.height * window.width;
    const std::vector<index_t> parts = {1, 3, 5, 63, 0, 64, 65, 2};
    const auto expect = [&](const char* name, index_t from, index_t to, auto&& run) {
        for (const index_t origin : {index_t{0}, index_t{3}})
            expect_parts_equal_whole<T>(
                name, origin, from, to, parts, [&](index_t first, index_t n, auto x, auto y) {
                    run(ImageBatch{n, kChannels, kHeight, kWidth}, RandomDraws{3, 4, first}, x, y);
                });
    };
    expect("shift", kSample, kSample, [](const auto& images, const auto& draws, auto x, auto y) {
        random_shift<T>(images, 2, draws, x, y);
    });
    expect("shift_backward", kSample, kSample, [](const auto& images, const auto& draws, auto x, auto y) {
        random_shift_backward<T>(images, 2, draws, x, y);
    });
    expect("rotation", kSample, kSample, [](const auto& images, const auto& draws, auto x, auto y) {
        random_rotation<T>(images, 40, draws, x, y);
    });
    expect("rotation_backward", kSample, kSample, [](const auto& images, const auto& draws, auto x, auto y) {
        random_rotation_backward<T>(images, 40, draws, x, y);
    });
    expect("flip", kSample, kSample, [](const auto& images, const auto& draws, auto x, auto y) {
        random_horizontal_flip<T>(images, 0.5, draws, x, y);
    });
    expect("crop", kSample, cropped, [&](const auto& images, const auto& draws, auto x, auto y) {
        random_crop<T>(images, window, draws, x, y);
    });
    expect("crop_backward", cropped, kSample, [&](const auto& images, const auto& draws, auto x, auto y) {
        random_crop_backward<T>(images, window, draws, x, y);
    });
}

TEST(RandomImageParts, EqualTheWhole) {
    expect_images<float>();
    expect_images<double>();
}

}  // namespace
