// Parts of a batch, phase by phase in step, since sums of a batch normalization may be over all of them.
#include "batch_parts.h"

#include <algorithm>

#include "bad_sample.h"
#include "ranvier/elementwise.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

// Elements of a task that adds gradients.
constexpr index_t kAdded = 16 << 10;

// Gradients wait until so many can go in one message.
constexpr index_t kMessageBytes = 256 << 10;

template <class Range>
index_t total(const std::vector<Range>& ranges) {
    index_t sum = 0;
    for (const auto& [begin, end] : ranges) sum += end - begin;
    return sum;
}

}  // namespace

template <class T>
BatchParts<T>::BatchParts(const Graph& graph, Parameters<T>& parameters, const ProgramOptions& options,
                          index_t parts, index_t capacity)
    : parameters_(parameters),
      capacity_(capacity),
      input_size_(element_count(graph.values[static_cast<std::size_t>(graph.inputs[0])])),
      output_size_(element_count(graph.outputs[0].shape)) {
    for (index_t i = 0; i < parts; ++i) {
        parts_.push_back(
            std::unique_ptr<Part>(new Part{{graph, parameters, options, capacity}, {}, {}, {}, {}, {}, {}}));
        if (i > 0 && !options.observed) parts_.back()->gradients = Buffer<T>(parameters.size());
    }
    const Prepared<T>& first = parts_[0]->prepared;
    for (std::size_t phase = 0; phase < first.program.phases.size(); ++phase)
        ranges_.push_back(first.sweep.ranges(phase));
}

template <class T>
std::vector<LossSums> BatchParts<T>::run(const Batch<T>& batch, const Objective<T>& objective,
                                         const std::int64_t* bounds, const DataParallel<T>& all,
                                         std::uint64_t seed, std::uint64_t step,
                                         const std::vector<Observer<T>*>& observers) {
    waiting_.clear();
    T* const own = all.peers->gradients();
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        Part& part = *parts_[i];
        begin(part, batch, bounds[i] - bounds[0], bounds[i + 1] - bounds[i], objective,
              own ? own : parameters_.gradients());
        part.run.seed = seed;
        part.run.step = step;
        part.run.position = bounds[i];
        if (!observers.empty()) part.run.observer = observers[i];
    }
    for (std::size_t phase = 0; phase < ranges_.size(); ++phase) {
        for (const auto& part : parts_)
            if (part->run.n > 0)
                naming_bad_samples([&](index_t i) { return part->batch.samples[i]; },
                                   [&] {
                                       take_steps(part->prepared.program, part->run,
                                                  part->prepared.program.phases[phase]);
                                   });
        if (all.sync_batch_norm) share_sums(phase, all);
        for (const auto& part : parts_)
            if (part->run.n > 0 || all.sync_batch_norm)
                combine_sums(part->prepared.program, part->run, part->prepared.program.phases[phase]);
        if (!observers.empty()) continue;
        complete(phase);
        hand_over(phase, all);
    }
    std::vector<LossSums> sums;
    for (const auto& part : parts_) sums.push_back(part->run.n > 0 ? part->loss->sums() : LossSums{});
    return sums;
}

template <class T>
void BatchParts<T>::begin(Part& part, const Batch<T>& whole, index_t first, index_t count,
                          const Objective<T>& objective, T* gradients) {
    const Targets<T>& targets = whole.targets;
    part.batch = whole;
    part.batch.n = count;
    part.batch.summed = true;
    part.batch.targets = {targets.dense ? targets.dense + first * output_size_ : nullptr,
                          targets.labels ? targets.labels + first : nullptr,
                          targets.weights ? targets.weights + first : nullptr};
    part.batch.samples = whole.samples + first;
    if (whole.predictions) part.batch.predictions = whole.predictions + first * output_size_;
    part.x = whole.x.from(first, input_size_);
    if (part.gradients.size()) gradients = part.gradients.data();
    part.run = run_of(part.prepared, count, part.x, capacity_, gradients);
    part.loss.emplace(part.batch, objective, output_size_, nullptr);
    part.loss_of_samples.emplace(*part.loss);
    part.run.loss = &*part.loss_of_samples;
}

// Of batch normalizations whose sums are over all parts.
template <class T>
void BatchParts<T>::share_sums(std::size_t phase, const DataParallel<T>& all) {
    const Phase& first = parts_[0]->prepared.program.phases[phase];
    for (const auto& [node, direction] : first.combined) {
        const auto sums_of = [node = node](const Part& part) {
            return part.prepared.program.ops[node]->shared_sums;
        };
        if (!sums_of(*parts_[0])) continue;
        const index_t count = sums_of(*parts_[0])->size();
        Scratch<double> own(size() * count), whole(all.all_parts * count);
        for (index_t i = 0; i < size(); ++i) {
            Part& part = *parts_[static_cast<std::size_t>(i)];
            const Phase& its = part.prepared.program.phases[phase];
            const index_t groups = its.whole ? 1 : groups_of(its, part.run.n, sizeof(T));
            sums_of(part)->get(whole_batch(part.run, groups), direction, own.data() + i * count);
        }
        all.peers->gather(size() * count, own.data(), whole.data());
        for (const auto& part : parts_) sums_of(*part)->set(direction, all.all_parts, whole.data());
    }
}

template <class T>
void BatchParts<T>::complete(std::size_t phase) {
    for (const auto& part : parts_) {
        if (part->run.n > 0)
            part->prepared.sweep.complete_phase(part->run, phase);
        else
            for (const auto& [begin, end] : ranges_[phase])
                std::fill(part->run.gradients + begin, part->run.gradients + end, T{});
    }
    if (size() > 1) add_up(ranges_[phase]);
}

template <class T>
void BatchParts<T>::add_up(const Ranges& ranges) {
    for (const auto& [begin, end] : ranges) {
        const index_t tasks = ceil_div(end - begin, kAdded);
        parallel_for(tasks, threads_for(static_cast<double>((end - begin) * size())),
                     [&, begin = begin, end = end](index_t task) {
                         const index_t from = begin + task * kAdded, count = std::min(kAdded, end - from);
                         for (std::size_t apart = 1; apart < parts_.size(); apart *= 2)
                             for (std::size_t i = 0; i + apart < parts_.size(); i += 2 * apart)
                                 add<T>(count, parts_[i + apart]->run.gradients + from,
                                        parts_[i]->run.gradients + from);
                     });
    }
}

// In few messages: neighbours go together, and small ranges wait for others.
template <class T>
void BatchParts<T>::hand_over(std::size_t phase, const DataParallel<T>& all) {
    for (const auto& range : ranges_[phase]) waiting_.push_back(range);
    const bool is_last = phase + 1 == ranges_.size();
    if (waiting_.empty() || (!is_last && total(waiting_) * static_cast<index_t>(sizeof(T)) < kMessageBytes))
        return;
    std::sort(waiting_.begin(), waiting_.end());
    Ranges merged;
    for (const auto& range : waiting_) {
        if (!merged.empty() && merged.back().second == range.first)
            merged.back().second = range.second;
        else
            merged.push_back(range);
    }
    waiting_.clear();
    for (const auto& [begin, end] : merged) all.peers->reduce(begin, end - begin);
}

template class BatchParts<float>;
template class BatchParts<double>;

}  // namespace ranvier
