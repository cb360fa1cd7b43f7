"""Gradients added up over the ranks of a communicator, by the library or in an order of their own.

Each class takes ranges of the flat gradients as they are complete, and adds them up in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier.types import Array


class LibrarySums:
    """Gradients added up by MPI's all-reduce, in the background as far as the library does that."""

    def __init__(self, mpi: Any, communicator: Any, gradients: Array) -> None:
        self._mpi, self._communicator, self._gradients = mpi, communicator, gradients
        self._requests: list[Any] = []

    def begin(self, first: int, count: int) -> None:
        """Take a range of gradients that are complete."""
        part = self._gradients[first : first + count]
        self._requests.append(self._communicator.Iallreduce(self._mpi.IN_PLACE, part))

    def wait(self) -> None:
        """Return when the ranges hold the sums of all ranks."""
        self._mpi.Request.Waitall(self._requests)
        self._requests = []


class TreeSums:
    """Gradients added up as a binary tree over the ranks has it: in each round with one whose number differs in a bit.

    Both add the same two numbers, and so all come to the same sums (recursive doubling).
    """

    def __init__(self, mpi: Any, communicator: Any, gradients: Array) -> None:
        self._mpi = mpi
        self._communicator, self._rank, self._size = communicator, communicator.rank, communicator.size
        self._gradients, self._others = gradients, np.empty_like(gradients)
        self._begun: list[slice] = []
        self._requests: list[list[Any]] = []

    def begin(self, first: int, count: int) -> None:
        """Take a range of gradients that are complete."""
        if self._size > 1:
            self._begun.append(slice(first, first + count))
            self._requests.append(self._exchange(len(self._requests), 1))

    def _exchange(self, number: int, apart: int) -> list[Any]:
        part, partner = self._begun[number], self._rank ^ apart
        return [
            self._communicator.Irecv(self._others[part], partner, number),
            self._communicator.Isend(self._gradients[part], partner, number),
        ]

    def wait(self) -> None:
        """Return when the ranges hold the sums of all ranks."""
        apart = 1
        while apart < self._size:
            for number, part in enumerate(self._begun):
                self._mpi.Request.Waitall(self._requests[number])
                self._gradients[part] += self._others[part]
                if 2 * apart < self._size:
                    self._requests[number] = self._exchange(number, 2 * apart)
            apart *= 2
        self._begun, self._requests = [], []
