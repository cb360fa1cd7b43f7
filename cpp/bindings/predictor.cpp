// Predictors for Python: of a network whose weights may change, and frozen ones.
#include "ranvier/predictor.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "bindings.h"
#include "interruption.h"
#include "layer_specs.h"
#include "nn.h"
#include "targets.h"

namespace ranvier {
namespace {

template <class T>
using OwnedPredictor = std::unique_ptr<Predictor<T>>;

struct PyPredictor {
    Either<OwnedPredictor> any;
    std::shared_ptr<PassLock> lock;  // of live parameters; nullptr if they are frozen
    py::object python_layers;
    bool running = false;  // by the holder of the lock

    PyPredictor(const PyParameters& parameters, const Shape& input_shape, bool frozen, int threads) {
        if (threads < 0) throw py::value_error("threads: expected 0 or more, got " + std::to_string(threads));
        if (!frozen) lock = parameters.lock;
        python_layers = parameters.python_layers;
        std::visit(
            [&](const auto& p) {
                using T = std::remove_reference_t<decltype(*p->values())>;
                // A layer of Python's own is tried, in which its network must not be trained.
                const ReleasedGil release;
                const PassLock::Reading pass(*parameters.lock, &throw_if_interrupted);
                const bool copies = frozen && !parameters.frozen;
                auto predictor =
                    std::make_unique<Predictor<T>>(copies ? p->frozen_copy() : p, input_shape,
                                                   frozen ? Weights::frozen : Weights::live, threads);
                if (frozen) predictor->prepare(1);
                any = std::move(predictor);
            },
            parameters.any);
    }

    // body(predictor, element) for this predictor's element type.
    template <class Body>
    auto visit(Body&& body) {
        return std::visit(
            [&](auto& predictor) {
                using T = typename std::remove_reference_t<decltype(*predictor)>::Element;
                return body(*predictor, T{});
            },
            any);
    }

    // body() without the GIL, with the weights of now.
    template <class T, class Body>
    auto with_weights(Predictor<T>& predictor, index_t n, Body&& body) {
        const ReleasedGil release;
        if (!lock) return body();
        const PassLock::Reading pass(*lock, &throw_if_interrupted);
        const Running scope(*this, predictor, n);
        return body();
    }

    // Weights are taken over once, also if a layer of this prediction asks for another one.
    class Running {
    public:
        template <class T>
        Running(PyPredictor& self, Predictor<T>& predictor, index_t n)
            : self_(self), outermost_(!self.running) {
            if (outermost_) predictor.prepare(n);
            self_.running = true;
        }
        ~Running() {
            if (outermost_) self_.running = false;
        }
        Running(const Running&) = delete;

    private:
        PyPredictor& self_;
        bool outermost_;
    };
};

py::array predict(PyPredictor& self, const py::handle& x, const py::object& out) {
    return self.visit([&](auto& predictor, auto element) -> py::array {
        using T = decltype(element);
        index_t n;
        const Samples<T> from = samples_of<T>(x, predictor.input_shape(), n);
        const Shape shape = batch_shape(n, predictor.output_shape());
        py::array_t<T> y = out.is_none() ? py::array_t<T>(shape) : py::array_t<T>();
        if (!out.is_none()) {
            index_t rows;
            samples<T>(out, "out", predictor.output_shape(), rows);
            y = py::reinterpret_borrow<py::array_t<T>>(out);
            if (rows != n || !y.writeable())
                throw py::value_error("out: expected a writeable array of shape " + shape_text(shape) +
                                      ", got shape " +
                                      shape_text(batch_shape(rows, predictor.output_shape())) +
                                      (y.writeable() ? "" : ", not writeable"));
        }
        T* to = y.mutable_data();
        Interruption interruption;
        self.with_weights(predictor, n,
                          [&] { predictor.predict(n, from, to, [&] { return interruption.proceed(); }); });
        interruption.rethrow();
        return y;
    });
}

// An uninitialised array (n, *sample), made by NumPy's own function: py::array first writes shapes and
// strides into vectors.
template <class T>
py::array few_outputs(index_t n, const Shape& sample) {
    static auto& numpy = py::detail::npy_api::get();
    Py_intptr_t shape[kMaxDims];
    shape[0] = n;
    std::copy(sample.begin(), sample.end(), shape + 1);
    PyObject* array =
        numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, py::dtype::of<T>().release().ptr(),
                                    static_cast<int>(sample.size()) + 1, shape, nullptr, nullptr, 0, nullptr);
    if (!array) throw py::error_already_set();
    return py::reinterpret_steal<py::array>(array);
}

// Holds the lock of live weights, if nobody else does.
class Attempt {
public:
    explicit Attempt(PassLock* lock) : lock_(lock), holds_(!lock || lock->try_acquire()) {}
    ~Attempt() {
        if (lock_ && holds_) lock_->release();
    }
    Attempt(const Attempt&) = delete;
    bool holds() const { return holds_; }

private:
    PassLock* lock_;
    bool holds_;
};

// The outputs of a few samples that are ready to be used, or None if they are not, or are too many, or
// another pass runs: a short way for a small network, whose arithmetic takes less time than what else a call
// does. The GIL is kept.
py::object predict_few(PyPredictor& self, const py::handle& x, const py::object& out) {
    constexpr double kLittle = 70e3;
    return self.visit([&](auto& predictor, auto element) -> py::object {
        using T = decltype(element);
        index_t n;
        if (!is_ready<T>(x, predictor.input_shape(), false, n)) return py::none();
        if (n < 1 || static_cast<double>(n) * predictor.work_of_sample() > kLittle) return py::none();
        index_t rows = n;
        if (!out.is_none() && (!is_ready<T>(out, predictor.output_shape(), true, rows) || rows != n))
            return py::none();
        const auto* from = reinterpret_cast<const T*>(py::detail::array_proxy(x.ptr())->data);
        if (!out.is_none()) {
            const auto* to = reinterpret_cast<const T*>(py::detail::array_proxy(out.ptr())->data);
            if (from < to + n * element_count(predictor.output_shape()) &&
                to < from + n * element_count(predictor.input_shape()))
                return py::none();
        }
        const Attempt attempt(self.lock.get());
        if (!attempt.holds()) return py::none();
        py::object y = out.is_none() ? few_outputs<T>(n, predictor.output_shape()) : out;
        std::optional<PyPredictor::Running> scope;
        if (self.lock) scope.emplace(self, predictor, n);
        predictor.predict(n, {from, nullptr}, reinterpret_cast<T*>(py::detail::array_proxy(y.ptr())->data));
        return y;
    });
}

py::tuple evaluate(PyPredictor& self, const py::handle& x, const py::handle& target,
                   const LossDescription& description, const py::handle& weights,
                   const py::object& predictions, const py::object& errors) {
    return self.visit([&](auto& predictor, auto element) {
        using T = decltype(element);
        index_t n;
        const Samples<T> from = samples_of<T>(x, predictor.input_shape(), n);
        const Shape& output = predictor.output_shape();
        const LossSpec loss = loss_spec(description);
        CheckedTargets<T> checked = targets_for<T>(target, "target", n, output, loss);
        checked.targets.weights = weights_for(weights, n);
        const OutputRecord<T> record = record_to<T>(predictions, errors, n, output, checked.targets.dense);
        Interruption interruption;
        LossSums sums;
        self.with_weights(predictor, n, [&] {
            sums = predictor.evaluate(
                n, from, checked.targets, loss, [&] { return interruption.proceed(); }, record);
        });
        interruption.rethrow();
        const double divisor = loss_divisor(loss.kind, sums.weight, element_count(output));
        return py::make_tuple(sums.loss / divisor, sums.hits, sums.loss, sums.weight);
    });
}

}  // namespace

void bind_predictor(py::module_& m) {
    py::class_<PyPredictor>(m, "Predictor", "What predicts with a network on samples of one shape.",
                            visits<PyPredictor, &PyPredictor::python_layers>())
        .def(py::init<const PyParameters&, const Shape&, bool, int>(), py::arg("parameters"),
             py::arg("input_shape"), py::arg("frozen"), py::arg("threads") = 0)
        .def_property_readonly(
            "input_shape",
            [](PyPredictor& self) {
                return self.visit([](auto& p, auto) { return shape_tuple(p.input_shape()); });
            })
        .def_property_readonly(
            "output_shape",
            [](PyPredictor& self) {
                return self.visit([](auto& p, auto) { return shape_tuple(p.output_shape()); });
            })
        .def_property_readonly("shapes",
                               [](PyPredictor& self) {
                                   py::list all;
                                   self.visit([&](auto& p, auto) {
                                       for (const Shape& shape : p.shapes()) all.append(shape_tuple(shape));
                                   });
                                   return all;
                               })
        .def("predict", &predict, py::arg("x"), py::arg("out"))
        .def("predict_few", &predict_few, py::arg("x"), py::arg("out"))
        .def("evaluate", &evaluate, py::arg("x"), py::arg("target"), py::arg("loss"),
             py::arg("weights") = py::none(), py::arg("predictions") = py::none(),
             py::arg("errors") = py::none());
}

}  // namespace ranvier
