// Batches of samples with what they are compared with, gathered from tables in a given order; if training has
// threads to spare, one batch ahead.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "clock.h"
#include "op.h"
#include "ranvier/elementwise.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"
#include "ranvier/trainer.h"

namespace ranvier {

template <class T>
struct Batch {
    index_t n = 0;
    Rows<T> x;
    Targets<T> targets;
    const std::int64_t* samples = nullptr;  // their numbers among all
    T* predictions = nullptr;               // receives the outputs, unless nullptr
    bool summed = false;                    // gradients are those of the sum of the losses, not of their mean
};

// How samples are picked from a table.
struct Picking {
    bool apart = false;  // gathered rows stay where they lie, if they can be read there
    bool far = false;    // the caches do not hold the table
};

// Owns the memory into which a batch is gathered.
template <class T>
class BatchGatherer {
public:
    BatchGatherer(index_t input_size, index_t output_size, index_t capacity)
        : input_size_(input_size), output_size_(output_size), capacity_(capacity) {}

    // Samples first to first + n as numbers, converted if they are bytes.
    const T* numbers(const Samples<T>& x, index_t first, index_t n) {
        if (x.values) return x.values + first * input_size_;
        allocate(x_, capacity_ * input_size_);
        bytes_to_fractions<T>(n * input_size_, x.bytes + first * input_size_, x_.data());
        return x_.data();
    }

    // Those of the numbers order[0 .. n).
    Batch<T> gather(index_t n, const Samples<T>& x, const Targets<T>& targets, const std::int64_t* order,
                    Picking picking) {
        const Batch<T> batch = begin(n, x, targets, order, picking);
        parallel_for(parts(), threads_for(work()), [&](index_t part) { copy(part); });
        return batch;
    }

    // The same batch, whose numbers are there after copy(part) for each of parts(), on any threads.
    Batch<T> begin(index_t n, const Samples<T>& x, const Targets<T>& targets, const std::int64_t* order,
                   Picking picking) {
        Batch<T> batch;
        batch.n = n_ = n;
        batch.samples = order_ = order;
        from_x_ = {};
        from_targets_ = {};
        work_of_row_ = 0;
        const index_t consecutive = is_consecutive(order, n) ? order[0] : -1;
        if (picking.apart && x.values && consecutive < 0)
            batch.x = offsets_of(x.values);
        else if (x.bytes)
            batch.x.data = copied(from_x_.bytes, x.bytes, input_size_, x_, picking.far);
        else
            batch.x.data = picked(from_x_.values, x.values, input_size_, x_, consecutive, picking.far);
        batch.targets = {
            picked(from_targets_.dense, targets.dense, output_size_, dense_, consecutive, picking.far),
            picked(from_targets_.labels, targets.labels, 1, labels_, consecutive, picking.far),
            picked(from_targets_.weights, targets.weights, 1, weights_, consecutive, picking.far)};
        return batch;
    }
    index_t parts() const { return work_of_row_ > 0 ? ceil_div(n_, rows_of_part()) : 0; }
    double work() const { return static_cast<double>(n_ * work_of_row_); }
    void copy(index_t part) {
        const index_t first = part * rows_of_part(), last = std::min(n_, first + rows_of_part());
        if (from_x_.values) copy_rows(from_x_.values, input_size_, first, last, x_);
        if (from_x_.bytes)
            for (index_t i = first; i < last; ++i)
                bytes_to_fractions<T>(input_size_, from_x_.bytes + order_[i] * input_size_,
                                      x_.data() + i * input_size_);
        if (from_targets_.dense) copy_rows(from_targets_.dense, output_size_, first, last, dense_);
        if (from_targets_.labels) copy_rows(from_targets_.labels, index_t{1}, first, last, labels_);
        if (from_targets_.weights) copy_rows(from_targets_.weights, index_t{1}, first, last, weights_);
    }

private:
    // A part is worth handing to another thread. To fetch a row from memory takes as long as so many elements
    // of a vectorised loop (threads_for).
    static constexpr index_t kWorkOfPart = 16384, kWorkOfFarRow = 300;

    index_t rows_of_part() const { return std::max<index_t>(1, kWorkOfPart / work_of_row_); }

    template <class U>
    static void allocate(Buffer<U>& buffer, index_t size) {
        if (!buffer.size()) buffer = Buffer<U>(size);
    }

    static bool is_consecutive(const std::int64_t* order, index_t n) {
        for (index_t i = 1; i < n; ++i)
            if (order[i] != order[0] + i) return false;
        return true;
    }

    Rows<T> offsets_of(const T* table) {
        allocate(offsets_, capacity_);
        for (index_t i = 0; i < n_; ++i) offsets_[i] = order_[i] * input_size_;
        return {table, offsets_.data()};
    }

    // Where rows of a table of that width come to lie: copied, or where they are if they follow each other.
    template <class U>
    const U* picked(const U*& from, const U* table, index_t width, Buffer<U>& to, index_t consecutive,
                    bool far) {
        if (!table) return nullptr;
        return consecutive >= 0 ? table + consecutive * width : copied(from, table, width, to, far);
    }
    template <class U, class V>
    const V* copied(const U*& from, const U* table, index_t width, Buffer<V>& to, bool far) {
        allocate(to, capacity_ * width);
        from = table;
        work_of_row_ += width + (far ? kWorkOfFarRow : 0);
        return to.data();
    }

    template <class U>
    void copy_rows(const U* table, index_t width, index_t first, index_t last, Buffer<U>& to) const {
        for (index_t i = first; i < last; ++i)
            if (width == 1)
                to[i] = table[order_[i]];
            else
                std::copy_n(table + order_[i] * width, width, to.data() + i * width);
    }

    index_t input_size_, output_size_, capacity_;
    Buffer<T> x_, dense_;
    Buffer<std::int64_t> labels_;
    Buffer<double> weights_;
    Buffer<index_t> offsets_;

    // What is to be copied, from where.
    index_t n_ = 0, work_of_row_ = 0;
    const std::int64_t* order_ = nullptr;
    Samples<T> from_x_;
    Targets<T> from_targets_;
};

// The batches of an epoch, each of the samples that come next in an order.
template <class T>
class BatchStream {
public:
    // `seconds`, unless nullptr, receives how long next() takes.
    BatchStream(BatchGatherer<T>& one, BatchGatherer<T>& other, const Samples<T>& x,
                const Targets<T>& targets, const std::int64_t* order, Picking picking, double* seconds)
        : gatherer_(&one),
          other_(&other),
          x_(x),
          targets_(targets),
          order_(order),
          picking_(picking),
          seconds_(seconds) {}

    // Of n samples; it lies where it is until the one after the next is asked for.
    Batch<T> next(index_t n) {
        const Stopwatch watch(seconds_);
        Batch<T> batch;
        if (gathered_)
            batch = *std::exchange(gathered_, std::nullopt);
        else if (n > 0)
            batch = gatherer_->gather(n, x_, targets_, order_, picking_);
        order_ += n;
        return batch;
    }

    // What it takes to gather n samples more, as threads_for() takes it.
    double work(index_t n) const {
        gatherer_->begin(n, x_, targets_, order_, picking_);
        return gatherer_->work();
    }

    // train(), which is so much work on the batch given last, while other threads gather the next n > 0, if
    // that takes no longer than one after the other on all threads.
    template <class Train>
    void gather_beside(index_t n, double work, Train&& train) {
        std::swap(gatherer_, other_);
        const Batch<T> coming = gatherer_->begin(n, x_, targets_, order_, picking_);
        const double both = work + gatherer_->work();
        const int threads = threads_for(both);
        if (threads == 1 || work * threads > both) return train();
        parallel_for(1 + gatherer_->parts(), threads, [&](index_t task) {
            if (task == 0)
                train();
            else
                gatherer_->copy(task - 1);
        });
        gathered_ = coming;
    }

private:
    BatchGatherer<T>*gatherer_, *other_;
    Samples<T> x_;
    Targets<T> targets_;
    const std::int64_t* order_;  // of the samples to come
    Picking picking_;
    double* seconds_;
    std::optional<Batch<T>> gathered_;
};

}  // namespace ranvier
