"""Layers that change no number of a sample: at most its shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ranvier.checks import integer, set_fields
from ranvier.layers.base import Layer


@dataclass(repr=False, eq=False)
class Identity(Layer):
    """Each sample as it is."""

    kind: ClassVar[str] = "identity"


@dataclass(repr=False, eq=False)
class Flatten(Layer):
    """Each sample as one vector."""

    kind: ClassVar[str] = "flatten"


@dataclass(repr=False, eq=False)
class Unflatten(Layer):
    """One axis of each sample as several.

    `Flatten` and ``Unflatten(1, shape)`` together give samples any shape.

    Parameters
    ----------
    dim : int
        The axis, counted with the batch, which is axis 0; as PyTorch counts it.
    unflattened_size : tuple of int
        The sizes that it becomes. One may be -1, which is what is left.
    """

    dim: int
    unflattened_size: tuple[int, ...]
    kind: ClassVar[str] = "unflatten"

    def __post_init__(self) -> None:
        given: Any = self.unflattened_size
        if not isinstance(given, tuple | list):
            raise TypeError(f"unflattened_size: expected a tuple of ints, got {type(given).__name__}")
        sizes = tuple(integer(size, "unflattened_size", -1) for size in given)
        if not sizes or sizes.count(-1) > 1:
            raise ValueError(f"unflattened_size: expected sizes, at most one of them -1, got {sizes}")
        set_fields(self, dim=integer(self.dim, "dim", 1), unflattened_size=sizes)
