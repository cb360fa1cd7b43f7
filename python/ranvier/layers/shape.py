"""Layers that change nothing but a sample's shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ranvier.layers.base import Layer


@dataclass(repr=False, eq=False)
class Flatten(Layer):
    """Each sample as one vector."""

    kind: ClassVar[str] = "flatten"
