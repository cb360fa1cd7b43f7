// Segments: maximal runs of nodes whose samples do not depend on each other.
#include "segments.h"

#include <algorithm>

namespace ranvier {

std::vector<int> segments_of(const Graph& graph, const std::vector<Sampling>& sampling) {
    std::vector<int> of_value(graph.values.size(), 0), of_node;
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
        int latest = 0;
        for (const Operand& input : graph.nodes[i].inputs)
            latest = std::max(latest, of_value[static_cast<std::size_t>(input.value)]);
        const bool whole = takes_whole_batch(latest);
        int own = latest;
        if (sampling[i] == Sampling::whole)
            own += whole ? 0 : 1;
        else if (whole)
            own += 1;
        else if (sampling[i] == Sampling::reducing)
            own += 2;  // the sums are complete when the segment before has ended
        of_value[static_cast<std::size_t>(graph.nodes[i].output)] = own;
        of_node.push_back(own);
    }
    return of_node;
}

}  // namespace ranvier
