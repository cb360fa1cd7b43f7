"""What the pictures share: a new axes where none is given, colours, and checks of numbers to be drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.notebook import in_notebook
from ranvier.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLORS", "MARKERS", "axes_or_new", "class_colors", "integer_ticks", "line_style", "series"]

# Okabe and Ito 2008, "Color Universal Design": blue, vermilion, green, orange, purple, sky blue, yellow.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DARKER = 0.45
_LINES = 6  # yellow is too pale for a line on white
_DASHES = ("-", "--", ":", "-.")


def axes_or_new(ax: Axes | None, width: float, height: float) -> Axes:
    """Return ax, or the axes of a new figure of that size in inches, which a notebook shows at the end of the cell.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    if ax is not None:
        return ax
    try:
        if in_notebook():
            from matplotlib.pyplot import figure  # the notebook shows pyplot's figures
        else:
            from matplotlib.figure import Figure as figure  # type: ignore[assignment]
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'ranvier[plot]'") from None
    return figure(figsize=(width, height), layout="constrained").subplots()


def class_colors(classes: int) -> list[Any]:
    """Return a colour for each class: the palette, then its darker shades; from 15 classes on they come again."""
    from matplotlib.colors import to_rgb

    plain = [to_rgb(color) for color in COLORS]
    shades = [*plain, *(tuple(_DARKER * part for part in color) for color in plain)]
    return [shades[label % len(shades)] for label in range(classes)]


def line_style(number: int) -> dict[str, Any]:
    """Return what tells line ``number`` from the others."""
    return {"color": COLORS[number % _LINES], "linestyle": _DASHES[number // _LINES % len(_DASHES)]}


def integer_ticks(ax: Axes) -> None:
    """Put the ticks of the x axis at integers, even if there is room for a single one only."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def series(values: Any, name: str) -> Array:
    """Return values as one axis of float64.

    Raises
    ------
    TypeError
        If they are not real numbers.
    ValueError
        If they have no axis, several, or no element.
    """
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: expected numbers of shape (n,), got shape {array.shape}")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
    return array.astype(np.float64)
