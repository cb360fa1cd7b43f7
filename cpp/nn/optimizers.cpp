// Optimizers: the state behind each update rule.
#include <algorithm>

#include "ranvier/parameters.h"

namespace ranvier {

template <class T>
Optimizer<T>::Optimizer(const UpdateOptions& given, index_t parameter_count) : options(given) {
    const UpdateState needed = update_state(given);
    if (needed.velocity) velocity_ = Buffer<T>(parameter_count);
    if (needed.first_moment) first_moment_ = Buffer<T>(parameter_count);
    if (needed.second_moment) second_moment_ = Buffer<T>(parameter_count);
    if (needed.average) average_ = Buffer<T>(parameter_count);
}

template <class T>
void Optimizer<T>::step(Parameters<T>& parameters) {
    begin_step(parameters,
               options.clip_norm > 0 ? sum_of_squares(parameters.size(), parameters.gradients()) : 0);
    update_range(parameters, parameters.gradients(), 0, parameters.size());
    if (!averages()) return;
    for (const ParameterEntry& entry : parameters.entries())
        if (entry.trained && !entry.frozen) average_range(parameters, entry.offset, entry.extent);
}

template <class T>
void Optimizer<T>::begin_step(const Parameters<T>& parameters, double squares) {
    const std::vector<ParameterEntry>& entries = parameters.entries();
    ++steps;
    differ_ = !groups.empty();
    for (std::size_t e = 0; e < entries.size(); ++e)
        if (entries[e].trained && entries[e].frozen) {
            missed.resize(entries.size());
            ++missed[e];
        }
    differ_ |= std::any_of(missed.begin(), missed.end(), [](std::int64_t count) { return count > 0; });
    if (!differ_) {
        now_.assign(1, update_step(options, steps, squares));
        return;
    }
    std::vector<UpdateOptions> own(entries.size(), options);
    for (const Group& group : groups)
        for (const std::size_t e : group.entries) {
            own[e].lr = group.lr;
            own[e].weight_decay = group.weight_decay;
        }
    now_.resize(entries.size());
    for (std::size_t e = 0; e < entries.size(); ++e)
        if (entries[e].trained && !entries[e].frozen)
            now_[e] = update_step(own[e], steps - (missed.empty() ? 0 : missed[e]), squares);
}

template <class T>
void Optimizer<T>::update_range(Parameters<T>& parameters, const T* gradients, index_t first, index_t count) {
    if (!differ_) return update_part(now_[0], parameters, gradients, first, count);
    const std::vector<ParameterEntry>& entries = parameters.entries();
    for (std::size_t e = 0; e < entries.size(); ++e) {
        if (!entries[e].trained || entries[e].frozen) continue;
        const index_t from = std::max(first, entries[e].offset),
                      to = std::min(first + count, entries[e].offset + entries[e].extent);
        if (from < to) update_part(now_[e], parameters, gradients + from - first, from, to - from);
    }
}

template <class T>
void Optimizer<T>::update_part(const UpdateStep& now, Parameters<T>& parameters, const T* gradients,
                               index_t first, index_t count) {
    const auto from = [&](Buffer<T>& state) { return state.size() ? state.data() + first : nullptr; };
    ranvier::update<T>(now, count, parameters.values() + first, gradients, from(velocity_),
                       from(first_moment_), from(second_moment_));
}

template <class T>
void Optimizer<T>::average_range(Parameters<T>& parameters, index_t first, index_t count) {
    approach<T>(options.ema_decay, count, parameters.values() + first, average_.data() + first);
}

template <class T>
void Optimizer<T>::set_learning_rates(const double* rates) {
    options.lr = rates[0];
    for (std::size_t g = 0; g < groups.size(); ++g) groups[g].lr = rates[1 + g];
}

template <class T>
std::vector<std::pair<std::string, Buffer<T>*>> Optimizer<T>::state() {
    std::vector<std::pair<std::string, Buffer<T>*>> all;
    if (velocity_.size()) all.emplace_back("velocity", &velocity_);
    if (first_moment_.size()) all.emplace_back("first_moment", &first_moment_);
    if (second_moment_.size()) all.emplace_back("second_moment", &second_moment_);
    if (average_.size()) all.emplace_back("average", &average_);
    return all;
}

template class Optimizer<float>;
template class Optimizer<double>;

}  // namespace ranvier
