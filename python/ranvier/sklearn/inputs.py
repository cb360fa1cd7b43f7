"""Samples and weights on their way from scikit-learn to a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.class_weight import compute_sample_weight

from ranvier.data import as_weights
from ranvier.types import Array, Labels, Weights

__all__ = ["Samples", "SparseRows", "WeightedBlocks", "checked_weights", "network_samples", "validation_data"]

# Samples of a validation pass that are made dense at a time.
_BLOCK = 4096


class SparseRows:
    """A sparse matrix whose rows are made dense when a network asks for them.

    Parameters
    ----------
    matrix : sparse matrix or array of CSR format
    """

    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix
        self.shape: tuple[int, int] = matrix.shape
        self.dtype: np.dtype[Any] = matrix.dtype

    def __getitem__(self, rows: Any) -> Array:
        """Return the rows of a slice or of an array of numbers."""
        dense: Array = self._matrix[rows].toarray()
        return dense


def network_samples(x: Any) -> Any:
    """Return samples as a network reads them."""
    return SparseRows(x) if issparse(x) else x


class Samples(NamedTuple):
    """Samples, with targets as a network takes them."""

    x: Any
    y: Array
    weights: Weights | None

    def take(self, numbers: Labels) -> Samples:
        """Return those of these numbers."""
        return Samples(self.x[numbers], self.y[numbers], None if self.weights is None else self.weights[numbers])


class WeightedBlocks:
    """Samples with weights, as the stream of batches that `ranvier.Network.fit` takes for validation."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __len__(self) -> int:
        """Return the number of blocks."""
        return -(-len(self._samples.y) // _BLOCK)

    def __iter__(self) -> Iterator[tuple[Any, Array, Weights | None]]:
        """Yield samples, targets and weights of each block."""
        x = network_samples(self._samples.x)
        for first in range(0, len(self._samples.y), _BLOCK):
            rows = slice(first, first + _BLOCK)
            weights = self._samples.weights
            yield x[rows], self._samples.y[rows], None if weights is None else weights[rows]


def validation_data(samples: Samples) -> Any:
    """Return samples as `ranvier.Network.fit` takes them for validation.

    Raises
    ------
    ValueError
        If none has a weight.
    """
    if samples.weights is None:
        return network_samples(samples.x), samples.y
    if not samples.weights.any():
        raise ValueError("sample_weight: expected a weight above zero among the samples held out, got zeros only")
    return WeightedBlocks(samples)


def checked_weights(sample_weight: Any, class_weight: Any, y: Any, samples: int, name: str) -> Weights | None:
    """Return what the samples weigh by themselves and by their classes; None if all weigh the same.

    Raises
    ------
    TypeError, ValueError
        If they are no weights, or all zero.
    """
    if sample_weight is not None and not np.any(np.asarray(sample_weight)):
        raise ValueError(f"{name}: expected at least one weight above zero, got zero weights only")
    weights = None if sample_weight is None else as_weights(sample_weight, samples, name)
    if class_weight is None:
        return weights
    of_classes: Weights = compute_sample_weight(class_weight, y)
    return of_classes if weights is None else weights * of_classes
