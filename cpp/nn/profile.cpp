// Where the time of training goes, node by node.
#include "ranvier/profile.h"

namespace ranvier {

template <class T>
typename Profile<T>::Row& Profile<T>::row_of(const NodeInfo& node) {
    for (Row& row : rows_)
        if (row.node.path == node.path && row.node.parameters == node.parameters) return row;
    return rows_.emplace_back(Row{node});
}

template <class T>
void Profile<T>::begin(const NodeInfo& node, Direction) {
    row_of(node);
    begun_ = Clock::now();
}

template <class T>
void Profile<T>::end(const NodeInfo& node, Direction direction, const T*, index_t n, index_t) {
    const double seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
    Row& row = row_of(node);
    (direction == Direction::forward ? row.forward : row.backward) += seconds;
    if (direction == Direction::forward) row.samples += n;
}

template class Profile<float>;
template class Profile<double>;

}  // namespace ranvier
