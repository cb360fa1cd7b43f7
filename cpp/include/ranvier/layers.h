// The layers of a network, as plain data. A LayerSpec says everything about a layer but its parameters'
// values.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "ranvier/activation.h"
#include "ranvier/array.h"

namespace ranvier {

using Shape = std::vector<index_t>;

struct LinearSpec {
    index_t in_features, out_features;
    bool bias = true;
};
struct Conv2dSpec {
    index_t in_channels, out_channels;
    index_t kernel[2], stride[2], padding[2], dilation[2];
    index_t groups = 1;
    bool bias = true;
};
struct Pool2dSpec {
    bool maximum;  // else average
    index_t kernel[2], stride[2], padding[2];
};
struct FlattenSpec {};
struct DropoutSpec {
    double p;
};
struct ActivationSpec {
    Activation kind;
    double parameter = 0;
};
struct PReLUSpec {
    index_t num_parameters;
};
struct RReLUSpec {
    double lower, upper;
};
struct MaxoutSpec {
    index_t pieces;
};
struct SoftmaxSpec {
    bool logarithm;
};

using LayerSpec = std::variant<LinearSpec, Conv2dSpec, Pool2dSpec, FlattenSpec, DropoutSpec, ActivationSpec,
                               PReLUSpec, RReLUSpec, MaxoutSpec, SoftmaxSpec>;

// The layer's name in Python and in messages: "Linear", "ReLU".
std::string layer_name(const LayerSpec& layer);

// "(1, 28, 28)"
std::string shape_text(const Shape& shape);

// The product of the sizes.
index_t element_count(const Shape& shape);

}  // namespace ranvier
