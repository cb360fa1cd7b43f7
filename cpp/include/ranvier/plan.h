// A network compiled for a sample shape and a batch capacity: it owns every buffer that a forward pass, a
// backward pass and an update need, and allocates nothing while it runs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "ranvier/array.h"
#include "ranvier/layers.h"
#include "ranvier/loss.h"
#include "ranvier/parameters.h"

namespace ranvier {

// What a batch is compared with: dense rows of the output's size, or one class number a sample.
template <class T>
struct Targets {
    const T* dense = nullptr;
    const std::int64_t* labels = nullptr;
};

struct EpochSums {
    double loss = 0;  // sum over the samples done, before any mean (see loss_divisor)
    index_t hits = 0;
    index_t samples = 0;  // done
};

template <class T>
class Plan {
public:
    // Throws std::invalid_argument, naming the layer by position and kind, if a layer does not fit its input.
    // The seed is that of the random layers (dropout, rrelu).
    Plan(std::shared_ptr<Parameters<T>> parameters, const Shape& sample_shape, index_t capacity,
         std::uint64_t seed);
    ~Plan();
    Plan(const Plan&) = delete;
    Plan& operator=(const Plan&) = delete;

    const Shape& input_shape() const;
    const Shape& output_shape() const;
    const std::vector<Shape>& shapes() const;  // of a sample after each layer
    index_t capacity() const;
    Parameters<T>& parameters() const;
    // Training passes so far, which number the masks of the random layers; settable, so that a Plan can go on
    // where another one stopped.
    std::uint64_t& training_passes();

    // The output of any number of samples, in evaluation mode, run in pieces of at most the capacity.
    // `proceed` (may be empty) is asked from time to time; if it returns false the rest is left undone.
    void predict(index_t n, const T* x, T* y, const std::function<bool()>& proceed = {});

    // One batch, n <= capacity, keeping what backward needs; a random layer draws a fresh mask each time that
    // `training` is true. Returns the output, (n, output), valid until the next call.
    const T* forward(index_t n, const T* x, bool training);
    // From the gradient to the output of the last forward, with its n and x: writes all parameter gradients,
    // and grad_x if it is not nullptr. Throws std::invalid_argument if n is not that of the last forward.
    void backward(index_t n, const T* x, const T* grad, T* grad_x);

    // forward in training mode, loss and backward of one batch; the gradients are of the loss's mean.
    LossSums gradients(index_t n, const T* x, const Targets<T>& targets, Loss loss);

    // The loss and hits of any number of samples, in evaluation mode.
    LossSums evaluate(index_t n, const T* x, const Targets<T>& targets, Loss loss,
                      const std::function<bool()>& proceed = {});

    // One pass over the samples order[0 .. n) in batches of at most the capacity (the last may be smaller),
    // with an update after each. `report` (may be empty) gets the sums so far about every 100 ms; if it
    // returns false the pass ends there, after a whole batch.
    EpochSums train_epoch(index_t n, const T* x, const Targets<T>& targets, const std::int64_t* order,
                          index_t batch_size, Loss loss, Optimizer<T>& optimizer,
                          const std::function<bool(const EpochSums&)>& report);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace ranvier
