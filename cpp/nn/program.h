// A graph made ready to run: its ops, the phases in which they go forward and back, and where each buffer
// lies.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "graph.h"
#include "op.h"
#include "passes/passes.h"
#include "ranvier/observer.h"

namespace ranvier {

// Operations of a product in one unit of work (see threads_for).
inline constexpr double kFlopsPerWork = 12;

// Where a buffer lies.
enum class Memory {
    none,
    input,   // given, `offset` says which
    output,  // given, `offset` says which
    local,   // in the arena of a thread, for the micro-batch at hand
    batch,   // in the arena of the whole batch
};
struct Place {
    Memory memory = Memory::none;
    index_t offset = 0;  // elements for one sample
    index_t size = 0;    // elements of a sample

    explicit operator bool() const { return memory != Memory::none; }
};

enum class Action {
    forward,
    reduce,               // sums of an op's input over the batch
    loss,                 // the loss of the output, and its gradient
    activation_gradient,  // through an activation that a node has taken over
    reduce_gradient,      // sums of the gradient over the batch, through such an activation
    backward,             // the gradient to the inputs, and by micro-batches that to the parameters
    copy_gradient,        // to the input, for the caller
};

// What a phase does with a micro-batch, one step after the other.
struct Step {
    Action action;
    std::size_t node = 0;
    std::vector<Place> x;  // of the node's inputs
    Place y, saved, left;
    Place grad;                  // to the node's output; what the step reads, or writes (loss)
    Place result;                // that before the activation
    std::vector<Place> grad_x;   // to the inputs
    std::vector<Place> addend;   // what is added to these: what other readers of the input gave
    bool makes_weights = false;  // the gradient of the parameters, too
    // Of steps back: what only the gradient to the graph's input needs, for callers who may not want it. The
    // whole step, or some of grad_x.
    bool for_input = false;
    std::vector<bool> grad_x_for_input = {};
};

struct Phase {
    bool whole = false;  // takes the batch at once
    std::vector<Step> steps;
    std::vector<std::pair<std::size_t, Direction>> combined;  // nodes whose sums are complete in the end
    index_t local_size = 0;                                   // of a sample in the arena of a thread
    index_t touched_size = 0;                                 // of a sample in all memory, by the steps
    double work = 0;                                          // of a sample (see threads_for)
    index_t fewest_samples = 1;                               // that a micro-batch should have
    bool bounded = false;  // sums are kept by groups, of which there are few
};

// The parameters of a node in the flat buffer, and the partial sums of their gradients.
struct ParameterBlock {
    index_t offset = 0, size = 0;
    std::vector<std::pair<index_t, index_t>> trained;  // ranges of it that are not frozen
    index_t partial_offset = -1;  // in memory for partial sums, kMostGroups of `size`; -1: none
    std::size_t phase = 0;        // after which all is there that the gradients are made of
};

struct ProgramOptions {
    Purpose purpose = Purpose::gradients;
    bool training = true;         // by the batch's statistics, with random layers
    bool fused_loss = false;      // the loss is one for each sample: it goes by micro-batches, too
    bool input_gradient = false;  // a run may want the gradient to the input
    bool observed = false;        // node by node, each with the whole batch
};

template <class T>
struct Program {
    Program(const Graph& lowered, Parameters<T>& parameters, const ProgramOptions& options);

    bool reads_rows_apart() const;

    ProgramOptions options;
    Graph graph;
    std::vector<std::unique_ptr<Op<T>>> ops;  // one for each node
    std::vector<NodeInfo> infos;              // likewise
    std::vector<ParameterBlock> blocks;       // likewise
    std::vector<Phase> phases;                // forward, loss, back
    std::size_t first_backward = 0;           // phases from here on go back only
    // Of nodes whose weights' gradient is a product over the whole batch: its operands, once all phases are
    // done.
    struct Deferred {
        std::size_t node;
        Place x, grad;
    };
    std::vector<Deferred> deferred;
    std::vector<Place> outputs;  // where the graph's outputs are
    Place output_gradient;       // of the first output, for callers that give it
    index_t batch_size = 0;      // elements of the batch's arena, for one sample
    index_t partial_size = 0;    // elements of the memory for partial sums
};

}  // namespace ranvier
