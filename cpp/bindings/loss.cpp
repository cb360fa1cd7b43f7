// Losses of arrays, and the checks of targets that they share with the networks.
#include "ranvier/loss.h"

#include <pybind11/stl.h>

#include <cmath>

#include "bindings.h"
#include "checked_copy.h"
#include "gil.h"
#include "ranvier/optimizer.h"
#include "targets.h"

namespace ranvier {
namespace {

constexpr struct {
    const char* name;
    Loss loss;
} kLosses[] = {
    {"quadratic", Loss::quadratic},
    {"sum_squared_residuals", Loss::sum_squared_residuals},
    {"mean_squared_error", Loss::mean_squared_error},
    {"binary_cross_entropy", Loss::binary_cross_entropy},
    {"binary_cross_entropy_with_logits", Loss::binary_cross_entropy_with_logits},
    {"softmax_cross_entropy", Loss::softmax_cross_entropy},
    {"hinge", Loss::hinge},
    {"l1", Loss::l1},
    {"huber", Loss::huber},
    {"smooth_l1", Loss::smooth_l1},
    {"quantile", Loss::quantile},
    {"negative_log_likelihood", Loss::negative_log_likelihood},
    {"focal", Loss::focal},
    {"poisson", Loss::poisson},
};

void copy_labels(const std::int64_t* labels, const char* name, index_t n, index_t outputs,
                 std::vector<std::int64_t>& copy) {
    const index_t classes = outputs == 1 ? 2 : outputs;  // with one output they stand for themselves, 0 or 1
    checked_copy(labels, n, classes, copy, [&](std::int64_t label, index_t position) {
        throw py::value_error(std::string(name) + ": expected labels from 0 to " +
                              std::to_string(classes - 1) + ", got " + std::to_string(label) +
                              " at position " + std::to_string(position));
    });
}

template <class T>
void require_no_nan(const T* values, const char* name, index_t n) {
    if (all_finite(n, values)) return;
    for (index_t i = 0; i < n; ++i)
        if (values[i] != values[i])
            throw py::value_error(std::string(name) + ": contains NaN (element " + std::to_string(i) + ")");
}

// A hinge is flat wherever a target is 0: rows of 0 and 1 would train nothing.
template <class T>
void require_signs(const T* values, const char* name, index_t n) {
    for (index_t i = 0; i < n; ++i)
        if (values[i] != 1 && values[i] != -1)
            throw py::value_error(std::string(name) + ": expected rows of -1 and 1 for a hinge, got " +
                                  std::to_string(values[i]) + " (element " + std::to_string(i) + ")");
}

// The logarithm of a Poisson distribution's probability is that of a count.
template <class T>
void require_counts(const T* values, const char* name, index_t n) {
    for (index_t i = 0; i < n; ++i)
        if (values[i] < 0)
            throw py::value_error(std::string(name) +
                                  ": expected numbers of at least 0 for PoissonNLLLoss, got " +
                                  std::to_string(values[i]) + " (element " + std::to_string(i) + ")");
}

// One for all outputs, or one for each.
void require_each(const std::vector<double>& values, const char* name, std::size_t outputs) {
    if (values.size() > 1 && values.size() != outputs)
        throw py::value_error(std::string(name) + ": expected a number or one for each of " +
                              std::to_string(outputs) + " outputs, got " + std::to_string(values.size()));
}

void require_settings_fit(const LossSpec& loss, const Shape& output) {
    const bool of_classes =
        loss.kind == Loss::softmax_cross_entropy || loss.kind == Loss::negative_log_likelihood;
    if (of_classes && output.size() != 1)
        throw py::value_error(
            "loss: cross-entropy needs a network that ends in one row of classes for each sample, "
            "got samples of output shape " +
            shape_text(output));
    const auto outputs = static_cast<std::size_t>(element_count(output));
    if (of_classes && outputs == 1)
        throw py::value_error(
            "loss: the cross-entropy of a single output is always 0; take MSELoss for numbers, or "
            "BCEWithLogitsLoss for two classes");
    if (const std::size_t n = loss.weight.size(); n != 0 && n != outputs)
        throw py::value_error("weight: expected one for each of " + std::to_string(outputs) +
                              " classes, got " + std::to_string(n));
    require_each(loss.pos_weight, "pos_weight", outputs);
    require_each(loss.quantile, "quantile", outputs);
}

Loss loss_named(const std::string& name) {
    std::string known;
    for (const auto& [text, loss] : kLosses) {
        if (name == text) return loss;
        known += (known.empty() ? "'" : ", '") + std::string(text) + "'";
    }
    throw py::value_error("loss: expected one of " + known + ", got '" + name + "'");
}

}  // namespace

LossSpec loss_spec(const LossDescription& description) {
    const auto& [name, settings] = description;
    LossSpec spec = loss_named(name);
    for (const auto& [key, value] : settings) {
        const auto setting = key.cast<std::string>();
        if (setting == "label_smoothing")
            spec.label_smoothing = value.cast<double>();
        else if (setting == "weight")
            spec.weight = value.cast<std::vector<double>>();
        else if (setting == "pos_weight")
            spec.pos_weight = value.cast<std::vector<double>>();
        else if (setting == "quantile")
            spec.quantile = value.cast<std::vector<double>>();
        else if (setting == "delta")
            spec.delta = value.cast<double>();
        else if (setting == "beta")
            spec.beta = value.cast<double>();
        else if (setting == "gamma")
            spec.gamma = value.cast<double>();
        else if (setting == "alpha")
            spec.alpha = value.cast<std::optional<double>>();
        else if (setting == "log_input")
            spec.log_input = value.cast<bool>();
        else if (setting == "eps")
            spec.eps = value.cast<double>();
        else
            throw py::value_error("loss: no setting '" + setting + "'");
    }
    return spec;
}

const double* weights_for(const py::handle& object, index_t n, const std::string& name) {
    if (object.is_none()) return nullptr;
    index_t count;
    const double* weights = samples<double>(object, name.c_str(), {}, count);
    if (count != n)
        throw py::value_error(name + ": expected one for each of " + std::to_string(n) + " samples, got " +
                              std::to_string(count));
    for (index_t i = 0; i < n; ++i)
        if (!(weights[i] >= 0 && std::isfinite(weights[i])))
            throw py::value_error(name + ": expected finite numbers of at least 0, got " +
                                  std::to_string(weights[i]) + " at position " + std::to_string(i));
    return weights;
}

template <class T>
void check_targets(CheckedTargets<T>& checked, const py::handle& object, const char* name, index_t n,
                   const Shape& output, const LossSpec& loss) {
    const index_t outputs = element_count(output);
    require_settings_fit(loss, output);
    const bool is_labels = has_dtype<std::int64_t>(object);
    index_t count = 0;
    const std::int64_t* labels = nullptr;
    checked.targets = {};
    if (is_labels) {
        labels = samples<std::int64_t>(object, name, {}, count);
    } else {
        const T* dense = samples<T>(object, name, output, count);
        require_no_nan(dense, name, count * outputs);
        if (loss.kind == Loss::hinge) require_signs(dense, name, count * outputs);
        if (loss.kind == Loss::poisson) require_counts(dense, name, count * outputs);
        checked.targets.dense = dense;
    }
    if (count != n)
        throw py::value_error(std::string(name) + ": expected one target for each of " + std::to_string(n) +
                              " samples, got " + std::to_string(count));
    if (is_labels) {
        copy_labels(labels, name, n, outputs, checked.labels);
        checked.targets.labels = checked.labels.data();
    }
}

template void check_targets(CheckedTargets<float>&, const py::handle&, const char*, index_t, const Shape&,
                            const LossSpec&);
template void check_targets(CheckedTargets<double>&, const py::handle&, const char*, index_t, const Shape&,
                            const LossSpec&);

namespace {

// Calls body with the prediction's element type.
template <class Body>
auto by_dtype(const py::handle& prediction, Body&& body) {
    if (py::isinstance<py::array>(prediction)) {
        const auto array = py::reinterpret_borrow<py::array>(prediction);
        if (has_dtype<float>(array)) return body(float{}, array);
        if (has_dtype<double>(array)) return body(double{}, array);
    }
    throw py::type_error("prediction: expected an array of float32 or float64, got " + kind_of(prediction));
}

template <class T>
struct Comparison {
    LossSpec loss;
    index_t n, outputs;
    const T* prediction;
    CheckedTargets<T> checked;

    Comparison(const LossDescription& description, const py::array& prediction_array,
               const py::handle& target, const py::handle& weights)
        : loss(loss_spec(description)) {
        if (prediction_array.ndim() < 1)
            throw py::value_error("prediction: expected an array of shape (samples, ...), got shape ()");
        const Shape output(prediction_array.shape() + 1, prediction_array.shape() + prediction_array.ndim());
        prediction = samples<T>(prediction_array, "prediction", output, n);
        if (n == 0) throw py::value_error("prediction: expected at least one sample, got none");
        outputs = element_count(output);
        checked = targets_for<T>(target, "target", n, output.empty() ? Shape{1} : output, loss);
        checked.targets.weights = weights_for(weights, n);
    }

    LossSums run(T* grad) const {
        return loss_of_batch<T>(loss, n, outputs, prediction, checked.targets, grad);
    }
};

std::pair<double, index_t> loss_value(const LossDescription& loss, const py::handle& prediction,
                                      const py::handle& target, const py::handle& weights) {
    return by_dtype(prediction, [&](auto element, const py::array& array) {
        const Comparison<decltype(element)> comparison(loss, array, target, weights);
        const ReleasedGil release;
        const LossSums sums = comparison.run(nullptr);
        return std::pair{sums.loss / loss_divisor(comparison.loss.kind, sums.weight, comparison.outputs),
                         sums.hits};
    });
}

py::array loss_gradient(const LossDescription& loss, const py::handle& prediction, const py::handle& target,
                        const py::handle& weights) {
    return by_dtype(prediction, [&](auto element, const py::array& array) -> py::array {
        using T = decltype(element);
        const Comparison<T> comparison(loss, array, target, weights);
        py::array_t<T> grad(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
        T* to = grad.mutable_data();
        const ReleasedGil release;
        comparison.run(to);
        return grad;
    });
}

void require_targets(const LossDescription& loss, const py::array& target, const Shape& output,
                     const std::string& name) {
    const LossSpec spec = loss_spec(loss);
    const index_t n = target.ndim() ? target.shape(0) : 0;
    if (has_dtype<float>(target))
        targets_for<float>(target, name.c_str(), n, output, spec);
    else
        targets_for<double>(target, name.c_str(), n, output, spec);
}

}  // namespace

void bind_loss(py::module_& m) {
    m.def("loss_value", &loss_value, py::arg("loss"), py::arg("prediction"), py::arg("target"),
          py::arg("weights") = py::none(),
          "The loss (its mean as the loss defines it) and the number of hits of a batch of predictions.");
    m.def("loss_gradient", &loss_gradient, py::arg("loss"), py::arg("prediction"), py::arg("target"),
          py::arg("weights") = py::none(), "The gradient of that loss to the predictions.");
    m.def("check_targets", &require_targets, py::arg("loss"), py::arg("target"), py::arg("output_shape"),
          py::arg("name"), "Raises if targets of that name, or the loss, do not fit outputs of that shape.");
}

}  // namespace ranvier
