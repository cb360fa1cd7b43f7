// Questions to a graph.
#include "graph.h"

namespace ranvier {

int Graph::add_value(const Shape& shape) {
    values.push_back(shape);
    return static_cast<int>(values.size()) - 1;
}

int Graph::producer(int value) const {
    for (std::size_t i = 0; i < nodes.size(); ++i)
        if (nodes[i].output == value) return static_cast<int>(i);
    return -1;
}

std::vector<int> Graph::consumers(int value) const {
    std::vector<int> all;
    for (std::size_t i = 0; i < nodes.size(); ++i)
        for (const Operand& input : nodes[i].inputs)
            if (input.value == value) all.push_back(static_cast<int>(i));
    return all;
}

bool Graph::is_output(int value) const {
    for (const Operand& output : outputs)
        if (output.value == value) return true;
    return false;
}

std::string text_of(const Graph& graph) {
    std::string text;
    for (const Node& node : graph.nodes) {
        text += 'v';
        text += std::to_string(node.output);
        text += " = " + node.path + " " + node.name + " (";
        for (std::size_t i = 0; i < node.inputs.size(); ++i) {
            text += i ? ", v" : "v";
            text += std::to_string(node.inputs[i].value);
        }
        text += node.format == MemoryFormat::channels_last ? "), channels last\n" : ")\n";
    }
    return text;
}

}  // namespace ranvier
