// NumPy arrays as views: which dtypes are taken, the checks of `out`, and the GIL.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>

#include "gil.h"
#include "ranvier/array.h"
#include "ranvier/layers.h"

namespace ranvier {

namespace py = pybind11;

// "an array of int64", "list", "numpy.float64"
std::string kind_of(const py::handle& object);
Shape shape_of(const py::array& array);

// Whether it is an array of that dtype. One that was pickled has a dtype that equals NumPy's own object for
// it, and is another one.
template <class T>
bool has_dtype(const py::handle& object) {
    return py::isinstance<py::array_t<T, 0>>(object);
}

// The array, if it is one of float32 or float64 in native byte order with elements at multiples of their
// size; else TypeError or ValueError naming the argument.
py::array float_array(const py::handle& object, const char* name);
bool is_float32(const py::array& array);

// The same of the dtype that `like` has.
py::array array_like(const py::handle& object, const char* name, const py::array& like,
                     const char* like_name);

void require_ndim(const py::array& array, const char* name, py::ssize_t ndim, const char* meaning);
void require_shape(const py::array& array, const char* name, const Shape& shape);

// `out` if it was given and is fit to receive that shape in the dtype of `like`, else a new array. It must
// share no memory with the inputs, except that it may be exactly one of those in `in_place`.
py::array output(const py::object& out, const Shape& shape, const py::array& like,
                 std::initializer_list<py::array> inputs, bool in_place = false, const char* name = "out");

// The same for an elementwise function of x: a new array has x's shape and its axes in the same order of
// memory.
py::array output_like(const py::object& out, const py::array& x, std::initializer_list<py::array> inputs);

// An uninitialised array in C order, of float, double or std::int32_t.
template <class T>
py::array_t<T> new_array(const Shape& shape);
// The same in the dtype of `like`.
py::array new_array(const Shape& shape, const py::array& like);

template <class T>
Array<T> array_view(const py::array& array) {
    Array<T> view;
    view.data = const_cast<T*>(static_cast<const T*>(array.data()));
    view.ndim = static_cast<int>(array.ndim());
    for (int d = 0; d < view.ndim; ++d) {
        view.shape[d] = array.shape(d);
        view.strides[d] = array.strides(d) / static_cast<index_t>(sizeof(T));
    }
    return view;
}

template <class T>
Matrix<T> matrix_view(const py::array& array) {
    const auto step = static_cast<index_t>(sizeof(T));
    return {const_cast<T*>(static_cast<const T*>(array.data())), array.shape(0), array.shape(1),
            array.strides(0) / step, array.strides(1) / step};
}

template <class T>
Images<T> images_view(const py::array& array) {
    Images<T> view;
    view.data = const_cast<T*>(static_cast<const T*>(array.data()));
    for (int d = 0; d < 4; ++d) view.strides[d] = array.strides(d) / static_cast<index_t>(sizeof(T));
    return view;
}

// body(T{}) for the array's element type.
template <class Body>
auto with_element_of(const py::array& array, Body&& body) {
    return is_float32(array) ? body(float{}) : body(double{});
}

// Runs body, without the GIL if its work (see threads_for) is worth the release.
template <class Body>
void run_kernel(double work, Body&& body) {
    if (work < 50e3) return body();
    const ReleasedGil release;
    body();
}

// Arguments that are numbers; TypeError or ValueError names them. An int that exceeds the range is refused.
index_t integer_of(const py::handle& object, const char* name);
std::uint64_t seed_of(const py::handle& object);
double number_of(const py::handle& object, const char* name);

// One int for both axes or a pair of ints.
std::pair<index_t, index_t> pair_of(const py::handle& object, const char* name);

// (batch, channels, height, width)
Shape image_shape_of(const py::handle& object, const char* name);

}  // namespace ranvier
