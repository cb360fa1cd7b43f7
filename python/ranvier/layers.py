"""Layers: small dataclasses whose fields are their whole configuration.

A layer holds no parameters; the network that it is put into does. A layer of your own is any object with
``forward(x)`` and ``backward(grad)`` in NumPy, or with parameters a `ranvier.CustomLayer`; it may stand anywhere in a
network.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from ranvier.checks import boolean, integer, integers, nonnegative, positive, real, set_fields
from ranvier.settings import Settings
from ranvier.types import Array, Pair

if TYPE_CHECKING:
    from ranvier.initializers import Initializer

__all__ = [
    "ELU",
    "GELU",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "Dropout",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool2d",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool2d",
    "Maxout",
    "PReLU",
    "Parallel",
    "PlainLayer",
    "RReLU",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomShift",
    "ReLU",
    "Residual",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Step",
    "Tanh",
    "checked_initializer",
    "checked_result",
    "layer_spec",
    "require_layers",
]


@runtime_checkable
class PlainLayer(Protocol):
    """What a layer of your own must offer if it has no parameters that an optimizer would train.

    With parameters, or to be told whether it trains, it derives from `ranvier.CustomLayer`.
    """

    def forward(self, x: Array) -> Array:
        """Return the output for a batch of inputs, (n, ...), and keep what `backward` needs."""

    def backward(self, grad: Array) -> Array:
        """Return the gradient to the last input, given that to the last output."""


def _both(value: Pair) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


Spec = tuple[str, dict[str, Any]]


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


def _start(
    rng: np.random.Generator,
    init: Initializer | None,
    shape: tuple[int, ...],
    bias: bool,
    fan_in: int,
    fan_out: int,
) -> dict[str, np.ndarray[Any, Any]]:
    """Draw a weight of that shape, and a bias for each output if there are biases."""
    if init is None:
        # He et al. 2015 with a = sqrt(5), PyTorch's start: uniform in +-1 / sqrt(fan_in).
        bound = 1 / math.sqrt(fan_in)
        values = {"weight": rng.uniform(-bound, bound, shape)}
        return values | {"bias": rng.uniform(-bound, bound, shape[0])} if bias else values
    weight = np.asarray(init.draw(rng, shape, fan_in, fan_out))
    if weight.shape != shape:
        raise ValueError(f"init: expected {type(init).__name__}.draw to give shape {shape}, got {weight.shape}")
    return {"weight": weight, "bias": np.zeros(shape[0])} if bias else {"weight": weight}


@dataclass(repr=False, eq=False)
class Linear(Layer):
    """Fully connected layer, ``x @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of the last axis of input and output. ``weight`` is (out_features, in_features).
    bias : bool
        Whether there is a ``bias`` of (out_features,).
    l1, l2 : float
        Penalties on the weight: training adds ``l1 * sum(|weight|) + l2 / 2 * sum(weight**2)`` to the loss that it
        makes small, though not to the loss that it reports.
    init : Initializer, optional
        Of the weight; the bias then starts at 0. Without one they start as in PyTorch, or as the network says.
    max_norm : float, optional
        Above 0: after each update, the weights that lead to an output are scaled to this Euclidean norm where theirs is
        larger (Srivastava et al. 2014).
    """

    in_features: int
    out_features: int
    bias: bool = True
    l1: float = 0.0
    l2: float = 0.0
    init: Initializer | None = None
    max_norm: float | None = None
    kind: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        set_fields(
            self,
            in_features=integer(self.in_features, "in_features", 1),
            out_features=integer(self.out_features, "out_features", 1),
            bias=boolean(self.bias, "bias"),
            l1=nonnegative(self.l1, "l1"),
            l2=nonnegative(self.l2, "l2"),
            init=checked_initializer(self.init),
            max_norm=None if self.max_norm is None else positive(self.max_norm, "max_norm"),
        )

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it."""
        kind, fields = super().spec()
        return kind, fields | {"max_norm": self.max_norm or 0.0}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Draw from U(-1/sqrt(in_features), 1/sqrt(in_features)), or by the initializer."""
        shape = (self.out_features, self.in_features)
        return _start(rng, self.init, shape, self.bias, self.in_features, self.out_features)


@dataclass(repr=False, eq=False)
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
    l1, l2 : float
        Penalties on the weight, as in `Linear`.
    init : Initializer, optional
        As in `Linear`. ``fan_in`` is in_channels / groups, and ``fan_out`` out_channels / groups, times the
        kernel's area; PyTorch does not divide the latter.
    max_norm : float, optional
        As in `Linear`.
    """

    in_channels: int
    out_channels: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True
    l1: float = 0.0
    l2: float = 0.0
    init: Initializer | None = None
    max_norm: float | None = None
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
            l1=nonnegative(self.l1, "l1"),
            l2=nonnegative(self.l2, "l2"),
            init=checked_initializer(self.init),
            max_norm=None if self.max_norm is None else positive(self.max_norm, "max_norm"),
        )
        for field in ("in_channels", "out_channels"):
            if getattr(self, field) % self.groups:
                raise ValueError(f"groups: expected a divisor of {field} = {getattr(self, field)}, got {self.groups}")

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it, with all pairs written out."""
        kind, fields = super().spec()
        pairs = ("kernel_size", "stride", "padding", "dilation")
        return kind, fields | {name: _both(fields[name]) for name in pairs} | {"max_norm": self.max_norm or 0.0}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Draw from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), or by the initializer."""
        height, width = _both(self.kernel_size)
        area = height * width
        inputs, outputs = self.in_channels // self.groups, self.out_channels // self.groups
        shape = (self.out_channels, inputs, height, width)
        return _start(rng, self.init, shape, self.bias, inputs * area, outputs * area)


@dataclass(repr=False, eq=False)
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

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it, with all pairs written out."""
        stride = self.kernel_size if self.stride is None else self.stride
        return self.kind, {
            "kernel_size": _both(self.kernel_size),
            "stride": _both(stride),
            "padding": _both(self.padding),
        }


@dataclass(repr=False, eq=False)
class MaxPool2d(_Pool2d):
    """Maximum over windows of (channels, height, width) samples.

    Parameters
    ----------
    kernel_size, stride, padding : int or pair of ints
        The stride is the kernel size unless given. The padding, of minus infinity, is at most half the kernel.
    """

    kind: ClassVar[str] = "max_pool2d"


@dataclass(repr=False, eq=False)
class AvgPool2d(_Pool2d):
    """Mean over windows of (channels, height, width) samples; the padding counts as zeros.

    Parameters
    ----------
    kernel_size, stride, padding : int or pair of ints
        The stride is the kernel size unless given. The padding is at most half the kernel.
    """

    kind: ClassVar[str] = "avg_pool2d"


@dataclass(repr=False, eq=False)
class GlobalAvgPool2d(Layer):
    """Mean of each channel: (channels, height, width) samples become (channels,)."""

    kind: ClassVar[str] = "global_avg_pool2d"


@dataclass(repr=False, eq=False)
class _BatchNorm(Layer):
    num_features: int
    epsilon: float = 1e-5
    momentum: float = 0.1
    affine: bool = True

    def __post_init__(self) -> None:
        set_fields(
            self,
            num_features=integer(self.num_features, "num_features", 1),
            epsilon=positive(self.epsilon, "epsilon"),
            momentum=real(self.momentum, "momentum"),
            affine=boolean(self.affine, "affine"),
        )
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum: expected a number from 0 to 1, got {self.momentum}")

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Start with weight 1 and bias 0."""
        return {"weight": np.ones(self.num_features), "bias": np.zeros(self.num_features)} if self.affine else {}


@dataclass(repr=False, eq=False)
class BatchNorm1d(_BatchNorm):
    """Normalization of each feature of (features,) samples over the batch.

    y = (x - mean) / sqrt(variance + epsilon) * weight + bias (Ioffe and Szegedy 2015). In training mean and
    variance are the batch's; otherwise they are running ones, which each batch moves by ``momentum``.

    Parameters
    ----------
    num_features : int
        ``weight``, ``bias``, ``running_mean`` and ``running_var`` are of (num_features,); the latter two are
        observed, not trained.
    epsilon : float
        Above 0.
    momentum : float
        The share of the present batch in the running values, from 0 to 1.
    affine : bool
        Whether there are ``weight`` and ``bias``.
    """

    kind: ClassVar[str] = "batch_norm1d"


@dataclass(repr=False, eq=False)
class BatchNorm2d(_BatchNorm):
    """Normalization of each channel of (channels, height, width) samples over batch and pixels.

    As `BatchNorm1d`, with a mean and a variance for each channel.

    Parameters
    ----------
    num_features : int
        The number of channels.
    epsilon, momentum, affine
        As in `BatchNorm1d`.
    """

    kind: ClassVar[str] = "batch_norm2d"


@dataclass(repr=False, eq=False)
class LayerNorm(Layer):
    """Normalization of each sample over its last axes (Ba, Kiros and Hinton 2016).

    y = (x - mean) / sqrt(variance + epsilon) * weight + bias.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The shape of the last axes of a sample, which ``weight`` and ``bias`` have, too.
    epsilon : float
        Above 0.
    affine : bool
        Whether there are ``weight`` and ``bias``.
    """

    normalized_shape: int | tuple[int, ...]
    epsilon: float = 1e-5
    affine: bool = True
    kind: ClassVar[str] = "layer_norm"

    def __post_init__(self) -> None:
        shape = self.normalized_shape
        sizes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
        if not sizes:
            raise ValueError("normalized_shape: expected at least one size, got ()")
        sizes = tuple(integer(size, "normalized_shape", 1) for size in sizes)
        set_fields(
            self,
            normalized_shape=sizes if isinstance(shape, tuple | list) else sizes[0],
            epsilon=positive(self.epsilon, "epsilon"),
            affine=boolean(self.affine, "affine"),
        )

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.normalized_shape if isinstance(self.normalized_shape, tuple) else (self.normalized_shape,)

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it, with the shape written out."""
        return self.kind, self.config() | {"normalized_shape": self._shape}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Start with weight 1 and bias 0."""
        return {"weight": np.ones(self._shape), "bias": np.zeros(self._shape)} if self.affine else {}


@dataclass(repr=False, eq=False)
class Residual(Layer):
    """layers(x) + shortcut(x), the residual block (He et al. 2016).

    Parameters
    ----------
    layers : sequence of layers
        One behind the other.
    shortcut : sequence of layers
        Those of the other path; x itself if there are none. Both must give samples of one shape.
    """

    layers: tuple[Layer | PlainLayer, ...]
    shortcut: tuple[Layer | PlainLayer, ...] = ()
    kind: ClassVar[str] = "residual"

    def __post_init__(self) -> None:
        set_fields(
            self,
            layers=require_layers(self.layers, "layers"),
            shortcut=require_layers(self.shortcut, "shortcut"),
        )

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it."""
        return self.kind, {name: [layer_spec(layer) for layer in path] for name, path in self.inner().items()}

    def inner(self) -> dict[str, tuple[Layer | PlainLayer, ...]]:
        """Return both paths."""
        return {"layers": self.layers, "shortcut": self.shortcut}


@dataclass(repr=False, eq=False)
class Parallel(Layer):
    """Branches that all get x; their outputs stand one behind the other along a sample's first axis.

    Parameters
    ----------
    branches : sequence of sequences of layers
        A branch without layers gives x itself. Their outputs may differ in the first size of a sample only
        (the channels, or the features).
    """

    branches: tuple[tuple[Layer | PlainLayer, ...], ...]
    kind: ClassVar[str] = "parallel"

    def __post_init__(self) -> None:
        if isinstance(self.branches, Layer) or not isinstance(self.branches, Sequence) or not self.branches:
            raise ValueError(f"branches: expected at least one sequence of layers, got {self.branches!r}")
        set_fields(self, branches=tuple(require_layers(branch, "branches") for branch in self.branches))

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it."""
        return self.kind, {"branches": [[layer_spec(layer) for layer in branch] for branch in self.branches]}

    def inner(self) -> dict[str, tuple[Layer | PlainLayer, ...]]:
        """Return the branches."""
        return {f"branches.{position}": branch for position, branch in enumerate(self.branches)}


@dataclass(repr=False, eq=False)
class Flatten(Layer):
    """Each sample as one vector."""

    kind: ClassVar[str] = "flatten"


@dataclass(repr=False, eq=False)
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


@dataclass(repr=False, eq=False)
class GaussianNoise(Layer):
    """In training, normal noise added to each number of a sample; the identity otherwise.

    Parameters
    ----------
    std : float
        The noise's standard deviation, from 0.
    """

    std: float
    kind: ClassVar[str] = "gaussian_noise"

    def __post_init__(self) -> None:
        set_fields(self, std=nonnegative(self.std, "std"))


@dataclass(repr=False, eq=False)
class RandomShift(Layer):
    """In training, a shift of each (channels, height, width) sample; the identity otherwise.

    Parameters
    ----------
    pixels : int
        Each sample moves by whole pixels, up to so many up or down and left or right, all equally likely. Zeros
        move in.
    """

    pixels: int
    kind: ClassVar[str] = "random_shift"

    def __post_init__(self) -> None:
        set_fields(self, pixels=integer(self.pixels, "pixels", 0))


@dataclass(repr=False, eq=False)
class RandomRotation(Layer):
    """In training, a rotation of each (channels, height, width) sample; the identity otherwise.

    Parameters
    ----------
    degrees : float
        Each sample turns about its centre by an angle that is uniform from -degrees to degrees. It is
        interpolated bilinearly, and zero outside.
    """

    degrees: float
    kind: ClassVar[str] = "random_rotation"

    def __post_init__(self) -> None:
        set_fields(self, degrees=nonnegative(self.degrees, "degrees"))


@dataclass(repr=False, eq=False)
class RandomHorizontalFlip(Layer):
    """In training, (channels, height, width) samples mirrored left to right at random; the identity otherwise.

    Parameters
    ----------
    p : float
        The probability that a sample is mirrored, from 0 to 1.
    """

    p: float = 0.5
    kind: ClassVar[str] = "random_horizontal_flip"

    def __post_init__(self) -> None:
        set_fields(self, p=real(self.p, "p"))
        if not 0 <= self.p <= 1:
            raise ValueError(f"p: expected a probability from 0 to 1, got {self.p}")


@dataclass(repr=False, eq=False)
class RandomCrop(Layer):
    """A window of each (channels, height, width) sample: a random one in training, the middle one otherwise.

    Parameters
    ----------
    size : int or pair of ints
        Height and width of the window, and so of the output.
    padding : int or pair of ints
        Zeros added above and below, and left and right, before the window is cut. It must fit in.
    """

    size: Pair
    padding: Pair = 0
    kind: ClassVar[str] = "random_crop"

    def __post_init__(self) -> None:
        set_fields(self, size=integers(self.size, "size", 1), padding=integers(self.padding, "padding", 0))

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it, with all pairs written out."""
        return self.kind, {"size": _both(self.size), "padding": _both(self.padding)}


@dataclass(repr=False, eq=False)
class Step(Layer):
    """0 for x <= 0, else 1. Its derivative is 0, so nothing before it learns."""

    kind: ClassVar[str] = "step"


@dataclass(repr=False, eq=False)
class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    kind: ClassVar[str] = "sigmoid"


@dataclass(repr=False, eq=False)
class Tanh(Layer):
    """Hyperbolic tangent."""

    kind: ClassVar[str] = "tanh"


@dataclass(repr=False, eq=False)
class ReLU(Layer):
    """max(x, 0)."""

    kind: ClassVar[str] = "relu"


@dataclass(repr=False, eq=False)
class LeakyReLU(Layer):
    """Identity above zero, ``negative_slope * x`` below."""

    negative_slope: float = 0.01
    kind: ClassVar[str] = "leaky_relu"

    def __post_init__(self) -> None:
        set_fields(self, negative_slope=real(self.negative_slope, "negative_slope"))


@dataclass(repr=False, eq=False)
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


@dataclass(repr=False, eq=False)
class RReLU(Layer):
    """Identity above zero; below, a slope uniform in [lower, upper) in training, their mean otherwise."""

    lower: float = 1 / 8
    upper: float = 1 / 3
    kind: ClassVar[str] = "rrelu"

    def __post_init__(self) -> None:
        set_fields(self, lower=real(self.lower, "lower"), upper=real(self.upper, "upper"))
        if self.lower > self.upper:
            raise ValueError(f"lower: expected at most upper = {self.upper}, got {self.lower}")


@dataclass(repr=False, eq=False)
class ELU(Layer):
    """Identity above zero, ``alpha * (exp(x) - 1)`` below."""

    alpha: float = 1.0
    kind: ClassVar[str] = "elu"

    def __post_init__(self) -> None:
        set_fields(self, alpha=real(self.alpha, "alpha"))


@dataclass(repr=False, eq=False)
class Softplus(Layer):
    """log(1 + exp(x))."""

    kind: ClassVar[str] = "softplus"


@dataclass(repr=False, eq=False)
class GELU(Layer):
    """``x`` times the standard normal distribution function at ``x``, exactly."""

    kind: ClassVar[str] = "gelu"


@dataclass(repr=False, eq=False)
class Maxout(Layer):
    """Maximum of each ``pieces`` neighbouring channels (Goodfellow et al. 2013)."""

    pieces: int
    kind: ClassVar[str] = "maxout"

    def __post_init__(self) -> None:
        set_fields(self, pieces=integer(self.pieces, "pieces", 1))


@dataclass(repr=False, eq=False)
class Softmax(Layer):
    """exp(x) / sum(exp(x)) over the first axis of a sample."""

    kind: ClassVar[str] = "softmax"


@dataclass(repr=False, eq=False)
class LogSoftmax(Layer):
    """Logarithm of `Softmax`."""

    kind: ClassVar[str] = "log_softmax"


def layers_of_sizes(sizes: Sequence[Any]) -> list[Layer]:
    """Return the layers of the notes' network.

    Raises
    ------
    ValueError
        If there are fewer than two sizes, or one is below 1.
    """
    if len(sizes) < 2 or any(isinstance(size, bool) or size < 1 for size in sizes):
        raise ValueError(f"layers: expected at least two sizes, each at least 1, got {list(sizes)}")
    layers: list[Layer] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [Linear(inputs, outputs), Sigmoid()]
    return layers


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
        if isinstance(layer, type) or not isinstance(layer, Layer | PlainLayer):
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
