// Samples and targets as NumPy hands them over: C-contiguous arrays of the network's own dtype, checked
// before anything runs.
#pragma once

#include <pybind11/numpy.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "ranvier/layers.h"
#include "ranvier/loss.h"
#include "ranvier/trainer.h"
#include "views.h"

namespace ranvier {

namespace py = pybind11;

// The data of a C-contiguous array of exactly that dtype.
template <class T>
const T* contiguous_data(const py::handle& object, const char* name) {
    if (!has_dtype<T>(object))
        throw py::type_error(std::string(name) + ": expected an array of " +
                             py::str(py::dtype::of<T>()).cast<std::string>() + ", got " + kind_of(object));
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
                              ", got an array of shape " + shape_text(shape_of(array)));
    n = array.shape(0);
    return data;
}

// Whether it is an array of that exact type, shape (n, *sample), aligned and without gaps, writeable if it is
// to be `written`. Gives its n.
template <class T>
bool is_ready(const py::handle& object, const Shape& sample, bool written, index_t& n) {
    if (!py::isinstance<py::array>(object)) return false;
    const auto* array = py::detail::array_proxy(object.ptr());
    using Api = py::detail::npy_api;
    const int wanted =
        Api::NPY_ARRAY_C_CONTIGUOUS_ | Api::NPY_ARRAY_ALIGNED_ | (written ? Api::NPY_ARRAY_WRITEABLE_ : 0);
    if ((array->flags & wanted) != wanted || array->nd != static_cast<int>(sample.size()) + 1) return false;
    if (array->descr != py::dtype::of<T>().ptr()) return false;
    n = array->dimensions[0];
    return std::equal(sample.begin(), sample.end(), array->dimensions + 1);
}

// Samples as numbers of that type, or as bytes.
template <class T>
Samples<T> samples_of(const py::handle& x, const Shape& sample, index_t& n) {
    if (has_dtype<std::uint8_t>(x)) return {nullptr, samples<std::uint8_t>(x, "x", sample, n)};
    return {samples<T>(x, "x", sample, n), nullptr};
}

// Targets with the labels that they point to, if there are any: a private copy, because another thread may
// write to the array after it was checked. Dense rows are used where they lie; whatever they hold is a
// number.
template <class T>
struct CheckedTargets {
    std::vector<std::int64_t> labels;
    Targets<T> targets;

    CheckedTargets() = default;
    CheckedTargets(CheckedTargets&&) = default;  // not copied: the labels would not be those pointed to
    CheckedTargets& operator=(CheckedTargets&&) = default;
};

// n targets for outputs of that shape: int64 class numbers, or dense rows of T. Checks that the loss's
// settings fit the outputs, too. Memory of `checked` serves again.
template <class T>
void check_targets(CheckedTargets<T>& checked, const py::handle& object, const char* name, index_t n,
                   const Shape& output, const LossSpec& loss);
template <class T>
CheckedTargets<T> targets_for(const py::handle& object, const char* name, index_t n, const Shape& output,
                              const LossSpec& loss) {
    CheckedTargets<T> checked;
    check_targets(checked, object, name, n, output, loss);
    return checked;
}

// n float64 weights of samples; nullptr for None.
const double* weights_for(const py::handle& object, index_t n, const std::string& name = "weights");

// Where n outputs and the sums of their errors go: arrays that are written to, or None.
template <class T>
OutputRecord<T> record_to(const py::object& predictions, const py::object& errors, index_t n,
                          const Shape& output, bool dense, index_t parts = 1) {
    OutputRecord<T> record;
    index_t rows;
    if (!predictions.is_none()) {
        samples<T>(predictions, "predictions", output, rows);
        if (rows != n)
            throw py::value_error("predictions: expected " + std::to_string(n) + " rows, got " +
                                  std::to_string(rows));
        record.predictions = py::reinterpret_borrow<py::array_t<T>>(predictions).mutable_data();
    }
    if (!errors.is_none()) {
        if (!dense) throw py::value_error("errors: expected rows of targets with them");
        samples<double>(errors, "errors", {element_count(output)}, rows);
        if (rows != 5 * parts)
            throw py::value_error("errors: expected " + std::to_string(5 * parts) + " rows, got " +
                                  std::to_string(rows));
        record.errors = py::reinterpret_borrow<py::array_t<double>>(errors).mutable_data();
    }
    return record;
}

// A loss as Python describes it: its kind and its settings.
using LossDescription = std::pair<std::string, py::dict>;
LossSpec loss_spec(const LossDescription& description);

}  // namespace ranvier
