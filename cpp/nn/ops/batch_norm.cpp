// Batch normalization: scale and shift of each channel, by the statistics of the batch in training, by the
// running ones in evaluation.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "batch_norm_fold.h"
#include "instantiate.h"
#include "ranvier/elementwise.h"
#include "ranvier/memory.h"
#include "ranvier/normalization.h"
#include "ranvier/trainer.h"

namespace ranvier {
namespace {

// Two sums over the elements of each channel, by groups of micro-batches.
class GroupSums {
public:
    GroupSums() = default;
    GroupSums(index_t channels, index_t groups)
        : channels_(channels), memory_(2 * channels * groups), counts_(groups) {}

    ChannelMoments of(index_t group) {
        double* first = memory_.data() + 2 * group * channels_;
        return {first, first + channels_};
    }
    double& count(index_t group) { return counts_[group]; }

private:
    index_t channels_ = 0;
    Buffer<double> memory_, counts_;
};

template <class T>
class BatchNormOp final : public Op<T>, private SharedSums {
public:
    BatchNormOp(const BatchNormSpec& spec, const OpSite<T>& site)
        : Op<T>(traits_of(spec, site)),
          spec_(spec),
          training_(site.training),
          inner_(element_count(site.input()) / spec.num_features),
          running_(site, site.node.path, spec.eps),
          gamma_(site.value("weight")),
          beta_(site.value("bias")),
          running_mean_(site.value("running_mean")),
          running_variance_(site.value("running_var")),
          activation_(site.node.activation),
          mean_(spec.num_features),
          inverse_deviation_(spec.num_features),
          factors_(5 * spec.num_features) {
        if (training_) this->shared_sums = this;
        if (this->traits.reduces) sums_ = GroupSums(spec.num_features, kMostGroups);
    }

    void prepare(const Preparation<T>& next) override {
        if (training_ || !next.begins_pass()) return;
        for (index_t c = 0; c < channels(); ++c) {
            scale()[c] = running_.scale(c);
            shift()[c] = running_.shift(c);
            mean_[c] = running_mean_[c];
            inverse_deviation_[c] = T(1) / std::sqrt(running_variance_[c] + static_cast<T>(spec_.eps));
        }
    }

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        batch_norm<T>(shape(part), at.x[0].data, scale(), shift(), at.y, activation_.kind,
                      static_cast<T>(activation_.parameter));
    }

    void reduce(const MicroBatch& part, const Rows<T>* x) override {
        if (!training_) return;
        const ChannelMoments total = sums_.of(part.group);
        const double count = static_cast<double>(part.count * inner_);
        if (part.begins_group) {
            batch_norm_moments<T>(shape(part), x[0].data, total);
            sums_.count(part.group) = count;
            return;
        }
        Scratch<double> memory(2 * channels());
        const ChannelMoments own = {memory.data(), memory.data() + channels()};
        batch_norm_moments<T>(shape(part), x[0].data, own);
        sums_.count(part.group) = join_moments(channels(), sums_.count(part.group), total, count, own);
    }

    void reduce_gradient(const MicroBatch& part, const Operands<T>& at, const T* grad, T* before) override {
        const ChannelMoments total = sums_.of(part.group);
        batch_norm_gradient_sums<T>(shape(part), grad, at.x[0].data, mean_.data(), total.mean, total.squares,
                                    !part.begins_group,
                                    {activation_.kind, static_cast<T>(activation_.parameter), at.y, before});
    }

    void combine(const MicroBatch& part, Direction direction, T* gradients) override {
        if (direction == Direction::backward) return combine_backward(part, gradients);
        if (!training_) return;
        if (!all_parts_) count_ = join_groups(part.groups);
        const ChannelMoments total = all_parts_ ? whole() : sums_.of(0);
        all_parts_ = false;
        for (index_t c = 0; c < channels(); ++c) {
            mean_[c] = static_cast<T>(total.mean[c]);
            inverse_deviation_[c] = static_cast<T>(1 / std::sqrt(total.squares[c] / count_ + spec_.eps));
            scale()[c] = inverse_deviation_[c] * (gamma_ ? gamma_[c] : T(1));
            shift()[c] = (beta_ ? beta_[c] : T{}) - mean_[c] * scale()[c];
        }
    }

    // Of each channel two sums, behind the number of its elements.
    index_t size() const override { return 1 + 2 * channels(); }
    void get(const MicroBatch& part, Direction direction, double* own) override {
        if (part.batch == 0)
            std::fill_n(sums_.of(0).mean, 2 * channels(), 0.0);
        else if (direction == Direction::backward)
            add_groups(part.groups);
        *own = direction == Direction::forward && part.batch > 0 ? join_groups(part.groups) : 0;
        std::copy_n(sums_.of(0).mean, 2 * channels(), own + 1);
    }
    void set(Direction direction, index_t parts, const double* all) override {
        if (!whole_.size()) whole_ = Buffer<double>(2 * channels());
        std::fill_n(whole_.data(), whole_.size(), 0.0);
        double count = 0;
        for (index_t part = 0; part < parts; ++part, all += size()) {
            Scratch<double> copy(2 * channels());
            std::copy_n(all + 1, 2 * channels(), copy.data());
            if (direction == Direction::backward)
                add<double>(2 * channels(), copy.data(), whole_.data());
            else if (*all > 0)
                count =
                    join_moments(channels(), count, whole(), *all, {copy.data(), copy.data() + channels()});
        }
        if (direction == Direction::forward) count_ = count;
        all_parts_ = true;
    }

    void backward_data(const MicroBatch& part, const Operands<T>& at, const T* grad,
                       T* const* grad_x) const override {
        const T* a = factors_.data() + 2 * channels();
        if (grad_x[0])
            batch_norm_input_gradient<T>(shape(part), grad, at.x[0].data, a, a + channels(),
                                         a + 2 * channels(), grad_x[0]);
    }

    // As in PyTorch, the running variance is of the unbiased one, with the divisor count - 1.
    void update_statistics() override {
        if (!training_) return;
        const double unbiased = count_ / std::max(count_ - 1, 1.0), share = spec_.momentum;
        for (index_t c = 0; c < channels(); ++c) {
            const double deviation = 1 / static_cast<double>(inverse_deviation_[c]);
            const double variance = std::max(deviation * deviation - spec_.eps, 0.0) * unbiased;
            approach(running_mean_[c], static_cast<double>(mean_[c]), share);
            approach(running_variance_[c], variance, share);
        }
    }

private:
    static Traits traits_of(const BatchNormSpec& spec, const OpSite<T>& site) {
        Traits traits;
        traits.reads_output = false;
        traits.reduces = site.training || site.backward;
        traits.trains = spec.affine;
        const Activation activation = site.node.activation.kind;
        traits.recomputable = activation == Activation::identity || activation == Activation::relu;
        if (spec.affine) traits.weights = WeightGradient::in_reduction;
        return traits;
    }

    index_t channels() const { return spec_.num_features; }
    BatchNormShape shape(const MicroBatch& part) const { return {part.count, channels(), inner_}; }
    // Of the forward pass, y = scale x + shift; behind them are the backward pass's.
    T* scale() { return factors_.data(); }
    T* shift() { return factors_.data() + channels(); }
    const T* scale() const { return factors_.data(); }
    const T* shift() const { return factors_.data() + channels(); }

    // With h = (x - mean) d, y = gamma h + beta and N elements: grad_x = gamma d (g - sum(g) / N - h sum(g h)
    // / N), the two sums falling away for constant mean and d. As a g + b x + c.
    void combine_backward(const MicroBatch& part, T* gradients) {
        if (!all_parts_) add_groups(part.groups);
        const ChannelMoments own = sums_.of(0), total = all_parts_ ? whole() : own;
        all_parts_ = false;
        T *a = factors_.data() + 2 * channels(), *b = a + channels(), *add = b + channels();
        for (index_t c = 0; c < channels(); ++c) {
            const double d = static_cast<double>(inverse_deviation_[c]), sum = total.mean[c];
            const double product = total.squares[c] * d;  // sum g h
            if (gamma_ && gradients) {
                gradients[c] = static_cast<T>(own.squares[c] * d);
                gradients[beta_ - gamma_ + c] = static_cast<T>(own.mean[c]);
            }
            const double outer = d * (gamma_ ? static_cast<double>(gamma_[c]) : 1.0);
            const double slope = training_ ? -outer * d * product / count_ : 0;
            a[c] = static_cast<T>(outer);
            b[c] = static_cast<T>(slope);
            add[c] = static_cast<T>((training_ ? -outer * sum / count_ : 0) -
                                    slope * static_cast<double>(mean_[c]));
        }
    }

    // Adds the groups' sums up, in order; of the forward pass, returns the number of elements of a channel.
    double join_groups(index_t groups) {
        double count = sums_.count(0);
        for (index_t group = 1; group < groups; ++group)
            count = join_moments(channels(), count, sums_.of(0), sums_.count(group), sums_.of(group));
        return count;
    }
    void add_groups(index_t groups) {
        for (index_t group = 1; group < groups; ++group)
            add<double>(2 * channels(), sums_.of(group).mean, sums_.of(0).mean);
    }
    ChannelMoments whole() { return {whole_.data(), whole_.data() + channels()}; }

    static void approach(T& running, double now, double share) {
        running = static_cast<T>(static_cast<double>(running) * (1 - share) + now * share);
    }

    BatchNormSpec spec_;
    bool training_;
    index_t inner_;  // pixels of a channel
    BatchNormFold<T> running_;
    const T *gamma_, *beta_;
    T *running_mean_, *running_variance_;
    ActivationSpec activation_;
    GroupSums sums_;
    double count_ = 0;        // elements of a channel in the last batch
    Buffer<double> whole_;    // sums over all parts of a batch
    bool all_parts_ = false;  // whether the next combine() takes those
    Buffer<T> mean_, inverse_deviation_;
    Buffer<T> factors_;
};

}  // namespace

Shape infer_shape(const BatchNormSpec& spec, const InputShapes& inputs) {
    const Shape& input = inputs[0];
    const std::string features = std::to_string(spec.num_features);
    const bool fits =
        input.size() == 3 ? spec.axes == 3 : spec.axes == 1 && (input.size() == 1 || input.size() == 2);
    if (!fits || input[0] != spec.num_features)
        throw std::invalid_argument("expected samples of shape " +
                                    (spec.axes == 1 ? "(" + features + ",) or (" + features + ", length)"
                                                    : "(" + features + ", height, width)") +
                                    ", got " + shape_text(input));
    return input;
}

template <class T>
std::unique_ptr<Op<T>> make_op(const BatchNormSpec& spec, const OpSite<T>& site) {
    return std::make_unique<BatchNormOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(BatchNormSpec)

}  // namespace ranvier
