"""Pictures of training: learning curves, the gradients' norms, the learning rate test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.checks import real
from ranvier.plot.common import COLORS, axes_or_new, integer_ticks, line_style, series
from ranvier.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ranvier.history import History

__all__ = ["gradient_norms", "learning_curves", "learning_rate_test"]

_EXPLOSION = 4  # times the first loss: what exceeds it leaves the picture


def learning_curves(history: History, ax: Axes | None = None, *, quantities: Sequence[str] | None = None) -> Axes:
    """Draw loss and accuracy of each epoch, in training and validation.

    Parameters
    ----------
    history : History
    ax : Axes, optional
        Divided into one panel for each quantity, its ``child_axes``; a single quantity is drawn in ax itself.
    quantities : sequence of {"loss", "accuracy"}, optional
        Both unless given, or the loss alone if the history has no accuracy.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no quantity, or an unknown one.
    """
    if quantities is None:
        quantities = ("loss", "accuracy") if history.accuracy or not history.loss else ("loss",)
    names = list(quantities)
    if not names or set(names) - {"loss", "accuracy"} or len(names) > 2:
        raise ValueError(f"quantities: expected 'loss', 'accuracy' or both, got {quantities!r}")
    ax = axes_or_new(ax, 4.5 * len(names), 3.6)
    for panel, name in zip(_panels(ax, len(names)), names, strict=True):
        _curves(panel, name, getattr(history, name), getattr(history, f"val_{name}"))
    return ax


def _panels(ax: Axes, count: int) -> list[Any]:
    """Return ax, or two panels that divide it; their scales stand outside, so that they fit a small axes too."""
    if count == 1:
        return [ax]
    ax.set_axis_off()
    left, right = (ax.inset_axes((start, 0, 0.47, 1)) for start in (0, 0.53))
    right.yaxis.tick_right()
    right.yaxis.set_label_position("right")
    return [left, right]


def _curves(ax: Axes, name: str, training: list[float], validation: list[float]) -> None:
    lines = (("training", training, COLORS[0], "-", "o"), ("validation", validation, COLORS[1], "--", "s"))
    for label, values, color, dash, marker in lines:
        if values:
            epochs = range(1, len(values) + 1)
            ax.plot(epochs, values, color=color, linestyle=dash, marker=marker, markersize=3, label=label)
    ax.set(xlabel="epoch", ylabel=name)
    integer_ticks(ax)
    ax.grid(alpha=0.3)
    if training or validation:
        ax.legend()


def gradient_norms(norms: Mapping[str, Sequence[float]], ax: Axes | None = None, *, unit: str = "epoch") -> Axes:
    """Draw how the norms of gradients went: whether they vanish towards the first layers, or explode.

    Parameters
    ----------
    norms : mapping of str to sequence of float
        For each parameter or layer the norm in each epoch or step. Zeros leave a gap, as the axis is logarithmic.
    ax : Axes, optional
    unit : str
        What the numbers count: the label of the x axis.

    Returns
    -------
    Axes
        With a line for each name.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If there are no norms, or not one number for each epoch.
    """
    if not norms:
        raise ValueError("norms: expected the norms of at least one parameter, got none")
    lines = {name: series(values, f"norms: {name}") for name, values in norms.items()}
    ax = axes_or_new(ax, 6, 3.8)
    ax.set_yscale("log", nonpositive="mask")
    for number, (name, values) in enumerate(lines.items()):
        visible = np.where(values > 0, values, np.nan)
        ax.plot(np.arange(1, len(values) + 1), visible, marker=".", label=name, **line_style(number))
    ax.set(xlabel=unit, ylabel="norm of the gradient")
    integer_ticks(ax)
    ax.grid(alpha=0.3)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def learning_rate_test(
    rates: Sequence[float], losses: Sequence[float], ax: Axes | None = None, suggestion: float | None = None
) -> Axes:
    """Draw the loss over the learning rate of a run whose rate grew from step to step.

    Parameters
    ----------
    rates : sequence of float
        Above zero.
    losses : sequence of float
        One for each rate. Where the loss explodes, the curve leaves the picture.
    ax : Axes, optional
    suggestion : float, optional
        A learning rate to be marked.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If there is not one loss for each rate, or a rate is not above zero.
    """
    x, y = series(rates, "rates"), series(losses, "losses")
    if x.shape != y.shape:
        raise ValueError(f"losses: expected one for each of {len(x)} rates, got {len(y)}")
    marked = None if suggestion is None else real(suggestion, "suggestion")
    for name, least in (("rates", x.min()), ("suggestion", marked)):
        if least is not None and not least > 0:
            raise ValueError(f"{name}: expected learning rates above 0, got {least}")
    ax = axes_or_new(ax, 5.5, 3.8)
    ax.plot(x, y, color=COLORS[0])
    ax.set_xscale("log")
    if (limits := _limits(y)) is not None:
        ax.set_ylim(limits)
    if marked is not None:
        ax.axvline(marked, color=COLORS[1], linestyle="--", label=f"suggestion: {marked:.3g}")
        ax.legend()
    ax.set(xlabel="learning rate", ylabel="loss")
    ax.grid(alpha=0.3)
    return ax


def _limits(losses: Array) -> tuple[float, float] | None:
    """Return what the y axis should show of a loss that exploded."""
    finite = losses[np.isfinite(losses)]
    if len(finite) == 0 or finite[0] <= 0 or finite.max() <= _EXPLOSION * finite[0]:
        return None
    low, high = float(finite.min()), float(_EXPLOSION / 2 * finite[0])
    return low - 0.05 * (high - low), high
