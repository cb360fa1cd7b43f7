"""Random changes of images in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ranvier.checks import integer, integers, nonnegative, real, set_fields
from ranvier.layers.base import Layer, Spec, both
from ranvier.types import Pair


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
        return self.kind, {"size": both(self.size), "padding": both(self.padding)}
