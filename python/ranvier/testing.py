"""Checks for layers of your own, to call in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ranvier.checks import integer, positive
from ranvier.custom import Context, CustomLayer
from ranvier.layers import Layer, PlainLayer
from ranvier.network import Network
from ranvier.types import Array

__all__ = ["check_layer"]

# Elements of an array whose derivatives are compared, at most.
_COMPARED = 200


def check_layer(
    layer: Layer | PlainLayer,
    input_shape: int | tuple[int, ...],
    *,
    batch_size: int = 5,
    seed: int = 0,
    step: float = 1e-5,
    tolerance: float = 1e-6,
) -> None:
    """Check that a layer's backward pass is the derivative of its forward pass, and more.

    In float64, its gradients to the input and to its parameters are compared with central differences of a random
    combination of its outputs, in training, with the same random numbers in each pass. Of a layer of
    your own it is also checked that outputs and gradients have the dtype of what comes in, that arrays with strides are
    read rightly, that neither pass writes to what it is given, and that a batch of one sample goes through.

    Parameters
    ----------
    layer : layer
        One of your own, or of the library.
    input_shape : int or tuple of int
        Of a sample.
    batch_size : int
    seed : int
        Of samples and starting values: another one checks another point.
    step, tolerance : float
        Of the differences, and how far they may be from the gradients, as a fraction of the largest gradient or of 1.

    Raises
    ------
    AssertionError
        If something is wrong; it says what.
    """
    shape = input_shape if isinstance(input_shape, tuple) else (input_shape,)
    shape = tuple(integer(size, "input_shape", 1) for size in shape)
    n = integer(batch_size, "batch_size", 1)
    name, rng = type(layer).__name__, np.random.default_rng(seed)
    if not isinstance(layer, Layer) or isinstance(layer, CustomLayer):
        for dtype in (np.float32, np.float64):
            _check_calls(layer, name, rng.standard_normal((n, *shape)).astype(dtype), rng)
    net = Network([layer], seed=seed, dtype="float64")
    x = rng.standard_normal((n, *shape))
    _require(net.predict(x[:1]).shape == (1, *net.predict(x).shape[1:]), f"{name}: a batch of one sample fails")
    _check_gradients(net, name, x, rng, positive(step, "step"), positive(tolerance, "tolerance"))


def _require(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _passes(layer: Any, dtype: Any, rng: np.random.Generator) -> Callable[[Array], tuple[Array, Any]]:
    """Return what goes forward with a batch, and returns the output and a function of its gradient that goes back."""
    if not isinstance(layer, CustomLayer):
        return lambda x: (layer.forward(x), lambda grad: (layer.backward(grad), {}))
    values = {name: np.asarray(value, dtype) for name, value in layer.initial(rng).items()}

    def forward(x: Array) -> tuple[Array, Any]:
        ctx = Context({name: value.copy() for name, value in values.items()}, True, 1, 1)
        y = layer.forward(x, ctx)

        def backward(grad: Array) -> tuple[Array, Any]:
            result = layer.backward(grad, ctx)
            for name, value in values.items():
                _require((ctx.parameters[name] == value).all(), f"{type(layer).__name__}: writes to parameter {name}")
            return result if values else (result, {})

        return y, backward

    return forward


def _check_calls(layer: Any, name: str, x: Array, rng: np.random.Generator) -> None:
    """Check what goes in and comes out of a layer's methods themselves."""
    forward = _passes(layer, x.dtype, rng)
    given = x.copy()
    y, backward = forward(given)
    _require(isinstance(y, np.ndarray) and len(y) == len(x), f"{name}.forward: expected {len(x)} samples back")
    _require(y.dtype == x.dtype, f"{name}.forward: expected {x.dtype} back, as it was given, got {y.dtype}")
    _require((given == x).all(), f"{name}.forward: writes to its input")
    y = y.copy()
    grad = rng.standard_normal(y.shape).astype(x.dtype)
    given_grad = grad.copy()
    grad_x, gradients = backward(given_grad)
    _require((given_grad == grad).all(), f"{name}.backward: writes to the gradient that it is given")
    _require(grad_x.shape == x.shape, f"{name}.backward: expected shape {x.shape} back, got {grad_x.shape}")
    for what, value in {"the input": grad_x, **gradients}.items():
        _require(
            value.dtype == x.dtype, f"{name}.backward: expected {x.dtype} for the gradient to {what}, got {value.dtype}"
        )
    strided = np.asfortranarray(np.repeat(x, 2, axis=0))[::2]
    again, backward = forward(strided)
    tolerance = 1e3 * float(np.finfo(x.dtype).eps)
    _require(np.allclose(again, y, tolerance, tolerance), f"{name}.forward: reads an array with strides otherwise")
    strided_grad = np.asfortranarray(np.repeat(grad, 2, axis=0))[::2]
    _require(
        np.allclose(backward(strided_grad)[0], grad_x, tolerance, tolerance),
        f"{name}.backward: reads an array with strides otherwise",
    )


def _check_gradients(
    net: Network, name: str, x: Array, rng: np.random.Generator, step: float, tolerance: float
) -> None:
    """Compare gradients with central differences of ``sum(output * weights)``."""

    def output() -> Array:
        net.engine.training_passes = 0  # the same random numbers
        return net.forward(x)

    y = output()
    _require(np.isfinite(y).all(), f"{name}.forward: gives numbers that are infinite or NaN")
    _require((output() == y).all(), f"{name}.forward: differs from pass to pass; draw random numbers from ctx.rng")
    weights = rng.standard_normal(y.shape)
    grad_x = net.backward(weights, input_gradient=True)
    gradients = {name: value.copy() for name, value in net.gradients().items()}
    for what, values, gradient in [
        ("the input", x, grad_x),
        *((f"parameter {key.removeprefix('0.')}", value, gradients[key]) for key, value in net.parameters().items()),
    ]:
        chosen = rng.permutation(values.size)[:_COMPARED]
        scale = max(1.0, float(np.abs(gradient).max(initial=0)))
        for position in chosen:
            index = np.unravel_index(position, values.shape) if values.ndim else ()
            start = values[index]
            values[index] = start + step
            above = output()
            values[index] = start - step
            below = output()
            values[index] = start
            numeric = float((weights * (above - below)).sum()) / (2 * step)
            _require(
                abs(numeric - gradient[index]) <= tolerance * scale,
                f"{name}.backward: the gradient to {what} at {tuple(map(int, index))} is {gradient[index]:.6g}, but "
                f"its difference quotient {numeric:.6g}",
            )
