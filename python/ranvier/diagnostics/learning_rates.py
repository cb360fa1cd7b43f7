"""A test of which learning rates suit a network: a training run whose rate grows."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ranvier import _core
from ranvier.batches import ArrayBatches, Part
from ranvier.checks import integer, positive
from ranvier.data import is_stream
from ranvier.engine import Engine
from ranvier.losses import CustomLoss, Loss
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
    y: Any = None,
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
        As in `ranvier.Network.fit`, streams and mapped files included. If there are more steps than batches, the
        samples come again.
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
    loss = net._checked_loss(net.loss if loss is None else loss)
    low, high, steps = positive(low, "low"), positive(high, "high"), integer(steps, "steps", 2)
    if high <= low:
        raise ValueError(f"high: expected a learning rate above low = {low}, got {high}")
    settings = Adam() if optimizer is None else checked_optimizer(optimizer)
    rates = np.geomspace(low, high, steps)
    with contextlib.closing(_parts(net, x, y, loss, batch_size, steps)) as parts, net.engine.restored():
        state = settings.create(net.engine.parameters)
        all_rates = settings.beside_groups(rates, 0, None)
        losses = _until_explosion(_moving_averages(_losses(net.engine, parts, all_rates, loss, state)))
    rates = rates[: len(losses)]
    return LearningRateTest(tuple(rates.tolist()), tuple(losses), _suggestion(rates, np.array(losses)))


def _parts(
    net: Network, x: Any, y: Any, loss: Loss | CustomLoss, batch_size: int, steps: int
) -> Generator[Part, None, None]:
    """Yield so many batches as `ranvier.Network.fit` takes them; the first part comes once all is checked."""
    if y is None:
        if not is_stream(x):
            raise TypeError(f"y: expected targets, or x as an iterable of batches (x, y), got {type(x).__name__}")
        with net._stream(x, loss, "x", 1, steps) as stream:
            yield from stream.parts()
        return
    data = net._data(x, y, loss, by_rows=True)
    samples = len(data.x)
    size = min(integer(batch_size, "batch_size", 1), samples)
    missing = steps * size
    orders = (net.engine.order(net.epochs_trained + 1 + number, samples) for number in itertools.count())
    if not data.is_read_by_rows():
        whole = np.concatenate(list(itertools.islice(orders, -(-missing // samples))))
        yield Part(data, whole[:missing], size)
        return
    with ArrayBatches(data, size) as batches:
        for order in itertools.islice(orders, -(-steps // batches.number)):
            part = order[:missing]
            missing -= size * -(-len(part) // size)
            yield from batches.parts(part)


def _losses(
    engine: Engine, parts: Iterable[Part], rates: Array, loss: Loss | CustomLoss, state: _core.Optimizer
) -> list[float]:
    """Train on a batch with each rate, up to the first whose loss is not finite; return the losses."""
    losses: list[float] = []
    for part in parts:
        order = np.arange(len(part.data.x)) if part.order is None else part.order
        own = rates[len(losses) : len(losses) + -(-len(order) // part.batch_size)]
        values = np.zeros(len(own))
        sums = run_batches(engine, part.data, order, part.batch_size, loss, state, own, losses=values)
        losses += values[: -(-sums.samples // part.batch_size)].tolist()
        if sums.fault:
            break
    return losses


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
