// The choice between the direct algorithm and Winograd's.
#include "conv2d_algorithm.h"

#include <algorithm>
#include <atomic>

#include "conv2d_taps.h"

namespace ranvier {
namespace {

std::atomic<Conv2dAlgorithm> requested{Conv2dAlgorithm::automatic};

// Costs are processor cycles for one image. Those of transforms are for a vector of channels of one tile, in
// units of its points; they were measured on AVX-512 and scale with the number of vectors.
constexpr double kImageTransform = 8;   // gathering included
constexpr double kOutputTransform = 5;  // of the outputs, or their gradient
constexpr double kWeightTransform = 5;
constexpr double kSumTraffic = 7;  // of the weights' gradient before its transform, to memory and back
constexpr double kBatch = 4;       // images that are taken to share the weights' transform
constexpr double kProductsPerCycle = 1.6;
constexpr double kDirectProductsPerCycle = 1.7;

double vectors(index_t channels, index_t lanes) { return static_cast<double>(ceil_div(channels, lanes)); }

template <class T>
bool applies(const WinogradTransforms<T>& t, const Conv2dShape& s) {
    return s.kernel_height == t.kernel && s.kernel_width == t.kernel && s.stride_height == 1 &&
           s.stride_width == 1 && s.dilation_height == 1 && s.dilation_width == 1 && s.groups == 1 &&
           s.padding_height == s.padding_width && s.padding_height >= 0 && s.in_channels > 0;
}

template <class T>
double direct_cost(const Conv2dShape& s) {
    const double taps = static_cast<double>(s.in_channels / s.groups * s.kernel_height * s.kernel_width);
    const double outputs = static_cast<double>(s.out_height() * s.out_width() * s.out_channels);
    return taps * outputs / static_cast<double>(kernels<T>().winograd->lanes) / kDirectProductsPerCycle;
}

// What the weights cost besides: so much for a vector of them at each point of a tile, once for a batch.
struct WeightCost {
    double vector, batch;

    static WeightCost for_outputs() { return {kWeightTransform, kBatch}; }
    static WeightCost for_weights(const Conv2dShape& s) {
        return {kSumTraffic, static_cast<double>(s.batch)};
    }
};

template <class T>
double winograd_cost(const WinogradTransforms<T>& t, const Conv2dShape& s, WeightCost weights) {
    const index_t lanes = kernels<T>().winograd->lanes;
    const double tiles =
        static_cast<double>(ceil_div(s.out_height(), t.tile) * ceil_div(s.out_width(), t.tile));
    const double in = static_cast<double>(s.in_channels), out = vectors(s.out_channels, lanes);
    const double of_tile = in * out / kProductsPerCycle + vectors(s.in_channels, lanes) * kImageTransform +
                           out * kOutputTransform;
    return static_cast<double>(t.points() * t.points()) *
           (tiles * of_tile + in * out * weights.vector / weights.batch);
}

template <class T>
const WinogradTransforms<T>* choose(const Conv2dShape& s, WeightCost weights) {
    const Conv2dAlgorithm request = requested;
    if (request == Conv2dAlgorithm::direct || request == Conv2dAlgorithm::planes ||
        request == Conv2dAlgorithm::channels_last)
        return nullptr;
    // Who asks for double precision wants the digits.
    if (request == Conv2dAlgorithm::automatic && sizeof(T) > sizeof(float)) return nullptr;
    const index_t tile = request == Conv2dAlgorithm::winograd_2   ? 2
                         : request == Conv2dAlgorithm::winograd_4 ? 4
                                                                  : 0;
    const WinogradTransforms<T>* best = nullptr;
    double least = direct_cost<T>(s);
    for (const auto& t : kernels<T>().winograd->transforms) {
        if (!applies(t, s)) continue;
        if (tile == t.tile) return &t;
        const double cost = winograd_cost(t, s, weights);
        if (tile == 0 && cost < least) {
            best = &t;
            least = cost;
        }
    }
    return best;
}

}  // namespace

void set_conv2d_algorithm(Conv2dAlgorithm algorithm) { requested = algorithm; }

template <class T>
const WinogradTransforms<T>* winograd_for_outputs(const Conv2dShape& shape) {
    return choose<T>(shape, WeightCost::for_outputs());
}

template <class T>
const WinogradTransforms<T>* winograd_for_weights(const Conv2dShape& shape) {
    return choose<T>(shape, WeightCost::for_weights(shape));
}

template <class T>
bool is_channels_last(const Conv2dShape& s, Conv2dPass pass) {
    if (requested == Conv2dAlgorithm::planes || s.in_channels == 0) return false;
    if (requested == Conv2dAlgorithm::channels_last) return true;
    const bool pw = s.kernel_height == 1 && s.kernel_width == 1 && s.stride_height == 1 && s.stride_width == 1 &&
           s.padding_height == 0 && s.padding_width == 0 && s.groups == 1;
    if (pw && (pass != Conv2dPass::backward_weights || s.in_height * s.in_width >= 64)) return false;
    return s.groups == 1 && s.in_channels >= 8 && s.out_channels >= 8;
}

Conv2dShape reversed(const Conv2dShape& shape) {
    Conv2dShape r = shape;
    r.in_channels = shape.out_channels;
    r.in_height = shape.out_height();
    r.in_width = shape.out_width();
    r.out_channels = shape.in_channels;
    r.padding_height = shape.kernel_height - 1 - shape.padding_height;
    r.padding_width = shape.kernel_width - 1 - shape.padding_width;
    return r;
}

std::vector<Conv2dCost> conv2d_costs(const Conv2dShape& whole, Conv2dPass pass) {
    const Conv2dShape shape = ReadTaps(whole).shape;
    const Conv2dShape s = pass == Conv2dPass::backward_input ? reversed(shape) : shape;
    const WeightCost weights =
        pass == Conv2dPass::backward_weights ? WeightCost::for_weights(shape) : WeightCost::for_outputs();
    std::vector<Conv2dCost> costs;
    for (const auto& t : kernels<float>().winograd->transforms)
        if (applies(t, s))
            costs.push_back({t.tile == 2 ? Conv2dAlgorithm::winograd_2 : Conv2dAlgorithm::winograd_4,
                             winograd_cost(t, s, weights)});
    // Where there is no choice, the shape that is turned round may be none.
    const double direct = direct_cost<float>(costs.empty() ? shape : s);
    costs.insert(costs.begin(), {Conv2dAlgorithm::direct, direct});
    std::stable_sort(costs.begin(), costs.end(),
                     [](const Conv2dCost& a, const Conv2dCost& b) { return a.cycles < b.cycles; });
    return costs;
}

template bool is_channels_last<float>(const Conv2dShape&, Conv2dPass);
template bool is_channels_last<double>(const Conv2dShape&, Conv2dPass);
template const WinogradTransforms<float>* winograd_for_outputs(const Conv2dShape&);
template const WinogradTransforms<double>* winograd_for_outputs(const Conv2dShape&);
template const WinogradTransforms<float>* winograd_for_weights(const Conv2dShape&);
template const WinogradTransforms<double>* winograd_for_weights(const Conv2dShape&);

}  // namespace ranvier
