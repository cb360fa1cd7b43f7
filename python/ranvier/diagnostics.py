"""What goes wrong in training, and where: a check of gradients, observers of a training run, a learning rate test.

`gradient_check` compares backpropagation with finite differences. The classes are callbacks for
`ranvier.Network.fit`: each looks at the network after an epoch, on a fixed probe batch, and changes nothing of the
training.
`learning_rate_range_test` tells which learning rates suit a network. `ranvier.plot` draws what comes of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ranvier import _core
from ranvier.checks import integer, positive
from ranvier.data import Data, as_samples
from ranvier.history import History
from ranvier.layers import Layer, PlainLayer, ReLU, Sigmoid, Tanh
from ranvier.losses import CustomLoss, Loss, checked_loss
from ranvier.network import Network
from ranvier.optimizers import Adam, Optimizer, checked_optimizer
from ranvier.tracing import layer_outputs
from ranvier.training import loss_gradients, run_batches
from ranvier.types import Array, Labels

__all__ = [
    "ActivationHistograms",
    "DeadUnits",
    "GradientCheck",
    "GradientNorms",
    "LearningRateTest",
    "ParameterCheck",
    "Saturation",
    "UpdateRatios",
    "gradient_check",
    "learning_rate_range_test",
]

AnyLoss = Loss | CustomLoss


# --- gradient check -------------------------------------------------------------------------------------------

_ROUNDINGS = 10  # of the loss, that a difference of two losses may suffer
_KINK_STEPS = (1.0, 0.1, 0.01)  # times the step: at a kink the slopes' gap stays, at a curve it shrinks like these


@dataclass(frozen=True)
class ParameterCheck:
    """How far a parameter's gradient is from its finite differences.

    Attributes
    ----------
    name : str
    error : float
        The largest relative error; NaN if there was nothing to compare.
    index : tuple of int
        The entry with that error.
    analytic, numeric : float
        Its derivative by backpropagation and by central differences.
    compared : int
        The number of entries that were compared.
    kinks : int
        The number of entries that were left out, for the loss has a kink there.
    """

    name: str
    error: float
    index: tuple[int, ...]
    analytic: float
    numeric: float
    compared: int
    kinks: int

    def _row(self) -> tuple[str, ...]:
        if not self.compared:
            return self.name, "0", str(self.kinks), "", "", "", ""
        index = ", ".join(map(str, self.index))
        numbers = f"{self.error:.1e}", f"[{index}]", f"{self.analytic:.9g}", f"{self.numeric:.9g}"
        return self.name, str(self.compared), str(self.kinks), *numbers


@dataclass(frozen=True)
class GradientCheck:
    """What `gradient_check` found; as text, a table.

    Attributes
    ----------
    parameters : tuple of ParameterCheck
    tolerance : float
    """

    parameters: tuple[ParameterCheck, ...]
    tolerance: float

    @property
    def errors(self) -> dict[str, float]:
        """The largest relative error of each parameter, by name."""
        return {check.name: check.error for check in self.parameters}

    @property
    def worst(self) -> ParameterCheck:
        """The parameter with the largest error, the one nearest to the input if there are several.

        One with nothing to compare counts as worse than any error.
        """
        return max(self.parameters, key=lambda check: math.inf if math.isnan(check.error) else check.error)

    @property
    def passed(self) -> bool:
        """Whether each parameter had something to compare, and no error above the tolerance."""
        return all(check.error <= self.tolerance for check in self.parameters)

    def __str__(self) -> str:
        """Return the table, and the worst parameter if the check failed."""
        header = ("parameter", "compared", "kinks", "error", "at", "backpropagation", "differences")
        rows = [header, *(check._row() for check in self.parameters)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, self._verdict()])

    def _verdict(self) -> str:
        if self.passed:
            return f"passed (tolerance {self.tolerance:g})"
        reason = "largest error in" if self.worst.compared else "nothing but kinks in"
        return f"failed: {reason} {self.worst.name} (tolerance {self.tolerance:g})"


def gradient_check(
    net: Network,
    x: Any,
    y: Any,
    *,
    loss: AnyLoss | None = None,
    step: float = 1e-5,
    samples_per_parameter: int = 10,
    tolerance: float = 1e-6,
) -> GradientCheck:
    """Compare the gradients of backpropagation with central differences of the loss.

    All is computed on a copy of the network in float64, in training mode: batch normalization uses the batch's
    statistics, the random layers draw the same masks each time, and the penalties of layers count. The network
    itself stays as it is. What no parameter depends on is not looked at: the ``backward`` of a layer before the first
    parameter is never used in training either.

    Where the loss has a kink within the step (ReLU at zero, max pooling and Maxout at a tie), its difference quotient
    is no derivative: an entry that disagrees is compared with smaller steps, down to 1/100. If the slopes on its two
    sides still differ as much, there is no derivative: the entry is left out, and counted in ``kinks``. Data with
    ties, like images with equal pixels, make many; random ones hardly any.

    Parameters
    ----------
    net : Network
    x, y
        A small batch, as in `ranvier.Network.fit`.
    loss : optional
        As in `ranvier.Network.fit`; also one of your own.
    step : float
        How far a parameter is moved, above 0.
    samples_per_parameter : int
        How many entries of each parameter are compared: the one with the largest gradient, and others drawn at random
        by the network's seed.
    tolerance : float
        The largest relative error ``|a - n| / max(|a|, |n|)`` that passes. What may come of rounding alone,
        ``10 * eps * max(1, |loss|) / step``, passes too.

    Returns
    -------
    GradientCheck
        With ``passed``, ``worst``, and the check of each parameter. Print it for a table.

    Raises
    ------
    TypeError, ValueError
        If an argument is unfit; if the network has no parameters; if the loss is not finite, or differs between two
        passes, as a layer of your own draws random numbers.

    Examples
    --------
    >>> import ranvier as rv
    >>> net = rv.Network([rv.Linear(3, 4), rv.Tanh(), rv.Linear(4, 2)], seed=0)
    >>> rng = np.random.default_rng(0)
    >>> gradient_check(net, rng.standard_normal((5, 3)), [0, 1, 1, 0, 1]).passed
    True
    """
    loss = net.loss if loss is None else checked_loss(loss)
    step, tolerance = positive(step, "step"), positive(tolerance, "tolerance")
    count = integer(samples_per_parameter, "samples_per_parameter", 1)
    if not net.parameters():
        raise ValueError("net: expected a network with parameters, got none")
    copy = Network(net.layers, seed=net.seed, dtype="float64")
    copy.load_state_dict(net.state_dict())
    objective = _Objective(copy, copy._data(x, y, loss), loss)
    comparison = _Comparison(objective, step, tolerance)
    gradients = objective.gradients()
    rng = np.random.default_rng(net.seed)
    checks = tuple(comparison.check(name, gradient, count, rng) for name, gradient in gradients.items())
    return GradientCheck(checks, tolerance)


class _Objective:
    """The loss of a batch in training, penalties included, as a function of the network's parameters."""

    def __init__(self, network: Network, data: Data, loss: AnyLoss) -> None:
        self.network, self.data, self.loss = network, data, loss
        self.parameters = network.parameters()
        self._trainer = network.engine.trainer(data.x.shape[1:], len(data.x))
        self._penalties = list(_penalties(network.layers, ""))
        self.start = self.value()
        if not math.isfinite(self.start):
            raise ValueError(f"x: expected a batch with a finite loss, got {self.start}")
        if self.value() != self.start:
            raise ValueError("net: expected the same loss at each pass; does a layer draw random numbers of its own?")

    def value(self) -> float:
        """Return the loss, with the masks of the first pass."""
        self._trainer.training_passes = 0
        prediction, target = self._trainer.forward(self.data.x, True), self.data.y
        if isinstance(self.loss, Loss):
            prediction = prediction.reshape(len(prediction), -1)
            target = target if target.dtype == np.int64 else target.reshape(len(target), -1)
        penalty = 0.0
        for name, l1, l2 in self._penalties:
            weight = self.parameters[name]
            penalty += l1 * float(np.abs(weight).sum()) + l2 / 2 * float((weight**2).sum())
        return float(self.loss(prediction, target)) + penalty

    def gradients(self) -> dict[str, Array]:
        """Return copies of the gradients of `value`."""
        self._trainer.training_passes = 0
        return loss_gradients(self.network.engine, self.data, self.loss)


def _penalties(layers: Iterable[Layer | PlainLayer], path: str) -> Iterator[tuple[str, float, float]]:
    """Yield the name of each weight with penalties, and these."""
    for position, layer in enumerate(layers):
        l1, l2 = getattr(layer, "l1", 0.0), getattr(layer, "l2", 0.0)
        if isinstance(layer, Layer):
            if l1 or l2:
                yield f"{path}{position}.weight", l1, l2
            for name, branch in layer.inner().items():
                yield from _penalties(branch, f"{path}{position}.{name}.")


@dataclass(frozen=True)
class _Quotient:
    """The derivative of an entry by differences, its error, and the gap between the slopes to its two sides."""

    numeric: float
    difference: float  # from the analytic derivative
    error: float
    gap: float


class _Comparison:
    """Compares single entries of gradients with differences of the objective."""

    def __init__(self, objective: _Objective, step: float, tolerance: float) -> None:
        self._objective, self._step, self._tolerance = objective, step, tolerance

    def check(self, name: str, gradient: Array, count: int, rng: np.random.Generator) -> ParameterCheck:
        values = self._objective.parameters[name]
        drawn = rng.permutation(gradient.size)
        largest = int(np.abs(gradient).argmax())
        entries = [largest, *drawn[drawn != largest][: count - 1]]
        worst = ParameterCheck(name, math.nan, (), math.nan, math.nan, 0, 0)
        compared = 0
        for entry in entries:
            index = tuple(int(part) for part in np.unravel_index(entry, gradient.shape))
            analytic = float(gradient[index])
            quotient = self._compare(values, index, analytic)
            if quotient is None:
                continue
            compared += 1
            if not quotient.error <= worst.error:  # also the first, as no error compares with NaN
                worst = ParameterCheck(name, quotient.error, index, analytic, quotient.numeric, 0, 0)
        found = worst.error, worst.index, worst.analytic, worst.numeric
        return ParameterCheck(name, *found, compared, len(entries) - compared)

    def _compare(self, values: Array, index: tuple[int, ...], analytic: float) -> _Quotient | None:
        """Return the quotient of an entry, or None if the loss has no derivative there."""
        first = last = self._quotient(values, index, analytic, self._step)
        for factor in _KINK_STEPS[1:]:
            if last.error <= self._tolerance:
                return last
            if last.difference > last.gap:
                return first  # no kink can explain the error
            last = self._quotient(values, index, analytic, factor * self._step)
        if last.error <= self._tolerance:
            return last
        kink = last.gap > max(self._noise(_KINK_STEPS[-1] * self._step), first.gap / 10)
        return None if kink and last.difference <= last.gap else first

    def _noise(self, step: float) -> float:
        return _ROUNDINGS * float(np.finfo(np.float64).eps) * max(1.0, abs(self._objective.start)) / step

    def _quotient(self, values: Array, index: tuple[int, ...], analytic: float, step: float) -> _Quotient:
        start = float(values[index])
        above, below = start + step, start - step
        values[index] = above
        loss_above = self._objective.value()
        values[index] = below
        loss_below = self._objective.value()
        values[index] = start
        numeric = (loss_above - loss_below) / (above - below)
        difference = abs(analytic - numeric)
        scale = max(abs(analytic), abs(numeric), self._noise(step) / self._tolerance)
        gap = abs(loss_above - 2 * self._objective.start + loss_below) / step
        return _Quotient(numeric, difference, difference / scale, gap)


# --- observers ------------------------------------------------------------------------------------------------


def _probe(x: Any) -> Array:
    samples: Array = as_samples(x, np.asarray(x).dtype)
    if len(samples) == 0:
        raise ValueError("x: expected at least one sample, got none")
    return samples


def _probe_outputs(network: Network, x: Array) -> Iterator[tuple[str, Layer | PlainLayer, Array]]:
    return layer_outputs(network.engine, network._samples(x, "x"), inner=True)


class GradientNorms:
    """Callback that notes the Euclidean norm of each parameter's gradient after each epoch.

    Parameters
    ----------
    x, y
        The probe batch, as in `ranvier.Network.fit`.
    loss : optional
        As in `ranvier.Network.fit`.

    Attributes
    ----------
    norms : dict of str to list of float
        By parameter name, one norm an epoch; as `ranvier.plot.gradient_norms` draws them. The gradients are those of
        training mode: penalties count, and random layers draw masks.

    Examples
    --------
    >>> import ranvier as rv
    >>> x, y = np.eye(4), [0, 1, 1, 0]
    >>> observer = GradientNorms(x, y)
    >>> net = rv.Network([rv.Linear(4, 2)], seed=0)
    >>> _ = net.fit(x, y, epochs=3, callbacks=[observer], progress=False)
    >>> {name: len(norms) for name, norms in observer.norms.items()}
    {'0.weight': 3, '0.bias': 3}
    """

    def __init__(self, x: Any, y: Any, *, loss: AnyLoss | None = None) -> None:
        self._x, self._y, self._loss = _probe(x), y, None if loss is None else checked_loss(loss)
        self.norms: dict[str, list[float]] = {}

    def __call__(self, network: Network, epoch: int, history: History) -> None:
        """Add the norms of this epoch."""
        loss = network.loss if self._loss is None else self._loss
        with network.engine.restored():
            gradients = loss_gradients(network.engine, network._data(self._x, self._y, loss), loss)
        for name, gradient in gradients.items():
            self.norms.setdefault(name, []).append(_norm(gradient))


def _norm(values: Array) -> float:
    return float(np.linalg.norm(values.astype(np.float64).reshape(-1)))


class UpdateRatios:
    """Callback that notes how far each parameter moved in each epoch, relative to its size.

    Parameters
    ----------
    network : Network, optional
        The network that is to be trained, with the parameters that the first epoch starts from. Without it the first
        epoch's ratios are NaN.

    Attributes
    ----------
    ratios : dict of str to list of float
        By parameter name, one number an epoch: the Euclidean norm of the change over that of the parameter after it;
        0 if both are 0.
    """

    def __init__(self, network: Network | None = None) -> None:
        self._before = {} if network is None else _copies(network)
        self.ratios: dict[str, list[float]] = {}

    def __call__(self, network: Network, epoch: int, history: History) -> None:
        """Add the ratios of this epoch."""
        after = _copies(network)
        for name, value in after.items():
            self.ratios.setdefault(name, []).append(self._ratio(name, value))
        self._before = after

    def _ratio(self, name: str, value: Array) -> float:
        if name not in self._before:
            return math.nan
        change = _norm(value - self._before[name])
        return change / _norm(value) if change else 0.0


def _copies(network: Network) -> dict[str, Array]:
    return {name: value.astype(np.float64) for name, value in network.parameters().items()}


class DeadUnits:
    """Callback that notes the fraction of dead units of each ReLU after each epoch.

    A unit is dead if it is zero for every sample of the probe batch. It is an entry of a sample; of samples of shape
    (channels, height, width) it is a whole channel.

    Parameters
    ----------
    x : array_like, shape (n, ...)
        The probe batch.

    Attributes
    ----------
    fractions : dict of str to list of float
        One number from 0 to 1 an epoch, by the layer's position; "3.layers.1" for one within layer 3.
    """

    def __init__(self, x: Any) -> None:
        self._x = _probe(x)
        self.fractions: dict[str, list[float]] = {}

    def __call__(self, network: Network, epoch: int, history: History) -> None:
        """Add the fractions of this epoch."""
        for path, layer, output in _probe_outputs(network, self._x):
            if isinstance(layer, ReLU):
                pixels = (2, 3) if output.ndim == 4 else ()
                dead = (output == 0).all(axis=(0, *pixels))
                self.fractions.setdefault(path, []).append(float(dead.mean()))


class Saturation:
    """Callback that notes the fraction of saturated outputs of each Sigmoid and Tanh after each epoch.

    Parameters
    ----------
    x : array_like, shape (n, ...)
        The probe batch.
    threshold : float
        An output is saturated if it is within this fraction of the activation's range from either end: below 0.05 or
        above 0.95 for Sigmoid, beyond -0.9 and 0.9 for Tanh. Between 0 and 1/2.

    Attributes
    ----------
    fractions : dict of str to list of float
        One number from 0 to 1 an epoch, by the layer's position; "3.layers.1" for one within layer 3.
    """

    def __init__(self, x: Any, threshold: float = 0.05) -> None:
        self._x = _probe(x)
        self._threshold = positive(threshold, "threshold")
        if self._threshold >= 0.5:
            raise ValueError(f"threshold: expected a number below 0.5, got {threshold}")
        self.fractions: dict[str, list[float]] = {}

    def __call__(self, network: Network, epoch: int, history: History) -> None:
        """Add the fractions of this epoch."""
        for path, layer, output in _probe_outputs(network, self._x):
            if isinstance(layer, Sigmoid | Tanh):
                low, high = (0, 1) if isinstance(layer, Sigmoid) else (-1, 1)
                margin = self._threshold * (high - low)
                saturated = (output < low + margin) | (output > high - margin)
                self.fractions.setdefault(path, []).append(float(saturated.mean()))


class ActivationHistograms:
    """Callback that notes how the outputs of each layer are distributed after each epoch.

    Parameters
    ----------
    x : array_like, shape (n, ...)
        The probe batch.
    bins : int or sequence of float
        The number of bins between the least and the largest output, or their edges, as ``numpy.histogram`` takes them.

    Attributes
    ----------
    histograms : dict of str to list of (counts, edges)
        One pair an epoch, by the layer's position; "3.layers.1" for one within layer 3. Numbers that are not finite
        are in no bin.
    """

    def __init__(self, x: Any, bins: int | Sequence[float] = 30) -> None:
        self._x = _probe(x)
        self._bins = _bins(bins)
        self.histograms: dict[str, list[tuple[Labels, Array]]] = {}

    def __call__(self, network: Network, epoch: int, history: History) -> None:
        """Add the histograms of this epoch."""
        for path, _, output in _probe_outputs(network, self._x):
            histogram = np.histogram(output[np.isfinite(output)], self._bins)
            self.histograms.setdefault(path, []).append(histogram)


def _bins(bins: Any) -> Any:
    if np.ndim(bins) == 0:
        return integer(bins, "bins", 1)
    edges = np.asarray(bins)
    if edges.ndim != 1 or len(edges) < 2 or edges.dtype.kind not in "fiu" or not (np.diff(edges) > 0).all():
        raise ValueError(f"bins: expected a number of bins, or at least two rising edges, got {bins!r}")
    return edges


# --- learning rate test ---------------------------------------------------------------------------------------

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
    loss: AnyLoss | None = None,
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
    net: Network, data: Data, rates: Array, batch_size: int, loss: AnyLoss, state: _core.Optimizer
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
