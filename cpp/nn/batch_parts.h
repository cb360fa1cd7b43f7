// A batch in parts, of which others may take further ones: each part goes forward and back by itself, and the
// parts' gradients are added up as a binary tree has it. So the sum has the same bits whoever takes which
// part.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "batch_loss.h"
#include "prepared.h"

namespace ranvier {

template <class T>
class BatchParts {
public:
    // For parts of at most that many samples. With observers, gradients are made but not added up.
    BatchParts(const Graph& graph, Parameters<T>& parameters, const ProgramOptions& options, index_t parts,
               index_t capacity);

    index_t capacity() const { return capacity_; }
    index_t size() const { return static_cast<index_t>(parts_.size()); }
    Prepared<T>& prepared(index_t part) { return parts_[static_cast<std::size_t>(part)]->prepared; }

    // Forward, loss and backward. Part i has the samples from bounds[i] to bounds[i + 1] of the whole batch;
    // `batch` has those of all parts that are taken here. Returns each part's sums.
    std::vector<LossSums> run(const Batch<T>& batch, const Objective<T>& objective,
                              const std::int64_t* bounds, const DataParallel<T>& all, std::uint64_t seed,
                              std::uint64_t step, const std::vector<Observer<T>*>& observers = {});

private:
    struct Part {
        Prepared<T> prepared;
        Buffer<T> gradients;  // of all parameters; the first part writes where the sum belongs
        Rows<T> x;
        Batch<T> batch;
        Run<T> run;
        std::optional<BatchLoss<T>> loss;
        std::optional<LossOfSamples<T>> loss_of_samples;
    };
    using Ranges = std::vector<std::pair<index_t, index_t>>;

    void begin(Part& part, const Batch<T>& whole, index_t first, index_t count, const Objective<T>& objective,
               T* gradients);
    void share_sums(std::size_t phase, const DataParallel<T>& all);
    void complete(std::size_t phase);
    void add_up(const Ranges& ranges);
    void hand_over(std::size_t phase, const DataParallel<T>& all);

    Parameters<T>& parameters_;
    index_t capacity_, input_size_, output_size_;
    std::vector<std::unique_ptr<Part>> parts_;
    std::vector<Ranges> ranges_;  // of the gradients that are complete after each phase
    Ranges waiting_;              // complete, but too small for a message
};

}  // namespace ranvier
