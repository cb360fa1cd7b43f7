"""Pictures of the activation functions and their derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ranvier import kernels
from ranvier.checks import real
from ranvier.plot.common import axes_or_new, line_style
from ranvier.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["activation"]

_FUNCTIONS = (
    "elu",
    "gelu",
    "hardswish",
    "heaviside",
    "leaky_relu",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "tanh",
)
_POINTS = 2001


def activation(names: str | Sequence[str], ax: Axes | None = None, *, bound: float = 4.0) -> Axes:
    """Draw activation functions, and their derivatives dashed.

    Parameters
    ----------
    names : str or sequence of str
        Of functions of `ranvier.kernels`, at most six: "elu", "gelu", "hardswish", "heaviside", "leaky_relu", "mish",
        "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "tanh".
    ax : Axes, optional
    bound : float
        They are drawn from -bound to bound.

    Returns
    -------
    Axes
        With two lines for each name.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If a name is unknown, or there is none or too many, or the bound is not above zero.
    """
    chosen = [names] if isinstance(names, str) else list(names)
    if unknown := [name for name in chosen if name not in _FUNCTIONS]:
        raise ValueError(f"names: expected some of {', '.join(_FUNCTIONS)}, got {unknown[0]!r}")
    if not 1 <= len(chosen) <= 6:
        raise ValueError(f"names: expected one to six functions, got {len(chosen)}")
    bound = real(bound, "bound")
    if bound <= 0:
        raise ValueError(f"bound: expected a number above 0, got {bound}")
    ax = axes_or_new(ax, 5.5, 3.8)
    x = np.linspace(-bound, bound, _POINTS)
    for number, name in enumerate(chosen):
        color = line_style(number)["color"]
        value, slope = _value_and_slope(name, x)
        ax.plot(x, value, color=color, label=name)
        ax.plot(x, slope, color=color, linestyle="--", label=f"derivative of {name}")
    ax.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    ax.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    ax.set(xlabel="x", xlim=(-bound, bound))
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def _value_and_slope(name: str, x: Array) -> tuple[Array, Array]:
    """Return a function and its derivative at x."""
    value = getattr(kernels, name)(x)
    slope = getattr(kernels, f"{name}_backward")(np.ones_like(x), x)
    return value, slope
