// The cells of recurrent layers: one time step of some samples, of which the products with the weights are
// given; and its gradient. GRU after Cho et al. 2014 with the reset gate behind the product, LSTM after
// Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000: as in PyTorch.
#pragma once

#include "ranvier/array.h"

namespace ranvier {

// A row for each sample, so many elements apart; a stride of 0 gives all samples the same one.
template <class T>
struct SampleRows {
    T* data = nullptr;
    index_t stride = 0;

    operator SampleRows<const T>() const { return {data, stride}; }
    T* row(index_t sample) const { return data ? data + sample * stride : nullptr; }
};

// With a = from_input, b = from_state (r, z and n of each) and h the state before:
//   r = sigmoid(a_r + b_r), z = sigmoid(a_z + b_z), n = tanh(a_n + r b_n), after = (1 - z) n + z h.
// `gates` receives r, z, n and b_n for the backward pass. It may be from_input, whose rows then have room for
// four; or have no data, if no backward pass follows.
template <class T>
void gru_step(index_t samples, index_t hidden, const SampleRows<const T>& from_input,
              const SampleRows<const T>& from_state, const SampleRows<const T>& before,
              const SampleRows<T>& gates, const SampleRows<T>& after);
// `grad` is the gradient to the state after the step, to which grad_output, if it has data, is added. It
// becomes that part of the gradient to the state before that does not go through the gates. grad_gates
// receives the gradients to a_n, a_r, a_z and b_n, in this order: the first three are those to from_input,
// the last three those to from_state.
template <class T>
void gru_step_backward(index_t samples, index_t hidden, const SampleRows<const T>& gates,
                       const SampleRows<const T>& before, const SampleRows<const T>& grad_output,
                       const SampleRows<T>& grad, const SampleRows<T>& grad_gates);

// With a = from_input + from_state (i, f, g and o) and c the cell before:
//   cell = sigmoid(a_f) c + sigmoid(a_i) tanh(a_g), after = sigmoid(a_o) tanh(cell).
// `gates` receives the four; it may be from_input, or have no data. `cell` may be cell_before.
template <class T>
void lstm_step(index_t samples, index_t hidden, const SampleRows<const T>& from_input,
               const SampleRows<const T>& from_state, const SampleRows<const T>& cell_before,
               const SampleRows<T>& gates, const SampleRows<T>& cell, const SampleRows<T>& after);
// `grad`, with grad_output as above, is the gradient to the state after the step; grad_cell that to the cell
// after it, which becomes that to the cell before. grad_gates receives the gradients to a.
template <class T>
void lstm_step_backward(index_t samples, index_t hidden, const SampleRows<const T>& gates,
                        const SampleRows<const T>& cell_before, const SampleRows<const T>& cell,
                        const SampleRows<const T>& grad_output, const SampleRows<const T>& grad,
                        const SampleRows<T>& grad_cell, const SampleRows<T>& grad_gates);

}  // namespace ranvier
