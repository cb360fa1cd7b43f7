// Parameters and optimizers as Python holds them, whichever the dtype.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <variant>
#include <vector>

#include "gil.h"
#include "pass_lock.h"
#include "ranvier/parameters.h"

namespace ranvier {

namespace py = pybind11;

// One type for Python, whichever the dtype.
template <template <class> class Owner>
using Either = std::variant<Owner<float>, Owner<double>>;
template <class T>
using SharedParameters = std::shared_ptr<Parameters<T>>;
template <class T>
using OwnedOptimizer = std::unique_ptr<Optimizer<T>>;

struct PyParameters {
    Either<SharedParameters> any;
    std::shared_ptr<PassLock> lock = std::make_shared<PassLock>();
    py::object python_layers;
    bool frozen = false;  // they never change again, and have no gradients

    PyParameters(const py::sequence& layers, const std::string& dtype, const Wiring& wiring);
    // The values between two passes that change them.
    PyParameters frozen_copy() const;
    // Throws ValueError if they are frozen.
    void require_changeable() const;
};

// body() without the GIL, while no other thread is in a pass; the calling one may be.
template <class Body>
auto between_passes(PassLock& lock, Body&& body) {
    const ReleasedGil release;
    const PassLock::Reading pass(lock, &throw_if_interrupted);
    return body();
}

struct PyOptimizer {
    std::shared_ptr<PassLock> lock;  // of its parameters: their passes read and change the state
    Either<SharedParameters> parameters;
    Either<OwnedOptimizer> any;

    // Names of parameters with a learning rate and a weight decay of their own.
    using Group = std::tuple<std::vector<std::string>, double, double>;

    PyOptimizer(const PyParameters& of, const UpdateOptions& options, const std::vector<Group>& groups);
    void step();
    // Throws RuntimeError if only a share of the state is here.
    void require_whole() const;
    // From a number, or with groups a sequence: the learning rate of all others, then the groups'.
    std::vector<double> learning_rates_of(const py::handle& rates) const;
};

inline Shape batch_shape(index_t n, const Shape& sample) {
    Shape shape = {n};
    shape.insert(shape.end(), sample.begin(), sample.end());
    return shape;
}

inline py::tuple shape_tuple(const Shape& shape) {
    py::tuple result(shape.size());
    for (std::size_t i = 0; i < shape.size(); ++i) result[i] = shape[i];
    return result;
}

}  // namespace ranvier
