"""Random noise in training: dropout and normal noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ranvier.checks import nonnegative, real, set_fields
from ranvier.layers.base import Layer


@dataclass(repr=False, eq=False)
class _Dropout(Layer):
    p: float = 0.5

    def __post_init__(self) -> None:
        set_fields(self, p=real(self.p, "p"))
        if not 0 <= self.p < 1:
            raise ValueError(f"p: expected a probability from 0 to below 1, got {self.p}")


@dataclass(repr=False, eq=False)
class Dropout(_Dropout):
    """In training, zero with probability p and else division by 1 - p; the identity otherwise.

    Parameters
    ----------
    p : float
        0 <= p < 1.
    """

    kind: ClassVar[str] = "dropout"


@dataclass(repr=False, eq=False)
class Dropout1d(_Dropout):
    """`Dropout` of whole channels of (channels, length) samples.

    Parameters
    ----------
    p : float
        0 <= p < 1.
    """

    kind: ClassVar[str] = "dropout1d"


@dataclass(repr=False, eq=False)
class Dropout2d(_Dropout):
    """`Dropout` of whole channels of (channels, height, width) samples (Tompson et al. 2015).

    Parameters
    ----------
    p : float
        0 <= p < 1.
    """

    kind: ClassVar[str] = "dropout2d"


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
