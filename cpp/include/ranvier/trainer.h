// Training of a network: batches forward, loss, back, and updates. It owns every buffer that these need, and
// allocates nothing once it has seen a batch of each kind.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "ranvier/array.h"
#include "ranvier/layers.h"
#include "ranvier/loss.h"
#include "ranvier/memory.h"
#include "ranvier/observer.h"
#include "ranvier/parameters.h"
#include "ranvier/peers.h"

namespace ranvier {

// Samples without gaps: numbers, or bytes that stand for fractions of 255. One of the two.
template <class T>
struct Samples {
    const T* values = nullptr;
    const std::uint8_t* bytes = nullptr;
};

// Where outputs go, and sums of their errors (add_errors in loss.h); nullptr: nowhere. Errors need rows of
// targets.
template <class T>
struct OutputRecord {
    T* predictions = nullptr;
    double* errors = nullptr;
};

// What training makes small: a loss of the library and its targets; or, if `custom` is not empty, one that
// the program around the library computes, for the samples of those numbers.
template <class T>
struct Objective {
    LossSpec loss;
    Targets<T> targets;
    std::function<LossSums(index_t n, const T* prediction, const std::int64_t* samples, T* grad)> custom;
};

// What to do with a batch whose loss or gradients are infinite or NaN.
enum class OnNonFinite { stop, skip, ignore };

struct EpochSums {
    double loss = 0;  // sum over the samples done, before any mean (see loss_divisor)
    index_t hits = 0;
    double weight = 0;    // of the samples in `loss` (see LossSums)
    index_t samples = 0;  // done
    index_t skipped = 0;  // of these, in batches that made no update
    std::string fault;    // of the first batch that is not finite: where its values went bad
};

// Gradients of several batches added up for one update, as if they were one batch. It may go through any
// number of calls of train_epoch(), by any trainers of the same parameters.
template <class T>
struct GradientAccumulation {
    index_t batches_per_update;
    index_t batches = 0;  // since the last update, also those left out
    double weight = 0;    // of the samples of the others (see LossSums)
    double divisor = 0;   // of the sum of their gradients for the mean; 0 if there are none
    Buffer<T> sum;

    GradientAccumulation(const Parameters<T>& parameters, index_t batches_for_one)
        : batches_per_update(batches_for_one), sum(parameters.size()) {
        if (batches_for_one < 1)
            throw std::invalid_argument("batches_per_update: expected at least 1, got " +
                                        std::to_string(batches_for_one));
    }
};

// A training that shares each batch with others, such as processes on other machines. All do the same calls,
// in the same order. A batch is cut into parts, of which some are taken here; the gradients of the parts are
// added up as a binary tree has it, here and by the peers.
template <class T>
struct DataParallel {
    index_t parts = 1, all_parts = 1;  // taken here, and by all; the first is a power of two
    bool sync_batch_norm = false;      // by statistics of the whole batch, and not of each part
    // Of each batch parts + 1 numbers: where in it the parts begin that are taken here, and where the last
    // one ends. An order of samples has these alone.
    const std::int64_t* bounds = nullptr;
    index_t batches = 0;
    Peers<T>* peers = nullptr;
};

// What the parts of an epoch outside the nodes took, in seconds.
struct EpochTimes {
    double gather = 0, loss = 0, update = 0;
};

template <class T>
struct EpochOptions {
    index_t batch_size = 1;
    GradientAccumulation<T>* accumulation = nullptr;  // nullptr: each batch makes an update
    // Of each update those that set_learning_rates() takes; nullptr: the optimizer's own.
    const double* learning_rates = nullptr;
    double* losses = nullptr;  // receives the mean loss of each batch, unless nullptr
    // Of the outputs in training mode, batch after batch. Those of a batch that makes no update are NaN, and
    // its errors do not count.
    OutputRecord<T> record;
    OnNonFinite on_nonfinite = OnNonFinite::stop;
    // Gets the sums so far about every 100 ms, unless empty; if it returns false the pass ends there.
    std::function<bool(const EpochSums&)> report;
    // Called between batches, unless empty.
    std::function<void()> between_batches;
    // Told of every node, whose batches are then taken as a whole; with the times of the rest. nullptr:
    // neither.
    Observer<T>* observer = nullptr;
    EpochTimes* times = nullptr;
    // The batches are shared with others, and the sums of the epoch are over all; nullptr: with nobody.
    const DataParallel<T>* data_parallel = nullptr;
};

template <class T>
class Trainer {
public:
    // Throws std::invalid_argument, naming the layer by position and kind, if a layer does not fit its input.
    // The seed is that of the random layers (dropout, rrelu).
    Trainer(std::shared_ptr<Parameters<T>> parameters, const Shape& sample_shape, index_t capacity,
            std::uint64_t seed);
    ~Trainer();
    Trainer(const Trainer&) = delete;
    Trainer& operator=(const Trainer&) = delete;

    const Shape& input_shape() const;
    const Shape& output_shape() const;
    index_t capacity() const;  // samples of a batch at most
    Parameters<T>& parameters() const;
    // Training passes so far, which number the masks of the random layers; settable, so that a Trainer can go
    // on where another one stopped.
    std::uint64_t& training_passes();

    // One batch, n <= capacity, keeping what backward needs. If `training` is true, a random layer draws a
    // fresh mask, and running statistics take over the batch's, unless the output is not finite. Returns the
    // output, (n, output), valid until the next call.
    const T* forward(index_t n, const Samples<T>& x, bool training);
    // From the gradient to the output of the last forward: the gradients of the parameters, which are written
    // to parameters().accumulated(), or added there if `adds` is true; and grad_x, if it is not nullptr.
    // Throws std::invalid_argument if n is not that of the last forward, or if anything else came after it.
    void backward(index_t n, const T* grad, T* grad_x, bool adds);
    // One update from parameters().accumulated() with the layers' penalties, which are 0 after it. Returns
    // the name of a parameter whose gradient is not finite, with no value changed, or "".
    std::string step(Optimizer<T>& optimizer);

    // forward in training mode, loss and backward of one batch, whose samples are those of the targets; the
    // gradients are of the loss's mean and the layers' penalties. Does not touch running statistics.
    LossSums gradients(index_t n, const Samples<T>& x, const Objective<T>& objective);

    // One update from what the batches of an accumulation have come to, if there are any, with which it
    // begins anew. False, with no value changed, if the gradients are to be looked at and are not finite.
    bool step(GradientAccumulation<T>& accumulation, Optimizer<T>& optimizer, bool check);

    // One update from a batch, n <= capacity: as a batch of train_epoch() with the same samples, to the bit.
    EpochSums train_step(index_t n, const Samples<T>& x, const Objective<T>& objective,
                         Optimizer<T>& optimizer);

    // One pass over the samples order[0 .. n) in batches (the last may be smaller), with an update after
    // each, or whenever an accumulation has its batches.
    // Peers that share the update have the optimizer's state whole again at its end. After an exception, all
    // can have it so by gather_state(), as long as all are there.
    EpochSums train_epoch(index_t n, const Samples<T>& x, const Objective<T>& objective,
                          const std::int64_t* order, Optimizer<T>& optimizer, const EpochOptions<T>& options);
    // Has each of these peers send its share of the optimizer's state to all.
    void gather_state(Optimizer<T>& optimizer, Peers<T>& peers);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace ranvier
