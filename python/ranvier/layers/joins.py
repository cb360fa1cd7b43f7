"""Layers of several inputs, which stand in networks that are made from `ranvier.Input` values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ranvier.layers.base import Layer


@dataclass(repr=False, eq=False)
class Add(Layer):
    """The sum of several inputs, whose samples have one shape: ``Add()([a, b])``."""

    kind: ClassVar[str] = "add"


@dataclass(repr=False, eq=False)
class Concat(Layer):
    """Several inputs one behind the other along the first axis of a sample: ``Concat()([a, b])``.

    That axis is the features of vectors, and the channels of images. The samples may differ in that size only.
    """

    kind: ClassVar[str] = "concat"
