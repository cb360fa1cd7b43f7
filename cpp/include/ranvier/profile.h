// Where the time of training goes, node by node.
#pragma once

#include <chrono>
#include <vector>

#include "ranvier/observer.h"

namespace ranvier {

// Observes passes and adds up the seconds of each node, in the order in which the nodes began.
template <class T>
class Profile final : public Observer<T> {
public:
    struct Row {
        NodeInfo node;
        double forward = 0, backward = 0;  // seconds
        index_t samples = 0;               // that went forward
    };

    void begin(const NodeInfo& node, Direction direction) override;
    void end(const NodeInfo& node, Direction direction, const T* values, index_t n, index_t size) override;

    const std::vector<Row>& rows() const { return rows_; }

private:
    using Clock = std::chrono::steady_clock;

    Row& row_of(const NodeInfo& node);

    std::vector<Row> rows_;
    Clock::time_point begun_;  // of the node that is under way
};

}  // namespace ranvier
