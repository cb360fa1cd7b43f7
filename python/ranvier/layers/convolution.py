"""Convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ranvier.checks import boolean, integer, integers, nonnegative, positive, set_fields
from ranvier.layers.base import Layer, Spec, both, checked_initializer, starting_values
from ranvier.types import Pair

if TYPE_CHECKING:
    from ranvier.initializers import Initializer


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
        return kind, fields | {name: both(fields[name]) for name in pairs} | {"max_norm": self.max_norm or 0.0}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Draw from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), or by the initializer."""
        height, width = both(self.kernel_size)
        area = height * width
        inputs, outputs = self.in_channels // self.groups, self.out_channels // self.groups
        shape = (self.out_channels, inputs, height, width)
        return starting_values(rng, self.init, shape, self.bias, inputs * area, outputs * area)
