// Prediction: the graph of evaluation, with live or with frozen weights.
#include "ranvier/predictor.h"

#include <algorithm>
#include <optional>

#include "../platform/denormals.h"
#include "bad_sample.h"
#include "batches.h"
#include "clock.h"
#include "executor.h"
#include "ranvier/sizes.h"

namespace ranvier {
namespace {

// Samples that are taken at a time: enough for many threads, few enough for outputs between segments to stay
// in a cache.
constexpr index_t kChunk = 512;

}  // namespace

template <class T>
struct Predictor<T>::State {
    std::shared_ptr<Parameters<T>> parameters;
    Shape input_shape;
    Lowered lowered;
    Weights weights;
    int threads;
    Program<T> program;
    index_t input_size, output_size;
    double work = 0;             // of a sample, in units of threads_for()
    double work_of_weights = 0;  // to read them once
    bool custom = false;         // calls layers of the program around the library

    State(std::shared_ptr<Parameters<T>> given, const Shape& sample_shape, Weights given_weights,
          int most_threads)
        : parameters(std::move(given)),
          input_shape(sample_shape),
          lowered(lower(parameters->layers(), sample_shape, false, parameters->wiring())),
          weights(given_weights),
          threads(most_threads),
          program(lowered.graph, *parameters, options_for(weights)),
          input_size(element_count(sample_shape)),
          output_size(element_count(lowered.graph.outputs[0].shape)) {
        for (const Phase& phase : program.phases) work += phase.work;
        for (const ParameterBlock& block : program.blocks)
            work_of_weights += static_cast<double>(block.size) / 6;  // as products count it
        for (const Node& node : program.graph.nodes)
            custom |= std::holds_alternative<CustomSpec>(node.operation);
    }

    static ProgramOptions options_for(Weights weights) {
        ProgramOptions options;
        options.purpose = weights == Weights::frozen ? Purpose::frozen_outputs : Purpose::live_outputs;
        options.training = false;
        return options;
    }

    void run_chunk(index_t n, const T* x, T* y) const {
        Scratch<T> memory(checked_product({n, program.batch_size}, "the outputs of samples"));
        Run<T> run;
        const Rows<T> input = {x, nullptr};
        run.inputs = &input;
        run.outputs = &y;
        run.n = run.capacity = n;
        run.batch = memory.data();
        run_phases(program, run, 0, program.phases.size());
    }

    // body(first, count, their numbers) for chunks of samples, until proceed() says no.
    template <class Body>
    void for_each_chunk(index_t n, const Samples<T>& x, const std::function<bool()>& proceed,
                        Body&& body) const {
        std::optional<Ticker> ticker;
        Scratch<T> memory(x.bytes ? checked_product({std::min(n, kChunk), input_size}, "samples") : 0);
        for (index_t first = 0; first < n; first += kChunk) {
            if (proceed && first > 0) {
                if (!ticker) ticker.emplace();
                if (ticker->due() && !proceed()) return;
            }
            const index_t count = std::min(kChunk, n - first);
            const T* numbers = x.values + first * input_size;
            if (x.bytes) {
                bytes_to_fractions<T>(count * input_size, x.bytes + first * input_size, memory.data());
                numbers = memory.data();
            }
            body(first, count, numbers);
        }
    }

    // In a team of threads, if there is work for it.
    template <class Body>
    void with_threads(index_t n, Body&& body) const {
        // The program around the library may have threads of its own at work in its layers.
        if (custom) return body();
        if (work * static_cast<double>(n) + work_of_weights < kWorkPerRegion) return parallel_region(1, body);
        parallel_region(threads > 0 ? threads : num_threads(), body);
    }
};

template <class T>
Predictor<T>::Predictor(std::shared_ptr<Parameters<T>> parameters, const Shape& sample_shape, Weights weights,
                        int threads)
    : state_(std::make_unique<State>(std::move(parameters), sample_shape, weights, threads)) {}

template <class T>
Predictor<T>::~Predictor() = default;

template <class T>
const Shape& Predictor<T>::input_shape() const {
    return state_->input_shape;
}
template <class T>
const Shape& Predictor<T>::output_shape() const {
    return state_->lowered.graph.outputs[0].shape;
}
template <class T>
const std::vector<Shape>& Predictor<T>::shapes() const {
    return state_->lowered.shapes;
}
template <class T>
double Predictor<T>::work_of_sample() const {
    return state_->work;
}
template <class T>
void Predictor<T>::prepare(index_t n) {
    const Use use = state_->weights == Weights::frozen ? Use::frozen_outputs : use_of_pass(n);
    for (const auto& op : state_->program.ops) op->prepare({use});
}

template <class T>
void Predictor<T>::predict(index_t n, const Samples<T>& x, T* y, const std::function<bool()>& proceed) const {
    const State& s = *state_;
    FlushDenormals flush;
    s.with_threads(n, [&] {
        s.for_each_chunk(n, x, proceed, [&](index_t first, index_t count, const T* numbers) {
            naming_bad_samples([&](index_t i) { return first + i; },
                               [&] { s.run_chunk(count, numbers, y + first * s.output_size); });
        });
    });
}

template <class T>
LossSums Predictor<T>::evaluate(index_t n, const Samples<T>& x, const Targets<T>& targets,
                                const LossSpec& loss, const std::function<bool()>& proceed,
                                const OutputRecord<T>& record) const {
    const State& s = *state_;
    FlushDenormals flush;
    LossSums total;
    s.with_threads(n, [&] {
        Scratch<T> outputs(checked_product({std::min(n, kChunk), s.output_size}, "the outputs of samples"));
        s.for_each_chunk(n, x, proceed, [&](index_t first, index_t count, const T* numbers) {
            naming_bad_samples([&](index_t i) { return first + i; },
                               [&] { s.run_chunk(count, numbers, outputs.data()); });
            const Targets<T> part = {targets.dense ? targets.dense + first * s.output_size : nullptr,
                                     targets.labels ? targets.labels + first : nullptr,
                                     targets.weights ? targets.weights + first : nullptr};
            const LossSums sums = loss_of_batch<T>(loss, count, s.output_size, outputs.data(), part, nullptr);
            if (record.predictions)
                std::copy_n(outputs.data(), count * s.output_size,
                            record.predictions + first * s.output_size);
            if (record.errors) add_errors(count, s.output_size, outputs.data(), part.dense, record.errors);
            total.loss += sums.loss;
            total.hits += sums.hits;
            total.weight += sums.weight;
        });
    });
    return total;
}

template class Predictor<float>;
template class Predictor<double>;

}  // namespace ranvier
