// Loops over several strided arrays of one shape, by boxes that are contiguous or become so in a buffer.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "kernel_table.h"
#include "ranvier/array.h"
#include "ranvier/threads.h"

namespace ranvier {

// Elements that one task takes at least, and those of a box that goes through a buffer.
inline constexpr index_t kElementsPerTask = 16384;
inline constexpr index_t kGathered = 1024;

// The common shape of N arrays and their strides, with the dimensions of size one dropped, ordered and
// directed so that the last array is walked in memory order, and merged where all arrays allow it. There are
// always three dimensions or more; those in front may have size one.
template <int N>
class StridedLoop {
public:
    // The axes of all arrays but those in `without`.
    StridedLoop(int ndim, const index_t* shape, const index_t* const (&strides)[N], int without = -1) {
        for (int d = 0; d < ndim; ++d) {
            if (d == without) continue;
            index_t steps[N];
            for (int k = 0; k < N; ++k) steps[k] = strides[k][d];
            add(shape[d], steps);
        }
        sort();
        merge();
        while (ndim_ < 3) prepend();
    }

    index_t size() const {
        index_t count = 1;
        for (int d = 0; d < ndim_; ++d) count *= shape_[d];
        return count;
    }
    // Of the last three dimensions, which are 0, 1 and 2 here.
    index_t size(int d) const { return shape_[ndim_ - 3 + d]; }
    index_t stride(int array, int d) const { return strides_[array][ndim_ - 3 + d]; }

    // Makes the dimension along which some array's elements are neighbours the second last, if it is another
    // than the last; tells whether there is one.
    bool bring_crossing_axis(int arrays) {
        for (int k = 0; k < arrays; ++k) {
            const int least = innermost_of(k);
            if (least == ndim_ - 1) continue;
            for (int d = least; d < ndim_ - 2; ++d) swap(d, d + 1);
            return true;
        }
        return false;
    }

    index_t boxes(const index_t (&box)[3]) const {
        index_t count = 1;
        for (int d = 0; d < ndim_; ++d) count *= ceil_div(shape_[d], size_of(box, d));
        return count;
    }

    // How many boxes are a task; an element may stand for several numbers.
    static index_t boxes_of_task(const index_t (&box)[3], index_t numbers) {
        return std::max<index_t>(1, kElementsPerTask / (box[0] * box[1] * box[2] * numbers));
    }

    // task(first, end) for all boxes, which are up to `box` large along the last three dimensions, on several
    // threads if there is enough to do. `cost` is the work of an element (see threads_for), which may stand
    // for several numbers.
    template <class Task>
    void for_each_task(const index_t (&box)[3], double cost, index_t numbers, Task&& task) const {
        const index_t grouped = boxes_of_task(box, numbers);
        const index_t count = boxes(box);
        parallel_for(ceil_div(count, grouped), threads_for(static_cast<double>(size()) * cost),
                     [&](index_t i) { task(i * grouped, std::min(count, (i + 1) * grouped)); });
    }

    // body(offsets, sizes) for the boxes first to end - 1.
    template <class Body>
    void each_box(const index_t (&box)[3], index_t first, index_t end, Body&& body) const {
        index_t counter[kMaxDims + 3], count[kMaxDims + 3], at[N], position = first;
        for (int k = 0; k < N; ++k) at[k] = base_[k];
        for (int d = ndim_ - 1; d >= 0; --d) {
            count[d] = ceil_div(shape_[d], size_of(box, d));
            counter[d] = position % count[d];
            position /= count[d];
            for (int k = 0; k < N; ++k) at[k] += counter[d] * size_of(box, d) * strides_[k][d];
        }
        for (index_t i = first; i < end; ++i) {
            index_t sizes[3];
            for (int d = 0; d < 3; ++d)
                sizes[d] = std::min(box[d], size(d) - counter[ndim_ - 3 + d] * box[d]);
            body(at, sizes);
            for (int d = ndim_ - 1; d >= 0; --d) {
                const index_t step = size_of(box, d);
                if (++counter[d] < count[d]) {
                    for (int k = 0; k < N; ++k) at[k] += step * strides_[k][d];
                    break;
                }
                counter[d] = 0;
                for (int k = 0; k < N; ++k) at[k] -= (count[d] - 1) * step * strides_[k][d];
            }
        }
    }

    // Some array's part of a box of those sizes.
    BoxShape box_of(int array, const index_t (&sizes)[3]) const {
        BoxShape box;
        for (int d = 0; d < 3; ++d) {
            box.size[d] = sizes[d];
            box.stride[d] = stride(array, d);
        }
        return box;
    }

private:
    void add(index_t size, const index_t (&steps)[N]) {
        if (size == 1) return;
        shape_[ndim_] = size;
        const bool turned = steps[N - 1] < 0;
        for (int k = 0; k < N; ++k) {
            if (turned) base_[k] += (size - 1) * steps[k];
            strides_[k][ndim_] = turned ? -steps[k] : steps[k];
        }
        ++ndim_;
    }

    void swap(int i, int j) {
        std::swap(shape_[i], shape_[j]);
        for (int k = 0; k < N; ++k) std::swap(strides_[k][i], strides_[k][j]);
    }

    void sort() {
        for (int i = 1; i < ndim_; ++i)
            for (int j = i; j > 0 && strides_[N - 1][j] > strides_[N - 1][j - 1]; --j) swap(j, j - 1);
    }

    void merge() {
        if (ndim_ == 0) return;
        int last = 0;
        for (int d = 1; d < ndim_; ++d) {
            bool joins = true;
            for (int k = 0; k < N; ++k) joins = joins && strides_[k][last] == strides_[k][d] * shape_[d];
            if (joins) {
                shape_[last] *= shape_[d];
            } else {
                ++last;
                shape_[last] = shape_[d];
            }
            for (int k = 0; k < N; ++k) strides_[k][last] = strides_[k][d];
        }
        ndim_ = last + 1;
    }

    void prepend() {
        for (int d = ndim_; d > 0; --d) {
            shape_[d] = shape_[d - 1];
            for (int k = 0; k < N; ++k) strides_[k][d] = strides_[k][d - 1];
        }
        shape_[0] = 1;
        for (int k = 0; k < N; ++k) strides_[k][0] = ndim_ == 0 ? 1 : 0;
        ++ndim_;
    }

    int innermost_of(int array) const {
        int least = ndim_ - 1;
        for (int d = ndim_ - 2; d >= 0; --d) {
            const index_t stride = std::abs(strides_[array][d]);
            if (shape_[d] > 1 && stride > 0 && stride < std::abs(strides_[array][least])) least = d;
        }
        return least;
    }

    index_t size_of(const index_t (&box)[3], int d) const { return d < ndim_ - 3 ? 1 : box[d - (ndim_ - 3)]; }

    int ndim_ = 0;
    index_t shape_[kMaxDims + 3];
    index_t strides_[N][kMaxDims + 3];
    index_t base_[N] = {};  // of the first element
};

inline bool is_contiguous(const BoxShape& box) {
    index_t expected = 1;
    for (int d = 2; d >= 0; --d) {
        if (box.size[d] != 1 && box.stride[d] != expected) return false;
        expected *= box.size[d];
    }
    return true;
}

namespace detail {

// An array's part of a box: where it lies, if it is contiguous there, else in a buffer.
template <class T>
class StagedBox {
public:
    // Contiguous elements of an input. Those of the last box serve again if it was the same.
    const T* read(const BoxShape& box, const T* from) {
        if (is_contiguous(box)) return from;
        if (from != last_ || !std::equal(box.size, box.size + 3, size_)) {
            kernels<T>().plane->gather_box(box, from, memory_);
            last_ = from;
            std::copy_n(box.size, 3, size_);
        }
        return memory_;
    }

    // Where an output's elements go at first; write() brings them home.
    T* target(const BoxShape& box, T* to) { return is_contiguous(box) ? to : memory_; }
    void write(const BoxShape& box, T* to) {
        if (!is_contiguous(box)) kernels<T>().plane->scatter_box(box, memory_, to);
    }

private:
    alignas(64) T memory_[kGathered];
    const T* last_ = nullptr;
    index_t size_[3];
};

// How large the boxes are for which the arrays up to `arrays` are read or written: up to `most` elements,
// unless all lie contiguously. If `in_order`, elements that are neighbours in a box are so in the whole.
template <int N>
void choose_box(StridedLoop<N>& loop, int arrays, bool in_order, index_t most, index_t (&box)[3]) {
    constexpr index_t kLong = 64, kSquare = 32, kWhole = 8;
    bool contiguous = loop.size(2) >= kLong;
    for (int k = 0; k < arrays; ++k) contiguous = contiguous && loop.stride(k, 2) == 1;
    std::fill_n(box, 3, 1);
    if (contiguous) {
        box[2] = std::min(loop.size(2), kElementsPerTask);
    } else if (!in_order && loop.bring_crossing_axis(arrays)) {
        // Of an axis that is little longer than the square no short rest is left.
        box[2] = loop.size(2) <= 2 * kSquare ? loop.size(2) : kSquare;
        box[2] = std::min(box[2], most);
        box[1] = std::min(loop.size(1), most / box[2]);
        if (box[1] < loop.size(1) && box[1] > kWhole) box[1] -= box[1] % kWhole;
        box[2] = std::min(loop.size(2), most / box[1]);
    } else {
        box[2] = std::min(loop.size(2), most);
        if (box[2] == loop.size(2)) box[1] = std::min(loop.size(1), most / box[2]);
    }
    if (box[2] == loop.size(2) && box[1] == loop.size(1))
        box[0] = std::min(loop.size(0), std::max<index_t>(1, most / (box[1] * box[2])));
}

// run(n, in, out, offset in the last of the loop's arrays) on boxes that together cover the arrays. Of the
// loop's arrays those up to N are the inputs and the output.
template <class T, int N, int M, class Run>
void run_boxes(StridedLoop<M>& loop, bool in_order, const Array<const T>* const (&in)[N - 1], T* out,
               double cost, Run& run) {
    index_t box[3];
    choose_box(loop, N, in_order, kGathered, box);
    loop.for_each_task(box, cost, 1, [&](index_t first, index_t end) {
        StagedBox<T> staged[N];
        loop.each_box(box, first, end, [&](const index_t(&at)[M], const index_t(&sizes)[3]) {
            const T* sources[N - 1];
            for (int k = 0; k < N - 1; ++k)
                sources[k] = staged[k].read(loop.box_of(k, sizes), in[k]->data + at[k]);
            const BoxShape target = loop.box_of(N - 1, sizes);
            T* to = out + at[N - 1];
            run(sizes[0] * sizes[1] * sizes[2], sources, staged[N - 1].target(target, to), at[M - 1]);
            staged[N - 1].write(target, to);
        });
    });
}

// The walk over arrays of one shape, the output being the last one.
template <class T, int N>
StridedLoop<N> loop_over(const Array<const T>* const (&in)[N - 1], const Array<T>& out) {
    const index_t* strides[N];
    for (int k = 0; k < N - 1; ++k) strides[k] = in[k]->strides;
    strides[N - 1] = out.strides;
    return {out.ndim, out.shape, strides};
}

template <class T, int N, class Run>
void run_pieces(StridedLoop<N>& loop, const Array<const T>* const (&in)[N - 1], T* out, double cost,
                Run& run) {
    if (loop.size() == 0) return;
    const auto without_offset = [&](index_t n, const T* const* sources, T* to, index_t) {
        run(n, sources, to);
    };
    run_boxes<T, N>(loop, false, in, out, cost, without_offset);
}

}  // namespace detail

// run(n, in, out) on pieces that together cover the arrays, on several threads if there is enough to do.
// `cost` is the work of one element (see threads_for).
template <class T, int N, class Run>
void for_each_run(const Array<const T>* const (&in)[N - 1], const Array<T>& out, double cost, Run run) {
    StridedLoop<N> loop = detail::loop_over<T, N>(in, out);
    detail::run_pieces<T, N>(loop, in, out.data, cost, run);
}

// line(n, in, out, steps) likewise, on lines along one axis whose elements are steps[k] apart in array k, the
// output being the last one, if there is no way to lines that are contiguous in some array; else run().
template <class T, int N, class Run, class Line>
void for_each_run_or_line(const Array<const T>* const (&in)[N - 1], const Array<T>& out, double cost, Run run,
                          Line line) {
    constexpr index_t kLong = 32, kShort = 4;
    StridedLoop<N> loop = detail::loop_over<T, N>(in, out);
    bool contiguous = true;
    for (int k = 0; k < N; ++k) contiguous = contiguous && loop.stride(k, 2) == 1;
    const bool along_last = loop.size(2) >= kLong;
    // Short lines that fit in half a vector, with what lies between their elements, go through buffers.
    bool fit = true;
    for (int k = 0; k < N; ++k)
        fit = fit && (loop.size(2) - 1) * std::abs(loop.stride(k, 2)) < kernels<T>().plane->lanes / 2;
    const bool along_second = loop.size(2) <= kShort && !fit && loop.size(1) >= kLong;
    if (contiguous || !(along_last || along_second) || loop.bring_crossing_axis(N))
        return detail::run_pieces<T, N>(loop, in, out.data, cost, run);
    const int axis = along_last ? 2 : 1, other = 3 - axis;
    index_t box[3] = {1, 1, 1}, steps[N];
    box[axis] = std::min(loop.size(axis), kGathered);
    box[other] = std::min(loop.size(other), std::max<index_t>(1, kGathered / box[axis]));
    for (int k = 0; k < N; ++k) steps[k] = loop.stride(k, axis);
    loop.for_each_task(box, cost, 1, [&](index_t first, index_t end) {
        loop.each_box(box, first, end, [&](const index_t(&at)[N], const index_t(&sizes)[3]) {
            for (index_t i = 0; i < sizes[other]; ++i) {
                const T* sources[N - 1];
                for (int k = 0; k < N - 1; ++k) sources[k] = in[k]->data + at[k] + i * loop.stride(k, other);
                line(sizes[axis], sources, out.data + at[N - 1] + i * loop.stride(N - 1, other), steps);
            }
        });
    });
}

// run(n, in, out, first) likewise, on pieces that follow one another in the order of the arrays' axes;
// `first` is the number of a piece's first element in this order.
template <class T, int N, class Run>
void for_each_run_in_order(const Array<const T>* const (&in)[N - 1], const Array<T>& out, double cost,
                           Run run) {
    index_t numbers[kMaxDims], count = 1;
    for (int d = out.ndim - 1; d >= 0; --d) {
        numbers[d] = count;
        count *= out.shape[d];
    }
    if (count == 0) return;
    const index_t* strides[N + 1];
    for (int k = 0; k < N - 1; ++k) strides[k] = in[k]->strides;
    strides[N - 1] = out.strides;
    strides[N] = numbers;
    StridedLoop<N + 1> loop(out.ndim, out.shape, strides);
    detail::run_boxes<T, N>(loop, true, in, out.data, cost, run);
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
