// Softmax of matrices of any strides: rows that are contiguous, rows that lie side by side, and others by way
// of a contiguous copy.
#include "ranvier/softmax.h"

#include <algorithm>

#include "kernel_table.h"
#include "ranvier/memory.h"
#include "strided.h"

namespace ranvier {
namespace {

constexpr double kCost = 4;     // of an element, in units of threads_for
constexpr index_t kShort = 32;  // columns of rows that are short

// body(first, count) over groups of rows.
template <class Body>
void for_each_rows(index_t rows, index_t cols, Body&& body) {
    const index_t grouped = std::max<index_t>(16, kElementsPerTask / std::max<index_t>(1, cols));
    parallel_for(ceil_div(rows, grouped), threads_for(static_cast<double>(rows * cols) * kCost),
                 [&](index_t task) {
                     const index_t first = task * grouped;
                     body(first, std::min(grouped, rows - first));
                 });
}

template <class T>
T* row_of(const Matrix<T>& m, index_t i) {
    return m.data + i * m.row_stride;
}

template <class T>
void read_row(const Matrix<const T>& m, index_t i, T* to) {
    const T* from = row_of(m, i);
    for (index_t j = 0; j < m.cols; ++j) to[j] = from[j * m.col_stride];
}

template <class T>
void write_row(const Matrix<T>& m, index_t i, const T* from) {
    T* to = row_of(m, i);
    for (index_t j = 0; j < m.cols; ++j) to[j * m.col_stride] = from[j];
}

template <class T>
void normalise_row(index_t n, const T* x, T* y, bool logarithm) {
    const auto& table = *kernels<T>().elementwise;
    if (logarithm)
        table.subtract(n, x, table.softmax_row(n, x, nullptr), y);
    else
        table.softmax_row(n, x, y);
}

// A vector of rows at a time, for the tail of each short row would leave most lanes idle.
template <class T>
void normalise_short_rows(const Matrix<const T>& x, const Matrix<T>& y, index_t first, index_t count,
                          bool logarithm) {
    const auto& plane = *kernels<T>().plane;
    const index_t lanes = plane.lanes;
    Scratch<T> memory((kShort + 1) * lanes);
    T *columns = memory.data(), *zeros = columns + kShort * lanes;
    std::fill_n(zeros, lanes, T{});
    for (index_t i = first; i < first + count; i += lanes) {
        const index_t rows = std::min(lanes, first + count - i);
        plane.gather_lanes(rows, x.cols, row_of(x, i), x.row_stride, columns, lanes);
        kernels<T>().elementwise->softmax_columns(lanes, x.cols, columns, lanes, columns, lanes, logarithm);
        plane.scatter_lanes(rows, x.cols, columns, lanes, zeros, row_of(y, i), y.row_stride);
    }
}

template <class T>
void normalise(const Matrix<const T>& x, const Matrix<T>& y, bool logarithm) {
    if (x.rows == 0 || x.cols == 0) return;
    const auto& table = *kernels<T>().elementwise;
    if (x.col_stride == 1 && y.col_stride == 1 && x.cols <= kShort) {
        for_each_rows(x.rows, x.cols, [&](index_t first, index_t count) {
            normalise_short_rows(x, y, first, count, logarithm);
        });
    } else if (x.col_stride == 1 && y.col_stride == 1) {
        for_each_rows(x.rows, x.cols, [&](index_t first, index_t count) {
            for (index_t i = first; i < first + count; ++i)
                normalise_row(x.cols, row_of(x, i), row_of(y, i), logarithm);
        });
    } else if (x.row_stride == 1 && y.row_stride == 1) {
        for_each_rows(x.rows, x.cols, [&](index_t first, index_t count) {
            table.softmax_columns(count, x.cols, x.data + first, x.col_stride, y.data + first, y.col_stride,
                                  logarithm);
        });
    } else {
        for_each_rows(x.rows, x.cols, [&](index_t first, index_t count) {
            Scratch<T> row(x.cols);
            for (index_t i = first; i < first + count; ++i) {
                read_row(x, i, row.data());
                normalise_row<T>(x.cols, row.data(), row.data(), logarithm);
                write_row(y, i, static_cast<const T*>(row.data()));
            }
        });
    }
}

template <class T, class Kernel>
void backward(const Matrix<const T>& grad, const Matrix<const T>& y, const Matrix<T>& grad_x, Kernel kernel) {
    if (y.rows == 0 || y.cols == 0) return;
    const bool contiguous = grad.col_stride == 1 && y.col_stride == 1 && grad_x.col_stride == 1;
    for_each_rows(y.rows, y.cols, [&](index_t first, index_t count) {
        Scratch<T> rows(contiguous ? 1 : 2 * y.cols);
        T *grad_row = rows.data(), *y_row = rows.data() + y.cols;
        for (index_t i = first; i < first + count; ++i) {
            if (contiguous) {
                kernel(y.cols, row_of(grad, i), row_of(y, i), row_of(grad_x, i));
                continue;
            }
            read_row(grad, i, grad_row);
            read_row(y, i, y_row);
            kernel(y.cols, grad_row, y_row, grad_row);
            write_row(grad_x, i, static_cast<const T*>(grad_row));
        }
    });
}

}  // namespace

template <class T>
void softmax(const Matrix<const T>& x, const Matrix<T>& y) {
    normalise(x, y, false);
}
template <class T>
void log_softmax(const Matrix<const T>& x, const Matrix<T>& y) {
    normalise(x, y, true);
}
template <class T>
void softmax_backward(const Matrix<const T>& grad, const Matrix<const T>& y, const Matrix<T>& grad_x) {
    backward(grad, y, grad_x, kernels<T>().elementwise->softmax_backward_row);
}
template <class T>
void log_softmax_backward(const Matrix<const T>& grad, const Matrix<const T>& y, const Matrix<T>& grad_x) {
    backward(grad, y, grad_x, kernels<T>().elementwise->log_softmax_backward_row);
}

#define RANVIER_INSTANTIATE(T)                                                                        \
    template void softmax(const Matrix<const T>&, const Matrix<T>&);                                  \
    template void log_softmax(const Matrix<const T>&, const Matrix<T>&);                              \
    template void softmax_backward(const Matrix<const T>&, const Matrix<const T>&, const Matrix<T>&); \
    template void log_softmax_backward(const Matrix<const T>&, const Matrix<const T>&, const Matrix<T>&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
