"""The record of a training run, one number an epoch for each quantity, and the result of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ranvier.tables import Table

__all__ = ["Evaluation", "History"]

_MOST = 60  # epochs in a table


class _LossAndAccuracy(NamedTuple):
    loss: float
    accuracy: float | None


class Evaluation(_LossAndAccuracy):
    """The mean loss of some samples, and the fraction whose largest output is the target's.

    It unpacks into these two. ``accuracy`` is None if the targets are numbers and not classes. Further metrics are
    attributes by their names, such as ``r2``.

    Attributes
    ----------
    loss : float
    accuracy : float or None
    metrics : dict of str to float
        The further metrics.
    """

    metrics: dict[str, float]

    def __new__(cls, loss: float, accuracy: float | None, metrics: Mapping[str, float] | None = None) -> Evaluation:
        """Return one with these numbers."""
        self = super().__new__(cls, loss, accuracy)
        self.metrics = dict(metrics or {})
        return self

    def __getattr__(self, name: str) -> float:
        """Return a further metric."""
        value: float = _further(self, name)
        return value

    def __repr__(self) -> str:
        """Return all numbers."""
        numbers = {"loss": self.loss, "accuracy": self.accuracy, **self.metrics}
        return f"Evaluation({', '.join(f'{name}={value!r}' for name, value in numbers.items())})"


def _further(of: Any, name: str) -> Any:
    metrics = of.__dict__.get("metrics", {})
    if name not in metrics:
        known = f"; its further metrics are {sorted(metrics)}" if metrics else ""
        raise AttributeError(f"{type(of).__name__} has no {name!r}{known}")
    return metrics[name]


@dataclass
class History:
    """The losses, metrics and times of all epochs of a network, through all calls of its `Network.fit`.

    As text and in notebooks it is a table.

    Each list has an entry for each epoch, or is empty if no epoch had the quantity. Where only some had it, the others'
    entries are NaN.

    Attributes
    ----------
    loss : list of float
        The mean over the epoch's samples, taken while the parameters moved, with the weights of samples and classes.
    accuracy : list of float
        The fraction of right predictions among the epoch's samples, if the targets are classes.
    val_loss, val_accuracy : list of float
        The loss and the accuracy of the validation data after the epoch.
    lr : list of float
        The learning rate of the epoch's last update.
    seconds : list of float
        The time that the epoch took, without its validation.
    metrics : dict of str to list of float
        Further metrics, which are attributes by their names, too: ``r2`` and ``mae`` if the targets are numbers, and
        those that `Network.fit` was asked for. Those of the validation data are called ``val_r2`` and so on.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)

    def append(self, **quantities: float | None) -> None:
        """Add an epoch. What is None or not given becomes NaN, unless no epoch has had it."""
        epochs = len(self)
        own = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "metrics"}
        for name in quantities:
            if name not in own:
                self.metrics.setdefault(name, [])
        for name, values in {**own, **self.metrics}.items():
            value = quantities.get(name)
            if value is not None or values:
                values += [math.nan] * (epochs - len(values))
                values.append(math.nan if value is None else value)

    def as_dict(self) -> dict[str, list[float]]:
        """Return all lists by name, those of further metrics among them."""
        own = {item.name: list(getattr(self, item.name)) for item in fields(self) if item.name != "metrics"}
        return own | {name: list(values) for name, values in self.metrics.items()}

    @classmethod
    def from_dict(cls, lists: Mapping[str, list[float]]) -> History:
        """Return what `as_dict` describes; a ValueError if there are metrics of epochs without a loss."""
        own = {item.name for item in fields(cls)} - {"metrics"}
        further = {name: list(values) for name, values in lists.items() if name not in own}
        if unknown := [name for name, values in further.items() if len(values) > len(lists.get("loss", ()))]:
            raise ValueError(f"history: expected a loss for each epoch of {unknown[0]!r}")
        return cls(**{name: list(lists[name]) for name in lists if name in own}, metrics=further)

    def __str__(self) -> str:
        """Return the table of epochs."""
        return str(self._table())

    def _repr_html_(self) -> str:
        """Return the table of epochs for a notebook."""
        return self._table()._repr_html_()

    def _table(self) -> Table:
        """Return a row for each epoch, but only for the first and last ones of very many."""
        from ranvier.tables import Table  # here, like what else not every program needs

        lists = {name: values for name, values in self.as_dict().items() if values}
        epochs = len(self)
        rows = [
            (str(epoch + 1), *(f"{values[epoch]:.4g}" if epoch < len(values) else "" for values in lists.values()))
            for epoch in range(epochs)
            if epochs <= _MOST or not _MOST // 2 <= epoch < epochs - _MOST // 2
        ]
        if epochs > _MOST:
            rows.insert(_MOST // 2, ("...",) * (1 + len(lists)))
        return Table(("epoch", *lists), rows)

    def __getattr__(self, name: str) -> list[float]:
        """Return the values of a further metric."""
        values: list[float] = _further(self, name)
        return values

    def __len__(self) -> int:
        """Return the number of epochs done."""
        return len(self.loss)
