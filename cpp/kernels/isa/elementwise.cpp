// The table of elementwise kernels of one instruction set.
#include "elementwise.h"

namespace ranvier::RANVIER_ISA {

#define RANVIER_ELEMENTWISE_KERNELS(T)                                                                        \
    {                                                                                                         \
        {map<T, Identity>, map<T, Step>,      map<T, Sigmoid>, map<T, Tanh>,     map<T, Relu>,                \
         map<T, Relu6>,    map<T, LeakyRelu>, map<T, Elu>,     map<T, Selu>,     map<T, Softplus>,            \
         map<T, Gelu>,     map<T, Silu>,      map<T, Mish>,    map<T, Hardswish>},                            \
            {from_input<T, Identity>, from_input<T, Step>,     from_input<T, Sigmoid>,   from_input<T, Tanh>, \
             from_input<T, Relu>,     from_input<T, Relu6>,    from_input<T, LeakyRelu>, from_input<T, Elu>,  \
             from_input<T, Selu>,     from_input<T, Softplus>, from_input<T, Gelu>,      from_input<T, Silu>, \
             from_input<T, Mish>,     from_input<T, Hardswish>},                                              \
            {from_output<T, Identity>,                                                                        \
             from_output<T, Step>,                                                                            \
             from_output<T, Sigmoid>,                                                                         \
             from_output<T, Tanh>,                                                                            \
             from_output<T, Relu>,                                                                            \
             from_output<T, Relu6>,                                                                           \
             from_output<T, LeakyRelu>,                                                                       \
             from_output<T, Elu>,                                                                             \
             from_output<T, Selu>,                                                                            \
             from_output<T, Softplus>,                                                                        \
             nullptr,                                                                                         \
             nullptr,                                                                                         \
             nullptr,                                                                                         \
             nullptr},                                                                                        \
            random_words, mask<T>, add_noise<T>, slopes<T>, scale_negative<T>, largest_of<T>,                 \
            largest_of_backward<T>, softmax_row<T>, subtract<T>, softmax_backward_row<T>,                     \
            log_softmax_backward_row<T>, softmax_columns<T>, softmax_backward_columns<T>, update<T>,          \
            sum_of_squares<T>, all_finite<T>, largest_magnitude<T>, add_penalty_gradient<T>, add<T>,          \
            bytes_to_fractions<T>                                                                             \
    }

constinit const ElementwiseKernels<float> elementwise_float32 = RANVIER_ELEMENTWISE_KERNELS(float);
constinit const ElementwiseKernels<double> elementwise_float64 = RANVIER_ELEMENTWISE_KERNELS(double);

}  // namespace ranvier::RANVIER_ISA
