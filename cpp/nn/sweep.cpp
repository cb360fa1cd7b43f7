// Shards of the parameters: products, sums of groups, penalties, checks, updates.
#include "sweep.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "ranvier/elementwise.h"
#include "ranvier/optimizer.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

constexpr index_t kShard = 8 << 10;  // elements at least
constexpr index_t kMostShards = 16;  // of one node

// The work of completing and of updating an element, in units of threads_for().
constexpr double kCompleteCost = 1.5, kUpdateCost = 2.5;

template <class T>
MicroBatch whole_batch(const Run<T>& run) {
    MicroBatch part;
    part.batch = part.count = run.n;
    part.seed = run.seed;
    part.step = run.step;
    return part;
}

}  // namespace

template <class T>
Sweep<T>::Sweep(const Program<T>& program, Parameters<T>& parameters)
    : program_(program), parameters_(parameters) {
    for (std::size_t node = 0; node < program.ops.size(); ++node)
        if (program.blocks[node].size > 0) add_shards(node);
    for (const ParameterEntry& entry : parameters.entries()) penalized_ |= entry.l1 != 0 || entry.l2 != 0;
}

template <class T>
void Sweep<T>::add_shards(std::size_t node) {
    const typename Program<T>::Deferred* deferred = nullptr;
    for (const auto& product : program_.deferred)
        if (product.node == node) deferred = &product;
    all_deferred_ &= deferred != nullptr;
    if (deferred) work_ += program_.ops[node]->traits.flops / kFlopsPerWork;
    const index_t size = program_.blocks[node].size, unit = program_.ops[node]->traits.range_unit;
    const index_t length = round_up(std::max(kShard, ceil_div(size, kMostShards)), unit);
    for (index_t begin = 0; begin < size; begin += length)
        shards_.push_back({node, begin, std::min(size, begin + length), deferred});
}

template <class T>
template <class Body>
void Sweep<T>::for_each_shard(double work, Body&& body) const {
    parallel_for(static_cast<index_t>(shards_.size()), threads_for(work), body);
}

template <class T>
typename Sweep<T>::Findings Sweep<T>::complete(const Run<T>& run, const Wishes& wishes) const {
    return look(run.gradients, work_ * static_cast<double>(run.n), wishes,
                [&](const Shard& shard) { complete_shard(shard, run); });
}

template <class T>
typename Sweep<T>::Findings Sweep<T>::examine(T* gradients, const Wishes& wishes) const {
    return look(gradients, 0, wishes, [](const Shard&) {});
}

template <class T>
template <class Completion>
typename Sweep<T>::Findings Sweep<T>::look(T* gradients, double work, const Wishes& wishes,
                                           Completion&& complete_one) const {
    std::atomic<bool> finite{true};
    Scratch<double> memory(static_cast<index_t>(shards_.size()));
    double* squares = memory.data();
    for_each_shard(work + static_cast<double>(parameters_.size()) * kCompleteCost, [&](index_t i) {
        const Shard& shard = shards_[static_cast<std::size_t>(i)];
        complete_one(shard);
        if (wishes.penalties && penalized_) add_penalties(shard, gradients);
        const T* own = gradients + program_.blocks[shard.node].offset + shard.begin;
        if (wishes.check && !all_finite(shard.end - shard.begin, own))
            finite.store(false, std::memory_order_relaxed);
        squares[i] = wishes.measure ? sum_of_squares(shard.end - shard.begin, own) : 0;
    });
    Findings findings;
    findings.finite = finite.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < shards_.size(); ++i) findings.squares += squares[i];
    return findings;
}

template <class T>
void Sweep<T>::complete_shard(const Shard& shard, const Run<T>& run) const {
    const ParameterBlock& block = program_.blocks[shard.node];
    if (shard.deferred)
        multiply(shard, run, {run.gradients + block.offset, T(1), false, shard.begin, shard.end});
    else if (block.partial_offset >= 0)
        sum_groups(shard, run);
}

// The product over the whole batch that makes the gradients of a shard.
template <class T>
void Sweep<T>::multiply(const Shard& shard, const Run<T>& run, const Sink<T>& sink) const {
    const Rows<T> x = rows_at(run, shard.deferred->x);
    program_.ops[shard.node]->backward_weights(whole_batch(run), {&x, nullptr, nullptr},
                                               rows_at(run, shard.deferred->grad).data, sink);
}

template <class T>
void Sweep<T>::sum_groups(const Shard& shard, const Run<T>& run) const {
    const ParameterBlock& block = program_.blocks[shard.node];
    const Phase& phase = program_.phases[block.phase];
    const index_t groups = phase.whole ? 1 : groups_of(phase, run.n, sizeof(T));
    if (groups == 1) return;  // written where it belongs
    const index_t count = shard.end - shard.begin;
    const T* partial = run.partial_sums + block.partial_offset + shard.begin;
    T* to = run.gradients + block.offset + shard.begin;
    add<T>(count, partial, partial + block.size, to);
    for (index_t group = 2; group < groups; ++group) add<T>(count, to, partial + group * block.size, to);
}

template <class T>
void Sweep<T>::add_penalties(const Shard& shard, T* gradients) const {
    const index_t first = program_.blocks[shard.node].offset + shard.begin,
                  end = first + shard.end - shard.begin;
    for (const ParameterEntry& entry : parameters_.entries()) {
        if (!entry.trained || (entry.l1 == 0 && entry.l2 == 0)) continue;
        const index_t from = std::max(first, entry.offset), to = std::min(end, entry.offset + entry.extent);
        if (from < to)
            add_penalty_gradient<T>(entry.l1, entry.l2, to - from, parameters_.values() + from,
                                    gradients + from);
    }
}

template <class T>
void Sweep<T>::update(Optimizer<T>& optimizer, const T* gradients, double squares) const {
    optimizer.begin_step(squares);
    for_each_shard(static_cast<double>(parameters_.size()) * kUpdateCost, [&](index_t i) {
        const Shard& shard = shards_[static_cast<std::size_t>(i)];
        optimizer.update_range(parameters_, gradients, program_.blocks[shard.node].offset + shard.begin,
                               shard.end - shard.begin);
    });
}

template <class T>
bool Sweep<T>::descends(const UpdateOptions& options) const {
    return options.rule == UpdateRule::sgd && options.momentum == 0 && options.weight_decay == 0 &&
           options.clip_norm == 0 && options.clip_value == 0 && !penalized_ && all_deferred_ &&
           !shards_.empty();
}

// A bound on what descend() adds to any parameter: |sum_i x_i g_i| <= sum_i max|x_i| max|g_i|, over samples
// i. Not finite if an input or a gradient is not.
template <class T>
double Sweep<T>::largest_step(const Run<T>& run) const {
    double largest = 0;
    Scratch<double> memory(run.n);
    double* bounds = memory.data();
    for (const auto& product : program_.deferred) {
        const Rows<T> x = rows_at(run, product.x), grad = rows_at(run, product.grad);
        const index_t in = product.x.size, out = product.grad.size;
        constexpr index_t kSamples = 16;  // of one task
        const auto bound = [&](index_t task) {
            for (index_t i = task * kSamples; i < std::min(run.n, (task + 1) * kSamples); ++i)
                bounds[i] = (static_cast<double>(largest_magnitude(in, x.row(i, in))) + 1) *
                            static_cast<double>(largest_magnitude(out, grad.row(i, out)));
        };
        parallel_for(ceil_div(run.n, kSamples), threads_for(static_cast<double>(run.n * in)), bound);
        double sum = 0;
        for (index_t i = 0; i < run.n; ++i) sum += bounds[i];
        // A sample of several rows adds each of them.
        largest = std::max(largest, sum * static_cast<double>(in));
        if (!std::isfinite(sum)) return sum;
    }
    return largest;
}

template <class T>
bool Sweep<T>::descend(const Run<T>& run, double rate) const {
    constexpr double kMost = static_cast<double>(std::numeric_limits<T>::max()) / 8;
    if (!(largest_step(run) * std::abs(rate) < kMost)) return false;
    const double work = work_ * static_cast<double>(run.n) + static_cast<double>(parameters_.size());
    for_each_shard(work, [&](index_t i) {
        const Shard& shard = shards_[static_cast<std::size_t>(i)];
        T* const block = parameters_.values() + program_.blocks[shard.node].offset;
        multiply(shard, run, {block, static_cast<T>(-rate), true, shard.begin, shard.end});
    });
    return true;
}

template class Sweep<float>;
template class Sweep<double>;

}  // namespace ranvier
