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

    // The offset of each array at the position with that number among all but the last dimension.
    void offsets(index_t position, index_t (&at)[N]) const {
        for (int k = 0; k < N; ++k) at[k] = 0;
        for (int d = ndim - 2; d >= 0; --d) {
            const index_t i = position % shape[d];
            position /= shape[d];
            for (int k = 0; k < N; ++k) at[k] += i * strides[k][d];
        }
    }
};

// Elements that one task takes at least, and the size of the buffer through which strided runs go.
inline constexpr index_t kElementsPerTask = 16384;
inline constexpr index_t kGathered = 512;

namespace detail {

// run(n, in..., out) over n elements of a run with those strides; gathers what is not contiguous.
template <class T, int N, class Run>
void strided_run(index_t n, const T* const (&in)[N - 1], T* out, const index_t (&steps)[N], Run&& run) {
    bool contiguous = true;
    for (int k = 0; k < N; ++k) contiguous = contiguous && (steps[k] == 1 || n == 1);
    if (contiguous) return run(n, in, out);
    T gathered[N][kGathered];
    for (index_t from = 0; from < n; from += kGathered) {
        const index_t now = std::min(kGathered, n - from);
        const T* sources[N - 1];
        for (int k = 0; k < N - 1; ++k) {
            for (index_t i = 0; i < now; ++i) gathered[k][i] = in[k][(from + i) * steps[k]];
            sources[k] = gathered[k];
        }
        run(now, sources, gathered[N - 1]);
        for (index_t i = 0; i < now; ++i) out[(from + i) * steps[N - 1]] = gathered[N - 1][i];
    }
}

}  // namespace detail

// run(n, in, out) on pieces that together cover the arrays, on several threads if there is enough to do.
// `cost` is the work of one element (see threads_for).
template <class T, int N, class Run>
void for_each_run(const Array<const T>* const (&in)[N - 1], const Array<T>& out, double cost, Run&& run) {
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
                     for (index_t row = first; row < std::min(rows, first + grouped); ++row) {
                         index_t at[N];
                         loop.offsets(row, at);
                         const T* sources[N - 1];
                         for (int k = 0; k < N - 1; ++k) sources[k] = in[k]->data + at[k] + from * steps[k];
                         detail::strided_run<T, N>(now, sources, out.data + at[N - 1] + from * steps[N - 1],
                                                   steps, run);
                     }
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
