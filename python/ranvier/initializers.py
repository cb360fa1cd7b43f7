"""Initializers: what weights start from. Each is a small frozen dataclass, drawn with the network's seed.

Fans are the numbers of inputs that an output sees (``fan_in``) and of outputs that an input reaches (``fan_out``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ranvier import _core
from ranvier.checks import nonnegative, positive, real, require_instance, set_fields
from ranvier.settings import Settings
from ranvier.types import Array

__all__ = [
    "Constant",
    "Initializer",
    "KaimingNormal",
    "KaimingUniform",
    "LeCunNormal",
    "LeCunUniform",
    "Normal",
    "Orthogonal",
    "XavierNormal",
    "XavierUniform",
    "Zeros",
]


class Initializer(Settings):
    """How to draw the starting values of a weight.

    One of your own is a frozen dataclass that derives from this class and has ``draw``; a network that has one
    cannot be saved.
    """

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        """Return starting values.

        Parameters
        ----------
        rng : numpy.random.Generator
        shape : tuple of int
            Of the weight; the outputs come first.
        fan_in, fan_out : int

        Returns
        -------
        ndarray of float64, of that shape
        """
        raise NotImplementedError


def require_initializer(value: object, name: str) -> Initializer | None:
    """Return an initializer, or None for None.

    Raises
    ------
    TypeError
        If it is neither.
    """
    require_instance(value, name)
    if value is not None and not isinstance(value, Initializer):
        raise TypeError(f"{name}: expected an initializer, like KaimingNormal(), or None, got {value!r}")
    return value


def _normal(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> Array:
    return std * rng.standard_normal(shape)


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> Array:
    bound = math.sqrt(3) * std  # U(-b, b) has the standard deviation b / sqrt(3)
    return rng.uniform(-bound, bound, shape)


@dataclass(repr=False, eq=False)
class Zeros(Initializer):
    """All 0."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        """Return zeros."""
        return np.zeros(shape)


@dataclass(repr=False, eq=False)
class Constant(Initializer):
    """All ``value``."""

    value: float

    def __post_init__(self) -> None:
        set_fields(self, value=real(self.value, "value"))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        """Return an array full of the value."""
        return np.full(shape, self.value)


@dataclass(repr=False, eq=False)
class Normal(Initializer):
    """N(0, std**2), whatever the fans."""

    std: float = 1.0

    def __post_init__(self) -> None:
        set_fields(self, std=nonnegative(self.std, "std"))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        """Draw from N(0, std**2)."""
        return _normal(rng, shape, self.std)


@dataclass(repr=False, eq=False)
class LeCunNormal(Initializer):
    """N(0, 1 / fan_in), which keeps the variance of a linear layer's inputs (LeCun et al. 1998)."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        """Draw from N(0, 1 / fan_in)."""
        return _normal(rng, shape, 1 / math.sqrt(fan_in))


@dataclass(repr=False, eq=False)
class LeCunUniform(Initializer):
    """Uniform in +-sqrt(3 / fan_in), with the variance of `LeCunNormal`."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        """Draw from U(-b, b) with b = sqrt(3 / fan_in)."""
        return _uniform(rng, shape, 1 / math.sqrt(fan_in))


@dataclass(repr=False, eq=False)
class _Xavier(Initializer):
    gain: float = 1.0

    def __post_init__(self) -> None:
        set_fields(self, gain=positive(self.gain, "gain"))

    def _std(self, fan_in: int, fan_out: int) -> float:
        return self.gain * math.sqrt(2 / (fan_in + fan_out))


@dataclass(repr=False, eq=False)
class XavierNormal(_Xavier):
    """N(0, gain**2 * 2 / (fan_in + fan_out)), for tanh and sigmoid (Glorot and Bengio 2010)."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        """Draw from N(0, gain**2 * 2 / (fan_in + fan_out))."""
        return _normal(rng, shape, self._std(fan_in, fan_out))


@dataclass(repr=False, eq=False)
class XavierUniform(_Xavier):
    """Uniform in +-gain * sqrt(6 / (fan_in + fan_out)), for tanh and sigmoid (Glorot and Bengio 2010)."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        """Draw from U(-b, b) with b = gain * sqrt(6 / (fan_in + fan_out))."""
        return _uniform(rng, shape, self._std(fan_in, fan_out))


@dataclass(repr=False, eq=False)
class _Kaiming(Initializer):
    negative_slope: float = 0.0

    def __post_init__(self) -> None:
        set_fields(self, negative_slope=real(self.negative_slope, "negative_slope"))

    def _std(self, fan_in: int) -> float:
        return math.sqrt(2 / ((1 + self.negative_slope**2) * fan_in))  # He et al. 2015, equation 15


@dataclass(repr=False, eq=False)
class KaimingNormal(_Kaiming):
    """N(0, 2 / ((1 + negative_slope**2) * fan_in)), for ReLU and its leaky kin (He et al. 2015).

    PyTorch calls it ``kaiming_normal_``.
    """

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        """Draw from N(0, 2 / ((1 + negative_slope**2) * fan_in))."""
        return _normal(rng, shape, self._std(fan_in))


@dataclass(repr=False, eq=False)
class KaimingUniform(_Kaiming):
    """Uniform in +-sqrt(6 / ((1 + negative_slope**2) * fan_in)), with the variance of `KaimingNormal`."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        """Draw from U(-b, b) with b = sqrt(6 / ((1 + negative_slope**2) * fan_in))."""
        return _uniform(rng, shape, self._std(fan_in))


@dataclass(repr=False, eq=False)
class Orthogonal(Initializer):
    """``gain`` times a random matrix with orthonormal rows or columns, whichever are fewer (Saxe et al. 2014).

    A weight with more than two axes counts as one matrix with a row for each output.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        set_fields(self, gain=positive(self.gain, "gain"))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        """Draw from the uniform distribution of such matrices."""
        matrix = rng.standard_normal((shape[0], math.prod(shape[1:])))
        rows, columns = matrix.shape
        orthonormal = _orthonormal_rows(matrix) if rows <= columns else _orthonormal_rows(matrix.T).T
        return self.gain * orthonormal.reshape(shape)


def _orthonormal_rows(matrix: Array) -> Array:
    """Orthonormalize rows by block Gram-Schmidt; rows from N(0, 1) become uniform (Mezzadri 2007).

    LAPACK's QR factorization gives other bits for other numbers of threads; this one does not.
    """
    result = np.empty(matrix.shape)
    for start in range(0, len(matrix), 32):
        block = np.array(matrix[start : start + 32])
        done = result[:start]
        for _ in range(2):  # twice is enough (Giraud et al. 2005)
            if start:
                block -= _core.matmul(_core.matmul(block, done.T), done)
            for number, row in enumerate(block):
                before = block[:number]
                row -= ((before * row).sum(axis=1, keepdims=True) * before).sum(axis=0)
                row /= math.sqrt((row * row).sum())
        result[start : start + 32] = block
    return result
