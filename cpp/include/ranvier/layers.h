// The layers of a network, as plain data. A LayerSpec says everything about a layer but its parameters'
// values.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "ranvier/activation.h"
#include "ranvier/array.h"

namespace ranvier {

using Shape = std::vector<index_t>;

struct LinearSpec {
    index_t in_features, out_features;
    bool bias = true;
    double l1 = 0, l2 = 0;  // of the weight
    double max_norm = 0;    // of the weights that lead to an output; 0: any
};
// Convolutions and poolings with `axes` = 1 take samples of (channels, length), as images of height 1; their
// fields' first numbers are those of such a height.
struct Conv2dSpec {
    index_t in_channels, out_channels;
    index_t kernel[2], stride[2], padding[2], dilation[2];
    index_t groups = 1;
    bool bias = true;
    double l1 = 0, l2 = 0;          // of the weight
    double max_norm = 0;            // as of LinearSpec
    index_t extra_padding[2] = {};  // as of Conv2dShape
    int axes = 2;
};
// What a convolution of that weight computes as the gradient to its input, plus the bias.
struct ConvTranspose2dSpec {
    index_t in_channels, out_channels;
    index_t kernel[2], stride[2], padding[2], output_padding[2], dilation[2];
    index_t groups = 1;
    bool bias = true;
};
struct Pool2dSpec {
    bool maximum;  // else average
    index_t kernel[2], stride[2], padding[2];
    bool ceil_mode = false, count_include_pad = true;  // as of Pool2dShape
    int axes = 2;
};
// Windows so that planes become planes of that size; 0: of the size that they have.
struct AdaptivePool2dSpec {
    bool maximum;  // else average
    index_t output[2];
    int axes = 2;
};
// The mean of each channel's plane.
struct GlobalAvgPool2dSpec {};
struct IdentitySpec {};
struct FlattenSpec {};
// One axis of a sample as several; one of their sizes may be -1, which is what is left.
struct UnflattenSpec {
    index_t axis;
    Shape sizes;
};
struct DropoutSpec {
    double p;
    int axes = 0;  // 0: elements; 1 or 2: whole channels of samples with so many axes behind them
};
// Adds N(0, std^2) to each element in training.
struct GaussianNoiseSpec {
    double std;
};
// Images moved, turned, mirrored and cut at random in training; see augment.h.
struct RandomShiftSpec {
    index_t pixels;
};
struct RandomRotationSpec {
    double degrees;
};
struct RandomHorizontalFlipSpec {
    double p;
};
// In evaluation the window in the middle.
struct RandomCropSpec {
    index_t size[2], padding[2];
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

// Over the samples of a batch, and over a channel's numbers: its pixels with `axes` = 3; with 1 those of
// lines of (channels, length), if samples have two axes. `momentum` is the new batch's share in the running
// mean and variance that evaluation uses.
struct BatchNormSpec {
    index_t num_features;
    double eps, momentum;
    bool affine;
    int axes;
};
// Over the last axes of a sample, which have this shape.
struct LayerNormSpec {
    Shape normalized_shape;
    double eps;
    bool elementwise_affine;
};
// Over some neighbouring channels, with all their pixels.
struct GroupNormSpec {
    index_t num_groups, num_channels;
    double eps;
    bool affine;
};
// Images enlarged.
struct UpsampleSpec {
    double scale_factor[2];
    bool bilinear;  // else nearest
    bool align_corners;
};
// The row of a table for each index, a number of a sample: samples have one more axis behind.
struct EmbeddingSpec {
    index_t num_embeddings, embedding_dim;
};
// Recurrent layers one above the other: samples of (time, input_size), whose states are 0 at first. Outputs
// are the states of the uppermost after each time step, (time, hidden_size), or after the last one.
enum class RecurrentCell { gru, lstm };
struct RecurrentSpec {
    RecurrentCell cell;
    index_t input_size, hidden_size, num_layers;
    bool bias;
    bool return_sequences;  // else the last
};
// (x - mean) / std along the first axis of a sample, by statistics that are set from outside.
struct StandardizeSpec {
    index_t num_features;
};

// A layer that the program around the library computes. It is called for one batch at a time, without gaps,
// on the thread that runs the network; what it throws goes through to that thread's caller.
class CustomLayer {
public:
    template <class T>
    struct Forward {
        Shape batch_in;
        const T* x;
        Shape batch_out;
        T* y;
        std::vector<const T*> parameters;  // C-ordered
        bool training;                     // else evaluation
        bool keeps;                        // a backward pass may follow
        std::uint64_t seed, stream;        // of the random numbers that it may draw in training
    };
    // Of the last forward pass that keeps what this one needs.
    template <class T>
    struct Backward {
        Shape batch_out;
        const T* grad;
        Shape batch_in;
        T* grad_x;                  // nullptr: not wanted
        std::vector<T*> gradients;  // of the parameters, to be written
    };

    virtual ~CustomLayer() = default;
    virtual std::string name() const = 0;
    virtual Shape output_shape(const Shape& input) = 0;
    // The names and shapes of those that optimizers train.
    virtual const std::vector<std::pair<std::string, Shape>>& parameters() const = 0;
    // Whether it changes itself in backward passes, and thus wants one though nobody needs its gradients.
    virtual bool trains_itself() const = 0;
    virtual void forward(const Forward<float>& pass) = 0;
    virtual void forward(const Forward<double>& pass) = 0;
    virtual void backward(const Backward<float>& pass) = 0;
    virtual void backward(const Backward<double>& pass) = 0;
};
struct CustomSpec {
    std::shared_ptr<CustomLayer> layer;
};

// The sum of several inputs, which have one shape.
struct AddSpec {};
// Several inputs one behind the other along the first axis of a sample.
struct ConcatSpec {};

struct LayerSpec;
// layers(x) + shortcut(x), an empty shortcut being x itself (He et al. 2016).
struct ResidualSpec {
    std::vector<LayerSpec> layers, shortcut;
};
// The branches' outputs of the same x, one behind the other along the first axis (Szegedy et al. 2015).
struct ParallelSpec {
    std::vector<std::vector<LayerSpec>> branches;
};

struct LayerSpec
    : std::variant<LinearSpec, Conv2dSpec, Pool2dSpec, AdaptivePool2dSpec, GlobalAvgPool2dSpec, IdentitySpec,
                   FlattenSpec, UnflattenSpec, DropoutSpec, GaussianNoiseSpec, RandomShiftSpec,
                   RandomRotationSpec, RandomHorizontalFlipSpec, RandomCropSpec, ActivationSpec, PReLUSpec,
                   RReLUSpec, MaxoutSpec, SoftmaxSpec, BatchNormSpec, LayerNormSpec, StandardizeSpec,
                   UpsampleSpec, ConvTranspose2dSpec, GroupNormSpec, EmbeddingSpec, RecurrentSpec,
                   ResidualSpec, ParallelSpec, CustomSpec, AddSpec, ConcatSpec> {
    using variant::variant;
};

// How layers are connected that do not stand one behind the other. A sample of several inputs is a row of
// theirs, one behind the other, and so are several outputs.
struct Wiring {
    std::vector<Shape> inputs;  // of a sample
    // Of each layer: the positions of layers before it, and -1 - k for input k.
    std::vector<std::vector<int>> sources;
    std::vector<int> outputs;  // likewise

    bool is_list() const { return inputs.empty(); }
};

// The shape of a sample of the layer's output, from those of its inputs. Throws std::invalid_argument, naming
// the layer, if it does not fit these.
Shape output_shape(const LayerSpec& layer, const std::vector<Shape>& inputs);

// The layer's name in Python and in messages: "Linear", "ReLU".
std::string layer_name(const LayerSpec& layer);

// "(1, 28, 28)"
std::string shape_text(const Shape& shape);

// The product of the sizes.
index_t element_count(const Shape& shape);

}  // namespace ranvier
