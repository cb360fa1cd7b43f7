// Optimizers: the state behind each update rule.
#include "ranvier/parameters.h"

namespace ranvier {
namespace {

template <class T>
class Sgd final : public Optimizer<T> {
public:
    Sgd(const SgdOptions& options, index_t count)
        : options_(options), velocity_(options.momentum != 0 ? count : 0) {
        this->learning_rate = options.learning_rate;
    }
    void step(Parameters<T>& parameters) override {
        options_.learning_rate = this->learning_rate;
        sgd_update<T>(options_, parameters.size(), parameters.values(), parameters.gradients(),
                      velocity_.size() ? velocity_.data() : nullptr);
        ++this->steps;
    }
    std::vector<std::pair<std::string, Buffer<T>*>> state() override {
        if (!velocity_.size()) return {};
        return {{"velocity", &velocity_}};
    }

private:
    SgdOptions options_;
    Buffer<T> velocity_;
};

template <class T>
class Adam final : public Optimizer<T> {
public:
    Adam(const AdamOptions& options, index_t count) : options_(options), first_(count), second_(count) {
        this->learning_rate = options.learning_rate;
    }
    void step(Parameters<T>& parameters) override {
        options_.learning_rate = this->learning_rate;
        adam_update<T>(options_, ++this->steps, parameters.size(), parameters.values(),
                       parameters.gradients(), first_.data(), second_.data());
    }
    std::vector<std::pair<std::string, Buffer<T>*>> state() override {
        return {{"first_moment", &first_}, {"second_moment", &second_}};
    }

private:
    AdamOptions options_;
    Buffer<T> first_, second_;
};

}  // namespace

template <class T>
std::unique_ptr<Optimizer<T>> make_sgd(const SgdOptions& options, index_t parameter_count) {
    return std::make_unique<Sgd<T>>(options, parameter_count);
}
template <class T>
std::unique_ptr<Optimizer<T>> make_adam(const AdamOptions& options, index_t parameter_count) {
    return std::make_unique<Adam<T>>(options, parameter_count);
}

template std::unique_ptr<Optimizer<float>> make_sgd(const SgdOptions&, index_t);
template std::unique_ptr<Optimizer<double>> make_sgd(const SgdOptions&, index_t);
template std::unique_ptr<Optimizer<float>> make_adam(const AdamOptions&, index_t);
template std::unique_ptr<Optimizer<double>> make_adam(const AdamOptions&, index_t);

}  // namespace ranvier
