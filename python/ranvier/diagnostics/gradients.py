"""The comparison of backpropagation with finite differences of the loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ranvier.checks import integer, positive
from ranvier.custom_losses import value_of
from ranvier.data import Data
from ranvier.layers import Layer, PlainLayer
from ranvier.losses import CustomLoss, Loss
from ranvier.network import Network
from ranvier.tables import Table
from ranvier.training import loss_gradients
from ranvier.types import Array

__all__ = ["GradientCheck", "ParameterCheck", "gradient_check"]

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
    """What `gradient_check` found; as text and in notebooks, a table.

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
        return str(self._table())

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        return self._table()._repr_html_()

    def _table(self) -> Table:
        header = ("parameter", "compared", "kinks", "error", "at", "backpropagation", "differences")
        return Table(header, [check._row() for check in self.parameters], 1, self._verdict())

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
    loss: Loss | CustomLoss | None = None,
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
    loss = net._checked_loss(net.loss if loss is None else loss)
    step, tolerance = positive(step, "step"), positive(tolerance, "tolerance")
    count = integer(samples_per_parameter, "samples_per_parameter", 1)
    if not net.parameters():
        raise ValueError("net: expected a network with parameters, got none")
    copy = net._of_dtype("float64")
    copy.load_state_dict(net.state_dict())
    objective = _Objective(copy, copy._data(x, y, loss), loss)
    comparison = _Comparison(objective, step, tolerance)
    gradients = objective.gradients()
    rng = np.random.default_rng(net.seed)
    checks = tuple(comparison.check(name, gradient, count, rng) for name, gradient in gradients.items())
    return GradientCheck(checks, tolerance)


class _Objective:
    """The loss of a batch in training, penalties included, as a function of the network's parameters."""

    def __init__(self, network: Network, data: Data, loss: Loss | CustomLoss) -> None:
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
        penalty = 0.0
        for name, l1, l2 in self._penalties:
            weight = self.parameters[name]
            penalty += l1 * float(np.abs(weight).sum()) + l2 / 2 * float((weight**2).sum())
        if isinstance(self.loss, Loss):
            rows = target if target.dtype == np.int64 else target.reshape(len(target), -1)
            return self.loss(prediction.reshape(len(prediction), -1), rows) + penalty
        return value_of(self.loss, prediction, target) + penalty

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
