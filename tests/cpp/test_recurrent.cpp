// The cells of recurrent layers against their formulas in double.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "isas.h"
#include "ranvier/recurrent.h"

namespace {

using namespace ranvier;

using Recurrent = EachIsa;
RANVIER_EACH_ISA(Recurrent);

template <class T>
std::vector<T> numbers(index_t n, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal(0, 2);
    std::vector<T> x(static_cast<std::size_t>(n));
    for (T& value : x) value = static_cast<T>(normal(generator));
    return x;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

constexpr index_t kSamples[] = {1, 3, 20};
constexpr index_t kHidden[] = {1, 3, 8, 13, 33};
constexpr index_t kGap = 5;  // between rows

template <class T>
struct Rows {
    std::vector<T> memory;
    index_t stride;

    Rows(index_t samples, index_t size, unsigned seed)
        : memory(numbers<T>(samples * (size + kGap), seed)), stride(size + kGap) {}
    operator SampleRows<T>() { return {memory.data(), stride}; }
    operator SampleRows<const T>() { return {memory.data(), stride}; }
    double at(index_t sample, index_t i) const {
        return static_cast<double>(memory[static_cast<std::size_t>(sample * stride + i)]);
    }
};

template <class T>
void expect_gru(index_t samples, index_t n, double tolerance) {
    Rows<T> input(samples, 4 * n, 1), state(samples, 3 * n, 2), before(samples, n, 3),
        gates(samples, 4 * n, 4), after(samples, n, 5), output(samples, n, 6), grad(samples, n, 7),
        grad_gates(samples, 4 * n, 8);
    const Rows<T> untouched = gates;
    gru_step<T>(samples, n, input, state, before, gates, after);
    const Rows<T> given = grad;
    gru_step_backward<T>(samples, n, gates, before, output, grad, grad_gates);
    for (index_t s = 0; s < samples; ++s) {
        for (index_t j = 0; j < n; ++j) {
            const double r = sigmoid(input.at(s, j) + state.at(s, j)),
                         z = sigmoid(input.at(s, n + j) + state.at(s, n + j)), m = state.at(s, 2 * n + j),
                         c = std::tanh(input.at(s, 2 * n + j) + r * m), h = before.at(s, j);
            EXPECT_NEAR(after.at(s, j), (1 - z) * c + z * h, tolerance);
            const double g = given.at(s, j) + output.at(s, j), to_c = g * (1 - z) * (1 - c * c);
            EXPECT_NEAR(grad_gates.at(s, j), to_c, tolerance);
            EXPECT_NEAR(grad_gates.at(s, n + j), to_c * m * r * (1 - r), tolerance);
            EXPECT_NEAR(grad_gates.at(s, 2 * n + j), g * (h - c) * z * (1 - z), tolerance);
            EXPECT_NEAR(grad_gates.at(s, 3 * n + j), to_c * r, tolerance);
            EXPECT_NEAR(grad.at(s, j), g * z, tolerance);
        }
        for (index_t k = 0; k < kGap; ++k) EXPECT_EQ(gates.at(s, 4 * n + k), untouched.at(s, 4 * n + k));
    }
    const Rows<T> kept = after;
    gru_step<T>(samples, n, input, state, before, input, after);  // the gates in the input's place
    EXPECT_EQ(after.memory, kept.memory);
    for (index_t s = 0; s < samples; ++s)
        for (index_t j = 0; j < 4 * n; ++j) EXPECT_EQ(input.at(s, j), gates.at(s, j));
}

template <class T>
void expect_lstm(index_t samples, index_t n, double tolerance) {
    Rows<T> input(samples, 4 * n, 1), state(samples, 4 * n, 2), before(samples, n, 3),
        gates(samples, 4 * n, 4), cell(samples, n, 5), after(samples, n, 6), output(samples, n, 7),
        grad(samples, n, 8), grad_cell(samples, n, 9), grad_gates(samples, 4 * n, 10);
    lstm_step<T>(samples, n, input, state, before, gates, cell, after);
    const Rows<T> given = grad_cell;
    lstm_step_backward<T>(samples, n, gates, before, cell, output, grad, grad_cell, grad_gates);
    for (index_t s = 0; s < samples; ++s)
        for (index_t j = 0; j < n; ++j) {
            const auto sum = [&](index_t k) { return input.at(s, k * n + j) + state.at(s, k * n + j); };
            const double i = sigmoid(sum(0)), f = sigmoid(sum(1)), g = std::tanh(sum(2)), o = sigmoid(sum(3)),
                         c = f * before.at(s, j) + i * g, t = std::tanh(c);
            EXPECT_NEAR(cell.at(s, j), c, tolerance);
            EXPECT_NEAR(after.at(s, j), o * t, tolerance);
            const double to_h = grad.at(s, j) + output.at(s, j),
                         to_c = given.at(s, j) + to_h * o * (1 - t * t);
            EXPECT_NEAR(grad_gates.at(s, j), to_c * g * i * (1 - i), tolerance);
            EXPECT_NEAR(grad_gates.at(s, n + j), to_c * before.at(s, j) * f * (1 - f), tolerance);
            EXPECT_NEAR(grad_gates.at(s, 2 * n + j), to_c * i * (1 - g * g), tolerance);
            EXPECT_NEAR(grad_gates.at(s, 3 * n + j), to_h * t * o * (1 - o), tolerance);
            EXPECT_NEAR(grad_cell.at(s, j), to_c * f, tolerance);
        }
    const Rows<T> kept = after, kept_cell = cell;
    lstm_step<T>(samples, n, input, state, before, {}, before, after);  // the cell in its own place
    EXPECT_EQ(after.memory, kept.memory);
    for (index_t s = 0; s < samples; ++s)
        for (index_t j = 0; j < n; ++j) EXPECT_EQ(before.at(s, j), kept_cell.at(s, j));
}

TEST_P(Recurrent, GruIsItsFormula) {
    for (const index_t samples : kSamples)
        for (const index_t hidden : kHidden) {
            expect_gru<float>(samples, hidden, 3e-5);
            expect_gru<double>(samples, hidden, 1e-13);
        }
}

TEST_P(Recurrent, LstmIsItsFormula) {
    for (const index_t samples : kSamples)
        for (const index_t hidden : kHidden) {
            expect_lstm<float>(samples, hidden, 3e-5);
            expect_lstm<double>(samples, hidden, 1e-13);
        }
}

// A NaN stays with its unit of its sample.
TEST_P(Recurrent, NanStaysWhereItIs) {
    Rows<float> input(2, 4 * 9, 1), state(2, 4 * 9, 2), before(2, 9, 3), cell(2, 9, 4), after(2, 9, 5);
    input.memory[9 + 4] = NAN;
    gru_step<float>(2, 9, input, state, before, {}, after);
    for (index_t s = 0; s < 2; ++s)
        for (index_t j = 0; j < 9; ++j) EXPECT_EQ(std::isnan(after.at(s, j)), s == 0 && j == 4);
    lstm_step<float>(2, 9, input, state, before, {}, cell, after);
    for (index_t s = 0; s < 2; ++s)
        for (index_t j = 0; j < 9; ++j) EXPECT_EQ(std::isnan(after.at(s, j)), s == 0 && j == 4);
}

}  // namespace
