// What the executor asks of an op: a node made ready to run, for one element type.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "graph.h"
#include "ranvier/parameters.h"

namespace ranvier {

enum class Direction;

// Groups of micro-batches whose sums are kept apart, at most: enough for many threads, few enough to add up.
inline constexpr index_t kMostGroups = 16;

// The samples [first, first + count) of a batch, which a thread takes through a segment. A group of
// micro-batches goes in order, on one thread, so that sums over a group have one order.
struct MicroBatch {
    index_t batch = 0;  // samples of the whole
    index_t first = 0;
    index_t count = 0;
    index_t group = 0, groups = 1;
    bool begins_group = true;
    index_t position = 0;    // of its first sample in the batch that random layers draw for
    std::uint64_t seed = 0;  // of random layers
    std::uint64_t step = 0;  // counts the training passes: each draws fresh masks
};

// The numbers that a random layer draws in a pass are those of a stream of its own. Streams below 2^48 are
// those of shuffles.
inline std::uint64_t stream_of(const MicroBatch& part, std::uint64_t layer) {
    return ((layer + 1) << 48) | part.step;
}

// Samples without gaps; or gathered rows: those of a table, picked by their offsets.
template <class T>
struct Rows {
    const T* data = nullptr;
    const index_t* offsets = nullptr;

    Rows from(index_t sample, index_t size) const {
        return offsets ? Rows{data, offsets + sample} : Rows{data + sample * size, nullptr};
    }
    const T* row(index_t i, index_t size) const { return data + (offsets ? offsets[i] : i * size); }
};

// An op's operands for a micro-batch: its inputs, its output, what forward saves for backward, and what
// backward_data leaves for backward_weights. What is saved lies sample by sample: backward may be called for
// other parts of the batch than forward.
template <class T>
struct Operands {
    const Rows<T>* x;
    T* y;
    T* saved;
    T* left = nullptr;
};

// How the gradients of an op's parameters are made.
enum class WeightGradient {
    none,          // there are no parameters
    partial_sums,  // by each micro-batch, added up over a group; the groups' sums, if any, are then added
    at_once,       // by a product over the whole batch, once all gradients to the output are there
    in_reduction,  // from the sums over the batch that reduce() takes
};

// Where the gradients of an op's parameters go. The parameters of an op are a block of the flat buffer; `to`
// is where the gradient of its element `begin` belongs.
template <class T>
struct Sink {
    T* to;
    index_t begin = 0, end = 0;  // elements of the block to make; at_once alone makes less than all
    bool accumulate = false;     // adds to what is there
};

// What the schedule must know of an op, as data.
struct Traits {
    bool reads_input = true;        // backward reads the inputs
    bool reads_output = true;       // backward reads the output
    bool reads_rows_apart = false;  // takes gathered rows
    bool whole_batch = false;       // takes the batch at once, on the calling thread
    bool reduces = false;           // needs sums over the batch before forward and before backward_data
    bool trains = false;            // changes in training
    bool recomputable = false;      // forward costs less than reading from memory what it has written there
    WeightGradient weights = WeightGradient::none;
    index_t range_unit = 1;  // at_once: ranges of parameters are cut at multiples of this
    double flops = 0;        // multiplications and additions of a sample's forward pass; 0 if not a product
    index_t saved = 0;       // elements that forward saves for backward, of a sample
    index_t left = 0;        // elements that backward_data leaves for backward_weights, of a sample
    index_t fewest_samples = 1;  // that it wants at a time, since its products have so many rows
};

// What micro-batches are going to ask of an op, on any number of threads at once.
enum class Use {
    one_pass,        // a pass of few samples, by the weights of now
    batch,           // a pass of many samples, by the weights of now
    frozen_outputs,  // outputs, by weights that never change
    backward_data,   // the gradient to the inputs, micro-batch by micro-batch
    weight_ranges,   // the gradient of the parameters, range by range
};
template <class T>
struct Preparation {
    Use use;
    // Of weight_ranges: the batch, and the gradient to its output, which is multiplied by the factor.
    const MicroBatch* whole = nullptr;
    const T* grad = nullptr;
    T factor = 1;

    bool begins_pass() const { return use <= Use::frozen_outputs; }
};

// The sums of an op if others take further parts of the batch, between its reduce() and its combine(): how
// many numbers they are, those of the part at hand, and those of all parts, which combine() then takes
// instead, but for the gradients.
class SharedSums {
public:
    virtual index_t size() const = 0;
    virtual void get(const MicroBatch& part, Direction direction, double* own) = 0;
    virtual void set(Direction direction, index_t parts, const double* all) = 0;

protected:
    ~SharedSums() = default;
};

template <class T>
class Op {
public:
    explicit Op(const Traits& given) : traits(given) {}
    virtual ~Op() = default;

    // Brings weights, or the gradient to the output, into the form in which kernels read them.
    virtual void prepare(const Preparation<T>&) {}
    // y = f(x), with post-ops. `saved` is nullptr if no backward pass follows.
    virtual void forward(const MicroBatch& part, const Operands<T>& at) const = 0;
    // Of an op that reduces: this micro-batch's share of the sums over the batch, which combine() then adds
    // up, for the forward pass, or for the backward pass from the gradient to the output. If there is an
    // activation, the gradient before it goes to `before`. `gradients` is where those of the op's block of
    // parameters go, if they are made in the reduction; nullptr: nobody needs them.
    virtual void reduce(const MicroBatch&, const Rows<T>*) {}
    virtual void reduce_gradient(const MicroBatch&, const Operands<T>&, const T* /*grad*/, T* /*before*/) {}
    virtual void combine(const MicroBatch&, Direction, T* /*gradients*/) {}
    // Writes the gradients to those inputs whose grad_x is not nullptr, from that to the output before the
    // activation. grad_x may not be grad. It is called before backward_weights, whatever is wanted.
    virtual void backward_data(const MicroBatch&, const Operands<T>&, const T* /*grad*/,
                               T* const* /*grad_x*/) const {}
    virtual void backward_weights(const MicroBatch&, const Operands<T>&, const T* /*grad*/,
                                  const Sink<T>&) const {}
    // After a training pass whose values were all finite: takes over what it has observed.
    virtual void update_statistics() {}

    const Traits traits;
    SharedSums* shared_sums = nullptr;  // of an op that reduces, if its sums can be over further parts
};

// Where an op stands.
template <class T>
struct OpSite {
    const Node& node;
    const Shape& output;  // of a sample
    Parameters<T>& parameters;
    bool training;  // else evaluation
    bool backward;  // a backward pass may follow

    const Shape& input(std::size_t i = 0) const { return node.inputs[i].shape; }
    T* value(const char* name) const { return value_of(node.path, name); }
    // The place of a parameter; nullptr if there is none of that name.
    T* value_of(const std::string& path, const char* name) const {
        const ParameterEntry* entry = parameters.find(path, name);
        return entry ? parameters.value(*entry) : nullptr;
    }
};

template <class T>
std::unique_ptr<Op<T>> make_op(const OpSite<T>& site);

// The makers of each family, in the file of that name.
#define RANVIER_OP_MAKER(Spec) \
    template <class T>         \
    std::unique_ptr<Op<T>> make_op(const Spec& spec, const OpSite<T>& site);
RANVIER_OP_MAKER(LinearSpec)
RANVIER_OP_MAKER(Conv2dSpec)
RANVIER_OP_MAKER(Pool2dSpec)
RANVIER_OP_MAKER(AdaptivePool2dSpec)
RANVIER_OP_MAKER(DropoutSpec)
RANVIER_OP_MAKER(GaussianNoiseSpec)
RANVIER_OP_MAKER(RandomShiftSpec)
RANVIER_OP_MAKER(RandomRotationSpec)
RANVIER_OP_MAKER(RandomHorizontalFlipSpec)
RANVIER_OP_MAKER(RandomCropSpec)
RANVIER_OP_MAKER(ActivationSpec)
RANVIER_OP_MAKER(PReLUSpec)
RANVIER_OP_MAKER(RReLUSpec)
RANVIER_OP_MAKER(MaxoutSpec)
RANVIER_OP_MAKER(SoftmaxSpec)
RANVIER_OP_MAKER(BatchNormSpec)
RANVIER_OP_MAKER(LayerNormSpec)
RANVIER_OP_MAKER(StandardizeSpec)
RANVIER_OP_MAKER(EmbeddingSpec)
RANVIER_OP_MAKER(GroupNormSpec)
RANVIER_OP_MAKER(ConvTranspose2dSpec)
RANVIER_OP_MAKER(UpsampleSpec)
RANVIER_OP_MAKER(RecurrentLayerSpec)
RANVIER_OP_MAKER(CustomSpec)
RANVIER_OP_MAKER(AddSpec)
RANVIER_OP_MAKER(ConcatSpec)
RANVIER_OP_MAKER(SliceSpec)
#undef RANVIER_OP_MAKER

}  // namespace ranvier
