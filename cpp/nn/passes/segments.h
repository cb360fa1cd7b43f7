// The pass that cuts a graph into segments.
#pragma once

#include <vector>

#include "../graph.h"

namespace ranvier {

// How a node takes its samples.
enum class Sampling {
    independent,  // each by itself
    reducing,     // each by itself, once sums over the batch of its input are there
    whole,        // the batch at once
};

// The segment of each node, by a number that grows along every edge or stays: nodes of one segment go
// micro-batch by micro-batch (even numbers), or take the whole batch (odd numbers). Values that are given
// belong to segment 0.
std::vector<int> segments_of(const Graph& graph, const std::vector<Sampling>& sampling);

inline bool takes_whole_batch(int segment) { return segment % 2 != 0; }

}  // namespace ranvier
