// Losses from C++: gradients by central differences with every setting, weights, and the mean's divisor.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "isas.h"
#include "losses.h"
#include "ranvier/threads.h"

namespace {

using namespace ranvier;

constexpr index_t kOutputs = 3;

// A batch of predictions between 0 and 1, with labels, rows of -1 and 1, and weights.
struct Batch {
    index_t n;
    std::vector<double> prediction, rows, weights;
    std::vector<std::int64_t> labels;

    explicit Batch(index_t samples) : n(samples) {
        for (index_t i = 0; i < n * kOutputs; ++i) {
            prediction.push_back(0.5 + 0.4 * std::sin(1 + 3.7 * static_cast<double>(i)));
            rows.push_back(i % 5 < 2 ? -1 : 1);
        }
        for (index_t i = 0; i < n; ++i) {
            labels.push_back(i % kOutputs);
            weights.push_back(0.25 * static_cast<double>(i % 4));
        }
    }
    Targets<double> targets(bool dense) const {
        return dense ? Targets<double>{rows.data(), nullptr, weights.data()}
                     : Targets<double>{nullptr, labels.data(), weights.data()};
    }
};

double mean_loss(const LossSpec& loss, const Batch& batch, bool dense, double* grad) {
    const LossSums sums =
        loss_of_batch<double>(loss, batch.n, kOutputs, batch.prediction.data(), batch.targets(dense), grad);
    return sums.loss / loss_divisor(loss.kind, sums.weight, kOutputs);
}

using LossTest = EachIsa;
RANVIER_EACH_ISA(LossTest);

TEST_P(LossTest, GradientsAgreeWithCentralDifferences) {
    for (const LossSpec& loss : every_loss(kOutputs)) {
        for (const bool dense : {false, true}) {
            Batch batch(7);
            std::vector<double> grad(batch.prediction.size());
            mean_loss(loss, batch, dense, grad.data());
            for (std::size_t i = 0; i < grad.size(); ++i) {
                double& p = batch.prediction[i];
                const double before = p;
                p = before + 1e-6;
                const double up = mean_loss(loss, batch, dense, nullptr);
                p = before - 1e-6;
                const double down = mean_loss(loss, batch, dense, nullptr);
                p = before;
                EXPECT_NEAR(grad[i], (up - down) / 2e-6, 1e-8) << static_cast<int>(loss.kind) << " " << i;
            }
        }
    }
}

TEST_P(LossTest, GradientsMayTakeThePlaceOfPredictions) {
    for (const LossSpec& loss : every_loss(kOutputs)) {
        Batch batch(100);
        std::vector<double> grad(batch.prediction.size());
        const double apart = mean_loss(loss, batch, false, grad.data());
        EXPECT_EQ(mean_loss(loss, batch, false, batch.prediction.data()), apart);
        EXPECT_EQ(batch.prediction, grad) << static_cast<int>(loss.kind);
    }
}

TEST_P(LossTest, SameBitsAtAnyThreadCount) {
    const Batch batch(5000);
    for (const LossSpec& loss : every_loss(kOutputs)) {
        std::vector<double> first(batch.prediction.size()), grad(batch.prediction.size());
        set_num_threads(1);
        const double expected = mean_loss(loss, batch, false, first.data());
        for (int threads : {2, 3, 7}) {
            set_num_threads(threads);
            EXPECT_EQ(mean_loss(loss, batch, false, grad.data()), expected);
            EXPECT_EQ(grad, first);
        }
    }
    set_num_threads(0);
}

// The sums of errors of both types beside plain loops, at one and at several threads.
template <class T>
void expect_sums_of_errors(index_t n, index_t outputs) {
    std::vector<T> prediction(n * outputs), target(n * outputs);
    for (index_t i = 0; i < n * outputs; ++i) {
        prediction[i] = static_cast<T>(std::sin(1 + 3.7 * static_cast<double>(i)));
        target[i] = static_cast<T>(5 + std::cos(2 + 1.3 * static_cast<double>(i)));
    }
    std::vector<double> sums(5 * outputs), expected(5 * outputs);
    for (index_t k = 0; k < 5 * outputs; ++k) sums[k] = expected[k] = 0.25 * static_cast<double>(k % 7);
    for (index_t i = 0; i < n; ++i)
        for (index_t j = 0; j < outputs; ++j) {
            const auto t = static_cast<double>(target[i * outputs + j]);
            const double error = static_cast<double>(prediction[i * outputs + j]) - t;
            const double distance = t - expected[j];
            expected[outputs + j] += error * error;
            expected[2 * outputs + j] += std::fabs(error);
            expected[3 * outputs + j] += distance;
            expected[4 * outputs + j] += distance * distance;
        }
    std::vector<double> at_one_thread = sums;
    set_num_threads(1);
    add_errors<T>(n, outputs, prediction.data(), target.data(), at_one_thread.data());
    set_num_threads(3);
    add_errors<T>(n, outputs, prediction.data(), target.data(), sums.data());
    set_num_threads(0);
    EXPECT_EQ(sums, at_one_thread);
    for (index_t k = 0; k < 5 * outputs; ++k)
        EXPECT_NEAR(sums[k], expected[k], 1e-12 * (1 + std::fabs(expected[k])))
            << n << " samples, " << outputs << " outputs, sum " << k;
}

TEST_P(LossTest, SumsOfErrorsAreThoseOfPlainLoops) {
    for (const index_t n : {0, 1, 7, 33, 700})
        for (const index_t outputs : {1, 2, 15, 16, 17, 100}) {
            expect_sums_of_errors<float>(n, outputs);
            expect_sums_of_errors<double>(n, outputs);
        }
}

TEST(Loss, WeightsOfSamplesAndClassesMultiply) {
    const Batch batch(8);
    LossSpec loss = Loss::softmax_cross_entropy;
    loss.weight = {1, 10, 100};
    double labelled = 0, dense = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        labelled += batch.weights[i] * std::pow(10, batch.labels[i]);
        dense += batch.weights[i];
    }
    const auto weight = [&](bool rows) {
        return loss_of_batch<double>(loss, 8, kOutputs, batch.prediction.data(), batch.targets(rows), nullptr)
            .weight;
    };
    EXPECT_EQ(weight(false), labelled);
    EXPECT_EQ(weight(true), dense);
}

TEST(Loss, DivisorIsOfTheLossesMean) {
    EXPECT_EQ(loss_divisor(Loss::quadratic, 2.5, 4), 2.5);
    EXPECT_EQ(loss_divisor(Loss::hinge, 2.5, 4), 2.5);
    EXPECT_EQ(loss_divisor(Loss::mean_squared_error, 2.5, 4), 10);
    EXPECT_EQ(loss_divisor(Loss::sum_squared_residuals, 2.5, 4), 1);
    EXPECT_EQ(loss_divisor(Loss::softmax_cross_entropy, 0, 4), 1);
}

}  // namespace
