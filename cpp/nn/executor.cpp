// The walk through phases, groups, micro-batches and steps.
#include "executor.h"

#include <algorithm>

#include "ranvier/activation.h"
#include "ranvier/elementwise.h"
#include "ranvier/sizes.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

// What the buffers of a micro-batch may take of a second-level cache.
constexpr index_t kCacheBytes = 768 << 10;
// The least work of a group, and its fewest samples: with less, products of few rows and the meeting of
// threads cost more than is gained.
constexpr double kLeastWorkOfGroup = 30e3;

index_t samples_in_cache(const Phase& phase, std::size_t element_size) {
    return std::max(phase.fewest_samples, kCacheBytes / static_cast<index_t>(element_size) /
                                              std::max<index_t>(1, phase.touched_size));
}

template <class T>
class PhaseRun {
public:
    PhaseRun(const Program<T>& program, const Run<T>& run, const Phase& phase)
        : p_(program),
          run_(run),
          phase_(phase),
          groups_(phase.whole ? 1 : groups_of(phase, run.n, sizeof(T))) {}

    void take_steps() const {
        for (const Step& step : phase_.steps)
            if (!phase_.whole && step.action == Action::backward && step.grad_x[0])
                p_.ops[step.node]->prepare({Use::backward_data});
        if (groups_ == 1)
            run_group(0);
        else
            parallel_for(groups_, threads_for(phase_.work * static_cast<double>(run_.n)),
                         [&](index_t group) { run_group(group); });
    }

    void combine_sums() const {
        const MicroBatch whole = whole_batch(run_, groups_);
        for (const auto& [node, direction] : phase_.combined)
            p_.ops[node]->combine(whole, direction, gradients_of(node, direction));
    }

private:
    T* gradients_of(std::size_t node, Direction direction) const {
        const ParameterBlock& block = p_.blocks[node];
        const bool made = direction == Direction::backward && !block.trained.empty();
        return made ? run_.gradients + block.offset : nullptr;
    }

    MicroBatch part_of(index_t group, index_t first, index_t count) const {
        MicroBatch part = whole_batch(run_, groups_);
        part.first = first;
        part.position += first;
        part.count = count;
        part.group = group;
        return part;
    }

    void run_group(index_t group) const {
        const index_t begin = group * run_.n / groups_, end = (group + 1) * run_.n / groups_;
        const index_t most =
            phase_.whole ? run_.n : std::min(samples_in_cache(phase_, sizeof(T)), end - begin);
        const index_t parts = ceil_div(end - begin, std::max<index_t>(1, most));
        Scratch<T> arena(checked_product({most, phase_.local_size}, "the outputs of samples"));
        for (index_t k = 0; k < parts; ++k) {
            const index_t first = begin + k * (end - begin) / parts;
            MicroBatch part = part_of(group, first, begin + (k + 1) * (end - begin) / parts - first);
            part.begins_group = k == 0;
            for (const Step& step : phase_.steps)
                if (run_.input_gradient || !step.for_input) run_step(step, part, arena.data());
        }
    }

    // Where a micro-batch's part of a buffer is; nullptr if it is nowhere.
    T* at(const Place& place, const MicroBatch& part, T* arena) const {
        switch (place.memory) {
            case Memory::local:
                return arena + place.offset * part.count;
            case Memory::batch:
                return run_.batch + place.offset * run_.capacity + part.first * place.size;
            case Memory::output:
                return run_.outputs[place.offset] + part.first * place.size;
            default:
                return nullptr;
        }
    }
    Rows<T> rows(const Place& place, const MicroBatch& part, T* arena) const {
        if (place.memory == Memory::input) return run_.inputs[place.offset].from(part.first, place.size);
        return {at(place, part, arena), nullptr};
    }

    void run_step(const Step& step, const MicroBatch& part, T* arena) const {
        constexpr std::size_t kFew = 4;
        Rows<T> few[kFew];
        std::vector<Rows<T>> many(step.x.size() > kFew ? step.x.size() : 0);
        Rows<T>* x = many.empty() ? few : many.data();
        for (std::size_t i = 0; i < step.x.size(); ++i) x[i] = rows(step.x[i], part, arena);
        const Operands<T> operands = {x, at(step.y, part, arena), at(step.saved, part, arena),
                                      at(step.left, part, arena)};
        const T* grad = at(step.grad, part, arena);
        Op<T>& op = *p_.ops[step.node];
        switch (step.action) {
            case Action::forward:
                observed(step, Direction::forward, operands.y, step.y.size,
                         [&] { op.forward(part, operands); });
                break;
            case Action::reduce:
                op.reduce(part, x);
                break;
            case Action::loss:
                (*run_.loss)(part.first, part.count, operands.y, at(step.grad, part, arena));
                break;
            case Action::activation_gradient: {
                const ActivationSpec& f = p_.graph.nodes[step.node].activation;
                activation_backward_kept<T>(f.kind, part.count * step.grad.size, grad, operands.y,
                                            at(step.result, part, arena), static_cast<T>(f.parameter));
                break;
            }
            case Action::reduce_gradient:
                op.reduce_gradient(part, operands, grad, at(step.result, part, arena));
                break;
            case Action::backward:
                run_backward(step, part, operands, grad, arena);
                break;
            case Action::copy_gradient:
                std::copy_n(grad, part.count * step.grad.size,
                            run_.input_gradient + part.first * step.grad.size);
                break;
        }
    }

    void run_backward(const Step& step, const MicroBatch& part, const Operands<T>& operands, const T* grad,
                      T* arena) const {
        constexpr std::size_t kFew = 4;
        T* few[kFew];
        std::vector<T*> many(step.grad_x.size() > kFew ? step.grad_x.size() : 0);
        T** grad_x = many.empty() ? few : many.data();
        for (std::size_t i = 0; i < step.grad_x.size(); ++i)
            grad_x[i] =
                run_.input_gradient || !step.grad_x_for_input[i] ? at(step.grad_x[i], part, arena) : nullptr;
        observed(step, Direction::backward, grad_x[0], step.grad_x[0].size, [&] {
            Op<T>& op = *p_.ops[step.node];
            op.backward_data(part, operands, grad, grad_x);
            for (std::size_t i = 0; i < step.grad_x.size(); ++i)
                if (grad_x[i] && step.addend[i])
                    add<T>(part.count * step.grad_x[i].size, grad_x[i], at(step.addend[i], part, arena),
                           grad_x[i]);
            if (!step.makes_weights) return;
            if (op.traits.weights == WeightGradient::at_once) op.prepare({Use::weight_ranges, &part, grad});
            op.backward_weights(part, operands, grad, sink_of(step.node, part));
        });
    }

    // The gradient itself if there is one group; else the group's partial sums.
    Sink<T> sink_of(std::size_t node, const MicroBatch& part) const {
        const ParameterBlock& block = p_.blocks[node];
        Sink<T> sink;
        sink.to = part.groups == 1 ? run_.gradients + block.offset
                                   : run_.partial_sums + block.partial_offset + part.group * block.size;
        sink.accumulate = !part.begins_group;
        sink.end = block.size;
        return sink;
    }

    template <class Work>
    void observed(const Step& step, Direction direction, const T* values, index_t size, Work&& work) const {
        if (!run_.observer) return work();
        const NodeInfo& info = p_.infos[step.node];
        run_.observer->begin(info, direction);
        work();
        run_.observer->end(info, direction, values, run_.n, values ? size : 0);
    }

    const Program<T>& p_;
    const Run<T>& run_;
    const Phase& phase_;
    const index_t groups_;
};

}  // namespace

index_t groups_of(const Phase& phase, index_t n, std::size_t element_size) {
    const index_t in_cache = ceil_div(n, samples_in_cache(phase, element_size));
    const auto worthwhile = static_cast<index_t>(
        std::min(phase.work * static_cast<double>(n) / kLeastWorkOfGroup, static_cast<double>(kMostGroups)));
    const index_t wanted = phase.bounded ? worthwhile : std::max(worthwhile, in_cache);
    return std::clamp<index_t>(wanted, 1, std::max<index_t>(1, n / phase.fewest_samples));
}

template <class T>
void run_phases(const Program<T>& program, const Run<T>& run, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
        const PhaseRun<T> phase(program, run, program.phases[i]);
        phase.take_steps();
        phase.combine_sums();
    }
}

template <class T>
void take_steps(const Program<T>& program, const Run<T>& run, const Phase& phase) {
    PhaseRun<T>(program, run, phase).take_steps();
}
template <class T>
void combine_sums(const Program<T>& program, const Run<T>& run, const Phase& phase) {
    PhaseRun<T>(program, run, phase).combine_sums();
}

template <class T>
MicroBatch whole_batch(const Run<T>& run, index_t groups) {
    MicroBatch part;
    part.batch = part.count = run.n;
    part.groups = groups;
    part.seed = run.seed;
    part.step = run.step;
    part.position = run.position;
    return part;
}

template <class T>
Rows<T> rows_at(const Run<T>& run, const Place& place) {
    if (place.memory == Memory::input) return run.inputs[place.offset];
    return {run.batch + place.offset * run.capacity, nullptr};
}

#define RANVIER_INSTANTIATE(T)                                                            \
    template void run_phases(const Program<T>&, const Run<T>&, std::size_t, std::size_t); \
    template void take_steps(const Program<T>&, const Run<T>&, const Phase&);             \
    template void combine_sums(const Program<T>&, const Run<T>&, const Phase&);           \
    template MicroBatch whole_batch(const Run<T>&, index_t);                              \
    template Rows<T> rows_at(const Run<T>&, const Place&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
