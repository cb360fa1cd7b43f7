"""What the notes' `SGD` prints and returns of each epoch, and when it halves the learning rate or stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ranvier.checks import boolean, integer
from ranvier.data import Data

__all__ = ["Monitor"]

_LEAST_FACTOR = 1 / 128  # of the learning rate, as the notes' exercise has it


@dataclass
class Monitor:
    """Looks at a network after each epoch.

    Parameters
    ----------
    hits, cost : function
        Of samples: how many the network gets right, and its mean cost with the regularization term.
    training_data, evaluation_data, test_data : Data or None
    wanted : dict of str to bool
        Whether to note "evaluation cost", "evaluation accuracy", "training cost" and "training accuracy", in the order
        in which the notes return them.
    early_stopping_n, halving_n : int
        As in `Network.SGD`.

    Attributes
    ----------
    factor : float
        What multiplies the learning rate from now on.
    """

    hits: Callable[[Data], int]
    cost: Callable[[Data], float]
    training_data: Data
    evaluation_data: Data | None
    test_data: Data | None
    wanted: dict[str, bool]
    early_stopping_n: int
    halving_n: int
    factor: float = 1.0
    _notes: dict[str, list[Any]] = field(default_factory=dict)
    _best_hits: int = -1
    _epochs_without_rise: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        self.wanted = {name: boolean(on, f"monitor_{name.replace(' ', '_')}") for name, on in self.wanted.items()}
        self.early_stopping_n = integer(self.early_stopping_n, "early_stopping_n", 0)
        self.halving_n = integer(self.halving_n, "halving_n", 0)
        if self.early_stopping_n and self.halving_n:
            raise ValueError("halving_n: expected 0 with early_stopping_n, as the halving ends the training by itself")
        of_evaluation = [name for name, on in self.wanted.items() if on and name.startswith("evaluation")]
        if self.evaluation_data is None and (of_evaluation or self.early_stopping_n or self.halving_n):
            raise ValueError("evaluation_data: expected data for what is to be monitored or ends the training")
        self._notes = {name: [] for name in self.wanted}

    @property
    def lists(self) -> tuple[list[float], list[int], list[float], list[int]]:
        """What was noted of each epoch, a list for each quantity."""
        cost, accuracy, training_cost, training_accuracy = self._notes.values()
        return cost, accuracy, training_cost, training_accuracy

    def after_epoch(self, number: int) -> bool:
        """Print and note what came of an epoch, counted from 0; return whether training is to end."""
        if self.test_data is None:
            print(f"Epoch {number} complete")
        else:
            print(f"Epoch {number}: {self.hits(self.test_data)} / {len(self.test_data.x)}")
        for name in (name for name, on in self.wanted.items() if on):
            data = self._data(name)
            if name.endswith("cost"):
                self._notes[name].append(self.cost(data))
                print(f"{name}: {self._notes[name][-1]:.6g}")
            else:
                self._notes[name].append(self.hits(data))
                print(f"{name}: {self._notes[name][-1]} / {len(data.x)}")
        patience = self.early_stopping_n or self.halving_n
        return patience > 0 and self._has_stalled(patience) and self._ends()

    def _data(self, name: str) -> Data:
        data = self.training_data if name.startswith("training") else self.evaluation_data
        assert data is not None  # checked at the beginning
        return data

    def _has_stalled(self, patience: int) -> bool:
        """Return whether the hits on the evaluation data have not risen for that many epochs."""
        noted = self._notes["evaluation accuracy"]
        hits = noted[-1] if noted else self.hits(self._data("evaluation accuracy"))
        if hits > self._best_hits:
            self._best_hits, self._epochs_without_rise = hits, 0
        else:
            self._epochs_without_rise += 1
        return self._epochs_without_rise >= patience

    def _ends(self) -> bool:
        """Halve the learning rate if that is wanted; return whether training ends instead."""
        self._epochs_without_rise = 0
        if not self.halving_n or self.factor / 2 < _LEAST_FACTOR:
            return True
        self.factor /= 2
        return False
