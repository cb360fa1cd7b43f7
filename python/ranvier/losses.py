"""Losses: what training makes small.

Each is callable on a batch, ``loss(prediction, target) -> float``, and has ``gradient(prediction, target)``.
Targets are rows of the output's size, or integer class labels, which stand for one-hot rows (with a single
output, labels 0 and 1 stand for themselves). A loss of your own is any object with these two methods in NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from ranvier import _core
from ranvier.settings import Settings
from ranvier.types import Array

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "CustomLoss",
    "Loss",
    "QuadraticLoss",
    "SumSquaredResidualsLoss",
]


@runtime_checkable
class CustomLoss(Protocol):
    """What a loss of your own must offer."""

    def __call__(self, prediction: Array, target: Any) -> float:
        """Return the loss of a batch."""

    def gradient(self, prediction: Array, target: Any) -> Array:
        """Return its gradient to the predictions."""


@dataclass(repr=False, eq=False)
class Loss(Settings):
    """A loss of the library."""

    kind: ClassVar[str]

    def __call__(self, prediction: Array, target: Any) -> float:
        """Return the loss of a batch.

        Parameters
        ----------
        prediction : ndarray of float32 or float64, shape (n, outputs)
        target : ndarray, shape (n, outputs) or integers of shape (n,)

        Raises
        ------
        ValueError
            If the shapes do not match, a label is out of range, or a target is NaN.
        """
        return _core.loss_value(self.kind, *_contiguous(prediction, target))[0]

    def gradient(self, prediction: Array, target: Any) -> Array:
        """Return the gradient of the loss to the predictions, of their shape."""
        return _core.loss_gradient(self.kind, *_contiguous(prediction, target))


def _contiguous(prediction: Array, target: Any) -> tuple[Array, Any]:
    prediction = np.ascontiguousarray(prediction)
    target = np.ascontiguousarray(target)
    if target.dtype.kind in "iu":
        target = target.astype(np.int64, copy=False)
    elif target.dtype.kind == "f":
        target = target.astype(prediction.dtype, copy=False)
    return prediction, target


@dataclass(repr=False, eq=False)
class QuadraticLoss(Loss):
    """The lecture notes' cost, 1/2 the squared distance, averaged over the samples."""

    kind: ClassVar[str] = "quadratic"


@dataclass(repr=False, eq=False)
class SumSquaredResidualsLoss(Loss):
    """The squared residuals, summed over outputs and samples."""

    kind: ClassVar[str] = "sum_squared_residuals"


@dataclass(repr=False, eq=False)
class BCELoss(Loss):
    """Binary cross-entropy of probabilities, averaged over outputs and samples (logarithms cut at -100)."""

    kind: ClassVar[str] = "binary_cross_entropy"


@dataclass(repr=False, eq=False)
class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of sigmoid(prediction), averaged over outputs and samples, without overflow."""

    kind: ClassVar[str] = "binary_cross_entropy_with_logits"


@dataclass(repr=False, eq=False)
class CrossEntropyLoss(Loss):
    """Cross-entropy of softmax(prediction), averaged over the samples: the network ends without a softmax."""

    kind: ClassVar[str] = "softmax_cross_entropy"
