// Optimizers: the state behind each update rule.
#include "ranvier/parameters.h"

namespace ranvier {

template <class T>
Optimizer<T>::Optimizer(const UpdateOptions& given, index_t parameter_count) : options(given) {
    const UpdateState needed = update_state(given);
    if (needed.velocity) velocity_ = Buffer<T>(parameter_count);
    if (needed.first_moment) first_moment_ = Buffer<T>(parameter_count);
    if (needed.second_moment) second_moment_ = Buffer<T>(parameter_count);
}

template <class T>
void Optimizer<T>::step(Parameters<T>& parameters) {
    begin_step(options.clip_norm > 0 ? sum_of_squares(parameters.size(), parameters.gradients()) : 0);
    update_range(parameters, parameters.gradients(), 0, parameters.size());
}

template <class T>
void Optimizer<T>::begin_step(double squares) {
    now_ = update_step(options, ++steps, squares);
}

template <class T>
void Optimizer<T>::update_range(Parameters<T>& parameters, const T* gradients, index_t first, index_t count) {
    const auto from = [&](Buffer<T>& state) { return state.size() ? state.data() + first : nullptr; };
    ranvier::update<T>(now_, count, parameters.values() + first, gradients, from(velocity_),
                       from(first_moment_), from(second_moment_));
}

template <class T>
std::vector<std::pair<std::string, Buffer<T>*>> Optimizer<T>::state() {
    std::vector<std::pair<std::string, Buffer<T>*>> all;
    if (velocity_.size()) all.emplace_back("velocity", &velocity_);
    if (first_moment_.size()) all.emplace_back("first_moment", &first_moment_);
    if (second_moment_.size()) all.emplace_back("second_moment", &second_moment_);
    return all;
}

template class Optimizer<float>;
template class Optimizer<double>;

}  // namespace ranvier
