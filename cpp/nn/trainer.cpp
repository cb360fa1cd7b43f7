// Training: programs for each kind of pass, a batch's forward, loss, backward and update, and the loop over
// batches.
#include "ranvier/trainer.h"

#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>

#include "../platform/denormals.h"
#include "bad_sample.h"
#include "batch_loss.h"
#include "batch_parts.h"
#include "batches.h"
#include "clock.h"
#include "executor.h"
#include "fault_finder.h"
#include "prepared.h"
#include "ranvier/sizes.h"
#include "sweep.h"
#include "team_trial.h"

namespace ranvier {
namespace {

index_t checked_capacity(index_t capacity) {
    if (capacity < 1)
        throw std::invalid_argument("capacity: expected at least 1 sample, got " + std::to_string(capacity));
    return capacity;
}

// Elements of a task that adds gradients.
constexpr index_t kAdded = 16 << 10;

// Gathered rows are read where they lie if they stay in the second-level cache from one tile's columns to the
// next.
constexpr index_t kMostBytesApart = 512 << 10;
// From a table that the caches do not hold, each row is a wait for memory: a copy waits for many at once, a
// product for those of a tile. Long rows are not worth a copy.
constexpr index_t kBytesOfSmallTable = 16 << 20, kBytesOfLongRow = 1 << 10;

}  // namespace

template <class T>
struct Trainer<T>::State {
    std::shared_ptr<Parameters<T>> parameters;
    Shape input_shape;
    index_t capacity;
    std::uint64_t seed;
    Lowered lowered;  // for training
    BatchGatherer<T> gatherer, next_gatherer;
    std::uint64_t step = 0;

    // Made when first needed.
    std::unique_ptr<Prepared<T>> fused, apart, observed, steps[2];
    struct SharedParts {
        std::unique_ptr<BatchParts<T>> parts;
        bool fused = false;  // with a loss of the library
    } parts, observed_parts;
    Prepared<T>* last = nullptr;  // of the last forward()
    Run<T> last_run;
    Rows<T> input;
    Buffer<T> last_x;
    std::vector<std::int64_t> straight;  // 0, 1, 2, ...
    Buffer<T> predictions;
    TeamTrial team_trial;
    index_t tried_batch_size = 0;

    State(std::shared_ptr<Parameters<T>> given, const Shape& sample_shape, index_t batch_capacity,
          std::uint64_t given_seed)
        : parameters(std::move(given)),
          input_shape(sample_shape),
          capacity(checked_capacity(batch_capacity)),
          seed(given_seed),
          lowered(lower(parameters->layers(), sample_shape, true, parameters->wiring())),
          gatherer(input_size(), output_size(), capacity),
          next_gatherer(input_size(), output_size(), capacity) {
        checked_product({capacity, input_size()}, "a batch");
        checked_product({capacity, output_size()}, "the outputs of a batch");
    }

    const Shape& output_shape() const { return lowered.graph.outputs[0].shape; }
    index_t output_size() const { return element_count(output_shape()); }
    index_t input_size() const { return element_count(input_shape); }

    Prepared<T>& prepared(std::unique_ptr<Prepared<T>>& place, const ProgramOptions& options) {
        if (!place) {
            const Graph graph =
                options.training
                    ? lowered.graph
                    : lower(parameters->layers(), input_shape, false, parameters->wiring()).graph;
            place = std::make_unique<Prepared<T>>(graph, *parameters, options, capacity);
        }
        return *place;
    }
    // That for a training pass, after which nothing of a forward() before is there.
    Prepared<T>& for_objective(const Objective<T>& objective, bool watched) {
        last = nullptr;
        ProgramOptions options;
        options.observed = watched;
        if (watched) return prepared(observed, options);
        options.fused_loss = !objective.custom;
        return prepared(objective.custom ? apart : fused, options);
    }

    Run<T> run_of(Prepared<T>& prepared, index_t n, const Rows<T>& x) {
        input = x;
        Run<T> run = ranvier::run_of(prepared, n, input, capacity, parameters->gradients());
        run.seed = seed;
        run.step = step;
        return run;
    }

    bool calls_custom_layers() const {
        for (const Node& node : lowered.graph.nodes)
            if (std::holds_alternative<CustomSpec>(node.operation)) return true;
        return false;
    }
    // Layers or the loss of the program around the library.
    bool calls_back(const Objective<T>& objective) const { return objective.custom || calls_custom_layers(); }

    // Forward, loss and backward, but for what the sweep does.
    LossSums run_batch(Prepared<T>& prepared, Run<T>& run, const Batch<T>& batch,
                       const Objective<T>& objective, double* seconds) {
        BatchLoss<T> loss(batch, objective, output_size(), seconds);
        const LossOfSamples<T> of_samples(loss);
        run.loss = &of_samples;
        naming_bad_samples([&](index_t i) { return batch.samples[i]; },
                           [&] { run_phases(prepared.program, run, 0, prepared.program.phases.size()); });
        return loss.sums();
    }

    double work_of(const Prepared<T>& prepared, index_t n) const {
        double work = 0;
        for (const Phase& phase : prepared.program.phases) work += phase.work;
        return work * static_cast<double>(n);
    }

    void update_statistics(Prepared<T>& prepared) {
        for (const auto& op : prepared.program.ops) op->update_statistics();
    }

    // The next step of a training, forward and back.
    Run<T> run_step(Prepared<T>& prepared, const Batch<T>& batch, const Objective<T>& objective,
                    const EpochOptions<T>& options, LossSums& sums) {
        ++step;
        Run<T> run = run_of(prepared, batch.n, batch.x);
        run.observer = options.observer;
        sums = run_batch(prepared, run, batch, objective, options.times ? &options.times->loss : nullptr);
        return run;
    }

    // One update from a batch; false, with nothing changed, if the loss or a gradient is not finite and that
    // matters.
    bool train_batch(const Batch<T>& batch, const Objective<T>& objective, Optimizer<T>& optimizer,
                     const EpochOptions<T>& options, LossSums& sums) {
        Prepared<T>& prepared = for_objective(objective, options.observer != nullptr);
        const Run<T> run = run_step(prepared, batch, objective, options, sums);
        const Stopwatch watch(options.times ? &options.times->update : nullptr);
        const bool matters = options.on_nonfinite != OnNonFinite::ignore;
        if (matters && !std::isfinite(sums.loss)) return false;
        if (!prepared.sweep.complete_and_update(run, optimizer, matters)) return false;
        update_statistics(prepared);
        return true;
    }

    // As train_batch(), but the gradients are added up for a later update.
    bool accumulate(const Batch<T>& batch, const Objective<T>& objective, const EpochOptions<T>& options,
                    LossSums& sums) {
        GradientAccumulation<T>& accumulation = *options.accumulation;
        ++accumulation.batches;
        Prepared<T>& prepared = for_objective(objective, options.observer != nullptr);
        const Run<T> run = run_step(prepared, batch, objective, options, sums);
        const Stopwatch watch(options.times ? &options.times->update : nullptr);
        const bool matters = options.on_nonfinite != OnNonFinite::ignore;
        if (matters && !std::isfinite(sums.loss)) return false;
        if (!prepared.sweep.complete(run, {false, matters}).finite) return false;
        update_statistics(prepared);
        T* const sum = accumulation.sum.data();
        const bool begins = accumulation.divisor == 0;
        each_task_of_parameters([&](index_t first, index_t count) {
            if (begins)
                std::copy_n(run.gradients + first, count, sum + first);
            else
                add<T>(count, sum + first, run.gradients + first, sum + first);
        });
        accumulation.weight += sums.weight;
        accumulation.divisor = loss_divisor(objective.loss.kind, accumulation.weight, output_size());
        return true;
    }
    bool update_from(GradientAccumulation<T>& accumulation, Optimizer<T>& optimizer, bool check) {
        T* const sum = accumulation.sum.data();
        const auto divisor = static_cast<T>(accumulation.divisor);
        accumulation.batches = 0;
        accumulation.weight = accumulation.divisor = 0;
        if (divisor == 0) return true;
        each_task_of_parameters([&](index_t first, index_t count) {
            for (index_t i = first; i < first + count; ++i) sum[i] /= divisor;
        });
        const Sweep<T>& sweep = with_sweep().sweep;
        const auto findings = sweep.examine(sum, {true, check, optimizer.options.clip_norm > 0});
        if (findings.finite) sweep.update(optimizer, sum, findings.squares);
        return findings.finite;
    }
    // As train_batch(), of a batch that is shared with others. All come to the same sums and the same answer.
    bool train_shared(const Batch<T>& batch, const std::int64_t* bounds, const Objective<T>& objective,
                      Optimizer<T>& optimizer, const EpochOptions<T>& options, EpochSums& sums) {
        const DataParallel<T>& all = *options.data_parallel;
        BatchParts<T>& own = parts_for(objective, all, false);
        ++step;
        share(own.run(batch, objective, bounds, all, seed, step), bounds, all, sums);
        all.peers->wait();
        T* const gradients = gradients_of(all);
        const double divisor = loss_divisor(objective.loss.kind, sums.weight, output_size());
        const bool matters = options.on_nonfinite != OnNonFinite::ignore,
                   clips = optimizer.options.clip_norm > 0;
        const Sweep<T>& sweep = own.prepared(0).sweep;
        if (matters && !std::isfinite(sums.loss)) return false;
        const auto findings = sweep.examine(gradients, {true, matters, clips, 1 / divisor}, *all.peers);
        if (!findings.finite) return false;
        sweep.update(optimizer, gradients, findings.squares, *all.peers);
        if (all.sync_batch_norm || batch.n > 0) update_statistics(own.prepared(0));
        return true;
    }
    T* gradients_of(const DataParallel<T>& all) const {
        T* const own = all.peers->gradients();
        return own ? own : parameters->gradients();
    }
    BatchParts<T>& parts_for(const Objective<T>& objective, const DataParallel<T>& all, bool watched) {
        if (all.parts > 1 && calls_custom_layers())
            throw std::invalid_argument(
                "shards: expected as many as there are ranks, since a layer of your own keeps what it needs "
                "of one "
                "part of a batch only, got " +
                std::to_string(all.all_parts));
        last = nullptr;
        index_t largest = 1;
        for (index_t batch = 0; batch < all.batches; ++batch)
            for (index_t i = 0; i < all.parts; ++i) {
                const std::int64_t* bound = all.bounds + batch * (all.parts + 1) + i;
                largest = std::max<index_t>(largest, bound[1] - bound[0]);
            }
        ProgramOptions options;
        options.observed = watched;
        options.fused_loss = !watched && !objective.custom;
        SharedParts& shared = watched ? observed_parts : parts;
        if (!shared.parts || shared.parts->capacity() < largest || shared.parts->size() != all.parts ||
            shared.fused != options.fused_loss)
            shared = {
                std::make_unique<BatchParts<T>>(lowered.graph, *parameters, options, all.parts, largest),
                options.fused_loss};
        return *shared.parts;
    }
    // The sums over all parts, in their order.
    static void share(const std::vector<LossSums>& own, const std::int64_t* bounds,
                      const DataParallel<T>& all, EpochSums& sums) {
        constexpr index_t kNumbers = 4;
        Scratch<double> from(all.parts * kNumbers), whole(all.all_parts * kNumbers);
        for (index_t i = 0; i < all.parts; ++i) {
            const LossSums& part = own[static_cast<std::size_t>(i)];
            const double numbers[kNumbers] = {part.loss, static_cast<double>(part.hits), part.weight,
                                              static_cast<double>(bounds[i + 1] - bounds[i])};
            std::copy_n(numbers, kNumbers, from.data() + i * kNumbers);
        }
        all.peers->gather(all.parts * kNumbers, from.data(), whole.data());
        sums = {};
        for (const double* part = whole.data(); part < whole.data() + all.all_parts * kNumbers;
             part += kNumbers) {
            sums.loss += part[0];
            sums.hits += static_cast<index_t>(part[1]);
            sums.weight += part[2];
            sums.samples += static_cast<index_t>(part[3]);
        }
    }
    // Empty if nothing that is taken here went bad.
    std::string find_fault_of_parts(const Batch<T>& batch, const std::int64_t* bounds,
                                    const Objective<T>& objective, const DataParallel<T>& all) {
        BatchParts<T>& own = parts_for(objective, all, true);
        std::fill_n(gradients_of(all), parameters->size(), T{});  // where others' numbers may be
        std::vector<FaultFinder<T>> finders(static_cast<std::size_t>(all.parts), FaultFinder<T>(*parameters));
        std::vector<Observer<T>*> observers;
        for (FaultFinder<T>& finder : finders) observers.push_back(&finder);
        Batch<T> rows = batch;
        if (batch.n > 0) rows.x = gathered(batch);
        const std::vector<LossSums> sums = own.run(rows, objective, bounds, all, seed, step, observers);
        if (const std::string sample = bad_sample(batch); !sample.empty()) return sample;
        for (std::size_t i = 0; i < finders.size(); ++i) {
            const FaultFinder<T>& finder = finders[i];
            if (!std::isfinite(sums[i].loss) && (finder.fault().empty() || !finder.is_forward()))
                return "the loss";
            if (!finder.fault().empty()) return finder.fault();
        }
        return "";
    }
    std::string bad_sample(const Batch<T>& batch) const {
        for (index_t i = 0; i < batch.n; ++i)
            if (!all_finite(input_size(), batch.x.row(i, input_size())))
                return "sample " + std::to_string(batch.samples[i]) + " of the input";
        return "";
    }
    template <class Body>
    void each_task_of_parameters(Body&& body) const {
        const index_t size = parameters->size();
        parallel_for(ceil_div(size, kAdded), threads_for(static_cast<double>(size)),
                     [&](index_t task) { body(task * kAdded, std::min(kAdded, size - task * kAdded)); });
    }

    // Goes through a batch that is not finite once more, to find where it went bad.
    std::string find_fault(const Batch<T>& batch, const Objective<T>& objective) {
        if (const std::string sample = bad_sample(batch); !sample.empty()) return sample;
        Prepared<T>& prepared = for_objective(objective, true);
        FaultFinder<T> finder(*parameters);
        Run<T> run = run_of(prepared, batch.n, gathered(batch));
        run.observer = &finder;
        const LossSums sums = run_batch(prepared, run, batch, objective, nullptr);
        const bool in_loss = finder.fault().empty() || (!finder.is_forward() && !std::isfinite(sums.loss));
        return in_loss ? "the loss" : finder.fault();
    }
    // An observed program reads rows side by side.
    Rows<T> gathered(const Batch<T>& batch) {
        if (!batch.x.offsets) return batch.x;
        last_x = Buffer<T>(batch.n * input_size());
        for (index_t i = 0; i < batch.n; ++i)
            std::copy_n(batch.x.row(i, input_size()), input_size(), last_x.data() + i * input_size());
        return {last_x.data(), nullptr};
    }

    // body(), which has so much work for each batch, and may gather the next one beside it. The program
    // around the library may have threads of its own at work in its layers and losses; and no team is kept
    // waiting for work that is too little for it.
    template <class Body>
    void in_region(const Objective<T>& objective, double work, double beside, Body&& body) const {
        if (calls_back(objective)) return body();
        const bool shares = work >= kWorkPerRegion || (beside > 0 && threads_for(work + beside) > 1);
        parallel_region(shares ? num_threads() : 1, body);
    }

    // body(), which trains on a batch, with the team or without it, whichever is faster at the moment.
    template <class Body>
    void in_faster_way(index_t batch_size, Body&& body) {
        if (std::exchange(tried_batch_size, batch_size) != batch_size) team_trial = {};
        double seconds = 0;
        {
            const Stopwatch watch(&seconds);
            team_trial.alone() ? parallel_region(1, body) : body();
        }
        team_trial.took(seconds);
    }

    // The shards of the parameters are the same in each program that makes gradients.
    Prepared<T>& with_sweep() {
        ProgramOptions options;
        options.input_gradient = true;
        return prepared(steps[true], options);
    }
    const Sweep<T>& any_sweep() { return parts.parts ? parts.parts->prepared(0).sweep : with_sweep().sweep; }
    std::string not_finite(const T* gradients) const {
        for (const ParameterEntry& entry : parameters->entries())
            if (entry.trained && !entry.frozen && !all_finite(entry.extent, gradients + entry.offset))
                return entry.name;
        return "";
    }

    // Where the outputs of a batch go that begins with sample `first` of the order.
    T* place_of_predictions(const OutputRecord<T>& record, index_t first) {
        if (record.predictions) return record.predictions + first * output_size();
        if (!record.errors) return nullptr;
        if (!predictions.size()) predictions = Buffer<T>(capacity * output_size());
        return predictions.data();
    }
    // Outputs of a batch that made no update are NaN, and do not count.
    // Each part that is taken here of a batch has sums of errors of its own.
    void record_outputs(const Batch<T>& batch, const std::int64_t* bounds, index_t parts,
                        OutputRecord<T> record, bool updated) {
        for (index_t i = 0; i < parts; ++i) {
            const index_t first = bounds[i] - bounds[0];
            Batch<T> part = batch;
            part.n = bounds[i + 1] - bounds[i];
            if (batch.predictions) part.predictions = batch.predictions + first * output_size();
            if (batch.targets.dense) part.targets.dense = batch.targets.dense + first * output_size();
            record_outputs(part, record, updated);
            if (record.errors) record.errors += 5 * output_size();
        }
    }
    void record_outputs(const Batch<T>& batch, const OutputRecord<T>& record, bool updated) {
        if (!updated && record.predictions)
            std::fill_n(batch.predictions, batch.n * output_size(), std::numeric_limits<T>::quiet_NaN());
        if (updated && record.errors)
            add_errors(batch.n, output_size(), batch.predictions, batch.targets.dense, record.errors);
    }

    const std::int64_t* numbers_to(index_t n) {
        for (auto next = static_cast<std::int64_t>(straight.size()); next < n; ++next)
            straight.push_back(next);
        return straight.data();
    }

    // From a table of about n samples. An observed program reads rows side by side.
    Picking picking(const Prepared<T>& prepared, const Samples<T>& x, index_t n,
                    const EpochOptions<T>& options) const {
        const index_t row = input_size() * static_cast<index_t>(x.bytes ? 1 : sizeof(T));
        Picking picking;
        picking.far = n * row > kBytesOfSmallTable;
        picking.apart = !options.observer && prepared.program.reads_rows_apart() &&
                        options.batch_size * row <= kMostBytesApart &&
                        (!picking.far || row >= kBytesOfLongRow);
        return picking;
    }
};

template <class T>
Trainer<T>::Trainer(std::shared_ptr<Parameters<T>> parameters, const Shape& sample_shape, index_t capacity,
                    std::uint64_t seed)
    : state_(std::make_unique<State>(std::move(parameters), sample_shape, capacity, seed)) {}

template <class T>
Trainer<T>::~Trainer() = default;

template <class T>
const Shape& Trainer<T>::input_shape() const {
    return state_->input_shape;
}
template <class T>
const Shape& Trainer<T>::output_shape() const {
    return state_->output_shape();
}
template <class T>
index_t Trainer<T>::capacity() const {
    return state_->capacity;
}
template <class T>
Parameters<T>& Trainer<T>::parameters() const {
    return *state_->parameters;
}
template <class T>
std::uint64_t& Trainer<T>::training_passes() {
    return state_->step;
}

template <class T>
const T* Trainer<T>::forward(index_t n, const Samples<T>& x, bool training) {
    FlushDenormals flush;
    State& s = *state_;
    s.last = nullptr;  // should something throw
    ProgramOptions options;
    options.training = training;
    options.input_gradient = true;
    Prepared<T>& prepared = s.prepared(s.steps[training], options);
    s.step += training;
    // The caller's samples may change before backward reads them.
    if (s.last_x.size() < n * s.input_size()) s.last_x = Buffer<T>(s.capacity * s.input_size());
    std::copy_n(s.gatherer.numbers(x, 0, n), n * s.input_size(), s.last_x.data());
    s.last_run = s.run_of(prepared, n, {s.last_x.data(), nullptr});
    naming_bad_samples(
        [](index_t i) { return i; },
        [&] { run_phases(prepared.program, s.last_run, 0, prepared.program.first_backward - 1); });
    s.last = &prepared;
    const T* y = rows_at(s.last_run, prepared.program.outputs[0]).data;
    if (training && all_finite(n * s.output_size(), y)) s.update_statistics(prepared);
    return y;
}

template <class T>
void Trainer<T>::backward(index_t n, const T* grad, T* grad_x, bool adds) {
    State& s = *state_;
    if (!s.last)
        throw std::invalid_argument(
            "grad_output: expected a forward pass before it, with no training in between");
    if (n != s.last_run.n)
        throw std::invalid_argument("grad_output: expected the " + std::to_string(s.last_run.n) +
                                    " samples of the last forward pass, got " + std::to_string(n));
    FlushDenormals flush;
    const Program<T>& program = s.last->program;
    s.last_run.input_gradient = grad_x;
    T* const accumulated = s.parameters->accumulated();
    s.last_run.gradients = adds ? s.parameters->gradients() : accumulated;
    T* to = s.last->batch.data() + program.output_gradient.offset * s.capacity;
    std::copy_n(grad, n * s.output_size(), to);
    run_phases(program, s.last_run, program.first_backward, program.phases.size());
    s.last->sweep.complete(s.last_run, {});
    if (!adds) return;
    s.each_task_of_parameters([&](index_t first, index_t count) {
        add<T>(count, accumulated + first, s.last_run.gradients + first, accumulated + first);
    });
}

template <class T>
std::string Trainer<T>::step(Optimizer<T>& optimizer) {
    State& s = *state_;
    FlushDenormals flush;
    T* const gradients = s.parameters->accumulated();
    const Sweep<T>& sweep = s.with_sweep().sweep;
    if (!sweep.examine(gradients, {false, true}).finite) return s.not_finite(gradients);
    s.last = nullptr;  // a backward pass would mix values of before and after
    const bool clips = optimizer.options.clip_norm > 0;
    const double squares =
        clips || sweep.penalizes() ? sweep.examine(gradients, {true, false, clips}).squares : 0;
    sweep.update(optimizer, gradients, squares);
    std::fill_n(gradients, s.parameters->size(), T(0));
    return "";
}

template <class T>
bool Trainer<T>::step(GradientAccumulation<T>& accumulation, Optimizer<T>& optimizer, bool check) {
    FlushDenormals flush;
    state_->last = nullptr;
    return state_->update_from(accumulation, optimizer, check);
}

template <class T>
LossSums Trainer<T>::gradients(index_t n, const Samples<T>& x, const Objective<T>& objective) {
    FlushDenormals flush;
    State& s = *state_;
    Batch<T> batch{n, {s.gatherer.numbers(x, 0, n), nullptr}, objective.targets, s.numbers_to(n)};
    Prepared<T>& prepared = s.for_objective(objective, false);
    ++s.step;
    Run<T> run = s.run_of(prepared, n, batch.x);
    const LossSums sums = s.run_batch(prepared, run, batch, objective, nullptr);
    prepared.sweep.complete(run, {true});
    return sums;
}

template <class T>
EpochSums Trainer<T>::train_step(index_t n, const Samples<T>& x, const Objective<T>& objective,
                                 Optimizer<T>& optimizer) {
    FlushDenormals flush;
    State& s = *state_;
    EpochSums total;
    total.samples = n;
    const auto batch_of_all = [&] {
        const Batch<T> batch{n, {s.gatherer.numbers(x, 0, n), nullptr}, objective.targets, s.numbers_to(n)};
        LossSums sums;
        if (!s.train_batch(batch, objective, optimizer, {}, sums)) {
            total.fault = s.find_fault(batch, objective);
            total.skipped = n;
            return;
        }
        total.loss = sums.loss;
        total.hits = sums.hits;
        total.weight = sums.weight;
    };
    s.in_region(objective, s.work_of(s.for_objective(objective, false), n), 0, batch_of_all);
    return total;
}

template <class T>
EpochSums Trainer<T>::train_epoch(index_t n, const Samples<T>& x, const Objective<T>& objective,
                                  const std::int64_t* order, Optimizer<T>& optimizer,
                                  const EpochOptions<T>& options) {
    State& s = *state_;
    if (options.batch_size < 1 || options.batch_size > s.capacity)
        throw std::invalid_argument("batch_size: expected 1 to " + std::to_string(s.capacity) + ", got " +
                                    std::to_string(options.batch_size));
    if (options.record.errors && !objective.targets.dense)
        throw std::invalid_argument("errors: expected rows of targets");
    FlushDenormals flush;
    Ticker ticker;
    EpochSums total;
    const Prepared<T>& prepared = s.for_objective(objective, false);
    const Picking picking = s.picking(prepared, x, n, options);
    BatchStream<T> batches(s.gatherer, s.next_gatherer, x, objective.targets, order, picking,
                           options.times ? &options.times->gather : nullptr);
    const DataParallel<T>* const shared = options.data_parallel;
    const bool alone =  // on each batch, so that others may gather the next
        !shared && !options.observer && !options.times && !s.calls_back(objective);
    const double work = s.work_of(prepared, options.batch_size),
                 beside = alone && picking.far ? batches.work(std::min(options.batch_size, n)) : 0;
    GradientAccumulation<T>* const accumulation = options.accumulation;
    index_t updates = 0;
    const auto set_rates = [&] {
        if (options.learning_rates)
            optimizer.set_learning_rates(options.learning_rates +
                                         updates++ * static_cast<index_t>(optimizer.rates()));
    };
    index_t taken = 0;          // here
    bool is_cut_short = false;  // by the caller
    const auto epoch = [&] {
        const bool has_choice = alone && num_threads() > 1;
        for (index_t number = 0; shared ? number < shared->batches : taken < n; ++number) {
            if (number > 0 && options.between_batches) options.between_batches();
            const std::int64_t* const bounds =
                shared ? shared->bounds + number * (shared->parts + 1) : nullptr;
            const index_t now =
                shared ? bounds[shared->parts] - bounds[0] : std::min(options.batch_size, n - taken);
            Batch<T> batch = batches.next(now);
            EpochSums sums;
            batch.predictions = s.place_of_predictions(options.record, taken);
            taken += now;
            batch.summed = accumulation != nullptr;
            if (!accumulation) set_rates();
            bool used = false;
            const auto train = [&] {
                if (shared) {
                    used = s.train_shared(batch, bounds, objective, optimizer, options, sums);
                    return;
                }
                LossSums own;
                used = accumulation ? s.accumulate(batch, objective, options, own)
                                    : s.train_batch(batch, objective, optimizer, options, own);
                sums = {own.loss, own.hits, own.weight, now, 0, ""};
            };
            if (beside > 0 && taken < n)
                batches.gather_beside(std::min(options.batch_size, n - taken), work, train);
            else if (has_choice && now == options.batch_size)
                s.in_faster_way(now, train);
            else
                train();
            if (!used) {
                if (total.fault.empty()) {
                    const std::string fault = shared
                                                  ? s.find_fault_of_parts(batch, bounds, objective, *shared)
                                                  : s.find_fault(batch, objective);
                    total.fault = "batch " + std::to_string(number + 1) + ": " + fault;
                }
                if (options.on_nonfinite == OnNonFinite::stop) break;
                total.skipped += sums.samples;
                sums = {0, 0, 0, sums.samples, 0, ""};
            }
            if (shared)
                s.record_outputs(batch, bounds, shared->parts, options.record, used);
            else
                s.record_outputs(batch, options.record, used);
            if (options.losses)
                options.losses[number] =
                    sums.loss / loss_divisor(objective.loss.kind, sums.weight, s.output_size());
            total.loss += sums.loss;
            total.hits += sums.hits;
            total.weight += sums.weight;
            total.samples += sums.samples;
            if (accumulation && accumulation->batches == accumulation->batches_per_update) {
                set_rates();
                const bool check = options.on_nonfinite != OnNonFinite::ignore;
                if (!s.update_from(*accumulation, optimizer, check)) {
                    if (total.fault.empty())
                        total.fault = "batch " + std::to_string(number + 1) + ": the sum of the gradients";
                    if (options.on_nonfinite == OnNonFinite::stop) break;
                }
            }
            if (options.report && ticker.due() && !options.report(total)) {
                is_cut_short = true;
                break;
            }
        }
    };
    if (!shared || !shared->peers->shares_update()) {
        s.in_region(objective, work, beside, epoch);
        return total;
    }
    optimizer.is_whole = optimizer.state().empty();
    try {
        s.in_region(objective, work, beside, epoch);
        if (!is_cut_short) s.any_sweep().gather_state(optimizer, *shared->peers);
    } catch (...) {
        shared->peers->leave();
        throw;
    }
    if (is_cut_short) shared->peers->leave();
    return total;
}

template <class T>
void Trainer<T>::gather_state(Optimizer<T>& optimizer, Peers<T>& peers) {
    state_->any_sweep().gather_state(optimizer, peers);
}

template class Trainer<float>;
template class Trainer<double>;

}  // namespace ranvier
