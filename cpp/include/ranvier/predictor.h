// Prediction: a network's outputs in evaluation mode, for samples of one shape.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "ranvier/trainer.h"

namespace ranvier {

// Weights that still change are read anew by each prepare(); frozen ones are folded, packed and transformed
// once, which takes memory of their size and makes each call faster.
enum class Weights { live, frozen };

// Outputs from parameters that somebody else may change between calls. After prepare(), any number of threads
// may call predict() and evaluate() at once: they change nothing.
template <class T>
class Predictor {
public:
    using Element = T;

    // Throws std::invalid_argument, naming the layer by position and kind, if a layer does not fit its input.
    // `threads` are those of a call at most; 0: num_threads() at the time.
    Predictor(std::shared_ptr<Parameters<T>> parameters, const Shape& sample_shape, Weights weights,
              int threads = 0);
    ~Predictor();
    Predictor(const Predictor&) = delete;
    Predictor& operator=(const Predictor&) = delete;

    const Shape& input_shape() const;
    const Shape& output_shape() const;
    const std::vector<Shape>& shapes() const;  // of a sample after each layer
    double work_of_sample() const;             // in units of threads_for()

    // Takes over the parameters as they are, for predictions of `n` samples or more: before the first
    // prediction, and whenever they have changed. Not while another call runs.
    void prepare(index_t n);

    // The outputs of any number of samples. A sample's bits do not depend on the others. `proceed` (may be
    // empty) is asked from time to time; if it returns false the rest is left undone.
    void predict(index_t n, const Samples<T>& x, T* y, const std::function<bool()>& proceed = {}) const;

    // The loss and hits of any number of samples, with their outputs and errors if `record` wants them.
    LossSums evaluate(index_t n, const Samples<T>& x, const Targets<T>& targets, const LossSpec& loss,
                      const std::function<bool()>& proceed = {}, const OutputRecord<T>& record = {}) const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace ranvier
