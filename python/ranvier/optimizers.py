"""Optimizers: how parameters follow their gradients. The values are settings; a network keeps the state."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ranvier import _core
from ranvier.checks import boolean, real, set_fields

__all__ = ["SGD", "Adam", "Optimizer"]


def _number(value: object, field: str, below: float = math.inf) -> float:
    number = real(value, field)
    if not 0 <= number < below:
        limit = "" if below == math.inf else f" to below {below:g}"
        raise ValueError(f"{field}: expected a number from 0{limit}, got {value}")
    return number


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
        set_fields(
            self,
            learning_rate=_number(self.learning_rate, "learning_rate"),
            momentum=_number(self.momentum, "momentum", below=1),
            weight_decay=_number(self.weight_decay, "weight_decay"),
            nesterov=boolean(self.nesterov, "nesterov"),
        )
        if self.nesterov and self.momentum == 0:
            raise ValueError(f"nesterov: expected a momentum above 0 with it, got {self.momentum}")

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
        if not isinstance(self.betas, tuple | list):
            raise TypeError(f"betas: expected a pair of numbers, got {type(self.betas).__name__}")
        if len(self.betas) != 2:
            raise ValueError(f"betas: expected a pair of numbers, got {len(self.betas)} items")
        set_fields(
            self,
            learning_rate=_number(self.learning_rate, "learning_rate"),
            betas=(_number(self.betas[0], "betas", below=1), _number(self.betas[1], "betas", below=1)),
            epsilon=_number(self.epsilon, "epsilon"),
            weight_decay=_number(self.weight_decay, "weight_decay"),
        )
        if self.epsilon == 0:
            raise ValueError(f"epsilon: expected a number above 0, got {self.epsilon}")

    def create(self, parameters: _core.Parameters) -> _core.Optimizer:
        """Make the state for these parameters."""
        return _core.adam(parameters, self.learning_rate, *self.betas, self.epsilon, self.weight_decay)
