"""The progress bar of `fit`: one for the whole training, with the figures of its epochs."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any

from ranvier.notebook import in_notebook

__all__ = ["Bar", "is_visible", "print_above"]


def is_visible() -> bool:
    """Return whether somebody would see a bar: in a notebook or on a terminal, but not in a file."""
    return in_notebook() or (hasattr(sys.stderr, "isatty") and sys.stderr.isatty())


def _tqdm() -> Any:
    """Return tqdm's bar, that of notebooks in a notebook."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where a notebook lacks ipywidgets, the bar of terminals will do
        from tqdm.auto import tqdm
    return tqdm


def print_above(text: str) -> None:
    """Print a line, above the bar if one is shown."""
    if is_visible():
        _tqdm().write(text)
    else:
        print(text, flush=True)


# tqdm's own formats leave less room for figures.
_FORMAT = "{desc}{percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]"
_FORMAT_OF_STREAM = "{desc}{n} samples [{elapsed}{postfix}]"


class Bar:
    """A bar over the samples of all epochs, whose number in each epoch is given if it is known."""

    def __init__(self, epochs: int, samples: int | None, with_accuracy: bool) -> None:
        label = f"Epoch 1/{epochs}: "
        total = None if samples is None else epochs * samples
        layout = _FORMAT_OF_STREAM if samples is None else _FORMAT
        self._bar = _tqdm()(desc=label, total=total, bar_format=layout, dynamic_ncols=True)
        self._epochs, self._with_accuracy = epochs, with_accuracy
        self._before = 0  # samples of earlier epochs
        self._figures: dict[str, float] = {}

    def begin(self, epoch: int) -> None:
        """Begin an epoch, counted from 1."""
        self._bar.set_description(f"Epoch {epoch}/{self._epochs}", refresh=False)
        self._before = self._bar.n

    def report(self, loss: float, right: int, used: int, done: int) -> None:
        """Show how far the epoch is: its mean loss, and how many of the used samples are right."""
        self._figures["loss"] = loss
        if self._with_accuracy:
            self._figures["accuracy"] = right / max(used, 1)
        self._show()
        self._bar.update(self._before + done - self._bar.n)

    def show(self, quantities: Mapping[str, float | None]) -> None:
        """Show what an epoch came to, until the next has come to its end."""
        self._figures |= {name: value for name, value in quantities.items() if value is not None}
        self._show()

    def _show(self) -> None:
        self._bar.set_postfix_str(", ".join(f"{k}={v:.4g}" for k, v in self._figures.items()), refresh=False)

    def finish(self) -> None:
        """Note that the training is over, also if it was shorter than planned."""
        if self._bar.total is not None:
            self._bar.total = self._bar.n

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.refresh()
        self._bar.close()
