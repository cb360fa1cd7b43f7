"""The metrics of a network with several outputs: those of each, under its name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ranvier.data import Data, has_classes
from ranvier.epoch_metrics import Metrics, Tally, listed
from ranvier.joint_losses import LossOfRows, mean_of
from ranvier.losses import Loss

__all__ = ["JointMetrics", "listed_by_output"]


def listed_by_output(metrics: Any, names: Any) -> dict[str, list[Any]]:
    """Return lists of metrics by the outputs that they are of.

    Raises
    ------
    TypeError
        If they are no dict.
    ValueError
        If there is no output of a name.
    """
    if not isinstance(metrics, Mapping):
        if not isinstance(metrics, str) and not callable(metrics) and not list(metrics):
            return {}
        raise TypeError(f"metrics: expected a dict of lists by the names of outputs, {list(names)}, got {metrics!r}")
    if unknown := [name for name in metrics if name not in names]:
        raise ValueError(f"metrics: expected outputs of {list(names)}, got {unknown[0]!r}")
    return {name: listed(wanted) for name, wanted in metrics.items()}


class JointMetrics(Metrics):
    """The loss and the metrics of each output.

    Parameters
    ----------
    wanted : dict of str to list
        By the names of outputs.
    first : Data
        Some of the data.
    loss : LossOfRows
    classes : JointMetrics, optional
        Of the training, by which it is known which targets stand for classes.
    """

    def __init__(
        self, wanted: Mapping[str, list[Any]], first: Data, loss: LossOfRows, of_training: JointMetrics | None = None
    ) -> None:
        self.has_classes = False  # of all outputs together
        self.outputs = loss.outputs.size
        self._loss = loss
        self.of_outputs: dict[str, Metrics] = {}
        nothing = np.zeros((len(first.y), self.outputs), first.y.dtype)
        for part in loss.parts(nothing, first.y):
            size = math.prod(part.prediction.shape[1:])
            classes = isinstance(part.loss, Loss) and has_classes(part.loss, part.target, size)
            if of_training is not None:
                classes = of_training.of_outputs[part.name].has_classes
            data = Data(part.prediction, part.target, None)
            self.of_outputs[part.name] = Metrics(wanted.get(part.name, ()), data, part.loss, size, classes)

    @property
    def names(self) -> list[str]:
        """Return the names of what there is beside the loss."""
        return [
            f"{output}_{name}"
            for output, metrics in self.of_outputs.items()
            for name in ("loss", *(("accuracy",) if metrics.has_classes else ()), *metrics.names)
        ]

    def tally(self, parts: int = 1) -> Tally:
        """Return what collects the outputs of a pass."""
        return _JointTally(self._loss, self)


class _JointTally(Tally):
    """All targets and outputs of one pass."""

    def __init__(self, loss: LossOfRows, metrics: JointMetrics) -> None:
        super().__init__([], {"joint": math.nan}, None)  # type: ignore[dict-item]
        self._loss, self._metrics = loss, metrics

    def results(self) -> dict[str, float]:
        """Return the losses and metrics by the names of the outputs and their own; NaN if there were no samples."""
        results = dict.fromkeys(self._metrics.names, math.nan)
        if not sum(map(len, self._targets)):
            return results
        targets, predictions = np.concatenate(self._targets), np.concatenate(self._predictions)
        for part in self._loss.parts(predictions, targets):
            metrics = self._metrics.of_outputs[part.name]
            mean, hits = mean_of(part.loss, part.prediction, part.target, None)
            own = {"loss": mean, "accuracy": hits / len(targets)} if metrics.has_classes else {"loss": mean}
            tally = metrics.tally()
            tally.add_outputs(part.target, part.prediction)
            results |= {f"{part.name}_{name}": value for name, value in (own | tally.results()).items()}
        return results
