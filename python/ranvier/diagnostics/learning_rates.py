"""A test of which learning rates suit a network: a training run whose rate grows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ranvier import _core
from ranvier.checks import integer, positive
from ranvier.data import Data
from ranvier.losses import CustomLoss, Loss, checked_loss
from ranvier.network import Network
from ranvier.optimizers import Adam, Optimizer, checked_optimizer
from ranvier.training import run_batches
from ranvier.types import Array

__all__ = ["LearningRateTest", "learning_rate_range_test"]

_MEMORY = 0.9  # of the moving average of the losses
_EXPLOSION = 4  # times the lowest loss, where the test ends


@dataclass(frozen=True)
class LearningRateTest:
    """The losses of a training run whose learning rate grew; `ranvier.plot.learning_rate_test` draws them.

    Attributes
    ----------
    rates : tuple of float
        Fewer than were asked for if the loss exploded.
    losses : tuple of float
        The smoothed loss at each rate.
    suggestion : float or None
        The rate at which the loss fell fastest; None if it never fell.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float | None


def learning_rate_range_test(
    net: Network,
    x: Any,
    y: Any,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    batch_size: int = 32,
    loss: Loss | CustomLoss | None = None,
    optimizer: Optimizer | None = None,
) -> LearningRateTest:
    """Train with a learning rate that grows exponentially, and tell at which it works best (Smith 2017).

    The rate grows by the same factor from each batch to the next. The test ends early where the loss is not finite, or
    four times the lowest so far. The network is put back as it was.

    Parameters
    ----------
    net : Network
    x, y, batch_size, loss
        As in `ranvier.Network.fit`. If there are more steps than batches, the samples come again.
    low, high : float
        The first and the last learning rate, above 0.
    steps : int
        The number of batches, at least 2.
    optimizer : optional
        Its learning rate is not used; ``Adam()`` unless given. It starts afresh.

    Returns
    -------
    LearningRateTest
        Its losses are an exponential moving average that forgets a tenth with each step, without bias to its start
        (Kingma and Ba 2015, section 3).

    Raises
    ------
    TypeError, ValueError
        If an argument is unfit.
    """
    loss = net.loss if loss is None else checked_loss(loss)
    low, high, steps = positive(low, "low"), positive(high, "high"), integer(steps, "steps", 2)
    if high <= low:
        raise ValueError(f"high: expected a learning rate above low = {low}, got {high}")
    settings = Adam() if optimizer is None else checked_optimizer(optimizer)
    data = net._data(x, y, loss)
    size = min(integer(batch_size, "batch_size", 1), len(data.x))
    rates = np.geomspace(low, high, steps)
    with net.engine.restored():
        state = settings.create(net.engine.parameters)
        all_rates = settings.beside_groups(rates, 0, None)
        losses = _until_explosion(_moving_averages(_losses(net, data, all_rates, size, loss, state)))
    rates = rates[: len(losses)]
    return LearningRateTest(tuple(rates.tolist()), tuple(losses), _suggestion(rates, np.array(losses)))


def _losses(
    net: Network, data: Data, rates: Array, batch_size: int, loss: Loss | CustomLoss, state: _core.Optimizer
) -> list[float]:
    """Train on a batch with each rate, up to the first whose loss is not finite; return the losses."""
    rounds = -(-len(rates) * batch_size // len(data.x))
    orders = [net.engine.order(net.epochs_trained + 1 + number, len(data.x)) for number in range(rounds)]
    order = np.concatenate(orders)[: len(rates) * batch_size]
    losses = np.zeros(len(rates))
    sums = run_batches(net.engine, data, order, batch_size, loss, state, rates, losses=losses)
    done: list[float] = losses[: sums.samples // batch_size].tolist()
    return done


def _moving_averages(values: Iterable[float]) -> Iterator[float]:
    average = 0.0
    for step, value in enumerate(values, start=1):
        average = _MEMORY * average + (1 - _MEMORY) * value
        yield average / (1 - _MEMORY**step)


def _until_explosion(losses: Iterable[float]) -> list[float]:
    kept: list[float] = []
    for loss in losses:
        if kept and not loss <= _EXPLOSION * abs(min(kept)):
            break
        kept.append(loss)
    return kept


def _suggestion(rates: Array, losses: Array) -> float | None:
    """Return the rate of the steepest fall before the lowest loss; the first tenth is too noisy to count."""
    start, lowest = len(losses) // 10, int(losses.argmin())
    if lowest <= start:
        return None
    slopes = np.gradient(losses, np.log(rates))[start : lowest + 1]
    steepest = start + int(slopes.argmin())
    # An average over the last losses belongs to the same average over their rates.
    return math.exp(list(_moving_averages(np.log(rates)))[steepest])
