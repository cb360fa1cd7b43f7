"""Callbacks, which `fit` calls while it trains: they stop the training, keep its best state or lower its rate."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ranvier.checks import boolean, integer, nonnegative, positive, real, require_instance
from ranvier.epoch_metrics import KNOWN, rises
from ranvier.files import require_replaceable
from ranvier.history import History
from ranvier.types import Array

__all__ = [
    "AnyCallback",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "ReduceLROnPlateau",
    "StopAtTolerance",
    "checked_callbacks",
]


class Callback:
    """The base class of what `ranvier.Network.fit` calls while it trains, also of the library's own callbacks.

    Derive from it, and write the methods that you need. A method whose name begins with ``on_`` but is none of these
    is an error as soon as the class is made. ``network`` is the `ranvier.Network` that is trained; a callback may look
    at it and change it in any way. Each further fit with the same callback calls ``on_train_begin`` first.

    Attributes
    ----------
    first_rank_only : bool
        Whether it is called on rank 0 alone of those who train together (see `ranvier.distributed`), as suits what
        writes files.
    """

    first_rank_only = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Check the names of the methods."""
        super().__init_subclass__(**options)
        hooks = [name for name in vars(Callback) if name.startswith("on_")]
        for name in vars(cls):
            if name.startswith("on_") and name not in hooks:
                close = difflib.get_close_matches(name, hooks, 1, 0)
                raise TypeError(f"{cls.__name__}.{name}: expected one of {', '.join(hooks)}; did you mean {close[0]}?")

    def on_train_begin(self, network: Any, quantities: Collection[str]) -> None:
        """Get ready for a training. Nothing has changed yet, so that an error raised here leaves no trace.

        Parameters
        ----------
        network : Network
        quantities : collection of str
            The names of what the history will have: "loss", "accuracy", further metrics, "val_loss" and so on.
        """

    def on_batch_end(self, network: Any, batch: int, loss: float) -> bool | None:
        """React to the end of a batch, counted from 1, with its mean loss; return True to end the training.

        Batches whose gradients `ranvier.Network.fit` adds up for one update are one batch to it.
        """

    def on_epoch_end(self, network: Any, epoch: int, history: History) -> bool | None:
        """React to the end of an epoch of this fit, counted from 1; return True to end the training."""

    def on_train_end(self, network: Any) -> None:
        """React to the end of the training, also where Ctrl-C ended it, but not where an error did."""


# A function is an on_epoch_end().
AnyCallback: TypeAlias = Callback | Callable[[Any, int, History], bool | None]


class _Function(Callback):
    """A function that is called after each epoch."""

    def __init__(self, function: Callable[[Any, int, History], bool | None]) -> None:
        self._function = function

    def on_epoch_end(self, network: Any, epoch: int, history: History) -> bool | None:
        return self._function(network, epoch, history)


def checked_callbacks(callbacks: Iterable[Any]) -> list[Callback]:
    """Return callbacks, with functions made such.

    Raises
    ------
    TypeError
        If one is neither.
    """
    checked = []
    for callback in callbacks:
        require_instance(callback, "callbacks")
        if isinstance(callback, Callback):
            checked.append(callback)
            continue
        hook = next((name for name in dir(callback) if name.startswith("on_")), None)
        if not callable(callback) or hook is not None:
            reason = "" if hook is None else f", whose {hook} would not be called"
            raise TypeError(
                f"callbacks: expected functions, or instances of ranvier.callbacks.Callback, got {callback!r}{reason}"
            )
        checked.append(_Function(callback))
    return checked


def hears_batches(callback: Callback) -> bool:
    """Return whether a callback reacts to each batch."""
    return type(callback).on_batch_end is not Callback.on_batch_end


def _monitored(monitor: Any, mode: Any) -> tuple[str, str | None]:
    """Return what is to be monitored, and whether it is to be small or large unless its name says so."""
    if mode not in (None, "min", "max"):
        raise ValueError(f"mode: expected 'min' or 'max', got {mode!r}")
    if not isinstance(monitor, str) or (mode is None and rises(monitor) is None):
        known = ", ".join(map(repr, KNOWN))
        raise ValueError(
            f"monitor: expected one of {known}, one of these with 'val_', or a metric of your own with mode='min' or "
            f"'max', got {monitor!r}"
        )
    return monitor, mode


class _Watch:
    """Tells whether a quantity of the history is better than ever, and for how long it has not been."""

    def __init__(self, monitor: str, mode: str | None, min_delta: float = 0.0) -> None:
        self._monitor = monitor
        self._min_delta = min_delta
        self._sign = -1.0 if mode == "max" or (mode is None and rises(monitor)) else 1.0
        self._least = math.inf
        self.waited = 0

    def check(self, quantities: Collection[str]) -> None:
        if self._monitor in quantities:
            return
        if self._monitor.startswith("val_") and "val_loss" not in quantities:
            raise ValueError(f"monitor: expected validation data for {self._monitor!r}, got none")
        if self._monitor.removeprefix("val_") == "accuracy":
            raise ValueError(f"monitor: expected targets that are classes for {self._monitor!r}, got numbers")
        raise ValueError(
            f"monitor: expected one of {', '.join(map(repr, quantities))}, got {self._monitor!r}; "
            f"fit(metrics=...) adds to them"
        )

    def improved(self, history: History) -> bool:
        value = self._sign * getattr(history, self._monitor)[-1]
        better = bool(value < self._least - self._min_delta)  # NaN never is
        self.waited = 0 if better else self.waited + 1
        if better:
            self._least = value
        return better


@dataclass(eq=False)
class EarlyStopping(Callback):
    """End the training when a quantity has not improved for some epochs.

    Parameters
    ----------
    monitor : str
        A quantity of the history: "loss", "accuracy" or another metric of `Network.fit`, or ``val_`` and one of these.
    patience : int
        The number of epochs in succession without improvement that ends the training, at least 1.
    min_delta : float
        A change by more than this counts as an improvement.
    restore_best : bool
        Whether the network gets back the parameters and running statistics of its best epoch when the training
        ends, be it here, at the last epoch, by another callback or by Ctrl-C. The optimizer keeps its latest state.
    mode : {"min", "max"}, optional
        Whether the quantity is to be small or large. Only a metric of your own needs it.

    Attributes
    ----------
    best_epoch : int
        The last epoch with an improvement, counted from 1; 0 if there was none.
    """

    monitor: str = "val_loss"
    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = True
    mode: str | None = None
    best_epoch: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        self.monitor, self.mode = _monitored(self.monitor, self.mode)
        self.patience = integer(self.patience, "patience", 1)
        self.min_delta = nonnegative(self.min_delta, "min_delta")
        self.restore_best = boolean(self.restore_best, "restore_best")
        self._forget()

    def _forget(self) -> None:
        self._watch = _Watch(self.monitor, self.mode, self.min_delta)
        self._best: dict[str, Array] | None = None
        self.best_epoch = 0

    def on_train_begin(self, network: Any, quantities: Collection[str]) -> None:
        """Forget an earlier training.

        Raises
        ------
        ValueError
            If the history will not have what is to be monitored.
        """
        self._forget()
        self._watch.check(quantities)

    def on_epoch_end(self, network: Any, epoch: int, history: History) -> bool:
        """Return whether the patience is at its end."""
        if self._watch.improved(history):
            self.best_epoch = epoch
            if self.restore_best:
                self._best = network.state_dict()
        return self._watch.waited >= self.patience

    def on_train_end(self, network: Any) -> None:
        """Put the best state back."""
        if self._best is not None:
            network.load_state_dict(self._best)
            self._best = None


@dataclass(eq=False)
class Checkpoint(Callback):
    """Save the network with its training state (see `Network.save`).

    Callbacks are called in their order. Put this one last, so that the file has what the others have changed.

    Parameters
    ----------
    path : path-like
        The file, which each save replaces in one step.
    every : int
        The number of epochs from one save to the next.
    monitor : str, optional
        Save only if this quantity of the history is better than in all files of this training, and so keep the best.
    mode : {"min", "max"}, optional
        Whether it is to be small or large. Only a metric of your own needs it.
    """

    first_rank_only = True

    path: str | os.PathLike[str]
    every: int = 1
    monitor: str | None = None
    mode: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike):
            raise TypeError(f"path: expected a path, got {type(self.path).__name__}")
        self.every = integer(self.every, "every", 1)
        if self.monitor is not None:
            self.monitor, self.mode = _monitored(self.monitor, self.mode)
        self._forget()

    def _forget(self) -> None:
        self._watch = None if self.monitor is None else _Watch(self.monitor, self.mode)

    def on_train_begin(self, network: Any, quantities: Collection[str]) -> None:
        """Forget an earlier training.

        Raises
        ------
        OSError
            If the file could not be written, for example since there is no folder for it.
        ValueError
            If the history will not have what is to be monitored, or something that is no plain file has the name.
        """
        self._forget()
        if self._watch is not None:
            self._watch.check(quantities)
        require_replaceable(os.fspath(self.path))

    def on_epoch_end(self, network: Any, epoch: int, history: History) -> None:
        """Save the network if it is time."""
        if epoch % self.every == 0 and (self._watch is None or self._watch.improved(history)):
            network.save(self.path, training_state=True)


@dataclass(eq=False)
class ReduceLROnPlateau(Callback):
    """Multiply the learning rate when a quantity has not improved for some epochs.

    It sets `Network.learning_rate_factor`, which stays in force in a further `Network.fit` with an equal optimizer, and
    is saved with the training state. A further `Network.fit` counts the epochs without improvement anew.

    Parameters
    ----------
    monitor : str
        A quantity of the history: "loss", "accuracy" or another metric of `Network.fit`, or ``val_`` and one of these.
    factor : float
        The number that multiplies the learning rate, above 0 and below 1.
    patience : int
        The number of epochs in succession without improvement after which the rate is reduced, at least 1.
    min_delta : float
        A change by more than this counts as an improvement.
    min_factor : float
        The lower limit of `Network.learning_rate_factor`, the product of all reductions. It is relative, where
        PyTorch's ``min_lr`` is a rate.
    mode : {"min", "max"}, optional
        Whether the quantity is to be small or large. Only a metric of your own needs it.
    """

    monitor: str = "val_loss"
    factor: float = 0.1
    patience: int = 10
    min_delta: float = 0.0
    min_factor: float = 0.0
    mode: str | None = None

    def __post_init__(self) -> None:
        self.monitor, self.mode = _monitored(self.monitor, self.mode)
        self.factor = real(self.factor, "factor")
        if not 0 < self.factor < 1:
            raise ValueError(f"factor: expected a number above 0 and below 1, got {self.factor}")
        self.patience = integer(self.patience, "patience", 1)
        self.min_delta = nonnegative(self.min_delta, "min_delta")
        self.min_factor = nonnegative(self.min_factor, "min_factor", below=1)
        self._watch = _Watch(self.monitor, self.mode, self.min_delta)

    def on_train_begin(self, network: Any, quantities: Collection[str]) -> None:
        """Forget an earlier training.

        Raises
        ------
        ValueError
            If the history will not have what is to be monitored.
        """
        self._watch = _Watch(self.monitor, self.mode, self.min_delta)
        self._watch.check(quantities)

    def on_epoch_end(self, network: Any, epoch: int, history: History) -> None:
        """Reduce the learning rate if the patience is at its end."""
        self._watch.improved(history)
        if self._watch.waited >= self.patience:
            now = network.learning_rate_factor
            network.learning_rate_factor = min(now, max(now * self.factor, self.min_factor))
            self._watch.waited = 0


@dataclass(eq=False)
class StopAtTolerance(Callback):
    """End the training when an epoch moves the parameters by less than the tolerance.

    With ``batch_size=None`` an epoch is one step of gradient descent, and ``epochs`` limits the number of steps.

    Parameters
    ----------
    tolerance : float
        The least Euclidean length of a step, over all parameters together, above 0.

    Attributes
    ----------
    length : float
        The length of the last step; infinite before the first.
    """

    tolerance: float
    length: float = field(default=math.inf, init=False, repr=False)

    def __post_init__(self) -> None:
        self.tolerance = positive(self.tolerance, "tolerance")
        self._before: Array | None = None

    def on_train_begin(self, network: Any, quantities: Collection[str]) -> None:
        """Remember where the parameters are."""
        self.length = math.inf
        self._before = network.engine.parameters.flat_values.astype(np.float64)

    def on_epoch_end(self, network: Any, epoch: int, history: History) -> bool:
        """Return whether the step was shorter than the tolerance."""
        now = network.engine.parameters.flat_values.astype(np.float64)
        if self._before is not None:
            self.length = math.sqrt(np.square(now - self._before).sum())
        self._before = now
        return self.length < self.tolerance

    def on_train_end(self, network: Any) -> None:
        """Give the memory back."""
        self._before = None
