// Softmax along an axis of arrays of any strides: rows that are contiguous, rows that lie side by side, and
// others by way of a buffer. All give the same bits.
#include "ranvier/softmax.h"

#include <algorithm>

#include "kernel_table.h"
#include "ranvier/memory.h"
#include "strided.h"

namespace ranvier {
namespace {

constexpr double kCost = 4;         // of an element, in units of threads_for
constexpr index_t kShort = 32;      // elements of rows that are short
constexpr index_t kBuffer = 4096;   // elements of some rows that go through a buffer together
constexpr index_t kLongest = 1024;  // of rows that are taken in squares where two axes cross

// The rows of N arrays, the last of which is written, along an axis.
template <class T, int N>
struct Rows {
    index_t n;        // elements of a row
    index_t step[N];  // from one to the next
    StridedLoop<N> loop;

    Rows(int ndim, const index_t* shape, const index_t* const (&strides)[N], int axis)
        : n(shape[axis]), loop(ndim, shape, strides, axis) {
        for (int k = 0; k < N; ++k) step[k] = strides[k][axis];
    }

    bool are_contiguous() const {
        return std::all_of(step, step + N, [](index_t s) { return s == 1; });
    }
    bool lie_side_by_side() const {
        for (int k = 0; k < N; ++k)
            if (loop.stride(k, 2) != 1) return false;
        return true;
    }

    // body(offsets, sizes) for up to `box` rows at a time.
    template <class Body>
    void each(const index_t (&box)[3], Body&& body) const {
        const auto cost = kCost * static_cast<double>(n);
        loop.for_each_task(box, cost, n,
                           [&](index_t first, index_t end) { loop.each_box(box, first, end, body); });
    }

    // Some rows of an array as a box whose last axis goes from row to row.
    BoxShape box_of(int array, const index_t (&sizes)[3]) const {
        BoxShape box = loop.box_of(array, sizes);
        box.size[0] = n;
        box.stride[0] = step[array];
        return box;
    }
};

// How many rows go through a buffer together: as many as fill it, or, where another axis than the last is an
// array's innermost one, a square of vectors, which is transposed in registers.
template <class T, int N>
void choose_buffered_rows(Rows<T, N>& rows, index_t lanes, index_t (&box)[3]) {
    const index_t count = std::max(lanes, kBuffer / rows.n / lanes * lanes);
    const bool apart = std::none_of(rows.step, rows.step + N, [](index_t s) { return s == 1; });
    const bool crossing = apart && rows.n <= kLongest && rows.loop.bring_crossing_axis(N);
    box[0] = 1;
    box[2] = std::min(rows.loop.size(2), crossing ? std::max(lanes, count / lanes) : count);
    box[1] = std::min(rows.loop.size(1), std::max(crossing ? lanes : index_t{1}, count / box[2]));
}

// Kernel has row(data[N]) for a contiguous row, and columns(count, data[N], strides[N]) for rows that lie
// side by side; data[N - 1] may be data[0].
template <class T, int N, class Kernel>
void for_each_row(Rows<T, N> rows, T* const (&data)[N], const Kernel& kernel) {
    const auto& plane = *kernels<T>().plane;
    const index_t n = rows.n, lanes = plane.lanes, all = rows.loop.size(), last = rows.loop.size(2);
    const auto places = [&](const index_t(&at)[N], T*(&to)[N]) {
        for (int k = 0; k < N; ++k) to[k] = data[k] + at[k];
    };
    if (all == 0 || n == 0) return;
    if (rows.are_contiguous() && n > kShort)
        return rows.each({1, 1, 1}, [&](const index_t(&at)[N], const index_t(&)[3]) {
            T* row[N];
            places(at, row);
            kernel.row(row);
        });
    if (rows.lie_side_by_side() && (last >= lanes || last == all) && (last > lanes / 2 || n <= kShort)) {
        const index_t width = std::min(last, std::max(8 * lanes, kElementsPerTask / n));
        return rows.each({1, 1, width}, [&](const index_t(&at)[N], const index_t(&sizes)[3]) {
            T* columns[N];
            places(at, columns);
            kernel.columns(sizes[2], columns, rows.step);
        });
    }
    if (all > lanes / 2 && n <= 2 * kBuffer) {
        index_t box[3];
        choose_buffered_rows(rows, lanes, box);
        return rows.each(box, [&](const index_t(&at)[N], const index_t(&sizes)[3]) {
            const index_t now = sizes[1] * sizes[2];
            Scratch<T> memory((N - 1) * n * now);
            T* columns[N];
            index_t steps[N];
            for (int k = 0; k < N - 1; ++k) {
                columns[k] = memory.data() + k * n * now;
                plane.gather_box(rows.box_of(k, sizes), data[k] + at[k], columns[k]);
            }
            columns[N - 1] = columns[0];
            std::fill_n(steps, N, now);
            kernel.columns(now, columns, steps);
            plane.scatter_box(rows.box_of(N - 1, sizes), columns[N - 1], data[N - 1] + at[N - 1]);
        });
    }
    rows.each({1, 1, 1}, [&](const index_t(&at)[N], const index_t(&sizes)[3]) {
        Scratch<T> memory((N - 1) * n);
        T* row[N];
        for (int k = 0; k < N - 1; ++k) {
            row[k] = memory.data() + k * n;
            plane.gather_box(rows.box_of(k, sizes), data[k] + at[k], row[k]);
        }
        row[N - 1] = row[0];
        kernel.row(row);
        plane.scatter_box(rows.box_of(N - 1, sizes), row[N - 1], data[N - 1] + at[N - 1]);
    });
}

template <class T>
struct Forward {
    index_t n;
    bool logarithm;
    const ElementwiseKernels<T>& table = *kernels<T>().elementwise;

    void row(T* const (&data)[2]) const {
        if (logarithm)
            table.subtract(n, data[0], table.softmax_row(n, data[0], nullptr), data[1]);
        else
            table.softmax_row(n, data[0], data[1]);
    }
    void columns(index_t count, T* const (&data)[2], const index_t (&strides)[2]) const {
        table.softmax_columns(count, n, data[0], strides[0], data[1], strides[1], logarithm);
    }
};

template <class T>
struct Backward {
    index_t n;
    bool logarithm;
    const ElementwiseKernels<T>& table = *kernels<T>().elementwise;

    void row(T* const (&data)[3]) const {
        (logarithm ? table.log_softmax_backward_row : table.softmax_backward_row)(n, data[0], data[1],
                                                                                  data[2]);
    }
    void columns(index_t count, T* const (&data)[3], const index_t (&strides)[3]) const {
        table.softmax_backward_columns(count, n, data[0], strides[0], data[1], strides[1], data[2],
                                       strides[2], logarithm);
    }
};

template <class T>
void normalise(const Array<const T>& x, const Array<T>& y, int axis, bool logarithm) {
    const Rows<T, 2> rows(y.ndim, y.shape, {x.strides, y.strides}, axis);
    for_each_row<T, 2>(rows, {const_cast<T*>(x.data), y.data}, Forward<T>{rows.n, logarithm});
}

template <class T>
void backward(const Array<const T>& grad, const Array<const T>& y, const Array<T>& grad_x, int axis,
              bool logarithm) {
    const Rows<T, 3> rows(y.ndim, y.shape, {grad.strides, y.strides, grad_x.strides}, axis);
    for_each_row<T, 3>(rows, {const_cast<T*>(grad.data), const_cast<T*>(y.data), grad_x.data},
                       Backward<T>{rows.n, logarithm});
}

}  // namespace

template <class T>
void softmax(const Array<const T>& x, const Array<T>& y, int axis) {
    normalise(x, y, axis, false);
}
template <class T>
void log_softmax(const Array<const T>& x, const Array<T>& y, int axis) {
    normalise(x, y, axis, true);
}
template <class T>
void softmax_backward(const Array<const T>& grad, const Array<const T>& y, const Array<T>& grad_x, int axis) {
    backward(grad, y, grad_x, axis, false);
}
template <class T>
void log_softmax_backward(const Array<const T>& grad, const Array<const T>& y, const Array<T>& grad_x,
                          int axis) {
    backward(grad, y, grad_x, axis, true);
}

#define RANVIER_INSTANTIATE(T)                                                                          \
    template void softmax(const Array<const T>&, const Array<T>&, int);                                 \
    template void log_softmax(const Array<const T>&, const Array<T>&, int);                             \
    template void softmax_backward(const Array<const T>&, const Array<const T>&, const Array<T>&, int); \
    template void log_softmax_backward(const Array<const T>&, const Array<const T>&, const Array<T>&, int);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
