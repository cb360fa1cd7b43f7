"""Pooling over windows of one size, or over windows so that outputs have one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from ranvier.checks import boolean, integer, integers, set_fields
from ranvier.layers.base import Layer, Spec, both, both_of
from ranvier.types import Pair


@dataclass(repr=False, eq=False)
class _Pool(Layer):
    kernel_size: Pair
    stride: Pair | None = None
    padding: Pair = 0
    axes: ClassVar[int] = 2

    def __post_init__(self) -> None:
        checked: Any = integers if self.axes == 2 else integer
        set_fields(
            self,
            kernel_size=checked(self.kernel_size, "kernel_size", 1),
            stride=None if self.stride is None else checked(self.stride, "stride", 1),
            padding=checked(self.padding, "padding", 0),
        )
        kernel, padding = both(self.kernel_size), both(self.padding)
        if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
            expected = kernel if self.axes == 2 else self.kernel_size
            raise ValueError(f"padding: expected at most half the kernel size {expected}, got {self.padding}")

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it, with all pairs written out."""
        stride = self.kernel_size if self.stride is None else self.stride
        return self.kind, self.config() | {
            "kernel_size": both_of(self.kernel_size, self.axes, 1),
            "stride": both_of(stride, self.axes, 1),
            "padding": both_of(self.padding, self.axes, 0),
        }


@dataclass(repr=False, eq=False)
class _MaxPool(_Pool):
    ceil_mode: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(self, ceil_mode=boolean(self.ceil_mode, "ceil_mode"))


@dataclass(repr=False, eq=False)
class _AvgPool(_Pool):
    ceil_mode: bool = False
    count_include_pad: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(
            self,
            ceil_mode=boolean(self.ceil_mode, "ceil_mode"),
            count_include_pad=boolean(self.count_include_pad, "count_include_pad"),
        )


@dataclass(repr=False, eq=False)
class MaxPool2d(_MaxPool):
    """Maximum over windows of (channels, height, width) samples.

    Parameters
    ----------
    kernel_size, stride, padding : int or pair of ints
        The stride is the kernel size unless given. The padding, of minus infinity, is at most half the kernel.
    ceil_mode : bool
        Whether windows that begin in the image, or in the padding before it, may end beyond the padding.
    """

    kind: ClassVar[str] = "max_pool2d"


@dataclass(repr=False, eq=False)
class AvgPool2d(_AvgPool):
    """Mean over windows of (channels, height, width) samples.

    Parameters
    ----------
    kernel_size, stride, padding : int or pair of ints
        The stride is the kernel size unless given. The padding is at most half the kernel.
    ceil_mode : bool
        Whether windows that begin in the image, or in the padding before it, may end beyond the padding. What lies
        there does not count.
    count_include_pad : bool
        Whether the padding counts as zeros; otherwise it does not count.
    """

    kind: ClassVar[str] = "avg_pool2d"


@dataclass(repr=False, eq=False)
class MaxPool1d(_MaxPool):
    """Maximum over windows of (channels, length) samples.

    Parameters
    ----------
    kernel_size, stride, padding : int
    ceil_mode : bool
        As in `MaxPool2d`.
    """

    kernel_size: int
    stride: int | None = None
    padding: int = 0
    axes: ClassVar[int] = 1
    kind: ClassVar[str] = "max_pool1d"


@dataclass(repr=False, eq=False)
class AvgPool1d(_AvgPool):
    """Mean over windows of (channels, length) samples.

    Parameters
    ----------
    kernel_size, stride, padding : int
    ceil_mode, count_include_pad : bool
        As in `AvgPool2d`.
    """

    kernel_size: int
    stride: int | None = None
    padding: int = 0
    axes: ClassVar[int] = 1
    kind: ClassVar[str] = "avg_pool1d"


@dataclass(repr=False, eq=False)
class _AdaptivePool2d(Layer):
    output_size: int | tuple[int | None, int | None]

    def __post_init__(self) -> None:
        given: Any = self.output_size
        if not isinstance(given, tuple | list):
            set_fields(self, output_size=integer(given, "output_size", 1))
            return
        if len(given) != 2:
            raise ValueError(f"output_size: expected an int or a pair of ints, got {len(given)} items")
        set_fields(self, output_size=tuple(None if size is None else integer(size, "output_size", 1) for size in given))

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it, with the pair written out; 0 is the size of the input."""
        size = self.output_size
        height, width = size if isinstance(size, tuple) else (size, size)
        return self.kind, {"output_size": (height or 0, width or 0)}


@dataclass(repr=False, eq=False)
class AdaptiveMaxPool2d(_AdaptivePool2d):
    """Maximum over windows so that (channels, height, width) samples become ``(channels, *output_size)``.

    ``AdaptiveMaxPool2d(1)`` is the maximum of each channel.

    Parameters
    ----------
    output_size : int or pair of ints or None
        Height and width; None leaves one as it is. Along an axis of n pixels window i of m is from the pixel
        floor(i n / m) to before ceil((i + 1) n / m).
    """

    kind: ClassVar[str] = "adaptive_max_pool2d"


@dataclass(repr=False, eq=False)
class AdaptiveAvgPool2d(_AdaptivePool2d):
    """Mean over windows so that (channels, height, width) samples become ``(channels, *output_size)``.

    ``AdaptiveAvgPool2d(1)`` is global average pooling, the mean of each channel; a `Flatten` behind it gives
    (channels,), as does `GlobalAvgPool2d`.

    Parameters
    ----------
    output_size : int or pair of ints or None
        As in `AdaptiveMaxPool2d`.
    """

    kind: ClassVar[str] = "adaptive_avg_pool2d"


@dataclass(repr=False, eq=False)
class GlobalAvgPool2d(Layer):
    """Mean of each channel: (channels, height, width) samples become (channels,)."""

    kind: ClassVar[str] = "global_avg_pool2d"


@dataclass(repr=False, eq=False)
class _AdaptivePool1d(Layer):
    output_size: int

    def __post_init__(self) -> None:
        set_fields(self, output_size=integer(self.output_size, "output_size", 1))

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it, for images of height 1."""
        return self.kind, {"output_size": (1, self.output_size)}


@dataclass(repr=False, eq=False)
class AdaptiveMaxPool1d(_AdaptivePool1d):
    """Maximum over windows so that (channels, length) samples become (channels, output_size).

    Parameters
    ----------
    output_size : int
        The windows are as in `AdaptiveMaxPool2d`.
    """

    kind: ClassVar[str] = "adaptive_max_pool1d"


@dataclass(repr=False, eq=False)
class AdaptiveAvgPool1d(_AdaptivePool1d):
    """Mean over windows so that (channels, length) samples become (channels, output_size).

    Parameters
    ----------
    output_size : int
        The windows are as in `AdaptiveMaxPool2d`.
    """

    kind: ClassVar[str] = "adaptive_avg_pool1d"
