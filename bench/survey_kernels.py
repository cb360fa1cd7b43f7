"""The kernels of the survey: how to draw a case of each, and how NumPy and PyTorch compute the same.

A row of the survey is plain data, which JSON can hold: the kernel, the dtype, the shape and layout of each operand, and
the options of the call. Operands have the names of the kernel's parameters and come in their order; ``out``, where a
kernel takes one, is the last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator

Shape = tuple[int, ...]
Draw = Callable[[Generator], tuple[dict[str, Shape], dict[str, Any]]]
Call = Callable[[], Any]

MAX_ELEMENTS = 4e6  # of an operand
MAX_PRODUCTS = 2e8  # multiply-adds of a call: some 10 ms


@dataclass(frozen=True)
class Kernel:
    """How to draw a case, and each peer's call: ``call(operands, **options)`` returns one without arguments."""

    draw: Draw
    torch: Callable[..., Call]
    numpy: Callable[..., Call] | None = None
    weight: float = 1  # how often it is drawn


# --- drawing


def log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def split(rng: Generator, total: float, parts: int) -> Shape:
    """Return sizes whose product is about the total."""
    return tuple(max(1, round(total**share)) for share in rng.dirichlet(np.ones(parts)))


def fits(shapes: dict[str, Shape]) -> bool:
    return all(np.prod(shape, dtype=float) <= MAX_ELEMENTS for shape in shapes.values())


def draw_shape(rng: Generator, least_ndim: int = 1) -> Shape:
    return split(rng, log_uniform(rng, 8, MAX_ELEMENTS), int(rng.integers(least_ndim, 5)))


def draw_layout(rng: Generator, ndim: int) -> dict[str, Any]:
    """Return how an array lies in memory where it is not in C order without gaps from an aligned address on."""
    kind = rng.choice(["C", "transposed", "steps", "negative", "gap", "offset"], p=[0.5, 0.12, 0.12, 0.08, 0.08, 0.1])
    if kind == "transposed" and ndim > 1:
        channels_last = ndim == 4 and rng.random() < 0.5
        return {"order": [0, 2, 3, 1] if channels_last else rng.permutation(ndim).tolist()}
    if kind in ("steps", "negative"):
        others = [2, 2, 2, 3] if kind == "steps" else [-1, -1, -1, -2]
        steps = np.where(rng.random(ndim) < 0.4, rng.choice(others, ndim), 1)
        steps[rng.integers(ndim)] = others[0]
        return {"steps": steps.tolist()}
    if kind == "gap" and ndim > 1:
        return {"gap": int(rng.integers(1, 20))}
    if kind == "offset":
        return {"offset": int(rng.integers(1, 8))}
    return {}


def draw_matmul(rng: Generator) -> tuple[dict[str, Shape], dict[str, Any]]:
    kind = rng.choice(["matrices", "few rows or columns", "vector", "stack"], p=[0.45, 0.25, 0.2, 0.1])
    while True:
        m, n, k = split(rng, log_uniform(rng, 100, MAX_PRODUCTS), 3)
        if kind == "few rows or columns":
            few = int(rng.integers(1, 9))
            m, n = (few, n) if rng.random() < 0.5 else (m, few)
        shapes: dict[str, Shape] = {"a": (m, k), "b": (k, n), "out": (m, n)}
        if kind == "vector":
            vector_first = rng.random() < 0.5
            shapes = {"a": (k,), "b": (k, n), "out": (n,)} if vector_first else {"a": (m, k), "b": (k,), "out": (m,)}
        if kind == "stack":
            count, m, n, k = split(rng, log_uniform(rng, 100, MAX_PRODUCTS), 4)
            shapes = {"a": (count, m, k), "b": (count, k, n), "out": (count, m, n)}
        if fits(shapes):
            return shapes, {}


def draw_linear(rng: Generator, backward: bool) -> tuple[dict[str, Shape], dict[str, Any]]:
    leading = 2 if rng.random() < 0.2 else 1
    while True:
        *batch, inputs, outputs = split(rng, log_uniform(rng, 100, MAX_PRODUCTS / (1 + backward)), leading + 2)
        x, w, y = (*batch, inputs), (outputs, inputs), (*batch, outputs)
        shapes: dict[str, Shape] = {"grad": y, "x": x, "w": w} if backward else {"x": x, "w": w, "b": (outputs,)}
        if fits(shapes | {"out": y}):
            return shapes if backward else shapes | {"out": y}, {}


def draw_side(rng: Generator, outputs: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Return the size of an axis that has so many windows."""
    return (outputs - 1) * stride + dilation * (kernel - 1) + 1 - 2 * padding + int(rng.integers(0, stride))


def draw_conv2d(rng: Generator, backward: bool) -> tuple[dict[str, Shape], dict[str, Any]]:
    while True:
        kernel = int(rng.choice([1, 2, 3, 4, 5, 7, 11], p=[0.2, 0.1, 0.35, 0.05, 0.15, 0.1, 0.05]))
        size = [kernel, kernel] if rng.random() < 0.85 else [kernel, int(rng.integers(1, 8))]
        stride = [int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))] * 2
        dilation = [int(rng.choice([1, 2], p=[0.85, 0.15]))] * 2
        padding = [
            int(rng.integers(0, n)) if rng.random() < 0.4 else d * (n - 1) // 2
            for n, d in zip(size, dilation, strict=True)
        ]
        products = log_uniform(rng, 1000, MAX_PRODUCTS / 2 / (1 + backward)) / (size[0] * size[1])
        if products < 1:
            continue
        batch, inputs, outputs, height, width = split(rng, products, 5)
        kind = rng.choice(["one group", "depthwise", "groups"], p=[0.65, 0.22, 0.13])
        groups = 1
        if kind == "depthwise":
            groups, inputs, outputs = inputs * outputs, 1, int(rng.choice([1, 1, 1, 2]))
        if kind == "groups":
            groups = int(rng.integers(2, 9))
            batch = -(-batch // groups)
        x = (batch, groups * inputs, *map(partial(draw_side, rng), (height, width), size, stride, padding, dilation))
        if min(x) < 1:
            continue
        y = (batch, groups * outputs, height, width)
        shapes: dict[str, Shape] = {"x": x, "w": (groups * outputs, inputs, *size)}
        shapes = {"grad": y} | shapes if backward else shapes | {"b": (groups * outputs,)}
        if fits(shapes | {"y": y}):
            return shapes, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def draw_pool2d(rng: Generator, operands: str) -> tuple[dict[str, Shape], dict[str, Any]]:
    while True:
        kind = rng.choice(["small", "any", "whole image"], p=[0.5, 0.35, 0.15])
        largest = {"small": 3.5, "any": 20, "whole image": 60}[kind]
        kernel = round(log_uniform(rng, 1.5, largest))
        size = [kernel, kernel] if rng.random() < 0.8 else [kernel, round(log_uniform(rng, 1, largest))]
        stride = [[1, 1], [2, 2], size, [kernel + 1] * 2][int(rng.choice(4, p=[0.15, 0.3, 0.45, 0.1]))]
        padding = [int(rng.integers(0, n // 2 + 1)) if rng.random() < 0.3 else 0 for n in size]
        batch, channels, height, width = split(rng, log_uniform(rng, 8, MAX_ELEMENTS), 4)
        if kind == "whole image":
            height = width = 1
            padding = [0, 0]
        x = (batch, channels, *map(partial(draw_side, rng), (height, width), size, stride, padding))
        y = (batch, channels, height, width)
        work = np.prod(y, dtype=float) * size[0] * size[1]
        if min(x) >= 1 and work <= 10 * MAX_ELEMENTS and fits({"x": x, "y": y}):
            shapes = {"x": x, "grad": y}
            options = {"kernel_size": size, "stride": stride, "padding": padding}
            if operands == "grad":
                options["input_shape"] = list(x)
            return {name: shapes[name] for name in operands.split()}, options


def draw_elementwise(rng: Generator, *operands: str, **options: Any) -> tuple[dict[str, Shape], dict[str, Any]]:
    """Return operands of one shape; an option's value is drawn from the list that is given."""
    shape = draw_shape(rng)
    chosen = {name: values[int(rng.integers(len(values)))] for name, values in options.items()}
    return dict.fromkeys((*operands, "out"), shape), chosen


def drawn(*operands: str, **options: Any) -> Draw:
    return lambda rng: draw_elementwise(rng, *operands, **options)


def drawn_softmax(*operands: str) -> Draw:
    def draw(rng: Generator) -> tuple[dict[str, Shape], dict[str, Any]]:
        shapes, _ = draw_elementwise(rng, *operands)
        ndim = len(shapes["out"])
        return shapes, {"axis": ndim - 1 if rng.random() < 0.6 else int(rng.integers(ndim))}

    return draw


def draw_prelu(rng: Generator, backward: bool) -> tuple[dict[str, Shape], dict[str, Any]]:
    shape = draw_shape(rng, 2)
    weight = (shape[1] if rng.random() < 0.7 else 1,)
    shapes = {"x": shape, "weight": weight}
    return {"grad": shape} | shapes if backward else shapes | {"out": shape}, {}


def draw_maxout(rng: Generator, backward: bool) -> tuple[dict[str, Shape], dict[str, Any]]:
    pieces = int(rng.integers(2, 6))
    y = split(rng, log_uniform(rng, 8, MAX_ELEMENTS / pieces), int(rng.integers(2, 5)))
    x = (y[0], y[1] * pieces, *y[2:])
    return {"grad": y, "x": x, "out": x} if backward else {"x": x, "out": y}, {"pieces": pieces}


# --- PyTorch's calls, on tensors; what its forward pass keeps for the backward pass is made beforehand where Ranvier's
# kernel gets the like (the places of maxima, the seed of a mask)


def aten(name: str, overload: str = "default") -> Any:
    import torch

    return getattr(getattr(torch.ops.aten, name), overload)


def out_in_c_order(t: dict[str, Any], name: str = "out") -> dict[str, Any]:
    """Return the argument ``out``, or none where PyTorch 2.13 refuses other strides or writes wrong numbers."""
    return {name: t["out"]} if t["out"].is_contiguous() else {}


def torch_named(name: str) -> Callable[..., Call]:
    """Return how PyTorch is called where it has the same function: by its own name, with ``out``."""

    def call(operands: dict[str, Any], **options: Any) -> Call:
        import torch

        out = operands.pop("out")
        function = getattr(torch, name, None) or getattr(torch._C._nn, name)
        return partial(function, *operands.values(), **options, out=out)

    return call


def torch_backward(name: str, *constants: Any, **options: Any) -> Callable[..., Call]:
    """Return how ATen's gradient of the two operands and some constants is called."""
    return lambda t: partial(aten(name, "grad_input"), t["grad"], t["x"], *constants, **options, grad_input=t["out"])


def torch_backward_from_output(name: str) -> Callable[..., Call]:
    """Return the same where ATen's function wants the output, which has to be computed first."""

    def call(t: dict[str, Any]) -> Call:
        import torch

        forward, backward = getattr(torch, name), aten(f"{name}_backward", "grad_input")
        return lambda: backward(t["grad"], forward(t["x"]), grad_input=t["out"])

    return call


def torch_step(t: dict[str, Any]) -> Call:
    import torch

    return partial(torch.heaviside, t["x"], t["x"].new_zeros(()), out=t["out"])


def torch_step_backward(t: dict[str, Any]) -> Call:
    import torch

    return partial(torch.mul, t["grad"], 0, out=t["out"])


def torch_relu(t: dict[str, Any]) -> Call:
    import torch

    return partial(torch.clamp_min, t["x"], 0, out=t["out"])


def torch_gelu(t: dict[str, Any]) -> Call:
    import torch

    return partial(torch._C._nn.gelu, t["x"], **out_in_c_order(t))


def torch_selu(t: dict[str, Any]) -> Call:
    return partial(aten("elu", "out"), t["x"], *SELU, 1, out=t["out"])


def torch_selu_backward(t: dict[str, Any]) -> Call:
    return partial(aten("elu_backward", "grad_input"), t["grad"], *SELU, 1, False, t["x"], grad_input=t["out"])


def torch_relu6(t: dict[str, Any]) -> Call:
    return partial(aten("hardtanh", "out"), t["x"], 0, 6, out=t["out"])


def torch_mish_backward(t: dict[str, Any]) -> Call:
    return partial(aten("mish_backward"), t["grad"], t["x"])


def torch_hardswish_backward(t: dict[str, Any]) -> Call:
    return partial(aten("hardswish_backward"), t["grad"], t["x"])


def torch_elu_backward(t: dict[str, Any]) -> Call:
    return partial(aten("elu_backward", "grad_input"), t["grad"], 1, 1, 1, False, t["x"], grad_input=t["out"])


def torch_matmul(t: dict[str, Any]) -> Call:
    import torch

    if t["a"].ndim == 1:  # for which PyTorch's matmul does not take such an out
        return partial(torch.mv, t["b"].T, t["a"], out=t["out"])
    return partial(torch.matmul, t["a"], t["b"], out=t["out"])


def torch_linear(t: dict[str, Any]) -> Call:
    import torch

    return partial(torch._C._nn.linear, t["x"], t["w"], t["b"], **out_in_c_order(t))


def torch_linear_backward(t: dict[str, Any]) -> Call:
    grad, x, w = t.values()
    rows, columns = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
    return lambda: (grad @ w, rows.T @ columns, rows.sum(0))


def torch_conv2d(t: dict[str, Any], stride: list[int], padding: list[int], dilation: list[int], groups: int) -> Call:
    import torch

    return partial(torch.conv2d, *t.values(), stride, padding, dilation, groups)


def torch_conv2d_backward(
    t: dict[str, Any], stride: list[int], padding: list[int], dilation: list[int], groups: int
) -> Call:
    bias, mask = [t["w"].shape[0]], [True] * 3
    return partial(
        aten("convolution_backward"), *t.values(), bias, stride, padding, dilation, False, [0, 0], groups, mask
    )


def torch_max_pool2d(t: dict[str, Any], kernel_size: list[int], stride: list[int], padding: list[int]) -> Call:
    return partial(aten("max_pool2d_with_indices"), t["x"], kernel_size, stride, padding)


def torch_max_pool2d_backward(t: dict[str, Any], kernel_size: list[int], stride: list[int], padding: list[int]) -> Call:
    windows = kernel_size, stride, padding, [1, 1], False
    _, indices = aten("max_pool2d_with_indices")(t["x"], *windows)
    return partial(aten("max_pool2d_with_indices_backward"), t["grad"], t["x"], *windows, indices)


def torch_avg_pool2d(t: dict[str, Any], kernel_size: list[int], stride: list[int], padding: list[int]) -> Call:
    return partial(aten("avg_pool2d"), t["x"], kernel_size, stride, padding)


def torch_avg_pool2d_backward(
    t: dict[str, Any], kernel_size: list[int], stride: list[int], padding: list[int], input_shape: list[int]
) -> Call:
    x = t["grad"].new_empty(input_shape)
    return partial(aten("avg_pool2d_backward"), t["grad"], x, kernel_size, stride, padding, False, True, None)


def torch_softmax(name: str) -> Callable[..., Call]:
    def call(t: dict[str, Any], axis: int) -> Call:
        import torch

        return partial(getattr(torch, name), t["x"], axis, out=t["out"])

    return call


def torch_softmax_backward(name: str, out: str) -> Callable[..., Call]:
    def call(t: dict[str, Any], axis: int) -> Call:
        result = out_in_c_order(t, out)
        return partial(aten(name, "out" if result else "default"), t["grad"], t["y"], axis, t["grad"].dtype, **result)

    return call


def torch_prelu(t: dict[str, Any]) -> Call:
    import torch

    return partial(torch.prelu, t["x"], t["weight"])


def torch_prelu_backward(t: dict[str, Any]) -> Call:
    grad, x, weight = t.values()
    slopes = weight.view(-1, *[1] * (x.ndim - 2))
    backward = aten("_prelu_kernel_backward")

    def call() -> Any:
        grad_x, grad_slopes = backward(grad, x, slopes)
        return grad_x, grad_slopes.sum_to_size(slopes.shape).view(-1)

    return call


def torch_rrelu(t: dict[str, Any], training: bool, seed: int) -> Call:
    import torch

    if not training:
        return torch_named("leaky_relu")(t, negative_slope=(1 / 8 + 1 / 3) / 2)
    noise = torch.empty_like(t["x"])
    return partial(aten("rrelu_with_noise", "out"), t["x"], noise, 1 / 8, 1 / 3, True, None, out=t["out"])


def torch_rrelu_backward(t: dict[str, Any]) -> Call:
    noise = t["slopes"]  # in training the input does not matter beside them
    backward = aten("rrelu_with_noise_backward", "out")
    return partial(backward, t["grad"], noise, noise, 1 / 8, 1 / 3, True, False, out=t["out"])


def torch_dropout(t: dict[str, Any], p: float, seed: int) -> Call:
    return partial(aten("native_dropout"), t["x"], p, True)


def torch_dropout_backward(t: dict[str, Any], p: float, seed: int) -> Call:
    return partial(aten("native_dropout_backward"), t["grad"], t["grad"] > 0, 1 / (1 - p))


def torch_maxout(t: dict[str, Any], pieces: int) -> Call:
    import torch

    return partial(torch.amax, t["x"].unflatten(1, (-1, pieces)), 2, out=t["out"])


def torch_maxout_backward(t: dict[str, Any], pieces: int) -> Call:
    groups = t["x"].unflatten(1, (-1, pieces))
    backward = aten("value_selecting_reduction_backward")
    return lambda: backward(t["grad"], 2, groups.max(2).indices, groups.shape, False).flatten(1, 2)


# --- NumPy's


def numpy_ufunc(ufunc: np.ufunc, *constants: float) -> Callable[..., Call]:
    """Return how a function of the first operand and constants is called."""
    return lambda a: partial(ufunc, next(iter(a.values())), *constants, out=a["out"])


def numpy_relu_backward(a: dict[str, Any]) -> Call:
    return lambda: np.multiply(a["grad"], a["x"] > 0, out=a["out"])


def numpy_matmul(a: dict[str, Any]) -> Call:
    return partial(np.matmul, a["a"], a["b"], out=a["out"])


def numpy_linear(a: dict[str, Any]) -> Call:
    return lambda: np.add(np.matmul(a["x"], a["w"].T, out=a["out"]), a["b"], out=a["out"])


def numpy_leaky_relu(a: dict[str, Any]) -> Call:
    return lambda: np.maximum(a["x"], np.multiply(a["x"], 0.01, out=a["out"]), out=a["out"])


def numpy_maxout(a: dict[str, Any], pieces: int) -> Call:
    batch, channels, *rest = a["x"].shape
    groups = a["x"].reshape(batch, channels // pieces, pieces, *rest)
    return partial(np.max, groups, axis=2, out=a["out"])


# --- Ranvier's


def ranvier_call(kernel: str, operands: dict[str, Any], options: dict[str, Any]) -> Call:
    from ranvier import kernels

    function = getattr(kernels, kernel)
    if kernel == "max_pool2d_backward":
        x = operands["x"]
        _, indices = kernels.max_pool2d(x, **options)
        return partial(function, operands["grad"], indices, x.shape)
    inputs = [array for name, array in operands.items() if name != "out"]
    if "out" in operands:
        options = options | {"out": operands["out"]}
    return partial(function, *inputs, **options)


MASKS = {"p": [0.1, 0.5], "seed": [1]}
SELU = 1.6732632423543772, 1.0507009873554805  # alpha and scale
SLOPES = {"training": [True, False], "seed": [1]}

KERNELS = {
    "matmul": Kernel(draw_matmul, torch_matmul, numpy_matmul, weight=8),
    "linear": Kernel(partial(draw_linear, backward=False), torch_linear, numpy_linear, weight=4),
    "linear_backward": Kernel(partial(draw_linear, backward=True), torch_linear_backward, weight=4),
    "conv2d": Kernel(partial(draw_conv2d, backward=False), torch_conv2d, weight=8),
    "conv2d_backward": Kernel(partial(draw_conv2d, backward=True), torch_conv2d_backward, weight=8),
    "max_pool2d": Kernel(partial(draw_pool2d, operands="x"), torch_max_pool2d, weight=3),
    "max_pool2d_backward": Kernel(partial(draw_pool2d, operands="grad x"), torch_max_pool2d_backward, weight=3),
    "avg_pool2d": Kernel(partial(draw_pool2d, operands="x"), torch_avg_pool2d, weight=3),
    "avg_pool2d_backward": Kernel(partial(draw_pool2d, operands="grad"), torch_avg_pool2d_backward, weight=3),
    "heaviside": Kernel(drawn("x"), torch_step, numpy_ufunc(np.heaviside, 0)),
    "heaviside_backward": Kernel(drawn("grad", "x"), torch_step_backward, numpy_ufunc(np.multiply, 0)),
    "sigmoid": Kernel(drawn("x"), torch_named("sigmoid")),
    "sigmoid_backward": Kernel(drawn("grad", "x"), torch_backward_from_output("sigmoid")),
    "tanh": Kernel(drawn("x"), torch_named("tanh"), numpy_ufunc(np.tanh)),
    "tanh_backward": Kernel(drawn("grad", "x"), torch_backward_from_output("tanh")),
    "relu": Kernel(drawn("x"), torch_relu, numpy_ufunc(np.maximum, 0)),
    "relu_backward": Kernel(drawn("grad", "x"), torch_backward("threshold_backward", 0), numpy_relu_backward),
    "leaky_relu": Kernel(drawn("x"), torch_named("leaky_relu"), numpy_leaky_relu),
    "leaky_relu_backward": Kernel(drawn("grad", "x"), torch_backward("leaky_relu_backward", 0.01, False)),
    "elu": Kernel(drawn("x"), torch_named("elu")),
    "elu_backward": Kernel(drawn("grad", "x"), torch_elu_backward),
    "softplus": Kernel(drawn("x"), torch_named("softplus")),
    "softplus_backward": Kernel(drawn("grad", "x"), torch_backward("softplus_backward", 1, 20)),
    "gelu": Kernel(drawn("x"), torch_gelu),
    "gelu_backward": Kernel(drawn("grad", "x"), torch_backward("gelu_backward")),
    "relu6": Kernel(drawn("x"), torch_relu6),
    "relu6_backward": Kernel(drawn("grad", "x"), torch_backward("hardtanh_backward", 0, 6)),
    "selu": Kernel(drawn("x"), torch_selu),
    "selu_backward": Kernel(drawn("grad", "x"), torch_selu_backward),
    "silu": Kernel(drawn("x"), torch_named("silu")),
    "silu_backward": Kernel(drawn("grad", "x"), torch_backward("silu_backward")),
    "mish": Kernel(drawn("x"), torch_named("mish")),
    "mish_backward": Kernel(drawn("grad", "x"), torch_mish_backward),
    "hardswish": Kernel(drawn("x"), torch_named("hardswish")),
    "hardswish_backward": Kernel(drawn("grad", "x"), torch_hardswish_backward),
    "prelu": Kernel(partial(draw_prelu, backward=False), torch_prelu),
    "prelu_backward": Kernel(partial(draw_prelu, backward=True), torch_prelu_backward),
    "rrelu": Kernel(drawn("x", **SLOPES), torch_rrelu),
    "rrelu_backward": Kernel(drawn("grad", "slopes"), torch_rrelu_backward),
    "dropout": Kernel(drawn("x", **MASKS), torch_dropout),
    "dropout_backward": Kernel(drawn("grad", **MASKS), torch_dropout_backward),
    "maxout": Kernel(partial(draw_maxout, backward=False), torch_maxout, numpy_maxout),
    "maxout_backward": Kernel(partial(draw_maxout, backward=True), torch_maxout_backward),
    "softmax": Kernel(drawn_softmax("x"), torch_softmax("softmax"), weight=2),
    "softmax_backward": Kernel(
        drawn_softmax("grad", "y"), torch_softmax_backward("_softmax_backward_data", "grad_input"), weight=2
    ),
    "log_softmax": Kernel(drawn_softmax("x"), torch_softmax("log_softmax")),
    "log_softmax_backward": Kernel(
        drawn_softmax("grad", "y"), torch_softmax_backward("_log_softmax_backward_data", "out")
    ),
}
