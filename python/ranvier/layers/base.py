"""What all layers have in common: the base class, starting values, and how the compiled core reads a layer."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from ranvier.checks import require_instance
from ranvier.layers.symbolic import Value, call
from ranvier.settings import Settings
from ranvier.types import Array, Pair

if TYPE_CHECKING:
    from ranvier.initializers import Initializer

Spec = tuple[str, dict[str, Any]]


@runtime_checkable
class PlainLayer(Protocol):
    """What a layer of your own must offer if it has no parameters that an optimizer would train.

    With parameters, or to be told whether it trains, it derives from `ranvier.CustomLayer`.
    """

    def forward(self, x: Array) -> Array:
        """Return the output for a batch of inputs, (n, ...), and keep what `backward` needs."""

    def backward(self, grad: Array) -> Array:
        """Return the gradient to the last input, given that to the last output."""


def both(value: Pair) -> tuple[int, int]:
    """Return the values for height and width."""
    return value if isinstance(value, tuple) else (value, value)


def both_of(value: Pair, axes: int, height: int) -> tuple[int, int]:
    """Return the values for height and width; lines, of one axis, are images with this value for their height."""
    return both(value) if axes == 2 or isinstance(value, tuple) else (height, value)


@dataclass(repr=False, eq=False)
class Layer(Settings):
    """A layer of the library."""

    kind: ClassVar[str]

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it: its kind and its fields, but for the initializer."""
        return self.kind, {name: value for name, value in self.config().items() if name != "init"}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Draw the parameters' starting values, by name, in float64."""
        return {}

    def inner(self) -> dict[str, tuple[Layer | PlainLayer, ...]]:
        """Return the branches that the layer holds, by their names in paths of parameters."""
        return {}

    def __call__(self, x: Value | Sequence[Value]) -> Value:
        """Return what the layer gives for a symbolic value, or for a list of them if it joins several.

        It begins with a `ranvier.Input`, and what comes in the end makes a ``Network(inputs=..., outputs=...)``.

        Raises
        ------
        TypeError
            If it is called with anything else.
        ValueError
            If it does not fit the shape of the samples.
        """
        return call(self, x)


def checked_initializer(init: object) -> Initializer | None:
    """Return an initializer or None.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if init is None:
        return None
    from ranvier.initializers import require_initializer  # here, so that `import ranvier` stays quick

    return require_initializer(init, "init")


def starting_values(
    rng: np.random.Generator,
    init: Initializer | None,
    shape: tuple[int, ...],
    biases: int,
    fan_in: int,
    fan_out: int,
) -> dict[str, np.ndarray[Any, Any]]:
    """Draw a weight of that shape, and so many biases."""
    if init is None:
        # He et al. 2015 with a = sqrt(5), PyTorch's start: uniform in +-1 / sqrt(fan_in).
        bound = 1 / math.sqrt(fan_in)
        values = {"weight": rng.uniform(-bound, bound, shape)}
        return values | {"bias": rng.uniform(-bound, bound, biases)} if biases else values
    weight = np.asarray(init.draw(rng, shape, fan_in, fan_out))
    if weight.shape != shape:
        raise ValueError(f"init: expected {type(init).__name__}.draw to give shape {shape}, got {weight.shape}")
    return {"weight": weight, "bias": np.zeros(biases)} if biases else {"weight": weight}


def require_layers(layers: object, name: str) -> tuple[Layer | PlainLayer, ...]:
    """Return a sequence of layers as a tuple.

    Raises
    ------
    TypeError
        If it is no sequence, or something in it is no layer.
    """
    if isinstance(layers, Layer) or not isinstance(layers, Sequence):
        raise TypeError(f"{name}: expected a sequence of layers, got {layers!r}")
    for position, layer in enumerate(layers):
        if isinstance(layer, Value):
            raise TypeError(
                f"{name}: expected layers, got {layer!r} at position {position}; a network of symbolic values is "
                f"Network(inputs=..., outputs=...)"
            )
        require_instance(layer, f"{name}, position {position}")
        if not isinstance(layer, Layer | PlainLayer):
            raise TypeError(f"{name}: expected layers, got {layer!r} at position {position}")
    return tuple(layers)


def layer_spec(layer: Layer | PlainLayer) -> Spec:
    """Return a layer as the compiled core reads it; one of your own becomes functions from array to array."""
    if isinstance(layer, Layer):
        return layer.spec()
    name = type(layer).__name__

    @functools.cache
    def output_shape_of(sample: tuple[int, ...]) -> tuple[int, ...]:
        result: Any = layer.forward(np.zeros((1, *sample), np.float32))
        if not isinstance(result, np.ndarray) or result.ndim < 1 or len(result) != 1:
            raise ValueError(f"{name}.forward: expected an array of 1 sample back")
        return tuple(result.shape[1:])

    def output_shape(sample: Sequence[int]) -> tuple[int, ...]:
        return output_shape_of(tuple(sample))

    def forward(x: Array, expected: Sequence[int], *_: object) -> tuple[Array, None]:
        return checked_result(layer.forward(x), tuple(expected), x.dtype, f"{name}.forward"), None

    def backward(grad: Array, expected: Sequence[int], _: None) -> tuple[Array, list[Array]]:
        return checked_result(layer.backward(grad), tuple(expected), grad.dtype, f"{name}.backward"), []

    return "python", {
        "name": name,
        "parameters": [],
        "trains_itself": True,  # for all that is known here
        "output_shape": output_shape,
        "forward": forward,
        "backward": backward,
    }


def checked_result(result: Any, expected: tuple[int, ...], dtype: Any, of: str) -> Array:
    """Return what a method of a layer of your own has given, as an array that the compiled core reads.

    Raises
    ------
    ValueError
        If it is no array of that shape.
    """
    if not isinstance(result, np.ndarray) or result.shape != expected:
        got = f"shape {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__
        raise ValueError(f"{of}: expected an array of shape {expected} back, got {got}")
    return np.ascontiguousarray(result, dtype=dtype)
