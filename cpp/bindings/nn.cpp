// Parameters and optimizers for Python: views that keep their owner alive.
#include "nn.h"

#include <pybind11/stl.h>

#include <map>
#include <optional>
#include <tuple>

#include "bindings.h"
#include "interruption.h"
#include "layer_specs.h"
#include "ranvier/random.h"
#include "views.h"

namespace ranvier {
namespace {

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

// The same view, but read-only if the parameters are frozen.
py::array protect(py::array values, const PyParameters& of) {
    if (of.frozen) values.attr("flags").attr("writeable") = false;
    return values;
}

// body(parameters, entry) for the parameter of that name.
template <class Body>
auto with_entry(const py::object& self, const std::string& name, Body&& body) {
    return std::visit(
        [&](auto& parameters) {
            try {
                return body(*parameters, parameters->entry(name));
            } catch (const std::out_of_range& error) {
                throw py::key_error(error.what());
            }
        },
        self.cast<PyParameters&>().any);
}

py::array value(const py::object& self, const std::string& name) {
    return with_entry(self, name, [&](auto& parameters, const ParameterEntry& entry) {
        py::array values = view(parameters.value(entry), entry.shape, entry.strides, self);
        return protect(std::move(values), self.cast<PyParameters&>());
    });
}

py::array gradient(const py::object& self, const std::string& name) {
    self.cast<PyParameters&>().require_changeable();
    return with_entry(self, name, [&](auto& parameters, const ParameterEntry& entry) {
        auto* data = parameters.gradient(entry);
        if (!data) throw py::key_error("name: '" + name + "' is observed, not trained: it has no gradient");
        return view(data, entry.shape, entry.strides, self);
    });
}

py::array flat_values(const py::object& self) {
    const auto& parameters = self.cast<PyParameters&>();
    py::array values =
        std::visit([&](auto& p) { return flat_view(p->values(), p->size(), self); }, parameters.any);
    return protect(std::move(values), parameters);
}

py::array flat_gradients(const py::object& self) {
    const auto& parameters = self.cast<PyParameters&>();
    parameters.require_changeable();
    return std::visit([&](auto& p) { return flat_view(p->gradients(), p->size(), self); }, parameters.any);
}

py::array flat_accumulated(const py::object& self) {
    const auto& parameters = self.cast<PyParameters&>();
    parameters.require_changeable();
    return std::visit([&](auto& p) { return flat_view(p->accumulated(), p->size(), self); }, parameters.any);
}

// The part of a flat array that belongs to a trained parameter.
py::array part(const py::object& self, const std::string& name, const py::array& flat) {
    return with_entry(self, name, [&](auto& parameters, const ParameterEntry& entry) {
        using T = std::remove_reference_t<decltype(*parameters.values())>;
        if (!entry.trained) throw py::key_error("name: '" + name + "' is observed, not trained");
        if (!has_dtype<T>(flat) || flat.ndim() != 1 || flat.size() != parameters.size() ||
            !(flat.flags() & py::array::c_style))
            throw py::value_error("flat: expected an array like flat_values");
        return view(static_cast<T*>(const_cast<void*>(flat.data())) + entry.offset, entry.shape,
                    entry.strides, flat);
    });
}

template <class Wanted>
std::vector<std::string> names(const PyParameters& self, Wanted&& wanted) {
    return std::visit(
        [&](const auto& parameters) {
            std::vector<std::string> all;
            for (const ParameterEntry& entry : parameters->entries())
                if (wanted(entry)) all.push_back(entry.name);
            return all;
        },
        self.any);
}

// For names that are all there.
void freeze(PyParameters& self, const std::vector<std::string>& names, bool frozen) {
    self.require_changeable();
    std::visit(
        [&](auto& parameters) {
            for (const std::string& name : names) parameters->freeze(name, frozen);
        },
        self.any);
}

// How layers are connected as Python says it: the shapes of the inputs, the sources of each layer and of the
// outputs. None: one behind the other.
using Wired = std::optional<std::tuple<std::vector<Shape>, std::vector<std::vector<int>>, std::vector<int>>>;
Wiring wiring_of(const Wired& wired) {
    if (!wired) return {};
    const auto& [inputs, sources, outputs] = *wired;
    return {inputs, sources, outputs};
}

// The shape of each parameter and running statistic by its name, without memory for one.
py::dict parameter_shapes(const py::sequence& layers) {
    py::dict shapes;
    for (const ParameterEntry& entry : parameter_entries(read_layers(layers).specs))
        shapes[py::str(entry.name)] = shape_tuple(entry.shape);
    return shapes;
}

// The shape of a sample of a layer's output, from those of its inputs.
py::tuple output_shape_of(const py::object& layer, const std::vector<Shape>& inputs) {
    const ReadLayers read = read_layers(py::make_tuple(layer));
    return shape_tuple(output_shape(read.specs[0], inputs));
}

// A pass that Python makes itself, in a with statement: no other changes the parameters meanwhile.
class PyPass {
public:
    PyPass(std::shared_ptr<PassLock> lock, bool changes) : lock_(std::move(lock)), changes_(changes) {}

    void enter() {
        const ReleasedGil release;
        if (changes_)
            changing_ = std::make_unique<PassLock::Changing>(*lock_, &throw_if_interrupted);
        else
            reading_ = std::make_unique<PassLock::Reading>(*lock_, &throw_if_interrupted);
    }
    void exit() {
        changing_.reset();
        reading_.reset();
    }

private:
    std::shared_ptr<PassLock> lock_;
    bool changes_;
    std::unique_ptr<PassLock::Changing> changing_;
    std::unique_ptr<PassLock::Reading> reading_;
};

UpdateRule rule_named(const std::string& name) {
    if (name == "sgd") return UpdateRule::sgd;
    if (name == "adam") return UpdateRule::adam;
    if (name == "rmsprop") return UpdateRule::rmsprop;
    if (name == "adagrad") return UpdateRule::adagrad;
    throw py::value_error("rule: there is no update rule '" + name + "'");
}

UpdateOptions update_options(const std::string& rule, const py::dict& settings) {
    UpdateOptions options;
    options.rule = rule_named(rule);
    for (const auto& [key, value] : settings) {
        const auto name = key.cast<std::string>();
        if (name == "nesterov")
            options.nesterov = value.cast<bool>();
        else if (name == "decoupled_decay")
            options.decoupled_decay = value.cast<bool>();
        else if (double* field = name == "lr"             ? &options.lr
                                 : name == "momentum"     ? &options.momentum
                                 : name == "beta1"        ? &options.beta1
                                 : name == "beta2"        ? &options.beta2
                                 : name == "eps"          ? &options.eps
                                 : name == "weight_decay" ? &options.weight_decay
                                 : name == "clip_norm"    ? &options.clip_norm
                                 : name == "clip_value"   ? &options.clip_value
                                 : name == "ema_decay"    ? &options.ema_decay
                                                          : nullptr)
            *field = value.cast<double>();
        else
            throw py::value_error("settings: there is no setting '" + name + "'");
    }
    return options;
}

template <class T>
std::size_t position_of(const Parameters<T>& parameters, const std::string& name) {
    return static_cast<std::size_t>(&parameters.entry(name) - parameters.entries().data());
}

// How many updates each parameter missed because it was frozen, by name, but for those that missed none.
py::dict missed_updates(const PyOptimizer& self) {
    py::dict missed;
    const auto& entries = std::visit(
        [](const auto& p) -> const auto& { return p->entries(); }, self.parameters);
    const auto counts = between_passes(
        *self.lock, [&] { return std::visit([](const auto& o) { return o->missed; }, self.any); });
    for (std::size_t e = 0; e < counts.size(); ++e)
        if (counts[e] > 0) missed[py::str(entries[e].name)] = counts[e];
    return missed;
}

void set_missed_updates(PyOptimizer& self, const std::map<std::string, std::int64_t>& missed) {
    std::visit(
        [&](auto& p) {
            using T = std::remove_reference_t<decltype(*p->values())>;
            std::vector<std::int64_t> counts(missed.empty() ? 0 : p->entries().size());
            for (const auto& [name, count] : missed) counts[position_of(*p, name)] = count;
            between_passes(*self.lock,
                           [&] { std::get<OwnedOptimizer<T>>(self.any)->missed = std::move(counts); });
        },
        self.parameters);
}

py::dict optimizer_state(const py::object& self) {
    self.cast<PyOptimizer&>().require_whole();
    return std::visit(
        [&](auto& optimizer) {
            py::dict state;
            for (auto& [name, buffer] : optimizer->state())
                state[py::str(name)] = flat_view(buffer->data(), buffer->size(), self);
            return state;
        },
        self.cast<PyOptimizer&>().any);
}

py::array_t<std::int64_t> permutation(std::uint64_t seed, std::uint64_t stream, index_t count) {
    if (count < 0) throw py::value_error("count: expected 0 or more, got " + std::to_string(count));
    py::array_t<std::int64_t> order(count);
    random_permutation(seed, stream, count, order.mutable_data());
    return order;
}

}  // namespace

PyParameters::PyParameters(const py::sequence& layers, const std::string& dtype, const Wiring& wiring) {
    const auto [specs, python] = read_layers(layers);
    python_layers = python;
    if (dtype == "float32")
        any = std::make_shared<Parameters<float>>(specs, wiring);
    else if (dtype == "float64")
        any = std::make_shared<Parameters<double>>(specs, wiring);
    else
        throw py::value_error("dtype: expected 'float32' or 'float64', got '" + dtype + "'");
}

PyParameters PyParameters::frozen_copy() const {
    PyParameters copy = *this;
    copy.lock = std::make_shared<PassLock>();
    copy.frozen = true;
    const ReleasedGil release;
    const PassLock::Reading pass(*lock, &throw_if_interrupted);
    std::visit([&](const auto& p) { copy.any = p->frozen_copy(); }, any);
    return copy;
}

void PyParameters::require_changeable() const {
    if (frozen) throw py::value_error("parameters: expected some that may change, got frozen ones");
}

PyOptimizer::PyOptimizer(const PyParameters& of, const UpdateOptions& options,
                         const std::vector<Group>& groups)
    : lock(of.lock), parameters(of.any) {
    of.require_changeable();
    std::visit(
        [&](auto& p) {
            using T = std::remove_reference_t<decltype(*p->values())>;
            auto made = std::make_unique<Optimizer<T>>(options, p->size());
            for (const auto& [names, lr, weight_decay] : groups) {
                made->groups.push_back({lr, weight_decay, {}});
                for (const std::string& name : names)
                    made->groups.back().entries.push_back(position_of(*p, name));
            }
            any = std::move(made);
        },
        parameters);
}

std::vector<double> PyOptimizer::learning_rates_of(const py::handle& rates) const {
    std::vector<double> all;
    if (PyFloat_Check(rates.ptr()))
        all.push_back(PyFloat_AS_DOUBLE(rates.ptr()));
    else
        all = rates.cast<std::vector<double>>();
    const std::size_t expected = std::visit([](const auto& o) { return o->rates(); }, any);
    if (all.size() != expected)
        throw py::value_error("learning_rates: expected " + std::to_string(expected) + ", got " +
                              std::to_string(all.size()));
    return all;
}

void PyOptimizer::require_whole() const {
    const bool is_whole = std::visit([](const auto& o) { return o->is_whole.load(); }, any);
    if (!is_whole)
        throw std::runtime_error(
            "optimizer: expected its whole state, but each rank has a share of it: in the middle of an "
            "epoch, or after a training that other ranks have left without a word; go on from a "
            "checkpoint, or with another optimizer");
}

void PyOptimizer::step() {
    require_whole();
    const ReleasedGil release;
    const PassLock::Changing pass(*lock, &throw_if_interrupted);
    std::visit(
        [&](auto& p) {
            using T = std::remove_reference_t<decltype(*p->values())>;
            std::get<OwnedOptimizer<T>>(any)->step(*p);
        },
        parameters);
}

void bind_nn(py::module_& m) {
    bind_python_layers(m);
    m.def("random_permutation", &permutation, py::arg("seed"), py::arg("stream"), py::arg("count"));
    m.def("parameter_shapes", &parameter_shapes, py::arg("layers"));
    m.def("output_shape", &output_shape_of, py::arg("layer"), py::arg("inputs"));
    py::class_<PyPass>(m, "_Pass")
        .def("__enter__", &PyPass::enter)
        .def("__exit__", [](PyPass& self, const py::args&) { self.exit(); });
    py::class_<PyParameters, std::shared_ptr<PyParameters>>(
        m, "Parameters", "Values and gradients of a network's layers, each one flat buffer with named views.",
        visits<PyParameters, &PyParameters::python_layers>())
        .def(py::init([](const py::sequence& layers, const std::string& dtype, const Wired& wiring) {
                 return PyParameters(layers, dtype, wiring_of(wiring));
             }),
             py::arg("layers"), py::arg("dtype"), py::arg("wiring") = py::none())
        .def_property_readonly("names",
                               [](const PyParameters& self) {
                                   return names(self, [](const auto& entry) { return entry.trained; });
                               })
        .def_property_readonly("statistics",
                               [](const PyParameters& self) {
                                   return names(self, [](const auto& entry) { return !entry.trained; });
                               })
        .def_property_readonly("frozen",
                               [](const PyParameters& self) {
                                   return names(self, [](const auto& entry) { return entry.frozen; });
                               })
        .def("freeze", &freeze, py::arg("names"), py::arg("frozen"))
        .def_property_readonly("flat_values", &flat_values)
        .def_property_readonly("flat_gradients", &flat_gradients)
        .def_property_readonly("flat_accumulated", &flat_accumulated)
        .def("part", &part, py::arg("name"), py::arg("flat"))
        .def("value", &value, py::arg("name"))
        .def("gradient", &gradient, py::arg("name"))
        .def("frozen_copy", &PyParameters::frozen_copy)
        .def("reading", [](const PyParameters& self) { return PyPass(self.lock, false); })
        .def("changing", [](const PyParameters& self) { return PyPass(self.lock, true); })
        .def("require_no_pass", [](const PyParameters& self) { self.lock->require_no_pass(); });
    py::class_<PyOptimizer>(m, "Optimizer", "An optimizer's state over one Parameters.")
        .def(py::init([](const PyParameters& parameters, const std::string& rule, const py::dict& settings,
                         const std::vector<PyOptimizer::Group>& groups) {
                 return PyOptimizer(parameters, update_options(rule, settings), groups);
             }),
             py::arg("parameters"), py::arg("rule"), py::arg("settings"),
             py::arg("groups") = std::vector<PyOptimizer::Group>{})
        .def_property_readonly("lr",
                               [](const PyOptimizer& self) {
                                   return between_passes(*self.lock, [&] {
                                       return std::visit([](auto& o) { return o->options.lr; }, self.any);
                                   });
                               })
        .def(
            "set_learning_rates",
            [](PyOptimizer& self, const py::handle& rates) {
                const std::vector<double> all = self.learning_rates_of(rates);
                between_passes(*self.lock, [&] {
                    std::visit([&](auto& o) { o->set_learning_rates(all.data()); }, self.any);
                });
            },
            py::arg("rates"))
        .def_property("missed_updates", &missed_updates, &set_missed_updates)
        .def_property(
            "steps",
            [](const PyOptimizer& self) {
                return between_passes(*self.lock,
                                      [&] { return std::visit([](auto& o) { return o->steps; }, self.any); });
            },
            [](PyOptimizer& self, std::int64_t steps) {
                between_passes(*self.lock, [&] { std::visit([&](auto& o) { o->steps = steps; }, self.any); });
            })
        .def_property_readonly("state", &optimizer_state)
        .def("step", &PyOptimizer::step);
}

}  // namespace ranvier
