// The Plan: layers compiled for a sample shape, the buffers between them, and the loops over batches.
#include "ranvier/plan.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "../platform/denormals.h"
#include "layer.h"
#include "ranvier/threads.h"

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

}  // namespace

template <class T>
struct Plan<T>::State {
    struct Stage {
        std::unique_ptr<Layer<T>> layer;
        index_t size;  // of a sample of its output
        T* output;
        const T* y;  // of this pass: output, or the input if the layer passes it through
    };

    std::shared_ptr<Parameters<T>> parameters;
    Shape input_shape, output_shape;
    std::vector<Shape> shapes;
    index_t capacity, input_size, output_size;
    std::vector<Stage> stages;
    Buffer<T> activations;
    Buffer<T> gradients[2];  // of the outputs of two neighbouring stages, in turn
    Buffer<T> batch_x, batch_dense;
    Buffer<std::int64_t> batch_labels;
    Pass pass;
    const T* x = nullptr;  // of the last forward

    State(std::shared_ptr<Parameters<T>> given, const Shape& sample_shape, index_t batch_capacity,
          std::uint64_t seed)
        : parameters(std::move(given)), input_shape(sample_shape), capacity(batch_capacity) {
        if (capacity < 1)
            throw std::invalid_argument("capacity: expected at least 1 sample, got " +
                                        std::to_string(capacity));
        pass.seed = seed;
        input_size = element_count(input_shape);
        compile();
        output_shape = shapes.empty() ? input_shape : shapes.back();
        output_size = element_count(output_shape);
        allocate();
    }

    void compile() {
        const std::vector<LayerSpec>& layers = parameters->layers();
        Shape shape = input_shape;
        for (std::size_t i = 0; i < layers.size(); ++i) {
            const FusedActivation<T> fused = fusable_after(i);
            Shape output;
            auto layer = compile_layer<T>(layers[i], Site<T>{*parameters, i, shape, capacity}, fused, output);
            if (layer) stages.push_back({std::move(layer), element_count(output), nullptr, nullptr});
            shapes.push_back(output);
            if (fused.kind != Activation::identity) {
                shapes.push_back(output);
                ++i;
            }
            shape = output;
        }
    }

    // The activation that follows layer i, if i is a product and the derivative is a function of the output.
    FusedActivation<T> fusable_after(std::size_t i) const {
        const std::vector<LayerSpec>& layers = parameters->layers();
        const bool product =
            std::holds_alternative<LinearSpec>(layers[i]) || std::holds_alternative<Conv2dSpec>(layers[i]);
        if (!product || i + 1 == layers.size()) return {};
        const auto* next = std::get_if<ActivationSpec>(&layers[i + 1]);
        if (!next || !activation_backward_reads_output(next->kind, next->parameter)) return {};
        return {next->kind, static_cast<T>(next->parameter)};
    }

    void allocate() {
        index_t total = 0, widest = output_size;
        const auto padded = [](index_t n) { return (n + 15) / 16 * 16; };
        for (const Stage& stage : stages) {
            total += padded(capacity * stage.size);
            widest = std::max(widest, stage.size);
        }
        activations = Buffer<T>(total);
        T* next = activations.data();
        for (Stage& stage : stages) {
            stage.output = next;
            next += padded(capacity * stage.size);
        }
        for (Buffer<T>& buffer : gradients) buffer = Buffer<T>(capacity * widest);
    }

    // What only training needs, at its first call.
    void prepare_batches(const Targets<T>& targets) {
        if (!batch_x.size()) batch_x = Buffer<T>(capacity * input_size);
        if (targets.dense && !batch_dense.size()) batch_dense = Buffer<T>(capacity * output_size);
        if (targets.labels && !batch_labels.size()) batch_labels = Buffer<std::int64_t>(capacity);
    }

    const T* forward(index_t n, const T* input, bool training) {
        pass.n = n;
        pass.training = training;
        pass.step += training;
        x = input;
        for (Stage& stage : stages) {
            if (stage.layer->passes_through(pass)) {
                stage.y = input;
            } else {
                stage.layer->forward(pass, input, stage.output);
                stage.y = stage.output;
            }
            input = stage.y;
        }
        return input;
    }

    // The buffer where the gradient of the network's output is expected.
    T* output_gradient() { return gradients[0].data(); }

    // From what output_gradient() holds.
    void backward(T* grad_x) {
        T* grad = gradients[0].data();
        T* other = gradients[1].data();
        for (std::size_t i = stages.size(); i-- > 0;) {
            Stage& stage = stages[i];
            if (stage.layer->passes_through(pass)) continue;
            const T* input = i ? stages[i - 1].y : x;
            stage.layer->backward(pass, input, stage.y, grad, i ? other : grad_x);
            if (i == 0) return;
            std::swap(grad, other);
        }
        if (grad_x) std::copy_n(grad, pass.n * input_size, grad_x);
    }

    LossSums compare(index_t n, const T* prediction, const Targets<T>& targets, Loss loss, T* grad) {
        const double divisor = loss_divisor(loss, n, output_size);
        if (targets.labels)
            return loss_with_labels<T>(loss, n, output_size, prediction, targets.labels, grad, divisor);
        return loss_with_targets<T>(loss, n, output_size, prediction, targets.dense, grad, divisor);
    }

    LossSums gradients_of(index_t n, const T* input, const Targets<T>& targets, Loss loss) {
        const T* prediction = forward(n, input, true);
        const LossSums sums = compare(n, prediction, targets, loss, output_gradient());
        backward(nullptr);
        return sums;
    }

    Targets<T> gather_targets(const Targets<T>& all, const std::int64_t* order, index_t n) {
        if (all.labels) return {nullptr, gather(all.labels, index_t{1}, order, n, batch_labels.data())};
        return {gather(all.dense, output_size, order, n, batch_dense.data()), nullptr};
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
    return state_->output_shape;
}
template <class T>
const std::vector<Shape>& Plan<T>::shapes() const {
    return state_->shapes;
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
void Plan<T>::predict(index_t n, const T* x, T* y, const std::function<bool()>& proceed) {
    FlushDenormals flush;
    Ticker ticker;
    for (index_t i = 0; i < n; i += state_->capacity) {
        const index_t now = std::min(state_->capacity, n - i);
        const T* output = state_->forward(now, x + i * state_->input_size, false);
        std::copy_n(output, now * state_->output_size, y + i * state_->output_size);
        if (proceed && ticker.due() && !proceed()) return;
    }
}

template <class T>
const T* Plan<T>::forward(index_t n, const T* x, bool training) {
    FlushDenormals flush;
    return state_->forward(n, x, training);
}

template <class T>
void Plan<T>::backward(index_t n, const T* x, const T* grad, T* grad_x) {
    if (n != state_->pass.n)
        throw std::invalid_argument("grad: expected the " + std::to_string(state_->pass.n) +
                                    " samples of the last forward pass, got " + std::to_string(n));
    FlushDenormals flush;
    state_->x = x;
    std::copy_n(grad, n * state_->output_size, state_->output_gradient());
    state_->backward(grad_x);
}

template <class T>
LossSums Plan<T>::gradients(index_t n, const T* x, const Targets<T>& targets, Loss loss) {
    FlushDenormals flush;
    return state_->gradients_of(n, x, targets, loss);
}

template <class T>
LossSums Plan<T>::evaluate(index_t n, const T* x, const Targets<T>& targets, Loss loss,
                           const std::function<bool()>& proceed) {
    FlushDenormals flush;
    Ticker ticker;
    LossSums total;
    for (index_t i = 0; i < n; i += state_->capacity) {
        const index_t now = std::min(state_->capacity, n - i);
        const Targets<T> part = {targets.dense ? targets.dense + i * state_->output_size : nullptr,
                                 targets.labels ? targets.labels + i : nullptr};
        const T* prediction = state_->forward(now, x + i * state_->input_size, false);
        const LossSums sums = state_->compare(now, prediction, part, loss, nullptr);
        total.loss += sums.loss;
        total.hits += sums.hits;
        if (proceed && ticker.due() && !proceed()) break;
    }
    return total;
}

template <class T>
EpochSums Plan<T>::train_epoch(index_t n, const T* x, const Targets<T>& targets, const std::int64_t* order,
                               index_t batch_size, Loss loss, Optimizer<T>& optimizer,
                               const std::function<bool(const EpochSums&)>& report) {
    if (batch_size < 1 || batch_size > state_->capacity)
        throw std::invalid_argument("batch_size: expected 1 to " + std::to_string(state_->capacity) +
                                    ", got " + std::to_string(batch_size));
    FlushDenormals flush;
    Ticker ticker;
    state_->prepare_batches(targets);
    EpochSums total;
    while (total.samples < n) {
        const std::int64_t* batch = order + total.samples;
        const index_t now = std::min(batch_size, n - total.samples);
        const T* batch_x = gather(x, state_->input_size, batch, now, state_->batch_x.data());
        const LossSums sums =
            state_->gradients_of(now, batch_x, state_->gather_targets(targets, batch, now), loss);
        optimizer.step(*state_->parameters);
        total.loss += sums.loss;
        total.hits += sums.hits;
        total.samples += now;
        if (report && ticker.due() && !report(total)) break;
    }
    return total;
}

template class Plan<float>;
template class Plan<double>;

}  // namespace ranvier
