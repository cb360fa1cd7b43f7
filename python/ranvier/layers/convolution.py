"""Convolutions and transposed ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ranvier.checks import boolean, integer, integers, nonnegative, positive, set_fields
from ranvier.layers.base import Layer, Spec, both, both_of, checked_initializer, starting_values
from ranvier.types import Pair

if TYPE_CHECKING:
    from ranvier.initializers import Initializer


def _checked_fields(layer: _Conv | ConvTranspose2d) -> dict[str, Any]:
    """Return the fields that both kinds of convolution have, but the padding.

    Raises
    ------
    TypeError, ValueError
        If one is unfit, or the groups do not divide the channels.
    """
    checked: Any = integers if layer.axes == 2 else integer
    fields: dict[str, Any] = {
        "in_channels": integer(layer.in_channels, "in_channels", 1),
        "out_channels": integer(layer.out_channels, "out_channels", 1),
        "kernel_size": checked(layer.kernel_size, "kernel_size", 1),
        "stride": checked(layer.stride, "stride", 1),
        "dilation": checked(layer.dilation, "dilation", 1),
        "groups": integer(layer.groups, "groups", 1),
        "bias": boolean(layer.bias, "bias"),
        "init": checked_initializer(layer.init),
    }
    for name in ("in_channels", "out_channels"):
        if fields[name] % fields["groups"]:
            raise ValueError(f"groups: expected a divisor of {name} = {fields[name]}, got {fields['groups']}")
    return fields


@dataclass(repr=False, eq=False)
class _Conv(Layer):
    in_channels: int
    out_channels: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Pair | str = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True
    l1: float = 0.0
    l2: float = 0.0
    init: Initializer | None = None
    max_norm: float | None = None
    axes: ClassVar[int] = 2

    def __post_init__(self) -> None:
        set_fields(
            self,
            **_checked_fields(self),
            padding=self._checked_padding(),
            l1=nonnegative(self.l1, "l1"),
            l2=nonnegative(self.l2, "l2"),
            max_norm=None if self.max_norm is None else positive(self.max_norm, "max_norm"),
        )

    def _checked_padding(self) -> Any:
        if not isinstance(self.padding, str):
            checked: Any = integers if self.axes == 2 else integer
            return checked(self.padding, "padding", 0)
        if self.padding not in ("same", "valid"):
            raise ValueError(f"padding: expected numbers, 'same' or 'valid', got {self.padding!r}")
        if self.padding == "same" and both(self.stride) != (1, 1):
            raise ValueError(f"padding: expected a stride of 1 for 'same', got a stride of {self.stride}")
        return self.padding

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it, with all pairs written out."""
        kind, fields = super().spec()
        (top, bottom), (left, right) = self._zeros()
        return kind, fields | {
            "kernel_size": both_of(self.kernel_size, self.axes, 1),
            "stride": both_of(self.stride, self.axes, 1),
            "dilation": both_of(self.dilation, self.axes, 1),
            "padding": (top, left),
            "extra_padding": (bottom - top, right - left),
            "max_norm": self.max_norm or 0.0,
        }

    def _zeros(self) -> tuple[tuple[int, int], ...]:
        """Return the padding above and below, and to the left and right."""
        if self.padding == "valid":
            return (0, 0), (0, 0)
        if isinstance(self.padding, str):
            kernel = both_of(self.kernel_size, self.axes, 1)
            totals = [d * (k - 1) for d, k in zip(both(self.dilation), kernel, strict=True)]
            return tuple((total // 2, total - total // 2) for total in totals)
        return tuple((size, size) for size in both_of(self.padding, self.axes, 0))

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Draw from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), or by the initializer."""
        kernel = both_of(self.kernel_size, self.axes, 1)[2 - self.axes :]
        area = math.prod(kernel)
        inputs, outputs = self.in_channels // self.groups, self.out_channels // self.groups
        shape = (self.out_channels, inputs, *kernel)
        biases = self.out_channels if self.bias else 0
        return starting_values(rng, self.init, shape, biases, inputs * area, outputs * area)


@dataclass(repr=False, eq=False)
class Conv2d(_Conv):
    """Two-dimensional convolution (cross-correlation) of (in_channels, height, width) samples.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, dilation : int or pair of ints
        For height and width.
    padding : int or pair of ints, "same" or "valid"
        Zeros above and below, and to the left and right. "valid" is 0. "same", with a stride of 1, adds as many as
        outputs of the input's size need; an odd one goes below or to the right.
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

    kind: ClassVar[str] = "conv2d"


@dataclass(repr=False, eq=False)
class Conv1d(_Conv):
    """One-dimensional convolution (cross-correlation) of (in_channels, length) samples.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, dilation : int
    padding : int, "same" or "valid"
        As in `Conv2d`.
    groups : int
        Divides both channel counts. ``weight`` is (out_channels, in_channels / groups, kernel_size).
    bias, l1, l2, init, max_norm
        As in `Conv2d`.
    """

    kernel_size: int
    stride: int = 1
    padding: int | str = 0
    dilation: int = 1
    axes: ClassVar[int] = 1
    kind: ClassVar[str] = "conv1d"


@dataclass(repr=False, eq=False)
class ConvTranspose2d(Layer):
    """Transposed two-dimensional convolution of (in_channels, height, width) samples.

    What a `Conv2d` from out_channels to in_channels with this weight computes as the gradient to its input, plus the
    bias.
    Outputs have (height - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + output_padding + 1 rows.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding : int or pair of ints
        For height and width. The padding is that of the convolution: it takes rows and columns away here.
    output_padding : int or pair of ints
        More rows and columns at the end, fewer than the stride: of the sizes that the convolution maps to the sample's,
        it chooses one.
    groups : int
        Divides both channel counts. ``weight`` is (in_channels, out_channels / groups, kernel height, kernel width).
    bias : bool
        Whether there is a ``bias`` of (out_channels,).
    dilation : int or pair of ints
        Distance of the kernel's elements.
    init : Initializer, optional
        As in `Linear`. ``fan_in`` is out_channels / groups, and ``fan_out`` in_channels / groups, times the kernel's
        area: as in PyTorch, those of the convolution.
    """

    in_channels: int
    out_channels: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Pair = 0
    output_padding: Pair = 0
    groups: int = 1
    bias: bool = True
    dilation: Pair = 1
    init: Initializer | None = None
    axes: ClassVar[int] = 2
    kind: ClassVar[str] = "conv_transpose2d"

    def __post_init__(self) -> None:
        set_fields(
            self,
            **_checked_fields(self),
            padding=integers(self.padding, "padding", 0),
            output_padding=integers(self.output_padding, "output_padding", 0),
        )
        for more, stride in zip(both(self.output_padding), both(self.stride), strict=True):
            if more >= stride:
                raise ValueError(
                    f"output_padding: expected less than the stride {self.stride}, got {self.output_padding}"
                )

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it, with all pairs written out."""
        kind, fields = super().spec()
        pairs = ("kernel_size", "stride", "padding", "output_padding", "dilation")
        return kind, fields | {name: both(fields[name]) for name in pairs}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Draw from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), or by the initializer."""
        height, width = both(self.kernel_size)
        area = height * width
        shape = (self.in_channels, self.out_channels // self.groups, height, width)
        biases = self.out_channels if self.bias else 0
        return starting_values(rng, self.init, shape, biases, shape[1] * area, self.in_channels // self.groups * area)
