"""Learning-rate schedules: what an optimizer takes for ``lr`` in place of a number.

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
    "CosineAnnealingLR",
    "ExponentialLR",
    "InverseTimeLR",
    "LRScheduler",
    "OneCycleLR",
    "StepLR",
    "WarmUp",
]


class LRScheduler(Settings):
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
                f"lr: expected a schedule with updates_per_epoch, as only fit knows how many there are, got {self!r}"
            )
        return self.at(np.arange(first_update, first_update + updates, dtype=np.float64), each)


def _updates(value: Any) -> int | None:
    return None if value is None else integer(value, "updates_per_epoch", 1)


@dataclass(repr=False, eq=False)
class StepLR(LRScheduler):
    """Multiplied by gamma after each step_size epochs: lr * gamma**(epoch // step_size).

    Parameters
    ----------
    lr : float
    step_size : int
        In epochs.
    gamma : float
        Above 0.
    """

    lr: float
    step_size: int
    gamma: float = 0.1
    updates_per_epoch: int | None = None

    def __post_init__(self) -> None:
        set_fields(
            self,
            lr=nonnegative(self.lr, "lr"),
            step_size=integer(self.step_size, "step_size", 1),
            gamma=positive(self.gamma, "gamma"),
            updates_per_epoch=_updates(self.updates_per_epoch),
        )

    def at(self, updates: Array, updates_per_epoch: int) -> Array:
        """Return the learning rate of some updates, as in `LRScheduler.at`."""
        rates: Array = self.lr * self.gamma ** (updates // updates_per_epoch // self.step_size)
        return rates


@dataclass(repr=False, eq=False)
class ExponentialLR(LRScheduler):
    """Multiplied by gamma after each epoch: lr * gamma**epoch.

    Parameters
    ----------
    lr : float
    gamma : float
        Above 0.
    """

    lr: float
    gamma: float
    updates_per_epoch: int | None = None

    def __post_init__(self) -> None:
        set_fields(
            self,
            lr=nonnegative(self.lr, "lr"),
            gamma=positive(self.gamma, "gamma"),
            updates_per_epoch=_updates(self.updates_per_epoch),
        )

    def at(self, updates: Array, updates_per_epoch: int) -> Array:
        """Return the learning rate of some updates, as in `LRScheduler.at`."""
        rates: Array = self.lr * self.gamma ** (updates // updates_per_epoch)
        return rates


@dataclass(repr=False, eq=False)
class InverseTimeLR(LRScheduler):
    """Falling as one over the time: lr / (1 + decay * epochs), batch by batch (Robbins and Monro 1951).

    Parameters
    ----------
    lr : float
    decay : float
        Above 0: after ``1 / decay`` epochs the rate is half of what it was.

    Examples
    --------
    >>> InverseTimeLR(0.6, decay=1).rates(0, 5, updates_per_epoch=2)
    array([0.6 , 0.4 , 0.3 , 0.24, 0.2 ])
    """

    lr: float
    decay: float
    updates_per_epoch: int | None = None

    def __post_init__(self) -> None:
        set_fields(
            self,
            lr=nonnegative(self.lr, "lr"),
            decay=positive(self.decay, "decay"),
            updates_per_epoch=_updates(self.updates_per_epoch),
        )

    def at(self, updates: Array, updates_per_epoch: int) -> Array:
        """Return the learning rate of some updates, as in `LRScheduler.at`."""
        rates: Array = self.lr / (1 + self.decay * updates / updates_per_epoch)
        return rates


def _cosine(start: float, end: float, fraction: Array) -> Array:
    """Go from start to end along half a cosine, while the fraction goes from 0 to 1."""
    way: Array = (1 - np.cos(np.pi * np.clip(fraction, 0, 1))) / 2
    return start + (end - start) * way


@dataclass(repr=False, eq=False)
class CosineAnnealingLR(LRScheduler):
    """Half a cosine from lr down to eta_min (Loshchilov and Hutter 2017), batch by batch.

    Parameters
    ----------
    lr : float
    T_max : float
        The epochs after which the rate is eta_min, and stays so.
    eta_min : float
    """

    lr: float
    T_max: float
    eta_min: float = 0.0
    updates_per_epoch: int | None = None

    def __post_init__(self) -> None:
        set_fields(
            self,
            lr=nonnegative(self.lr, "lr"),
            T_max=positive(self.T_max, "T_max"),
            eta_min=nonnegative(self.eta_min, "eta_min"),
            updates_per_epoch=_updates(self.updates_per_epoch),
        )

    def at(self, updates: Array, updates_per_epoch: int) -> Array:
        """Return the learning rate of some updates, as in `LRScheduler.at`."""
        return _cosine(self.lr, self.eta_min, updates / (self.T_max * updates_per_epoch))


@dataclass(repr=False, eq=False)
class OneCycleLR(LRScheduler):
    """Up to max_lr, then down to almost nothing (Smith and Topin 2018), batch by batch.

    Both ways are half a cosine, as in PyTorch's ``OneCycleLR``; the momentum stays as it is.

    Parameters
    ----------
    max_lr : float
    epochs : float
        The length of the cycle; the rate stays at its end.
    pct_start : float
        The fraction of the cycle that goes up, from 0 to below 1.
    div_factor : float
        The cycle starts at max_lr / div_factor,
    final_div_factor : float
        and ends at that divided by final_div_factor.
    """

    max_lr: float
    epochs: float
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    updates_per_epoch: int | None = None

    def __post_init__(self) -> None:
        set_fields(
            self,
            max_lr=nonnegative(self.max_lr, "max_lr"),
            epochs=positive(self.epochs, "epochs"),
            pct_start=nonnegative(self.pct_start, "pct_start", below=1),
            div_factor=positive(self.div_factor, "div_factor"),
            final_div_factor=positive(self.final_div_factor, "final_div_factor"),
            updates_per_epoch=_updates(self.updates_per_epoch),
        )

    def at(self, updates: Array, updates_per_epoch: int) -> Array:
        """Return the learning rate of some updates, as in `LRScheduler.at`."""
        start = self.max_lr / self.div_factor
        total = self.epochs * updates_per_epoch
        top = max(self.pct_start * total - 1, 0.0)  # the update with the largest rate; the last one is total - 1
        rise = _cosine(start, self.max_lr, updates / max(top, 1.0))
        fall = _cosine(self.max_lr, start / self.final_div_factor, (updates - top) / max(total - 1 - top, 1.0))
        return np.where(updates < top, rise, fall)


@dataclass(repr=False, eq=False)
class WarmUp(LRScheduler):
    """A learning rate or schedule that is reached in equal steps, batch by batch (Goyal et al. 2017).

    Update k, counted from 1, of n that the warm-up lasts takes k / n of the rate. A schedule begins when the
    warm-up ends.

    Parameters
    ----------
    lr : float or LRScheduler
    epochs : float
        The length of the warm-up.

    Examples
    --------
    >>> WarmUp(0.5, epochs=1).rates(0, 6, updates_per_epoch=5)
    array([0.1, 0.2, 0.3, 0.4, 0.5, 0.5])
    """

    lr: float | LRScheduler
    epochs: float
    updates_per_epoch: int | None = None

    def __post_init__(self) -> None:
        rate = rate_or_schedule(self.lr)
        inner = rate.updates_per_epoch if isinstance(rate, LRScheduler) else None
        set_fields(
            self,
            lr=rate,
            epochs=positive(self.epochs, "epochs"),
            updates_per_epoch=_updates(self.updates_per_epoch) or inner,
        )

    def at(self, updates: Array, updates_per_epoch: int) -> Array:
        """Return the learning rate of some updates, as in `LRScheduler.at`."""
        length = self.epochs * updates_per_epoch
        fraction = np.minimum((updates + 1) / length, 1.0)
        if not isinstance(self.lr, LRScheduler):
            return self.lr * fraction
        return self.lr.at(np.maximum(updates - length, 0.0), updates_per_epoch) * fraction


def rate_or_schedule(value: Any) -> float | LRScheduler:
    """Return a learning rate as a float, or the schedule that it is.

    Raises
    ------
    TypeError, ValueError
        If it is neither a schedule nor a number from 0.
    """
    if isinstance(value, LRScheduler):
        return value
    return nonnegative(value, "lr")
