// Convolution and pooling for Python.
#include "bindings.h"
#include "ranvier/conv2d.h"
#include "ranvier/pool2d.h"
#include "views.h"

namespace ranvier {
namespace {

constexpr const char* kNchw = "(batch, channels, height, width)";

Conv2dShape conv_shape(const py::array& x, const py::array& w, const py::handle& stride,
                       const py::handle& padding, const py::handle& dilation, const py::handle& groups) {
    require_ndim(x, "x", 4, kNchw);
    require_ndim(w, "weight", 4, "(out channels, in channels / groups, kernel height, kernel width)");
    Conv2dShape s;
    s.batch = x.shape(0);
    s.in_channels = x.shape(1);
    s.in_height = x.shape(2);
    s.in_width = x.shape(3);
    s.out_channels = w.shape(0);
    s.kernel_height = w.shape(2);
    s.kernel_width = w.shape(3);
    std::tie(s.stride_height, s.stride_width) = pair_of(stride, "stride");
    std::tie(s.padding_height, s.padding_width) = pair_of(padding, "padding");
    std::tie(s.dilation_height, s.dilation_width) = pair_of(dilation, "dilation");
    s.groups = integer_of(groups, "groups");
    check(s);
    if (w.shape(1) * s.groups != s.in_channels)
        throw py::value_error("weight: expected " + std::to_string(s.in_channels / s.groups) +
                              " input channels (those of x divided by groups), got shape " +
                              shape_text(shape_of(w)) + " for x of shape " + shape_text(shape_of(x)));
    return s;
}

Shape out_shape(const Conv2dShape& s) { return {s.batch, s.out_channels, s.out_height(), s.out_width()}; }

double work_of(const Conv2dShape& s) {
    return static_cast<double>(element_count(out_shape(s))) * static_cast<double>(s.in_channels / s.groups) *
           static_cast<double>(s.kernel_height * s.kernel_width) / 6;
}

py::array conv2d_arrays(const py::handle& x_object, const py::handle& w_object, const py::object& b_object,
                        const py::handle& stride, const py::handle& padding, const py::handle& dilation,
                        const py::handle& groups, const py::object& out) {
    const py::array x = float_array(x_object, "x"), w = array_like(w_object, "weight", x, "x");
    const Conv2dShape s = conv_shape(x, w, stride, padding, dilation, groups);
    const bool has_bias = !b_object.is_none();
    const py::array b = has_bias ? array_like(b_object, "bias", x, "x") : x;
    if (has_bias) require_shape(b, "bias", {s.out_channels});
    const py::array y = output(out, out_shape(s), x, {x, w, b});
    with_element_of(x, [&](auto element) {
        using T = decltype(element);
        std::vector<T> bias;
        if (has_bias)
            for (index_t i = 0; i < s.out_channels; ++i) bias.push_back(*static_cast<const T*>(b.data(i)));
        run_kernel(work_of(s), [&] {
            conv2d<T>(s, images_view<const T>(x), images_view<const T>(w), has_bias ? bias.data() : nullptr,
                      images_view<T>(y));
        });
    });
    return y;
}

// The gradients to the input, and to the weights and the bias; those that are not wanted are not computed.
py::tuple conv2d_gradients(const py::handle& grad_object, const py::handle& x_object,
                           const py::handle& w_object, const py::handle& stride, const py::handle& padding,
                           const py::handle& dilation, const py::handle& groups, bool to_input,
                           bool to_weights) {
    const py::array grad = float_array(grad_object, "grad"), x = array_like(x_object, "x", grad, "grad"),
                    w = array_like(w_object, "weight", grad, "grad");
    const Conv2dShape s = conv_shape(x, w, stride, padding, dilation, groups);
    require_shape(grad, "grad", out_shape(s));
    const py::array grad_x = new_array(shape_of(x), x), grad_w = new_array(shape_of(w), x),
                    grad_b = new_array({s.out_channels}, x);
    with_element_of(grad, [&](auto element) {
        using T = decltype(element);
        const Images<const T> g = images_view<const T>(grad);
        T* bias = static_cast<T*>(const_cast<void*>(grad_b.data()));
        run_kernel(2 * work_of(s), [&] {
            if (to_input) conv2d_backward_input<T>(s, g, images_view<const T>(w), images_view<T>(grad_x));
            if (to_weights)
                conv2d_backward_weights<T>(s, g, images_view<const T>(x), images_view<T>(grad_w), bias);
        });
    });
    return py::make_tuple(grad_x, grad_w, grad_b);
}

py::tuple conv2d_backward(const py::handle& grad, const py::handle& x, const py::handle& w,
                          const py::handle& stride, const py::handle& padding, const py::handle& dilation,
                          const py::handle& groups) {
    return conv2d_gradients(grad, x, w, stride, padding, dilation, groups, true, true);
}

Pool2dShape pool_shape(const Shape& x, const py::handle& kernel, const py::object& stride,
                       const py::handle& padding, bool ceil_mode, bool count_include_pad = true) {
    Pool2dShape s;
    s.ceil_mode = ceil_mode;
    s.count_include_pad = count_include_pad;
    s.batch = x[0];
    s.channels = x[1];
    s.in_height = x[2];
    s.in_width = x[3];
    std::tie(s.kernel_height, s.kernel_width) = pair_of(kernel, "kernel_size");
    std::tie(s.stride_height, s.stride_width) =
        stride.is_none() ? pair_of(kernel, "kernel_size") : pair_of(stride, "stride");
    std::tie(s.padding_height, s.padding_width) = pair_of(padding, "padding");
    check(s);
    return s;
}

Shape out_shape(const Pool2dShape& s) { return {s.batch, s.channels, s.out_height(), s.out_width()}; }

double work_of(const Pool2dShape& s) {
    return static_cast<double>(element_count(out_shape(s))) *
           static_cast<double>(s.kernel_height * s.kernel_width);
}

py::tuple max_pool2d_arrays(const py::handle& x_object, const py::handle& kernel, const py::object& stride,
                            const py::handle& padding, bool ceil_mode) {
    const py::array x = float_array(x_object, "x");
    require_ndim(x, "x", 4, kNchw);
    const Pool2dShape s = pool_shape(shape_of(x), kernel, stride, padding, ceil_mode);
    const py::array y = new_array(out_shape(s), x);
    py::array_t<std::int32_t> indices = new_array<std::int32_t>(out_shape(s));
    std::int32_t* at = indices.mutable_data();
    with_element_of(x, [&](auto element) {
        using T = decltype(element);
        run_kernel(work_of(s), [&] { max_pool2d<T>(s, images_view<const T>(x), images_view<T>(y), at); });
    });
    return py::make_tuple(y, indices);
}

// A shape that would lead each index back into its plane.
Pool2dShape shape_for_indices(const py::array& grad, const Shape& input) {
    if (input[0] != grad.shape(0) || input[1] != grad.shape(1))
        throw py::value_error("input_shape: expected the batch and channels of grad, " +
                              shape_text(shape_of(grad)) + ", got " + shape_text(input));
    Pool2dShape s = pool2d_of_sizes(input[2], input[3], grad.shape(2), grad.shape(3));
    s.batch = input[0];
    s.channels = input[1];
    return s;
}

py::array max_pool2d_backward_arrays(const py::handle& grad_object, const py::handle& indices_object,
                                     const py::handle& input_shape) {
    const py::array grad = float_array(grad_object, "grad");
    require_ndim(grad, "grad", 4, kNchw);
    if (!py::isinstance<py::array_t<std::int32_t>>(indices_object))
        throw py::type_error("indices: expected an array of int32, got " + kind_of(indices_object));
    const auto indices = py::reinterpret_borrow<py::array>(indices_object);
    require_shape(indices, "indices", shape_of(grad));
    if (!(indices.flags() & py::array::c_style))
        throw py::value_error("indices: expected a C-contiguous array");
    const Shape input = image_shape_of(input_shape, "input_shape");
    const Pool2dShape s = shape_for_indices(grad, input);
    const auto* at = static_cast<const std::int32_t*>(indices.data());
    const py::array grad_x = new_array(input, grad);
    with_element_of(grad, [&](auto element) {
        using T = decltype(element);
        run_kernel(static_cast<double>(element_count(input)), [&] {
            max_pool2d_backward<T>(s, images_view<const T>(grad), at, images_view<T>(grad_x));
        });
    });
    return grad_x;
}

py::array avg_pool2d_arrays(const py::handle& x_object, const py::handle& kernel, const py::object& stride,
                            const py::handle& padding, bool ceil_mode, bool count_include_pad) {
    const py::array x = float_array(x_object, "x");
    require_ndim(x, "x", 4, kNchw);
    const Pool2dShape s = pool_shape(shape_of(x), kernel, stride, padding, ceil_mode, count_include_pad);
    const py::array y = new_array(out_shape(s), x);
    with_element_of(x, [&](auto element) {
        using T = decltype(element);
        run_kernel(work_of(s), [&] { avg_pool2d<T>(s, images_view<const T>(x), images_view<T>(y)); });
    });
    return y;
}

py::array avg_pool2d_backward_arrays(const py::handle& grad_object, const py::handle& input_shape,
                                     const py::handle& kernel, const py::object& stride,
                                     const py::handle& padding, bool ceil_mode, bool count_include_pad) {
    const py::array grad = float_array(grad_object, "grad");
    const Shape input = image_shape_of(input_shape, "input_shape");
    const Pool2dShape s = pool_shape(input, kernel, stride, padding, ceil_mode, count_include_pad);
    require_shape(grad, "grad", out_shape(s));
    const py::array grad_x = new_array(input, grad);
    with_element_of(grad, [&](auto element) {
        using T = decltype(element);
        run_kernel(work_of(s),
                   [&] { avg_pool2d_backward<T>(s, images_view<const T>(grad), images_view<T>(grad_x)); });
    });
    return grad_x;
}

// --- what only tests and benchmarks need

constexpr std::pair<const char*, Conv2dAlgorithm> kConv2dAlgorithms[] = {
    {"automatic", Conv2dAlgorithm::automatic},   {"direct", Conv2dAlgorithm::direct},
    {"planes", Conv2dAlgorithm::planes},         {"channels_last", Conv2dAlgorithm::channels_last},
    {"winograd_2", Conv2dAlgorithm::winograd_2}, {"winograd_4", Conv2dAlgorithm::winograd_4},
};

void set_conv2d_algorithm_named(const std::string& name) {
    for (const auto& [known, algorithm] : kConv2dAlgorithms)
        if (name == known) return set_conv2d_algorithm(algorithm);
    throw py::value_error(
        "name: expected automatic, direct, planes, channels_last, winograd_2 or winograd_4, got '" + name +
        "'");
}

// The costs of each pass, cheapest first.
py::dict conv2d_costs_of(const py::handle& x, const py::handle& w, const py::handle& stride,
                         const py::handle& padding, const py::handle& dilation, const py::handle& groups) {
    const Conv2dShape s =
        conv_shape(float_array(x, "x"), float_array(w, "weight"), stride, padding, dilation, groups);
    py::dict result;
    for (const auto& [pass, name] : {std::pair{Conv2dPass::forward, "forward"},
                                     {Conv2dPass::backward_input, "backward_input"},
                                     {Conv2dPass::backward_weights, "backward_weights"}}) {
        py::dict costs;
        for (const Conv2dCost& cost : conv2d_costs(s, pass))
            for (const auto& [known, algorithm] : kConv2dAlgorithms)
                if (algorithm == cost.algorithm) costs[known] = cost.cycles;
        result[name] = costs;
    }
    return result;
}

void bind_conv2d_testing(py::module_ m) {
    m.def("set_conv2d_algorithm", &set_conv2d_algorithm_named, py::arg("name"));
    m.def("conv2d_costs", &conv2d_costs_of, py::arg("x"), py::arg("weight"), py::kw_only(),
          py::arg("stride") = 1, py::arg("padding") = 0, py::arg("dilation") = 1, py::arg("groups") = 1);
    for (const bool to_input : {true, false})
        m.def(
            to_input ? "conv2d_backward_input" : "conv2d_backward_weights",
            [to_input](const py::handle& grad, const py::handle& x, const py::handle& w,
                       const py::handle& stride, const py::handle& padding, const py::handle& dilation,
                       const py::handle& groups) -> py::object {
                return conv2d_gradients(grad, x, w, stride, padding, dilation, groups, to_input,
                                        !to_input)[to_input ? 0 : 1];
            },
            py::arg("grad"), py::arg("x"), py::arg("weight"), py::kw_only(), py::arg("stride") = 1,
            py::arg("padding") = 0, py::arg("dilation") = 1, py::arg("groups") = 1);
}

}  // namespace

void bind_images(py::module_& m) {
    bind_conv2d_testing(m.attr("_testing").cast<py::module_>());
    m.def("conv2d", &conv2d_arrays, py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(),
          py::kw_only(), py::arg("stride") = 1, py::arg("padding") = 0, py::arg("dilation") = 1,
          py::arg("groups") = 1, py::arg("out") = py::none(),
          R"(Two-dimensional convolution (cross-correlation), as in PyTorch.

Parameters
----------
x : ndarray, shape (batch, in, height, width)
    float32 or float64, any strides.
weight : ndarray, shape (out, in / groups, kernel height, kernel width)
bias : ndarray, shape (out,), optional
stride, padding, dilation : int or pair of ints
    For height and width. The padding is of zeros, on each side.
groups : int
    Blocks of channels that do not mix; divides both channel counts.
out : ndarray, shape (batch, out, out height, out width), optional
    Of the same dtype, writeable, sharing no memory with the inputs.

Returns
-------
ndarray, shape (batch, out, out height, out width)
    Where out height = (height + 2 padding - dilation (kernel - 1) - 1) // stride + 1.

Raises
------
TypeError
    If an array is of another dtype than float32 or float64, or of another one than x.
ValueError
    If the shapes do not match, the kernel exceeds the padded image, or ``out`` is unfit.

Notes
-----
In float32, kernels of 3 x 3 and 5 x 5 may be computed by Winograd's algorithm (Lavin and Gray 2016), where it is faster:
errors are then about 1e-5 of the largest output, and a NaN or infinity spreads to pixels near those it belongs to. In
float64 the sums are always those of the definition.
)");
    m.def("conv2d_backward", &conv2d_backward, py::arg("grad"), py::arg("x"), py::arg("weight"),
          py::kw_only(), py::arg("stride") = 1, py::arg("padding") = 0, py::arg("dilation") = 1,
          py::arg("groups") = 1,
          R"(Gradients of `conv2d`.

Parameters
----------
grad : ndarray, shape (batch, out, out height, out width)
    The gradient of a loss to the convolution's output.
x, weight, stride, padding, dilation, groups
    As in the forward call.

Returns
-------
grad_x, grad_w : ndarray
    Of the shapes of x and weight.
grad_b : ndarray, shape (out,)

Notes
-----
Padding takes part as zeros, so an infinity or a NaN makes NaN of all sums that pass over it, those of
neighbouring windows included.
)");
    m.def("max_pool2d", &max_pool2d_arrays, py::arg("x"), py::arg("kernel_size"), py::kw_only(),
          py::arg("stride") = py::none(), py::arg("padding") = 0, py::arg("ceil_mode") = false,
          R"(Maximum over windows.

Parameters
----------
x : ndarray, shape (batch, channels, height, width)
kernel_size, stride, padding : int or pair of ints
    The stride is the kernel size unless given; the padding, of minus infinity, is at most half the kernel.
ceil_mode : bool
    Whether windows that begin in the image, or in the padding before it, may end beyond the padding.

Returns
-------
y : ndarray, shape (batch, channels, out height, out width)
indices : ndarray of int32, of the same shape
    The position row * width + column of each maximum in its plane; the first of equals. A NaN is the greatest.
)");
    m.def("max_pool2d_backward", &max_pool2d_backward_arrays, py::arg("grad"), py::arg("indices"),
          py::arg("input_shape"), R"(Gradient of `max_pool2d` to its input.

Parameters
----------
grad : ndarray, shape (batch, channels, out height, out width)
indices : ndarray of int32
    From the forward call.
input_shape : tuple of 4 ints
    The shape of the forward call's x.

Returns
-------
ndarray, of shape input_shape
)");
    m.def("avg_pool2d", &avg_pool2d_arrays, py::arg("x"), py::arg("kernel_size"), py::kw_only(),
          py::arg("stride") = py::none(), py::arg("padding") = 0, py::arg("ceil_mode") = false,
          py::arg("count_include_pad") = true, R"(Mean over windows.

Parameters
----------
x : ndarray, shape (batch, channels, height, width)
kernel_size, stride, padding : int or pair of ints
    The stride is the kernel size unless given; the padding is at most half the kernel.
ceil_mode : bool
    Whether windows that begin in the image, or in the padding before it, may end beyond the padding. What lies there
    does not count.
count_include_pad : bool
    Whether the padding counts as zeros; otherwise it does not count.

Returns
-------
ndarray, shape (batch, channels, out height, out width)
)");
    m.def("avg_pool2d_backward", &avg_pool2d_backward_arrays, py::arg("grad"), py::arg("input_shape"),
          py::arg("kernel_size"), py::kw_only(), py::arg("stride") = py::none(), py::arg("padding") = 0,
          py::arg("ceil_mode") = false, py::arg("count_include_pad") = true,
          R"(Gradient of `avg_pool2d` to its input.

Parameters
----------
grad : ndarray, shape (batch, channels, out height, out width)
input_shape : tuple of 4 ints
    The shape of the forward call's x.
kernel_size, stride, padding, ceil_mode, count_include_pad
    As in the forward call.

Returns
-------
ndarray, of shape input_shape
)");
}

}  // namespace ranvier
