// The Plan: a compiled network, its batches, and the loops over them.
#include "ranvier/plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <utility>

#include "../platform/denormals.h"
#include "ranvier/elementwise.h"
#include "ranvier/memory.h"
#include "ranvier/optimizer.h"
#include "ranvier/threads.h"
#include "sequence.h"

namespace ranvier {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kReportInterval = std::chrono::milliseconds(100);

// Of a large batch: pieces for each thread, so that one that comes late does less; and the fewest samples
// that make a product worth its while.
constexpr int kPiecesOfThread = 2;
constexpr index_t kLeastPortion = 8;
// Of portions whose gradients are summed: enough for many threads, with what pays for that sum.
constexpr index_t kMostSummedPortions = 64;
constexpr index_t kSamplesOfPortion = 2;
constexpr double kLeastWorkOfPortion = 100e3;

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
    parallel_for(ceil_div(n, rows), threads_for(static_cast<double>(n * width)), [&](index_t task) {
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
            if (numbers && !all_finite(entry.extent, numbers)) return entry.name.substr(prefix.size());
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
    bool reads_scattered = false;  // in this epoch
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

    const T* forward(index_t n, const LayerInput<T>& x, bool training, bool kept) {
        begin_pass(n, training, kept, 0, 0);
        return layers.forward(pass, x);
    }

    void begin_pass(index_t n, bool training, bool kept, double rate, index_t portions) {
        pass.n = n;
        pass.training = training;
        pass.kept = kept;
        pass.rate = rate;
        pass.portions = portions;
        pass.step += training;
    }

    // Samples first to first + n as numbers, converted in batch_x if they are bytes.
    const T* numbers(const Samples<T>& x, index_t first, index_t n) {
        if (x.values) return x.values + first * input_size;
        if (!batch_x.size()) batch_x = Buffer<T>(capacity * input_size);
        bytes_to_fractions<T>(n * input_size, x.bytes + first * input_size, batch_x.data());
        return batch_x.data();
    }

    void prepare_gradients() {
        if (!output_gradient.size()) output_gradient = Buffer<T>(capacity * output_size);
    }

    // What only training needs, at its first call.
    void prepare_training(const Samples<T>& x, const Objective<T>& objective, index_t batch_size) {
        reads_scattered = x.values && layers.reads_scattered_rows(batch_size);
        prepare_gradients();
        if (reads_scattered && !batch_offsets.size()) batch_offsets = Buffer<index_t>(capacity);
        if (!reads_scattered && !batch_x.size()) batch_x = Buffer<T>(capacity * input_size);
        if (objective.targets.dense && !batch_dense.size()) batch_dense = Buffer<T>(capacity * output_size);
        if (objective.targets.labels && !batch_labels.size()) batch_labels = Buffer<std::int64_t>(capacity);
        if (objective.targets.weights && !batch_weights.size()) batch_weights = Buffer<double>(capacity);
    }

    // The samples of a batch: where they lie if the first layer can read them there.
    LayerInput<T> gather_samples(const Samples<T>& x, const std::int64_t* order, index_t n) {
        const Stopwatch watch(timed(times.gather));
        if (x.bytes) {
            for (index_t i = 0; i < n; ++i)
                bytes_to_fractions<T>(input_size, x.bytes + order[i] * input_size,
                                      batch_x.data() + i * input_size);
            return {batch_x.data(), nullptr};
        }
        if (is_consecutive(order, n)) return {x.values + order[0] * input_size, nullptr};
        if (!reads_scattered) return {gather(x.values, input_size, order, n, batch_x.data()), nullptr};
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

    // Some samples with what they are compared with, and their numbers among all.
    struct Batch {
        index_t n;
        LayerInput<T> x;
        const Objective<T>& objective;
        Targets<T> targets;
        const std::int64_t* samples;
    };

    Batch gather_batch(index_t n, const Samples<T>& x, const Objective<T>& objective,
                       const std::int64_t* samples) {
        return {n, gather_samples(x, samples, n), objective, gather_targets(objective.targets, samples, n),
                samples};
    }

    // The loss, and its gradient to the output.
    LossSums loss_of(const Batch& batch, const T* prediction) {
        const Stopwatch watch(timed(times.loss));
        T* grad = output_gradient.data();
        if (batch.objective.foreign) return batch.objective.foreign(batch.n, prediction, batch.samples, grad);
        return loss_of_batch<T>(batch.objective.loss, batch.n, output_size, prediction, batch.targets, grad);
    }

    // Forward and backward, layer by layer or in portions.
    LossSums gradients_of(const Batch& batch) {
        const Sharing sharing = sharing_of(batch, false);
        LossSums sums;
        if (sharing.portions > 0) {
            sums = take_in_portions(batch, sharing, 0);
            layers.finish(pass, sharing.threads, sharing.pieces);
        } else {
            sums = loss_of(batch, forward(batch.n, batch.x, true, true));
            layers.backward(pass, output_gradient.data(), nullptr);
        }
        for (const ParameterEntry& entry : parameters->entries())
            if (entry.l1 != 0 || entry.l2 != 0)
                add_penalty_gradient<T>(entry.l1, entry.l2, entry.extent, parameters->value(entry),
                                        parameters->gradient(entry));
        return sums;
    }

    // Whether an update can do without the parameters' gradients in memory.
    bool descends_directly(const UpdateOptions& options) const {
        const auto penalized = [](const ParameterEntry& entry) { return entry.l1 != 0 || entry.l2 != 0; };
        return options.rule == UpdateRule::sgd && options.momentum == 0 && options.weight_decay == 0 &&
               options.clip_norm == 0 && options.clip_value == 0 && layers.descends() &&
               std::none_of(parameters->entries().begin(), parameters->entries().end(), penalized);
    }

    // A step of plain gradient descent; false, with nothing changed, if it may not be finite.
    bool descend(const Batch& batch, double rate, LossSums& sums) {
        const Sharing sharing = sharing_of(batch, true);
        sums = take_in_portions(batch, sharing, rate);
        if (!std::isfinite(sums.loss) || !layers.descent_is_finite(pass)) {
            --pass.step;  // the batch will be taken again, with the same masks
            return false;
        }
        layers.commit(pass);
        layers.finish(pass, sharing.threads, sharing.pieces);
        return true;
    }

    // How a batch is shared out. Threads that take a portion go with it through all layers and back; if there
    // is one portion, or none, they share the work of each layer. In the end they share the parameters, in
    // pieces.
    struct Sharing {
        int threads, pieces;
        index_t portions;
    };

    Sharing sharing_of(const Batch& batch, bool descends) const {
        const double work = static_cast<double>(batch.n) * layers.flops() / kFlopsPerWork;
        const int threads = threads_for(work);
        const bool large = batch.n >= threads * kPiecesOfThread * kLeastPortion;
        Sharing sharing = {threads, threads == 1 || !large ? threads : threads * kPiecesOfThread,
                           descends ? 1 : 0};
        // Layers are observed one by one.
        if (batch.objective.foreign || pass.observer || layers.front_end() == 0) return sharing;
        if (layers.sums_portions())  // the same ones for any number of threads
            sharing.portions = std::min({kMostSummedPortions, ceil_div(batch.n, kSamplesOfPortion),
                                         static_cast<index_t>(work / kLeastWorkOfPortion)});
        else if (threads > 1 && large)
            sharing.portions = sharing.pieces;
        return sharing;
    }

    // Forward and backward, but for what finish() does.
    LossSums take_in_portions(const Batch& batch, const Sharing& sharing, double rate) {
        begin_pass(batch.n, true, true, rate, sharing.portions);
        const T* prediction = layers.prepare(pass, batch.x);
        layers.begin_portions(pass, output_gradient.data(), sharing.threads, sharing.pieces);
        if (sharing.portions > 1 && layers.front_end() == layers.size())
            return take_whole_way(batch, sharing, prediction);
        const std::size_t front = sharing.portions > 1 ? layers.front_end() : 0;
        Pass<T> whole = pass;
        whole.portions = 1;
        for_each_portion(sharing, [&](const Pass<T>& part) { layers.run_forward(part, 0, front); });
        layers.run_forward(whole, front, layers.size());
        const LossSums sums = loss_of(batch, prediction);
        layers.run_backward(whole, front, layers.size());
        for_each_portion(sharing, [&](const Pass<T>& part) { layers.run_backward(part, 0, front); });
        return sums;
    }

    // Each portion goes through all layers, the loss and back without waiting for others.
    LossSums take_whole_way(const Batch& batch, const Sharing& sharing, const T* prediction) {
        const LossSpec& loss = batch.objective.loss;
        const double weight = sum_of_weights<T>(loss, batch.n, batch.targets);
        const double divisor = loss_divisor(loss.kind, weight, output_size);
        Scratch<SampleLoss> memory(batch.n);
        SampleLoss* losses = memory.data();
        for_each_portion(sharing, [&](const Pass<T>& part) {
            layers.run_forward(part, 0, layers.size());
            loss_of_samples<T>(loss, part.first, part.n, output_size, prediction, batch.targets, divisor,
                               output_gradient.data(), losses);
            layers.run_backward(part, 0, layers.size());
        });
        return sum_of_losses(batch.n, losses, weight);
    }

    template <class Body>
    void for_each_portion(const Sharing& sharing, Body&& body) {
        if (sharing.portions <= 1) return;
        parallel_for(sharing.portions, sharing.threads,
                     [&](index_t portion) { body(pass.part(portion, sharing.portions)); });
    }

    // A step by any rule; false, with nothing changed, if the loss or a gradient is not finite and that
    // matters.
    bool step(const Batch& batch, Optimizer<T>& optimizer, OnNonFinite on_nonfinite, LossSums& sums) {
        sums = gradients_of(batch);
        if (on_nonfinite != OnNonFinite::ignore &&
            !(std::isfinite(sums.loss) && all_finite(parameters->size(), parameters->gradients())))
            return false;
        const Stopwatch watch(timed(times.update));
        layers.commit(pass);
        optimizer.step(*parameters);
        return true;
    }

    // Goes through a batch that is not finite once more, to find where it went bad.
    std::string find_fault(const Batch& batch) {
        for (index_t i = 0; i < batch.n; ++i)
            if (!all_finite(input_size,
                            batch.x.values + (batch.x.offsets ? batch.x.offsets[i] : i * input_size)))
                return "sample " + std::to_string(batch.samples[i]) + " of the input";
        FaultFinder<T> finder(*parameters);
        Observer<T>* const before = std::exchange(pass.observer, &finder);
        --pass.step;  // the same masks
        const LossSums sums = gradients_of(batch);
        pass.observer = before;
        const bool forward_fault = finder.fault().compare(0, 8, "backward") != 0;
        return finder.fault().empty() || (!forward_fault && !std::isfinite(sums.loss)) ? "the loss"
                                                                                       : finder.fault();
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
    std::optional<Ticker> ticker;
    for (index_t i = 0; i < n; i += state_->capacity) {
        if (proceed && i > 0) {
            if (!ticker) ticker.emplace();  // a look at the clock takes as long as a small network
            if (ticker->due() && !proceed()) return;
        }
        const index_t now = std::min(state_->capacity, n - i);
        const T* output = state_->forward(now, {state_->numbers(x, i, now)}, false, false);
        std::copy_n(output, now * state_->output_size, y + i * state_->output_size);
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
    if (n != s.pass.n || !s.pass.kept || s.pass.portions > 0)
        throw std::invalid_argument("grad: expected the " + std::to_string(s.pass.n) +
                                    " samples of the last forward pass, got " + std::to_string(n));
    FlushDenormals flush;
    s.prepare_gradients();
    std::copy_n(grad, n * s.output_size, s.output_gradient.data());
    s.layers.backward(s.pass, s.output_gradient.data(), grad_x);
}

template <class T>
LossSums Plan<T>::gradients(index_t n, const Samples<T>& x, const Objective<T>& objective) {
    FlushDenormals flush;
    state_->prepare_gradients();
    std::vector<std::int64_t> samples(static_cast<std::size_t>(n));
    std::iota(samples.begin(), samples.end(), 0);
    return state_->gradients_of(
        {n, {state_->numbers(x, 0, n)}, objective, objective.targets, samples.data()});
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
    s.prepare_training(x, objective, options.batch_size);
    const bool direct = s.descends_directly(optimizer.options);
    EpochSums total;
    for (index_t number = 0; total.samples < n; ++number) {
        if (options.learning_rates) optimizer.options.learning_rate = options.learning_rates[number];
        const index_t now = std::min(options.batch_size, n - total.samples);
        const auto batch = s.gather_batch(now, x, objective, order + total.samples);
        LossSums sums;
        const double rate = optimizer.options.learning_rate;
        if (direct && rate != 0 && s.descend(batch, rate, sums)) {
            ++optimizer.steps;
        } else if (!s.step(batch, optimizer, options.on_nonfinite, sums)) {
            if (total.fault.empty())
                total.fault = "batch " + std::to_string(number + 1) + ": " + s.find_fault(batch);
            if (options.on_nonfinite == OnNonFinite::stop) break;
            total.skipped += now;
            sums = {};
        }
        if (options.losses)
            options.losses[number] =
                sums.loss / loss_divisor(objective.loss.kind, sums.weight, s.output_size);
        total.loss += sums.loss;
        total.hits += sums.hits;
        total.weight += sums.weight;
        total.samples += now;
        if (options.report && ticker.due() && !options.report(total)) break;
    }
    return total;
}

template class Plan<float>;
template class Plan<double>;

}  // namespace ranvier
