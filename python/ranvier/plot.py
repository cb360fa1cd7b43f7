"""Pictures of training: the learning curves. Needs matplotlib, the extra ``plot``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranvier.history import History

__all__ = ["learning_curves"]


def learning_curves(history: History, path: str | os.PathLike[str], title: str = "") -> None:
    """Draw loss and accuracy over the epochs and write the picture.

    Parameters
    ----------
    history : History
    path : path-like
        Its suffix is the format: .png, .svg, .pdf.
    title : str

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'ranvier[plot]'") from None
    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _curves(left, "loss", history.loss, history.val_loss)
    _curves(right, "accuracy", history.accuracy, history.val_accuracy)
    figure.suptitle(title)
    figure.savefig(path)


def _curves(axes: Any, name: str, training: list[float], validation: list[float]) -> None:
    for label, values in (("training", training), ("validation", validation)):
        if values:
            axes.plot(range(1, len(values) + 1), values, marker="o", markersize=3, label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel(name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    if training:
        axes.legend()
