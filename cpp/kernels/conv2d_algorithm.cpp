// The choice of the cheapest algorithm that applies, or of the one that is asked for.
#include "conv2d_algorithm.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "conv2d_cost.h"
#include "conv2d_depthwise.h"
#include "conv2d_taps.h"

namespace ranvier {
namespace {

std::atomic<Conv2dAlgorithm> requested{Conv2dAlgorithm::automatic};

template <class T>
bool applies(const WinogradTransforms<T>& t, const Conv2dShape& s) {
    return s.kernel_height == t.kernel && s.kernel_width == t.kernel && s.stride_height == 1 &&
           s.stride_width == 1 && s.dilation_height == 1 && s.dilation_width == 1 && s.groups == 1 &&
           s.padding_height == s.padding_width && s.padding_height >= 0 && s.in_channels > 0;
}

// body(choice, cycles) for all algorithms that apply.
template <class T, class Body>
void for_each_algorithm(const Conv2dShape& s, Conv2dPass pass, Body&& body) {
    const double planes = planes_cost<T>(s, pass);
    if (is_depthwise(s) || s.in_channels == 0) return body(Conv2dChoice<T>{}, planes);
    body(Conv2dChoice<T>{Conv2dAlgorithm::planes}, planes);
    body(Conv2dChoice<T>{Conv2dAlgorithm::channels_last}, channels_last_cost<T>(s, pass));
    const Conv2dShape computed = pass == Conv2dPass::backward_input ? reversed(s) : s;
    for (const auto& t : kernels<T>().winograd->transforms)
        if (applies(t, computed))
            body(Conv2dChoice<T>{t.tile == 2 ? Conv2dAlgorithm::winograd_2 : Conv2dAlgorithm::winograd_4, &t},
                 winograd_cost(t, computed, pass));
}

}  // namespace

void set_conv2d_algorithm(Conv2dAlgorithm algorithm) { requested = algorithm; }

template <class T>
Conv2dChoice<T> choose_algorithm(const Conv2dShape& s, Conv2dPass pass) {
    const Conv2dAlgorithm request = requested;
    // Who asks for double precision wants the digits.
    const bool winograd = request == Conv2dAlgorithm::automatic && sizeof(T) == sizeof(float);
    Conv2dChoice<T> best;
    double least = std::numeric_limits<double>::infinity();
    for_each_algorithm<T>(s, pass, [&](const Conv2dChoice<T>& choice, double cycles) {
        if (choice.algorithm == request)
            cycles = 0;
        else if (choice.transforms && !winograd)
            return;
        if (cycles >= least) return;
        best = choice;
        least = cycles;
    });
    return best;
}

Conv2dShape reversed(const Conv2dShape& shape) {
    Conv2dShape r = shape;
    r.in_channels = shape.out_channels;
    r.in_height = shape.out_height();
    r.in_width = shape.out_width();
    r.out_channels = shape.in_channels;
    r.padding_height = shape.kernel_height - 1 - shape.padding_height;
    r.padding_width = shape.kernel_width - 1 - shape.padding_width;
    r.extra_height = -shape.extra_height;
    r.extra_width = -shape.extra_width;
    return r;
}

std::vector<Conv2dCost> conv2d_costs(const Conv2dShape& whole, Conv2dPass pass) {
    std::vector<Conv2dCost> costs;
    for_each_algorithm<float>(ReadTaps(whole).shape, pass,
                              [&](const Conv2dChoice<float>& choice, double cycles) {
                                  costs.push_back({choice.algorithm, cycles});
                              });
    std::stable_sort(costs.begin(), costs.end(),
                     [](const Conv2dCost& a, const Conv2dCost& b) { return a.cycles < b.cycles; });
    return costs;
}

template Conv2dChoice<float> choose_algorithm(const Conv2dShape&, Conv2dPass);
template Conv2dChoice<double> choose_algorithm(const Conv2dShape&, Conv2dPass);

}  // namespace ranvier
