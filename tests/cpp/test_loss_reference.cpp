// Losses against plain float64 loops, of rows of awkward lengths, on every instruction set.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "isas.h"
#include "losses.h"

namespace {

using namespace ranvier;

class LossReference : public EachIsa {};
RANVIER_EACH_ISA(LossReference);

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Around a vector's end, around the end of rows that are short, primes, and many.
constexpr index_t kOutputs[] = {1,  2,  3,  4,  5,  7,  8,  9,  10,  15,  16,
                                17, 31, 32, 33, 37, 61, 64, 65, 127, 1000};

// What a row of outputs, as numbers of double, gives by the definitions of ranvier/loss.h.
struct Row {
    double loss = 0;
    double magnitude = 0;  // of the terms of the loss
    std::vector<double> slopes;
    double greatest_share = 0;  // of which, and of softmaxes, the slopes are differences
    bool hit = false;
};

index_t largest(const std::vector<double>& row) {
    std::size_t best = 0;
    for (std::size_t j = 1; j < row.size(); ++j)
        if (row[j] > row[best]) best = j;
    return static_cast<index_t>(best);
}

double at(const std::vector<double>& weights, std::size_t j) { return weights.empty() ? 1 : weights[j]; }

void add_cross_entropy(const LossSpec& loss, const std::vector<double>& p, const std::vector<double>& t,
                       Row& row) {
    const double most = *std::max_element(p.begin(), p.end()), count = static_cast<double>(p.size());
    long double sum = 0, total = 0, below = 0;
    std::vector<double> shares(p.size());
    for (std::size_t j = 0; j < p.size(); ++j) {
        const double smoothed = (1 - loss.label_smoothing) * t[j] + loss.label_smoothing / count;
        shares[j] = smoothed * at(loss.weight, j);
        sum += std::exp(p[j] - most);
        total += shares[j];
        below += shares[j] == 0 ? 0 : shares[j] * (most - p[j]);
    }
    row.loss = static_cast<double>(below + total * std::log(sum));
    row.magnitude = row.loss + static_cast<double>(total);
    for (std::size_t j = 0; j < p.size(); ++j)
        row.slopes[j] = static_cast<double>(total * std::exp(p[j] - most) / sum - shares[j]);
    row.greatest_share = *std::max_element(shares.begin(), shares.end());
}

void add_wrong_classes(const std::vector<double>& p, index_t label, Row& row) {
    const std::size_t own = static_cast<std::size_t>(label);
    for (std::size_t j = 0; j < p.size(); ++j) {
        const double margin = 1 - p[own] + p[j];
        if (j == own || margin <= 0) continue;
        row.loss += margin;
        row.slopes[j] += 1;
        row.slopes[own] -= 1;
    }
    row.magnitude = row.loss;
}

double huber(double delta, double p, double t, double& slope) {
    const double distance = std::abs(p - t);
    slope = std::min(std::max(p - t, -delta), delta);
    return distance <= delta ? distance * distance / 2 : delta * (distance - delta / 2);
}

double pinball(double q, double p, double t, double& slope) {
    slope = p > t ? 1 - q : p < t ? -q : 0;
    return std::max(q * (t - p), (q - 1) * (t - p));
}

double focal(const LossSpec& loss, double p, double t, double& slope) {
    const double above = 1 / (1 + std::exp(-p)), below = 1 / (1 + std::exp(p));
    const double entropy = t * std::log1p(std::exp(-p)) + (1 - t) * std::log1p(std::exp(p));
    const double share = loss.alpha ? *loss.alpha * t + (1 - *loss.alpha) * (1 - t) : 1;
    const double u = above * (1 - t) + below * t, power = std::pow(u, loss.gamma);
    slope = share * (power * (above - t) +
                     entropy * loss.gamma * std::pow(u, loss.gamma - 1) * above * below * (1 - 2 * t));
    return share * power * entropy;
}

double poisson(const LossSpec& loss, double p, double t, double& slope) {
    slope = loss.log_input ? std::exp(p) - t : 1 - t / (p + loss.eps);
    return loss.log_input ? std::exp(p) - t * p : p - t * std::log(p + loss.eps);
}

double element(const LossSpec& loss, std::size_t j, double p, double t, double& slope) {
    switch (loss.kind) {
        case Loss::l1: {
            const double value = 2 * pinball(0.5, p, t, slope);
            slope *= 2;
            return value;
        }
        case Loss::quantile:
            return pinball(loss.quantile.empty() ? 0.5 : loss.quantile[j], p, t, slope);
        case Loss::huber:
            return huber(loss.delta, p, t, slope);
        case Loss::smooth_l1: {
            if (loss.beta == 0) return element(Loss::l1, j, p, t, slope);
            const double value = huber(loss.beta, p, t, slope) / loss.beta;
            slope /= loss.beta;
            return value;
        }
        case Loss::negative_log_likelihood:
            slope = -at(loss.weight, j) * t;
            return slope * p;
        case Loss::focal:
            return focal(loss, p, t, slope);
        case Loss::poisson:
            return poisson(loss, p, t, slope);
        case Loss::quadratic:
            slope = p - t;
            return (p - t) * (p - t) / 2;
        case Loss::sum_squared_residuals:
        case Loss::mean_squared_error:
            slope = 2 * (p - t);
            return (p - t) * (p - t);
        case Loss::binary_cross_entropy:
            slope = (p - t) / std::max(p * (1 - p), 1e-12);
            return -t * std::max(std::log(p), -100.0) - (1 - t) * std::max(std::log1p(-p), -100.0);
        case Loss::binary_cross_entropy_with_logits: {
            const double weight = at(loss.pos_weight, j), e = std::exp(-std::abs(p));
            const double below = (p < 0 ? 1 : e) / (1 + e), above = (p < 0 ? e : 1) / (1 + e);
            slope = (1 - t) * above - weight * t * below;
            return weight * t * (std::max(-p, 0.0) + std::log1p(e)) +
                   (1 - t) * (std::max(p, 0.0) + std::log1p(e));
        }
        default:  // the hinge
            slope = 1 - t * p > 0 ? -t : 0;
            return std::max(0.0, 1 - t * p);
    }
}

// `label` is -1 where t is a dense row.
Row row_of(const LossSpec& loss, const std::vector<double>& p, const std::vector<double>& t, index_t label) {
    Row row;
    row.slopes.resize(p.size());
    if (loss.kind == Loss::softmax_cross_entropy) {
        add_cross_entropy(loss, p, t, row);
    } else if (loss.kind == Loss::hinge && label >= 0 && p.size() > 1) {
        add_wrong_classes(p, label, row);
    } else {
        for (std::size_t j = 0; j < p.size(); ++j) {
            const double term = element(loss, j, p[j], t[j], row.slopes[j]);
            row.loss += term;
            row.magnitude += std::abs(term);
            if (loss.kind == Loss::binary_cross_entropy_with_logits) row.greatest_share = 1;
            // A power's error is that of its exponent; the other losses are differences.
            if (loss.kind == Loss::focal) {
                row.greatest_share = 1;
                row.magnitude += std::abs(term) * loss.gamma * std::abs(p[j]);
            }
            if (loss.kind == Loss::poisson) {
                row.magnitude += 2 * std::abs(t[j] * p[j]) + std::abs(t[j]);
                row.greatest_share = std::max(row.greatest_share, std::exp(p[j]) + t[j]);
            }
            if (loss.kind == Loss::huber || loss.kind == Loss::smooth_l1)
                row.greatest_share = std::abs(p[j]) + 1;
        }
    }
    const bool signs = loss.kind == Loss::binary_cross_entropy_with_logits || loss.kind == Loss::hinge ||
                       loss.kind == Loss::focal;
    row.hit = p.size() > 1 ? largest(p) == largest(t) : (p[0] > (signs ? 0 : 0.5)) == (t[0] > 0.5);
    return row;
}

template <class T>
struct Batch {
    index_t n, outputs;
    std::vector<T> prediction, dense;
    std::vector<std::int64_t> labels;
    std::vector<double> weights;

    Batch(const LossSpec& loss, index_t samples, index_t count) : n(samples), outputs(count) {
        const bool probabilities =
            loss.kind == Loss::binary_cross_entropy || (loss.kind == Loss::poisson && !loss.log_input);
        for (index_t i = 0; i < n * outputs; ++i) {
            const double wave = std::sin(1 + 3.7 * static_cast<double>(i));
            prediction.push_back(static_cast<T>(probabilities ? 0.5 + 0.4999 * wave : 9 * wave));
            dense.push_back(static_cast<T>(loss.kind == Loss::hinge ? (i % 5 < 2 ? -1 : 1)
                                                                    : static_cast<double>(i * 7 % 9) / 8));
        }
        for (index_t i = 0; i < n; ++i) {
            labels.push_back(i * 13 % std::max<index_t>(2, outputs));
            weights.push_back(0.25 * static_cast<double>(i % 5));
        }
    }
    Targets<T> targets(bool rows, bool weighted) const {
        return {rows ? dense.data() : nullptr, rows ? nullptr : labels.data(),
                weighted ? weights.data() : nullptr};
    }
    std::vector<double> row(const std::vector<T>& from, index_t i) const {
        return {from.begin() + i * outputs, from.begin() + (i + 1) * outputs};
    }
    std::vector<double> target(const LossSpec& loss, bool rows, index_t i) const {
        if (rows) return row(dense, i);
        std::vector<double> t(static_cast<std::size_t>(outputs), 0);
        const std::int64_t label = labels[static_cast<std::size_t>(i)];
        if (outputs > 1)
            t[static_cast<std::size_t>(label)] = 1;
        else
            t[0] = label == 1 ? 1 : loss.kind == Loss::hinge ? -1 : 0;
        return t;
    }
};

template <class T>
void expect_batch(const LossSpec& loss, index_t n, index_t outputs, bool rows, bool weighted) {
    // Rounding of each term, and of the sums of long rows.
    const double tolerance =
        (8 + static_cast<double>(outputs) / 40) * static_cast<double>(std::numeric_limits<T>::epsilon());
    const Batch<T> batch(loss, n, outputs);
    const Targets<T> targets = batch.targets(rows, weighted);
    const double divisor = 3.5;
    std::vector<T> grad(batch.prediction.size());
    std::vector<SampleLoss> losses(static_cast<std::size_t>(n));
    loss_of_samples<T>(loss, 0, n, outputs, batch.prediction.data(), targets, divisor, grad.data(),
                       losses.data());
    for (index_t i = 0; i < n; ++i) {
        const std::size_t sample = static_cast<std::size_t>(i);
        const double weight = weighted ? batch.weights[sample] : 1;
        const Row row = row_of(loss, batch.row(batch.prediction, i), batch.target(loss, rows, i),
                               rows ? -1 : batch.labels[sample]);
        const std::string where = std::to_string(static_cast<int>(loss.kind)) + ": sample " +
                                  std::to_string(i) + " of " + std::to_string(outputs);
        EXPECT_NEAR(losses[sample].loss, weight * row.loss, tolerance * weight * row.magnitude) << where;
        EXPECT_EQ(losses[sample].hit, row.hit) << where;
        for (index_t j = 0; j < outputs; ++j) {
            const double expected = row.slopes[static_cast<std::size_t>(j)] * weight / divisor;
            const double scale = std::abs(expected) + row.greatest_share * weight / divisor;
            EXPECT_NEAR(grad[static_cast<std::size_t>(i * outputs + j)], expected, tolerance * scale)
                << where << ", output " << j;
        }
    }
}

TEST_P(LossReference, RowsOfAnyLength) {
    for (const index_t outputs : kOutputs)
        for (const LossSpec& loss : every_loss(outputs))
            for (const bool rows : {true, false})
                for (const bool weighted : {true, false}) {
                    expect_batch<float>(loss, 5, outputs, rows, weighted);
                    expect_batch<double>(loss, 5, outputs, rows, weighted);
                }
}

// Samples of a batch, in parts or alone, get the bits that they get together.
template <class T>
void expect_parts() {
    for (const index_t outputs : {1, 3, 10, 32, 33, 100})
        for (const LossSpec& loss : every_loss(outputs)) {
            const Batch<T> batch(loss, 37, outputs);
            const Targets<T> targets = batch.targets(false, true);
            std::vector<T> grads[2];
            std::vector<SampleLoss> losses[2];
            for (int parts = 0; parts < 2; ++parts) {
                grads[parts].resize(batch.prediction.size());
                losses[parts].resize(37);
                index_t first = 0;
                for (const index_t count :
                     parts ? std::vector<index_t>{1, 2, 5, 0, 17, 12} : std::vector<index_t>{37}) {
                    loss_of_samples<T>(loss, first, count, outputs, batch.prediction.data(), targets, 7,
                                       grads[parts].data(), losses[parts].data());
                    first += count;
                }
            }
            EXPECT_EQ(grads[0], grads[1]) << outputs;
            for (std::size_t i = 0; i < 37; ++i) {
                EXPECT_EQ(losses[0][i].loss, losses[1][i].loss) << outputs << " " << i;
                EXPECT_EQ(losses[0][i].hit, losses[1][i].hit) << outputs << " " << i;
            }
        }
}

TEST_P(LossReference, PartsOfABatchGetTheSameBits) {
    expect_parts<float>();
    expect_parts<double>();
}

// The loss of one sample whose first output is p, with the others at `rest`, and its gradient.
template <class T>
double first_output(const LossSpec& loss, index_t outputs, double p, double t, double rest, double* slope) {
    std::vector<T> prediction(static_cast<std::size_t>(outputs), static_cast<T>(rest)),
        target(prediction.size());
    std::vector<T> grad(prediction.size());
    prediction[0] = static_cast<T>(p);
    target[0] = static_cast<T>(t);
    SampleLoss result;
    loss_of_samples<T>(loss, 0, 1, outputs, prediction.data(), {target.data(), nullptr, nullptr}, 1,
                       grad.data(), &result);
    *slope = static_cast<double>(grad[0]);
    return result.loss;
}

template <class T>
void expect_extremes() {
    const double eps = static_cast<double>(std::numeric_limits<T>::epsilon());
    const auto near = [&](double got, double expected, const char* what) {
        EXPECT_NEAR(got, expected, 8 * eps * std::abs(expected)) << what;
    };
    double slope = 0;
    // Probabilities at and near the ends, whose logarithms are cut at -100; a float32 that is no normal
    // number has one above that.
    for (const double p : {0.0, 1e-42, 1e-40, 1e-30, 1e-12, 1e-6, 0.5, 0.75, 1 - 1.0 / (1 << 24), 1.0})
        for (const double t : {0.0, 0.3, 1.0}) {
            const double rounded = static_cast<double>(static_cast<T>(p)), target = static_cast<T>(t);
            double expected_slope = 0;
            const double loss = element(Loss::binary_cross_entropy, 0, rounded, target, expected_slope);
            near(first_output<T>(Loss::binary_cross_entropy, 1, p, t, 0, &slope), loss, "binary");
            near(slope, expected_slope, "binary");
            near(first_output<T>(Loss::binary_cross_entropy, 37, p, t, 0, &slope), loss, "binary row");
        }
    for (const double p : {-1000.0, -88.0, -20.0, -1e-3, 0.0, 1e-3, 20.0, 88.0, 1000.0})
        for (const double t : {0.0, 0.75, 1.0}) {
            const T rounded = static_cast<T>(p);
            double expected_slope = 0;
            const double loss = element(Loss::binary_cross_entropy_with_logits, 0,
                                        static_cast<double>(rounded), t, expected_slope);
            // Exponentials below the normal numbers lose digits.
            const double least = static_cast<double>(std::numeric_limits<T>::min());
            const auto close = [&](double got, double expected) {
                EXPECT_NEAR(got, expected, 8 * eps * std::abs(expected) + least) << p << " " << t;
            };
            close(first_output<T>(Loss::binary_cross_entropy_with_logits, 1, p, t, 0, &slope), loss);
            close(slope, expected_slope);
        }
    // A square beyond float32 is within double.
    near(first_output<T>(Loss::sum_squared_residuals, 40, 1e25, 0, 0, &slope),
         std::pow(static_cast<double>(static_cast<T>(1e25)), 2), "square");
    for (const index_t outputs : {2, 40}) {
        // Outputs that are masked have no share, and do not count.
        const double loss = first_output<T>(Loss::softmax_cross_entropy, outputs, 3, 1, -kInfinity, &slope);
        EXPECT_EQ(loss, 0);
        EXPECT_EQ(slope, 0);
        EXPECT_EQ(first_output<T>(Loss::softmax_cross_entropy, outputs, -kInfinity, 1, 0, &slope), kInfinity);
        EXPECT_EQ(first_output<T>(Loss::softmax_cross_entropy, outputs, -1000, 1, 0, &slope),
                  1000 + static_cast<double>(static_cast<T>(std::log(static_cast<T>(outputs - 1)))));
    }
}

TEST_P(LossReference, ExtremePredictions) {
    expect_extremes<float>();
    expect_extremes<double>();
}

template <class T>
void expect_nan() {
    for (const index_t outputs : {1, 2, 17, 33, 70})
        for (const LossSpec& loss : every_loss(outputs))
            for (const bool rows : {true, false})
                for (const index_t place : {index_t{0}, outputs / 2, outputs - 1}) {
                    Batch<T> batch(loss, 3, outputs);
                    batch.prediction[static_cast<std::size_t>(outputs + place)] = static_cast<T>(kNan);
                    std::vector<SampleLoss> losses(3);
                    loss_of_samples<T>(loss, 0, 3, outputs, batch.prediction.data(),
                                       batch.targets(rows, false), 1, nullptr, losses.data());
                    const auto is_nan = [&](std::size_t i) { return std::isnan(losses[i].loss); };
                    EXPECT_TRUE(!is_nan(0) && is_nan(1) && !is_nan(2))
                        << static_cast<int>(loss.kind) << " " << outputs << " " << place;
                }
}

TEST_P(LossReference, NanGivesNan) {
    expect_nan<float>();
    expect_nan<double>();
}

// The first of equals is the largest; a NaN is passed over unless it comes first.
template <class T>
void expect_hits() {
    for (const index_t outputs : {2, 5, 32, 33, 64, 129, 1000})
        for (const index_t place : {index_t{0}, index_t{1}, outputs / 2, outputs - 1})
            for (const double before : {0.0, 1.0, kNan, -kInfinity})
                for (const index_t label : {place, index_t{0}, outputs - 1}) {
                    std::vector<T> p(static_cast<std::size_t>(outputs), static_cast<T>(-kInfinity));
                    p[0] = static_cast<T>(before);
                    p[static_cast<std::size_t>(place)] = 1;
                    p[p.size() - 1] = 1;
                    SampleLoss result;
                    const std::int64_t class_number = label;
                    loss_of_samples<T>(Loss::softmax_cross_entropy, 0, 1, outputs, p.data(),
                                       {nullptr, &class_number, nullptr}, 1, nullptr, &result);
                    const std::vector<double> row(p.begin(), p.end());
                    EXPECT_EQ(result.hit, largest(row) == label) << outputs << " " << place << " " << before;
                }
}

TEST_P(LossReference, HitsAreOfTheFirstLargest) {
    expect_hits<float>();
    expect_hits<double>();
}

}  // namespace
