// Compiling a graph to a program: ops, phases, and the places of all buffers.
#include "program.h"

#include <algorithm>
#include <map>

#include "passes/plan_memory.h"
#include "passes/segments.h"
#include "ranvier/memory.h"
#include "ranvier/sizes.h"

namespace ranvier {
namespace {

// Weights of a linear layer from so many on meet the whole batch at once: micro-batch by micro-batch they
// would come from memory each time.
constexpr index_t kLargeWeight = 128 << 10;

bool is_large_product(const Node& node) {
    const auto* linear = std::get_if<LinearSpec>(&node.operation);
    return linear && linear->in_features * linear->out_features >= kLargeWeight;
}

// A buffer while it is not placed: what a sample takes, and where it is written and read.
struct Item {
    index_t size = 0;
    bool whole = false;  // has to stay for the whole batch
    int first_phase = -1, last_phase = -1;
    int first_step = 0, last_step = 0;  // if in one phase
    std::vector<int> phases = {};       // in which it is used
    Place place = {};
};

// A step whose buffers are items (-1: none).
struct Draft {
    Action action;
    std::size_t node;
    int grad = -1, result = -1;
    std::vector<int> grad_x = {}, addend = {};
    bool makes_weights = false;
};

template <class T>
class Compiler {
public:
    explicit Compiler(Program<T>& program) : p_(program), graph_(program.graph) {}

    void compile() {
        find_segments();
        make_items();
        draft_forward();
        if (p_.options.purpose == Purpose::gradients) draft_backward();
        note_uses();
        recompute_outputs();
        place_items();
        for (std::size_t phase = 0; phase < drafts_.size(); ++phase) finish_phase(phase);
        finish();
    }

private:
    const Op<T>& op(std::size_t node) const { return *p_.ops[node]; }
    const Traits& traits(std::size_t node) const { return op(node).traits; }
    // Those of a node whose parameters are frozen are not made.
    WeightGradient weights(std::size_t node) const {
        return p_.blocks[node].trained.empty() ? WeightGradient::none : traits(node).weights;
    }
    bool trains(std::size_t node) const {
        return traits(node).trains && weights(node) == traits(node).weights;
    }
    const Node& node(std::size_t i) const { return graph_.nodes[i]; }
    bool has_activation(std::size_t i) const { return node(i).activation.kind != Activation::identity; }

    void find_segments() {
        std::vector<Sampling> sampling;
        for (std::size_t i = 0; i < graph_.nodes.size(); ++i)
            sampling.push_back(traits(i).whole_batch || is_large_product(node(i)) ? Sampling::whole
                               : traits(i).reduces                                ? Sampling::reducing
                                                                                  : Sampling::independent);
        segments_ = segments_of(graph_, sampling);
        if (p_.options.observed)
            for (std::size_t i = 0; i < segments_.size(); ++i) segments_[i] = static_cast<int>(4 * i + 3);
    }
    // The segment in which a value is computed.
    int segment_of_value(int value) const {
        const int producer = graph_.producer(value);
        return producer < 0 ? 0 : segments_[static_cast<std::size_t>(producer)];
    }
    // That in which the sums of a reducing node's input are taken, and the gradient to its input is made.
    int segment_of_sums(std::size_t i) const {
        return p_.options.observed ? segments_[i] - 2 : segment_of_value(node(i).inputs[0].value);
    }

    // All buffers together can be addressed, wherever they are placed.
    int add_item(index_t size) {
        total_ = checked_sum(total_, round_up(size, kCacheLine<T>), "the layers' outputs");
        items_.push_back({});
        items_.back().size = size;
        return static_cast<int>(items_.size()) - 1;
    }
    void make_items() {
        for (const Shape& shape : graph_.values) value_items_.push_back(add_item(element_count(shape)));
        for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
            saved_items_.push_back(item_for_backward(traits(i).saved));
            left_items_.push_back(item_for_backward(traits(i).left));
        }
    }

    int item_for_backward(index_t size) {
        return size > 0 && p_.options.purpose == Purpose::gradients ? add_item(size) : -1;
    }

    // --- phases and their steps ----------------------------------------------------------------------------

    int add_phase(bool whole) {
        drafts_.emplace_back();
        p_.phases.emplace_back().whole = whole;
        return static_cast<int>(drafts_.size()) - 1;
    }

    void draft_forward() {
        std::map<int, std::vector<Draft>> by_segment;
        std::map<int, std::vector<std::size_t>> combined;
        for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
            if (traits(i).reduces) {
                by_segment[segment_of_sums(i)].push_back({Action::reduce, i});
                combined[segment_of_sums(i)].push_back(i);
            }
            by_segment[segments_[i]].push_back({Action::forward, i});
        }
        for (auto& [segment, steps] : by_segment) {
            const int phase = add_phase(takes_whole_batch(segment));
            drafts_[static_cast<std::size_t>(phase)] = std::move(steps);
            for (std::size_t i : combined[segment])
                p_.phases.back().combined.emplace_back(i, Direction::forward);
        }
        p_.first_backward = p_.phases.size();
    }
    void draft_backward() {
        find_needed_gradients();
        gradient_items_.assign(graph_.values.size(), -1);
        const int output = graph_.outputs[0].value;
        output_gradient_ = gradient_items_[static_cast<std::size_t>(output)] =
            add_item(element_count(graph_.values[static_cast<std::size_t>(output)]));
        draft_loss();
        std::map<int, std::vector<std::pair<std::size_t, bool>>, std::greater<>>
            by_segment;  // node, is it the sums
        for (std::size_t i = graph_.nodes.size(); i-- > 0;) {
            if (!goes_back(i)) continue;
            if (!traits(i).reduces) {
                by_segment[segments_[i]].emplace_back(i, false);
                continue;
            }
            by_segment[segments_[i]].emplace_back(i, true);
            if (needs_gradient(node(i).inputs[0].value))
                by_segment[segment_of_sums(i)].emplace_back(i, false);
        }
        bool first = true;
        for (const auto& [segment, nodes] : by_segment) {
            phase_ = begin_backward_phase(segment, first);
            first = false;
            for (const auto& [i, is_sums] : nodes) is_sums ? draft_reduction(i) : draft_node(i);
        }
        if (p_.options.input_gradient) {
            const int item = gradient_items_[static_cast<std::size_t>(graph_.inputs[0])];
            if (item >= 0) drafts_.back().push_back({Action::copy_gradient, 0, item});
        }
    }

    // The loss goes with the last segment forward and the first one back, if samples can.
    void draft_loss() {
        const bool fused = p_.options.fused_loss && !p_.phases.back().whole &&
                           segment_of_value(graph_.outputs[0].value) == last_segment();
        if (!fused) add_phase(true);
        drafts_.back().push_back({Action::loss, 0, output_gradient_});
        p_.first_backward = p_.phases.size();
        fuses_ = fused;
    }
    int last_segment() const { return *std::max_element(segments_.begin(), segments_.end()); }
    int begin_backward_phase(int segment, bool first) {
        if (first && fuses_ && segment == last_segment()) return static_cast<int>(drafts_.size()) - 1;
        return add_phase(takes_whole_batch(segment));
    }

    void find_needed_gradients() {
        needs_gradient_.assign(graph_.values.size(), false);
        trains_before_ = needs_gradient_;
        if (p_.options.input_gradient) needs_gradient_[static_cast<std::size_t>(graph_.inputs[0])] = true;
        for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
            const auto output = static_cast<std::size_t>(node(i).output);
            needs_gradient_[output] = goes_back(i);
            trains_before_[output] = goes_back_for_parameters(i);
        }
    }
    bool needs_gradient(int value) const { return needs_gradient_[static_cast<std::size_t>(value)]; }
    bool goes_back(std::size_t i) const { return trains(i) || reads_one_of(i, needs_gradient_); }
    bool goes_back_for_parameters(std::size_t i) const {
        return trains(i) || reads_one_of(i, trains_before_);
    }
    bool reads_one_of(std::size_t i, const std::vector<bool>& values) const {
        const auto& inputs = node(i).inputs;
        return std::any_of(inputs.begin(), inputs.end(), [&](const Operand& input) {
            return values[static_cast<std::size_t>(input.value)];
        });
    }

    std::vector<Draft>& drafts() { return drafts_[static_cast<std::size_t>(phase_)]; }

    // The gradient to what the node computes before its activation.
    int gradient_before_activation(std::size_t i) {
        const int grad = gradient_items_[static_cast<std::size_t>(node(i).output)];
        if (!has_activation(i)) return grad;
        const int result = add_item(items_[static_cast<std::size_t>(grad)].size);
        drafts().push_back({Action::activation_gradient, i, grad, result});
        return result;
    }

    // An output that nobody reads has no gradient.
    bool has_gradient(std::size_t i) const {
        return gradient_items_[static_cast<std::size_t>(node(i).output)] >= 0;
    }

    void draft_reduction(std::size_t i) {
        if (!has_gradient(i)) return;
        const int grad = gradient_items_[static_cast<std::size_t>(node(i).output)];
        const int result = has_activation(i) ? add_item(items_[static_cast<std::size_t>(grad)].size) : -1;
        before_activation_[i] = has_activation(i) ? result : grad;
        p_.blocks[i].phase = static_cast<std::size_t>(phase_);
        drafts().push_back({Action::reduce_gradient, i, grad, result});
        p_.phases[static_cast<std::size_t>(phase_)].combined.emplace_back(i, Direction::backward);
    }

    void draft_node(std::size_t i) {
        if (!has_gradient(i)) return;
        const int grad = traits(i).reduces ? before_activation_[i] : gradient_before_activation(i);
        Draft step = {Action::backward, i, grad};
        bool writes = false;
        for (const Operand& input : node(i).inputs) {
            int to = -1, addend = -1;
            int& held = gradient_items_[static_cast<std::size_t>(input.value)];
            if (needs_gradient(input.value)) {
                if (std::holds_alternative<AddSpec>(node(i).operation) && held < 0) {
                    held = grad;  // a sum's gradient is that of each addend
                } else {
                    addend = held;
                    held = to = add_item(
                        items_[static_cast<std::size_t>(value_items_[static_cast<std::size_t>(input.value)])]
                            .size);
                    writes = true;
                }
            }
            step.grad_x.push_back(to);
            step.addend.push_back(addend);
        }
        const bool at_once = weights(i) == WeightGradient::at_once;
        const bool partial = weights(i) == WeightGradient::partial_sums;
        step.makes_weights = partial || (at_once && p_.options.observed);
        if (at_once && !p_.options.observed) deferred_.push_back({i, grad});
        if (at_once || partial) p_.blocks[i].phase = static_cast<std::size_t>(phase_);
        if (writes || step.makes_weights || traits(i).whole_batch) drafts().push_back(std::move(step));
    }

    // --- outputs that are computed again -------------------------------------------------------------------

    // An output that is read in one phase forward and in one phase back need not stay in memory in between,
    // if it is made of what that phase reads anyway.
    void recompute_outputs() {
        for (std::size_t i = 0; i < graph_.nodes.size(); ++i)
            if (const int phase = phase_to_recompute(i); phase >= 0) recompute(i, phase);
        if (recomputed_.empty()) return;
        for (Item& item : items_) item = Item{item.size};
        note_uses();
    }

    // -1 if the output stays.
    int phase_to_recompute(std::size_t i) const {
        const int y = node(i).output;
        if (!traits(i).recomputable || graph_.is_output(y) || is_deferred(y)) return -1;
        const std::vector<int>& phases = value_item(y).phases;
        if (phases.size() != 2 || phases[1] < static_cast<int>(p_.first_backward)) return -1;
        const std::vector<int>& of_input = value_item(node(i).inputs[0].value).phases;
        const bool has_input = std::count(of_input.begin(), of_input.end(), phases[1]) > 0;
        const bool whole = std::any_of(phases.begin(), phases.end(), [&](int phase) {
            return p_.phases[static_cast<std::size_t>(phase)].whole;
        });
        return has_input && !whole ? phases[1] : -1;
    }
    bool is_deferred(int value) const {
        return std::any_of(deferred_.begin(), deferred_.end(),
                           [&](const auto& each) { return node(each.first).inputs[0].value == value; });
    }

    void recompute(std::size_t i, int phase) {
        const int y = node(i).output;
        recomputed_[{y, phase}] = add_item(value_item(y).size);
        std::vector<Draft>& steps = drafts_[static_cast<std::size_t>(phase)];
        const auto reads = [&](const Draft& step) {
            const auto& inputs = node(step.node).inputs;
            return step.node == i || std::any_of(inputs.begin(), inputs.end(),
                                                 [&](const Operand& input) { return input.value == y; });
        };
        steps.insert(std::find_if(steps.begin(), steps.end(), reads), {Action::forward, i});
    }

    // Of a value in a phase.
    int item_of(int value, int phase) const {
        const auto found = recomputed_.find({value, phase});
        return found == recomputed_.end() ? value_items_[static_cast<std::size_t>(value)] : found->second;
    }

    // --- buffers -------------------------------------------------------------------------------------------

    void use(int item, int phase, int step) {
        if (item < 0) return;
        Item& it = items_[static_cast<std::size_t>(item)];
        if (it.first_phase < 0) {
            it.first_phase = phase;
            it.first_step = step;
        }
        if (it.last_phase != phase) it.phases.push_back(phase);
        it.last_phase = phase;
        it.last_step = step;
        if (p_.phases[static_cast<std::size_t>(phase)].whole) it.whole = true;
    }

    void use_inputs(std::size_t i, int phase, int step) {
        for (const Operand& input : node(i).inputs) use(item_of(input.value, phase), phase, step);
    }

    bool reads_output(std::size_t i) const { return traits(i).reads_output; }

    void note_uses() {
        for (std::size_t phase = 0; phase < drafts_.size(); ++phase) note_uses(static_cast<int>(phase));
    }
    void note_uses(int phase) {
        const auto& steps = drafts_[static_cast<std::size_t>(phase)];
        for (std::size_t k = 0; k < steps.size(); ++k) {
            const Draft& step = steps[k];
            const int at = static_cast<int>(k);
            const std::size_t i = step.node;
            const int y = graph_.nodes.empty() ? -1 : item_of(node(i).output, phase);
            use(step.grad, phase, at);
            use(step.result, phase, at);
            for (int item : step.grad_x) use(item, phase, at);
            for (int item : step.addend) use(item, phase, at);
            switch (step.action) {
                case Action::forward:
                    use_inputs(i, phase, at);
                    use(y, phase, at);
                    use(saved_items_[i], phase, at);
                    break;
                case Action::reduce:
                    use_inputs(i, phase, at);
                    break;
                case Action::reduce_gradient:
                    use_inputs(i, phase, at);
                    if (has_activation(i)) use(y, phase, at);
                    break;
                case Action::activation_gradient:
                    use(y, phase, at);
                    break;
                case Action::backward:
                    if (traits(i).reads_input) use_inputs(i, phase, at);
                    if (reads_output(i)) use(y, phase, at);
                    use(saved_items_[i], phase, at);
                    use(left_items_[i], phase, at);
                    break;
                case Action::loss:
                    use(item_of(graph_.outputs[0].value, phase), phase, at);
                    break;
                case Action::copy_gradient:
                    break;
            }
        }
    }

    void place_items() {
        const int end = static_cast<int>(drafts_.size());
        for (const auto& [i, grad] : deferred_) {
            const int x = value_items_[static_cast<std::size_t>(node(i).inputs[0].value)];
            for (int item : {x, grad}) {
                items_[static_cast<std::size_t>(item)].whole = true;
                items_[static_cast<std::size_t>(item)].last_phase = end;
            }
        }
        for (std::size_t k = 0; k < graph_.inputs.size(); ++k)
            value_item(graph_.inputs[k]).place = {Memory::input, static_cast<index_t>(k),
                                                  value_item(graph_.inputs[k]).size};
        for (std::size_t k = 0; k < graph_.outputs.size(); ++k) place_output(k);
        // A gradient that the caller gives is written before any phase, and stays for a further backward
        // pass.
        if (output_gradient_ >= 0 && !p_.options.fused_loss) {
            Item& item = items_[static_cast<std::size_t>(output_gradient_)];
            item.whole = true;
            item.first_phase = 0;
        }
        place_batch();
        for (int phase = 0; phase < end; ++phase) place_local(phase);
    }
    Item& value_item(int value) {
        return items_[static_cast<std::size_t>(value_items_[static_cast<std::size_t>(value)])];
    }
    const Item& value_item(int value) const {
        return items_[static_cast<std::size_t>(value_items_[static_cast<std::size_t>(value)])];
    }

    void place_output(std::size_t k) {
        Item& item = value_item(graph_.outputs[k].value);
        if (p_.options.purpose != Purpose::gradients) {
            if (!item.place) item.place = {Memory::output, static_cast<index_t>(k), item.size};
        } else if (!p_.options.fused_loss) {
            item.whole = true;  // the caller reads it
            item.last_phase = static_cast<int>(drafts_.size());
        }
    }

    static bool is_local(const Item& item) { return !item.whole && item.first_phase == item.last_phase; }

    void place_batch() {
        std::vector<Lifetime> lives;
        std::vector<Item*> which;
        for (Item& item : items_) {
            if (item.place || item.first_phase < 0 || is_local(item)) continue;
            lives.push_back({item.size, item.first_phase, item.last_phase});
            which.push_back(&item);
        }
        const MemoryPlan plan = plan_memory(lives, kCacheLine<T>);
        for (std::size_t k = 0; k < which.size(); ++k)
            which[k]->place = {Memory::batch, plan.offsets[k], which[k]->size};
        p_.batch_size = plan.size;
    }

    void place_local(int phase) {
        std::vector<Lifetime> lives;
        std::vector<Item*> which;
        for (Item& item : items_) {
            if (item.place || item.first_phase != phase || !is_local(item)) continue;
            lives.push_back({item.size, item.first_step, item.last_step});
            which.push_back(&item);
        }
        const MemoryPlan plan = plan_memory(lives, kCacheLine<T>);
        for (std::size_t k = 0; k < which.size(); ++k)
            which[k]->place = {Memory::local, plan.offsets[k], which[k]->size};
        p_.phases[static_cast<std::size_t>(phase)].local_size = plan.size;
    }

    Place place(int item) const { return item < 0 ? Place{} : items_[static_cast<std::size_t>(item)].place; }
    std::vector<Place> places(const std::vector<int>& items) const {
        std::vector<Place> all;
        for (int item : items) all.push_back(place(item));
        return all;
    }

    // --- what the executor reads ---------------------------------------------------------------------------

    void finish_phase(std::size_t number) {
        Phase& phase = p_.phases[number];
        phase.bounded = !phase.combined.empty();
        double products = 0, elements = 0;
        for (const Draft& draft : drafts_[number]) {
            phase.steps.push_back(finished(draft, static_cast<int>(number)));
            const Step& step = phase.steps.back();
            products += product_work(step);
            elements += static_cast<double>(step.y.size + step.grad.size);
            phase.bounded |= step.makes_weights;
            if (step.action == Action::forward || step.action == Action::backward)
                phase.fewest_samples = std::max(phase.fewest_samples, traits(step.node).fewest_samples);
        }
        // Small nodes do not count beside products, so that the groups stay the same however these nodes are
        // fused.
        phase.work = products > 0 ? products : elements;
        phase.touched_size = phase.local_size;
        for (const Item& item : items_)
            if (item.place.memory != Memory::local &&
                std::count(item.phases.begin(), item.phases.end(), static_cast<int>(number)) > 0)
                phase.touched_size += item.size;
    }

    Step finished(const Draft& draft, int phase) const {
        Step step{draft.action,
                  draft.node,
                  {},
                  {},
                  {},
                  {},
                  place(draft.grad),
                  place(draft.result),
                  places(draft.grad_x),
                  places(draft.addend),
                  draft.makes_weights};
        if (draft.action == Action::copy_gradient) step.for_input = true;
        if (draft.action == Action::activation_gradient || draft.action == Action::reduce_gradient ||
            draft.action == Action::backward)
            mark_for_input(step);
        if (draft.action == Action::loss) {
            step.y = place(item_of(graph_.outputs[0].value, phase));
        } else if (draft.action != Action::copy_gradient) {
            for (const Operand& input : node(draft.node).inputs)
                step.x.push_back(place(item_of(input.value, phase)));
            step.y = place(item_of(node(draft.node).output, phase));
            step.saved = place(saved_items_[draft.node]);
            step.left = place(left_items_[draft.node]);
        }
        return step;
    }

    void mark_for_input(Step& step) const {
        step.for_input = !goes_back_for_parameters(step.node);
        if (step.action != Action::backward) return;
        for (const Operand& input : node(step.node).inputs)
            step.grad_x_for_input.push_back(!trains_before_[static_cast<std::size_t>(input.value)]);
    }

    double product_work(const Step& step) const {
        const double product = traits(step.node).flops / kFlopsPerWork;
        if (step.action == Action::forward) return product;
        return step.action == Action::backward ? product * (1.0 + step.makes_weights) : 0;
    }

    void finish() {
        for (const auto& [i, grad] : deferred_)
            p_.deferred.push_back(
                {i, place(value_items_[static_cast<std::size_t>(node(i).inputs[0].value)]), place(grad)});
        for (const Operand& output : graph_.outputs)
            p_.outputs.push_back(place(value_items_[static_cast<std::size_t>(output.value)]));
        p_.output_gradient = place(output_gradient_);
        for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
            const bool partial = weights(i) == WeightGradient::partial_sums && !traits(i).whole_batch;
            if (p_.options.purpose != Purpose::gradients || !partial) continue;
            p_.blocks[i].partial_offset = p_.partial_size;
            p_.partial_size = checked_sum(
                p_.partial_size, checked_product({kMostGroups, p_.blocks[i].size}, "gradients"), "gradients");
        }
    }

    Program<T>& p_;
    const Graph& graph_;
    std::vector<int> segments_;  // of nodes
    std::vector<Item> items_;
    index_t total_ = 0;  // their size
    std::vector<int> value_items_, saved_items_, left_items_, gradient_items_;
    std::map<std::pair<int, int>, int> recomputed_;  // items of values that a phase back computes again
    std::vector<bool> needs_gradient_;               // of values
    std::vector<bool> trains_before_;         // of values: whether a parameter is among what they come from
    std::vector<std::vector<Draft>> drafts_;  // of each phase
    std::vector<std::pair<std::size_t, int>> deferred_;
    std::map<std::size_t, int> before_activation_;
    int output_gradient_ = -1;
    int phase_ = 0;
    bool fuses_ = false;
};

// The parameters of a node: those of its path, and with its ending, that are trained. They lie side by side.
template <class T>
ParameterBlock block_of(const Node& node, const Parameters<T>& parameters) {
    ParameterBlock block;
    const std::string prefix = node.path + ".";
    for (const ParameterEntry& entry : parameters.entries()) {
        if (!entry.trained || !entry.name.starts_with(prefix) ||
            entry.name.find('.', prefix.size()) != std::string::npos ||
            !entry.name.ends_with(node.parameters))
            continue;
        if (block.size == 0) block.offset = entry.offset;
        const index_t begin = entry.offset - block.offset;
        block.size = round_up(begin + entry.extent, kCacheLine<float>);
        if (entry.frozen) continue;
        if (!block.trained.empty() && block.trained.back().second == begin)
            block.trained.back().second = block.size;
        else
            block.trained.emplace_back(begin, block.size);
    }
    return block;
}

// Frozen statistics: they stay, and a batch is normalized by them.
template <class T>
bool keeps_statistics(const Node& node, const Parameters<T>& parameters) {
    const ParameterEntry* mean = parameters.find(node.path, "running_mean");
    return mean && mean->frozen;
}

}  // namespace

template <class T>
Program<T>::Program(const Graph& lowered, Parameters<T>& parameters, const ProgramOptions& given)
    : options(given), graph(lowered) {
    optimize(graph, options.purpose);
    for (const Node& node : graph.nodes) {
        const Shape& output = graph.values[static_cast<std::size_t>(node.output)];
        const bool training = options.training && !keeps_statistics(node, parameters);
        ops.push_back(
            make_op<T>(OpSite<T>{node, output, parameters, training, options.purpose == Purpose::gradients}));
        infos.push_back({node.path, node.name, node.parameters, ops.back()->traits.flops});
        blocks.push_back(ops.back()->traits.weights == WeightGradient::none ? ParameterBlock{}
                                                                            : block_of(node, parameters));
    }
    Compiler<T>(*this).compile();
}

template <class T>
bool Program<T>::reads_rows_apart() const {
    const std::vector<int> readers = graph.consumers(graph.inputs[0]);
    // Large products pack their operands, which takes the place of gathering.
    return !readers.empty() && std::all_of(readers.begin(), readers.end(), [&](int i) {
        const auto node = static_cast<std::size_t>(i);
        return ops[node]->traits.reads_rows_apart && !is_large_product(graph.nodes[node]);
    });
}

template struct Program<float>;
template struct Program<double>;

}  // namespace ranvier
