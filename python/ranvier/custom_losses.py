"""Calls of a loss of your own: with what it takes, and a look at what it returns."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from ranvier.losses import CustomLoss, Loss
from ranvier.types import Array, Weights

__all__ = ["gradient_of", "require_weighable", "value_of"]


def require_weighable(loss: Loss | CustomLoss) -> None:
    """Raise a TypeError unless the loss takes weights of samples."""
    if isinstance(loss, Loss):
        return
    name = type(loss).__name__
    for method, where in ((loss, "__call__"), (loss.gradient, "gradient")):
        if "sample_weight" not in inspect.signature(method).parameters:
            raise TypeError(
                f"sample_weight: expected a loss that takes it, got {name}, whose {where} has no parameter of that name"
            )


def value_of(loss: CustomLoss, prediction: Array, target: Any, weights: Weights | None = None) -> float:
    """Return the mean loss of a batch, 0 if all weights are 0."""
    if weights is None:
        value: Any = loss(prediction, target)
    elif not weights.any():
        return 0.0
    else:
        value = loss(prediction, target, sample_weight=weights)  # type: ignore[call-arg]
    if np.ndim(value) != 0 or np.asarray(value).dtype.kind not in "fiub":
        got = f"an array of shape {np.shape(value)}" if np.ndim(value) else type(value).__name__
        raise TypeError(f"{type(loss).__name__}.__call__: expected a number, the batch's mean loss, got {got}")
    return float(value)


def gradient_of(loss: CustomLoss, prediction: Array, target: Any, weights: Weights | None = None) -> Array:
    """Return its gradient to the predictions as the core takes it."""
    if weights is None:
        gradient = np.asarray(loss.gradient(prediction, target))
    elif not weights.any():
        return np.zeros_like(prediction)
    else:
        gradient = np.asarray(loss.gradient(prediction, target, sample_weight=weights))  # type: ignore[call-arg]
    where = f"{type(loss).__name__}.gradient"
    if gradient.dtype.kind not in "fiub":
        raise TypeError(f"{where}: expected an array of real numbers, got {gradient.dtype}")
    if gradient.shape != prediction.shape:
        raise ValueError(f"{where}: expected shape {prediction.shape}, that of the predictions, got {gradient.shape}")
    return np.ascontiguousarray(gradient, dtype=prediction.dtype)
