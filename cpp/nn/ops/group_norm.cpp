// Group normalization (Wu and He 2018): some channels of a sample, with all their pixels, to mean 0 and
// variance 1.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "instantiate.h"
#include "ranvier/memory.h"
#include "ranvier/normalization.h"

namespace ranvier {
namespace {

// The kernels are those of batch normalization, to which each group or each channel of each sample is a
// channel of its own. Of a sample forward saves the means of the groups, then their inverse deviations.
template <class T>
class GroupNormOp final : public Op<T> {
public:
    GroupNormOp(const GroupNormSpec& spec, const OpSite<T>& site)
        : Op<T>(traits_of(spec)),
          epsilon_(spec.eps),
          groups_(spec.num_groups),
          channels_(spec.num_channels),
          inner_(element_count(site.input()) / spec.num_channels),
          gamma_(site.value("weight")),
          beta_(site.value("bias")) {}

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        const index_t n = part.count, all = n * groups_;
        Scratch<double> moments(2 * all);
        const ChannelMoments found = {moments.data(), moments.data() + all};
        batch_norm_moments<T>({1, all, group_size()}, at.x[0].data, found);
        Scratch<T> factors(2 * n * channels_);
        T *scale = factors.data(), *shift = scale + n * channels_;
        const double count = static_cast<double>(std::max<index_t>(1, group_size()));
        for (index_t k = 0; k < all; ++k) {
            // Without pixels there are no moments.
            const T mean = static_cast<T>(group_size() ? found.mean[k] : 0);
            const double variance = group_size() ? found.squares[k] / count : 0;
            const T d = static_cast<T>(1 / std::sqrt(variance + epsilon_));
            if (at.saved) {
                T* const own = at.saved + k / groups_ * 2 * groups_ + k % groups_;
                own[0] = mean;
                own[groups_] = d;
            }
            const index_t each = channels_ / groups_;
            for (index_t j = 0; j < each; ++j) {
                const index_t channel = k % groups_ * each + j;
                scale[k * each + j] = d * gamma(channel);
                shift[k * each + j] = (beta_ ? beta_[channel] : T{}) - mean * scale[k * each + j];
            }
        }
        batch_norm<T>(channel_shape(n), at.x[0].data, scale, shift, at.y);
    }

    // Leaves of each channel of each sample the sum of grad, and that of grad (x - mean) d.
    void backward_data(const MicroBatch& part, const Operands<T>& at, const T* grad,
                       T* const* grad_x) const override {
        const index_t n = part.count, all = n * channels_, each = channels_ / groups_;
        Scratch<T> factors(4 * all);
        T *mean = factors.data(), *a = mean + all, *b = a + all, *c = b + all;
        Scratch<double> memory(2 * all);
        double *sums = memory.data(), *products = sums + all;
        for (index_t k = 0; k < all; ++k) mean[k] = saved_of(at, k)[0];
        batch_norm_gradient_sums<T>(channel_shape(n), grad, at.x[0].data, mean, sums, products, false);
        for (index_t k = 0; k < all; ++k) {
            products[k] *= static_cast<double>(saved_of(at, k)[groups_]);
            T* const own = at.left + k / channels_ * 2 * channels_ + k % channels_;
            own[0] = static_cast<T>(sums[k]);
            own[channels_] = static_cast<T>(products[k]);
        }
        if (!grad_x[0]) return;
        // With h = (x - mean) d and N elements: grad_x = d (gamma g - sum(gamma g) / N - h sum(gamma g h) /
        // N), as a g + b x + c.
        const double count = static_cast<double>(std::max<index_t>(1, group_size()));
        for (index_t first = 0; first < all; first += each) {
            const double d = static_cast<double>(saved_of(at, first)[groups_]);
            double sum = 0, product = 0;
            for (index_t k = first; k < first + each; ++k) {
                const double factor = static_cast<double>(gamma(k % channels_));
                sum += factor * sums[k];
                product += factor * products[k];
            }
            const double slope = -d * d * product / count;
            for (index_t k = first; k < first + each; ++k) {
                a[k] = static_cast<T>(d * static_cast<double>(gamma(k % channels_)));
                b[k] = static_cast<T>(slope);
                c[k] = static_cast<T>(-d * sum / count - slope * static_cast<double>(mean[k]));
            }
        }
        batch_norm_input_gradient<T>(channel_shape(n), grad, at.x[0].data, a, b, c, grad_x[0]);
    }

    void backward_weights(const MicroBatch& part, const Operands<T>& at, const T*,
                          const Sink<T>& sink) const override {
        T *to_gamma = sink.to, *to_beta = sink.to + (beta_ - gamma_);
        for (index_t c = 0; c < channels_; ++c) {
            double sum = 0, product = 0;
            for (index_t i = 0; i < part.count; ++i) {
                sum += static_cast<double>(at.left[i * 2 * channels_ + c]);
                product += static_cast<double>(at.left[(i * 2 + 1) * channels_ + c]);
            }
            to_gamma[c] = static_cast<T>(product) + (sink.accumulate ? to_gamma[c] : T{});
            to_beta[c] = static_cast<T>(sum) + (sink.accumulate ? to_beta[c] : T{});
        }
    }

private:
    static Traits traits_of(const GroupNormSpec& spec) {
        Traits traits;
        traits.reads_output = false;
        traits.trains = spec.affine;
        if (spec.affine) traits.weights = WeightGradient::partial_sums;
        traits.saved = 2 * spec.num_groups;
        traits.left = 2 * spec.num_channels;
        return traits;
    }

    index_t group_size() const { return channels_ / groups_ * inner_; }
    BatchNormShape channel_shape(index_t n) const { return {1, n * channels_, inner_}; }
    T gamma(index_t channel) const { return gamma_ ? gamma_[channel] : T(1); }
    // Mean of the group of a channel of a sample; its inverse deviation is groups_ behind.
    const T* saved_of(const Operands<T>& at, index_t k) const {
        return at.saved + k / channels_ * 2 * groups_ + k % channels_ / (channels_ / groups_);
    }

    double epsilon_;
    index_t groups_, channels_, inner_;  // inner: pixels of a channel
    const T *gamma_, *beta_;
};

}  // namespace

Shape infer_shape(const GroupNormSpec& spec, const InputShapes& inputs) {
    const Shape& input = inputs[0];
    if (spec.num_channels % spec.num_groups != 0)
        throw std::invalid_argument(
            "num_groups: expected a divisor of num_channels = " + std::to_string(spec.num_channels) +
            ", got " + std::to_string(spec.num_groups));
    if (input.empty() || input[0] != spec.num_channels)
        throw std::invalid_argument("expected samples of " + std::to_string(spec.num_channels) +
                                    " channels, got shape " + shape_text(input));
    return input;
}

template <class T>
std::unique_ptr<Op<T>> make_op(const GroupNormSpec& spec, const OpSite<T>& site) {
    return std::make_unique<GroupNormOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(GroupNormSpec)

}  // namespace ranvier
