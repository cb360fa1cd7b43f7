// The table of elementwise kernels of one instruction set.
#include "elementwise.h"

namespace ranvier::RANVIER_ISA {

// What there is of each activation, in the order of their enumeration.
#define RANVIER_OF_EACH(kernel, T)                                                                    \
    kernel<T, Identity>, kernel<T, Step>, kernel<T, Sigmoid>, kernel<T, Tanh>, kernel<T, Relu>,       \
        kernel<T, Relu6>, kernel<T, LeakyRelu>, kernel<T, Elu>, kernel<T, Selu>, kernel<T, Softplus>, \
        kernel<T, Gelu>, kernel<T, Silu>, kernel<T, Mish>, kernel<T, Hardswish>

#define RANVIER_ELEMENTWISE_KERNELS(T)                                                               \
    {                                                                                                \
        {RANVIER_OF_EACH(map, T)}, {RANVIER_OF_EACH(from_input, T)}, {RANVIER_OF_EACH(map_line, T)}, \
            {RANVIER_OF_EACH(line_from_input, T)}, from_input<T, GivenSlope>,                        \
            line_from_input<T, GivenSlope>,                                                          \
            {from_output<T, Identity>,                                                               \
             from_output<T, Step>,                                                                   \
             from_output<T, Sigmoid>,                                                                \
             from_output<T, Tanh>,                                                                   \
             from_output<T, Relu>,                                                                   \
             from_output<T, Relu6>,                                                                  \
             from_output<T, LeakyRelu>,                                                              \
             from_output<T, Elu>,                                                                    \
             from_output<T, Selu>,                                                                   \
             from_output<T, Softplus>,                                                               \
             nullptr,                                                                                \
             nullptr,                                                                                \
             nullptr,                                                                                \
             nullptr},                                                                               \
            random_words, mask<T>, add_noise<T>, slopes<T>, scale_negative<T>, largest_of<T>,        \
            largest_of_backward<T>, softmax_row<T>, subtract<T>, softmax_backward_row<T>,            \
            log_softmax_backward_row<T>, softmax_columns<T>, softmax_backward_columns<T>, update<T>, \
            sum_of_squares<T>, all_finite<T>, largest_magnitude<T>, add_penalty_gradient<T>, add<T>, \
            bytes_to_fractions<T>                                                                    \
    }

constinit const ElementwiseKernels<float> elementwise_float32 = RANVIER_ELEMENTWISE_KERNELS(float);
constinit const ElementwiseKernels<double> elementwise_float64 = RANVIER_ELEMENTWISE_KERNELS(double);

}  // namespace ranvier::RANVIER_ISA
