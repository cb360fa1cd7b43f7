"""The space that a search draws settings from: a dimension for each name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ranvier.checks import boolean, integer, real, set_fields

__all__ = ["Choice", "Dimension", "Integer", "Real", "checked_space"]


@dataclass(frozen=True)
class Real:
    """A real number from ``low`` to ``high``; with ``log``, its logarithm is drawn evenly."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        set_fields(self, low=real(self.low, "low"), high=real(self.high, "high"), log=boolean(self.log, "log"))
        _check_range(self.low, self.high, self.log)

    def _suggest(self, trial: Any, name: str) -> float:
        return float(trial.suggest_float(name, self.low, self.high, log=self.log))


@dataclass(frozen=True)
class Integer:
    """An integer from ``low`` to ``high``, both included; with ``log``, its logarithm is drawn evenly."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        least = -(2**31)
        set_fields(
            self,
            low=integer(self.low, "low", least),
            high=integer(self.high, "high", least),
            log=boolean(self.log, "log"),
        )
        _check_range(self.low, self.high, self.log)

    def _suggest(self, trial: Any, name: str) -> int:
        return int(trial.suggest_int(name, self.low, self.high, log=self.log))


@dataclass(frozen=True)
class Choice:
    """One of some options: numbers, strings, bools or None."""

    options: tuple[bool | int | float | str | None, ...]

    def __post_init__(self) -> None:
        if isinstance(self.options, str) or not isinstance(self.options, tuple | list):
            raise TypeError(f"options: expected a sequence, got {self.options!r}")
        if not self.options:
            raise ValueError("options: expected at least one, got none")
        for option in self.options:
            if not isinstance(option, bool | int | float | str | None):
                raise TypeError(f"options: expected numbers, strings, bools or None, got {option!r}")
        set_fields(self, options=tuple(self.options))

    def _suggest(self, trial: Any, name: str) -> Any:
        return trial.suggest_categorical(name, self.options)


Dimension = Real | Integer | Choice


def _check_range(low: float, high: float, log: bool) -> None:
    if not low < high:
        raise ValueError(f"high: expected a number above low = {low}, got {high}")
    if log and low <= 0:
        raise ValueError(f"low: expected a number above 0 for a logarithm, got {low}")


def checked_space(space: Any) -> dict[str, Dimension]:
    """Return the space, of which each name has a dimension."""
    if not isinstance(space, Mapping):
        raise TypeError(f"space: expected a mapping of names to Real, Integer or Choice, got {type(space).__name__}")
    if not space:
        raise ValueError("space: expected at least one name, got none")
    for name, dimension in space.items():
        if not isinstance(name, str) or not isinstance(dimension, Dimension):
            raise TypeError(f"space: expected names with Real, Integer or Choice, got {name!r}: {dimension!r}")
    return dict(space)
