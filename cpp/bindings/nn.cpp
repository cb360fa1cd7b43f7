// Parameters, optimizers and plans for Python: views that keep their owner alive, checks, and the GIL
// released.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <mutex>
#include <variant>

#include "bindings.h"
#include "layer_specs.h"
#include "ranvier/plan.h"
#include "ranvier/random.h"
#include "targets.h"

namespace ranvier {
namespace {

// One type for Python, whichever the dtype.
template <template <class> class Owner>
using Either = std::variant<Owner<float>, Owner<double>>;
template <class T>
using SharedParameters = std::shared_ptr<Parameters<T>>;
template <class T>
using OwnedPlan = std::unique_ptr<Plan<T>>;
template <class T>
using OwnedOptimizer = std::unique_ptr<Optimizer<T>>;

template <class T>
py::array view(T* data, const Shape& shape, const Shape& strides, const py::handle& owner) {
    Shape bytes = strides;
    for (index_t& stride : bytes) stride *= static_cast<index_t>(sizeof(T));
    return py::array_t<T>(shape, bytes, data, owner);
}

template <class T>
py::array flat_view(T* data, index_t size, const py::handle& owner) {
    return view(data, {size}, {1}, owner);
}

struct PyParameters {
    Either<SharedParameters> any;

    PyParameters(const py::sequence& layers, const std::string& dtype) {
        const std::vector<LayerSpec> specs = layer_specs(layers);
        if (dtype == "float32")
            any = std::make_shared<Parameters<float>>(specs);
        else if (dtype == "float64")
            any = std::make_shared<Parameters<double>>(specs);
        else
            throw py::value_error("dtype: expected 'float32' or 'float64', got '" + dtype + "'");
    }
};

// A view of a named parameter in the buffer that `buffer` picks.
template <class Buffer>
py::array named_view(const py::object& self, const std::string& name, Buffer buffer) {
    return std::visit(
        [&](auto& parameters) {
            try {
                const ParameterEntry& entry = parameters->entry(name);
                return view(buffer(*parameters) + entry.offset, entry.shape, entry.strides, self);
            } catch (const std::out_of_range& error) {
                throw py::key_error(error.what());
            }
        },
        self.cast<PyParameters&>().any);
}

constexpr auto values_of = [](auto& parameters) { return parameters.values(); };
constexpr auto gradients_of = [](auto& parameters) { return parameters.gradients(); };

template <class Buffer>
py::array whole_view(const py::object& self, Buffer buffer) {
    return std::visit(
        [&](auto& parameters) { return flat_view(buffer(*parameters), parameters->size(), self); },
        self.cast<PyParameters&>().any);
}

std::vector<std::string> names(const PyParameters& self) {
    return std::visit(
        [](const auto& parameters) {
            std::vector<std::string> all;
            for (const ParameterEntry& entry : parameters->entries()) all.push_back(entry.name);
            return all;
        },
        self.any);
}

struct PyOptimizer {
    Either<SharedParameters> parameters;
    Either<OwnedOptimizer> any;

    template <class Make>
    PyOptimizer(const PyParameters& of, Make make) : parameters(of.any) {
        std::visit([&](auto& p) { any = make(*p); }, parameters);
    }
    void step() {
        std::visit(
            [&](auto& p) {
                using Owned = std::unique_ptr<Optimizer<std::remove_reference_t<decltype(*p->values())>>>;
                std::get<Owned>(any)->step(*p);
            },
            parameters);
    }
};

py::dict optimizer_state(const py::object& self) {
    return std::visit(
        [&](auto& optimizer) {
            py::dict state;
            for (auto& [name, buffer] : optimizer->state())
                state[py::str(name)] = flat_view(buffer->data(), buffer->size(), self);
            return state;
        },
        self.cast<PyOptimizer&>().any);
}

struct PyPlan {
    Either<OwnedPlan> any;
    std::recursive_mutex
        busy;  // a Plan serves one caller at a time; recursive, for a report may call it again

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

Shape batch_shape(index_t n, const Shape& sample) {
    Shape shape = {n};
    shape.insert(shape.end(), sample.begin(), sample.end());
    return shape;
}

void require_batch(index_t n, index_t capacity) {
    if (n < 1 || n > capacity)
        throw py::value_error("x: expected 1 to " + std::to_string(capacity) + " samples, got " +
                              std::to_string(n));
}

py::array predict(PyPlan& self, const py::handle& x) {
    return self.visit([&](auto& plan, auto element) -> py::array {
        using T = decltype(element);
        index_t n;
        const T* from = samples<T>(x, "x", plan.input_shape(), n);
        py::array_t<T> y(batch_shape(n, plan.output_shape()));
        T* to = y.mutable_data();
        Interruption interruption;
        self.alone([&] { plan.predict(n, from, to, [&] { return interruption.proceed(); }); });
        interruption.rethrow();
        return y;
    });
}

// The outputs of a few samples that are ready to be used, or None if they are not, or are too many, or the
// plan is busy: a short way for a small network, whose arithmetic takes less time than what else a call does.
// The GIL is kept.
py::object predict_few(PyPlan& self, const py::handle& x) {
    constexpr double kLittle = 400e3;
    if (!py::isinstance<py::array>(x)) return py::none();
    const auto array = py::reinterpret_borrow<py::array>(x);
    if (!(array.flags() & py::array::c_style)) return py::none();
    return self.visit([&](auto& plan, auto element) -> py::object {
        using T = decltype(element);
        const Shape& sample = plan.input_shape();
        const auto* sizes = array.shape();
        const auto ndim = static_cast<std::size_t>(array.ndim());
        if (!py::isinstance<py::array_t<T>>(x) || ndim != sample.size() + 1 ||
            !std::equal(sample.begin(), sample.end(), sizes + 1))
            return py::none();
        const index_t n = sizes[0];
        if (n < 1 || n > plan.capacity() || static_cast<double>(n) * self.work_of_sample > kLittle)
            return py::none();
        const std::unique_lock lock(self.busy, std::try_to_lock);
        if (!lock) return py::none();
        py::array_t<T> y(batch_shape(n, plan.output_shape()));
        plan.predict(n, static_cast<const T*>(array.data()), y.mutable_data());
        return y;
    });
}

py::array forward(PyPlan& self, const py::handle& x, bool training) {
    return self.visit([&](auto& plan, auto element) -> py::array {
        using T = decltype(element);
        index_t n;
        const T* from = samples<T>(x, "x", plan.input_shape(), n);
        require_batch(n, plan.capacity());
        py::array_t<T> y(batch_shape(n, plan.output_shape()));
        T* to = y.mutable_data();
        self.alone([&] { std::copy_n(plan.forward(n, from, training), y.size(), to); });
        return y;
    });
}

py::object backward(PyPlan& self, const py::handle& x, const py::handle& grad, bool need_grad_x) {
    return self.visit([&](auto& plan, auto element) -> py::object {
        using T = decltype(element);
        index_t n, grad_n;
        const T* input = samples<T>(x, "x", plan.input_shape(), n);
        const T* from = samples<T>(grad, "grad", plan.output_shape(), grad_n);
        if (n != grad_n)
            throw py::value_error("grad: expected " + std::to_string(n) + " samples as in x, got " +
                                  std::to_string(grad_n));
        if (!need_grad_x) {
            self.alone([&] { plan.backward(n, input, from, nullptr); });
            return py::none();
        }
        py::array_t<T> grad_x(batch_shape(n, plan.input_shape()));
        T* to = grad_x.mutable_data();
        self.alone([&] { plan.backward(n, input, from, to); });
        return grad_x;
    });
}

std::pair<double, index_t> gradients(PyPlan& self, const py::handle& x, const py::handle& target,
                                     const std::string& loss_name) {
    return self.visit([&](auto& plan, auto element) {
        using T = decltype(element);
        const Loss loss = loss_named(loss_name);
        index_t n;
        const T* from = samples<T>(x, "x", plan.input_shape(), n);
        require_batch(n, plan.capacity());
        const Targets<T> targets = targets_for<T>(target, "target", n, plan.output_shape(), loss);
        const LossSums sums = self.alone([&] { return plan.gradients(n, from, targets, loss); });
        return std::pair{sums.loss, sums.hits};
    });
}

std::pair<double, index_t> evaluate(PyPlan& self, const py::handle& x, const py::handle& target,
                                    const std::string& loss_name) {
    return self.visit([&](auto& plan, auto element) {
        using T = decltype(element);
        const Loss loss = loss_named(loss_name);
        index_t n;
        const T* from = samples<T>(x, "x", plan.input_shape(), n);
        const Targets<T> targets = targets_for<T>(target, "target", n, plan.output_shape(), loss);
        Interruption interruption;
        const LossSums sums = self.alone(
            [&] { return plan.evaluate(n, from, targets, loss, [&] { return interruption.proceed(); }); });
        interruption.rethrow();
        return std::pair{sums.loss, sums.hits};
    });
}

const std::int64_t* checked_order(const py::handle& order, index_t samples_there, index_t& n) {
    const std::int64_t* data = samples<std::int64_t>(order, "order", {}, n);
    for (index_t i = 0; i < n; ++i)
        if (data[i] < 0 || data[i] >= samples_there)
            throw py::value_error("order: expected positions from 0 to " + std::to_string(samples_there - 1) +
                                  ", got " + std::to_string(data[i]));
    return data;
}

py::tuple as_tuple(const EpochSums& sums) { return py::make_tuple(sums.loss, sums.hits, sums.samples); }

py::tuple train_epoch(PyPlan& self, const py::handle& x, const py::handle& target, const py::handle& order,
                      index_t batch_size, const std::string& loss_name, PyOptimizer& optimizer,
                      const py::object& report) {
    return self.visit([&](auto& plan, auto element) {
        using T = decltype(element);
        const Loss loss = loss_named(loss_name);
        index_t samples_there, n;
        const T* from = samples<T>(x, "x", plan.input_shape(), samples_there);
        const Targets<T> targets = targets_for<T>(target, "target", samples_there, plan.output_shape(), loss);
        const std::int64_t* sequence = checked_order(order, samples_there, n);
        auto* owned = std::get_if<OwnedOptimizer<T>>(&optimizer.any);
        if (!owned || std::get<SharedParameters<T>>(optimizer.parameters).get() != &plan.parameters())
            throw py::value_error("optimizer: belongs to other parameters than the plan");
        Interruption interruption;
        const EpochSums sums = self.alone([&] {
            return plan.train_epoch(n, from, targets, sequence, batch_size, loss, **owned,
                                    [&](const EpochSums& now) {
                                        return interruption.proceed([&] {
                                            if (!report.is_none()) report(now.loss, now.hits, now.samples);
                                        });
                                    });
        });
        interruption.rethrow();
        return as_tuple(sums);
    });
}

py::tuple shape_tuple(const Shape& shape) {
    py::tuple result(shape.size());
    for (std::size_t i = 0; i < shape.size(); ++i) result[i] = shape[i];
    return result;
}

py::array_t<std::int64_t> permutation(std::uint64_t seed, std::uint64_t stream, index_t count) {
    if (count < 0) throw py::value_error("count: expected 0 or more, got " + std::to_string(count));
    py::array_t<std::int64_t> order(count);
    random_permutation(seed, stream, count, order.mutable_data());
    return order;
}

void bind_parameters(py::module_& m) {
    py::class_<PyParameters, std::shared_ptr<PyParameters>>(
        m, "Parameters", "Values and gradients of a list of layers, each one flat buffer with named views.")
        .def(py::init<const py::sequence&, const std::string&>(), py::arg("layers"), py::arg("dtype"))
        .def_property_readonly("names", &names)
        .def_property_readonly("flat_values",
                               [](const py::object& self) { return whole_view(self, values_of); })
        .def_property_readonly("flat_gradients",
                               [](const py::object& self) { return whole_view(self, gradients_of); })
        .def(
            "value",
            [](const py::object& self, const std::string& name) { return named_view(self, name, values_of); },
            py::arg("name"))
        .def(
            "gradient",
            [](const py::object& self, const std::string& name) {
                return named_view(self, name, gradients_of);
            },
            py::arg("name"));
}

void bind_optimizers(py::module_& m) {
    py::class_<PyOptimizer>(m, "Optimizer", "An optimizer's state over one Parameters.")
        .def_property(
            "learning_rate",
            [](const PyOptimizer& self) {
                return std::visit([](auto& o) { return o->learning_rate; }, self.any);
            },
            [](PyOptimizer& self, double rate) {
                std::visit([&](auto& o) { o->learning_rate = rate; }, self.any);
            })
        .def_property(
            "steps",
            [](const PyOptimizer& self) { return std::visit([](auto& o) { return o->steps; }, self.any); },
            [](PyOptimizer& self, std::int64_t steps) {
                std::visit([&](auto& o) { o->steps = steps; }, self.any);
            })
        .def_property_readonly("state", &optimizer_state)
        .def("step", &PyOptimizer::step, py::call_guard<py::gil_scoped_release>());
    m.def(
        "sgd",
        [](const PyParameters& parameters, double learning_rate, double momentum, double weight_decay,
           bool nesterov) {
            const SgdOptions options{learning_rate, momentum, weight_decay, nesterov};
            return PyOptimizer(parameters, [&](auto& p) {
                return make_sgd<std::remove_reference_t<decltype(*p.values())>>(options, p.size());
            });
        },
        py::arg("parameters"), py::arg("learning_rate"), py::arg("momentum"), py::arg("weight_decay"),
        py::arg("nesterov"));
    m.def(
        "adam",
        [](const PyParameters& parameters, double learning_rate, double beta1, double beta2, double epsilon,
           double weight_decay) {
            const AdamOptions options{learning_rate, beta1, beta2, epsilon, weight_decay};
            return PyOptimizer(parameters, [&](auto& p) {
                return make_adam<std::remove_reference_t<decltype(*p.values())>>(options, p.size());
            });
        },
        py::arg("parameters"), py::arg("learning_rate"), py::arg("beta1"), py::arg("beta2"),
        py::arg("epsilon"), py::arg("weight_decay"));
}

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
        .def("predict", &predict, py::arg("x"))
        .def("predict_few", &predict_few, py::arg("x"))
        .def("forward", &forward, py::arg("x"), py::arg("training"))
        .def("backward", &backward, py::arg("x"), py::arg("grad"), py::arg("need_grad_x"))
        .def("gradients", &gradients, py::arg("x"), py::arg("target"), py::arg("loss"))
        .def("evaluate", &evaluate, py::arg("x"), py::arg("target"), py::arg("loss"))
        .def("train_epoch", &train_epoch, py::arg("x"), py::arg("target"), py::arg("order"),
             py::arg("batch_size"), py::arg("loss"), py::arg("optimizer"), py::arg("report"));
}

}  // namespace

void bind_nn(py::module_& m) {
    m.def("random_permutation", &permutation, py::arg("seed"), py::arg("stream"), py::arg("count"));
    bind_parameters(m);
    bind_optimizers(m);
    bind_plan(m);
}

}  // namespace ranvier
