"""Learning-rate schedules: what an optimizer takes for ``learning_rate`` in place of a number.

Time is measured in epochs. It follows from the number of updates that the optimizer has done, whoever made them, so
that a training that goes on, after a further `fit` or from a file, goes on with its rates. `fit` knows how many updates
an epoch has. For a loop of your own ``updates_per_epoch`` says it; if it is 1, time is measured in updates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ranvier.checks import integer, nonnegative, positive, set_fields
from ranvier.settings import Settings
from ranvier.types import Array

__all__ = [
    "CosineSchedule",
    "ExponentialSchedule",
    "InverseTimeSchedule",
    "OneCycleSchedule",
    "Schedule",
    "StepSchedule",
    "WarmUp",
]


class Schedule(Settings):
    """A learning rate that changes in the course of training.

    A schedule of your own is a frozen dataclass that derives from this class and has ``at``; a network that is
    trained with one cannot be saved with its training state.

    Attributes
    ----------
    updates_per_epoch : int or None
        None leaves it to `ranvier.Network.fit`. A field of each schedule of the library.
    """

    updates_per_epoch: int | None = None

    def at(self, updates: Array, updates_per_epoch: int) -> Array:
        """Return the learning rate of some updates.

        Parameters
        ----------
        updates : ndarray of float64, shape (n,)
            The numbers of the updates, from 0.
        updates_per_epoch : int

        Returns
        -------
        ndarray of float64, shape (n,)
        """
        raise NotImplementedError

    def rates(self, first_update: int, updates: int, updates_per_epoch: int | None) -> Array:
        """Return the learning rates of updates in succession.

        Parameters
        ----------
        first_update : int
            The number of updates done before.
        updates : int
        updates_per_epoch : int or None
            Counts if the schedule has none of its own.

        Returns
        -------
        ndarray of float64, shape (updates,)

        Raises
        ------
        ValueError
            If nobody says how many updates an epoch has.
        """
        each = self.updates_per_epoch or updates_per_epoch
        if each is None:
            raise ValueError(
                f"learning_rate: expected a schedule with updates_per_epoch, as only fit knows how many there are, "
                f"got {self!r}"
            )
        return self.at(np.arange(first_update, first_update + updates, dtype=np.float64), each)


def _updates(value: Any) -> int | None:
    return None if value is None else integer(value, "updates_per_epoch", 1)


@dataclass(repr=False, eq=False)
class StepSchedule(Schedule):
    """Multiplied by gamma after each step_size epochs: learning_rate * gamma**(epoch // step_size).

    Parameters
    ----------
    learning_rate : float
    step_size : int
        In epochs.
    gamma : float
        Above 0.
    """

    learning_rate: float
    step_size: int
    gamma: float = 0.1
    updates_per_epoch: int | None = None

    def __post_init__(self) -> None:
        set_fields(
            self,
            learning_rate=nonnegative(self.learning_rate, "learning_rate"),
            step_size=integer(self.step_size, "step_size", 1),
            gamma=positive(self.gamma, "gamma"),
            updates_per_epoch=_updates(self.updates_per_epoch),
        )

    def at(self, updates: Array, updates_per_epoch: int) -> Array:
        """Return the learning rate of some updates, as in `Schedule.at`."""
        rates: Array = self.learning_rate * self.gamma ** (updates // updates_per_epoch // self.step_size)
        return rates


@dataclass(repr=False, eq=False)
class ExponentialSchedule(Schedule):
    """Multiplied by gamma after each epoch: learning_rate * gamma**epoch.

    Parameters
    ----------
    learning_rate : float
    gamma : float
        Above 0.
    """

    learning_rate: float
    gamma: float
    updates_per_epoch: int | None = None

    def __post_init__(self) -> None:
        set_fields(
            self,
            learning_rate=nonnegative(self.learning_rate, "learning_rate"),
            gamma=positive(self.gamma, "gamma"),
            updates_per_epoch=_updates(self.updates_per_epoch),
        )

    def at(self, updates: Array, updates_per_epoch: int) -> Array:
        """Return the learning rate of some updates, as in `Schedule.at`."""
        rates: Array = self.learning_rate * self.gamma ** (updates // updates_per_epoch)
        return rates


@dataclass(repr=False, eq=False)
class InverseTimeSchedule(Schedule):
    """Falling as one over the time: learning_rate / (1 + decay * epochs), batch by batch (Robbins and Monro 1951).

    Parameters
    ----------
    learning_rate : float
    decay : float
        Above 0: after ``1 / decay`` epochs the rate is half of what it was.

    Examples
    --------
    >>> InverseTimeSchedule(0.6, decay=1).rates(0, 5, updates_per_epoch=2)
    array([0.6 , 0.4 , 0.3 , 0.24, 0.2 ])
    """

    learning_rate: float
    decay: float
    updates_per_epoch: int | None = None

    def __post_init__(self) -> None:
        set_fields(
            self,
            learning_rate=nonnegative(self.learning_rate, "learning_rate"),
            decay=positive(self.decay, "decay"),
            updates_per_epoch=_updates(self.updates_per_epoch),
        )

    def at(self, updates: Array, updates_per_epoch: int) -> Array:
        """Return the learning rate of some updates, as in `Schedule.at`."""
        rates: Array = self.learning_rate / (1 + self.decay * updates / updates_per_epoch)
        return rates


def _cosine(start: float, end: float, fraction: Array) -> Array:
    """Go from start to end along half a cosine, while the fraction goes from 0 to 1."""
    way: Array = (1 - np.cos(np.pi * np.clip(fraction, 0, 1))) / 2
    return start + (end - start) * way


@dataclass(repr=False, eq=False)
class CosineSchedule(Schedule):
    """Half a cosine from learning_rate down to min_learning_rate (Loshchilov and Hutter 2017), batch by batch.

    Parameters
    ----------
    learning_rate : float
    epochs : float
        After which the rate is min_learning_rate, and stays so.
    min_learning_rate : float
    """

    learning_rate: float
    epochs: float
    min_learning_rate: float = 0.0
    updates_per_epoch: int | None = None

    def __post_init__(self) -> None:
        set_fields(
            self,
            learning_rate=nonnegative(self.learning_rate, "learning_rate"),
            epochs=positive(self.epochs, "epochs"),
            min_learning_rate=nonnegative(self.min_learning_rate, "min_learning_rate"),
            updates_per_epoch=_updates(self.updates_per_epoch),
        )

    def at(self, updates: Array, updates_per_epoch: int) -> Array:
        """Return the learning rate of some updates, as in `Schedule.at`."""
        return _cosine(self.learning_rate, self.min_learning_rate, updates / (self.epochs * updates_per_epoch))


@dataclass(repr=False, eq=False)
class OneCycleSchedule(Schedule):
    """Up to max_learning_rate, then down to almost nothing (Smith and Topin 2018), batch by batch.

    Both ways are half a cosine, as in PyTorch's ``OneCycleLR``; the momentum stays as it is.

    Parameters
    ----------
    max_learning_rate : float
    epochs : float
        The length of the cycle; the rate stays at its end.
    pct_start : float
        The fraction of the cycle that goes up, from 0 to below 1.
    div_factor : float
        The cycle starts at max_learning_rate / div_factor,
    final_div_factor : float
        and ends at that divided by final_div_factor.
    """

    max_learning_rate: float
    epochs: float
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    updates_per_epoch: int | None = None

    def __post_init__(self) -> None:
        set_fields(
            self,
            max_learning_rate=nonnegative(self.max_learning_rate, "max_learning_rate"),
            epochs=positive(self.epochs, "epochs"),
            pct_start=nonnegative(self.pct_start, "pct_start", below=1),
            div_factor=positive(self.div_factor, "div_factor"),
            final_div_factor=positive(self.final_div_factor, "final_div_factor"),
            updates_per_epoch=_updates(self.updates_per_epoch),
        )

    def at(self, updates: Array, updates_per_epoch: int) -> Array:
        """Return the learning rate of some updates, as in `Schedule.at`."""
        start = self.max_learning_rate / self.div_factor
        total = self.epochs * updates_per_epoch
        top = max(self.pct_start * total - 1, 0.0)  # the update with the largest rate; the last one is total - 1
        rise = _cosine(start, self.max_learning_rate, updates / max(top, 1.0))
        fall = _cosine(
            self.max_learning_rate, start / self.final_div_factor, (updates - top) / max(total - 1 - top, 1.0)
        )
        return np.where(updates < top, rise, fall)


@dataclass(repr=False, eq=False)
class WarmUp(Schedule):
    """A learning rate or schedule that is reached in equal steps, batch by batch (Goyal et al. 2017).

    Update k, counted from 1, of n that the warm-up lasts takes k / n of the rate. A schedule begins when the
    warm-up ends.

    Parameters
    ----------
    learning_rate : float or Schedule
    epochs : float
        The length of the warm-up.

    Examples
    --------
    >>> WarmUp(0.5, epochs=1).rates(0, 6, updates_per_epoch=5)
    array([0.1, 0.2, 0.3, 0.4, 0.5, 0.5])
    """

    learning_rate: float | Schedule
    epochs: float
    updates_per_epoch: int | None = None

    def __post_init__(self) -> None:
        rate = rate_or_schedule(self.learning_rate)
        inner = rate.updates_per_epoch if isinstance(rate, Schedule) else None
        set_fields(
            self,
            learning_rate=rate,
            epochs=positive(self.epochs, "epochs"),
            updates_per_epoch=_updates(self.updates_per_epoch) or inner,
        )

    def at(self, updates: Array, updates_per_epoch: int) -> Array:
        """Return the learning rate of some updates, as in `Schedule.at`."""
        length = self.epochs * updates_per_epoch
        fraction = np.minimum((updates + 1) / length, 1.0)
        if not isinstance(self.learning_rate, Schedule):
            return self.learning_rate * fraction
        return self.learning_rate.at(np.maximum(updates - length, 0.0), updates_per_epoch) * fraction


def rate_or_schedule(value: Any) -> float | Schedule:
    """Return a learning rate as a float, or the schedule that it is.

    Raises
    ------
    TypeError, ValueError
        If it is neither a schedule nor a number from 0.
    """
    if isinstance(value, Schedule):
        return value
    return nonnegative(value, "learning_rate")
