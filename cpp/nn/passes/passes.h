// Passes: functions that rewrite a graph, one a file, and the order in which they run.
#pragma once

#include <string>
#include <vector>

#include "../graph.h"

namespace ranvier {

// What a graph is compiled for: the gradients of training (or of evaluation); outputs by weights that still
// change; outputs by weights that never do.
enum class Purpose { gradients, live_outputs, frozen_outputs };

// ReLU before a max pooling goes behind it, into the pooling: the maximum of what ReLU leaves is what ReLU
// leaves of the maximum, which has fewer elements.
void move_relu_behind_max_pool(Graph& graph, Purpose purpose);

// A batch normalization by running statistics goes into the product before it. For frozen outputs alone,
// since it scales the weights.
void fold_batch_norm(Graph& graph, Purpose purpose);

// An activation goes into the product, normalization or sum before it, to be taken while that is in the
// cache. If a backward pass follows, the derivative has to be a function of the activation's output.
void fuse_activation(Graph& graph, Purpose purpose);

// Images between convolutions, and what else takes them either way, get neighbouring channels where the
// convolutions suit that. For frozen outputs alone, whose weights are packed for it.
void choose_memory_formats(Graph& graph, Purpose purpose);

struct Pass {
    const char* name;
    void (*run)(Graph&, Purpose);
};
const std::vector<Pass>& all_passes();

// Runs all passes that are not disabled.
void optimize(Graph& graph, Purpose purpose);

// Leaves passes out from now on, for tests and measurements. Throws std::invalid_argument if there is none of
// a name.
void set_disabled_passes(const std::vector<std::string>& names);

}  // namespace ranvier
