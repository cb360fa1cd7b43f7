// A program with its memory.
#pragma once

#include "executor.h"
#include "ranvier/sizes.h"
#include "sweep.h"

namespace ranvier {

template <class T>
struct Prepared {
    Program<T> program;
    Sweep<T> sweep;
    Buffer<T> batch, partial_sums;

    Prepared(const Graph& graph, Parameters<T>& parameters, const ProgramOptions& options, index_t capacity)
        : program(graph, parameters, options),
          sweep(program, parameters),
          batch(checked_product({capacity, program.batch_size}, "the outputs of a batch")),
          partial_sums(program.partial_size) {}
    Prepared(const Prepared&) = delete;
};

// The pass of n samples through it, once its ops have transformed the weights. `x` has to live on.
template <class T>
Run<T> run_of(Prepared<T>& prepared, index_t n, const Rows<T>& x, index_t capacity, T* gradients) {
    Run<T> run;
    run.inputs = &x;
    run.n = n;
    run.capacity = capacity;
    run.batch = prepared.batch.data();
    run.partial_sums = prepared.partial_sums.data();
    run.gradients = gradients;
    for (const auto& op : prepared.program.ops) op->prepare({use_of_pass(n)});
    return run;
}

}  // namespace ranvier
