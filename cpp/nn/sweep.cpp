// Shards of the parameters: products, sums of groups, penalties, checks, updates.
#include "sweep.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "ranvier/elementwise.h"
#include "ranvier/memory.h"
#include "ranvier/optimizer.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

constexpr index_t kShard = 2 << 10;  // elements at least
constexpr index_t kMostShards = 16;  // of one node

// The gradients of a fused shard that are made and used at a time: they stay in a thread's caches.
constexpr index_t kGradientBytes = 64 << 10;

// The work of completing and of updating an element, in units of threads_for().
constexpr double kCompleteCost = 1.5, kUpdateCost = 2.5;

// A range that begins there; the last one takes with it what is less than a unit.
index_t end_of_range(index_t begin, index_t length, index_t unit, index_t whole) {
    return whole - begin - length < unit ? whole : begin + length;
}

template <class T>
void scale(index_t n, T factor, T* x) {
    for (index_t i = 0; i < n; ++i) x[i] *= factor;
}

}  // namespace

template <class T>
Sweep<T>::Sweep(const Program<T>& program, Parameters<T>& parameters)
    : program_(program), parameters_(parameters) {
    for (std::size_t node = 0; node < program.ops.size(); ++node)
        if (!program.blocks[node].trained.empty()) add_shards(node);
    for (const ParameterEntry& entry : parameters.entries())
        penalized_ |= !entry.frozen && (entry.l1 != 0 || entry.l2 != 0);
}

template <class T>
void Sweep<T>::add_shards(std::size_t node) {
    const typename Program<T>::Deferred* deferred = nullptr;
    for (const auto& product : program_.deferred)
        if (product.node == node) deferred = &product;
    all_deferred_ &= deferred != nullptr;
    if (deferred) work_ += program_.ops[node]->traits.flops / kFlopsPerWork;
    for (const auto& [begin, end] : program_.blocks[node].trained) {
        ranges_.push_back({node, begin, end, deferred});
        cut_shards(ranges_.back());
    }
}

template <class T>
void Sweep<T>::cut_shards(const Shard& range) {
    const index_t size = range.end - range.begin, unit = program_.ops[range.node]->traits.range_unit;
    const index_t length = round_up(std::max(kShard, ceil_div(size, kMostShards)), unit);
    for (index_t begin = range.begin; begin < range.end;) {
        const index_t end = end_of_range(begin, length, unit, range.end);
        shards_.push_back({range.node, begin, end, range.deferred});
        begin = end;
    }
}

template <class T>
template <class Body>
void Sweep<T>::for_each_shard(const Share& share, double work, Body&& body) const {
    parallel_for(static_cast<index_t>(share.last - share.first), threads_for(work), [&](index_t task) {
        const std::size_t i = share.first + static_cast<std::size_t>(task);
        body(shards_[i], i);
    });
}

template <class T>
typename Sweep<T>::Findings Sweep<T>::complete(const Run<T>& run, const Wishes& wishes) const {
    prepare_products(run, 1);
    return complete(run, wishes, false);
}

// Leaves the shards alone whose gradients are products, if these are to be fused with the update.
template <class T>
typename Sweep<T>::Findings Sweep<T>::complete(const Run<T>& run, const Wishes& wishes, bool fused) const {
    Scratch<double> squares(static_cast<index_t>(shards_.size()));
    Findings findings = look(all(), run.gradients, fused ? 0 : work_ * static_cast<double>(run.n), wishes,
                             squares.data(), [&](const Shard& shard) {
                                 if (fused && shard.deferred) return false;
                                 complete_shard(shard, run);
                                 return true;
                             });
    findings.squares = total(squares.data());
    return findings;
}

template <class T>
typename Sweep<T>::Findings Sweep<T>::examine(T* gradients, const Wishes& wishes) const {
    Scratch<double> squares(static_cast<index_t>(shards_.size()));
    Findings findings = look(all(), gradients, 0, wishes, squares.data(), [](const Shard&) { return true; });
    findings.squares = total(squares.data());
    return findings;
}

// At the shards that complete_one() says are there. Gives the sum of squares of each.
template <class T>
template <class Completion>
typename Sweep<T>::Findings Sweep<T>::look(const Share& share, T* gradients, double work,
                                           const Wishes& wishes, double* squares,
                                           Completion&& complete_one) const {
    std::atomic<bool> finite{true};
    work += static_cast<double>(parameters_.size()) * kCompleteCost;
    for_each_shard(share, work, [&](const Shard& shard, std::size_t i) {
        squares[i] = 0;
        if (!complete_one(shard)) return;
        T* own = gradients + first_of(shard);
        if (wishes.factor != 1) scale(shard.end - shard.begin, static_cast<T>(wishes.factor), own);
        if (wishes.penalties && penalized_) add_penalties(shard, gradients);
        if (wishes.check && !all_finite(shard.end - shard.begin, own))
            finite.store(false, std::memory_order_relaxed);
        if (wishes.measure) squares[i] = sum_of_squares(shard.end - shard.begin, own);
    });
    Findings findings;
    findings.finite = finite.load(std::memory_order_relaxed);
    return findings;
}

// Of all shards, in their order.
template <class T>
double Sweep<T>::total(const double* squares) const {
    double sum = 0;
    for (std::size_t i = 0; i < shards_.size(); ++i) sum += squares[i];
    return sum;
}

template <class T>
void Sweep<T>::complete_shard(const Shard& shard, const Run<T>& run) const {
    const ParameterBlock& block = program_.blocks[shard.node];
    if (shard.deferred)
        multiply(shard, run, {run.gradients + block.offset + shard.begin, shard.begin, shard.end});
    else if (block.partial_offset >= 0)
        sum_groups(shard, run);
}

template <class T>
void Sweep<T>::complete_phase(const Run<T>& run, std::size_t phase) const {
    std::vector<const Shard*> shards;
    double work = 0;
    for (const Shard& shard : shards_) {
        if (program_.blocks[shard.node].phase != phase) continue;
        const bool begins_node = shards.empty() || shards.back()->node != shard.node;
        if (begins_node && shard.deferred) {
            prepare_product(*shard.deferred, run, 1);
            work += program_.ops[shard.node]->traits.flops / kFlopsPerWork * static_cast<double>(run.n);
        }
        work += static_cast<double>(shard.end - shard.begin) * kCompleteCost;
        shards.push_back(&shard);
    }
    parallel_for(static_cast<index_t>(shards.size()), threads_for(work),
                 [&](index_t i) { complete_shard(*shards[static_cast<std::size_t>(i)], run); });
}

template <class T>
std::vector<std::pair<index_t, index_t>> Sweep<T>::ranges(std::size_t phase) const {
    std::vector<std::pair<index_t, index_t>> ranges;
    for (std::size_t node = 0; node < program_.ops.size(); ++node)
        if (program_.blocks[node].phase == phase)
            for (const auto& [begin, end] : program_.blocks[node].trained)
                ranges.emplace_back(program_.blocks[node].offset + begin, program_.blocks[node].offset + end);
    return ranges;
}

template <class T>
void Sweep<T>::prepare_products(const Run<T>& run, double factor) const {
    for (const auto& product : program_.deferred) prepare_product(product, run, factor);
}

template <class T>
void Sweep<T>::prepare_product(const typename Program<T>::Deferred& product, const Run<T>& run,
                               double factor) const {
    const MicroBatch whole = whole_batch(run);
    program_.ops[product.node]->prepare(
        {Use::weight_ranges, &whole, rows_at(run, product.grad).data, static_cast<T>(factor)});
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
    optimizer.begin_step(parameters_, squares);
    for_each_shard(all(), static_cast<double>(parameters_.size()) * kUpdateCost,
                   [&](const Shard& shard, std::size_t) { update_shard(shard, gradients, optimizer); });
    finish_update(optimizer, all());
}

template <class T>
void Sweep<T>::finish_update(Optimizer<T>& optimizer, const Share& share) const {
    for (const ParameterEntry& entry : parameters_.entries()) {
        if (entry.max_norm == 0 || entry.frozen) continue;
        const index_t outputs = entry.shape[0], inputs = element_count(entry.shape) / outputs;
        limit_norms<T>(entry.max_norm, outputs, inputs, entry.strides[0], entry.strides.back(),
                       parameters_.value(entry));
    }
    if (!optimizer.averages()) return;
    for_each_shard(share, static_cast<double>(parameters_.size()) * kUpdateCost,
                   [&](const Shard& shard, std::size_t) {
                       optimizer.average_range(parameters_, first_of(shard), shard.end - shard.begin);
                   });
}

template <class T>
void Sweep<T>::update_shard(const Shard& shard, const T* gradients, Optimizer<T>& optimizer) const {
    const index_t first = first_of(shard);
    optimizer.update_range(parameters_, gradients + first, first, shard.end - shard.begin);
}

// Part by part, while the part's gradient is in the caches.
template <class T>
void Sweep<T>::update_from_product(const Shard& shard, const Run<T>& run, Optimizer<T>& optimizer) const {
    const index_t unit = program_.ops[shard.node]->traits.range_unit;
    const index_t length = round_up(kGradientBytes / static_cast<index_t>(sizeof(T)), unit);
    Scratch<T> gradients(std::min(length + unit, shard.end - shard.begin));
    for (index_t begin = shard.begin; begin < shard.end;) {
        const index_t end = end_of_range(begin, length, unit, shard.end);
        multiply(shard, run, {gradients.data(), begin, end});
        optimizer.update_range(parameters_, gradients.data(), program_.blocks[shard.node].offset + begin,
                               end - begin);
        begin = end;
    }
}

// Clipping by the norm needs all gradients first. A penalty's gradient is not in the bound on the products.
template <class T>
bool Sweep<T>::complete_and_update(const Run<T>& run, Optimizer<T>& optimizer, bool check) const {
    const UpdateOptions& options = optimizer.options;
    const bool clips = options.clip_norm > 0;
    const bool fused = !clips && !penalized_ && bound_is_cheap(run) && products_are_finite(run, options);
    const bool adds = fused && adds_gradients(optimizer);
    prepare_products(run, adds ? -options.lr : 1);
    Findings findings;
    if (!fused || !all_deferred_) findings = complete(run, {true, check, clips}, fused);
    if (!findings.finite) return false;
    if (!fused) {
        update(optimizer, run.gradients, findings.squares);
        return true;
    }
    optimizer.begin_step(parameters_, 0);
    const double work =
        work_ * static_cast<double>(run.n) + static_cast<double>(parameters_.size()) * kUpdateCost;
    const auto complete_and_update_one = [&](const Shard& shard, std::size_t) {
        if (!shard.deferred)
            update_shard(shard, run.gradients, optimizer);
        else if (adds)
            multiply(shard, run, {parameters_.values() + first_of(shard), shard.begin, shard.end, true});
        else
            update_from_product(shard, run, optimizer);
    };
    if (threads_for(work) > 1)
        for_each_shard(all(), work, complete_and_update_one);
    else  // fewer, longer products
        for (const Shard& range : ranges_) complete_and_update_one(range, 0);
    finish_update(optimizer, all());
    return true;
}

// The shards whose middles lie in an equal part of all elements.
template <class T>
typename Sweep<T>::Share Sweep<T>::share_of(const Peers<T>& peers, index_t rank) const {
    if (!peers.shares_update()) return all();
    index_t elements = 0, before = 0;
    for (const Shard& shard : shards_) elements += shard.end - shard.begin;
    Share share{shards_.size(), shards_.size()};
    for (std::size_t i = 0; i < shards_.size(); ++i) {
        const index_t size = shards_[i].end - shards_[i].begin;
        const index_t owner = (2 * before + size) * peers.size() / (2 * elements);
        before += size;
        if (owner >= rank) share.first = std::min(share.first, i);
        if (owner > rank) share.last = std::min(share.last, i);
    }
    return share;
}

template <class T>
typename Sweep<T>::Findings Sweep<T>::examine(T* gradients, const Wishes& wishes, Peers<T>& peers) const {
    if (!peers.shares_update()) return examine(gradients, wishes);
    // Of each rank whether its share is finite, and the squares of all shards, of which it has its own.
    const auto numbers = static_cast<index_t>(wishes.measure ? 1 + shards_.size() : 1);
    Scratch<double> own(static_cast<index_t>(1 + shards_.size())), whole(numbers * peers.size());
    std::fill_n(own.data(), 1 + shards_.size(), 0.0);
    const auto completed = [&](const Shard& shard) {
        peers.sum(first_of(shard), shard.end - shard.begin);
        return true;
    };
    Findings findings = look(share_of(peers, peers.rank()), gradients, 0, wishes, own.data() + 1, completed);
    if (!wishes.check && !wishes.measure) return findings;
    own.data()[0] = findings.finite ? 1 : 0;
    peers.gather(numbers, own.data(), whole.data());
    for (index_t rank = 0; rank < peers.size(); ++rank) {
        const double* const its = whole.data() + rank * numbers;
        findings.finite &= its[0] != 0;
        if (!wishes.measure) continue;
        const Share share = share_of(peers, rank);
        std::copy(its + 1 + share.first, its + 1 + share.last, own.data() + 1 + share.first);
    }
    findings.squares = total(own.data() + 1);
    return findings;
}

template <class T>
void Sweep<T>::update(Optimizer<T>& optimizer, const T* gradients, double squares, Peers<T>& peers) const {
    if (!peers.shares_update()) return update(optimizer, gradients, squares);
    const Share share = share_of(peers, peers.rank());
    optimizer.begin_step(parameters_, squares);
    for_each_shard(share, static_cast<double>(parameters_.size()) * kUpdateCost,
                   [&](const Shard& shard, std::size_t) {
                       update_shard(shard, gradients, optimizer);
                       peers.publish(first_of(shard), shard.end - shard.begin, parameters_.values());
                   });
    peers.meet();
    fetch(peers, parameters_.values());
    finish_update(optimizer, share);
}

// What the others have published of a flat buffer.
template <class T>
void Sweep<T>::fetch(const Peers<T>& peers, T* flat) const {
    const Share own = share_of(peers, peers.rank());
    const auto fetch_one = [&](const Shard& shard, std::size_t) {
        peers.fetch(first_of(shard), shard.end - shard.begin, flat);
    };
    for (const Share& others : {Share{0, own.first}, Share{own.last, shards_.size()}})
        for_each_shard(others, static_cast<double>(parameters_.size()), fetch_one);
}

template <class T>
void Sweep<T>::gather_state(Optimizer<T>& optimizer, Peers<T>& peers) const {
    for (auto& [name, buffer] : optimizer.state()) {
        T* const flat = buffer->data();
        peers.meet();  // others may still be at what was published before
        for_each_shard(share_of(peers, peers.rank()), static_cast<double>(parameters_.size()),
                       [&](const Shard& shard, std::size_t) {
                           peers.publish(first_of(shard), shard.end - shard.begin, flat);
                       });
        peers.meet();
        fetch(peers, flat);
    }
    optimizer.is_whole = true;
}

// To know beforehand that all is finite takes a look at what the products are made of; to do without, one at
// the gradients in memory, besides writing and reading them.
template <class T>
bool Sweep<T>::bound_is_cheap(const Run<T>& run) const {
    index_t operands = 0, gradients = 0;
    for (const auto& product : program_.deferred) {
        operands += run.n * (product.x.size + product.grad.size);
        gradients += program_.blocks[product.node].size;
    }
    return operands < 2 * gradients;
}

// Whether the rule adds a multiple of the gradient to the parameters, the same one to all: the products that
// make it can do that.
template <class T>
bool Sweep<T>::adds_gradients(const Optimizer<T>& optimizer) {
    const UpdateOptions& options = optimizer.options;
    return optimizer.groups.empty() && options.rule == UpdateRule::sgd && options.momentum == 0 &&
           options.weight_decay == 0 && options.clip_value == 0;
}

// Whether all gradients that are still to be made are sure to be finite, and so are their multiples that
// plain gradient descent adds: |sum_i x_i g_i| <= n max|x| max|g|, over the rows i of inputs and of gradients
// to the output.
template <class T>
bool Sweep<T>::products_are_finite(const Run<T>& run, const UpdateOptions& options) const {
    constexpr double kMost = static_cast<double>(std::numeric_limits<T>::max()) / 8;
    const auto operands = static_cast<index_t>(2 * program_.deferred.size());
    double elements = 0;
    for (const auto& product : program_.deferred)
        elements += static_cast<double>(run.n * (product.x.size + product.grad.size));
    Scratch<T> memory(operands);
    T* largest = memory.data();
    parallel_for(operands, threads_for(elements), [&](index_t i) {
        const auto& product = program_.deferred[static_cast<std::size_t>(i / 2)];
        largest[i] = largest_of_rows(run, i % 2 ? product.grad : product.x);
    });
    const double most_factor = std::max(1.0, std::abs(options.lr));
    bool finite = true;
    for (std::size_t i = 0; i < program_.deferred.size(); ++i) {
        const double x = static_cast<double>(largest[2 * i]), grad = static_cast<double>(largest[2 * i + 1]);
        const auto rows = static_cast<double>(run.n * program_.deferred[i].x.size);  // or fewer
        finite &= rows * (x + 1) * grad * most_factor < kMost;  // the 1 is the bias's input
    }
    return finite;
}

template <class T>
T Sweep<T>::largest_of_rows(const Run<T>& run, const Place& place) const {
    const Rows<T> rows = rows_at(run, place);
    if (!rows.offsets) return largest_magnitude(run.n * place.size, rows.data);
    T largest = 0;
    for (index_t i = 0; i < run.n; ++i) {
        const T magnitude = largest_magnitude(place.size, rows.row(i, place.size));
        if (!(magnitude <= largest)) largest = magnitude;
        if (!std::isfinite(largest)) break;
    }
    return largest;
}

template class Sweep<float>;
template class Sweep<double>;

}  // namespace ranvier
