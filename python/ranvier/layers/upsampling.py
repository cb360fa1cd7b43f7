"""Images enlarged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ranvier.checks import boolean, positive, set_fields
from ranvier.layers.base import Layer, Spec


@dataclass(repr=False, eq=False)
class Upsample(Layer):
    """(channels, height, width) samples enlarged to floor(height * scale_factor) rows, and columns likewise.

    Parameters
    ----------
    scale_factor : float or pair of floats
        For height and width, above 0.
    mode : {"nearest", "bilinear"}
        Each pixel is the nearest one of the sample, or the mean of four, weighted by nearness.
    align_corners : bool
        Of bilinear ones: whether the centres of the corner pixels stay at the corners, rather than the pixels' edges.
    """

    scale_factor: float | tuple[float, float]
    mode: str = "nearest"
    align_corners: bool = False
    kind: ClassVar[str] = "upsample"

    def __post_init__(self) -> None:
        factors = self.scale_factor
        if isinstance(factors, tuple | list):
            if len(factors) != 2:
                raise ValueError(f"scale_factor: expected a number or a pair of numbers, got {len(factors)} items")
            factors = positive(factors[0], "scale_factor"), positive(factors[1], "scale_factor")
        else:
            factors = positive(factors, "scale_factor")
        set_fields(self, scale_factor=factors, align_corners=boolean(self.align_corners, "align_corners"))
        if self.mode not in ("nearest", "bilinear"):
            raise ValueError(f'mode: expected "nearest" or "bilinear", got {self.mode!r}')
        if self.align_corners and self.mode == "nearest":
            raise ValueError('align_corners: expected mode "bilinear" with it, got "nearest"')

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it, with both factors written out."""
        kind, fields = super().spec()
        factors = self.scale_factor
        return kind, fields | {"scale_factor": factors if isinstance(factors, tuple) else (factors, factors)}
