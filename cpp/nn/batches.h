// Batches of samples with what they are compared with, gathered from tables in a given order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

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

// Owns the memory into which batches are gathered.
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

    // Those of the numbers order[0 .. n). Gathered rows stay where they lie if `apart` says that they can be
    // read there.
    Batch<T> gather(index_t n, const Samples<T>& x, const Targets<T>& targets, const std::int64_t* order,
                    bool apart) {
        Batch<T> batch;
        batch.n = n;
        batch.samples = order;
        batch.x = gather_samples(x, order, n, apart);
        if (targets.labels)
            batch.targets.labels = rows(targets.labels, index_t{1}, order, n, labels_, capacity_);
        if (targets.dense)
            batch.targets.dense =
                rows(targets.dense, output_size_, order, n, dense_, capacity_ * output_size_);
        if (targets.weights)
            batch.targets.weights = rows(targets.weights, index_t{1}, order, n, weights_, capacity_);
        return batch;
    }

private:
    template <class U>
    static void allocate(Buffer<U>& buffer, index_t size) {
        if (!buffer.size()) buffer = Buffer<U>(size);
    }

    static bool is_consecutive(const std::int64_t* order, index_t n) {
        for (index_t i = 1; i < n; ++i)
            if (order[i] != order[0] + i) return false;
        return true;
    }

    Rows<T> gather_samples(const Samples<T>& x, const std::int64_t* order, index_t n, bool apart) {
        if (x.bytes) return {gather_bytes(x.bytes, order, n), nullptr};
        if (!apart || is_consecutive(order, n)) {
            if (!is_consecutive(order, n)) allocate(x_, capacity_ * input_size_);
            return {rows(x.values, input_size_, order, n, x_, capacity_ * input_size_), nullptr};
        }
        allocate(offsets_, capacity_);
        for (index_t i = 0; i < n; ++i) offsets_[i] = order[i] * input_size_;
        return {x.values, offsets_.data()};
    }

    const T* gather_bytes(const std::uint8_t* bytes, const std::int64_t* order, index_t n) {
        allocate(x_, capacity_ * input_size_);
        for_each_part(n, input_size_, [&](index_t i) {
            bytes_to_fractions<T>(input_size_, bytes + order[i] * input_size_, x_.data() + i * input_size_);
        });
        return x_.data();
    }

    // Rows of a table of that width: copied to `memory`, or where they lie if they follow each other.
    template <class U>
    const U* rows(const U* table, index_t width, const std::int64_t* order, index_t n, Buffer<U>& memory,
                  index_t size) {
        if (is_consecutive(order, n)) return table + order[0] * width;
        allocate(memory, size);
        for_each_part(n, width, [&](index_t i) {
            if (width == 1)
                memory[i] = table[order[i]];
            else
                std::copy_n(table + order[i] * width, width, memory.data() + i * width);
        });
        return memory.data();
    }

    // body(row) for n rows of that width.
    template <class Body>
    static void for_each_part(index_t n, index_t width, Body&& body) {
        const index_t each = std::max<index_t>(1, 16384 / std::max<index_t>(1, width));
        parallel_for(ceil_div(n, each), threads_for(static_cast<double>(n * width)), [&](index_t task) {
            for (index_t i = task * each; i < std::min(n, (task + 1) * each); ++i) body(i);
        });
    }

    index_t input_size_, output_size_, capacity_;
    Buffer<T> x_, dense_;
    Buffer<std::int64_t> labels_;
    Buffer<double> weights_;
    Buffer<index_t> offsets_;
};

}  // namespace ranvier
