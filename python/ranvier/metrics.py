"""How good predictions are, over whole data sets. Needs scikit-learn, the extra ``metrics``.

Classes come as labels or as rows: one-hot rows of targets, rows of scores from `ranvier.Network.predict`. A row's class
is where its largest entry is, the first of several; a single column of scores means class 1 above 1/2.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal

import numpy as np

from ranvier.checks import integer, real_array
from ranvier.data import as_labels
from ranvier.types import Array, Labels

__all__ = ["accuracy", "confusion_matrix", "f1_score", "precision", "r2_score", "recall", "top_k_accuracy"]

Average = Literal["macro", "micro", "weighted"]


def _sklearn_metrics() -> ModuleType:
    try:
        from sklearn import metrics
    except ImportError:
        raise ImportError("metrics need scikit-learn: pip install 'ranvier[metrics]'") from None
    return metrics  # type: ignore[no-any-return]


def require_sklearn() -> None:
    """Raise an ImportError that says what to install unless scikit-learn is there."""
    _sklearn_metrics()


def _both_labels(y_true: Any, y_pred: Any) -> tuple[Labels, Labels, int]:
    """Return the labels of both, and the number of classes: of the widest rows, or of the largest label."""
    true, pred = as_labels(y_true, "y_true"), as_labels(y_pred, "y_pred")
    if len(true) != len(pred):
        raise ValueError(f"y_pred: expected one prediction for each of {len(true)} samples, got {len(pred)}")
    widths = [np.shape(y)[1] for y in (y_true, y_pred) if np.ndim(y) == 2]
    return true, pred, max(*widths, int(true.max()) + 1, int(pred.max()) + 1)


def accuracy(y_true: Any, y_pred: Any) -> float:
    """Return the fraction of samples whose class was predicted.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (n,) or (n, classes)
        Labels or rows.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        If either holds no classes, or there is not one prediction for each sample.
    """
    true, pred, _ = _both_labels(y_true, y_pred)
    return float(_sklearn_metrics().accuracy_score(true, pred))


def top_k_accuracy(y_true: Any, y_score: Any, k: int = 5) -> float:
    """Return the fraction of samples whose class is among the k of the largest scores.

    Of equal scores the first counts as the largest, so that k = 1 is `accuracy`. It needs no scikit-learn.

    Parameters
    ----------
    y_true : array_like, shape (n,) or (n, classes)
        Labels or rows.
    y_score : array_like, shape (n, classes)
    k : int
        From 1 to the number of classes.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    TypeError, ValueError
        If either argument is unfit, or a label has no column of scores.
    """
    scores, k = np.asarray(y_score), integer(k, "k", 1)
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"y_score: expected rows of at least two scores, got shape {scores.shape}")
    true, _, classes = _both_labels(y_true, scores)
    if classes > scores.shape[1]:
        raise ValueError(f"y_true: expected labels from 0 to {scores.shape[1] - 1}, got {classes - 1}")
    if k > classes:
        raise ValueError(f"k: expected at most the number of classes, {classes}, got {k}")
    best = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :k]
    return float(np.mean((best == true[:, None]).any(axis=1)))


def confusion_matrix(y_true: Any, y_pred: Any) -> Labels:
    """Count the samples of each true class that were given each class.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (n,) or (n, classes)
        Labels or rows.

    Returns
    -------
    ndarray of int64, shape (classes, classes)
        Entry (i, j) counts the samples of class i that were predicted to be of class j.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        If either holds no classes, or there is not one prediction for each sample.
    """
    true, pred, classes = _both_labels(y_true, y_pred)
    matrix = _sklearn_metrics().confusion_matrix(true, pred, labels=np.arange(classes))
    return np.asarray(matrix, dtype=np.int64)


def _score(name: str, y_true: Any, y_pred: Any, average: Average | None) -> Any:
    if average not in (None, "macro", "micro", "weighted"):
        raise ValueError(f"average: expected None, 'macro', 'micro' or 'weighted', got {average!r}")
    true, pred, classes = _both_labels(y_true, y_pred)
    labels = np.arange(classes) if average is None else None  # an average is over the classes that occur
    function = getattr(_sklearn_metrics(), f"{name}_score")
    result = function(true, pred, labels=labels, average=average, zero_division=0)
    return np.asarray(result) if average is None else float(result)


def precision(y_true: Any, y_pred: Any, *, average: Average | None = None) -> Any:
    """Return the fraction of the samples given a class that are of that class.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (n,) or (n, classes)
        Labels or rows.
    average : {None, "macro", "micro", "weighted"}
        None gives one number for each class. The averages are over the classes that occur in either argument: their
        plain mean, that of all samples together, or their mean weighted by the number of samples of each class.

    Returns
    -------
    ndarray, shape (classes,), or float
        From 0 to 1; 0 for a class that was never predicted.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        If an argument is unfit, or there is not one prediction for each sample.
    """
    return _score("precision", y_true, y_pred, average)


def recall(y_true: Any, y_pred: Any, *, average: Average | None = None) -> Any:
    """Return the fraction of the samples of a class that were given that class.

    Parameters, averages and errors are those of `precision`.

    Returns
    -------
    ndarray, shape (classes,), or float
        From 0 to 1; 0 for a class without samples.
    """
    return _score("recall", y_true, y_pred, average)


def f1_score(y_true: Any, y_pred: Any, *, average: Average | None = None) -> Any:
    """Return the harmonic mean of `precision` and `recall`.

    Parameters, averages and errors are those of `precision`.

    Returns
    -------
    ndarray, shape (classes,), or float
        From 0 to 1; 0 for a class that was never predicted rightly.
    """
    return _score("f1", y_true, y_pred, average)


def _values(y: Any, name: str) -> Array:
    array = real_array(y, name)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name}: expected shape (n,) or (n, outputs), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers")
    return array.reshape(len(array), -1).astype(np.float64)


def r2_score(y_true: Any, y_pred: Any) -> float:
    """Return the coefficient of determination of a regression, the mean over its outputs.

    It is 1 - sum((y_true - y_pred)^2) / sum((y_true - mean(y_true))^2): 1 is perfect, 0 is no better than the mean.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (n,) or (n, outputs)
        At least two samples; (n,) is the same as (n, 1).

    Returns
    -------
    float
        At most 1. Of targets that are all equal: 1 if they are met exactly, else 0.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        If an argument is unfit, or the shapes differ.
    """
    true, pred = _values(y_true, "y_true"), _values(y_pred, "y_pred")
    if true.shape != pred.shape:
        raise ValueError(f"y_pred: expected shape {true.shape}, got {pred.shape}")
    if len(true) < 2:
        raise ValueError(f"y_true: expected at least two samples, got {len(true)}")
    return float(_sklearn_metrics().r2_score(true, pred))
