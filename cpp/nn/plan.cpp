// The Plan: a compiled network, its batches, and the loops over them.
#include "ranvier/plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "../platform/denormals.h"
#include "ranvier/elementwise.h"
#include "ranvier/optimizer.h"
#include "ranvier/threads.h"
#include "sequence.h"

namespace ranvier {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kReportInterval = std::chrono::milliseconds(100);

// A gate that opens every kReportInterval.
class Ticker {
public:
    bool due() {
        const auto now = Clock::now();
        if (now - last_ < kReportInterval) return false;
        last_ = now;
        return true;
    }

private:
    Clock::time_point last_ = Clock::now();
};

bool is_consecutive(const std::int64_t* order, index_t n) {
    for (index_t i = 1; i < n; ++i)
        if (order[i] != order[0] + i) return false;
    return true;
}

// Rows order[0 .. n) of a table of `width` columns: copied to `memory`, or where they lie if they follow each
// other.
template <class T>
const T* gather(const T* table, index_t width, const std::int64_t* order, index_t n, T* memory) {
    if (is_consecutive(order, n)) return table + order[0] * width;
    const index_t rows = std::max<index_t>(1, 16384 / std::max<index_t>(1, width));  // of one task
    parallel_for((n + rows - 1) / rows, threads_for(static_cast<double>(n * width)), [&](index_t task) {
        for (index_t i = task * rows; i < std::min(n, (task + 1) * rows); ++i)
            std::copy_n(table + order[i] * width, width, memory + i * width);
    });
    return memory;
}

// Adds the time since its making to a sum, if there is one.
class Stopwatch {
public:
    explicit Stopwatch(double* sum) : sum_(sum) {
        if (sum_) start_ = Clock::now();
    }
    ~Stopwatch() {
        if (sum_) *sum_ += std::chrono::duration<double>(Clock::now() - start_).count();
    }
    Stopwatch(const Stopwatch&) = delete;

private:
    double* sum_;
    Clock::time_point start_;
};

// Finds the first layer of a pass that gives what is not finite.
template <class T>
class FaultFinder final : public Observer<T> {
public:
    explicit FaultFinder(Parameters<T>& parameters) : parameters_(parameters) {}

    void end(const StageInfo& stage, Direction direction, const T* values, index_t n, index_t size) override {
        if (!fault_.empty()) return;
        const std::string layer = "layer " + stage.path + " (" + stage.name + ")";
        if (direction == Direction::forward) {
            if (const std::string own = parameter_fault(stage, false); !own.empty())
                fault_ = "the " + own + " of " + layer + ", before the batch";
            else if (!all_finite(n * size, values))
                fault_ = "forward through " + layer;
        } else if (!parameter_fault(stage, true).empty() || (values && !all_finite(n * size, values))) {
            fault_ = "backward through " + layer;
        }
    }
    const std::string& fault() const { return fault_; }

private:
    // The name of a parameter of the layer whose values, or gradients, are not finite.
    std::string parameter_fault(const StageInfo& stage, bool gradients) const {
        for (const ParameterEntry& entry : parameters_.entries()) {
            const std::string prefix = stage.path + ".";
            if (entry.name.compare(0, prefix.size(), prefix) != 0 ||
                entry.name.find('.', prefix.size()) != std::string::npos)
                continue;
            const T* numbers = gradients ? parameters_.gradient(entry) : parameters_.value(entry);
            if (numbers && !all_finite(element_count(entry.shape), numbers))
                return entry.name.substr(prefix.size());
        }
        return "";
    }

    Parameters<T>& parameters_;
    std::string fault_;
};

}  // namespace

template <class T>
struct Plan<T>::State {
    std::shared_ptr<Parameters<T>> parameters;
    Shape input_shape;
    index_t capacity, input_size;
    Compilation<T> compilation;
    Sequence<T> layers;
    index_t output_size;
    Buffer<T> output_gradient;
    Buffer<T> batch_x, batch_dense;
    Buffer<std::int64_t> batch_labels;
    Buffer<double> batch_weights;
    Buffer<index_t> batch_offsets;
    Pass<T> pass;
    Times times;

    State(std::shared_ptr<Parameters<T>> given, const Shape& sample_shape, index_t batch_capacity,
          std::uint64_t seed)
        : parameters(std::move(given)),
          input_shape(sample_shape),
          capacity(checked(batch_capacity)),
          input_size(element_count(sample_shape)),
          compilation{*parameters, capacity},
          layers(parameters->layers(), compilation, "", input_shape),
          output_size(element_count(layers.output_shape())) {
        pass.seed = seed;
    }

    static index_t checked(index_t capacity) {
        if (capacity < 1)
            throw std::invalid_argument("capacity: expected at least 1 sample, got " +
                                        std::to_string(capacity));
        return capacity;
    }

    double* timed(double& sum) { return pass.observer ? &sum : nullptr; }

    const T* forward(index_t n, const BatchInput<T>& x, bool training, bool kept) {
        pass.n = n;
        pass.training = training;
        pass.kept = kept;
        pass.step += training;
        return layers.forward(pass, x);
    }

    // Samples first to first + n as numbers, converted in batch_x if they are bytes.
    const T* numbers(const Samples<T>& x, index_t first, index_t n) {
        if (x.values) return x.values + first * input_size;
        if (!batch_x.size()) batch_x = Buffer<T>(capacity * input_size);
        bytes_to_fractions<T>(n * input_size, x.bytes + first * input_size, batch_x.data());
        return batch_x.data();
    }

    // What only training needs, at its first call.
    void prepare_training(const Samples<T>& x, const Objective<T>& objective) {
        if (!output_gradient.size()) output_gradient = Buffer<T>(capacity * output_size);
        if (x.values && layers.reads_scattered_rows()) {
            if (!batch_offsets.size()) batch_offsets = Buffer<index_t>(capacity);
        } else if (!batch_x.size()) {
            batch_x = Buffer<T>(capacity * input_size);
        }
        if (objective.targets.dense && !batch_dense.size()) batch_dense = Buffer<T>(capacity * output_size);
        if (objective.targets.labels && !batch_labels.size()) batch_labels = Buffer<std::int64_t>(capacity);
        if (objective.targets.weights && !batch_weights.size()) batch_weights = Buffer<double>(capacity);
    }

    // The samples of a batch: where they lie if the first layer can read them there.
    BatchInput<T> gather_samples(const Samples<T>& x, const std::int64_t* order, index_t n) {
        const Stopwatch watch(timed(times.gather));
        if (x.bytes) {
            for (index_t i = 0; i < n; ++i)
                bytes_to_fractions<T>(input_size, x.bytes + order[i] * input_size,
                                      batch_x.data() + i * input_size);
            return {batch_x.data(), nullptr};
        }
        if (is_consecutive(order, n)) return {x.values + order[0] * input_size, nullptr};
        if (!batch_offsets.size()) return {gather(x.values, input_size, order, n, batch_x.data()), nullptr};
        for (index_t i = 0; i < n; ++i) batch_offsets[i] = order[i] * input_size;
        return {x.values, batch_offsets.data()};
    }

    Targets<T> gather_targets(const Targets<T>& all, const std::int64_t* order, index_t n) {
        Targets<T> batch;
        if (all.labels) batch.labels = gather(all.labels, index_t{1}, order, n, batch_labels.data());
        if (all.dense) batch.dense = gather(all.dense, output_size, order, n, batch_dense.data());
        if (all.weights) batch.weights = gather(all.weights, index_t{1}, order, n, batch_weights.data());
        return batch;
    }

    // The gradients of a batch, whose samples have these numbers among all.
    LossSums gradients_of(index_t n, const BatchInput<T>& x, const Objective<T>& objective,
                          const Targets<T>& targets, const std::int64_t* samples) {
        const T* prediction = forward(n, x, true, true);
        LossSums sums;
        {
            const Stopwatch watch(timed(times.loss));
            sums = objective.foreign ? objective.foreign(n, prediction, samples, output_gradient.data())
                                     : loss_of_batch<T>(objective.loss, n, output_size, prediction, targets,
                                                        output_gradient.data());
        }
        layers.backward(pass, output_gradient.data(), nullptr);
        add_penalties();
        return sums;
    }

    void add_penalties() {
        for (const ParameterEntry& entry : parameters->entries())
            if (entry.l1 != 0 || entry.l2 != 0)
                add_penalty_gradient<T>(entry.l1, entry.l2, element_count(entry.shape),
                                        parameters->value(entry), parameters->gradient(entry));
    }

    bool is_finite(const LossSums& sums) const {
        return std::isfinite(sums.loss) && all_finite(parameters->size(), parameters->gradients());
    }

    // Goes through a batch that is not finite once more, to find where it went bad.
    std::string find_fault(index_t n, const BatchInput<T>& x, const Objective<T>& objective,
                           const Targets<T>& targets, const std::int64_t* samples) {
        for (index_t i = 0; i < n; ++i)
            if (!all_finite(input_size, x.values + (x.offsets ? x.offsets[i] : i * input_size)))
                return "sample " + std::to_string(samples[i]) + " of the input";
        FaultFinder<T> finder(*parameters);
        Observer<T>* const before = std::exchange(pass.observer, &finder);
        --pass.step;  // the same masks
        const LossSums sums = gradients_of(n, x, objective, targets, samples);
        pass.observer = before;
        if (finder.fault().compare(0, 8, "backward") == 0 && !std::isfinite(sums.loss)) return "the loss";
        return finder.fault().empty() ? "the loss" : finder.fault();
    }
};

template <class T>
Plan<T>::Plan(std::shared_ptr<Parameters<T>> parameters, const Shape& sample_shape, index_t capacity,
              std::uint64_t seed)
    : state_(std::make_unique<State>(std::move(parameters), sample_shape, capacity, seed)) {}

template <class T>
Plan<T>::~Plan() = default;

template <class T>
const Shape& Plan<T>::input_shape() const {
    return state_->input_shape;
}
template <class T>
const Shape& Plan<T>::output_shape() const {
    return state_->layers.output_shape();
}
template <class T>
const std::vector<Shape>& Plan<T>::shapes() const {
    return state_->layers.shapes();
}
template <class T>
index_t Plan<T>::capacity() const {
    return state_->capacity;
}
template <class T>
Parameters<T>& Plan<T>::parameters() const {
    return *state_->parameters;
}
template <class T>
std::uint64_t& Plan<T>::training_passes() {
    return state_->pass.step;
}
template <class T>
void Plan<T>::observe(Observer<T>* observer) {
    state_->pass.observer = observer;
}
template <class T>
typename Plan<T>::Times& Plan<T>::times() {
    return state_->times;
}

template <class T>
void Plan<T>::predict(index_t n, const Samples<T>& x, T* y, const std::function<bool()>& proceed) {
    FlushDenormals flush;
    Ticker ticker;
    for (index_t i = 0; i < n; i += state_->capacity) {
        const index_t now = std::min(state_->capacity, n - i);
        const T* output = state_->forward(now, {state_->numbers(x, i, now)}, false, false);
        std::copy_n(output, now * state_->output_size, y + i * state_->output_size);
        if (proceed && ticker.due() && !proceed()) return;
    }
}

template <class T>
const T* Plan<T>::forward(index_t n, const Samples<T>& x, bool training) {
    FlushDenormals flush;
    return state_->forward(n, {state_->numbers(x, 0, n)}, training, true);
}

template <class T>
void Plan<T>::backward(index_t n, const T* grad, T* grad_x) {
    State& s = *state_;
    if (n != s.pass.n || !s.pass.kept)
        throw std::invalid_argument("grad: expected the " + std::to_string(s.pass.n) +
                                    " samples of the last forward pass, got " + std::to_string(n));
    FlushDenormals flush;
    if (!s.output_gradient.size()) s.output_gradient = Buffer<T>(s.capacity * s.output_size);
    std::copy_n(grad, n * s.output_size, s.output_gradient.data());
    s.layers.backward(s.pass, s.output_gradient.data(), grad_x);
}

template <class T>
LossSums Plan<T>::gradients(index_t n, const Samples<T>& x, const Objective<T>& objective) {
    FlushDenormals flush;
    state_->prepare_training(x, objective);
    return state_->gradients_of(n, {state_->numbers(x, 0, n)}, objective, objective.targets, nullptr);
}

template <class T>
LossSums Plan<T>::evaluate(index_t n, const Samples<T>& x, const Targets<T>& targets, const LossSpec& loss,
                           const std::function<bool()>& proceed) {
    FlushDenormals flush;
    Ticker ticker;
    LossSums total;
    for (index_t i = 0; i < n; i += state_->capacity) {
        const index_t now = std::min(state_->capacity, n - i);
        const Targets<T> part = {targets.dense ? targets.dense + i * state_->output_size : nullptr,
                                 targets.labels ? targets.labels + i : nullptr,
                                 targets.weights ? targets.weights + i : nullptr};
        const T* prediction = state_->forward(now, {state_->numbers(x, i, now)}, false, false);
        const LossSums sums = loss_of_batch<T>(loss, now, state_->output_size, prediction, part, nullptr);
        total.loss += sums.loss;
        total.hits += sums.hits;
        total.weight += sums.weight;
        if (proceed && ticker.due() && !proceed()) break;
    }
    return total;
}

template <class T>
EpochSums Plan<T>::train_epoch(index_t n, const Samples<T>& x, const Objective<T>& objective,
                               const std::int64_t* order, Optimizer<T>& optimizer,
                               const EpochOptions<T>& options) {
    State& s = *state_;
    if (options.batch_size < 1 || options.batch_size > s.capacity)
        throw std::invalid_argument("batch_size: expected 1 to " + std::to_string(s.capacity) + ", got " +
                                    std::to_string(options.batch_size));
    FlushDenormals flush;
    Ticker ticker;
    s.prepare_training(x, objective);
    EpochSums total;
    for (index_t batch = 0; total.samples < n; ++batch) {
        const std::int64_t* samples = order + total.samples;
        const index_t now = std::min(options.batch_size, n - total.samples);
        const BatchInput<T> input = s.gather_samples(x, samples, now);
        const Targets<T> targets = s.gather_targets(objective.targets, samples, now);
        const LossSums sums = s.gradients_of(now, input, objective, targets, samples);
        if (options.on_nonfinite != OnNonFinite::ignore && !s.is_finite(sums)) {
            if (total.fault.empty())
                total.fault = "batch " + std::to_string(batch + 1) + ": " +
                              s.find_fault(now, input, objective, targets, samples);
            if (options.on_nonfinite == OnNonFinite::stop) break;
            total.skipped += now;
        } else {
            const Stopwatch watch(s.timed(s.times.update));
            s.layers.commit(s.pass);
            if (options.learning_rates) optimizer.options.learning_rate = options.learning_rates[batch];
            optimizer.step(*s.parameters);
            total.loss += sums.loss;
            total.hits += sums.hits;
            total.weight += sums.weight;
        }
        total.samples += now;
        if (options.report && ticker.due() && !options.report(total)) break;
    }
    return total;
}

template class Plan<float>;
template class Plan<double>;

}  // namespace ranvier
