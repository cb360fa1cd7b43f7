// What each instruction set provides for elementwise work, softmax and updates: loops over contiguous runs,
// called by the threaded kernels.
#pragma once

#include <cstdint>

#include "ranvier/activation.h"
#include "ranvier/array.h"
#include "ranvier/optimizer.h"

namespace ranvier {

// log(sum(exp(x))) = most + log_sum, kept apart: beside a large maximum the logarithm would lose its digits.
template <class T>
struct LogSumExp {
    T most;
    T log_sum;
};

template <class T>
struct ElementwiseKernels {
    using Map = void (*)(index_t n, const T* x, T* y, T parameter);
    using BackwardMap = void (*)(index_t n, const T* grad, const T* kept, T* grad_x, T parameter);

    using LineMap = void (*)(index_t n, const T* x, index_t x_step, T* y, index_t y_step, T parameter);
    using LineBackwardMap = void (*)(index_t n, const T* grad, index_t grad_step, const T* x, index_t x_step,
                                     T* grad_x, index_t grad_x_step, T parameter);

    // Indexed by Activation. `kept` is x, or y where the table says so.
    Map activation[kActivationCount];
    BackwardMap backward_from_input[kActivationCount];
    // The same of elements that are so many steps apart.
    LineMap line_activation[kActivationCount];
    LineBackwardMap line_backward_from_input[kActivationCount];
    // grad * kept.
    BackwardMap multiply;
    LineBackwardMap line_multiply;
    BackwardMap
        backward_from_output[kActivationCount];  // only of those that activation_backward_reads_output

    // Philox words 4 * block ... of (seed, stream), four for each block.
    void (*random_words)(std::uint64_t seed, std::uint64_t stream, std::uint64_t block, index_t blocks,
                         std::uint32_t* words);
    // y[i] = words[i] >= threshold ? x[i] * scale : 0.
    void (*mask)(index_t n, const T* x, const std::uint32_t* words, std::uint32_t threshold, T scale, T* y);
    // y[i] = x[i] + std * z[i], z standard normal; words 2k and 2k + 1 make z[2k] and z[2k + 1]. There are
    // words for an even number of elements.
    void (*add_noise)(index_t n, const T* x, const std::uint32_t* words, T std, T* y);
    // slopes[i] = lower + width * ((halves[i] + 1/2) / 2^16).
    void (*slopes)(index_t n, const std::uint16_t* halves, T lower, T width, T* slopes);
    // y[i] = factor[i] * x[i] where sign[i] <= 0, else factor-free: PReLU, RReLU, and their gradients to x.
    void (*scale_negative)(index_t n, const T* x, const T* sign, const T* factor, T* y);

    // y[i] = the largest x[k * x_stride + i] of k = 0 .. pieces - 1, where NaN is the largest; and the
    // gradient, to the first of the largest, with zeros for the others.
    void (*largest_of)(index_t pieces, index_t n, const T* x, index_t x_stride, T* y);
    void (*largest_of_backward)(index_t pieces, index_t n, const T* grad, const T* x, index_t x_stride,
                                T* grad_x, index_t grad_x_stride);

    // y = softmax(x) unless y is nullptr; returns log(sum(exp(x))). n >= 1.
    LogSumExp<T> (*softmax_row)(index_t n, const T* x, T* y);
    // y = (x - shift.most) - shift.log_sum.
    void (*subtract)(index_t n, const T* x, LogSumExp<T> shift, T* y);
    // grad_x = y * (grad - sum(grad * y)), and grad_x = grad - exp(y) * sum(grad).
    void (*softmax_backward_row)(index_t n, const T* grad, const T* y, T* grad_x);
    void (*log_softmax_backward_row)(index_t n, const T* grad, const T* y, T* grad_x);
    // The same of `rows` rows at once, element j of row i at i + j * stride, to the same bits. `logarithm` is
    // for log-softmax.
    void (*softmax_columns)(index_t rows, index_t n, const T* x, index_t x_stride, T* y, index_t y_stride,
                            bool logarithm);
    void (*softmax_backward_columns)(index_t rows, index_t n, const T* grad, index_t grad_stride, const T* y,
                                     index_t y_stride, T* grad_x, index_t grad_x_stride, bool logarithm);

    // As in ranvier/optimizer.h, on one run.
    void (*update)(const UpdateStep& step, index_t n, T* w, const T* grad, T* velocity, T* first_moment,
                   T* second_moment);
    double (*sum_of_squares)(index_t n, const T* x);
    bool (*all_finite)(index_t n, const T* x);
    T (*largest_magnitude)(index_t n, const T* x);
    void (*add_penalty_gradient)(T l1, T l2, index_t n, const T* w, T* grad);

    // y[i] = a[i] + b[i].
    void (*add)(index_t n, const T* a, const T* b, T* y);
    // to[i] = from[i] / 255.
    void (*bytes_to_fractions)(index_t n, const std::uint8_t* from, T* to);
};

}  // namespace ranvier
