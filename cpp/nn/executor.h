// Runs a program's phases: micro-batches of a segment by any number of threads, each with its values in the
// caches.
#pragma once

#include "program.h"
#include "ranvier/memory.h"

namespace ranvier {

// A function for the loss of samples [first, first + count), whose outputs are given, and which writes their
// gradients. It refers to a callable that lives on.
template <class T>
class LossOfSamples {
public:
    template <class F>
    explicit LossOfSamples(F& f)
        : object_(&f), call_([](void* object, index_t first, index_t count, const T* prediction, T* grad) {
              (*static_cast<F*>(object))(first, count, prediction, grad);
          }) {}
    void operator()(index_t first, index_t count, const T* prediction, T* grad) const {
        call_(object_, first, count, prediction, grad);
    }

private:
    void* object_;
    void (*call_)(void*, index_t, index_t, const T*, T*);
};

// What a run is given. Memory for the whole batch holds capacity * program.batch_size elements.
template <class T>
struct Run {
    const Rows<T>* inputs = nullptr;  // one for each of the graph's
    T* const* outputs = nullptr;      // likewise
    T* input_gradient = nullptr;      // nullptr: not wanted
    const LossOfSamples<T>* loss = nullptr;
    index_t n = 0;
    index_t capacity = 0;
    T* batch = nullptr;
    T* partial_sums = nullptr;
    T* gradients = nullptr;  // of all parameters
    std::uint64_t seed = 0, step = 0;
    index_t position = 0;             // of the first sample, in a batch of which others take the rest
    Observer<T>* observer = nullptr;  // of a program that is compiled for one
};

// How a pass of n samples uses weights that may change after it.
inline Use use_of_pass(index_t n) {
    constexpr index_t kBatchWorthPreparing = 4;  // weights are transformed once for so many samples
    return n >= kBatchWorthPreparing ? Use::batch : Use::one_pass;
}

template <class T>
void run_phases(const Program<T>& program, const Run<T>& run, std::size_t begin, std::size_t end);

// The two halves of a phase, for a batch in parts, each of which has a program of its own: the steps of all
// micro-batches; and what is combined at their end, of which op->shared_sums know the rest.
template <class T>
void take_steps(const Program<T>& program, const Run<T>& run, const Phase& phase);
template <class T>
void combine_sums(const Program<T>& program, const Run<T>& run, const Phase& phase);
template <class T>
MicroBatch whole_batch(const Run<T>& run, index_t groups = 1);

// The groups of micro-batches that a phase takes n samples in, a function of the program and n alone.
index_t groups_of(const Phase& phase, index_t n, std::size_t element_size);

// Where a whole batch's buffer is.
template <class T>
Rows<T> rows_at(const Run<T>& run, const Place& place);

}  // namespace ranvier
