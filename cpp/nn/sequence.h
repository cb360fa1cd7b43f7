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
    // The same in two steps, the second of which may be taken for some layers after the others, those from
    // `first` to `end`.
    const T* prepare(const Pass<T>& pass, const LayerInput<T>& x);
    void run_forward(const Pass<T>& part, std::size_t first, std::size_t end);
    // From the gradient to the last output, which it may overwrite. grad_x may be nullptr, and must be if the
    // input was scattered.
    void backward(const Pass<T>& pass, T* grad, T* grad_x);
    void commit(const Pass<T>& pass);

    // A batch in portions (see Layer), which several threads may take through the layers before front_end().
    // What precedes run_forward(), with the place of the gradient to the whole batch's output; backward, but
    // for what gradients of parameters finish() makes, once all portions went back. Threads that share a
    // batch do so in pieces, the same ones each time.
    std::size_t size() const { return stages_.size(); }
    std::size_t front_end() const { return front_end_; }
    bool sums_portions() const { return sums_portions_; }
    void begin_portions(const Pass<T>& pass, T* grad, int threads, int pieces);
    void run_backward(const Pass<T>& part, std::size_t first, std::size_t end);
    void finish(const Pass<T>& pass, int threads, int pieces);

    bool trains() const;
    // Whether finish() can do plain gradient descent, in passes that have a rate, for all layers with
    // parameters; and whether what it would add is finite.
    bool descends() const;
    bool descent_is_finite(const Pass<T>& pass) const;

private:
    struct Stage {
        std::unique_ptr<Layer<T>> layer;
        StageInfo info;
        index_t size;             // of a sample of its output
        index_t offset;           // of its output among the kept ones
        index_t gradient_offset;  // of the gradient to it among those that wait, if it does, else -1
        // Of this pass: the output, which is the input if the layer passes it through; then there is no `to`.
        T* to;
        const T* y;
        bool forgotten;  // backward has no use for the output
    };

    void compile(const std::vector<LayerSpec>& layers, const std::string& prefix);
    void find_front();
    void place_gradients();
    FusedActivation<T> fusable_after(const std::vector<LayerSpec>& layers, std::size_t i) const;
    void allocate(const Pass<T>& pass);
    LayerInput<T> input_of(std::size_t stage) const {
        return stage == 0 ? input_ : LayerInput<T>{stages_[stage - 1].y, nullptr};
    }
    index_t input_size(std::size_t stage) const {
        return stage == 0 ? element_count(input_shape_) : stages_[stage - 1].size;
    }
    // Where the gradient to its output is for all portions, or nullptr if each portion forgets its own.
    T* gradient_of(std::size_t stage);
    void run_stage(const Pass<T>& part, std::size_t i, const LayerInput<T>& x, T* y);
    void backward_through_stage(const Pass<T>& pass, std::size_t i, T* grad, T* grad_x);

    Compilation<T>& compilation_;
    index_t capacity_;
    Shape input_shape_;
    std::vector<Shape> shapes_;
    std::vector<Stage> stages_;
    std::size_t untrained_ = 0;  // stages in front whose backward serves the gradient to x alone
    std::size_t front_end_ = 0;  // portions can go through the stages before this one
    bool sums_portions_ = false;
    index_t kept_size_ = 0;     // of all outputs
    index_t widest_ = 0;        // of a sample of any output
    Buffer<T> kept_;            // outputs that a backward pass reads
    Buffer<T> passing_[2];      // outputs of two neighbouring stages, if none will
    Buffer<T> gradients_[2];    // of the outputs of two neighbouring stages, in turn
    index_t waiting_size_ = 0;  // of the gradients that wait until all portions are there
    Buffer<T> waiting_;
    T* output_gradient_ = nullptr;  // of the whole batch
    LayerInput<T> input_;           // of the last forward
};

}  // namespace ranvier
