// Plans for Python: checks, the GIL released, and layers and losses that Python computes.
#include "ranvier/plan.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <mutex>

#include "bindings.h"
#include "checked_copy.h"
#include "nn.h"
#include "ranvier/profile.h"
#include "targets.h"

namespace ranvier {
namespace {

template <class T>
using OwnedPlan = std::unique_ptr<Plan<T>>;

struct PyPlan {
    Either<OwnedPlan> any;
    // A Plan serves one caller at a time; recursive, for a report may call it again.
    std::recursive_mutex busy;
    double work_of_sample = 0;  // at most: multiplications, if each parameter met each pixel of an image

    PyPlan(const PyParameters& parameters, const Shape& input_shape, index_t capacity, std::uint64_t seed) {
        std::visit(
            [&](const auto& p) {
                using T = std::remove_reference_t<decltype(*p->values())>;
                auto plan = std::make_unique<Plan<T>>(p, input_shape, capacity, seed);
                index_t pixels = 1;
                for (const Shape& shape : plan->shapes())
                    if (shape.size() > 1)
                        pixels = std::max(pixels, element_count(shape) / std::max<index_t>(1, shape[0]));
                work_of_sample = static_cast<double>(p->size()) * static_cast<double>(pixels);
                any = std::move(plan);
            },
            parameters.any);
    }

    // body(plan, element) for this plan's element type.
    template <class Body>
    auto visit(Body&& body) {
        return std::visit(
            [&](auto& plan) {
                using T = std::remove_reference_t<decltype(*plan->parameters().values())>;
                return body(*plan, T{});
            },
            any);
    }

    // body() without the GIL, alone on this plan.
    template <class Body>
    auto alone(Body&& body) {
        py::gil_scoped_release release;
        const std::lock_guard lock(busy);
        return body();
    }
};

// False once Python has a signal to handle or the callback raised; the error is then set in `raised`.
class Interruption {
public:
    template <class Callback>
    bool proceed(Callback&& callback) {
        py::gil_scoped_acquire acquire;
        try {
            if (PyErr_CheckSignals() != 0) throw py::error_already_set();
            callback();
            return true;
        } catch (...) {
            raised_ = std::current_exception();
            return false;
        }
    }
    bool proceed() {
        return proceed([] {});
    }
    void rethrow() const {
        if (raised_) std::rethrow_exception(raised_);
    }

private:
    std::exception_ptr raised_;
};

void require_batch(index_t n, index_t capacity) {
    if (n < 1 || n > capacity)
        throw py::value_error("x: expected 1 to " + std::to_string(capacity) + " samples, got " +
                              std::to_string(n));
}

// Samples as numbers of the plan's type, or as bytes.
template <class T>
Samples<T> samples_of(const py::handle& x, const Plan<T>& plan, index_t& n) {
    const bool bytes = py::isinstance<py::array>(x) &&
                       py::reinterpret_borrow<py::array>(x).dtype().is(py::dtype::of<std::uint8_t>());
    if (bytes) return {nullptr, samples<std::uint8_t>(x, "x", plan.input_shape(), n)};
    return {samples<T>(x, "x", plan.input_shape(), n), nullptr};
}

py::array predict(PyPlan& self, const py::handle& x, const py::object& out) {
    return self.visit([&](auto& plan, auto element) -> py::array {
        using T = decltype(element);
        index_t n;
        const Samples<T> from = samples_of<T>(x, plan, n);
        const Shape shape = batch_shape(n, plan.output_shape());
        py::array_t<T> y = out.is_none() ? py::array_t<T>(shape) : py::array_t<T>();
        if (!out.is_none()) {
            index_t rows;
            samples<T>(out, "out", plan.output_shape(), rows);
            y = py::reinterpret_borrow<py::array_t<T>>(out);
            if (rows != n || !y.writeable())
                throw py::value_error("out: expected a writeable array of shape " + shape_text(shape) +
                                      ", got shape " + shape_text(batch_shape(rows, plan.output_shape())) +
                                      (y.writeable() ? "" : ", not writeable"));
        }
        T* to = y.mutable_data();
        Interruption interruption;
        self.alone([&] { plan.predict(n, from, to, [&] { return interruption.proceed(); }); });
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

// An array of that exact type, shape (n, *sample), aligned and without gaps, writeable if it is to be
// `written`. Gives its n.
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

// The outputs of a few samples that are ready to be used, or None if they are not, or are too many, or the
// plan is busy: a short way for a small network, whose arithmetic takes less time than what else a call does.
// The GIL is kept.
py::object predict_few(PyPlan& self, const py::handle& x, const py::object& out) {
    constexpr double kLittle = 400e3;
    return self.visit([&](auto& plan, auto element) -> py::object {
        using T = decltype(element);
        index_t n;
        if (!is_ready<T>(x, plan.input_shape(), false, n)) return py::none();
        if (n < 1 || n > plan.capacity() || static_cast<double>(n) * self.work_of_sample > kLittle)
            return py::none();
        index_t rows = n;
        if (!out.is_none() && (!is_ready<T>(out, plan.output_shape(), true, rows) || rows != n))
            return py::none();
        const auto* from = reinterpret_cast<const T*>(py::detail::array_proxy(x.ptr())->data);
        if (!out.is_none()) {
            const auto* to = reinterpret_cast<const T*>(py::detail::array_proxy(out.ptr())->data);
            if (from < to + n * element_count(plan.output_shape()) &&
                to < from + n * element_count(plan.input_shape()))
                return py::none();
        }
        const std::unique_lock lock(self.busy, std::try_to_lock);
        if (!lock) return py::none();
        py::object y = out.is_none() ? few_outputs<T>(n, plan.output_shape()) : out;
        plan.predict(n, {from, nullptr}, reinterpret_cast<T*>(py::detail::array_proxy(y.ptr())->data));
        return y;
    });
}

py::array forward(PyPlan& self, const py::handle& x, bool training) {
    return self.visit([&](auto& plan, auto element) -> py::array {
        using T = decltype(element);
        index_t n;
        const Samples<T> from = samples_of<T>(x, plan, n);
        require_batch(n, plan.capacity());
        py::array_t<T> y(batch_shape(n, plan.output_shape()));
        T* to = y.mutable_data();
        self.alone([&] { std::copy_n(plan.forward(n, from, training), y.size(), to); });
        return y;
    });
}

py::object backward(PyPlan& self, const py::handle& grad, bool need_grad_x) {
    return self.visit([&](auto& plan, auto element) -> py::object {
        using T = decltype(element);
        index_t n;
        const T* from = samples<T>(grad, "grad", plan.output_shape(), n);
        if (!need_grad_x) {
            self.alone([&] { plan.backward(n, from, nullptr); });
            return py::none();
        }
        py::array_t<T> grad_x(batch_shape(n, plan.input_shape()));
        T* to = grad_x.mutable_data();
        self.alone([&] { plan.backward(n, from, to); });
        return grad_x;
    });
}

// loss(prediction, numbers of the samples) -> (sum of losses, hits, gradient), for any number of batches.
template <class T>
auto foreign_loss(const py::function& loss, const Shape& output) {
    return [loss, output](index_t n, const T* prediction, const std::int64_t* numbers, T* grad) {
        py::gil_scoped_acquire acquire;
        const Shape shape = batch_shape(n, output);
        const auto [sum, hits, gradient] =
            loss(py::array_t<T>(shape, prediction), py::array_t<std::int64_t>(n, numbers))
                .template cast<std::tuple<double, index_t, py::array>>();
        index_t rows;
        const T* from = samples<T>(gradient, "the loss's gradient", output, rows);
        if (rows != n)
            throw py::value_error("the loss's gradient: expected " + std::to_string(n) + " samples, got " +
                                  std::to_string(rows));
        std::copy_n(from, gradient.size(), grad);
        return LossSums{sum, hits, static_cast<double>(n)};
    };
}

// An objective with the labels that it points to.
template <class T>
struct CheckedObjective : Objective<T> {
    std::vector<std::int64_t> labels;

    CheckedObjective() = default;
    CheckedObjective(CheckedObjective&&) = default;
};

// A loss of the library with targets and weights, or a function for foreign_loss().
template <class T>
CheckedObjective<T> objective_of(const py::object& loss, const py::handle& target, const py::handle& weights,
                                 index_t n, const Plan<T>& plan) {
    CheckedObjective<T> objective;
    if (py::isinstance<py::function>(loss)) {
        if (!weights.is_none())
            throw py::type_error("weights: expected a loss of the library with them, got a function");
        objective.foreign = foreign_loss<T>(py::reinterpret_borrow<py::function>(loss), plan.output_shape());
        return objective;
    }
    objective.loss = loss_spec(loss.cast<LossDescription>());
    CheckedTargets<T> checked = targets_for<T>(target, "target", n, plan.output_shape(), objective.loss);
    objective.targets = checked.targets;
    objective.labels = std::move(checked.labels);
    objective.targets.weights = weights_for(weights, n);
    return objective;
}

// The mean loss of what a pass added up; a foreign loss's is over the samples, as the quadratic's.
template <class T, class Sums>
double mean_loss(const Sums& sums, const Objective<T>& objective, const Plan<T>& plan) {
    return sums.loss / loss_divisor(objective.loss.kind, sums.weight, element_count(plan.output_shape()));
}

std::pair<double, index_t> gradients(PyPlan& self, const py::handle& x, const py::handle& target,
                                     const py::object& loss, const py::handle& weights) {
    return self.visit([&](auto& plan, auto element) {
        using T = decltype(element);
        index_t n;
        const Samples<T> from = samples_of<T>(x, plan, n);
        require_batch(n, plan.capacity());
        const CheckedObjective<T> objective = objective_of<T>(loss, target, weights, n, plan);
        const LossSums sums = self.alone([&] { return plan.gradients(n, from, objective); });
        return std::pair{mean_loss(sums, objective, plan), sums.hits};
    });
}

std::pair<double, index_t> evaluate(PyPlan& self, const py::handle& x, const py::handle& target,
                                    const LossDescription& loss, const py::handle& weights) {
    return self.visit([&](auto& plan, auto element) {
        using T = decltype(element);
        index_t n;
        const Samples<T> from = samples_of<T>(x, plan, n);
        const CheckedObjective<T> objective = objective_of<T>(py::cast(loss), target, weights, n, plan);
        Interruption interruption;
        const LossSums sums = self.alone([&] {
            return plan.evaluate(n, from, objective.targets, objective.loss,
                                 [&] { return interruption.proceed(); });
        });
        interruption.rethrow();
        return std::pair{mean_loss(sums, objective, plan), sums.hits};
    });
}

std::vector<std::int64_t> checked_order(const py::handle& order, index_t samples_there, index_t& n) {
    const std::int64_t* data = samples<std::int64_t>(order, "order", {}, n);
    return checked_copy(data, n, samples_there, [&](std::int64_t position, index_t) {
        throw py::value_error("order: expected positions from 0 to " + std::to_string(samples_there - 1) +
                              ", got " + std::to_string(position));
    });
}

OnNonFinite on_nonfinite_named(const std::string& name) {
    if (name == "raise") return OnNonFinite::stop;
    if (name == "warn") return OnNonFinite::skip;
    if (name == "ignore") return OnNonFinite::ignore;
    throw py::value_error("on_nonfinite: expected 'raise', 'warn' or 'ignore', got '" + name + "'");
}

py::tuple train_epoch(PyPlan& self, const py::handle& x, const py::handle& target, const py::handle& order,
                      index_t batch_size, const py::object& loss, PyOptimizer& optimizer,
                      const py::object& learning_rates, const std::string& on_nonfinite,
                      const py::object& report, const py::handle& weights, const py::object& losses) {
    return self.visit([&](auto& plan, auto element) {
        using T = decltype(element);
        index_t samples_there, n;
        const Samples<T> from = samples_of<T>(x, plan, samples_there);
        const CheckedObjective<T> objective = objective_of<T>(loss, target, weights, samples_there, plan);
        const std::vector<std::int64_t> sequence = checked_order(order, samples_there, n);
        auto* owned = std::get_if<OwnedOptimizer<T>>(&optimizer.any);
        if (!owned || std::get<SharedParameters<T>>(optimizer.parameters).get() != &plan.parameters())
            throw py::value_error("optimizer: belongs to other parameters than the plan");
        EpochOptions<T> options;
        options.batch_size = batch_size;
        options.on_nonfinite = on_nonfinite_named(on_nonfinite);
        const auto of_each_batch = [&](const py::object& array, const char* name) {
            index_t numbers;
            const double* data = samples<double>(array, name, {}, numbers);
            if (numbers * batch_size < n)
                throw py::value_error(std::string(name) + ": expected one for each batch, got " +
                                      std::to_string(numbers) + " for " + std::to_string(n) + " samples");
            return data;
        };
        if (!learning_rates.is_none())
            options.learning_rates = of_each_batch(learning_rates, "learning_rates");
        if (!losses.is_none()) {
            of_each_batch(losses, "losses");
            options.losses = py::reinterpret_borrow<py::array_t<double>>(losses).mutable_data();
        }
        Interruption interruption;
        options.report = [&](const EpochSums& now) {
            return interruption.proceed([&] {
                if (!report.is_none())
                    report(mean_loss(now, objective, plan), now.hits, now.samples - now.skipped, now.samples);
            });
        };
        const EpochSums sums = self.alone(
            [&] { return plan.train_epoch(n, from, objective, sequence.data(), **owned, options); });
        interruption.rethrow();
        return py::make_tuple(mean_loss(sums, objective, plan), sums.hits, sums.samples, sums.skipped,
                              sums.fault);
    });
}

// Trains a plan for some batches and tells what took how long. Rows of (path, name, flops of a sample's
// forward pass, forward seconds, backward seconds, samples), and the seconds outside the layers.
py::tuple profile(PyPlan& self, const py::function& train) {
    return self.visit([&](auto& plan, auto element) {
        using T = decltype(element);
        Profile<T> profile;
        plan.times() = {};
        plan.observe(&profile);
        try {
            train();
        } catch (...) {
            plan.observe(nullptr);
            throw;
        }
        plan.observe(nullptr);
        py::list rows;
        for (const auto& row : profile.rows())
            rows.append(py::make_tuple(row.stage.path, row.stage.name, row.stage.flops, row.forward,
                                       row.backward, row.samples));
        const auto& times = plan.times();
        return py::make_tuple(rows, times.gather, times.loss, times.update);
    });
}

py::tuple shape_tuple(const Shape& shape) {
    py::tuple result(shape.size());
    for (std::size_t i = 0; i < shape.size(); ++i) result[i] = shape[i];
    return result;
}

}  // namespace

void bind_plan(py::module_& m) {
    py::class_<PyPlan>(m, "Plan", "A network compiled for a sample shape and a batch capacity.")
        .def(py::init<const PyParameters&, const Shape&, index_t, std::uint64_t>(), py::arg("parameters"),
             py::arg("input_shape"), py::arg("capacity"), py::arg("seed"))
        .def_property_readonly(
            "input_shape",
            [](PyPlan& self) {
                return self.visit([](auto& p, auto) { return shape_tuple(p.input_shape()); });
            })
        .def_property_readonly(
            "output_shape",
            [](PyPlan& self) {
                return self.visit([](auto& p, auto) { return shape_tuple(p.output_shape()); });
            })
        .def_property_readonly("shapes",
                               [](PyPlan& self) {
                                   py::list all;
                                   self.visit([&](auto& p, auto) {
                                       for (const Shape& shape : p.shapes()) all.append(shape_tuple(shape));
                                   });
                                   return all;
                               })
        .def_property_readonly(
            "capacity", [](PyPlan& self) { return self.visit([](auto& p, auto) { return p.capacity(); }); })
        .def_property(
            "training_passes",
            [](PyPlan& self) { return self.visit([](auto& p, auto) { return p.training_passes(); }); },
            [](PyPlan& self, std::uint64_t passes) {
                self.visit([&](auto& p, auto) { p.training_passes() = passes; });
            })
        .def("predict", &predict, py::arg("x"), py::arg("out"))
        .def("predict_few", &predict_few, py::arg("x"), py::arg("out"))
        .def("forward", &forward, py::arg("x"), py::arg("training"))
        .def("backward", &backward, py::arg("grad"), py::arg("need_grad_x"))
        .def("gradients", &gradients, py::arg("x"), py::arg("target"), py::arg("loss"),
             py::arg("weights") = py::none())
        .def("evaluate", &evaluate, py::arg("x"), py::arg("target"), py::arg("loss"),
             py::arg("weights") = py::none())
        .def("train_epoch", &train_epoch, py::arg("x"), py::arg("target"), py::arg("order"),
             py::arg("batch_size"), py::arg("loss"), py::arg("optimizer"), py::arg("learning_rates"),
             py::arg("on_nonfinite"), py::arg("report"), py::arg("weights") = py::none(),
             py::arg("losses") = py::none())
        .def("profile", &profile, py::arg("train"));
}

}  // namespace ranvier
