"""What a training run leaves behind: one number an epoch for each quantity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Evaluation", "History"]


class Evaluation(NamedTuple):
    """The mean loss of some samples, and the fraction whose largest output is the target's."""

    loss: float
    accuracy: float


@dataclass
class History:
    """Loss and accuracy of each epoch.

    ``loss`` and ``accuracy`` are means over the epoch's samples, taken while the parameters moved; that of the loss
    has the weights of the samples and classes, if there are any;
    ``val_loss`` and ``val_accuracy`` are of the validation data after the epoch, if there is any; ``seconds``
    is the time of the epoch.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of epochs done."""
        return len(self.loss)
