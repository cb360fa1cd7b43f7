"""Optimizers: how parameters follow their gradients. The values are settings; a network keeps the state."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ranvier import _core

__all__ = ["SGD", "Adam", "Optimizer"]


def _require(holds: bool, field: str, expected: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{field}: expected {expected}, got {value}")


@dataclass(frozen=True)
class Optimizer:
    """An update rule."""

    def create(self, parameters: _core.Parameters) -> _core.Optimizer:
        """Make the state for these parameters."""
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with PyTorch's momentum and weight decay.

    g = gradient + weight_decay * w; v = momentum * v + g; w -= learning_rate * v, or with nesterov
    w -= learning_rate * (g + momentum * v).
    """

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        _require(
            self.learning_rate >= 0 and math.isfinite(self.learning_rate),
            "learning_rate",
            "a number from 0",
            self.learning_rate,
        )
        _require(0 <= self.momentum < 1, "momentum", "a number from 0 to below 1", self.momentum)
        _require(self.weight_decay >= 0, "weight_decay", "a number from 0", self.weight_decay)
        _require(not self.nesterov or self.momentum > 0, "nesterov", "a momentum above 0 with it", self.momentum)

    def create(self, parameters: _core.Parameters) -> _core.Optimizer:
        """Make the state for these parameters."""
        return _core.sgd(parameters, self.learning_rate, self.momentum, self.weight_decay, self.nesterov)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1); weight_decay * w is added to the gradient."""

    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _require(
            self.learning_rate >= 0 and math.isfinite(self.learning_rate),
            "learning_rate",
            "a number from 0",
            self.learning_rate,
        )
        _require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            "betas",
            "two numbers from 0 to below 1",
            self.betas,
        )
        _require(self.epsilon > 0, "epsilon", "a number above 0", self.epsilon)
        _require(self.weight_decay >= 0, "weight_decay", "a number from 0", self.weight_decay)

    def create(self, parameters: _core.Parameters) -> _core.Optimizer:
        """Make the state for these parameters."""
        return _core.adam(parameters, self.learning_rate, *self.betas, self.epsilon, self.weight_decay)
