"""Convolutions and transposed ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ranvier.checks import boolean, integer, integers, nonnegative, positive, set_fields
from ranvier.layers.base import Layer, Spec, both, checked_initializer, starting_values
from ranvier.types import Pair

if TYPE_CHECKING:
    from ranvier.initializers import Initializer


def _checked_fields(layer: Conv2d | ConvTranspose2d) -> dict[str, Any]:
    """Return the fields that both kinds of convolution have.

    Raises
    ------
    TypeError, ValueError
        If one is unfit, or the groups do not divide the channels.
    """
    fields: dict[str, Any] = {
        "in_channels": integer(layer.in_channels, "in_channels", 1),
        "out_channels": integer(layer.out_channels, "out_channels", 1),
        "kernel_size": integers(layer.kernel_size, "kernel_size", 1),
        "stride": integers(layer.stride, "stride", 1),
        "padding": integers(layer.padding, "padding", 0),
        "dilation": integers(layer.dilation, "dilation", 1),
        "groups": integer(layer.groups, "groups", 1),
        "bias": boolean(layer.bias, "bias"),
        "init": checked_initializer(layer.init),
    }
    for name in ("in_channels", "out_channels"):
        if fields[name] % fields["groups"]:
            raise ValueError(f"groups: expected a divisor of {name} = {fields[name]}, got {fields['groups']}")
    return fields


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
            **_checked_fields(self),
            l1=nonnegative(self.l1, "l1"),
            l2=nonnegative(self.l2, "l2"),
            max_norm=None if self.max_norm is None else positive(self.max_norm, "max_norm"),
        )

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it, with all pairs written out."""
        kind, fields = super().spec()
        pairs = ("kernel_size", "stride", "padding", "dilation")
        return kind, fields | {name: both(fields[name]) for name in pairs} | {"max_norm": self.max_norm or 0.0}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Draw from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), or by the initializer."""
        height, width = both(self.kernel_size)
        area = height * width
        inputs, outputs = self.in_channels // self.groups, self.out_channels // self.groups
        shape = (self.out_channels, inputs, height, width)
        biases = self.out_channels if self.bias else 0
        return starting_values(rng, self.init, shape, biases, inputs * area, outputs * area)


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
    kind: ClassVar[str] = "conv_transpose2d"

    def __post_init__(self) -> None:
        set_fields(self, **_checked_fields(self), output_padding=integers(self.output_padding, "output_padding", 0))
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
