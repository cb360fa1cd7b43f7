// Watching a network run, node by node.
#pragma once

#include <string>

#include "ranvier/array.h"

namespace ranvier {

// A node of the graph: a layer, with what it has taken over.
struct NodeInfo {
    std::string path;        // "3", or "3.layers.0" within a branch
    std::string name;        // "Linear + ReLU"
    std::string parameters;  // how the names of its parameters end, if the layer is several nodes
    double flops = 0;        // multiplications and additions of a sample's forward pass; 0 if not a product
};
enum class Direction { forward, backward };

// Is told before and after each node of a pass, which then takes the batch as a whole.
template <class T>
class Observer {
public:
    virtual ~Observer() = default;
    virtual void begin(const NodeInfo&, Direction) {}
    // `values` are the outputs, or the gradients to the first input (nullptr if none are wanted), (n, size).
    virtual void end(const NodeInfo&, Direction, const T* values, index_t n, index_t size) = 0;
};

}  // namespace ranvier
