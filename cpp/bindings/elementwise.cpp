// Activations, dropout, maxout and softmax for Python.
#include <algorithm>

#include "bindings.h"
#include "ranvier/activation.h"
#include "ranvier/softmax.h"
#include "views.h"

namespace ranvier {
namespace {

double work_of(const py::array& array) { return 3 * static_cast<double>(array.size()); }

// kernel(the inputs' views ..., that of the result), in the element type of all. The views are made under the
// GIL, without which other threads may change the arrays.
template <class Kernel, class... Others>
void run_on_views(const py::array& result, Kernel&& kernel, const py::array& input, const Others&... others) {
    const auto run = [&](const auto&... views) { run_kernel(work_of(input), [&] { kernel(views...); }); };
    with_element_of(input, [&](auto element) {
        using T = decltype(element);
        run(array_view<const T>(input), array_view<const T>(others)..., array_view<T>(result));
    });
}

py::array apply(Activation f, const py::handle& x_object, const py::object& out, double parameter) {
    const py::array x = float_array(x_object, "x");
    const py::array y = output_like(out, x, {x});
    with_element_of(x, [&](auto element) {
        using T = decltype(element);
        const Array<const T> from = array_view<const T>(x);
        const Array<T> to = array_view<T>(y);
        run_kernel(work_of(x), [&] { activation<T>(f, from, to, static_cast<T>(parameter)); });
    });
    return y;
}

py::array apply_backward(Activation f, const py::handle& grad_object, const py::handle& x_object,
                         const py::object& out, double parameter) {
    const py::array grad = float_array(grad_object, "grad"), x = array_like(x_object, "x", grad, "grad");
    require_shape(x, "x", shape_of(grad));
    const py::array grad_x = output_like(out, x, {grad, x});
    with_element_of(x, [&](auto element) {
        using T = decltype(element);
        const Array<const T> g = array_view<const T>(grad), from = array_view<const T>(x);
        const Array<T> to = array_view<T>(grad_x);
        run_kernel(work_of(x), [&] { activation_backward<T>(f, g, from, to, static_cast<T>(parameter)); });
    });
    return grad_x;
}

constexpr const char* kForwardDoc = R"(

Parameters
----------
x : ndarray of float32 or float64
    Any shape and strides.
out : ndarray, optional
    Of x's shape and dtype, writeable; x itself, or sharing no memory with it.

Returns
-------
ndarray, of the shape of x
)";
constexpr const char* kBackwardDoc = R"(

Parameters
----------
grad : ndarray of float32 or float64
    The gradient of a loss to the function's output.
x : ndarray, of the same shape
    The input of the forward call.
out : ndarray, optional
    Of the same shape and dtype, writeable; grad or x itself, or sharing no memory with them.

Returns
-------
ndarray, of the shape of x
    grad times the function's derivative at x.
)";

template <Activation F>
void bind_plain(py::module_& m, const char* name, const std::string& formula) {
    m.def(
        name, [](const py::handle& x, const py::object& out) { return apply(F, x, out, 0); }, py::arg("x"),
        py::arg("out") = py::none(), (formula + kForwardDoc).c_str());
    m.def((std::string(name) + "_backward").c_str(),
          [](const py::handle& grad, const py::handle& x, const py::object& out) {
              return apply_backward(F, grad, x, out, 0);
          },
          py::arg("grad"), py::arg("x"), py::arg("out") = py::none(),
          ("Gradient of `" + std::string(name) + "`." + kBackwardDoc).c_str());
}

template <Activation F>
void bind_with_parameter(py::module_& m, const char* name, const char* parameter, double standard,
                         const std::string& formula) {
    m.def(
        name,
        [parameter](const py::handle& x, const py::object& out, const py::handle& value) {
            return apply(F, x, out, number_of(value, parameter));
        },
        py::arg("x"), py::arg("out") = py::none(), py::kw_only(), py::arg(parameter) = standard,
        (formula + kForwardDoc).c_str());
    m.def((std::string(name) + "_backward").c_str(),
          [parameter](const py::handle& grad, const py::handle& x, const py::object& out,
                      const py::handle& value) {
              return apply_backward(F, grad, x, out, number_of(value, parameter));
          },
          py::arg("grad"), py::arg("x"), py::arg("out") = py::none(), py::kw_only(),
          py::arg(parameter) = standard, ("Gradient of `" + std::string(name) + "`." + kBackwardDoc).c_str());
}

// --- functions of channels, which are an array's axis 1, or axis 0 of a vector

py::ssize_t channels_of(const py::array& array) {
    return array.ndim() == 0 ? 1 : array.shape(array.ndim() > 1 ? 1 : 0);
}

void require_weight(const py::array& weight, const py::array& x) {
    require_ndim(weight, "weight", 1, "(one slope, or one for each channel)");
    if (weight.shape(0) != 1 && weight.shape(0) != channels_of(x))
        throw py::value_error("weight: expected 1 or " + std::to_string(channels_of(x)) + " slopes, got " +
                              std::to_string(weight.shape(0)));
}

py::array prelu_array(const py::handle& x_object, const py::handle& weight_object, const py::object& out) {
    const py::array x = float_array(x_object, "x"), weight = array_like(weight_object, "weight", x, "x");
    require_weight(weight, x);
    const py::array y = output(out, shape_of(x), x, {x, weight}, true);
    run_on_views(
        y, [](const auto& from, const auto& slopes, const auto& to) { prelu(from, slopes, to); }, x, weight);
    return y;
}

py::tuple prelu_backward_array(const py::handle& grad_object, const py::handle& x_object,
                               const py::handle& weight_object) {
    const py::array grad = float_array(grad_object, "grad"), x = array_like(x_object, "x", grad, "grad"),
                    weight = array_like(weight_object, "weight", grad, "grad");
    require_shape(x, "x", shape_of(grad));
    require_weight(weight, x);
    const py::array grad_x = new_array(shape_of(x), x), grad_weight = new_array(shape_of(weight), x);
    with_element_of(x, [&](auto element) {
        using T = decltype(element);
        const Array<const T> g = array_view<const T>(grad), from = array_view<const T>(x),
                             slopes = array_view<const T>(weight);
        const Array<T> to = array_view<T>(grad_x), slope_gradients = array_view<T>(grad_weight);
        run_kernel(work_of(x), [&] {
            prelu_backward_weights<T>(g, from, slope_gradients);
            prelu_backward_data<T>(g, from, slopes, to);
        });
    });
    return py::make_tuple(grad_x, grad_weight);
}

RandomSlopes checked_range(const py::handle& low, const py::handle& high, const py::handle& seed) {
    const double lower = number_of(low, "lower"), upper = number_of(high, "upper");
    if (!(lower <= upper))
        throw py::value_error("lower: expected at most upper (" + std::to_string(upper) + "), got " +
                              std::to_string(lower));
    return {lower, upper, seed_of(seed), 0};
}

py::array rrelu_array(const py::handle& x_object, const py::object& out, const py::handle& lower,
                      const py::handle& upper, bool training, const py::handle& seed,
                      const py::object& slopes_object) {
    const RandomSlopes range = checked_range(lower, upper, seed);
    const double mean = (range.lower + range.upper) / 2;
    if (!training && slopes_object.is_none()) return apply(Activation::leaky_relu, x_object, out, mean);
    const py::array x = float_array(x_object, "x");
    const py::array y = output(out, shape_of(x), x, {x}, true);
    if (slopes_object.is_none()) {
        run_on_views(
            y, [&](const auto& from, const auto& to) { rrelu(range, from, to); }, x);
        return y;
    }
    const py::array slopes = output(slopes_object, shape_of(x), x, {x, y}, false, "slopes");
    with_element_of(x, [&](auto element) {
        using T = decltype(element);
        const Array<const T> from = array_view<const T>(x), drawn = array_view<const T>(slopes);
        const Array<T> to = array_view<T>(y), drawn_to = array_view<T>(slopes);
        run_kernel(work_of(x), [&] {
            rrelu_slopes<T>(training ? range : RandomSlopes{mean, mean}, from, drawn_to);
            multiply<T>(from, drawn, to);
        });
    });
    return y;
}

py::array rrelu_backward_array(const py::handle& grad_object, const py::handle& slopes_object,
                               const py::object& out) {
    const py::array grad = float_array(grad_object, "grad"),
                    slopes = array_like(slopes_object, "slopes", grad, "grad");
    require_shape(slopes, "slopes", shape_of(grad));
    const py::array grad_x = output(out, shape_of(grad), grad, {grad, slopes}, true);
    run_on_views(
        grad_x, [](const auto& g, const auto& factors, const auto& to) { multiply(g, factors, to); }, grad,
        slopes);
    return grad_x;
}

py::array dropout_array(const py::handle& object, const char* name, const py::object& out,
                        const py::handle& probability, const py::handle& seed_object) {
    const double p = number_of(probability, "p");
    const std::uint64_t seed = seed_of(seed_object);
    if (!(p >= 0 && p < 1))
        throw py::value_error("p: expected a probability from 0 to below 1, got " + std::to_string(p));
    const py::array x = float_array(object, name);
    const py::array y = output(out, shape_of(x), x, {x}, true);
    run_on_views(
        y,
        [&](const auto& from, const auto& to) {
            dropout(RandomMask{p, seed}, from, to);
        },
        x);
    return y;
}

// The output's shape; pieces must divide the channels.
Shape maxout_shape(const py::array& x, index_t pieces) {
    if (pieces < 1 || x.ndim() == 0 || channels_of(x) % pieces != 0)
        throw py::value_error("pieces: expected a divisor of the channels of x, of shape " +
                              shape_text(shape_of(x)) + ", got " + std::to_string(pieces));
    Shape shape = shape_of(x);
    shape[shape.size() > 1 ? 1 : 0] /= pieces;
    return shape;
}

py::array maxout_array(const py::handle& x_object, const py::handle& piece_count, const py::object& out) {
    const index_t pieces = integer_of(piece_count, "pieces");
    const py::array x = float_array(x_object, "x");
    const py::array y = output(out, maxout_shape(x, pieces), x, {x});
    run_on_views(
        y, [&](const auto& from, const auto& to) { maxout(pieces, from, to); }, x);
    return y;
}

py::array maxout_backward_array(const py::handle& grad_object, const py::handle& x_object,
                                const py::handle& piece_count, const py::object& out) {
    const index_t pieces = integer_of(piece_count, "pieces");
    const py::array grad = float_array(grad_object, "grad"), x = array_like(x_object, "x", grad, "grad");
    require_shape(grad, "grad", maxout_shape(x, pieces));
    const py::array grad_x = output(out, shape_of(x), x, {grad, x});
    with_element_of(x, [&](auto element) {
        using T = decltype(element);
        const Array<const T> g = array_view<const T>(grad), from = array_view<const T>(x);
        const Array<T> to = array_view<T>(grad_x);
        run_kernel(work_of(x), [&] { maxout_backward<T>(pieces, g, from, to); });
    });
    return grad_x;
}

// --- softmax along an axis

int checked_axis(const py::array& array, const py::handle& object) {
    const index_t axis = integer_of(object, "axis"), ndim = array.ndim();
    if (axis < -ndim || axis >= ndim)
        throw py::value_error("axis: expected an axis of an array of shape " + shape_text(shape_of(array)) +
                              ", got " + std::to_string(axis));
    return static_cast<int>(axis < 0 ? axis + ndim : axis);
}

py::array normalise(bool logarithm, const py::handle& x_object, const py::object& out,
                    const py::handle& axis) {
    const py::array x = float_array(x_object, "x");
    const int along = checked_axis(x, axis);
    const py::array y = output_like(out, x, {x});
    if (x.size() == 0) return y;
    with_element_of(x, [&](auto element) {
        using T = decltype(element);
        const Array<const T> from = array_view<const T>(x);
        const Array<T> to = array_view<T>(y);
        const auto run = logarithm ? &log_softmax<T> : &softmax<T>;
        run_kernel(work_of(x), [&] { run(from, to, along); });
    });
    return y;
}

py::array normalise_backward(bool logarithm, const py::handle& grad_object, const py::handle& y_object,
                             const py::object& out, const py::handle& axis) {
    const py::array grad = float_array(grad_object, "grad"), y = array_like(y_object, "y", grad, "grad");
    require_shape(y, "y", shape_of(grad));
    const int along = checked_axis(y, axis);
    const py::array grad_x = output_like(out, y, {grad, y});
    if (y.size() == 0) return grad_x;
    with_element_of(y, [&](auto element) {
        using T = decltype(element);
        const Array<const T> g = array_view<const T>(grad), from = array_view<const T>(y);
        const Array<T> to = array_view<T>(grad_x);
        const auto run = logarithm ? &log_softmax_backward<T> : &softmax_backward<T>;
        run_kernel(work_of(y), [&] { run(g, from, to, along); });
    });
    return grad_x;
}

template <bool LOGARITHM>
void bind_normalisation(py::module_& m, const char* name, const std::string& formula) {
    m.def(
        name,
        [](const py::handle& x, const py::object& out, const py::handle& axis) {
            return normalise(LOGARITHM, x, out, axis);
        },
        py::arg("x"), py::arg("out") = py::none(), py::kw_only(), py::arg("axis") = -1,
        (formula + kForwardDoc).c_str());
    m.def((std::string(name) + "_backward").c_str(),
          [](const py::handle& grad, const py::handle& y, const py::object& out, const py::handle& axis) {
              return normalise_backward(LOGARITHM, grad, y, out, axis);
          },
          py::arg("grad"), py::arg("y"), py::arg("out") = py::none(), py::kw_only(), py::arg("axis") = -1,
          ("Gradient of `" + std::string(name) +
           "` to its input.\n\nParameters\n----------\ngrad : ndarray of float32 or float64\n"
           "y : ndarray, of the same shape\n    The output of the forward call.\nout : ndarray, optional\n"
           "axis : int\n\nReturns\n-------\nndarray, of the shape of y\n")
              .c_str());
}

void bind_random(py::module_& m) {
    m.def("rrelu", &rrelu_array, py::arg("x"), py::arg("out") = py::none(), py::kw_only(),
          py::arg("lower") = 0.125, py::arg("upper") = 1.0 / 3, py::arg("training") = false,
          py::arg("seed") = 0, py::arg("slopes") = py::none(),
          R"(Randomized ReLU (Xu et al. 2015): x above zero, slope * x below.

Parameters
----------
x : ndarray of float32 or float64
    Any shape and strides.
out : ndarray, optional
    Of x's shape and dtype, writeable; x itself, or sharing no memory with it.
lower, upper : float
    The bounds of the slopes.
training : bool
    Whether each element's slope is drawn from the uniform distribution on [lower, upper), as one of 65,536 values;
    else it is (lower + upper) / 2.
seed : int
    Each element's slope depends on the seed and its position alone.
slopes : ndarray, optional
    Of x's shape and dtype, writeable, sharing no memory with x and out. It receives the function's slope at each
    element, which above zero is 1, for `rrelu_backward`.

Returns
-------
ndarray, of the shape of x
)");
    m.def("rrelu_backward", &rrelu_backward_array, py::arg("grad"), py::arg("slopes"),
          py::arg("out") = py::none(), R"(Gradient of `rrelu`: grad * slopes.

Parameters
----------
grad : ndarray of float32 or float64
    The gradient of a loss to the function's output.
slopes : ndarray, of the same shape
    Those that the forward call has given.
out : ndarray, optional
    Of the same shape and dtype, writeable; grad or slopes itself, or sharing no memory with them.

Returns
-------
ndarray, of the shape of grad
)");
    m.def(
        "dropout",
        [](const py::handle& x, const py::object& out, const py::handle& p, const py::handle& seed) {
            return dropout_array(x, "x", out, p, seed);
        },
        py::arg("x"), py::arg("out") = py::none(), py::kw_only(), py::arg("p") = 0.5, py::arg("seed") = 0,
        (std::string(
             "Inverted dropout: each element becomes zero with probability p, or else is divided by 1 - p.\n"
             "Which ones depends on the seed and their position alone.") +
         kForwardDoc)
            .c_str());
    m.def(
        "dropout_backward",
        [](const py::handle& grad, const py::object& out, const py::handle& p, const py::handle& seed) {
            return dropout_array(grad, "grad", out, p, seed);
        },
        py::arg("grad"), py::arg("out") = py::none(), py::kw_only(), py::arg("p") = 0.5, py::arg("seed") = 0,
        "Gradient of `dropout`: the same mask and factor on grad; p and seed must be those of the forward "
        "call.");
}

void bind_channels(py::module_& m) {
    m.def("prelu", &prelu_array, py::arg("x"), py::arg("weight"), py::arg("out") = py::none(),
          R"(Parametric ReLU (He et al. 2015): x above zero, weight * x below.

Parameters
----------
x : ndarray, shape (batch, channels, ...)
weight : ndarray, shape (1,) or (channels,)
out : ndarray, optional

Returns
-------
ndarray, of the shape of x
)");
    m.def("prelu_backward", &prelu_backward_array, py::arg("grad"), py::arg("x"), py::arg("weight"),
          "Gradients of `prelu` to x and weight.");
    m.def("maxout", &maxout_array, py::arg("x"), py::arg("pieces"), py::arg("out") = py::none(),
          R"(Maxout (Goodfellow et al. 2013): the maximum of each ``pieces`` neighbouring channels.

Parameters
----------
x : ndarray, shape (batch, channels * pieces, ...)
pieces : int
out : ndarray, optional

Returns
-------
ndarray, shape (batch, channels, ...)
)");
    m.def("maxout_backward", &maxout_backward_array, py::arg("grad"), py::arg("x"), py::arg("pieces"),
          py::arg("out") = py::none(), "Gradient of `maxout`: grad goes to the first of the largest pieces.");
}

}  // namespace

void bind_elementwise(py::module_& m) {
    bind_plain<Activation::heaviside>(m, "heaviside",
                                      "Step function: 0 for x <= 0, else 1. Its derivative is 0.");
    bind_plain<Activation::sigmoid>(m, "sigmoid", "Logistic function, 1 / (1 + exp(-x)).");
    bind_plain<Activation::tanh>(m, "tanh", "Hyperbolic tangent.");
    bind_plain<Activation::relu>(m, "relu", "Rectifier, max(x, 0).");
    bind_plain<Activation::relu6>(m, "relu6", "Rectifier limited at 6, min(max(x, 0), 6).");
    bind_plain<Activation::selu>(
        m, "selu",
        "Scaled exponential linear unit (Klambauer et al. 2017): `elu` with the alpha, and\n"
        "times the scale, that keep a mean of 0 and a variance of 1.");
    bind_plain<Activation::softplus>(m, "softplus", "log(1 + exp(x)).");
    bind_plain<Activation::gelu>(m, "gelu",
                                 "x times the standard normal distribution function (exact, not by tanh).");
    bind_plain<Activation::silu>(m, "silu", "x times the logistic function of x, also called swish.");
    bind_plain<Activation::mish>(m, "mish", "x tanh(softplus(x)) (Misra 2019).");
    bind_plain<Activation::hardswish>(m, "hardswish", "x relu6(x + 3) / 6 (Howard et al. 2019).");
    bind_with_parameter<Activation::leaky_relu>(m, "leaky_relu", "negative_slope", 0.01,
                                                "Leaky rectifier: x above zero, negative_slope * x below.");
    bind_with_parameter<Activation::elu>(m, "elu", "alpha", 1.0,
                                         "Exponential linear unit: x above zero, alpha (exp(x) - 1) below.");
    bind_normalisation<false>(m, "softmax", "exp(x) / sum(exp(x)) along an axis (the last one).");
    bind_normalisation<true>(m, "log_softmax", "x - log(sum(exp(x))) along an axis (the last one).");
    bind_random(m);
    bind_channels(m);
}

}  // namespace ranvier
