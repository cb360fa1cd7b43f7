"""What a training run leaves behind: one number an epoch for each quantity."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import NamedTuple

__all__ = ["Evaluation", "History"]


class Evaluation(NamedTuple):
    """The mean loss of some samples, and the fraction whose largest output is the target's.

    ``accuracy`` is None if the targets are numbers and not classes.
    """

    loss: float
    accuracy: float | None


@dataclass
class History:
    """What each epoch of a network came to, through all calls of its `Network.fit`.

    Each list has an entry for each epoch, or is empty if no epoch had the quantity. Where only some had it, the others'
    entries are NaN.

    Attributes
    ----------
    loss : list of float
        The mean over the epoch's samples, taken while the parameters moved, with the weights of samples and classes.
    accuracy : list of float
        Likewise, if the targets are classes.
    val_loss, val_accuracy : list of float
        Of the validation data after the epoch.
    learning_rate : list of float
        Of the epoch's last update.
    seconds : list of float
        The time of the epoch.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def append(self, **quantities: float | None) -> None:
        """Add an epoch; what is None, or not given, is NaN, unless no epoch had it."""
        epochs = len(self)
        for name in (item.name for item in fields(self)):
            value, values = quantities.get(name), getattr(self, name)
            if value is not None or values:
                values += [math.nan] * (epochs - len(values))
                values.append(math.nan if value is None else value)

    def __len__(self) -> int:
        """Return the number of epochs done."""
        return len(self.loss)
