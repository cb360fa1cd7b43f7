// Where the time of a Plan goes, layer by layer.
#pragma once

#include <chrono>
#include <vector>

#include "ranvier/plan.h"

namespace ranvier {

// Observes a Plan and adds up the seconds of each layer, in the order in which the layers began. The time of
// a layer with branches includes theirs.
template <class T>
class Profile final : public Observer<T> {
public:
    struct Row {
        StageInfo stage;
        double forward = 0, backward = 0;  // seconds
        index_t samples = 0;               // that went forward
    };

    void begin(const StageInfo& stage, Direction direction) override;
    void end(const StageInfo& stage, Direction direction, const T* values, index_t n, index_t size) override;

    const std::vector<Row>& rows() const { return rows_; }

private:
    using Clock = std::chrono::steady_clock;

    Row& row_of(const StageInfo& stage);

    std::vector<Row> rows_;
    std::vector<Clock::time_point> begun_;  // of the layers that are under way
};

}  // namespace ranvier
