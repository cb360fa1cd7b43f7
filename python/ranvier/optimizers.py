"""Optimizers: how parameters follow their gradients. The values are settings; a network keeps the state.

The learning rate is a number, or a schedule of ``ranvier.schedules``. ``groups`` are parameters with a learning rate or
a weight decay of their own. With ``ema_decay`` an exponential moving average of the parameters follows them, which
`ranvier.Network.averaged` gives.

Each may clip gradients: ``clip_norm`` scales those of all parameters together to that Euclidean norm if theirs is
larger (Pascanu, Mikolov and Bengio 2013), then ``clip_value`` cuts each to plus or minus that value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ranvier import _core
from ranvier.checks import boolean, nonnegative, positive, require_instance, set_fields
from ranvier.patterns import matched
from ranvier.settings import Settings
from ranvier.types import Array

if TYPE_CHECKING:
    from ranvier.schedules import LRScheduler

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "ParameterGroup", "RMSprop", "checked_optimizer"]


def checked_optimizer(optimizer: Any) -> Optimizer:
    """Return the optimizer.

    Raises
    ------
    TypeError
        If it is none, or a class of optimizers.
    """
    require_instance(optimizer, "optimizer")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: expected an optimizer, got {optimizer!r}")
    return optimizer


@dataclass(repr=False, eq=False)
class ParameterGroup(Settings):
    """Parameters that an optimizer treats in their own way.

    Parameters
    ----------
    pattern : str
        Matches their names, as "0.weight", with the wildcards of the shell: ``"0.*"`` are those of the first layer,
        ``"*.bias"`` all biases.
    lr : float or LRScheduler, optional
        Theirs; that of the optimizer unless given. ``Network.learning_rate_factor`` multiplies it, too.
    weight_decay : float, optional
        Likewise.

    Raises
    ------
    TypeError, ValueError
        If neither is given, or one is out of range.
    """

    pattern: str
    lr: float | LRScheduler | None = None
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        """Check the fields, and make them plain values."""
        if not isinstance(self.pattern, str):
            raise TypeError(f"pattern: expected a str, as '0.*', got {type(self.pattern).__name__}")
        rate, decay = self.lr, self.weight_decay
        if rate is None and decay is None:
            raise ValueError("lr: expected one, or a weight_decay, got neither; Network.freeze() is for none")
        set_fields(
            self,
            lr=None if rate is None else _rate_or_schedule(rate),
            weight_decay=None if decay is None else nonnegative(decay, "weight_decay"),
        )


@dataclass(repr=False, eq=False)
class Optimizer(Settings):
    """An update rule."""

    lr: float | LRScheduler
    rule: ClassVar[str]

    @property
    def groups(self) -> Sequence[ParameterGroup]:
        """The parameters with settings of their own."""
        return ()

    @property
    def ema_decay(self) -> float | None:
        """What the average of the parameters keeps at each update; None if there is none."""
        return None

    def settings(self) -> dict[str, Any]:
        """Return the settings as the compiled core names them."""
        fields = self.config()
        del fields["groups"]
        for name in ("clip_norm", "clip_value", "ema_decay"):
            fields[name] = fields[name] or 0.0
        fields["lr"] = float(self.learning_rates(0, 1, 1)[0])
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
        return _rates(self.lr, first_update, updates, updates_per_epoch)

    def all_rates(self, first_update: int, updates: int, updates_per_epoch: int | None) -> Array:
        """Return the `learning_rates` and those of the groups beside them, of shape (updates, 1 + groups)."""
        rates = self.learning_rates(first_update, updates, updates_per_epoch)
        return self.beside_groups(rates, first_update, updates_per_epoch)

    def beside_groups(self, rates: Array, first_update: int, updates_per_epoch: int | None) -> Array:
        """Return these learning rates, and beside them those of the groups, which are theirs or the same."""
        columns = [rates]
        for group in self.groups:
            own = group.lr
            columns.append(rates if own is None else _rates(own, first_update, len(rates), updates_per_epoch))
        return np.stack(columns, axis=1)

    def differs_in_rate(self, other: Optimizer) -> bool:
        """Return whether other differs in nothing but learning rates that are numbers in both."""
        return type(self) is type(other) and self != other and self._without_rates() == other._without_rates()

    def _without_rates(self) -> dict[str, Any]:
        groups = [group.config() | _blank(group.lr) for group in self.groups]
        return self.config() | _blank(self.lr) | {"groups": groups}

    def create(self, parameters: _core.Parameters) -> _core.Optimizer:
        """Make the state for these parameters."""
        settings = self.settings()
        rates = self.all_rates(0, 1, 1)[0].tolist()
        groups = [
            (names, rate, settings["weight_decay"] if group.weight_decay is None else group.weight_decay)
            for (group, names), rate in zip(self.grouped(parameters.names), rates[1:], strict=True)
        ]
        return _core.Optimizer(parameters, self.rule, settings, groups)

    def grouped(self, names: Sequence[str]) -> list[tuple[ParameterGroup, list[str]]]:
        """Return each group with those of the names that belong to it.

        Raises
        ------
        ValueError
            If a group has none, or a name belongs to two.
        """
        taken: dict[str, str] = {}
        result = []
        for group in self.groups:
            own = matched(group.pattern, names, "groups")
            for name in own:
                if name in taken:
                    raise ValueError(
                        f"groups: expected each parameter in one group, got {name} in {taken[name]!r} and "
                        f"{group.pattern!r}"
                    )
                taken[name] = group.pattern
            result.append((group, own))
        return result

    def _check(self) -> None:
        fields = self.config()
        checked: dict[str, Any] = {}
        for name, value in fields.items():
            if name in ("clip_norm", "clip_value"):
                checked[name] = None if value is None else positive(value, name)
            elif name == "ema_decay":
                checked[name] = None if value is None else _ema_decay(value)
            elif name == "lr":
                checked[name] = _rate_or_schedule(value)
            elif name == "groups":
                checked[name] = _groups(value)
            elif name == "nesterov":
                checked[name] = boolean(value, name)
            elif name == "betas":
                checked[name] = _betas(value)
            elif name == "eps":
                checked[name] = positive(value, name)
            else:
                checked[name] = nonnegative(value, name, below=1 if name in ("momentum", "alpha") else math.inf)
        set_fields(self, **checked)


def _rates(rate: float | LRScheduler, first_update: int, updates: int, updates_per_epoch: int | None) -> Array:
    if isinstance(rate, float):
        return np.full(updates, rate)
    return rate.rates(first_update, updates, updates_per_epoch)


def _blank(rate: float | LRScheduler | None) -> dict[str, Any]:
    return {"lr": 0.0} if isinstance(rate, float) else {}


def _ema_decay(value: Any) -> float:
    decay = nonnegative(value, "ema_decay", below=1)
    if decay == 0:
        raise ValueError("ema_decay: expected a number above 0, got 0")
    return decay


def _groups(value: Any) -> tuple[ParameterGroup, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"groups: expected a sequence of ParameterGroup, got {type(value).__name__}")
    for group in value:
        if not isinstance(group, ParameterGroup):
            raise TypeError(f"groups: expected ParameterGroup('0.*', ...), got {group!r}")
    return tuple(value)


def _rate_or_schedule(value: Any) -> float | LRScheduler:
    if isinstance(value, float | int):
        return nonnegative(value, "lr")
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

    g = gradient + weight_decay * w; v = momentum * v + g; w -= lr * v, or with nesterov
    w -= lr * (g + momentum * v).
    """

    lr: float | LRScheduler
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    clip_norm: float | None = None
    clip_value: float | None = None
    groups: Sequence[ParameterGroup] = ()
    ema_decay: float | None = None
    rule: ClassVar[str] = "sgd"

    def __post_init__(self) -> None:
        self._check()
        if self.nesterov and self.momentum == 0:
            raise ValueError(f"nesterov: expected a momentum above 0 with it, got {self.momentum}")


@dataclass(repr=False, eq=False)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1); weight_decay * w is added to the gradient."""

    lr: float | LRScheduler = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    groups: Sequence[ParameterGroup] = ()
    ema_decay: float | None = None
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
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): w -= lr * weight_decay * w."""

    weight_decay: float = 0.01

    def settings(self) -> dict[str, Any]:
        """Return the settings as the compiled core names them."""
        return super().settings() | {"decoupled_decay": True}


@dataclass(repr=False, eq=False)
class RMSprop(Optimizer):
    """RMSProp (Tieleman and Hinton 2012) as in PyTorch.

    s = alpha * s + (1 - alpha) * g**2; d = g / (sqrt(s) + eps); w -= lr * d, or with momentum
    v = momentum * v + d; w -= lr * v. weight_decay * w is added to the gradient g.
    """

    lr: float | LRScheduler = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    groups: Sequence[ParameterGroup] = ()
    ema_decay: float | None = None
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
    """Adagrad (Duchi, Hazan and Singer 2011): s = s + g**2; w -= lr * g / (sqrt(s) + eps).

    weight_decay * w is added to the gradient g.
    """

    lr: float | LRScheduler = 1e-2
    eps: float = 1e-10
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    groups: Sequence[ParameterGroup] = ()
    ema_decay: float | None = None
    rule: ClassVar[str] = "adagrad"

    def __post_init__(self) -> None:
        self._check()
