// Memory that is refused at any moment of a pass: the exception comes out, and the network does all again as
// if nothing had been.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "ranvier/predictor.h"
#include "ranvier/threads.h"
#include "ranvier/trainer.h"

#if defined(RANVIER_SANITIZED) || !defined(__GLIBC__)
#define RANVIER_OWN_ALLOCATION 0  // sanitizers have their own
#else
#define RANVIER_OWN_ALLOCATION 1
#endif

#if RANVIER_OWN_ALLOCATION
namespace {

std::atomic<long> allocations_left{-1};  // until one is refused; negative: none is

bool is_refused() {
    long left = allocations_left.load();
    while (left >= 0)
        if (allocations_left.compare_exchange_weak(left, left - 1)) return left == 0;
    return false;
}

void* allocate(std::size_t bytes) {
    void* const memory = is_refused() ? nullptr : std::malloc(bytes ? bytes : 1);
    if (!memory) throw std::bad_alloc();
    return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes); }
void* operator new[](std::size_t bytes) { return allocate(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

extern "C" void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
    void* memory = nullptr;
    return is_refused() || posix_memalign(&memory, alignment, bytes) != 0 ? nullptr : memory;
}

namespace {

using namespace ranvier;

const Shape kImage = {2, 8, 8};
constexpr index_t kSamples = 40;

std::vector<LayerSpec> layers() {
    ResidualSpec residual;
    residual.layers = {Conv2dSpec{6, 6, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, true},
                       BatchNormSpec{6, 1e-5, 0.1, true, 3}};
    return {Conv2dSpec{2, 6, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, true},
            residual,
            ActivationSpec{Activation::gelu},
            Pool2dSpec{true, {2, 2}, {2, 2}, {0, 0}},
            FlattenSpec{},
            DropoutSpec{0.3},
            LinearSpec{96, 30},
            ActivationSpec{Activation::tanh},
            LinearSpec{30, 4}};
}

std::shared_ptr<Parameters<float>> started() {
    auto parameters = std::make_shared<Parameters<float>>(layers());
    for (index_t i = 0; i < parameters->size(); ++i)
        parameters->values()[i] = static_cast<float>(0.2 * std::sin(1 + 3.7 * static_cast<double>(i % 1009)));
    return parameters;
}

struct Batch {
    std::vector<float> x;
    std::vector<std::int64_t> labels;

    Batch() : x(static_cast<std::size_t>(kSamples * element_count(kImage))) {
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::cos(0.7f * static_cast<float>(i * i % 1013));
        for (index_t i = 0; i < kSamples; ++i) labels.push_back(i * 7 % 4);
    }
};

// Calls work() again and again, of whose allocations the first, the second, ... is refused, until none is;
// and after each refusal check(). Returns how many were.
template <class Work, class Check>
long refuse_each(Work&& work, Check&& check) {
    for (long refused = 0;; ++refused) {
        allocations_left = refused;
        try {
            work();
        } catch (const std::bad_alloc&) {  // some do without instead, such as std::stable_sort
        }
        if (allocations_left.exchange(-1) >= 0) return refused;
        check();
    }
}

class FailedAllocations : public testing::TestWithParam<int> {
protected:
    void SetUp() override { set_num_threads(GetParam()); }
    void TearDown() override { set_num_threads(0); }
};
INSTANTIATE_TEST_SUITE_P(Threads, FailedAllocations, testing::Values(1, 3));

TEST_P(FailedAllocations, InGradients) {
    const Batch batch;
    const Objective<float> objective = {Loss::softmax_cross_entropy, {nullptr, batch.labels.data()}, {}};
    const auto parameters = started();
    std::unique_ptr<Trainer<float>> trainer;
    const auto gradients = [&] {
        if (!trainer) trainer = std::make_unique<Trainer<float>>(parameters, kImage, kSamples, 1);
        trainer->training_passes() = 0;  // the same masks of dropout
        trainer->gradients(kSamples, {batch.x.data()}, objective);
    };
    const auto values = [&] {
        return std::vector<float>(parameters->gradients(), parameters->gradients() + parameters->size());
    };
    gradients();
    const std::vector<float> expected = values();
    trainer.reset();
    const long refused = refuse_each(gradients, [&] {
        gradients();
        EXPECT_EQ(values(), expected);
        trainer.reset();
    });
    EXPECT_GT(refused, 10);
}

TEST_P(FailedAllocations, InPredictions) {
    const Batch batch;
    const auto parameters = started();
    for (const Weights weights : {Weights::live, Weights::frozen}) {
        std::vector<float> got(4 * kSamples);
        std::unique_ptr<Predictor<float>> predictor;
        const auto predict = [&] {
            if (!predictor) predictor = std::make_unique<Predictor<float>>(parameters, kImage, weights);
            predictor->prepare(kSamples);
            predictor->predict(kSamples, {batch.x.data()}, got.data());
        };
        predict();
        const std::vector<float> expected = got;
        predictor.reset();
        const long refused = refuse_each(predict, [&] {
            predict();
            EXPECT_EQ(got, expected);
            predictor.reset();
        });
        EXPECT_GT(refused, 10);
    }
}

}  // namespace
#endif
