"""Pictures of images: weights, filters, feature maps, samples that were misclassified."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.checks import integer
from ranvier.data import as_labels, as_samples
from ranvier.layers import Conv2d, Layer, Linear
from ranvier.network import Network
from ranvier.plot.common import axes_or_new
from ranvier.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["feature_maps", "filters", "misclassified", "weight_images"]

_GAP = 0.08  # between two images, whose longer side is 1
_CAPTION = 0.42  # height of two lines above an image


def weight_images(
    network: Network,
    layer: int | None = None,
    shape: tuple[int, int] | None = None,
    ax: Axes | None = None,
    *,
    columns: int | None = None,
) -> Axes:
    """Draw each unit's weights as an image: what the unit looks for.

    Parameters
    ----------
    network : Network
    layer : int, optional
        Position of a linear layer; the first one unless given.
    shape : pair of ints, optional
        Height and width of the layer's input as an image; a square unless given.
    ax : Axes, optional
    columns : int, optional
        Images side by side; about as many as there are rows unless given.

    Returns
    -------
    Axes
        ``images[i]`` has row i of the layer's weight, all on one scale: red above zero, blue below.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If there is no such layer, or its inputs do not fit the shape.
    """
    position = _position(network, layer, Linear)
    weight = network.parameters()[f"{position}.weight"]
    images = weight.reshape(-1, *_image_shape(weight.shape[1], shape))
    return _signed_tiles(ax, images, _columns(len(images), columns), f"weights of layer {position}")


def filters(network: Network, layer: int | None = None, ax: Axes | None = None, *, columns: int | None = None) -> Axes:
    """Draw the weights of a convolution, one image for each pair of output and input channel.

    Parameters
    ----------
    network : Network
    layer : int, optional
        Position of a convolution; the first one unless given.
    ax : Axes, optional
    columns : int, optional
        Images side by side. Unless given, one row for each output channel; of a single input channel, about as
        many columns as rows.

    Returns
    -------
    Axes
        ``images`` has the weight, output channel by output channel, all on one scale: red above zero, blue below.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If there is no such layer.
    """
    position = _position(network, layer, Conv2d)
    weight = network.parameters()[f"{position}.weight"]
    depth = weight.shape[1]
    images = weight.reshape(-1, *weight.shape[2:])
    chosen = depth if columns is None and depth > 1 else _columns(len(images), columns)
    ax = _signed_tiles(ax, images, chosen, f"filters of layer {position}")
    if columns is None and depth > 1:
        ax.set(xlabel="input channel", ylabel="output channel")
    return ax


def feature_maps(
    network: Network,
    image: Any,
    layer: int | None = None,
    ax: Axes | None = None,
    *,
    columns: int | None = None,
) -> Axes:
    """Draw what a layer makes of an image, one picture for each channel.

    Parameters
    ----------
    network : Network
    image : array_like, or dict of str to array_like
        One sample, of the shape that the network takes.
    layer : int, optional
        Position of a layer whose output is (channels, height, width); the first convolution unless given.
    ax : Axes, optional
    columns : int, optional
        Pictures side by side; about as many as there are rows unless given.

    Returns
    -------
    Axes
        ``images[i]`` has channel i of the layer's output, all on one scale.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If there is no such layer, the image does not fit the network, or the output is not of images.
    """
    position = _position(network, layer, Conv2d if layer is None else None)
    is_dict = isinstance(image, Mapping)
    samples = {name: np.asarray(part)[None] for name, part in image.items()} if is_dict else np.asarray(image)[None]
    maps = network.activations(samples, [position])[position][0]
    if maps.ndim != 3:
        raise ValueError(f"layer: expected one whose output is (channels, height, width), got {maps.shape}")
    low, high = float(maps.min()), float(maps.max())
    ax = _tiles(ax, maps, _columns(len(maps), columns), cmap="cividis", limits=(low, high))
    ax.set_title(f"output of layer {position}")
    _scale(ax)
    return ax


def misclassified(
    x: Any,
    y: Any,
    predicted: Any,
    count: int = 20,
    shape: tuple[int, int] | None = None,
    ax: Axes | None = None,
    *,
    classes: Sequence[str] | None = None,
    columns: int = 5,
) -> Axes:
    """Draw the first images that were given a wrong class, with both classes.

    Parameters
    ----------
    x : array_like, shape (n, pixels), (n, height, width), or (n, channels, height, width) with 1 or 3 channels
        Coloured images must lie in [0, 1].
    y, predicted : array_like, shape (n,) or (n, classes)
        The true and the predicted classes: labels or rows, as from `ranvier.Network.predict`.
    count : int
        The most images that are drawn.
    shape : pair of ints, optional
        Height and width, if a sample is a vector of pixels; a square unless given.
    ax : Axes, optional
    classes : sequence of str, optional
        Their names; numbers unless given.
    columns : int
        Images side by side.

    Returns
    -------
    Axes
        ``images`` are the images, ``texts`` what is written above each.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If an argument is unfit.
    """
    true, given = as_labels(y), as_labels(predicted, "predicted")
    count, columns = integer(count, "count", 1), integer(columns, "columns", 1)
    images = _pictures(np.asarray(x), shape)
    for name, length in (("x", len(images)), ("predicted", len(given))):
        if length != len(true):
            raise ValueError(f"{name}: expected one for each of {len(true)} labels, got {length}")
    highest = int(max(true.max(), given.max()))
    names = list(classes) if classes is not None else [str(label) for label in range(highest + 1)]
    if len(names) <= highest:
        raise ValueError(f"classes: expected at least {highest + 1} names, got {len(names)}")
    wrong = np.flatnonzero(true != given)
    chosen = wrong[:count]
    captions = [f"true {names[true[i]]}\npredicted {names[given[i]]}" for i in chosen]
    limits = (float(images.min()), float(images.max()))
    ax = _tiles(ax, images[chosen], columns, cmap="gray", limits=limits, captions=captions)
    ax.set_title(f"{len(wrong)} of {len(true)} misclassified" + (f", the first {count}" if len(wrong) > count else ""))
    return ax


def _position(network: Network, layer: int | None, kind: type[Layer] | None) -> int:
    """Return the position of the layer, of that kind if one is asked for; the first of its kind for None."""
    if layer is None:
        for position, candidate in enumerate(network.layers):
            if kind is not None and isinstance(candidate, kind):
                return position
        raise ValueError(f"network: expected a {kind.__name__ if kind else 'layer'}, got {network!r}")
    position = integer(layer, "layer", 0)
    if position >= len(network.layers):
        raise ValueError(f"layer: expected a position from 0 to {len(network.layers) - 1}, got {position}")
    if kind is not None and not isinstance(network.layers[position], kind):
        raise ValueError(f"layer: expected the position of a {kind.__name__}, got {network.layers[position]!r}")
    return position


def _columns(images: int, columns: int | None) -> int:
    return math.ceil(math.sqrt(images)) if columns is None else integer(columns, "columns", 1)


def _image_shape(pixels: int, shape: tuple[int, int] | None) -> tuple[int, int]:
    """Return the shape, or that of a square, if it has so many pixels."""
    if shape is None:
        side = math.isqrt(pixels)
        if side * side != pixels:
            raise ValueError(f"shape: expected height and width, as {pixels} pixels are no square, got None")
        return side, side
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise TypeError(f"shape: expected a pair of ints, got {shape!r}")
    height, width = (integer(side, "shape", 1) for side in shape)
    if height * width != pixels:
        raise ValueError(f"shape: expected height and width of {pixels} pixels, got {height} and {width}")
    return height, width


def _pictures(x: Array, shape: tuple[int, int] | None) -> Array:
    """Return samples as (n, height, width) or, if coloured, (n, height, width, 3)."""
    x = as_samples(x, np.dtype(np.float64))
    if x.ndim == 2:
        return x.reshape(-1, *_image_shape(x.shape[1], shape))
    if x.ndim == 3:
        return x
    if x.ndim == 4 and x.shape[1] in (1, 3):
        return x[:, 0] if x.shape[1] == 1 else x.transpose(0, 2, 3, 1)
    raise ValueError(f"x: expected images of 1 or 3 channels, or vectors of pixels, got shape {x.shape}")


def _signed_tiles(ax: Axes | None, images: Array, columns: int, title: str) -> Axes:
    high = float(np.abs(images).max()) or 1.0
    ax = _tiles(ax, images, columns, cmap="RdBu_r", limits=(-high, high))
    ax.set_facecolor("0.8")  # the edge of an image that is white there
    ax.set_title(title)
    _scale(ax)
    return ax


def _scale(ax: Axes) -> None:
    """Add a colour bar, which holds for all images of ax."""
    ax.figure.colorbar(ax.images[0], ax=ax, shrink=0.8)


def _tiles(
    ax: Axes | None,
    images: Array,
    columns: int,
    *,
    cmap: str,
    limits: tuple[float, float],
    captions: Sequence[str] = (),
) -> Axes:
    """Draw images row by row in one axes, each with its caption above it."""
    height, width = (side / max(images.shape[1:3]) for side in images.shape[1:3])
    columns = min(columns, max(len(images), 1))
    rows = max(math.ceil(len(images) / columns), 1)
    across, down = width + _GAP, height + _GAP + (_CAPTION if captions else 0)
    ax = axes_or_new(ax, *_figure_size(columns * across, rows * down))
    for i, image in enumerate(images):
        left, bottom = i % columns * across, i // columns * down + down - _GAP
        extent = (left, left + width, bottom, bottom - height)
        ax.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], extent=extent, interpolation="nearest")
    for i, caption in enumerate(captions):
        middle, top = i % columns * across + width / 2, i // columns * down + down - _GAP - height - 0.03
        ax.text(middle, top, caption, ha="center", va="bottom", fontsize="x-small")
    ax.set(xlim=(-_GAP, columns * across), ylim=(rows * down, -_GAP), xticks=[], yticks=[], aspect="equal")
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def _figure_size(width: float, height: float) -> tuple[float, float]:
    """Return inches for a picture of so many images across and down: each about one inch, none too large."""
    inch = min(1.1, 8 / width, 10 / height)
    return max(width * inch, 2.5) + 0.8, max(height * inch, 1.5) + 0.5
