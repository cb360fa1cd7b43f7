"""The notes' costs of one sample, and their sigmoid function."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ranvier.types import Array

__all__ = [
    "Cost",
    "CrossEntropyCost",
    "QuadraticCost",
    "checked_cost",
    "cost_name",
    "named_cost",
    "sigmoid",
    "sigmoid_prime",
]


def sigmoid(z: Any) -> Any:
    """Return ``1 / (1 + exp(-z))``, element by element."""
    with np.errstate(over="ignore"):  # exp(-z) may be infinite, and its reciprocal is then 0 as it should
        return 1.0 / (1.0 + np.exp(-np.asarray(z)))


def sigmoid_prime(z: Any) -> Any:
    """Return the derivative of `sigmoid`."""
    return sigmoid(z) * (1 - sigmoid(z))


class Cost(Protocol):
    """What a cost must offer. It may be a class with static methods or an instance."""

    def fn(self, a: Array, y: Array) -> float:
        """Return the cost of the output activations ``a`` for the wanted output ``y``, both columns."""

    def delta(self, z: Array, a: Array, y: Array) -> Array:
        """Return the error of the output layer: the derivative of the cost to the weighted inputs ``z``."""


class QuadraticCost:
    """Half the squared distance from the wanted output."""

    @staticmethod
    def fn(a: Any, y: Any) -> float:
        """Return the cost of the output activations ``a`` for the wanted output ``y``."""
        return float(0.5 * np.linalg.norm(np.subtract(a, y)) ** 2)

    @staticmethod
    def delta(z: Any, a: Any, y: Any) -> Array:
        """Return ``(a - y) * sigmoid_prime(z)``."""
        error: Array = np.subtract(a, y) * sigmoid_prime(z)
        return error


def _times_log(factor: Array, values: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(factor == 0, 0.0, factor * np.log(values))


class CrossEntropyCost:
    """The binary cross-entropy, summed over the outputs."""

    @staticmethod
    def fn(a: Any, y: Any) -> float:
        """Return the cost of the output activations ``a`` for the wanted output ``y``; 0 log 0 counts as 0."""
        a, y = np.asarray(a, np.float64), np.asarray(y, np.float64)
        return -float((_times_log(y, a) + _times_log(1 - y, 1 - a)).sum())

    @staticmethod
    def delta(z: Any, a: Any, y: Any) -> Array:
        """Return ``a - y``, which does not fade where an output is saturated."""
        error: Array = np.subtract(a, y)
        return error


_NAMES = {"QuadraticCost": QuadraticCost, "CrossEntropyCost": CrossEntropyCost}


def checked_cost(cost: Any) -> Any:
    """Return the cost; an instance of one of the library's as its class.

    Raises
    ------
    TypeError
        If it has no ``fn`` or ``delta``.
    """
    if not all(callable(getattr(cost, name, None)) for name in ("fn", "delta")):
        raise TypeError(f"cost: expected a cost with fn and delta, such as CrossEntropyCost, got {cost!r}")
    return type(cost) if type(cost) in _NAMES.values() else cost


def cost_name(cost: Any) -> str | None:
    """Return the name that a cost has in files, or None if it is not one of the library."""
    return next((name for name, known in _NAMES.items() if known is cost), None)


def named_cost(name: Any) -> Any:
    """Return the cost of that name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not isinstance(name, str) or name not in _NAMES:
        raise ValueError(f"cost: expected one of {sorted(_NAMES)}, got {name!r}")
    return _NAMES[name]
