// Loops over several strided arrays of one shape as runs of contiguous elements.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "ranvier/array.h"
#include "ranvier/threads.h"

namespace ranvier {

// The common shape of N arrays (the last one is written) and their strides, with the dimensions of size one
// dropped, ordered so that the written array is walked in memory order, and merged where all arrays allow it.
template <int N>
struct StridedLoop {
    int ndim = 0;
    index_t shape[kMaxDims];
    index_t strides[N][kMaxDims];

    index_t size() const {
        index_t count = 1;
        for (int d = 0; d < ndim; ++d) count *= shape[d];
        return count;
    }

    void add(index_t size, const index_t (&steps)[N]) {
        if (size == 1) return;
        shape[ndim] = size;
        for (int k = 0; k < N; ++k) strides[k][ndim] = steps[k];
        ++ndim;
    }

    void sort() {
        for (int i = 1; i < ndim; ++i)
            for (int j = i; j > 0 && std::abs(strides[N - 1][j]) > std::abs(strides[N - 1][j - 1]); --j) {
                std::swap(shape[j], shape[j - 1]);
                for (int k = 0; k < N; ++k) std::swap(strides[k][j], strides[k][j - 1]);
            }
    }

    void merge() {
        if (ndim == 0) return;
        int last = 0;
        for (int d = 1; d < ndim; ++d) {
            bool joins = true;
            for (int k = 0; k < N; ++k) joins = joins && strides[k][last] == strides[k][d] * shape[d];
            if (joins) {
                shape[last] *= shape[d];
            } else {
                ++last;
                shape[last] = shape[d];
            }
            for (int k = 0; k < N; ++k) strides[k][last] = strides[k][d];
        }
        ndim = last + 1;
    }

    // body(offsets) for the positions first to end - 1 of all dimensions but the last one, in order.
    template <class Body>
    void each_row(index_t first, index_t end, Body&& body) const {
        index_t counter[kMaxDims], at[N] = {}, position = first;
        for (int d = ndim - 2; d >= 0; --d) {
            counter[d] = position % shape[d];
            position /= shape[d];
            for (int k = 0; k < N; ++k) at[k] += counter[d] * strides[k][d];
        }
        for (index_t row = first; row < end; ++row) {
            body(at);
            for (int d = ndim - 2; d >= 0; --d) {
                if (++counter[d] < shape[d]) {
                    for (int k = 0; k < N; ++k) at[k] += strides[k][d];
                    break;
                }
                counter[d] = 0;
                for (int k = 0; k < N; ++k) at[k] -= (shape[d] - 1) * strides[k][d];
            }
        }
    }
};

// Elements that one task takes at least, and the size of the buffer through which strided runs go.
inline constexpr index_t kElementsPerTask = 16384;
inline constexpr index_t kGathered = 512;

namespace detail {

// Applies run(n, in, out) to runs of elements with those strides: where they lie, if they are long and
// contiguous, else in a buffer in which several runs come together.
template <class T, int N, class Run>
class RunsOf {
public:
    RunsOf(const index_t (&steps)[N], Run& run) : steps_(steps), run_(run) {}

    void add(index_t n, const T* const (&in)[N - 1], T* out) {
        constexpr index_t kLong = 64;
        bool contiguous = n >= kLong;
        for (int k = 0; k < N; ++k) contiguous = contiguous && steps_[k] == 1;
        if (contiguous) return run_(n, in, out);
        for (index_t from = 0; from < n;) {
            const index_t now = std::min(kGathered - filled_, n - from);
            for (int k = 0; k < N - 1; ++k) {
                const T* source = in[k] + from * steps_[k];
                for (index_t i = 0; i < now; ++i) gathered_[k][filled_ + i] = source[i * steps_[k]];
            }
            targets_[runs_++] = {out + from * steps_[N - 1], now};
            filled_ += now;
            from += now;
            if (filled_ == kGathered) finish();
        }
    }

    void finish() {
        const T* sources[N - 1];
        for (int k = 0; k < N - 1; ++k) sources[k] = gathered_[k];
        T* results = gathered_[N - 1];
        if (filled_ > 0) run_(filled_, sources, results);
        for (int r = 0; r < runs_; ++r) {
            const Target& to = targets_[r];
            for (index_t i = 0; i < to.n; ++i) to.data[i * steps_[N - 1]] = results[i];
            results += to.n;
        }
        filled_ = 0;
        runs_ = 0;
    }

private:
    struct Target {
        T* data;
        index_t n;
    };

    const index_t (&steps_)[N];
    Run& run_;
    T gathered_[N][kGathered];
    Target targets_[kGathered];
    index_t filled_ = 0;
    int runs_ = 0;
};

}  // namespace detail

// run(n, in, out) on pieces that together cover the arrays, on several threads if there is enough to do.
// `cost` is the work of one element (see threads_for).
template <class T, int N, class Run>
void for_each_run(const Array<const T>* const (&in)[N - 1], const Array<T>& out, double cost, Run run) {
    StridedLoop<N> loop;
    for (int d = 0; d < out.ndim; ++d) {
        if (out.shape[d] == 0) return;
        index_t steps[N];
        for (int k = 0; k < N - 1; ++k) steps[k] = in[k]->strides[d];
        steps[N - 1] = out.strides[d];
        loop.add(out.shape[d], steps);
    }
    loop.sort();
    loop.merge();
    const index_t length = loop.ndim ? loop.shape[loop.ndim - 1] : 1;
    const index_t rows = loop.size() / length;
    const index_t pieces = std::max<index_t>(1, length / kElementsPerTask);  // of a row
    const index_t piece = ceil_div(length, pieces);
    const index_t grouped = std::max<index_t>(1, kElementsPerTask / length);  // rows of a task
    index_t steps[N];
    for (int k = 0; k < N; ++k) steps[k] = loop.ndim ? loop.strides[k][loop.ndim - 1] : 1;
    const index_t row_tasks = ceil_div(rows, grouped);
    parallel_for(row_tasks * pieces, threads_for(static_cast<double>(rows * length) * cost),
                 [&](index_t task) {
                     const index_t from = task % pieces * piece, now = std::min(piece, length - from);
                     if (now <= 0) return;
                     const index_t first = task / pieces * grouped;
                     detail::RunsOf<T, N, Run> runs(steps, run);
                     loop.each_row(first, std::min(rows, first + grouped), [&](const index_t(&at)[N]) {
                         const T* sources[N - 1];
                         for (int k = 0; k < N - 1; ++k) sources[k] = in[k]->data + at[k] + from * steps[k];
                         runs.add(now, sources, out.data + at[N - 1] + from * steps[N - 1]);
                     });
                     runs.finish();
                 });
}

// The same over n contiguous elements: body(first, count).
template <class Body>
void for_each_block(index_t n, double cost, Body&& body) {
    const index_t blocks = ceil_div(n, kElementsPerTask);
    parallel_for(blocks, threads_for(static_cast<double>(n) * cost), [&](index_t block) {
        const index_t first = block * kElementsPerTask;
        body(first, std::min(kElementsPerTask, n - first));
    });
}

}  // namespace ranvier
