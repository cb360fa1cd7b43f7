"""Callbacks: what `fit` calls after each epoch to stop the training, to keep its best state or to slow it down."""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ranvier.checks import boolean, integer, nonnegative, positive, real
from ranvier.history import History
from ranvier.types import Array

if TYPE_CHECKING:
    from ranvier.network import Network

__all__ = ["Callback", "Checkpoint", "EarlyStopping", "ReduceOnPlateau", "StatefulCallback", "StopAtTolerance"]

_QUANTITIES = ("loss", "accuracy", "val_loss", "val_accuracy")


class Callback(Protocol):
    """Called after each epoch; training ends if it returns True."""

    def __call__(self, network: Network, epoch: int, history: History) -> bool | None:
        """React to the epoch of that number, counted from 1."""


class StatefulCallback:
    """A callback that also hears when `ranvier.Network.fit` starts and ends. All of the library's are such.

    A further fit with the same callback starts anew.
    """

    def start(self, network: Network, validated: bool) -> None:
        """Forget an earlier training; called before anything has changed, so that an error leaves no trace.

        Parameters
        ----------
        network : Network
        validated : bool
            Whether there are validation data.
        """

    def __call__(self, network: Network, epoch: int, history: History) -> bool | None:
        """React to the epoch of that number, counted from 1; training ends if this is True."""
        raise NotImplementedError

    def finish(self, network: Network) -> None:
        """React to the end of a training, unless an error or Ctrl-C ended it."""


def _quantity(monitor: Any) -> str:
    if monitor not in _QUANTITIES:
        raise ValueError(f"monitor: expected one of {', '.join(map(repr, _QUANTITIES))}, got {monitor!r}")
    return str(monitor)


class _Watch:
    """Tells whether a quantity of the history is better than ever, and for how long it has not been."""

    def __init__(self, monitor: str, min_delta: float = 0.0) -> None:
        self._monitor = monitor
        self._min_delta = min_delta
        self._sign = -1.0 if monitor.endswith("accuracy") else 1.0
        self._least = math.inf
        self.waited = 0

    def check(self, validated: bool) -> None:
        if self._monitor.startswith("val_") and not validated:
            raise ValueError(f"monitor: expected validation data for {self._monitor!r}, got none")

    def improved(self, history: History) -> bool:
        value = self._sign * getattr(history, self._monitor)[-1]
        better = bool(value < self._least - self._min_delta)  # NaN never is
        self.waited = 0 if better else self.waited + 1
        if better:
            self._least = value
        return better


@dataclass(eq=False)
class EarlyStopping(StatefulCallback):
    """End the training when a quantity has not improved for some epochs.

    Parameters
    ----------
    monitor : {"val_loss", "val_accuracy", "loss", "accuracy"}
        Losses are to fall, accuracies to rise.
    patience : int
        The epochs in succession without improvement that end the training, at least 1.
    min_delta : float
        An improvement is by more than this.
    restore_best : bool
        Whether the network gets back the parameters and running statistics of its best epoch when the training
        ends, be it here, at the last epoch or by another callback. The optimizer's state stays the last.

    Attributes
    ----------
    best_epoch : int
        The last epoch with an improvement, counted from 1; 0 if there was none.
    """

    monitor: str = "val_loss"
    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = True
    best_epoch: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        self.monitor = _quantity(self.monitor)
        self.patience = integer(self.patience, "patience", 1)
        self.min_delta = nonnegative(self.min_delta, "min_delta")
        self.restore_best = boolean(self.restore_best, "restore_best")
        self._forget()

    def _forget(self) -> None:
        self._watch = _Watch(self.monitor, self.min_delta)
        self._best: dict[str, Array] | None = None
        self.best_epoch = 0

    def start(self, network: Network, validated: bool) -> None:
        """Forget an earlier training.

        Raises
        ------
        ValueError
            If there are no validation data to monitor.
        """
        self._forget()
        self._watch.check(validated)

    def __call__(self, network: Network, epoch: int, history: History) -> bool:
        """Return whether the patience is at its end."""
        if self._watch.improved(history):
            self.best_epoch = epoch
            if self.restore_best:
                self._best = network.state_dict()
        return self._watch.waited >= self.patience

    def finish(self, network: Network) -> None:
        """Put the best state back."""
        if self._best is not None:
            network.load_state_dict(self._best)
            self._best = None


@dataclass(eq=False)
class Checkpoint(StatefulCallback):
    """Save the network with its training state (see `Network.save`).

    Callbacks are called in their order; let this one be the last, so that the file has what the others changed.

    Parameters
    ----------
    path : path-like
        Each file replaces the one before, in one step.
    every : int
        Save each time that so many epochs are done.
    monitor : {"loss", "accuracy", "val_loss", "val_accuracy"}, optional
        Save only if this quantity is better than in all files of this training, and so keep the best.
    """

    path: str | os.PathLike[str]
    every: int = 1
    monitor: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike):
            raise TypeError(f"path: expected a path, got {type(self.path).__name__}")
        self.every = integer(self.every, "every", 1)
        if self.monitor is not None:
            self.monitor = _quantity(self.monitor)
        self._forget()

    def _forget(self) -> None:
        self._watch = None if self.monitor is None else _Watch(self.monitor)

    def start(self, network: Network, validated: bool) -> None:
        """Forget an earlier training.

        Raises
        ------
        FileNotFoundError
            If there is no folder for the file.
        ValueError
            If there are no validation data to monitor.
        """
        self._forget()
        if self._watch is not None:
            self._watch.check(validated)
        folder = Path(self.path).parent
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))

    def __call__(self, network: Network, epoch: int, history: History) -> None:
        """Save the network if it is time."""
        if epoch % self.every == 0 and (self._watch is None or self._watch.improved(history)):
            network.save(self.path, training_state=True)


@dataclass(eq=False)
class ReduceOnPlateau(StatefulCallback):
    """Multiply the learning rate when a quantity has not improved for some epochs.

    It works through `Network.learning_rate_factor`, which goes on in a further `Network.fit` with an equal optimizer,
    and is in a file with the training state. The patience starts anew.

    Parameters
    ----------
    monitor : {"val_loss", "val_accuracy", "loss", "accuracy"}
        Losses are to fall, accuracies to rise.
    factor : float
        Above 0 and below 1.
    patience : int
        The epochs in succession without improvement after which the rate is reduced, at least 1.
    min_delta : float
        An improvement is by more than this.
    min_factor : float
        The least that all reductions together multiply the learning rate by.
    """

    monitor: str = "val_loss"
    factor: float = 0.1
    patience: int = 10
    min_delta: float = 0.0
    min_factor: float = 0.0

    def __post_init__(self) -> None:
        self.monitor = _quantity(self.monitor)
        self.factor = real(self.factor, "factor")
        if not 0 < self.factor < 1:
            raise ValueError(f"factor: expected a number above 0 and below 1, got {self.factor}")
        self.patience = integer(self.patience, "patience", 1)
        self.min_delta = nonnegative(self.min_delta, "min_delta")
        self.min_factor = nonnegative(self.min_factor, "min_factor", below=1)
        self._watch = _Watch(self.monitor, self.min_delta)

    def start(self, network: Network, validated: bool) -> None:
        """Forget an earlier training.

        Raises
        ------
        ValueError
            If there are no validation data to monitor.
        """
        self._watch = _Watch(self.monitor, self.min_delta)
        self._watch.check(validated)

    def __call__(self, network: Network, epoch: int, history: History) -> None:
        """Reduce the learning rate if the patience is at its end."""
        self._watch.improved(history)
        if self._watch.waited >= self.patience:
            now = network.learning_rate_factor
            network.learning_rate_factor = min(now, max(now * self.factor, self.min_factor))
            self._watch.waited = 0


@dataclass(eq=False)
class StopAtTolerance(StatefulCallback):
    """End the training when an epoch moves the parameters by less than the tolerance.

    With ``batch_size=None`` an epoch is one step of gradient descent, and ``epochs`` limits the number of steps.

    Parameters
    ----------
    tolerance : float
        Above 0; the Euclidean length of the step, over all parameters together.

    Attributes
    ----------
    length : float
        Of the last step; infinite before the first.
    """

    tolerance: float
    length: float = field(default=math.inf, init=False, repr=False)

    def __post_init__(self) -> None:
        self.tolerance = positive(self.tolerance, "tolerance")
        self._before: Array | None = None

    def start(self, network: Network, validated: bool) -> None:
        """Remember where the parameters are."""
        self.length = math.inf
        self._before = network.engine.parameters.flat_values.astype(np.float64)

    def __call__(self, network: Network, epoch: int, history: History) -> bool:
        """Return whether the step was shorter than the tolerance."""
        now = network.engine.parameters.flat_values.astype(np.float64)
        if self._before is not None:
            self.length = math.sqrt(np.square(now - self._before).sum())
        self._before = now
        return self.length < self.tolerance

    def finish(self, network: Network) -> None:
        """Give the memory back."""
        self._before = None
