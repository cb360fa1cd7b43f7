"""Layers: small frozen dataclasses whose fields are their whole configuration.

A layer holds no parameters; the network that it is put into does. A layer of your own is any object with
``forward(x)`` and ``backward(grad)`` in NumPy; it may stand anywhere in a network.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from ranvier.checks import boolean, integer, integers, real, set_fields
from ranvier.types import Array, Pair

__all__ = [
    "ELU",
    "GELU",
    "AvgPool2d",
    "Conv2d",
    "CustomLayer",
    "Dropout",
    "Flatten",
    "Layer",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool2d",
    "Maxout",
    "PReLU",
    "RReLU",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Step",
    "Tanh",
]


@runtime_checkable
class CustomLayer(Protocol):
    """What a layer of your own must offer. It has no parameters that an optimizer would train."""

    def forward(self, x: Array) -> Array:
        """Return the output for a batch of inputs, (n, ...), and keep what `backward` needs."""

    def backward(self, grad: Array) -> Array:
        """Return the gradient to the last input, given that to the last output."""


def _both(value: Pair) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


@dataclass(frozen=True)
class Layer:
    """A layer of the library."""

    kind: ClassVar[str]

    def spec(self) -> tuple[str, dict[str, Any]]:
        """Return the layer as the compiled core reads it: its kind and its fields."""
        return self.kind, self.config()

    def config(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Draw the parameters' starting values, by name, in float64."""
        return {}


def _uniform(rng: np.random.Generator, fan_in: int, **shapes: tuple[int, ...]) -> dict[str, Any]:
    # He et al. 2015 with a = sqrt(5), PyTorch's start: uniform in +-1 / sqrt(fan_in).
    bound = 1 / math.sqrt(fan_in)
    return {name: rng.uniform(-bound, bound, shape) for name, shape in shapes.items()}


@dataclass(frozen=True)
class Linear(Layer):
    """Fully connected layer, ``x @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of the last axis of input and output. ``weight`` is (out_features, in_features).
    bias : bool
        Whether there is a ``bias`` of (out_features,).
    """

    in_features: int
    out_features: int
    bias: bool = True
    kind: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        set_fields(
            self,
            in_features=integer(self.in_features, "in_features", 1),
            out_features=integer(self.out_features, "out_features", 1),
            bias=boolean(self.bias, "bias"),
        )

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Draw from U(-1/sqrt(in_features), 1/sqrt(in_features))."""
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.out_features, self.in_features)}
        if self.bias:
            shapes["bias"] = (self.out_features,)
        return _uniform(rng, self.in_features, **shapes)


@dataclass(frozen=True)
class Conv2d(Layer):
    """Two-dimensional convolution (cross-correlation) of (in_channels, height, width) samples.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, dilation : int or pair of ints
        For height and width; the padding is of zeros.
    groups : int
        Divides both channel counts. ``weight`` is (out_channels, in_channels / groups, kernel height, kernel width).
    bias : bool
        Whether there is a ``bias`` of (out_channels,).
    """

    in_channels: int
    out_channels: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True
    kind: ClassVar[str] = "conv2d"

    def __post_init__(self) -> None:
        set_fields(
            self,
            in_channels=integer(self.in_channels, "in_channels", 1),
            out_channels=integer(self.out_channels, "out_channels", 1),
            kernel_size=integers(self.kernel_size, "kernel_size", 1),
            stride=integers(self.stride, "stride", 1),
            padding=integers(self.padding, "padding", 0),
            dilation=integers(self.dilation, "dilation", 1),
            groups=integer(self.groups, "groups", 1),
            bias=boolean(self.bias, "bias"),
        )
        for field in ("in_channels", "out_channels"):
            if getattr(self, field) % self.groups:
                raise ValueError(f"groups: expected a divisor of {field} = {getattr(self, field)}, got {self.groups}")

    def spec(self) -> tuple[str, dict[str, Any]]:
        """Return the layer as the compiled core reads it, with all pairs written out."""
        fields = self.config()
        pairs = ("kernel_size", "stride", "padding", "dilation")
        return self.kind, fields | {name: _both(fields[name]) for name in pairs}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Draw from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), fan_in = in_channels / groups * kernel area."""
        height, width = _both(self.kernel_size)
        depth = self.in_channels // self.groups
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.out_channels, depth, height, width)}
        if self.bias:
            shapes["bias"] = (self.out_channels,)
        return _uniform(rng, depth * height * width, **shapes)


@dataclass(frozen=True)
class _Pool2d(Layer):
    kernel_size: Pair
    stride: Pair | None = None
    padding: Pair = 0

    def __post_init__(self) -> None:
        set_fields(
            self,
            kernel_size=integers(self.kernel_size, "kernel_size", 1),
            stride=None if self.stride is None else integers(self.stride, "stride", 1),
            padding=integers(self.padding, "padding", 0),
        )
        kernel, padding = _both(self.kernel_size), _both(self.padding)
        if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
            raise ValueError(f"padding: expected at most half the kernel size {kernel}, got {padding}")

    def spec(self) -> tuple[str, dict[str, Any]]:
        """Return the layer as the compiled core reads it, with all pairs written out."""
        stride = self.kernel_size if self.stride is None else self.stride
        return self.kind, {
            "kernel_size": _both(self.kernel_size),
            "stride": _both(stride),
            "padding": _both(self.padding),
        }


@dataclass(frozen=True)
class MaxPool2d(_Pool2d):
    """Maximum over windows of (channels, height, width) samples.

    Parameters
    ----------
    kernel_size, stride, padding : int or pair of ints
        The stride is the kernel size unless given. The padding, of minus infinity, is at most half the kernel.
    """

    kind: ClassVar[str] = "max_pool2d"


@dataclass(frozen=True)
class AvgPool2d(_Pool2d):
    """Mean over windows of (channels, height, width) samples; the padding counts as zeros.

    Parameters
    ----------
    kernel_size, stride, padding : int or pair of ints
        The stride is the kernel size unless given. The padding is at most half the kernel.
    """

    kind: ClassVar[str] = "avg_pool2d"


@dataclass(frozen=True)
class Flatten(Layer):
    """Each sample as one vector."""

    kind: ClassVar[str] = "flatten"


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, zero with probability p and else division by 1 - p; the identity otherwise.

    Parameters
    ----------
    p : float
        0 <= p < 1.
    """

    p: float = 0.5
    kind: ClassVar[str] = "dropout"

    def __post_init__(self) -> None:
        set_fields(self, p=real(self.p, "p"))
        if not 0 <= self.p < 1:
            raise ValueError(f"p: expected a probability from 0 to below 1, got {self.p}")


@dataclass(frozen=True)
class Step(Layer):
    """0 for x <= 0, else 1. Its derivative is 0, so nothing before it learns."""

    kind: ClassVar[str] = "step"


@dataclass(frozen=True)
class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    kind: ClassVar[str] = "sigmoid"


@dataclass(frozen=True)
class Tanh(Layer):
    """Hyperbolic tangent."""

    kind: ClassVar[str] = "tanh"


@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0)."""

    kind: ClassVar[str] = "relu"


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """Identity above zero, ``negative_slope * x`` below."""

    negative_slope: float = 0.01
    kind: ClassVar[str] = "leaky_relu"

    def __post_init__(self) -> None:
        set_fields(self, negative_slope=real(self.negative_slope, "negative_slope"))


@dataclass(frozen=True)
class PReLU(Layer):
    """Identity above zero, ``weight * x`` below, with a trained weight (He et al. 2015).

    Parameters
    ----------
    num_parameters : int
        1, or one for each channel. They start at 0.25.
    """

    num_parameters: int = 1
    kind: ClassVar[str] = "prelu"

    def __post_init__(self) -> None:
        set_fields(self, num_parameters=integer(self.num_parameters, "num_parameters", 1))

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Start at 0.25."""
        return {"weight": np.full(self.num_parameters, 0.25)}


@dataclass(frozen=True)
class RReLU(Layer):
    """Identity above zero; below, a slope uniform in [lower, upper) in training, their mean otherwise."""

    lower: float = 1 / 8
    upper: float = 1 / 3
    kind: ClassVar[str] = "rrelu"

    def __post_init__(self) -> None:
        set_fields(self, lower=real(self.lower, "lower"), upper=real(self.upper, "upper"))
        if self.lower > self.upper:
            raise ValueError(f"lower: expected at most upper = {self.upper}, got {self.lower}")


@dataclass(frozen=True)
class ELU(Layer):
    """Identity above zero, ``alpha * (exp(x) - 1)`` below."""

    alpha: float = 1.0
    kind: ClassVar[str] = "elu"

    def __post_init__(self) -> None:
        set_fields(self, alpha=real(self.alpha, "alpha"))


@dataclass(frozen=True)
class Softplus(Layer):
    """log(1 + exp(x))."""

    kind: ClassVar[str] = "softplus"


@dataclass(frozen=True)
class GELU(Layer):
    """X times the standard normal distribution function at x, exactly."""

    kind: ClassVar[str] = "gelu"


@dataclass(frozen=True)
class Maxout(Layer):
    """Maximum of each ``pieces`` neighbouring channels (Goodfellow et al. 2013)."""

    pieces: int
    kind: ClassVar[str] = "maxout"

    def __post_init__(self) -> None:
        set_fields(self, pieces=integer(self.pieces, "pieces", 1))


@dataclass(frozen=True)
class Softmax(Layer):
    """exp(x) / sum(exp(x)) over the first axis of a sample."""

    kind: ClassVar[str] = "softmax"


@dataclass(frozen=True)
class LogSoftmax(Layer):
    """Logarithm of `Softmax`."""

    kind: ClassVar[str] = "log_softmax"
