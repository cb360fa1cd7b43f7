// Products for Python: matmul with NumPy's rules for vectors and stacks, and the linear layer.
#include "ranvier/matmul.h"

#include <algorithm>
#include <vector>

#include "../platform/denormals.h"
#include "bindings.h"
#include "ranvier/threads.h"
#include "views.h"

namespace ranvier {
namespace {

double work_of(index_t m, index_t n, index_t k) {
    return static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) / 6;
}

// A matrix as it is, and a vector as a row or a column.
template <class T>
Matrix<T> row_or_matrix(const py::array& array) {
    if (array.ndim() == 2) return matrix_view<T>(array);
    const Array<T> view = array_view<T>(array);
    return {view.data, 1, view.shape[0], view.shape[0], view.strides[0]};
}
template <class T>
Matrix<T> column_or_matrix(const py::array& array) {
    if (array.ndim() == 2) return matrix_view<T>(array);
    const Array<T> view = array_view<T>(array);
    return {view.data, view.shape[0], 1, view.strides[0], 1};
}

// body(dimension from the back, index) for a position of a stack, which is one of its elements. The first
// dimension's index is what is left; a division takes as long as a small product.
template <class Body>
void for_each_index(index_t position, const Shape& stack, Body&& body) {
    const int count = static_cast<int>(stack.size());
    for (int back = 1; back < count; ++back) {
        const index_t size = stack[static_cast<std::size_t>(count - back)];
        body(back, position % size);
        position /= size;
    }
    if (count > 0) body(count, position);
}

// numpy.matmul's view of one operand: its last two dimensions are a matrix (a vector is one row or one
// column), the others a stack.
template <class T>
struct Stack {
    Matrix<T> first;
    int ndim;  // of the stack
    const py::ssize_t* shape;
    const py::ssize_t* strides;  // bytes

    Stack(const py::array& array, bool vector_is_row)
        : ndim(static_cast<int>(std::max<py::ssize_t>(0, array.ndim() - 2))),
          shape(array.shape()),
          strides(array.strides()) {
        if (array.ndim() == 1) {
            first = vector_is_row ? row_or_matrix<T>(array) : column_or_matrix<T>(array);
        } else {
            const auto step = static_cast<index_t>(sizeof(T));
            first = {const_cast<T*>(static_cast<const T*>(array.data())), array.shape(ndim),
                     array.shape(ndim + 1), array.strides(ndim) / step, array.strides(ndim + 1) / step};
        }
    }

    // The matrix at a position of the broadcast stack.
    Matrix<T> at(index_t position, const Shape& stack) const {
        Matrix<T> matrix = first;
        for_each_index(position, stack, [&](int back, index_t i) {
            if (back <= ndim && shape[ndim - back] > 1)
                matrix.data += i * (strides[ndim - back] / static_cast<index_t>(sizeof(T)));
        });
        return matrix;
    }
};

Shape broadcast_stacks(const Shape& a, const Shape& b) {
    const std::size_t na = a.size() > 2 ? a.size() - 2 : 0, nb = b.size() > 2 ? b.size() - 2 : 0;
    Shape stack(std::max(na, nb));
    for (std::size_t back = 1; back <= stack.size(); ++back) {
        const index_t sa = back <= na ? a[na - back] : 1, sb = back <= nb ? b[nb - back] : 1;
        if (sa != sb && sa != 1 && sb != 1)
            throw py::value_error("b: expected a stack that broadcasts with a's, got shapes " +
                                  shape_text(a) + " and " + shape_text(b));
        stack[stack.size() - back] = sa == 1 ? sb : sa;
    }
    return stack;
}

void require_common(index_t columns, index_t rows, const py::array& a, const py::array& b) {
    if (columns != rows)
        throw py::value_error("b: expected " + std::to_string(columns) +
                              " rows to match the columns of a, got shapes " + shape_text(shape_of(a)) +
                              " and " + shape_text(shape_of(b)));
}

// Two matrices or vectors, as most calls have them: without the bookkeeping of stacks, which takes longer
// than a small product.
py::array multiply_matrices(const py::array& a, const py::array& b, const py::object& out) {
    const bool a_is_row = a.ndim() == 1, b_is_column = b.ndim() == 1;
    const index_t m = a_is_row ? 1 : a.shape(0), k = a.shape(a.ndim() - 1), n = b_is_column ? 1 : b.shape(1);
    require_common(k, b.shape(0), a, b);
    const py::array c = output(out,
                               a_is_row      ? (b_is_column ? Shape{} : Shape{n})
                               : b_is_column ? Shape{m}
                                             : Shape{m, n},
                               a, {a, b});
    with_element_of(a, [&](auto element) {
        using T = decltype(element);
        const Matrix<const T> left = row_or_matrix<const T>(a), right = column_or_matrix<const T>(b);
        const Matrix<T> product = c.ndim() == 0 ? Matrix<T>{array_view<T>(c).data, 1, 1, 1, 1}
                                  : b_is_column ? column_or_matrix<T>(c)
                                                : row_or_matrix<T>(c);
        run_kernel(work_of(m, n, k), [&] { matmul<T>(left, right, product); });
    });
    return c;
}

// multiply(position) for `count` products of that work each. Threads share the products, if a product is too
// small to be shared itself.
template <class Multiply>
void multiply_stack(index_t count, double work, Multiply&& multiply) {
    const double all = work * static_cast<double>(count);
    run_kernel(all, [&] {
        const FlushDenormals flush;  // once, for it takes as long as a small product
        const int threads = threads_for(work) == 1 ? threads_for(all) : 1;
        const index_t tasks = threads == 1 ? 1 : std::min(count, static_cast<index_t>(4 * threads));
        parallel_for(tasks, threads, [&](index_t task) {
            const index_t end = (task + 1) * count / tasks;
            for (index_t position = task * count / tasks; position < end; ++position) multiply(position);
        });
    });
}

py::array matmul_arrays(const py::handle& a_object, const py::handle& b_object, const py::object& out) {
    const py::array a = float_array(a_object, "a"), b = array_like(b_object, "b", a, "a");
    if (a.ndim() == 0) throw py::value_error("a: expected at least 1 dimension, got shape ()");
    if (b.ndim() == 0) throw py::value_error("b: expected at least 1 dimension, got shape ()");
    if (a.ndim() <= 2 && b.ndim() <= 2) return multiply_matrices(a, b, out);
    const Shape a_shape = shape_of(a), b_shape = shape_of(b);
    const index_t k = a_shape.back(), kb = b_shape[b_shape.size() > 1 ? b_shape.size() - 2 : 0];
    require_common(k, kb, a, b);
    const Shape stack = broadcast_stacks(a_shape, b_shape);
    Shape shape = stack;
    if (a.ndim() > 1) shape.push_back(a_shape[a_shape.size() - 2]);
    if (b.ndim() > 1) shape.push_back(b_shape.back());
    const py::array c = output(out, shape, a, {a, b});
    with_element_of(a, [&](auto element) {
        using T = decltype(element);
        const Stack<const T> left(a, true), right(b, false);
        Array<T> view = array_view<T>(c);
        Matrix<T> first = {view.data, left.first.rows, right.first.cols, 0, 0};
        if (b.ndim() > 1) first.col_stride = view.strides[--view.ndim];
        if (a.ndim() > 1) first.row_stride = view.strides[--view.ndim];
        multiply_stack(element_count(stack), work_of(first.rows, first.cols, k), [&](index_t position) {
            Matrix<T> target = first;
            for_each_index(position, stack,
                           [&](int back, index_t i) { target.data += i * view.strides[view.ndim - back]; });
            matmul<T>(left.at(position, stack), right.at(position, stack), target);
        });
    });
    return c;
}

// Whether the dimensions from `first` to the last but one step through memory like one dimension of rows.
template <class T>
bool form_rows(const Array<T>& view, int first) {
    index_t rows = 1, stride = 0;
    for (int d = view.ndim - 2; d >= first; --d) {
        if (view.shape[d] == 1) continue;
        if (rows != 1 && view.strides[d] != rows * stride) return false;
        if (rows == 1) stride = view.strides[d];
        rows *= view.shape[d];
    }
    return true;
}

// Arrays of shape (..., features) that agree but in their features, as blocks of rows: the innermost leading
// dimensions that form rows in every one of them make a block, and the others count the blocks. Mostly one.
class RowBlocks {
public:
    template <class... T>
    explicit RowBlocks(const Array<T>&... views) {
        const int leading = std::max({(views.ndim - 1)...});
        first_ = leading;
        while (first_ > 0 && (form_rows(views, first_ - 1) && ...)) --first_;
        (count_blocks(views), ...);
    }

    index_t count() const { return count_; }

    template <class T>
    Matrix<T> at(const Array<T>& view, index_t position) const {
        const int last = view.ndim - 1;
        Matrix<T> block = {view.data, 1, view.shape[last], 0, view.strides[last]};
        for (int d = last - 1; d >= first_; --d) {
            if (block.rows == 1) block.row_stride = view.strides[d];
            block.rows *= view.shape[d];
        }
        for (int d = first_ - 1; d >= 0; --d) {
            block.data += position % view.shape[d] * view.strides[d];
            position /= view.shape[d];
        }
        return block;
    }

private:
    template <class T>
    void count_blocks(const Array<T>& view) {
        count_ = 1;
        for (int d = 0; d < first_; ++d) count_ *= view.shape[d];
    }

    int first_;  // of the dimensions inside a block
    index_t count_ = 1;
};

void require_features(const py::array& x, const py::array& w) {
    require_ndim(w, "weight", 2, "(out, in)");
    if (x.ndim() < 1 || x.shape(x.ndim() - 1) != w.shape(1))
        throw py::value_error("x: expected shape (..., " + std::to_string(w.shape(1)) +
                              ") to match weight of shape " + shape_text(shape_of(w)) + ", got " +
                              shape_text(shape_of(x)));
}

// The numbers of a bias, those of the array or, if they have gaps, a copy of them in `memory`.
template <class T>
const T* contiguous(const py::array& bias, std::vector<T>& memory) {
    const Array<T> view = array_view<T>(bias);
    if (view.strides[0] == 1) return view.data;
    memory.resize(static_cast<std::size_t>(view.shape[0]));
    for (std::size_t i = 0; i < memory.size(); ++i)
        memory[i] = view.data[static_cast<index_t>(i) * view.strides[0]];
    return memory.data();
}

py::array linear(const py::handle& x_object, const py::handle& w_object, const py::object& b_object,
                 const py::object& out) {
    const py::array x = float_array(x_object, "x"), w = array_like(w_object, "weight", x, "x");
    require_features(x, w);
    Shape shape = shape_of(x);
    shape.back() = w.shape(0);
    const bool has_bias = !b_object.is_none();
    const py::array b = has_bias ? array_like(b_object, "bias", x, "x") : x;
    if (has_bias) require_shape(b, "bias", {w.shape(0)});
    const py::array y = output(out, shape, x, {x, w, b});
    with_element_of(x, [&](auto element) {
        using T = decltype(element);
        const Array<const T> from = array_view<const T>(x);
        const Array<T> to = array_view<T>(y);
        const RowBlocks blocks(from, to);
        std::vector<T> bias;
        Epilogue<T> epilogue;
        if (has_bias) epilogue.col_bias = contiguous<T>(b, bias);
        const Matrix<const T> weights = transposed(matrix_view<const T>(w));
        run_kernel(work_of(x.size(), weights.cols, 1), [&] {
            for (index_t i = 0; i < blocks.count(); ++i)
                matmul<T>(blocks.at(from, i), weights, blocks.at(to, i), epilogue);
        });
    });
    return y;
}

template <class T>
void linear_gradients(const Array<const T>& grad, const Array<const T>& x, const Matrix<const T>& w,
                      const Array<T>& grad_x, const Matrix<T>& grad_w, T* grad_b) {
    const RowBlocks blocks(grad, x, grad_x);
    std::fill_n(grad_b, w.rows, T{});
    if (blocks.count() == 0) std::fill_n(grad_w.data, w.rows * w.cols, T{});
    for (index_t i = 0; i < blocks.count(); ++i) {
        const Matrix<const T> g = blocks.at(grad, i);
        Epilogue<T> added;
        added.accumulate = i > 0;
        matmul<T>(g, w, blocks.at(grad_x, i));
        matmul<T>(transposed(g), blocks.at(x, i), grad_w, added);
        add_column_sums<T>(g, grad_b);
    }
}

py::tuple linear_backward(const py::handle& grad_object, const py::handle& x_object,
                          const py::handle& w_object) {
    const py::array grad = float_array(grad_object, "grad"), x = array_like(x_object, "x", grad, "grad"),
                    w = array_like(w_object, "weight", grad, "grad");
    require_features(x, w);
    Shape expected = shape_of(x);
    expected.back() = w.shape(0);
    require_shape(grad, "grad", expected);
    const py::array grad_x = new_array(shape_of(x), x), grad_w = new_array(shape_of(w), x),
                    grad_b = new_array({w.shape(0)}, x);
    with_element_of(grad, [&](auto element) {
        using T = decltype(element);
        const Array<const T> g = array_view<const T>(grad), from = array_view<const T>(x);
        const Array<T> to = array_view<T>(grad_x);
        const Matrix<const T> weights = matrix_view<const T>(w);
        const Matrix<T> weight_gradient = matrix_view<T>(grad_w);
        T* bias_gradient = static_cast<T*>(const_cast<void*>(grad_b.data()));
        run_kernel(2 * work_of(x.size(), weights.rows, 1),
                   [&] { linear_gradients<T>(g, from, weights, to, weight_gradient, bias_gradient); });
    });
    return py::make_tuple(grad_x, grad_w, grad_b);
}

}  // namespace

void bind_matmul(py::module_& m) {
    m.def("matmul", &matmul_arrays, py::arg("a"), py::arg("b"), py::arg("out") = py::none(),
          R"(Matrix product.

Parameters
----------
a, b : ndarray of float32 or float64
    Of any strides, both of one dtype. Vectors and stacks of matrices are taken as by ``numpy.matmul``.
out : ndarray, optional
    Where to write the result: its exact shape and dtype, writeable, sharing no memory with a or b.

Returns
-------
ndarray
    The product, ``out`` if it was given.

Raises
------
TypeError
    If an array is of another dtype. Nothing is converted.
ValueError
    If the shapes do not match or ``out`` is unfit.
)");
    m.def("linear", &linear, py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(),
          py::arg("out") = py::none(),
          R"(Linear layer, ``x @ weight.T + bias``.

Parameters
----------
x : ndarray, shape (..., in)
weight : ndarray, shape (out, in)
bias : ndarray, shape (out,), optional
out : ndarray, shape (..., out), optional

Returns
-------
ndarray, shape (..., out)

Raises
------
TypeError, ValueError
    As `matmul`.
)");
    m.def("linear_backward", &linear_backward, py::arg("grad"), py::arg("x"), py::arg("weight"),
          R"(Gradients of `linear`.

Parameters
----------
grad : ndarray, shape (..., out)
    The gradient of a loss to the layer's output.
x : ndarray, shape (..., in)
weight : ndarray, shape (out, in)

Returns
-------
grad_x : ndarray, shape (..., in)
grad_w : ndarray, shape (out, in)
grad_b : ndarray, shape (out,)
)");
}

}  // namespace ranvier
