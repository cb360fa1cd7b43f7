"""The ranks of a communicator that are on one machine, and memory that they share."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier import _core
from ranvier.distributed.processes import imported_mpi
from ranvier.types import Array

_ALIGNMENT = 64

# Seconds in which the others come after an error, if they do.
_PATIENCE = 5.0


class Machine:
    """The ranks of a communicator that are on this one's machine; all of them make the same calls.

    Memory is kept from one training to the next, for a window costs milliseconds for a megabyte.
    """

    def __init__(self, communicator: Any) -> None:
        self._mpi = imported_mpi()
        self._here = communicator.Split_type(self._mpi.COMM_TYPE_SHARED)
        self.ranks: int = self._here.size
        self.has_all: bool = self.ranks == communicator.size
        self.is_lost = False  # an error came to some ranks only
        self._window: Any = None
        self._segments: list[Array] = []

    def segments(self, sizes: Sequence[int]) -> list[Array]:
        """Return bytes of each rank, at least so many, which all see; nothing if there is no room for them."""
        if len(self._segments) < len(sizes) or any(
            len(segment) < size for segment, size in zip(self._segments, sizes, strict=True)
        ):
            self.free_memory()
            room = self._here.allreduce(_free_bytes(), self._mpi.MIN)
            if sum(sizes) + len(sizes) * _ALIGNMENT < room:
                self._allocate(sizes[self._here.rank] + _ALIGNMENT)
        return self._segments

    def _allocate(self, size: int) -> None:
        self._window = self._mpi.Win.Allocate_shared(size, 1, comm=self._here)
        for rank in range(self.ranks):
            memory = np.frombuffer(self._window.Shared_query(rank)[0], np.uint8)
            self._segments.append(memory[-memory.ctypes.data % _ALIGNMENT :])
        self._segments[self._here.rank][:] = 0  # each page near the processor that uses it most
        self.prepare()

    def prepare(self) -> None:
        """Have nobody have met anybody in this memory."""
        _core.SharedRanks.prepare(self._segments[self._here.rank])
        self._here.Barrier()

    def free_memory(self) -> None:
        """Give the memory back."""
        self._segments = []
        if self._window is not None:
            self._window.Free()
            self._window = None

    def free(self) -> None:
        """Give all back, with the communicator that it belongs to."""
        if not self.is_lost:
            self.free_memory()
            self._here.Free()

    def meets(self) -> bool:
        """Return whether all ranks come here, after an error that some may have caught and others not."""
        request = self._here.Ibarrier()
        end = time.monotonic() + _PATIENCE
        while not request.Test():
            if time.monotonic() > end:
                self.is_lost = True
                return False
            time.sleep(1e-3)
        return True

    def gathered(self, own: Any) -> list[Any]:
        """Return an object from each rank."""
        everything: list[Any] = self._here.allgather(own)
        return everything


def machine_of(communicator: Any) -> Machine:
    """Return the machine that belongs to a communicator; all ranks ask at once."""
    keyval = _keyval()
    machine: Machine | None = communicator.Get_attr(keyval)
    if communicator.allreduce(machine is None or machine.is_lost, imported_mpi().LOR):
        if machine is not None:
            machine.is_lost = True  # of one rank at least: nobody can free it together with that one
        machine = Machine(communicator)
        communicator.Set_attr(keyval, machine)
    assert machine is not None
    return machine


@functools.cache
def _keyval() -> int:
    """Return the key under which a communicator has its machine, which is freed with it."""
    keyval: int = imported_mpi().Comm.Create_keyval(delete_fn=lambda communicator, key, machine: machine.free())
    return keyval


def _free_bytes() -> float:
    """Return what the file system has room for in which Linux keeps shared memory: else the first access kills."""
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return math.inf
    return found.f_bavail * found.f_frsize
