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
    update<T>(options, ++steps, parameters.size(), parameters.values(), parameters.gradients(),
              velocity_.data(), first_moment_.data(), second_moment_.data());
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
