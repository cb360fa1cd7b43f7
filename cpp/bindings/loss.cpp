// Losses of arrays, and the checks of targets that they share with the networks.
#include "ranvier/loss.h"

#include <pybind11/stl.h>

#include "bindings.h"
#include "targets.h"

namespace ranvier {
namespace {

constexpr struct {
    const char* name;
    Loss loss;
} kLosses[] = {
    {"quadratic", Loss::quadratic},
    {"sum_squared_residuals", Loss::sum_squared_residuals},
    {"binary_cross_entropy", Loss::binary_cross_entropy},
    {"binary_cross_entropy_with_logits", Loss::binary_cross_entropy_with_logits},
    {"softmax_cross_entropy", Loss::softmax_cross_entropy},
};

void require_labels_in_range(const std::int64_t* labels, const char* name, index_t n, index_t outputs, Loss loss) {
    // With one output the labels stand for themselves, 0 or 1; but cross-entropy needs an output for each class.
    const index_t classes = outputs == 1 && loss != Loss::softmax_cross_entropy ? 2 : outputs;
    for (index_t i = 0; i < n; ++i)
        if (labels[i] < 0 || labels[i] >= classes)
            throw py::value_error(std::string(name) + ": expected labels from 0 to " +
                                  std::to_string(classes - 1) + ", got " + std::to_string(labels[i]) +
                                  " at position " + std::to_string(i));
}

template <class T>
void require_no_nan(const T* values, const char* name, index_t n) {
    for (index_t i = 0; i < n; ++i)
        if (values[i] != values[i])
            throw py::value_error(std::string(name) + ": contains NaN (element " + std::to_string(i) + ")");
}

}  // namespace

Loss loss_named(const std::string& name) {
    std::string known;
    for (const auto& [text, loss] : kLosses) {
        if (name == text) return loss;
        known += (known.empty() ? "'" : ", '") + std::string(text) + "'";
    }
    throw py::value_error("loss: expected one of " + known + ", got '" + name + "'");
}

template <class T>
Targets<T> targets_for(const py::handle& object, const char* name, index_t n, const Shape& output,
                       Loss loss) {
    const index_t outputs = element_count(output);
    if (loss == Loss::softmax_cross_entropy && output.size() != 1)
        throw py::value_error(
            "loss: cross-entropy needs a network that ends in one row of classes for each sample, "
            "got samples of output shape " +
            shape_text(output));
    const bool is_labels =
        py::isinstance<py::array>(object) &&
        py::reinterpret_borrow<py::array>(object).dtype().is(py::dtype::of<std::int64_t>());
    index_t count = 0;
    Targets<T> targets;
    if (is_labels) {
        targets.labels = samples<std::int64_t>(object, name, {}, count);
    } else {
        targets.dense = samples<T>(object, name, output, count);
        require_no_nan(targets.dense, name, count * outputs);
    }
    if (count != n)
        throw py::value_error(std::string(name) + ": expected one target for each of " + std::to_string(n) +
                              " samples, got " + std::to_string(count));
    if (is_labels) require_labels_in_range(targets.labels, name, n, outputs, loss);
    return targets;
}

template Targets<float> targets_for(const py::handle&, const char*, index_t, const Shape&, Loss);
template Targets<double> targets_for(const py::handle&, const char*, index_t, const Shape&, Loss);

namespace {

// Calls body with the prediction's element type.
template <class Body>
auto by_dtype(const py::handle& prediction, Body&& body) {
    if (py::isinstance<py::array>(prediction)) {
        const auto array = py::reinterpret_borrow<py::array>(prediction);
        if (array.dtype().is(py::dtype::of<float>())) return body(float{}, array);
        if (array.dtype().is(py::dtype::of<double>())) return body(double{}, array);
    }
    throw py::type_error("prediction: expected an array of float32 or float64, got " + type_of(prediction));
}

template <class T>
struct Comparison {
    Loss loss;
    index_t n, outputs;
    const T* prediction;
    Targets<T> targets;

    Comparison(const std::string& loss_name, const py::array& prediction_array, const py::handle& target)
        : loss(loss_named(loss_name)) {
        if (prediction_array.ndim() < 1)
            throw py::value_error("prediction: expected an array of shape (samples, ...), got shape ()");
        const Shape output(prediction_array.shape() + 1, prediction_array.shape() + prediction_array.ndim());
        prediction = samples<T>(prediction_array, "prediction", output, n);
        if (n == 0) throw py::value_error("prediction: expected at least one sample, got none");
        outputs = element_count(output);
        targets = targets_for<T>(target, "target", n, output.empty() ? Shape{1} : output, loss);
    }

    LossSums run(T* grad) const {
        const double divisor = loss_divisor(loss, n, outputs);
        if (targets.labels)
            return loss_with_labels<T>(loss, n, outputs, prediction, targets.labels, grad, divisor);
        return loss_with_targets<T>(loss, n, outputs, prediction, targets.dense, grad, divisor);
    }
};

std::pair<double, index_t> loss_value(const std::string& loss, const py::handle& prediction,
                                      const py::handle& target) {
    return by_dtype(prediction, [&](auto element, const py::array& array) {
        const Comparison<decltype(element)> comparison(loss, array, target);
        py::gil_scoped_release release;
        const LossSums sums = comparison.run(nullptr);
        return std::pair{sums.loss / loss_divisor(comparison.loss, comparison.n, comparison.outputs),
                         sums.hits};
    });
}

py::array loss_gradient(const std::string& loss, const py::handle& prediction, const py::handle& target) {
    return by_dtype(prediction, [&](auto element, const py::array& array) -> py::array {
        using T = decltype(element);
        const Comparison<T> comparison(loss, array, target);
        py::array_t<T> grad(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
        T* to = grad.mutable_data();
        py::gil_scoped_release release;
        comparison.run(to);
        return grad;
    });
}

}  // namespace

void bind_loss(py::module_& m) {
    m.def("loss_value", &loss_value, py::arg("loss"), py::arg("prediction"), py::arg("target"),
          "The loss (its mean as the loss defines it) and the number of hits of a batch of predictions.");
    m.def("loss_gradient", &loss_gradient, py::arg("loss"), py::arg("prediction"), py::arg("target"),
          "The gradient of that loss to the predictions.");
    m.def(
        "loss_divisor",
        [](const std::string& loss, index_t samples, index_t outputs) {
            return loss_divisor(loss_named(loss), samples, outputs);
        },
        py::arg("loss"), py::arg("samples"), py::arg("outputs"),
        "What the sum of a loss over samples is divided by for its mean.");
}

}  // namespace ranvier
