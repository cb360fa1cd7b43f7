"""Callbacks that note after each epoch how gradients, parameters and activations are, on a fixed probe batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ranvier.checks import integer, positive
from ranvier.data import as_samples
from ranvier.history import History
from ranvier.layers import Layer, PlainLayer, ReLU, Sigmoid, Tanh
from ranvier.losses import CustomLoss, Loss, checked_loss
from ranvier.network import Network
from ranvier.tracing import layer_outputs
from ranvier.training import loss_gradients
from ranvier.types import Array, Labels

__all__ = ["ActivationHistograms", "DeadUnits", "GradientNorms", "Saturation", "UpdateRatios"]


def _probe(x: Any) -> Array:
    samples: Array = as_samples(x, np.asarray(x).dtype)
    if len(samples) == 0:
        raise ValueError("x: expected at least one sample, got none")
    return samples


def _probe_outputs(network: Network, x: Array) -> Iterator[tuple[str, Layer | PlainLayer, Array]]:
    network.require_list("x")
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

    def __init__(self, x: Any, y: Any, *, loss: Loss | CustomLoss | None = None) -> None:
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
