// Samples and targets as NumPy hands them over: C-contiguous arrays of the network's own dtype, checked
// before anything runs.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <string>

#include "ranvier/layers.h"
#include "ranvier/loss.h"
#include "ranvier/plan.h"

namespace ranvier {

namespace py = pybind11;

inline std::string shape_of(const py::array& array) {
    return shape_text(Shape(array.shape(), array.shape() + array.ndim()));
}

inline std::string type_of(const py::handle& object) {
    if (py::isinstance<py::array>(object))
        return "an array of " +
               py::str(py::reinterpret_borrow<py::array>(object).dtype()).cast<std::string>();
    return py::str(py::type::handle_of(object).attr("__name__")).cast<std::string>();
}

// The data of a C-contiguous array of exactly that dtype.
template <class T>
const T* contiguous_data(const py::handle& object, const char* name) {
    if (!py::isinstance<py::array>(object) ||
        !py::reinterpret_borrow<py::array>(object).dtype().is(py::dtype::of<T>()))
        throw py::type_error(std::string(name) + ": expected an array of " +
                             py::str(py::dtype::of<T>()).cast<std::string>() + ", got " + type_of(object));
    const auto array = py::reinterpret_borrow<py::array>(object);
    if (!(array.flags() & py::array::c_style))
        throw py::value_error(std::string(name) + ": expected a C-contiguous array");
    return static_cast<const T*>(array.data());
}

// The data of (n, *sample), and n.
template <class T>
const T* samples(const py::handle& object, const char* name, const Shape& sample, index_t& n) {
    const T* data = contiguous_data<T>(object, name);
    const auto array = py::reinterpret_borrow<py::array>(object);
    bool fits = array.ndim() == static_cast<py::ssize_t>(sample.size()) + 1;
    for (std::size_t i = 0; fits && i < sample.size(); ++i)
        fits = array.shape(static_cast<py::ssize_t>(i) + 1) == sample[i];
    if (!fits)
        throw py::value_error(std::string(name) + ": expected samples of shape " + shape_text(sample) +
                              ", got an array of shape " + shape_of(array));
    n = array.shape(0);
    return data;
}

// n targets for outputs of that shape: int64 class numbers, or dense rows of T.
template <class T>
Targets<T> targets_for(const py::handle& object, const char* name, index_t n, const Shape& output, Loss loss);

Loss loss_named(const std::string& name);

}  // namespace ranvier
