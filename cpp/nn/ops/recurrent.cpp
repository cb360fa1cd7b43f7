// Recurrent layers (GRU and LSTM): one call for a sequence, forward and back through time.
//
// Rows of time steps go time by time: the micro-batch's samples of the first step, then those of the second.
#include "ranvier/recurrent.h"

#include <algorithm>
#include <stdexcept>

#include "instantiate.h"
#include "ranvier/matmul.h"
#include "ranvier/memory.h"
#include "ranvier/sizes.h"

namespace ranvier {
namespace {

// Rows of inputs that are multiplied at a time: enough for a fast product, whose result stays in a cache.
constexpr index_t kRows = 128;
// Samples at a time: each time step is a product of so many rows.
constexpr index_t kFewestSamples = 16;

// Neighbouring gates: where they are in a row of grad_gates, and in one of the weights.
struct GateRange {
    index_t in_gradient, in_weight, width;
};

template <class T>
class RecurrentOp final : public Op<T> {
public:
    RecurrentOp(const RecurrentLayerSpec& spec, const OpSite<T>& site)
        : Op<T>(traits_of(spec, site)),
          lstm_(spec.cell == RecurrentCell::lstm),
          sequences_(spec.return_sequences),
          backward_(site.backward),
          steps_(site.input()[0]),
          features_(spec.input_size),
          hidden_(spec.hidden_size),
          gates_(gate_count(spec.cell) * spec.hidden_size),
          input_weight_(weight(site, "weight_ih", spec.input_size)),
          state_weight_(weight(site, "weight_hh", spec.hidden_size)),
          input_bias_(site.value(name(site, "bias_ih").c_str())),
          state_bias_(site.value(name(site, "bias_hh").c_str())),
          zeros_(gates_) {
        if (lstm_)
            input_gates_ = {{0, 0, gates_}};
        else
            input_gates_ = {{hidden_, 0, 2 * hidden_}, {0, 2 * hidden_, hidden_}};
    }

    void prepare(const Preparation<T>& next) override {
        if (!next.begins_pass()) return;
        packed_ = next.use != Use::one_pass;
        if (packed_) packed_state_weight_.pack(state_weight_);
        if (!backward_) return;
        packed_state_transposed_.pack(transposed(state_weight_));
        packed_input_transposed_.resize(input_gates_.size());
        for (std::size_t k = 0; k < input_gates_.size(); ++k)
            packed_input_transposed_[k].pack(transposed(columns(input_weight_, input_gates_[k])));
    }

    void forward(const MicroBatch& part, const Operands<T>& at) const override {
        const index_t n = part.count;
        if (n == 0) return;
        const index_t block = std::clamp<index_t>(kRows / n, 1, steps_);
        Scratch<T> from_input(block * n * gates_), from_state(n * gates_);
        // Without a backward pass two states are kept, and the cell is overwritten.
        const bool keeps = at.saved;
        Scratch<T> states(keeps || sequences_ ? 0 : 2 * n * hidden_),
            cells(keeps || !lstm_ ? 0 : n * hidden_);
        const Sequence<T> state =
            keeps || sequences_ ? kept_states(at) : Sequence<T>{states.data(), hidden_, n * hidden_, 2};
        const Sequence<T> cell = keeps ? kept_cells(at) : Sequence<T>{cells.data(), hidden_, 0, 1};
        const Sequence<T> gates = {at.saved, saved_size(), 4 * hidden_, steps_};
        for (index_t t = 0; t < steps_; ++t) {
            const index_t in_block = t % block;
            if (in_block == 0) multiply_inputs(at.x[0], n, t, std::min(block, steps_ - t), from_input.data());
            if (t > 0) multiply_states(state.at(t - 1), n, from_state.data());
            const SampleRows<const T> input = {from_input.data() + in_block * n * gates_, gates_};
            const SampleRows<const T> recurrent =
                t > 0 ? SampleRows<const T>{from_state.data(), gates_}
                      : SampleRows<const T>{state_bias_ ? state_bias_ : zeros_.data(), 0};
            const SampleRows<T> after =
                !sequences_ && t == steps_ - 1 ? SampleRows<T>{at.y, hidden_} : state.at(t);
            const SampleRows<T> to_gates = keeps ? gates.at(t) : SampleRows<T>{};
            if (lstm_)
                lstm_step<T>(n, hidden_, input, recurrent, before(cell, t), to_gates, cell.at(t), after);
            else
                gru_step<T>(n, hidden_, input, recurrent, before(state, t), to_gates, after);
        }
    }

    // Leaves the gradients to all gates, in rows of four.
    void backward_data(const MicroBatch& part, const Operands<T>& at, const T* grad,
                       T* const* grad_x) const override {
        const index_t n = part.count, row = 4 * hidden_;
        if (n == 0) return;
        const Sequence<T> state = kept_states(at), cell = kept_cells(at);
        const Sequence<T> gates = {at.saved, saved_size(), row, steps_};
        const Sequence<const T> grad_y = {grad, steps_ * hidden_, hidden_, steps_};
        Scratch<T> to_state(n * hidden_), to_cell(lstm_ ? n * hidden_ : 0);
        std::fill_n(to_state.data(), n * hidden_, T{});
        if (lstm_) std::fill_n(to_cell.data(), n * hidden_, T{});
        const SampleRows<T> grad_state = {to_state.data(), hidden_}, grad_cell = {to_cell.data(), hidden_};
        Epilogue<T> adding;
        adding.accumulate = !lstm_;
        for (index_t t = steps_; t-- > 0;) {
            SampleRows<const T> grad_output = {};
            if (sequences_)
                grad_output = grad_y.at(t);
            else if (t == steps_ - 1)
                grad_output = {grad, hidden_};
            T* const own = at.left + t * n * row;
            if (lstm_)
                lstm_step_backward<T>(n, hidden_, gates.at(t), before(cell, t), cell.at(t), grad_output,
                                      grad_state, grad_cell, {own, row});
            else
                gru_step_backward<T>(n, hidden_, gates.at(t), before(state, t), grad_output, grad_state,
                                     {own, row});
            if (t > 0)
                matmul<T>(state_gates(own, n), packed_state_transposed_,
                          row_major(to_state.data(), n, hidden_), adding);
        }
        if (grad_x[0]) multiply_gradients(at.left, n, grad_x[0]);
    }

    void backward_weights(const MicroBatch& part, const Operands<T>& at, const T*,
                          const Sink<T>& sink) const override {
        const index_t n = part.count, rows = steps_ * n, row = 4 * hidden_;
        const T* first = input_weight_.data;
        Epilogue<T> adding;
        adding.accumulate = sink.accumulate;
        Scratch<index_t> offsets(rows);
        const ScatteredRows<T> x = inputs(at.x[0], n, 0, steps_, offsets.data());
        for (const GateRange& range : input_gates_) {
            const Matrix<const T> grad = {at.left + range.in_gradient, rows, range.width, row, 1};
            matmul_transposed<T>(
                x, grad, {sink.to + range.in_weight, features_, range.width, input_weight_.row_stride, 1},
                adding);
            if (input_bias_)
                sum_rows(grad, sink.to + (input_bias_ - first) + range.in_weight, sink.accumulate);
        }
        const Sequence<T> state = kept_states(at);
        for (index_t k = 0; k < rows - n; ++k)
            offsets.data()[k] = k % n * state.sample_stride + k / n * state.step_stride;
        matmul_transposed<T>(
            ScatteredRows<T>{state.data, offsets.data(), rows - n, hidden_},
            state_gates(at.left + n * row, rows - n),
            {sink.to + (state_weight_.data - first), hidden_, gates_, state_weight_.row_stride, 1}, adding);
        if (state_bias_)
            sum_rows(state_gates(at.left, rows), sink.to + (state_bias_ - first), sink.accumulate);
    }

private:
    // What there is of each sample after each time step; of few steps, which take turns, if not all are kept.
    template <class U>
    struct Sequence {
        U* data;
        index_t sample_stride, step_stride, steps;

        SampleRows<U> at(index_t t) const { return {data + t % steps * step_stride, sample_stride}; }
    };

    static index_t gate_count(RecurrentCell cell) { return cell == RecurrentCell::gru ? 3 : 4; }
    static std::string name(const OpSite<T>& site, const char* parameter) {
        return parameter + site.node.parameters;
    }
    // As it lies in memory: (in, gates).
    static Matrix<const T> weight(const OpSite<T>& site, const char* parameter, index_t in) {
        const std::string full = name(site, parameter);
        const ParameterEntry& entry = *site.parameters.find(site.node.path, full.c_str());
        return {site.value(full.c_str()), in, entry.shape[0], entry.strides[1], 1};
    }
    static Matrix<const T> columns(const Matrix<const T>& weight, const GateRange& range) {
        return {weight.data + range.in_weight, weight.rows, range.width, weight.row_stride, 1};
    }

    // Of a sample forward saves the gates, then the cells of an LSTM, then the states unless they are the
    // output.
    static Traits traits_of(const RecurrentLayerSpec& spec, const OpSite<T>& site) {
        const index_t steps = site.input()[0], cells = spec.cell == RecurrentCell::lstm;
        Traits traits;
        traits.reads_output = spec.return_sequences;
        traits.reads_rows_apart = true;
        traits.trains = true;
        traits.weights = WeightGradient::partial_sums;
        traits.flops = 2.0 * static_cast<double>(steps * gate_count(spec.cell) * spec.hidden_size) *
                       static_cast<double>(spec.input_size + spec.hidden_size);
        traits.left = steps * 4 * spec.hidden_size;
        traits.saved = traits.left + (cells + !spec.return_sequences) * steps * spec.hidden_size;
        traits.fewest_samples = kFewestSamples;
        return traits;
    }
    index_t saved_size() const { return this->traits.saved; }
    Sequence<T> kept_cells(const Operands<T>& at) const {
        return {at.saved + steps_ * 4 * hidden_, saved_size(), hidden_, steps_};
    }
    Sequence<T> kept_states(const Operands<T>& at) const {
        if (sequences_) return {at.y, steps_ * hidden_, hidden_, steps_};
        return {at.saved + steps_ * (lstm_ ? 5 : 4) * hidden_, saved_size(), hidden_, steps_};
    }
    SampleRows<const T> before(const Sequence<T>& sequence, index_t t) const {
        return t > 0 ? SampleRows<const T>(sequence.at(t - 1)) : SampleRows<const T>{zeros_.data(), 0};
    }

    // The inputs of some time steps.
    ScatteredRows<T> inputs(const Rows<T>& x, index_t n, index_t first, index_t steps,
                            index_t* offsets) const {
        for (index_t t = 0; t < steps; ++t)
            for (index_t i = 0; i < n; ++i)
                offsets[t * n + i] = x.row(i, steps_ * features_) - x.data + (first + t) * features_;
        return {x.data, offsets, steps * n, features_};
    }
    void multiply_inputs(const Rows<T>& x, index_t n, index_t first, index_t steps, T* to) const {
        Scratch<index_t> offsets(steps * n);
        Epilogue<T> biased;
        biased.col_bias = input_bias_;
        matmul<T>(inputs(x, n, first, steps, offsets.data()), input_weight_, row_major(to, steps * n, gates_),
                  biased);
    }
    void multiply_states(const SampleRows<T>& states, index_t n, T* to) const {
        Epilogue<T> biased;
        biased.col_bias = state_bias_;
        const Matrix<const T> rows = {states.data, n, hidden_, states.stride, 1};
        if (packed_)
            matmul<T>(rows, packed_state_weight_, row_major(to, n, gates_), biased);
        else
            matmul<T>(rows, state_weight_, row_major(to, n, gates_), biased);
    }

    // Of the gradients to the gates, those to what the state gives them.
    Matrix<const T> state_gates(const T* grad, index_t rows) const {
        return {grad + (lstm_ ? 0 : hidden_), rows, gates_, 4 * hidden_, 1};
    }
    void multiply_gradients(const T* grad_gates, index_t n, T* grad_x) const {
        const index_t rows = steps_ * n;
        Scratch<T> by_time(rows * features_);
        const Matrix<T> result = row_major(by_time.data(), rows, features_);
        Epilogue<T> adding;
        for (std::size_t k = 0; k < input_gates_.size(); ++k) {
            adding.accumulate = k > 0;
            matmul<T>({grad_gates + input_gates_[k].in_gradient, rows, input_gates_[k].width, 4 * hidden_, 1},
                      packed_input_transposed_[k], result, adding);
        }
        for (index_t k = 0; k < rows; ++k)
            std::copy_n(by_time.data() + k * features_, features_,
                        grad_x + (k % n * steps_ + k / n) * features_);
    }
    static void sum_rows(const Matrix<const T>& rows, T* sums, bool accumulate) {
        accumulate ? add_column_sums<T>(rows, sums) : column_sums<T>(rows, sums);
    }

    bool lstm_, sequences_, backward_;
    index_t steps_, features_, hidden_;
    index_t gates_;                       // of all hidden units
    std::vector<GateRange> input_gates_;  // as the gradients to the input's product lie
    Matrix<const T> input_weight_, state_weight_;
    const T *input_bias_, *state_bias_;
    Buffer<T> zeros_;
    bool packed_ = false;
    PackedMatrix<T> packed_state_weight_, packed_state_transposed_;
    std::vector<PackedMatrix<T>> packed_input_transposed_;
};

}  // namespace

Shape infer_shape(const RecurrentLayerSpec& spec, const InputShapes& inputs) {
    const Shape& input = inputs[0];
    if (input.size() != 2 || input[0] < 1 || input[1] != spec.input_size)
        throw std::invalid_argument("expected samples of shape (time, " + std::to_string(spec.input_size) +
                                    ") with at least one time step, got " + shape_text(input));
    checked_product({input[0], 8, spec.hidden_size}, "the gates of all time steps");
    return spec.return_sequences ? Shape{input[0], spec.hidden_size} : Shape{spec.hidden_size};
}

template <class T>
std::unique_ptr<Op<T>> make_op(const RecurrentLayerSpec& spec, const OpSite<T>& site) {
    return std::make_unique<RecurrentOp<T>>(spec, site);
}
RANVIER_INSTANTIATE_OP(RecurrentLayerSpec)

}  // namespace ranvier
