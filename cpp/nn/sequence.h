// Layers one behind the other, compiled, with the memory between them: a whole network, or a branch of one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "layer.h"

namespace ranvier {

// Operations of a product in one unit of work (see threads_for).
inline constexpr double kFlopsPerWork = 12;

template <class T>
class Sequence {
public:
    // `prefix` comes before the layers' numbers in their paths.
    Sequence(const std::vector<LayerSpec>& layers, Compilation<T>& compilation, const std::string& prefix,
             const Shape& input);

    const Shape& output_shape() const { return shapes_.empty() ? input_shape_ : shapes_.back(); }
    const std::vector<Shape>& shapes() const { return shapes_; }  // of a sample after each layer
    bool reads_scattered_rows(index_t batch) const;
    double flops() const;

    // The output, (n, output), valid until the next call. x must stay for the backward pass.
    const T* forward(const Pass<T>& pass, const LayerInput<T>& x);
    // The same in two steps, of which several threads may take the second at once for portions of the batch
    // (see Layer).
    const T* prepare(const Pass<T>& pass, const LayerInput<T>& x);
    void run_forward(const Pass<T>& part);
    bool takes_portions() const;
    // From the gradient to the last output, which it may overwrite. grad_x may be nullptr, and must be if the
    // input was scattered.
    void backward(const Pass<T>& pass, T* grad, T* grad_x);
    void commit(const Pass<T>& pass);

    bool trains() const;
    // Plain gradient descent, for a sequence whose layers with parameters all descend (see Layer), in passes
    // that have a rate: what precedes run_forward(), with the place of the gradient to the whole batch's
    // output; backward without the gradients of parameters, in portions if need be; whether what is to be
    // added is finite; and the addition. Threads that share a batch do so in pieces, the same ones each time.
    bool descends() const;
    void begin_descent(const Pass<T>& pass, T* grad, int threads, int pieces);
    void backward_for_descent(const Pass<T>& part);
    bool descent_is_finite(const Pass<T>& pass) const;
    void descend(const Pass<T>& pass, int threads, int pieces);

private:
    struct Stage {
        std::unique_ptr<Layer<T>> layer;
        StageInfo info;
        index_t size;    // of a sample of its output
        index_t offset;  // of its output among the kept ones
        // Of this pass: the output, which is the input if the layer passes it through; then there is no `to`.
        T* to;
        const T* y;
    };

    void compile(const std::vector<LayerSpec>& layers, const std::string& prefix);
    FusedActivation<T> fusable_after(const std::vector<LayerSpec>& layers, std::size_t i) const;
    void allocate(const Pass<T>& pass);
    LayerInput<T> input_of(std::size_t stage) const {
        return stage == 0 ? input_ : LayerInput<T>{stages_[stage - 1].y, nullptr};
    }
    index_t input_size(std::size_t stage) const {
        return stage == 0 ? element_count(input_shape_) : stages_[stage - 1].size;
    }
    T* gradient_of(std::size_t stage);  // its output's, in descent
    void run_stage(const Pass<T>& part, std::size_t i);
    void run_backward(const Pass<T>& pass, std::size_t i, T* grad, T* grad_x);

    Compilation<T>& compilation_;
    index_t capacity_;
    Shape input_shape_;
    std::vector<Shape> shapes_;
    std::vector<Stage> stages_;
    std::size_t untrained_ = 0;  // stages in front whose backward serves the gradient to x alone
    index_t kept_size_ = 0;      // of all outputs
    index_t widest_ = 0;         // of a sample of any output
    Buffer<T> kept_;             // outputs that a backward pass reads
    Buffer<T> passing_[2];       // outputs of two neighbouring stages, if none will
    Buffer<T> gradients_[2];     // of the outputs of two neighbouring stages, in turn
    Buffer<T> all_gradients_;    // of all outputs but the last, for descent
    T* output_gradient_ = nullptr;  // of the whole batch
    LayerInput<T> input_;  // of the last forward
};

}  // namespace ranvier
