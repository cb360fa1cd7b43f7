// A trainer for Python: checks, the GIL released, and losses that Python computes.
#include "ranvier/trainer.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <chrono>
#include <memory>

#include "../nn/passes/passes.h"
#include "../platform/denormals.h"
#include "bindings.h"
#include "checked_copy.h"
#include "interruption.h"
#include "layer_specs.h"
#include "nn.h"
#include "peers.h"
#include "ranvier/profile.h"
#include "targets.h"

namespace ranvier {
namespace {

template <class T>
using OwnedTrainer = std::unique_ptr<Trainer<T>>;

struct PyTrainer {
    Either<OwnedTrainer> any;
    std::shared_ptr<PassLock> lock;  // of its parameters
    py::object python_layers;

    PyTrainer(const PyParameters& parameters, const Shape& input_shape, index_t capacity, std::uint64_t seed)
        : lock(parameters.lock), python_layers(parameters.python_layers) {
        parameters.require_changeable();
        std::visit(
            [&](const auto& p) {
                using T = std::remove_reference_t<decltype(*p->values())>;
                // A layer of Python's own is tried, in which its network must not be trained.
                const ReleasedGil release;
                const PassLock::Reading pass(*lock, &throw_if_interrupted);
                any = std::make_unique<Trainer<T>>(p, input_shape, capacity, seed);
            },
            parameters.any);
    }

    // body(trainer, element) for this trainer's element type.
    template <class Body>
    auto visit(Body&& body) {
        return std::visit(
            [&](auto& trainer) {
                using T = std::remove_reference_t<decltype(*trainer->parameters().values())>;
                return body(*trainer, T{});
            },
            any);
    }

    // body() without the GIL, in no other pass over the parameters.
    template <class Body>
    auto alone(Body&& body) {
        const ReleasedGil release;
        const PassLock::Changing pass(*lock, &throw_if_interrupted);
        return body();
    }
};

void require_batch(index_t n, index_t capacity) {
    if (n < 1 || n > capacity)
        throw py::value_error("x: expected 1 to " + std::to_string(capacity) + " samples, got " +
                              std::to_string(n));
}

py::array forward(PyTrainer& self, const py::handle& x, bool training) {
    return self.visit([&](auto& trainer, auto element) -> py::array {
        using T = decltype(element);
        index_t n;
        const Samples<T> from = samples_of<T>(x, trainer.input_shape(), n);
        require_batch(n, trainer.capacity());
        py::array_t<T> y(batch_shape(n, trainer.output_shape()));
        T* to = y.mutable_data();
        self.alone([&] { std::copy_n(trainer.forward(n, from, training), y.size(), to); });
        return y;
    });
}

py::object backward(PyTrainer& self, const py::handle& grad, bool need_grad_x, bool adds) {
    return self.visit([&](auto& trainer, auto element) -> py::object {
        using T = decltype(element);
        index_t n;
        const T* from = samples<T>(grad, "grad_output", trainer.output_shape(), n);
        if (!need_grad_x) {
            self.alone([&] { trainer.backward(n, from, nullptr, adds); });
            return py::none();
        }
        py::array_t<T> grad_x(batch_shape(n, trainer.input_shape()));
        T* to = grad_x.mutable_data();
        self.alone([&] { trainer.backward(n, from, to, adds); });
        return grad_x;
    });
}

// loss(prediction, numbers of the samples) -> (sum of losses, sum of weights, hits, gradient), for any number
// of batches.
template <class T>
auto custom_loss(const py::function& loss, const Shape& output) {
    return [loss, output](index_t n, const T* prediction, const std::int64_t* numbers, T* grad) {
        const CallersDenormals denormals;
        py::gil_scoped_acquire acquire;
        const Shape shape = batch_shape(n, output);
        const auto [sum, weight, hits, gradient] =
            loss(py::array_t<T>(shape, prediction), py::array_t<std::int64_t>(n, numbers))
                .template cast<std::tuple<double, double, index_t, py::array>>();
        index_t rows;
        const T* from = samples<T>(gradient, "the loss's gradient", output, rows);
        if (rows != n)
            throw py::value_error("the loss's gradient: expected " + std::to_string(n) + " samples, got " +
                                  std::to_string(rows));
        std::copy_n(from, gradient.size(), grad);
        return LossSums{sum, hits, weight};
    };
}

// An objective with the labels that it points to.
template <class T>
struct CheckedObjective : Objective<T> {
    CheckedTargets<T> checked;

    CheckedObjective() = default;
    CheckedObjective(CheckedObjective&&) = default;
    CheckedObjective& operator=(CheckedObjective&&) = default;

    // Takes targets and weights for n outputs of that shape; a custom loss has its own.
    void compare_with(const py::handle& target, const py::handle& weights, index_t n, const Shape& output,
                      const char* name = "target", const char* weights_name = "weights") {
        if (this->custom) return;
        check_targets(checked, target, name, n, output, this->loss);
        this->targets = checked.targets;
        this->targets.weights = weights_for(weights, n, weights_name);
    }
};

// A loss of the library, or a function for custom_loss().
template <class T>
CheckedObjective<T> objective_of(const py::object& loss, const Trainer<T>& trainer) {
    CheckedObjective<T> objective;
    if (py::isinstance<py::function>(loss))
        objective.custom = custom_loss<T>(py::reinterpret_borrow<py::function>(loss), trainer.output_shape());
    else
        objective.loss = loss_spec(loss.cast<LossDescription>());
    return objective;
}

template <class T>
CheckedObjective<T> objective_of(const py::object& loss, const py::handle& target, const py::handle& weights,
                                 index_t n, const Trainer<T>& trainer) {
    if (py::isinstance<py::function>(loss) && !weights.is_none())
        throw py::type_error("weights: expected a loss of the library with them, got a function");
    CheckedObjective<T> objective = objective_of(loss, trainer);
    objective.compare_with(target, weights, n, trainer.output_shape());
    return objective;
}

// The mean loss of what a pass added up; a custom loss's is over the samples, as the quadratic's.
template <class T, class Sums>
double mean_loss(const Sums& sums, const Objective<T>& objective, const Trainer<T>& trainer) {
    return sums.loss / loss_divisor(objective.loss.kind, sums.weight, element_count(trainer.output_shape()));
}

// The gradients are copied before anybody else may train.
py::tuple gradients(PyTrainer& self, const py::handle& x, const py::handle& target, const py::object& loss,
                    const py::handle& weights) {
    return self.visit([&](auto& trainer, auto element) -> py::tuple {
        using T = decltype(element);
        index_t n;
        const Samples<T> from = samples_of<T>(x, trainer.input_shape(), n);
        require_batch(n, trainer.capacity());
        const CheckedObjective<T> objective = objective_of<T>(loss, target, weights, n, trainer);
        py::array_t<T> flat(trainer.parameters().size());
        T* to = flat.mutable_data();
        const LossSums sums = self.alone([&] {
            const LossSums all = trainer.gradients(n, from, objective);
            std::copy_n(trainer.parameters().gradients(), flat.size(), to);
            return all;
        });
        return py::make_tuple(mean_loss(sums, objective, trainer), sums.hits, flat);
    });
}

std::vector<std::int64_t> checked_order(const py::handle& order, index_t samples_there, index_t& n) {
    const std::int64_t* data = samples<std::int64_t>(order, "order", {}, n);
    std::vector<std::int64_t> copy;
    checked_copy(data, n, samples_there, copy, [&](std::int64_t position, index_t) {
        throw py::value_error("order: expected positions from 0 to " + std::to_string(samples_there - 1) +
                              ", got " + std::to_string(position));
    });
    return copy;
}

OnNonFinite on_nonfinite_named(const std::string& name) {
    if (name == "raise") return OnNonFinite::stop;
    if (name == "warn") return OnNonFinite::skip;
    if (name == "ignore") return OnNonFinite::ignore;
    throw py::value_error("on_nonfinite: expected 'raise', 'warn' or 'ignore', got '" + name + "'");
}

template <class T>
Optimizer<T>& any_optimizer_of(PyOptimizer& optimizer, const Trainer<T>& trainer) {
    auto* owned = std::get_if<OwnedOptimizer<T>>(&optimizer.any);
    if (!owned || std::get<SharedParameters<T>>(optimizer.parameters).get() != &trainer.parameters())
        throw py::value_error("optimizer: belongs to other parameters than the trainer");
    return **owned;
}
template <class T>
Optimizer<T>& optimizer_of(PyOptimizer& optimizer, const Trainer<T>& trainer) {
    optimizer.require_whole();
    return any_optimizer_of(optimizer, trainer);
}

// The update from what backward passes have added up; the name of a parameter whose gradient is not finite,
// or
// "".
std::string step(PyTrainer& self, PyOptimizer& optimizer) {
    return self.visit([&](auto& trainer, auto element) {
        Optimizer<decltype(element)>& owned = optimizer_of<decltype(element)>(optimizer, trainer);
        return self.alone([&] { return trainer.step(owned); });
    });
}

template <class T>
using OwnedAccumulation = std::unique_ptr<GradientAccumulation<T>>;

struct PyGradientAccumulation {
    Either<OwnedAccumulation> any;

    PyGradientAccumulation(const PyParameters& parameters, index_t batches_per_update) {
        std::visit(
            [&](const auto& p) {
                using T = std::remove_reference_t<decltype(*p->values())>;
                any = std::make_unique<GradientAccumulation<T>>(*p, batches_per_update);
            },
            parameters.any);
    }
    index_t batches() const {
        return std::visit([](const auto& own) { return own->batches; }, any);
    }
};

template <class T>
GradientAccumulation<T>& accumulation_of(PyGradientAccumulation& accumulation, const Trainer<T>& trainer) {
    auto* owned = std::get_if<OwnedAccumulation<T>>(&accumulation.any);
    if (!owned || (*owned)->sum.size() != trainer.parameters().size())
        throw py::value_error("accumulation: belongs to other parameters than the trainer");
    return **owned;
}

// The update from an accumulation; false if its gradients are not finite and `check` says to look.
bool step_from(PyTrainer& self, PyGradientAccumulation& accumulation, PyOptimizer& optimizer,
               const py::handle& rates, bool check) {
    return self.visit([&](auto& trainer, auto element) {
        using T = decltype(element);
        Optimizer<T>& owned = optimizer_of<T>(optimizer, trainer);
        GradientAccumulation<T>& sum = accumulation_of<T>(accumulation, trainer);
        const std::vector<double> learning_rates = optimizer.learning_rates_of(rates);
        return self.alone([&] {
            owned.set_learning_rates(learning_rates.data());
            return trainer.step(sum, owned, check);
        });
    });
}

// One update from a batch, with everything made ready but the arrays.
struct PyTrainStep {
    py::object trainer_object, optimizer_object;
    PyTrainer& trainer;
    PyOptimizer& optimizer;
    Either<CheckedObjective> objective;
    std::atomic<bool> busy{false};

    PyTrainStep(const py::object& given_trainer, const py::object& given_optimizer, const py::object& loss)
        : trainer_object(given_trainer),
          optimizer_object(given_optimizer),
          trainer(given_trainer.cast<PyTrainer&>()),
          optimizer(given_optimizer.cast<PyOptimizer&>()) {
        trainer.visit([&](auto& own, auto element) {
            optimizer_of<decltype(element)>(optimizer, own);
            objective = objective_of(loss, own);
        });
    }

    // The mean loss; None if the arrays cannot be used where they lie, are too large, or another thread is in
    // the middle of this.
    py::object operator()(const py::handle& x, const py::handle& target, const py::handle& weights,
                          const py::handle& rates) {
        return trainer.visit([&](auto& own, auto element) -> py::object {
            using T = decltype(element);
            index_t n = 0, count = 0;
            if (!is_ready<T>(x, own.input_shape(), false, n) &&
                !is_ready<std::uint8_t>(x, own.input_shape(), false, n))
                return py::none();
            auto& aim = std::get<CheckedObjective<T>>(objective);
            if (n < 1 || n > own.capacity()) return py::none();
            if (!aim.custom) {
                if (!is_ready<std::int64_t>(target, {}, false, count) &&
                    !is_ready<T>(target, own.output_shape(), false, count))
                    return py::none();
                if (!weights.is_none() && !is_ready<double>(weights, {}, false, count)) return py::none();
            }
            if (busy.exchange(true)) return py::none();
            const std::unique_ptr<std::atomic<bool>, void (*)(std::atomic<bool>*)> done(
                &busy, [](std::atomic<bool>* flag) { flag->store(false); });
            aim.compare_with(target, weights, n, own.output_shape(), "y", "sample_weight");
            const Samples<T> from = samples_of<T>(x, own.input_shape(), n);
            Optimizer<T>& update = optimizer_of<T>(optimizer, own);
            const std::vector<double> learning_rates = optimizer.learning_rates_of(rates);
            const EpochSums sums = trainer.alone([&] {
                update.set_learning_rates(learning_rates.data());
                return own.train_step(n, from, aim, update);
            });
            if (!sums.fault.empty()) {
                const std::string what = sums.fault +
                                         " gave numbers that are infinite or NaN; the parameters are those "
                                         "from before this step";
                PyErr_SetString(PyExc_FloatingPointError, what.c_str());
                throw py::error_already_set();
            }
            return py::float_(mean_loss(sums, aim, own));
        });
    }
};

// The number of batches that an epoch has; their bounds fit the samples.
template <class T>
void require_bounds(const DataParallel<T>& all, index_t n) {
    index_t taken = 0;
    for (index_t batch = 0; batch < all.batches; ++batch)
        for (index_t i = 0; i < all.parts; ++i) {
            const std::int64_t* bound = all.bounds + batch * (all.parts + 1) + i;
            if (bound[0] < 0 || bound[1] < bound[0])
                throw py::value_error("bounds: expected rows that rise from 0 or more");
            taken += bound[1] - bound[0];
        }
    if (taken != n)
        throw py::value_error("bounds: expected those of " + std::to_string(n) + " samples, got " +
                              std::to_string(taken));
}

py::tuple train_epoch(PyTrainer& self, const py::handle& x, const py::handle& target, const py::handle& order,
                      index_t batch_size, const py::object& loss, PyOptimizer& optimizer,
                      const py::object& learning_rates, const std::string& on_nonfinite,
                      const py::object& report, const py::handle& weights, const py::object& losses,
                      const py::object& predictions, const py::object& errors,
                      PyGradientAccumulation* accumulation, const PyDataParallel* data_parallel,
                      const py::object& bounds) {
    return self.visit([&](auto& trainer, auto element) {
        using T = decltype(element);
        index_t samples_there, n;
        const Samples<T> from = samples_of<T>(x, trainer.input_shape(), samples_there);
        const CheckedObjective<T> objective = objective_of<T>(loss, target, weights, samples_there, trainer);
        const std::vector<std::int64_t> sequence = checked_order(order, samples_there, n);
        Optimizer<T>& owned = optimizer_of<T>(optimizer, trainer);
        EpochOptions<T> options;
        options.batch_size = batch_size;
        options.on_nonfinite = on_nonfinite_named(on_nonfinite);
        CheckedDataParallel<T> all;
        if (data_parallel) {
            all.share(*data_parallel);
            all.bounds = samples<std::int64_t>(bounds, "bounds", {all.parts + 1}, all.batches);
            require_bounds(all, n);
            options.data_parallel = &all;
        }
        const index_t whole_batches = batch_size < 1 ? 0 : ceil_div(n, batch_size);
        const index_t batches = data_parallel ? all.batches : whole_batches;
        if (accumulation) options.accumulation = &accumulation_of<T>(*accumulation, trainer);
        const auto of_each = [&](const char* what, index_t count, const py::object& array, const char* name,
                                 const Shape& shape) {
            index_t there;
            const double* data = samples<double>(array, name, shape, there);
            if (there < count)
                throw py::value_error(std::string(name) + ": expected one for each " + what + ", got " +
                                      std::to_string(there) + " for " + std::to_string(n) + " samples");
            return data;
        };
        if (!learning_rates.is_none()) {
            const GradientAccumulation<T>* own = options.accumulation;
            const index_t updates = own ? (own->batches + batches) / own->batches_per_update : batches;
            options.learning_rates = of_each("update", updates, learning_rates, "learning_rates",
                                             {static_cast<index_t>(owned.rates())});
        }
        if (!losses.is_none()) {
            of_each("batch", batches, losses, "losses", {});
            options.losses = py::reinterpret_borrow<py::array_t<double>>(losses).mutable_data();
        }
        options.record =
            record_to<T>(predictions, errors, n, trainer.output_shape(), objective.targets.dense, all.parts);
        Interruption interruption;
        options.report = [&](const EpochSums& now) {
            return interruption.proceed([&] {
                if (!report.is_none())
                    report(mean_loss(now, objective, trainer), now.hits, now.samples - now.skipped,
                           now.samples);
            });
        };
        options.between_batches = [&] { self.lock->let_others([] {}); };
        const EpochSums sums = self.alone(
            [&] { return trainer.train_epoch(n, from, objective, sequence.data(), owned, options); });
        interruption.rethrow();
        return py::make_tuple(mean_loss(sums, objective, trainer), sums.hits, sums.samples, sums.skipped,
                              sums.fault, sums.loss, sums.weight);
    });
}

// Has all peers have the optimizer's state whole, after a training of theirs that failed.
void gather_state(PyTrainer& self, PyOptimizer& optimizer, PySharedRanks& ranks) {
    self.visit([&](auto& trainer, auto element) {
        using T = decltype(element);
        Optimizer<T>& owned = any_optimizer_of<T>(optimizer, trainer);
        Peers<T>& peers = *std::get<OwnedRanks<T>>(ranks.any);
        self.alone([&] { trainer.gather_state(owned, peers); });
    });
}

// The mean of sums that train_epoch() gave, for several calls that are one epoch.
double mean_of_sums(PyTrainer& self, const py::object& loss, double sum, double weight) {
    return self.visit([&](auto& trainer, auto) {
        LossSums sums;
        sums.loss = sum;
        sums.weight = weight;
        return mean_loss(sums, objective_of(loss, trainer), trainer);
    });
}

// Trains for so many seconds at least, and tells what took how long: rows of (path, name, flops of a sample's
// forward pass, forward seconds, backward seconds, samples); the seconds of gathering, loss and update; the
// samples and the seconds of all.
py::tuple profile(PyTrainer& self, const py::handle& x, const py::handle& target, const py::handle& order,
                  index_t batch_size, const LossDescription& loss, PyOptimizer& optimizer, double seconds) {
    return self.visit([&](auto& trainer, auto element) {
        using T = decltype(element);
        index_t samples_there, n;
        const Samples<T> from = samples_of<T>(x, trainer.input_shape(), samples_there);
        const CheckedObjective<T> objective =
            objective_of<T>(py::cast(loss), target, py::none(), samples_there, trainer);
        const std::vector<std::int64_t> sequence = checked_order(order, samples_there, n);
        Optimizer<T>& owned = optimizer_of<T>(optimizer, trainer);
        Profile<T> profile;
        EpochTimes times;
        EpochOptions<T> options;
        options.batch_size = batch_size;
        options.on_nonfinite = OnNonFinite::ignore;
        options.observer = &profile;
        options.times = &times;
        Interruption interruption;
        options.report = [&](const EpochSums&) { return interruption.proceed(); };
        const auto start = std::chrono::steady_clock::now();
        const auto spent = [&] {
            return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        };
        index_t done = 0;
        self.alone([&] {
            do  // once at least, however little time there is
                done += trainer.train_epoch(n, from, objective, sequence.data(), owned, options).samples;
            while (spent() < seconds && !interruption.raised());
        });
        interruption.rethrow();
        py::list rows;
        for (const auto& row : profile.rows())
            rows.append(py::make_tuple(row.node.path, row.node.name, row.node.flops, row.forward,
                                       row.backward, row.samples));
        return py::make_tuple(rows, times.gather, times.loss, times.update, done, spent());
    });
}

}  // namespace

void bind_trainer(py::module_& m) {
    m.def("_set_disabled_passes", &set_disabled_passes, py::arg("names"));
    py::class_<PyTrainer>(m, "Trainer",
                          "What trains a network on samples of one shape, in batches up to a capacity.",
                          visits<PyTrainer, &PyTrainer::python_layers>())
        .def(py::init<const PyParameters&, const Shape&, index_t, std::uint64_t>(), py::arg("parameters"),
             py::arg("input_shape"), py::arg("capacity"), py::arg("seed"))
        .def_property_readonly(
            "input_shape",
            [](PyTrainer& self) {
                return self.visit([](auto& t, auto) { return shape_tuple(t.input_shape()); });
            })
        .def_property_readonly(
            "output_shape",
            [](PyTrainer& self) {
                return self.visit([](auto& t, auto) { return shape_tuple(t.output_shape()); });
            })
        .def_property_readonly(
            "capacity",
            [](PyTrainer& self) { return self.visit([](auto& t, auto) { return t.capacity(); }); })
        .def_property(
            "training_passes",
            [](PyTrainer& self) {
                return between_passes(*self.lock, [&] {
                    return self.visit([](auto& t, auto) -> std::uint64_t { return t.training_passes(); });
                });
            },
            [](PyTrainer& self, std::uint64_t passes) {
                between_passes(*self.lock,
                               [&] { self.visit([&](auto& t, auto) { t.training_passes() = passes; }); });
            })
        .def("forward", &forward, py::arg("x"), py::arg("training"))
        .def("backward", &backward, py::arg("grad"), py::arg("need_grad_x"), py::arg("adds"))
        .def("step", &step, py::arg("optimizer"))
        .def("gradients", &gradients, py::arg("x"), py::arg("target"), py::arg("loss"),
             py::arg("weights") = py::none())
        .def("train_epoch", &train_epoch, py::arg("x"), py::arg("target"), py::arg("order"),
             py::arg("batch_size"), py::arg("loss"), py::arg("optimizer"), py::arg("learning_rates"),
             py::arg("on_nonfinite"), py::arg("report"), py::arg("weights") = py::none(),
             py::arg("losses") = py::none(), py::arg("predictions") = py::none(),
             py::arg("errors") = py::none(), py::arg("accumulation") = py::none(),
             py::arg("data_parallel") = py::none(), py::arg("bounds") = py::none())
        .def("step_from", &step_from, py::arg("accumulation"), py::arg("optimizer"),
             py::arg("learning_rates"), py::arg("check"))
        .def("gather_state", &gather_state, py::arg("optimizer"), py::arg("ranks"))
        .def("mean_loss", &mean_of_sums, py::arg("loss"), py::arg("sum"), py::arg("weight"))
        .def("profile", &profile, py::arg("x"), py::arg("target"), py::arg("order"), py::arg("batch_size"),
             py::arg("loss"), py::arg("optimizer"), py::arg("seconds"));
    py::class_<PyGradientAccumulation>(m, "GradientAccumulation",
                                       "Gradients of several batches added up for one update.")
        .def(py::init<const PyParameters&, index_t>(), py::arg("parameters"), py::arg("batches_per_update"))
        .def_property_readonly("batches", &PyGradientAccumulation::batches);
    py::class_<PyTrainStep>(
        m, "TrainStep", "One update from a batch, for one loss and optimizer.",
        visits<PyTrainStep, &PyTrainStep::trainer_object, &PyTrainStep::optimizer_object>())
        .def(py::init<const py::object&, const py::object&, const py::object&>(), py::arg("trainer"),
             py::arg("optimizer"), py::arg("loss"))
        .def("__call__", &PyTrainStep::operator(), py::arg("x"), py::arg("target"), py::arg("weights"),
             py::arg("learning_rates"));
}

}  // namespace ranvier
