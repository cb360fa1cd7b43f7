"""Pictures of classifiers: the regions of a plane, the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.checks import integer, real
from ranvier.data import as_labels, as_samples
from ranvier.plot.common import MARKERS, axes_or_new, class_colors
from ranvier.types import Array, Labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ranvier.network import Network

__all__ = ["confusion_matrix", "decision_regions"]

_MARGIN = 0.08  # around the points, as a part of their extent
_UPRIGHT = 3  # letters of a class name that may stand side by side


def decision_regions(
    network: Network,
    x: Any,
    y: Any,
    ax: Axes | None = None,
    resolution: int = 200,
    *,
    threshold: float = 0.5,
) -> Axes:
    """Draw which class a network gives to each point of the plane, and samples with their true classes.

    Parameters
    ----------
    network : Network
        Takes samples of shape (2,) and returns a score for each class, or a single one.
    x : array_like, shape (n, 2)
    y : array_like, shape (n,) or (n, classes)
        Labels or one-hot rows.
    ax : Axes, optional
    resolution : int
        Number of points in each direction at which the network is asked.
    threshold : float
        Above it a single output means class 1: 0 if the network returns logits.

    Returns
    -------
    Axes
        ``images[0]`` has the class of each point; the samples of each class are a collection.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If an argument is unfit.
    """
    points, labels = as_samples(x, np.dtype(np.float64)), as_labels(y)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"x: expected points of shape (n, 2), got {points.shape}")
    if len(points) != len(labels):
        raise ValueError(f"y: expected one label for each of {len(points)} samples, got {len(labels)}")
    resolution, threshold = integer(resolution, "resolution", 2), real(threshold, "threshold")
    grid, extent = _grid(points, resolution)
    outputs = network.predict(grid)
    regions = _classes_of(outputs, threshold).reshape(resolution, resolution)
    classes = max(outputs.shape[1], 2, int(labels.max()) + 1)
    ax = axes_or_new(ax, 5.5, 4.6)
    _draw_regions(ax, regions, extent, classes)
    _draw_points(ax, points, labels, classes)
    ax.set(xlabel="$x_1$", ylabel="$x_2$", xlim=extent[:2], ylim=extent[2:])
    return ax


def _grid(points: Array, resolution: int) -> tuple[Array, tuple[float, float, float, float]]:
    """Return the centres of resolution^2 pixels, row by row from below, and the edges of their picture."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.where(high > low, _MARGIN * (high - low), 1.0)
    low, high = low - margin, high + margin
    steps = (np.arange(resolution) + 0.5) / resolution
    across, up = (low[i] + steps * (high[i] - low[i]) for i in range(2))
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    return grid, (float(low[0]), float(high[0]), float(low[1]), float(high[1]))


def _classes_of(outputs: Array, threshold: float) -> Labels:
    if outputs.ndim != 2:
        raise ValueError(f"network: expected an output of shape (classes,), got {outputs.shape[1:]}")
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > threshold).astype(np.int64)
    return np.asarray(outputs.argmax(axis=1), dtype=np.int64)


def _draw_regions(ax: Axes, regions: Labels, extent: tuple[float, float, float, float], classes: int) -> None:
    from matplotlib.colors import ListedColormap, to_rgb

    pale = [tuple(0.6 + 0.4 * part for part in to_rgb(color)) for color in class_colors(classes)]
    ax.imshow(
        regions,
        origin="lower",
        extent=extent,
        aspect="auto",
        interpolation="nearest",
        cmap=ListedColormap(pale),
        vmin=-0.5,
        vmax=classes - 0.5,
    )
    across, up = (
        low + (high - low) * (np.arange(len(regions)) + 0.5) / len(regions) for low, high in (extent[:2], extent[2:])
    )
    present = np.unique(regions)
    for label in present if len(present) > 1 else ():
        ax.contour(across, up, (regions == label).astype(float), levels=[0.5], colors="white", linewidths=1)


def _draw_points(ax: Axes, points: Array, labels: Labels, classes: int) -> None:
    colors = class_colors(classes)
    for label in np.unique(labels):
        chosen = points[labels == label]
        marker = MARKERS[label % len(MARKERS)]
        style: dict[str, Any] = {"color": [colors[label]], "edgecolor": "black", "linewidth": 0.4, "marker": marker}
        ax.scatter(chosen[:, 0], chosen[:, 1], s=18, label=str(label), **style)
    ax.legend(title="class", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def confusion_matrix(matrix: Any, classes: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw how many samples of each class were given each class.

    Parameters
    ----------
    matrix : array_like of int, shape (classes, classes)
        Entry (i, j) counts the samples of class i that were predicted to be of class j, as from
        `ranvier.metrics.confusion_matrix`.
    classes : sequence of str, optional
        Their names; numbers unless given.
    ax : Axes, optional

    Returns
    -------
    Axes
        ``images[0]`` has the counts; ``texts`` are those of the cells, row by row.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If the matrix is not square or not of counts, or there is not one name for each class.
    """
    counts = np.asarray(matrix)
    if counts.dtype.kind not in "iu":
        raise TypeError(f"matrix: expected integer counts, got dtype {counts.dtype}")
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0 or counts.min() < 0:
        raise ValueError(f"matrix: expected counts of shape (classes, classes), at least 0, got shape {counts.shape}")
    names = [str(name) for name in (range(len(counts)) if classes is None else classes)]
    if len(names) != len(counts):
        raise ValueError(f"classes: expected {len(counts)} names, got {len(names)}")
    size = 2 + 0.45 * len(counts)
    ax = axes_or_new(ax, size, size)
    high = max(int(counts.max()), 1)
    ax.imshow(counts, cmap="Blues", vmin=0, vmax=high)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if count > 0.55 * high else "black" if count else "0.6"
        ax.text(column, row, str(count), ha="center", va="center", color=color, fontsize="small")
    turned = {"rotation": 45, "ha": "right"} if max(map(len, names)) > _UPRIGHT else {}
    ax.set_xticks(range(len(names)), names, **turned)  # type: ignore[arg-type]
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="predicted class", ylabel="true class")
    return ax
