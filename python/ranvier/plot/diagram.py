"""Pictures of networks: units and their connections, or layers as boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ranvier.checks import integer
from ranvier.layers import Flatten, Layer, Linear, Maxout, PlainLayer
from ranvier.network import Network
from ranvier.plot.common import COLORS, axes_or_new
from ranvier.plot.layered import layered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ranvier.wiring import Wiring

__all__ = ["network_diagram"]

_MOST_UNITS = 12  # circles in a column; of a larger layer both ends are drawn
_END_UNITS = 5
_RADIUS = 0.3
_COLUMN = 4.0  # from one layer to the next, where units are 1 apart


@dataclass
class _Column:
    """A layer of units, with the lines that are written below it."""

    size: int
    caption: list[str]


def network_diagram(
    network: Network | Sequence[int], ax: Axes | None = None, *, input_shape: tuple[int, ...] | None = None
) -> Axes:
    """Draw a network.

    One of linear layers and activations is drawn as circles and their connections; of a layer with more than
    twelve units the first and the last five. Another is drawn as a box for each layer, with the shape of a sample
    between them. Of one that is made from `ranvier.Input`, each box stands below those that it reads, inputs at the top
    and outputs at the bottom; the shapes of samples are below the boxes.

    Parameters
    ----------
    network : Network or sequence of int
        Or just the sizes of the layers, from input to output.
    ax : Axes, optional
    input_shape : tuple of int, optional
        Of one sample, for a network drawn as boxes; that of the samples seen last unless given. Inputs have shapes of
        their own.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If the sizes are not at least two integers above zero, or the shape of a sample is not known or unfit.
    """
    if isinstance(network, Network) and network.engine.wiring is not None:
        if input_shape is not None:
            raise TypeError("input_shape: expected None, as the network was made from Inputs, which have shapes")
        return _draw_graph(ax, network, network.engine.wiring)
    columns = _columns_of_network(network) if isinstance(network, Network) else _columns_of_sizes(network)
    if columns:
        return _draw_columns(ax, columns)
    assert isinstance(network, Network)
    shape = input_shape if input_shape is not None else network.input_shape
    if shape is None:
        raise ValueError("input_shape: expected the shape of a sample, as the network has seen none, got None")
    return _draw_boxes(ax, network.layers, [tuple(shape), *network.shapes(tuple(shape))])


def _columns_of_sizes(sizes: Sequence[int]) -> list[_Column]:
    checked = [integer(size, "network", 1) for size in sizes]
    if len(checked) < 2:
        raise ValueError(f"network: expected at least two sizes, got {checked}")
    columns = [_Column(size, [str(size)]) for size in checked]
    _name_roles(columns)
    return columns


def _columns_of_network(network: Network) -> list[_Column]:
    """Return the layers of units, or nothing if the network has other layers."""
    columns: list[_Column] = []
    for layer in network.layers:
        if isinstance(layer, Linear):
            columns = columns or [_Column(layer.in_features, [str(layer.in_features)])]
            columns.append(_Column(layer.out_features, [str(layer.out_features)]))
        elif columns and _keeps_units(layer):
            columns[-1].caption.append(type(layer).__name__)
        elif columns or not isinstance(layer, Flatten):
            return []
    _name_roles(columns)
    return columns


def _keeps_units(layer: Layer | PlainLayer) -> bool:
    """Tell whether a layer leaves vectors as long as they were."""
    return isinstance(layer, Layer) and not isinstance(layer, Maxout)


def _name_roles(columns: list[_Column]) -> None:
    for number, column in enumerate(columns):
        role = "input" if number == 0 else "output" if number == len(columns) - 1 else "hidden"
        column.caption.insert(1, role)


def _places(size: int) -> tuple[list[float], bool]:
    """Return the heights of a layer's circles around 0, and whether some are left out in the middle."""
    cut = size > _MOST_UNITS
    slots = 2 * _END_UNITS + 1 if cut else size
    heights = [(slots - 1) / 2 - slot for slot in range(slots)]
    if cut:
        del heights[_END_UNITS]
    return heights, cut


def _draw_columns(ax: Axes | None, columns: list[_Column]) -> Axes:
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Circle

    places = [_places(column.size) for column in columns]
    tallest = max(max(heights) for heights, _ in places)
    ax = axes_or_new(ax, 1.2 + 1.5 * len(columns), 1.6 + 0.7 * tallest)
    for number, ((here, _), (there, _)) in enumerate(pairwise(places)):
        left, right = _COLUMN * number, _COLUMN * (number + 1)
        lines = [((left, a), (right, b)) for a in here for b in there]
        ax.add_collection(LineCollection(lines, colors="0.6", linewidths=0.5, zorder=1))
    for number, (column, (heights, cut)) in enumerate(zip(columns, places, strict=True)):
        color = COLORS[2] if number == 0 else COLORS[1] if number == len(columns) - 1 else COLORS[0]
        for height in heights:
            ax.add_patch(Circle((_COLUMN * number, height), _RADIUS, facecolor=color, edgecolor="black", zorder=2))
        if cut:
            ax.text(_COLUMN * number, 0, "\N{VERTICAL ELLIPSIS}", ha="center", va="center", fontsize="x-large")
        ax.text(_COLUMN * number, -tallest - 0.7, "\n".join(column.caption), ha="center", va="top", fontsize="small")
    lines_below = max(len(column.caption) for column in columns)
    ax.set(xlim=(-1.5, _COLUMN * (len(columns) - 1) + 1.5), ylim=(-tallest - 1 - 0.55 * lines_below, tallest + 0.6))
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def _draw_boxes(ax: Axes | None, layers: Sequence[Layer | PlainLayer], shapes: list[tuple[int, ...]]) -> Axes:
    ax = axes_or_new(ax, 4.2, 0.5 + 0.55 * len(layers))
    arrow = {"arrowstyle": "-|>", "color": "0.3"}
    for number, shape in enumerate(shapes):
        ax.annotate("", (0, number + 0.5), (0, number), arrowprops=arrow)
        ax.text(0.08, number + 0.22, _shape_text(shape), va="center", fontsize="small")
    for number, layer in enumerate(layers):
        box = {"boxstyle": "round,pad=0.4", "facecolor": _box_color(layer), "edgecolor": "0.3"}
        ax.text(0, number + 0.75, _short(layer), ha="center", va="center", fontsize="small", bbox=box)
    ax.set(xlim=(-1, 1), ylim=(len(layers) + 0.6, -0.1))
    ax.set_axis_off()
    return ax


def _draw_graph(ax: Axes | None, network: Network, wiring: Wiring) -> Axes:
    """Draw inputs, layers and outputs, numbered as the wiring has them; outputs are numbered behind the layers."""
    layers, shapes = network.layers, network.shapes(wiring.sample_shape)
    texts = {-1 - k: name or "input" for k, name in enumerate(wiring.inputs.names)}
    colors = dict.fromkeys(texts, _pale(2))
    outputs = {len(layers) + k: name or "output" for k, name in enumerate(wiring.outputs.names)}
    texts |= {k: _short(layer) for k, layer in enumerate(layers)} | outputs
    colors |= {k: _box_color(layer) for k, layer in enumerate(layers)} | dict.fromkeys(outputs, _pale(1))
    readers = [*wiring.sources, *((source,) for source in wiring.ends)]
    layout = layered(
        list(texts), [(source, k) for k, sources in enumerate(readers) for source in sources], list(outputs)
    )
    widest = max(abs(across) for line in layout.lines for across, _ in line)
    lowest = max(down for _, down in layout.places.values())
    ax = axes_or_new(ax, 3 + 5.2 * widest, 1 + 0.85 * lowest)
    for line in layout.lines:
        _draw_line(ax, line)
    of_values = dict(zip(texts, wiring.inputs.shapes, strict=False)) | dict(enumerate(shapes))
    for node, (across, down) in layout.places.items():
        box = {"boxstyle": "round,pad=0.4", "facecolor": colors[node], "edgecolor": "0.3"}
        ax.text(across, down, texts[node], ha="center", va="center", fontsize="small", bbox=box)
        if node in of_values:
            ax.text(across + 0.03, down + 0.36, _shape_text(of_values[node]), va="center", fontsize="small")
    ax.set(xlim=(-widest - 0.6, widest + 0.6), ylim=(lowest + 0.5, -0.5))
    ax.set_axis_off()
    return ax


def _draw_line(ax: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Draw a line through points, with the head of an arrow at the upper edge of the last one's box."""
    *before, (across, down) = points
    end = (across, down - 0.17)
    ax.plot(*zip(*before, end, strict=True), color="0.3", linewidth=1, zorder=1)
    ax.annotate("", end, before[-1], arrowprops={"arrowstyle": "-|>", "color": "0.3", "linewidth": 0})


def _shape_text(shape: Sequence[int]) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(map(str, shape))


def _box_color(layer: Layer | PlainLayer) -> tuple[float, ...]:
    """Return the colour of a layer: with parameters blue, others yellow."""
    learns = isinstance(layer, Layer) and bool(layer.initial(np.random.default_rng(0)))
    return _pale(0 if learns else 6)


def _pale(color: int) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(0.6 + 0.4 * part for part in to_rgb(COLORS[color]))


def _short(layer: Layer | PlainLayer) -> str:
    """Return the layer with the fields that are not as they are by default."""
    if not dataclasses.is_dataclass(layer):
        return type(layer).__name__
    shown = []
    for field in dataclasses.fields(layer):
        value = getattr(layer, field.name)
        if field.default is dataclasses.MISSING:
            shown.append(str(value))
        elif value != field.default:
            shown.append(f"{field.name}={value}")
    return f"{type(layer).__name__}({', '.join(shown)})"
