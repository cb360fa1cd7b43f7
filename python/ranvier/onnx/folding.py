"""Constants that are computed from constants, and from the shape of a batch: what decides over other shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ranvier.onnx.graph import Node
from ranvier.onnx.tensors import DTYPES, array_of
from ranvier.types import Array

__all__ = ["UNKNOWN", "axes_of", "folded", "is_folded"]

# Stands for a size that is not known, of the batch above all, among those that Shape gives.
UNKNOWN = -(2**40)

_LARGEST = 2**22  # numbers in a result that is larger than its first input


def is_folded(op: str) -> bool:
    """Return whether a node of constants is computed."""
    return op in _FOLDED


def folded(node: Node, inputs: Sequence[Array | None], opset: int) -> Array:
    """Return what a node makes of constants.

    Raises
    ------
    ValueError
        If it cannot be told, or would be very large.
    """
    present = [value for value in inputs if value is not None]
    size = sum(value.size for value in present)
    if node.op in _ARITHMETIC:
        _require_known(node, present)
        size = int(np.prod(np.broadcast_shapes(*(value.shape for value in present)), dtype=object))
    if node.op == "Gather" and present[0].ndim:
        size = present[1].size * (present[0].size // max(1, present[0].shape[node.attributes.get("axis", 0)]))
    _require_small(node, size, *present[:1])
    with np.errstate(all="ignore"):
        return np.asarray(_FOLDED[node.op](node, list(inputs), opset))


def _require_small(node: Node, size: int, *first: Array) -> None:
    if size > max([_LARGEST, *(value.size for value in first)]):
        node.refuse(f"expected constants of at most {_LARGEST} numbers, got {size}")


def _require_known(node: Node, values: Sequence[Array]) -> None:
    if any(value.dtype == np.int64 and (value == UNKNOWN).any() for value in values):
        node.refuse("expected sizes that are known")


def axes_of(node: Node, inputs: Sequence[Any], position: int = 1) -> list[int] | None:
    """Return the axes that a node names, by an attribute or, in later opsets, by an input."""
    if "axes" in node.attributes:
        return list(node.attributes["axes"])
    if len(inputs) <= position or inputs[position] is None:
        return None
    if not isinstance(inputs[position], np.ndarray):
        node.refuse("expected axes that are constants")
    return [int(axis) for axis in inputs[position].reshape(-1)]


def _cast(node: Node, inputs: list[Any], opset: int) -> Array:
    to = node.attributes.get("to")
    if to not in DTYPES:
        node.refuse(f"expected a type of floats, doubles or integers, got {to}")
    if DTYPES[to][0] is not np.int64:
        _require_known(node, inputs)
    return np.asarray(inputs[0]).astype(DTYPES[to][0])


def _concat(node: Node, inputs: list[Any], opset: int) -> Array:
    return np.concatenate(inputs, node.attributes.get("axis", 0))


def _constant_of_shape(node: Node, inputs: list[Any], opset: int) -> Any:
    tensor = node.attributes.get("value")
    value = np.zeros(1, np.float32) if tensor is None else array_of(tensor, "")
    return _expand(node, [value, inputs[0]], opset)


def _expand(node: Node, inputs: list[Any], opset: int) -> Any:
    """Return a constant in a larger shape; for one that is not known, the one number that is everywhere in it."""
    value, shape = inputs
    if UNKNOWN not in shape:
        _require_small(
            node, int(np.prod(np.broadcast_shapes(value.shape, tuple(map(int, shape))), dtype=object)), value
        )
        return np.broadcast_to(value, np.broadcast_shapes(value.shape, tuple(map(int, shape))))
    if value.size == 0 or (value != value.flat[0]).any():
        node.refuse("expected sizes that are known")
    return value.reshape(-1)[0]


def _gather(node: Node, inputs: list[Any], opset: int) -> Any:
    return np.take(inputs[0], inputs[1], node.attributes.get("axis", 0))


def _reshape(node: Node, inputs: list[Any], opset: int) -> Any:
    wanted = [int(size) for size in inputs[1]]
    return np.reshape(inputs[0], [inputs[0].shape[at] if size == 0 else size for at, size in enumerate(wanted)])


def _slice(node: Node, inputs: list[Any], opset: int) -> Array:
    if inputs[0].ndim == 0:  # as `_expand` left it
        return np.asarray(inputs[0])
    if opset < 10:
        starts, ends, axes = (node.attributes.get(name) for name in ("starts", "ends", "axes"))
        steps = None
    else:
        starts, ends, axes, steps = (*inputs[1:], None, None)[:4]
    axes = range(len(starts)) if axes is None else axes  # type: ignore[arg-type]
    steps = [1] * len(starts) if steps is None else steps  # type: ignore[arg-type]
    index = [slice(None)] * inputs[0].ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):  # type: ignore[arg-type]
        index[int(axis)] = slice(int(start), int(end), int(step))
    return np.asarray(inputs[0][tuple(index)])


def _squeeze(node: Node, inputs: list[Any], opset: int) -> Any:
    axes = axes_of(node, inputs)
    return np.squeeze(inputs[0], None if axes is None else tuple(axes))


def _unsqueeze(node: Node, inputs: list[Any], opset: int) -> Any:
    return np.expand_dims(inputs[0], tuple(axes_of(node, inputs) or ()))


def _transpose(node: Node, inputs: list[Any], opset: int) -> Any:
    return np.transpose(inputs[0], node.attributes.get("perm"))


def _divide(node: Node, inputs: list[Any], opset: int) -> Array:
    a, b = inputs
    return np.asarray(a / b if a.dtype.kind == "f" else np.trunc(a / b).astype(a.dtype))


_Fold = Callable[[Node, list[Any], int], Any]

_ARITHMETIC: dict[str, _Fold] = {
    "Add": lambda node, inputs, opset: inputs[0] + inputs[1],
    "Div": _divide,
    "Mul": lambda node, inputs, opset: inputs[0] * inputs[1],
    "Neg": lambda node, inputs, opset: -inputs[0],
    "Reciprocal": lambda node, inputs, opset: 1 / inputs[0],
    "Sqrt": lambda node, inputs, opset: np.sqrt(inputs[0]),
    "Sub": lambda node, inputs, opset: inputs[0] - inputs[1],
}
_FOLDED: dict[str, _Fold] = _ARITHMETIC | {
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Gather": _gather,
    "Identity": lambda node, inputs, opset: inputs[0],
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
