"""Metrics of a pass over samples, in training or evaluation: those known by name, and functions of one's own.

Those of errors come from sums that the core adds up, batch by batch. The others are functions of all targets and
outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ranvier import metrics as functions
from ranvier.data import Data, has_classes
from ranvier.losses import CustomLoss, Loss
from ranvier.types import Array, Labels

__all__ = ["KNOWN", "AnyMetric", "Metrics", "Tally", "listed", "rises"]

AnyMetric: TypeAlias = str | Callable[[Any, Any], float]

_OF_ERRORS = ("r2", "mae", "rmse", "mse")
_OF_CLASSES = ("precision", "recall", "f1")
_OWN = ("loss", "accuracy")  # quantities that are there without being asked for
KNOWN = (*_OWN, *_OF_CLASSES, *_OF_ERRORS)
_RISING = (*_OF_CLASSES, "accuracy", "r2", "r2_score", "top_k_accuracy")


def rises(name: str) -> bool | None:
    """Return whether a quantity is the better the larger it is; None if that is unknown."""
    name = name.removeprefix("val_")
    if name in _RISING:
        return True
    if name in (*_OF_ERRORS, "loss"):
        return False
    own = name.rpartition("_")[2]  # of one of several outputs: "age_loss"
    return rises(own) if own != name else None


def listed(metrics: Any) -> list[AnyMetric]:
    """Return metrics as a list, unless they are a single one."""
    if isinstance(metrics, str) or callable(metrics):
        raise TypeError(f"metrics: expected a list of names and functions, got {metrics!r}")
    return list(metrics)


def _of_classes(name: str) -> Callable[[Any, Any], float]:
    """Return the macro average of a metric that has a number for each class."""
    function = functions.f1_score if name == "f1" else getattr(functions, name)
    return lambda y_true, y_pred: float(function(y_true, y_pred, average="macro"))


class Metrics:
    """The metrics of targets of one kind.

    Accuracy, for classes, or R squared and the mean absolute error, for numbers, are there in any case.

    Parameters
    ----------
    wanted : iterable of str or functions
        As in `ranvier.Network.fit`.
    first : Data
        Some of the data.
    loss : Loss or CustomLoss
    outputs : int
    classes : bool, optional
        Whether the targets stand for classes; as the first ones look unless given.
    """

    def __init__(
        self,
        wanted: Iterable[AnyMetric],
        first: Data,
        loss: Loss | CustomLoss,
        outputs: int,
        classes: bool | None = None,
    ) -> None:
        self.has_classes = has_classes(loss, first.y, outputs) if classes is None else classes
        self.outputs = outputs
        self._has_errors = first.y.ndim > 1 and math.prod(first.y.shape[1:]) == outputs
        self._errors: list[str] = []
        self._functions: dict[str, Callable[[Any, Any], float]] = {}
        if not self.has_classes and self._has_errors:
            self._errors += ["r2", "mae"]
        for metric in wanted:
            self._add(metric)
        self._reference: Array | None = None
        if self._errors:
            self._reference = first.y[0].reshape(-1).astype(np.float64)

    def _add(self, metric: AnyMetric) -> None:
        name = metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
        if isinstance(metric, str) and metric in _OF_ERRORS:
            if not self._has_errors:
                raise ValueError(f"metrics: expected targets that are numbers for {metric!r}, got labels")
            self._errors += [] if metric in self._errors else [metric]
        elif isinstance(metric, str) and metric in (*_OF_CLASSES, "accuracy"):
            if not self.has_classes:
                raise ValueError(f"metrics: expected targets that are classes for {metric!r}, got numbers")
            if metric != "accuracy":
                functions.require_sklearn()
                self._functions[metric] = _of_classes(metric)
        elif isinstance(metric, str):
            known = ", ".join(map(repr, KNOWN[1:]))
            raise ValueError(f"metrics: expected {known} or a function of (y_true, y_pred), got {metric!r}")
        elif not callable(metric) or isinstance(metric, type):
            raise TypeError(f"metrics: expected names or functions of (y_true, y_pred), got {metric!r}")
        elif name in (*_OWN, *_OF_ERRORS) or name.startswith("val_") or not name.isidentifier():
            raise ValueError(f"metrics: expected a function whose name can be that of a quantity, got {name!r}")
        else:
            self._functions[name] = metric

    @property
    def names(self) -> list[str]:
        """Return the names of what there is beside the loss and the accuracy."""
        return [*self._errors, *self._functions]

    def tally(self, parts: int = 1) -> Tally:
        """Return sums for a pass, of whose batches a process takes so many parts."""
        return Tally(self._errors, self._functions, self._reference, parts)


class Tally:
    """What the batches of one pass add up to.

    Attributes
    ----------
    errors : ndarray of float64, shape (5 * parts, outputs), or None
        Of each part a reference, and the sums that the core adds to.
    """

    def __init__(
        self,
        errors: list[str],
        functions: Mapping[str, Callable[[Any, Any], float]],
        reference: Array | None,
        parts: int = 1,
    ) -> None:
        self._names, self._functions = errors, functions
        self.errors: Array | None = None
        if reference is not None:
            self.errors = np.zeros((5 * parts, len(reference)))
            self.errors[::5] = reference
        self._count = 0
        self._targets: list[Array] = []
        self._predictions: list[Array] = []
        self._numbers: list[Labels] = []

    def wants_predictions(self, loss: Loss | CustomLoss) -> bool:
        """Return whether it needs all outputs: for functions, or for errors that the core does not see."""
        return bool(self._functions) or (self.errors is not None and not isinstance(loss, Loss))

    def add(self, count: int) -> None:
        """Take note of samples whose errors the core has added."""
        self._count += count

    def add_predictions(
        self, targets: Array, predictions: Array, loss: Loss | CustomLoss, numbers: Labels | None = None
    ) -> None:
        """Take note of outputs; rows of NaN are those that made no update. The numbers say what order they are in."""
        used = ~np.isnan(_rows(predictions)).any(axis=1)
        if not used.all():
            targets, predictions = targets[used], predictions[used]
            numbers = None if numbers is None else numbers[used]
        self._keep(targets, predictions, numbers)
        if not isinstance(loss, Loss):
            self._add_errors(targets, predictions)

    def add_outputs(self, targets: Array, predictions: Array) -> None:
        """Take note of outputs of which the core has seen nothing."""
        self._count += len(targets)
        self._keep(targets, predictions, None)
        self._add_errors(targets, predictions)

    def _keep(self, targets: Array, predictions: Array, numbers: Labels | None) -> None:
        if self._functions:
            self._targets.append(targets)
            self._predictions.append(predictions)
            later = len(self._numbers) << 40  # than all of the calls before
            self._numbers.append(np.arange(len(targets)) if numbers is None else numbers + later)

    def _add_errors(self, targets: Array, predictions: Array) -> None:
        if self.errors is not None:
            rows = _rows(targets).astype(np.float64)
            error, distance = predictions.reshape(rows.shape) - rows, rows - self.errors[0]
            self.errors[1:5] += [np.sum(part, axis=0) for part in (error**2, abs(error), distance, distance**2)]

    def contents(self) -> tuple[Any, ...]:
        """Return what it has, for `join`."""
        lists = (self._targets, self._predictions, self._numbers)
        arrays = [np.concatenate(arrays) if arrays else None for arrays in lists]
        return self.errors, self._count, *arrays

    def join(self, contents: Sequence[tuple[Any, ...]], counts_are_own: bool) -> None:
        """Become the tally of several, which either counted their own samples each or the same ones."""
        errors, counts, *lists = zip(*contents, strict=True)
        if counts_are_own:
            self._count = sum(counts)
        if self.errors is not None:
            sums = np.concatenate(errors).reshape(-1, *self.errors[:5].shape)
            self.errors = sums[0]
            for part in sums[1:]:
                self.errors[1:] += part[1:]
        targets, predictions, numbers = ([array for array in arrays if array is not None] for arrays in lists)
        if numbers:
            order = np.argsort(np.concatenate(numbers), kind="stable")
            self._targets = [np.concatenate(targets)[order]]
            self._predictions = [np.concatenate(predictions)[order]]

    def results(self) -> dict[str, float]:
        """Return the metrics by name; NaN if there were no samples."""
        results = dict.fromkeys((*self._names, *self._functions), math.nan)
        if self._count > 0:
            results |= {name: self._of_errors(name) for name in self._names}
        if self._functions and sum(map(len, self._targets)) > 0:
            targets, predictions = np.concatenate(self._targets), np.concatenate(self._predictions)
            for name, function in self._functions.items():
                results[name] = _as_number(function(targets, predictions), name)
        return results

    def _of_errors(self, name: str) -> float:
        assert self.errors is not None
        _, squared, absolute, distance, distance_squared = self.errors[:5]
        if name == "mae":
            return float(np.mean(absolute) / self._count)
        mse = float(np.mean(squared) / self._count)
        if name != "r2":
            return mse if name == "mse" else math.sqrt(mse)
        if self._count < 2:
            return math.nan
        spread = distance_squared - distance**2 / self._count
        varies = spread > 1e-14 * distance_squared
        scores = 1 - squared / np.where(varies, spread, 1.0)
        return float(np.mean(np.where(varies, scores, np.where(squared > 0, 0.0, 1.0))))


def _rows(array: Array) -> Array:
    """Return one row for each sample, of which there may be none."""
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _as_number(value: Any, name: str) -> float:
    if np.ndim(value) != 0:
        raise TypeError(f"metrics: expected a number from {name}, got an array of shape {np.shape(value)}")
    return float(value)
