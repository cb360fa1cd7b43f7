// Where the time of a Plan goes, layer by layer.
#include "ranvier/profile.h"

namespace ranvier {

template <class T>
typename Profile<T>::Row& Profile<T>::row_of(const StageInfo& stage) {
    for (Row& row : rows_)
        if (row.stage.path == stage.path) return row;
    return rows_.emplace_back(Row{stage});
}

template <class T>
void Profile<T>::begin(const StageInfo& stage, Direction) {
    row_of(stage);
    begun_.push_back(Clock::now());
}

template <class T>
void Profile<T>::end(const StageInfo& stage, Direction direction, const T*, index_t n, index_t) {
    const double seconds = std::chrono::duration<double>(Clock::now() - begun_.back()).count();
    begun_.pop_back();
    Row& row = row_of(stage);
    (direction == Direction::forward ? row.forward : row.backward) += seconds;
    if (direction == Direction::forward) row.samples += n;
}

template class Profile<float>;
template class Profile<double>;

}  // namespace ranvier
