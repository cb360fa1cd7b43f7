"""What outputs say of classes: probabilities, and which class a sample is of."""

from __future__ import annotations

import numpy as np

from ranvier import kernels
from ranvier.layers import LogSoftmax, Sigmoid, Softmax
from ranvier.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    CustomLoss,
    FocalLoss,
    Loss,
    classifies,
    is_of_logits,
)
from ranvier.types import Array, Labels

__all__ = ["predicted_numbers", "probabilities"]


def probabilities(outputs: Array, last: object, loss: Loss | CustomLoss) -> Array:
    """Return probabilities of classes from the outputs behind a last layer, trained with a loss.

    Raises
    ------
    TypeError
        If they are none, by the layer or by the loss.
    """
    rows = np.ascontiguousarray(outputs.reshape(len(outputs), -1))
    single = rows.shape[1] == 1
    if isinstance(last, LogSoftmax) and not single:
        return np.asarray(np.exp(rows))
    if isinstance(last, Softmax) and not single:
        return rows
    if isinstance(loss, CrossEntropyLoss) and not single:
        return kernels.softmax(rows)
    if isinstance(loss, BCEWithLogitsLoss | FocalLoss):
        rows = kernels.sigmoid(rows)
    elif not isinstance(loss, BCELoss) and not (isinstance(last, Sigmoid) and isinstance(loss, Loss)):
        raise TypeError(
            f"predict_proba: expected a network trained with CrossEntropyLoss, BCEWithLogitsLoss or BCELoss, or one "
            f"that ends with Softmax or Sigmoid, got {loss!r}; predict() gives the outputs as they are"
        )
    return np.concatenate([1 - rows, rows], axis=1) if single else rows


def predicted_numbers(outputs: Array, last: object, loss: Loss | CustomLoss, has_labels: bool) -> Labels:
    """Return the number of each sample's class.

    Raises
    ------
    TypeError
        If neither labels nor the last layer nor the loss say that a single output stands for classes.
    """
    rows = outputs.reshape(len(outputs), -1)
    of_classes = has_labels or classifies(loss) or isinstance(last, Sigmoid)
    if not of_classes and rows.shape[1] == 1:
        raise TypeError(f"predict_classes: expected a network that was trained on classes, got one with {loss!r}")
    if rows.shape[1] > 1:
        return np.asarray(rows.argmax(axis=1), dtype=np.int64)
    return (rows[:, 0] > (0 if is_of_logits(loss) else 0.5)).astype(np.int64)
