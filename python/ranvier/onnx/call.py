"""A node of a graph with what comes into it, as the operators take it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ranvier.layers import Layer
from ranvier.onnx.graph import Node, Shape
from ranvier.onnx.values import Join, LayerStep, Value
from ranvier.types import Array

__all__ = ["Call"]


@dataclass
class Call:
    """A node with what comes into it.

    Attributes
    ----------
    node : Node
    inputs : list of Value, ndarray or None
        None: one that is left out.
    opset : int
    dtype : dtype
        Of the network.
    batch : int or None
        The size of the batch, if the file is for batches of one size.
    join : function
        What makes the sum or the concatenation of values.
    """

    node: Node
    inputs: list[Any]
    opset: int
    dtype: np.dtype[Any]
    batch: int | None
    join: Join

    def get(self, name: str, default: Any) -> Any:
        """Return an attribute."""
        value = self.node.attributes.get(name, default)
        if default is not None and type(value) is not type(default):
            self.node.refuse(f"attribute {name!r}: expected {type(default).__name__}, got {type(value).__name__}")
        return value

    def require(self, condition: Any, reason: str) -> None:
        """Refuse the node unless a condition holds."""
        if not condition:
            self.node.refuse(reason)

    @property
    def value(self) -> Value:
        """The first input, which is no constant."""
        self.require(self.inputs and isinstance(self.inputs[0], Value), "expected what is computed as the first input")
        return self.inputs[0]  # type: ignore[no-any-return]

    def constant(self, at: int, name: str) -> Array:
        """Return an input that must be a constant."""
        array = self.optional(at, name)
        if array is None:
            self.node.refuse(f"expected a constant {name}, got none")
        return array

    def optional(self, at: int, name: str) -> Array | None:
        """Return an input that must be a constant if it is there."""
        given = self.inputs[at] if at < len(self.inputs) else None
        self.require(not isinstance(given, Value), f"expected a constant {name}, got one that is computed")
        return given

    def parameter(self, at: int, name: str, shape: tuple[int, ...] | None = None) -> Array:
        """Return a constant of the network's dtype, and of a shape if one is given."""
        array = self.constant(at, name)
        self.require(array.dtype == self.dtype, f"{name}: expected {self.dtype}, got {array.dtype}")
        self.require(
            shape is None or array.shape == shape, f"{name}: expected an array of shape {shape}, got {array.shape}"
        )
        return array

    def layer(self, make: Callable[[], Layer], shape: Shape | None, tensors: dict[str, Array] | None = None) -> Value:
        """Return the value behind one more layer."""
        return self.value.then(LayerStep(self.node, self.made(make), tensors or {}), shape)

    def made(self, make: Callable[[], Layer]) -> Layer:
        """Return a layer; if its settings are refused, so is the node."""
        try:
            return make()
        except (TypeError, ValueError) as error:
            self.node.refuse(error)
