"""Samples in the notes' forms: pairs of columns, or a pair of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier.data import Data
from ranvier.types import Array

__all__ = ["Pair", "columns", "pairs", "pairs_to_arrays", "rows_of_targets"]

Pair = tuple[Array, Any]  # a column, and a column or a label


def pairs_to_arrays(data: Any, name: str) -> tuple[Any, Any]:
    """Return (x, y) arrays from such a pair, or from the lecture notes' list of (x, y) pairs of columns.

    Two items that are no tuples are the arrays; in the notes' list each item is a pair of its own.

    Raises
    ------
    TypeError
        If data is neither.
    ValueError
        If it is empty, or its samples or targets differ in size.
    """
    items = list(data)
    if len(items) == 2 and not any(isinstance(item, tuple) for item in items):
        return items[0], items[1]
    if not items:
        raise ValueError(f"{name}: expected at least one sample, got none")
    if any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in items):
        raise TypeError(f"{name}: expected a pair of arrays (x, y) or a list of (x, y) pairs")
    x = _rows([np.asarray(sample).reshape(-1) for sample, _ in items], f"{name} x")
    targets = [np.asarray(target) for _, target in items]
    return x, _rows([target.reshape(-1) if target.ndim else target for target in targets], f"{name} y")


def _rows(arrays: list[Array], name: str) -> Array:
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise ValueError(f"{name}: expected one size throughout, got shapes {shapes[0]} and {shapes[1]}")
    return np.stack(arrays)


def rows_of_targets(data: Data, outputs: int) -> Array:
    """Return the wanted outputs, of shape (n, outputs); a label stands for a one-hot row."""
    y: Array = data.y
    if y.ndim == 2:
        return y
    if outputs == 1:
        return y[:, None].astype(np.float64)
    return np.equal(y[:, None], np.arange(outputs)).astype(np.float64)


def _columns_of_samples(data: Data, dtype: np.dtype[Any]) -> Array:
    x: Array = data.x.reshape(len(data.x), -1, 1)
    return np.divide(x, 255, dtype=dtype) if x.dtype == np.uint8 else x


def columns(data: Data, outputs: int, dtype: np.dtype[Any]) -> list[Pair]:
    """Return pairs of columns, as the notes' training data are."""
    targets = rows_of_targets(data, outputs).astype(dtype, copy=False)
    return list(zip(_columns_of_samples(data, dtype), targets[:, :, None], strict=True))


def pairs(data: Data, dtype: np.dtype[Any]) -> list[Pair]:
    """Return pairs of a column and a label, as the notes' test data are; of targets that are rows, columns."""
    targets = data.y.tolist() if data.y.ndim == 1 else data.y[:, :, None]
    return list(zip(_columns_of_samples(data, dtype), targets, strict=True))
