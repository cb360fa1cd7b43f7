"""Optimizers: how parameters follow their gradients. The values are settings; a network keeps the state.

The learning rate is a number, or a schedule of ``ranvier.schedules``.

Each may clip gradients: ``clip_norm`` scales those of all parameters together to that Euclidean norm if theirs is
larger (Pascanu, Mikolov and Bengio 2013), then ``clip_value`` cuts each to plus or minus that value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ranvier import _core
from ranvier.checks import boolean, nonnegative, positive, set_fields
from ranvier.settings import Settings
from ranvier.types import Array

if TYPE_CHECKING:
    from ranvier.schedules import Schedule

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "checked_optimizer"]


def checked_optimizer(optimizer: Any) -> Optimizer:
    """Return the optimizer.

    Raises
    ------
    TypeError
        If it is none, or a class of optimizers.
    """
    if isinstance(optimizer, type):
        raise TypeError(f"optimizer: expected an instance, as {optimizer.__name__}(...), got the class")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: expected an optimizer, got {optimizer!r}")
    return optimizer


@dataclass(repr=False, eq=False)
class Optimizer(Settings):
    """An update rule."""

    learning_rate: float | Schedule
    rule: ClassVar[str]

    def settings(self) -> dict[str, Any]:
        """Return the settings as the compiled core names them."""
        fields = self.config()
        for name in ("clip_norm", "clip_value"):
            fields[name] = fields[name] or 0.0
        fields["learning_rate"] = float(self.learning_rates(0, 1, 1)[0])
        return fields

    def learning_rates(self, first_update: int, updates: int, updates_per_epoch: int | None) -> Array:
        """Return the learning rates of updates in succession.

        Parameters
        ----------
        first_update : int
            The number of updates done before.
        updates : int
        updates_per_epoch : int or None
            None if nobody knows; a schedule may say it itself.

        Returns
        -------
        ndarray of float64, shape (updates,)
        """
        if isinstance(self.learning_rate, float):
            return np.full(updates, self.learning_rate)
        return self.learning_rate.rates(first_update, updates, updates_per_epoch)

    def differs_in_rate(self, other: Optimizer) -> bool:
        """Return whether other differs in nothing but the learning rate, which is a number in both."""
        rates = self.learning_rate, other.learning_rate
        if type(self) is not type(other) or not all(isinstance(rate, float) for rate in rates):
            return False
        return rates[0] != rates[1] and self.config() | {"learning_rate": 0} == other.config() | {"learning_rate": 0}

    def create(self, parameters: _core.Parameters) -> _core.Optimizer:
        """Make the state for these parameters."""
        return _core.Optimizer(parameters, self.rule, self.settings())

    def _check(self) -> None:
        fields = self.config()
        checked: dict[str, Any] = {}
        for name, value in fields.items():
            if name in ("clip_norm", "clip_value"):
                checked[name] = None if value is None else positive(value, name)
            elif name == "learning_rate":
                checked[name] = _rate_or_schedule(value)
            elif name == "nesterov":
                checked[name] = boolean(value, name)
            elif name == "betas":
                checked[name] = _betas(value)
            elif name == "epsilon":
                checked[name] = positive(value, name)
            else:
                checked[name] = nonnegative(value, name, below=1 if name in ("momentum", "alpha") else math.inf)
        set_fields(self, **checked)


def _rate_or_schedule(value: Any) -> float | Schedule:
    if isinstance(value, float | int):
        return nonnegative(value, "learning_rate")
    from ranvier.schedules import rate_or_schedule  # here, so that `import ranvier` stays quick

    return rate_or_schedule(value)


def _betas(value: Any) -> tuple[float, float]:
    if not isinstance(value, tuple | list):
        raise TypeError(f"betas: expected a pair of numbers, got {type(value).__name__}")
    if len(value) != 2:
        raise ValueError(f"betas: expected a pair of numbers, got {len(value)} items")
    return nonnegative(value[0], "betas", below=1), nonnegative(value[1], "betas", below=1)


@dataclass(repr=False, eq=False)
class SGD(Optimizer):
    """Stochastic gradient descent, with PyTorch's momentum and weight decay.

    g = gradient + weight_decay * w; v = momentum * v + g; w -= learning_rate * v, or with nesterov
    w -= learning_rate * (g + momentum * v).
    """

    learning_rate: float | Schedule
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    clip_norm: float | None = None
    clip_value: float | None = None
    rule: ClassVar[str] = "sgd"

    def __post_init__(self) -> None:
        self._check()
        if self.nesterov and self.momentum == 0:
            raise ValueError(f"nesterov: expected a momentum above 0 with it, got {self.momentum}")


@dataclass(repr=False, eq=False)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1); weight_decay * w is added to the gradient."""

    learning_rate: float | Schedule = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    rule: ClassVar[str] = "adam"

    def __post_init__(self) -> None:
        self._check()

    def settings(self) -> dict[str, Any]:
        """Return the settings as the compiled core names them."""
        fields = super().settings()
        fields["beta1"], fields["beta2"] = fields.pop("betas")
        return fields


@dataclass(repr=False, eq=False)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): w -= learning_rate * weight_decay * w."""

    weight_decay: float = 0.01

    def settings(self) -> dict[str, Any]:
        """Return the settings as the compiled core names them."""
        return super().settings() | {"decoupled_decay": True}


@dataclass(repr=False, eq=False)
class RMSprop(Optimizer):
    """RMSProp (Tieleman and Hinton 2012) as in PyTorch.

    s = alpha * s + (1 - alpha) * g**2; d = g / (sqrt(s) + epsilon); w -= learning_rate * d, or with momentum
    v = momentum * v + d; w -= learning_rate * v. weight_decay * w is added to the gradient g.
    """

    learning_rate: float | Schedule = 1e-2
    alpha: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    rule: ClassVar[str] = "rmsprop"

    def __post_init__(self) -> None:
        self._check()

    def settings(self) -> dict[str, Any]:
        """Return the settings as the compiled core names them."""
        fields = super().settings()
        fields["beta2"] = fields.pop("alpha")
        return fields


@dataclass(repr=False, eq=False)
class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer 2011): s = s + g**2; w -= learning_rate * g / (sqrt(s) + epsilon).

    weight_decay * w is added to the gradient g.
    """

    learning_rate: float | Schedule = 1e-2
    epsilon: float = 1e-10
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    rule: ClassVar[str] = "adagrad"

    def __post_init__(self) -> None:
        self._check()
