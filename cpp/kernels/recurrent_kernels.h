// What each instruction set provides for recurrent layers: one time step of one sample, for `n` hidden units.
// Gates lie one behind the other, n numbers each. Formulas in ranvier/recurrent.h.
#pragma once

#include "ranvier/array.h"

namespace ranvier {

template <class T>
struct RecurrentKernels {
    // `gates` may be `from_input`, or nullptr if no backward pass follows.
    void (*gru)(index_t n, const T* from_input, const T* from_state, const T* before, T* gates, T* after);
    void (*lstm)(index_t n, const T* from_input, const T* from_state, const T* cell_before, T* gates, T* cell,
                 T* after);
    // `grad_output` may be nullptr for zeros.
    void (*gru_backward)(index_t n, const T* gates, const T* before, const T* grad_output, T* grad,
                         T* grad_gates);
    void (*lstm_backward)(index_t n, const T* gates, const T* cell_before, const T* cell,
                          const T* grad_output, const T* grad, T* grad_cell, T* grad_gates);
};

}  // namespace ranvier
