// Batches that threads take through segments in micro-batches, against the same batch node by node, as an
// observer has it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "isas.h"
#include "ranvier/optimizer.h"
#include "ranvier/threads.h"
#include "ranvier/trainer.h"

namespace {

using namespace ranvier;

class Onlooker final : public Observer<float> {
public:
    void end(const NodeInfo&, Direction direction, const float*, index_t, index_t) override {
        ++(direction == Direction::forward ? forward : backward);
    }
    int forward = 0, backward = 0;  // nodes seen
};

struct Case {
    std::vector<LayerSpec> layers;
    Shape sample;
    index_t batch;
};

Case convolutions() {
    return {
        {Conv2dSpec{1, 8, {5, 5}, {1, 1}, {2, 2}, {1, 1}, 1, true}, ActivationSpec{Activation::relu},
         Pool2dSpec{true, {2, 2}, {2, 2}, {0, 0}}, Conv2dSpec{8, 18, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, true},
         ActivationSpec{Activation::tanh}, Pool2dSpec{false, {2, 2}, {2, 2}, {0, 0}}, FlattenSpec{},
         LinearSpec{450, 30, true}, ActivationSpec{Activation::sigmoid}, LinearSpec{30, 5, true}},
        {1, 20, 20},
        37};
}
// A value with two readers, whose gradients are added.
Case branch_behind_convolutions() {
    ResidualSpec residual;
    residual.layers = {Conv2dSpec{8, 8, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, true},
                       ActivationSpec{Activation::relu}};
    return {{Conv2dSpec{1, 8, {5, 5}, {1, 1}, {2, 2}, {1, 1}, 1, true}, ActivationSpec{Activation::relu},
             Pool2dSpec{true, {2, 2}, {2, 2}, {0, 0}}, residual, FlattenSpec{}, LinearSpec{800, 5, true}},
            {1, 20, 20},
            37};
}
// Large weights, which take the whole batch; leading dimensions that are the width or more; and a block of
// parameters that ends with few.
Case wide() {
    return {{LinearSpec{61, 700, true}, ActivationSpec{Activation::tanh}, LinearSpec{700, 190, true},
             ActivationSpec{Activation::relu}, LinearSpec{190, 17, false}, ActivationSpec{Activation::tanh},
             LinearSpec{17, 1, true}, ActivationSpec{Activation::tanh}, LinearSpec{1, 5, true}},
            {61},
            180};
}
Case perceptron() {
    return {
        {LinearSpec{784, 36, true}, ActivationSpec{Activation::relu}, LinearSpec{36, 5, true}}, {784}, 100};
}

struct Training {
    Case given;
    std::shared_ptr<Parameters<float>> parameters;
    std::vector<float> x;
    std::vector<std::int64_t> labels, order;
    Trainer<float> trainer;
    Objective<float> objective;

    explicit Training(const Case& c)
        : given(c),
          parameters(std::make_shared<Parameters<float>>(c.layers)),
          x(static_cast<std::size_t>(c.batch * element_count(c.sample))),
          trainer(parameters, c.sample, c.batch, 1) {
        for (index_t i = 0; i < parameters->size(); ++i)
            parameters->values()[i] = 0.1f * std::sin(1.0f + 3.7f * static_cast<float>(i % 1009));
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::cos(0.7f * static_cast<float>(i * i % 1013));
        for (index_t i = 0; i < c.batch; ++i) {
            labels.push_back(i % 5);
            order.push_back(i * 11 % c.batch);
        }
        objective = {Loss::softmax_cross_entropy, {nullptr, labels.data(), nullptr}, {}};
    }

    std::vector<float> gradients() {
        trainer.gradients(given.batch, {x.data()}, objective);
        return {parameters->gradients(), parameters->gradients() + parameters->size()};
    }
    // Those of the same samples, node by node: a step of length 0 leaves its gradients behind.
    std::vector<float> observed_gradients() {
        Onlooker onlooker;
        std::sort(order.begin(), order.end());
        descend(0, &onlooker);
        EXPECT_GE(onlooker.forward, 2);
        EXPECT_GE(onlooker.backward, 2);
        return {parameters->gradients(), parameters->gradients() + parameters->size()};
    }
    EpochSums descend(double rate, Observer<float>* observer = nullptr) {
        UpdateOptions sgd;
        sgd.lr = rate;
        return epoch(sgd, observer);
    }
    EpochSums epoch(const UpdateOptions& rule, Observer<float>* observer = nullptr) {
        Optimizer<float> optimizer(rule, parameters->size());
        EpochOptions<float> options;
        options.batch_size = given.batch;
        options.observer = observer;
        return trainer.train_epoch(given.batch, {x.data()}, objective, order.data(), optimizer, options);
    }
    std::vector<float> values() const {
        return {parameters->values(), parameters->values() + parameters->size()};
    }
};

void expect_near(const std::vector<float>& got, const std::vector<float>& wanted) {
    float most = 0;
    for (float value : wanted) most = std::max(most, std::abs(value));
    ASSERT_GT(most, 0);
    for (std::size_t i = 0; i < wanted.size(); ++i) ASSERT_NEAR(got[i], wanted[i], 2e-5f * most) << i;
}

using Segments = EachIsa;
RANVIER_EACH_ISA(Segments);

TEST_P(Segments, GradientsAreThoseOfTheWholeBatch) {
    for (const Case& given : {convolutions(), branch_behind_convolutions(), perceptron(), wide()}) {
        Training observed(given);
        const std::vector<float> wanted = observed.observed_gradients();
        std::vector<float> serial;
        for (int threads : {1, 2, 3, 7}) {
            set_num_threads(threads);
            Training training(given);
            const std::vector<float> got = training.gradients();
            expect_near(got, wanted);
            if (threads == 1) serial = got;
            EXPECT_EQ(got, serial) << threads;
            EXPECT_EQ(training.gradients(), serial) << "the second time, " << threads;
        }
        set_num_threads(0);
    }
}

std::vector<UpdateOptions> rules() {
    std::vector<UpdateOptions> all(7);
    all[0].momentum = 0.9;
    all[1].momentum = 0.9;
    all[1].nesterov = true;
    all[2].weight_decay = 0.1;
    all[3].rule = all[4].rule = UpdateRule::adam;
    all[4].weight_decay = 0.1;
    all[4].decoupled_decay = true;
    all[4].clip_value = 1e-3;
    all[5].rule = UpdateRule::rmsprop;
    all[5].clip_norm = 1e-2;
    all[6].rule = UpdateRule::adagrad;
    return all;
}

// Whether an update takes gradients from memory or where they are made changes no bit.
TEST_P(Segments, UpdatesAreThoseOfTheGradients) {
    for (const Case& given : {perceptron(), wide(), convolutions()})
        for (const UpdateOptions& rule : rules()) {
            Training wanted(given);
            std::sort(wanted.order.begin(), wanted.order.end());
            wanted.gradients();
            Optimizer<float> optimizer(rule, wanted.parameters->size());
            optimizer.step(*wanted.parameters);
            for (int threads : {1, 2, 5}) {
                set_num_threads(threads);
                Training training(given);
                std::sort(training.order.begin(), training.order.end());
                EXPECT_TRUE(training.epoch(rule).fault.empty());
                // The norm's sum depends on where it is cut.
                if (rule.clip_norm > 0)
                    expect_near(training.values(), wanted.values());
                else
                    EXPECT_EQ(training.values(), wanted.values()) << threads;
            }
        }
    set_num_threads(0);
}

TEST_P(Segments, NoRuleTakesWhatIsNotFinite) {
    for (const Case& given : {perceptron(), wide()})
        for (const UpdateOptions& rule : rules()) {
            Training training(given);
            // Weights below zero send an infinity to where ReLU hides it from the loss.
            const ParameterEntry& weight = training.parameters->entries()[0];
            for (index_t i = 0; i < weight.extent; ++i)
                training.parameters->value(weight)[i] =
                    -std::abs(training.parameters->value(weight)[i]) - 0.01f;
            training.x[static_cast<std::size_t>(57 * given.sample[0] + 5)] =
                std::numeric_limits<float>::infinity();
            const std::vector<float> before = training.values();
            EXPECT_FALSE(training.epoch(rule).fault.empty());
            EXPECT_EQ(training.values(), before);
        }
}

TEST_P(Segments, DescentIsThatOfTheGradients) {
    Training wanted(perceptron());
    const std::vector<float> gradients = wanted.gradients();
    std::vector<float> step;
    for (std::size_t i = 0; i < gradients.size(); ++i) step.push_back(-0.5f * gradients[i]);
    for (bool shuffled : {true, false}) {
        std::vector<float> serial;
        for (int threads : {1, 2, 3, 7}) {
            set_num_threads(threads);
            Training training(perceptron());
            if (!shuffled) std::sort(training.order.begin(), training.order.end());
            const std::vector<float> before = training.values();
            EXPECT_TRUE(training.descend(0.5).fault.empty());
            const std::vector<float> after = training.values();
            std::vector<float> got;
            for (std::size_t i = 0; i < after.size(); ++i) got.push_back(after[i] - before[i]);
            expect_near(got, step);
            if (threads == 1) serial = after;
            EXPECT_EQ(after, serial) << threads;
        }
    }
    set_num_threads(0);
}

TEST_P(Segments, DescentLooksAtEveryInputFirst) {
    for (int threads : {1, 2, 3})
        for (float bad : {std::numeric_limits<float>::infinity(), std::nanf("")})
            for (index_t feature : {index_t{0}, index_t{391}, index_t{392}, index_t{783}}) {
                set_num_threads(threads);
                Training training(perceptron());
                // Weights below zero send an infinity to where ReLU hides it from the loss.
                const ParameterEntry& weight = training.parameters->entries()[0];
                for (index_t i = 0; i < weight.extent; ++i)
                    training.parameters->value(weight)[i] =
                        -std::abs(training.parameters->value(weight)[i]) - 0.01f;
                training.x[static_cast<std::size_t>(57 * 784 + feature)] = bad;
                const std::vector<float> before = training.values();
                const EpochSums sums = training.descend(1e3);
                EXPECT_EQ(sums.samples, 0);
                EXPECT_FALSE(sums.fault.empty());
                EXPECT_EQ(training.values(), before) << threads << " " << bad << " " << feature;
            }
    set_num_threads(0);
}

TEST_P(Segments, DescentNeverMakesAnInfinity) {
    for (int threads : {1, 2, 3})
        for (index_t feature : {0, 400}) {
            set_num_threads(threads);
            Training training(perceptron());
            for (index_t sample : {5, 50, 95})
                training.x[static_cast<std::size_t>(sample * 784 + feature)] = 1e35f;
            training.descend(1e3);
            const std::vector<float> after = training.values();
            EXPECT_TRUE(all_finite(static_cast<index_t>(after.size()), after.data())) << threads;
        }
    set_num_threads(0);
}

}  // namespace
