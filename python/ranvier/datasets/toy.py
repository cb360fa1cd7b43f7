"""Toy data sets: points of the plane in classes, and a curve for regression; made anew, the same for each seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from ranvier.checks import integer, real
from ranvier.datasets.types import Images, Labels

__all__ = ["blobs", "circles", "curve", "moons", "spirals"]

Toy = tuple[Images, Labels]


def _sklearn_datasets() -> ModuleType:
    try:
        from sklearn import datasets
    except ImportError:
        raise ImportError(
            "these points come from scikit-learn, which is not installed: pip install 'ranvier[examples]'"
        ) from None
    return datasets  # type: ignore[no-any-return]


def _noise(value: object) -> float:
    noise = real(value, "noise")
    if noise < 0:
        raise ValueError(f"noise: expected a standard deviation, at least 0, got {noise}")
    return noise


def _classes(value: object, samples: int) -> int:
    classes = integer(value, "classes", 1)
    if classes > samples:
        raise ValueError(f"classes: expected at most one for each of {samples} samples, got {classes}")
    return classes


def _as_toy(x: Any, y: Any) -> Toy:
    return np.ascontiguousarray(x, dtype=np.float32), np.ascontiguousarray(y, dtype=np.int64)


def blobs(samples: int, *, classes: int = 3, noise: float = 0.2, seed: int = 0) -> Toy:
    """Return round clouds of points, whose centres lie evenly on the unit circle.

    Parameters
    ----------
    samples : int
        Number of points, divided among the classes as evenly as it goes.
    classes : int
        Class k has its centre at the angle 2 pi k / classes.
    noise : float
        Standard deviation of a cloud in each direction.
    seed : int
        The same seed gives the same points.

    Returns
    -------
    x : ndarray of float32, shape (samples, 2)
    y : ndarray of int64, shape (samples,)
        In random order.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        If an argument is unfit.
    """
    samples = integer(samples, "samples", 1)
    noise, seed, classes = _noise(noise), integer(seed, "seed", 0), _classes(classes, samples)
    angles = 2 * np.pi * np.arange(classes) / classes
    centres = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    made = _sklearn_datasets().make_blobs(samples, centers=centres, cluster_std=noise, random_state=seed)
    return _as_toy(*made)


def circles(samples: int, *, noise: float = 0.05, factor: float = 0.5, seed: int = 0) -> Toy:
    """Return a circle of radius 1 (class 0) around one of radius ``factor`` (class 1).

    Parameters
    ----------
    samples : int
        Number of points, half of them on each circle.
    noise : float
        Standard deviation of what is added to each coordinate.
    factor : float
        Radius of the inner circle, from 0 to below 1.
    seed : int
        The same seed gives the same points.

    Returns
    -------
    x : ndarray of float32, shape (samples, 2)
    y : ndarray of int64, shape (samples,)
        In random order.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        If an argument is unfit.
    """
    samples, noise, seed = integer(samples, "samples", 2), _noise(noise), integer(seed, "seed", 0)
    factor = real(factor, "factor")
    if not 0 <= factor < 1:
        raise ValueError(f"factor: expected a radius from 0 to below 1, got {factor}")
    made = _sklearn_datasets().make_circles(samples, noise=noise, factor=factor, random_state=seed)
    return _as_toy(*made)


def moons(samples: int, *, noise: float = 0.1, seed: int = 0) -> Toy:
    """Return two half circles of radius 1 that reach into each other.

    Class 0 is the upper half of the circle around (0, 0), class 1 the lower half of that around (1, 0.5).

    Parameters
    ----------
    samples : int
        Number of points, half of them on each half circle.
    noise : float
        Standard deviation of what is added to each coordinate.
    seed : int
        The same seed gives the same points.

    Returns
    -------
    x : ndarray of float32, shape (samples, 2)
    y : ndarray of int64, shape (samples,)
        In random order.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        If an argument is unfit.
    """
    samples, noise, seed = integer(samples, "samples", 2), _noise(noise), integer(seed, "seed", 0)
    return _as_toy(*_sklearn_datasets().make_moons(samples, noise=noise, random_state=seed))


def spirals(samples: int, *, classes: int = 2, turns: float = 1.0, noise: float = 0.02, seed: int = 0) -> Toy:
    """Return Archimedean spirals from the origin to the unit circle, one inside the other.

    Class k lies where the angle is 2 pi (turns * radius + k / classes).

    Parameters
    ----------
    samples : int
        Number of points, divided among the classes as evenly as it goes.
    classes : int
    turns : float
        How often an arm goes around, counterclockwise.
    noise : float
        Standard deviation of what is added to each coordinate.
    seed : int
        The same seed gives the same points.

    Returns
    -------
    x : ndarray of float32, shape (samples, 2)
    y : ndarray of int64, shape (samples,)
        In random order.

    Raises
    ------
    TypeError, ValueError
        If an argument is unfit.
    """
    samples = integer(samples, "samples", 1)
    noise, seed, classes = _noise(noise), integer(seed, "seed", 0), _classes(classes, samples)
    turns = real(turns, "turns")
    rng = np.random.default_rng(seed)
    y = np.arange(samples) % classes
    # Along an arm of many turns the length grows as the radius squared: the root spreads the points evenly.
    radius = np.sqrt((np.arange(samples) // classes + 1) / math.ceil(samples / classes))
    angle = 2 * np.pi * (turns * radius + y / classes)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    x += noise * rng.standard_normal(x.shape)
    order = rng.permutation(samples)
    return _as_toy(x[order], y[order])


def curve(
    samples: int,
    function: Callable[[Any], Any] = np.sin,
    *,
    interval: tuple[float, float] = (-math.pi, math.pi),
    noise: float = 0.1,
    seed: int = 0,
) -> tuple[Images, Images]:
    """Return points beside the graph of a function, for regression.

    Parameters
    ----------
    samples : int
    function : callable
        Takes an array of float64, shape (samples,), and returns one number for each.
    interval : pair of floats
        From where to where x is drawn, uniformly.
    noise : float
        Standard deviation of what is added to the function's values.
    seed : int
        The same seed gives the same points.

    Returns
    -------
    x, y : ndarray of float32, shape (samples, 1)
        In random order.

    Raises
    ------
    TypeError, ValueError
        If an argument is unfit, or the function's result.
    """
    samples, noise, seed = integer(samples, "samples", 1), _noise(noise), integer(seed, "seed", 0)
    if not callable(function):
        raise TypeError(f"function: expected a function, got {function!r}")
    if not isinstance(interval, tuple | list) or len(interval) != 2:
        raise TypeError(f"interval: expected a pair of numbers, got {interval!r}")
    start, stop = real(interval[0], "interval"), real(interval[1], "interval")
    if start >= stop:
        raise ValueError(f"interval: expected its start below its end, got {start} and {stop}")
    rng = np.random.default_rng(seed)
    x = rng.uniform(start, stop, samples)
    values = np.asarray(function(x))
    if values.shape != x.shape:
        raise ValueError(f"function: expected a result of shape {x.shape}, got {values.shape}")
    y = values + noise * rng.standard_normal(samples)
    return x[:, None].astype(np.float32), y[:, None].astype(np.float32)
