// Layers one behind the other: compiling them, and the walk forward and back.
#include "sequence.h"

#include <algorithm>
#include <limits>

#include "ranvier/memory.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

// The maximum of what ReLU leaves is what ReLU leaves of the maximum: the pooling takes it over, for it has
// fewer elements.
bool is_relu_before_max_pooling(const std::vector<LayerSpec>& layers, std::size_t i) {
    if (i + 1 >= layers.size()) return false;
    const auto* activation = std::get_if<ActivationSpec>(&layers[i]);
    const auto* pool = std::get_if<Pool2dSpec>(&layers[i + 1]);
    return activation && activation->kind == Activation::relu && pool && pool->maximum;
}

// Does the work of a stage, and tells an observer before and after it; `values` are what it makes, of n
// samples.
template <class T, class Work>
void observed(const Pass<T>& pass, const StageInfo& info, Direction direction, const T* values, index_t n,
              index_t size, Work&& work) {
    if (pass.observer) pass.observer->begin(info, direction);
    work();
    if (pass.observer) pass.observer->end(info, direction, values, n, size);
}

}  // namespace

template <class T>
Sequence<T>::Sequence(const std::vector<LayerSpec>& layers, Compilation<T>& compilation,
                      const std::string& prefix, const Shape& input)
    : compilation_(compilation), capacity_(compilation.capacity), input_shape_(input) {
    compile(layers, prefix);
    for (Stage& stage : stages_) {
        stage.offset = kept_size_;
        kept_size_ += round_up(capacity_ * stage.size, kCacheLine<T>);
        widest_ = std::max(widest_, stage.size);
    }
    for (std::size_t i = 0; i + 1 < stages_.size(); ++i)
        stages_[i].forgotten = !stages_[i].layer->reads_output() && !stages_[i + 1].layer->reads_input() &&
                               (i == 0 || !stages_[i - 1].forgotten);
    while (untrained_ < stages_.size() && !stages_[untrained_].layer->trains()) ++untrained_;
    find_front();
    place_gradients();
}

// All layers, if all can; but if some sum portions, which have to be small, those before the first large
// product, for that is made for the whole batch. None, if a layer behind sums portions.
template <class T>
void Sequence<T>::find_front() {
    const auto sums = [](const Stage& stage) { return stage.layer->sums_portions(); };
    sums_portions_ = std::any_of(stages_.begin(), stages_.end(), sums);
    const auto end = std::find_if(stages_.begin(), stages_.end(), [&](const Stage& stage) {
        return !stage.layer->takes_portions() || (sums_portions_ && stage.layer->descends());
    });
    if (std::none_of(end, stages_.end(), sums) && (sums_portions_ || end == stages_.end()))
        front_end_ = static_cast<std::size_t>(end - stages_.begin());
}

// The gradients that finish() reads, and that to the first output behind the front.
template <class T>
void Sequence<T>::place_gradients() {
    for (std::size_t i = 0; i + 1 < stages_.size(); ++i) {
        if (!stages_[i].layer->descends() && i + 1 != front_end_) continue;
        stages_[i].gradient_offset = waiting_size_;
        waiting_size_ += round_up(capacity_ * stages_[i].size, kCacheLine<T>);
    }
}

template <class T>
void Sequence<T>::compile(const std::vector<LayerSpec>& layers, const std::string& prefix) {
    Shape shape = input_shape_;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const FusedActivation<T> fused = fusable_after(layers, i);
        Shape output;
        StageInfo info{prefix + std::to_string(i), layer_name(layers[i]), 0};
        const bool rectified = is_relu_before_max_pooling(layers, i);
        if (rectified) {
            info.name += " + " + layer_name(layers[++i]);
            shapes_.push_back(shape);
            ++compilation_.layers;
        }
        const std::string path = prefix + std::to_string(i);
        auto layer =
            compile_layer<T>(Site<T>{compilation_, path, layers[i], shape, rectified}, fused, output);
        ++compilation_.layers;
        shapes_.push_back(output);
        if (fused.kind != Activation::identity) {
            shapes_.push_back(output);
            ++compilation_.layers;
            info.name += " + " + layer_name(layers[++i]);
        }
        if (layer) {
            info.flops = layer->flops();
            stages_.push_back(
                {std::move(layer), std::move(info), element_count(output), 0, -1, nullptr, nullptr, false});
        }
        shape = output;
    }
}

// The activation that follows layer i, if i is a product and the derivative is a function of the output.
template <class T>
FusedActivation<T> Sequence<T>::fusable_after(const std::vector<LayerSpec>& layers, std::size_t i) const {
    const bool product =
        std::holds_alternative<LinearSpec>(layers[i]) || std::holds_alternative<Conv2dSpec>(layers[i]);
    if (!product || i + 1 == layers.size()) return {};
    const auto* next = std::get_if<ActivationSpec>(&layers[i + 1]);
    if (!next || !activation_backward_reads_output(next->kind, next->parameter)) return {};
    if (is_relu_before_max_pooling(layers, i + 1)) return {};
    return {next->kind, static_cast<T>(next->parameter)};
}

template <class T>
bool Sequence<T>::reads_scattered_rows(index_t batch) const {
    return !stages_.empty() && stages_.front().layer->reads_scattered_rows(batch);
}

template <class T>
double Sequence<T>::flops() const {
    double total = 0;
    for (const Stage& stage : stages_) total += stage.info.flops;
    return total;
}

// What this kind of pass needs, at the first of its kind.
template <class T>
void Sequence<T>::allocate(const Pass<T>& pass) {
    if (pass.kept && !kept_.size()) kept_ = Buffer<T>(kept_size_);
    if (pass.portions > 0 && !waiting_.size()) waiting_ = Buffer<T>(waiting_size_);
    if (!pass.kept && !passing_[0].size())
        for (Buffer<T>& buffer : passing_) buffer = Buffer<T>(capacity_ * widest_);
}

template <class T>
const T* Sequence<T>::prepare(const Pass<T>& pass, const LayerInput<T>& x) {
    allocate(pass);
    input_ = x;
    const T* y = x.values;
    int turn = 0;
    for (Stage& stage : stages_) {
        stage.layer->prepare(pass);
        if (stage.layer->passes_through(pass))
            stage.to = nullptr;
        else
            y = stage.to = pass.kept ? kept_.data() + stage.offset : passing_[turn ^= 1].data();
        stage.y = y;
    }
    return y;
}

template <class T>
const T* Sequence<T>::forward(const Pass<T>& pass, const LayerInput<T>& x) {
    const T* output = prepare(pass, x);
    run_forward(pass, 0, stages_.size());
    return output;
}

template <class T>
void Sequence<T>::run_forward(const Pass<T>& part, std::size_t first, std::size_t end) {
    // What the next layer alone reads stays in this thread's caches.
    const bool forgets = part.portions > 1;
    Scratch<T> memory(forgets ? part.n * widest_ : 0);
    LayerInput<T> x = input_of(first).from(part.first, input_size(first));
    for (std::size_t i = first; i < end; ++i) {
        if (!stages_[i].to) continue;
        const bool forgotten = forgets && stages_[i].forgotten && i + 1 < end;
        T* y = forgotten ? memory.data() : stages_[i].to + part.first * stages_[i].size;
        run_stage(part, i, x, y);
        x = {y, nullptr};
    }
}

template <class T>
void Sequence<T>::run_stage(const Pass<T>& part, std::size_t i, const LayerInput<T>& x, T* y) {
    Stage& stage = stages_[i];
    observed<T>(part, stage.info, Direction::forward, y, part.n, stage.size, [&] {
        if (x.offsets)
            stage.layer->forward(part, ScatteredRows<T>{x.values, x.offsets, part.n, input_size(i)}, y);
        else
            stage.layer->forward(part, x.values, y);
    });
}

template <class T>
void Sequence<T>::backward(const Pass<T>& pass, T* grad, T* grad_x) {
    if (!gradients_[0].size())
        for (Buffer<T>& buffer : gradients_) buffer = Buffer<T>(capacity_ * widest_);
    int turn = 0;
    const std::size_t last = grad_x ? 0 : untrained_;
    for (std::size_t i = stages_.size(); i-- > last;) {
        if (stages_[i].layer->passes_through(pass)) continue;
        if (i == 0) return backward_through_stage(pass, i, grad, grad_x);
        T* to = i > last ? gradients_[turn ^= 1].data() : nullptr;
        backward_through_stage(pass, i, grad, to);
        grad = to;
    }
    if (grad_x) std::copy_n(grad, pass.n * element_count(input_shape_), grad_x);
}

template <class T>
void Sequence<T>::backward_through_stage(const Pass<T>& pass, std::size_t i, T* grad, T* grad_x) {
    Stage& stage = stages_[i];
    const LayerInput<T> x = input_of(i);
    observed<T>(pass, stage.info, Direction::backward, grad_x, pass.n, grad_x ? input_size(i) : 0, [&] {
        if (x.offsets)
            stage.layer->backward(pass, ScatteredRows<T>{x.values, x.offsets, pass.n, input_size(i)}, stage.y,
                                  grad);
        else
            stage.layer->backward(pass, x.values, stage.y, grad, grad_x);
    });
}

template <class T>
bool Sequence<T>::trains() const {
    return std::any_of(stages_.begin(), stages_.end(), [](const Stage& s) { return s.layer->trains(); });
}

template <class T>
bool Sequence<T>::descends() const {
    return std::all_of(stages_.begin(), stages_.end(),
                       [](const Stage& s) { return s.layer->descends() || !s.layer->trains(); });
}

template <class T>
void Sequence<T>::begin_portions(const Pass<T>& pass, T* grad, int threads, int pieces) {
    output_gradient_ = grad;
    if (pass.rate == 0 || stages_.empty() || !stages_.front().to) return;
    Stage& stage = stages_.front();
    observed<T>(pass, stage.info, Direction::forward, nullptr, 0, 0, [&] {
        parallel_for(stage.layer->open(pass, pieces), threads,
                     [&](index_t task) { stage.layer->run_opening(pass, input_, task); });
    });
}

template <class T>
T* Sequence<T>::gradient_of(std::size_t i) {
    if (i + 1 == stages_.size()) return output_gradient_;
    const index_t offset = stages_[i].gradient_offset;
    return offset >= 0 ? waiting_.data() + offset : nullptr;
}

template <class T>
void Sequence<T>::run_backward(const Pass<T>& part, std::size_t first, std::size_t end) {
    Scratch<T> memory(2 * part.n * widest_);
    index_t turn = 0;
    const auto place_of = [&](std::size_t i) {
        T* const all = gradient_of(i);
        return all ? all + part.first * stages_[i].size : memory.data() + (turn ^= 1) * part.n * widest_;
    };
    T* grad = end > 0 ? place_of(end - 1) : nullptr;
    for (std::size_t i = end; i-- > std::max(first, untrained_);) {
        Stage& stage = stages_[i];
        T* const grad_x = i == untrained_ ? nullptr : place_of(i - 1);
        const T* const y = stage.y + part.first * stage.size;
        observed<T>(part, stage.info, Direction::backward, grad_x, part.n, grad_x ? input_size(i) : 0, [&] {
            if (!stage.to)
                std::copy_n(grad, part.n * stage.size, grad_x);  // the first trained stage always has a `to`
            else if (stage.layer->descends())
                stage.layer->backward_to_input(part, y, grad, grad_x);
            else
                stage.layer->backward(part, input_of(i).values + part.first * input_size(i), y, grad, grad_x);
        });
        grad = grad_x;
    }
}

template <class T>
void Sequence<T>::finish(const Pass<T>& pass, int threads, int pieces) {
    const auto trained = static_cast<index_t>(stages_.size() - untrained_);
    const auto finish = [&](index_t number, index_t piece) {
        const std::size_t i = untrained_ + static_cast<std::size_t>(number);
        stages_[i].layer->finish(pass, input_of(i), gradient_of(i), piece, pieces);
    };
    if (!pass.observer)
        return parallel_for(pieces * trained, threads,
                            [&](index_t task) { finish(task % trained, task / trained); });
    for (index_t number = 0; number < trained; ++number) {
        const StageInfo& info = stages_[untrained_ + static_cast<std::size_t>(number)].info;
        observed<T>(pass, info, Direction::backward, nullptr, pass.n, 0,
                    [&] { parallel_for(pieces, threads, [&](index_t piece) { finish(number, piece); }); });
    }
}

template <class T>
bool Sequence<T>::descent_is_finite(const Pass<T>& pass) const {
    constexpr double kLargest = static_cast<double>(std::numeric_limits<T>::max()) / 8;
    return std::all_of(stages_.begin(), stages_.end(),
                       [&](const Stage& s) { return s.layer->descent_bound(pass) < kLargest; });
}

template <class T>
void Sequence<T>::commit(const Pass<T>& pass) {
    for (Stage& stage : stages_) stage.layer->commit(pass);
}

template class Sequence<float>;
template class Sequence<double>;

}  // namespace ranvier
