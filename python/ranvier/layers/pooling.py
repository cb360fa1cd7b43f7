"""Pooling over windows and over whole planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ranvier.checks import integers, set_fields
from ranvier.layers.base import Layer, Spec, both
from ranvier.types import Pair


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
        kernel, padding = both(self.kernel_size), both(self.padding)
        if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
            raise ValueError(f"padding: expected at most half the kernel size {kernel}, got {padding}")

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it, with all pairs written out."""
        stride = self.kernel_size if self.stride is None else self.stride
        return self.kind, {
            "kernel_size": both(self.kernel_size),
            "stride": both(stride),
            "padding": both(self.padding),
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
