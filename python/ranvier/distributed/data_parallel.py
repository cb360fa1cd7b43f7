"""How the ranks of a communicator train one network: what each takes of the data, and what goes from one to another."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ranvier import _core
from ranvier.batches import ArrayBatches, Batches, Part
from ranvier.checks import boolean, integer
from ranvier.data import Data
from ranvier.distributed.all_reduce import LibrarySums, TreeSums
from ranvier.distributed.machine import Machine, machine_of
from ranvier.distributed.processes import end_all, end_all_with_errors, imported_mpi
from ranvier.engine import Engine
from ranvier.epoch_metrics import Tally
from ranvier.types import Array, Labels


class Share(NamedTuple):
    """What a rank takes of some samples."""

    positions: Labels  # of its samples among those
    bounds: Labels  # for each batch where in it the rank's parts begin, and where the last one ends


class DataParallel:
    """How the ranks of a communicator train one network together; `ranvier.Network.fit` takes it as ``communicator``.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm, optional
        ``MPI.COMM_WORLD`` unless given.
    shards : int, optional
        Cut each batch into so many parts, whatever the number of ranks, and add up their gradients in one order: the
        network then has the same bits on any number of ranks and threads. Shards and ranks must be powers of two, and
        there must be a shard for each rank. Unless given, there is one part for each rank, and MPI's own all-reduce,
        which is the quickest, adds them up.
    sync_batch_norm : bool, optional
        Whether batch normalization takes the statistics of the whole batch instead of each part's; always so with
        shards. Without it, the running statistics are the means over the ranks.
    own_data : bool
        Whether each rank is given samples of its own, also to validate with, as many as any other, and not all are
        given the same. Each then takes its share of ``batch_size`` from its own. A stream always gives a rank's own
        part of each batch.

    Examples
    --------
    >>> together = DataParallel(shards=8)  # doctest: +SKIP
    >>> network.fit(x, y, batch_size=256, communicator=together)  # doctest: +SKIP
    """

    def __init__(
        self,
        communicator: Any = None,
        *,
        shards: int | None = None,
        sync_batch_norm: bool | None = None,
        own_data: bool = False,
    ) -> None:
        mpi = imported_mpi()
        communicator = mpi.COMM_WORLD if communicator is None else communicator
        if not isinstance(communicator, mpi.Comm):
            raise TypeError(f"communicator: expected one of mpi4py, got {type(communicator).__name__}")
        self.communicator = communicator
        self.rank: int = communicator.rank
        self.size: int = communicator.size
        self.own_data = boolean(own_data, "own_data")
        self.is_fixed = shards is not None
        self.shards = self.size if shards is None else _checked_shards(shards, self.size)
        self.sync_batch_norm = self.is_fixed if sync_batch_norm is None else boolean(sync_batch_norm, "sync_batch_norm")
        if self.is_fixed and not self.sync_batch_norm:
            raise ValueError("sync_batch_norm: expected True or None with shards, got False")
        self.parts = self.shards // self.size  # of a batch that a rank takes
        if self.size > 1:
            end_all_with_errors(communicator)

    def __repr__(self) -> str:
        """Return the call that makes it."""
        given = {"shards": self.shards if self.is_fixed else None, "own_data": self.own_data or None}
        shown = [f"{name}={value}" for name, value in given.items() if value is not None]
        return f"DataParallel({', '.join(shown)})"

    @functools.cached_property
    def machine(self) -> Machine:
        """The ranks on this machine; all have to ask for the first time at once."""
        return machine_of(self.communicator)

    @property
    def is_alone(self) -> bool:
        """Whether a training is the same without it."""
        return self.size == 1 and not self.is_fixed

    # --- what is whose -------------------------------------------------------------------------------------

    def share(self, samples: int, batch_size: int) -> Share:
        """Return what this rank takes of samples that all ranks have, in batches of that size."""
        starts = np.arange(0, samples, batch_size, dtype=np.int64)
        sizes = np.minimum(batch_size, samples - starts)
        first = self.rank * self.parts
        bounds = sizes[:, None] * np.arange(first, first + self.parts + 1) // self.shards
        counts = bounds[:, -1] - bounds[:, 0]
        before = np.cumsum(counts) - counts
        positions = np.repeat(starts + bounds[:, 0] - before, counts) + np.arange(counts.sum())
        return Share(positions, np.ascontiguousarray(bounds))

    def share_of_own(self, samples: int, batch_size: int) -> Share:
        """Return the share of samples that are all of this rank, in batches of which others have the rest."""
        starts = np.arange(0, samples, batch_size, dtype=np.int64)
        sizes = np.minimum(batch_size, samples - starts)
        all_sizes = self._gathered(sizes)
        before = all_sizes[: self.rank].sum(axis=0, dtype=np.int64)
        bounds = before[:, None] + sizes[:, None] * np.arange(self.parts + 1) // self.parts
        return Share(np.arange(samples), np.ascontiguousarray(bounds))

    def blocks(self, samples: int) -> list[slice]:
        """Return the parts of samples in succession that this rank evaluates."""
        first, parts = (0, self.parts) if self.own_data else (self.rank * self.parts, self.shards)
        own = range(first, first + self.parts)
        return [slice(samples * part // parts, samples * (part + 1) // parts) for part in own]

    def in_step(self, parts: Iterator[Part], is_stream: bool) -> Iterator[Part]:
        """Yield parts of a pass; raise on all ranks if a stream of batches ends on some of them only."""
        number = 0
        while True:
            part = next(parts, None)
            if is_stream:
                there = self._gathered(np.array([part is not None]))[:, 0]
                if there.any() and not there.all():
                    raise ValueError(
                        f"x: expected as many batches on all ranks, got {number} on rank {int(np.argmin(there))} and "
                        f"more on rank {int(np.argmax(there))}"
                    )
            if part is None:
                return
            number += 1
            yield part

    # --- what goes over MPI --------------------------------------------------------------------------------

    def ranks(self, engine: Engine) -> _core.SharedRanks | _core.Messages:
        """Return what the core reaches the others by in a training of that engine: memory that they share, or messages.

        All ranks ask at once.
        """
        parameters = engine.parameters
        if self.machine.has_all:
            sizes = [_core.SharedRanks.bytes(parameters, rank) for rank in range(self.size)]
            if segments := self.machine.segments(sizes):
                return _core.SharedRanks(parameters, self.rank, segments)
        sums = self.sums(engine)
        return _core.Messages(self.rank, self.size, self._gathered, sums.begin, sums.wait)

    def sums(self, engine: Engine) -> TreeSums | LibrarySums:
        """Return what adds up the gradients of that engine over the ranks by messages."""
        mpi, gradients = imported_mpi(), engine.parameters.flat_gradients
        return (TreeSums if self.is_fixed else LibrarySums)(mpi, self.communicator, gradients)

    @contextlib.contextmanager
    def sharing(
        self, engine: Engine, trainer: _core.Trainer, optimizer: _core.Optimizer
    ) -> Iterator[_core.DataParallel]:
        """Yield how the core shares batches with the others, who have all come here, and are there after an error."""
        ranks = self.ranks(engine)
        try:
            yield _core.DataParallel(self.parts, self.shards, self.sync_batch_norm, ranks)
        except BaseException:
            if isinstance(ranks, _core.SharedRanks):
                ranks.leave()
                self._recover(engine, trainer, optimizer)
            raise

    def _recover(self, engine: Engine, trainer: _core.Trainer, optimizer: _core.Optimizer) -> None:
        """Have the optimizer's state whole again after an error to which all ranks come, and free what they share.

        If some do not come, the optimizer says so when it is used.
        """
        if not self.machine.meets():
            return
        self.machine.prepare()
        if len(set(self.machine.gathered(optimizer.steps))) == 1:
            ranks = self.ranks(engine)
            assert isinstance(ranks, _core.SharedRanks)
            trainer.gather_state(optimizer, ranks)
        self.machine.free_memory()

    def gathered_parts(self, own: Array) -> Array:
        """Return the rows of all parts of a batch, given those of this rank's, in order."""
        gathered: Array = self._gathered(own).reshape(-1, own.shape[1])
        return gathered

    def _gathered(self, own: Array) -> Array:
        """Return arrays of one shape from all ranks as one."""
        if self.size == 1:
            return own[None]
        whole = np.empty((self.size, *own.shape), own.dtype)
        self.communicator.Allgather(np.ascontiguousarray(own), whole)
        return whole

    def objects(self, own: Any) -> list[Any]:
        """Return an object from each rank."""
        everything: list[Any] = self.communicator.allgather(own)
        return everything

    def any(self, wish: bool) -> bool:
        """Return whether a rank wishes that."""
        return bool(self._gathered(np.array([wish])).any())

    def fault(self, own: str) -> str:
        """Return where the first rank's numbers went bad, given "batch n: " and where this rank's did or nothing."""
        batch = own.partition(": ")[0]
        places = [fault.partition(": ")[2] for fault in self.objects(own)]
        for rank, place in enumerate(places):
            if place:
                return f"{batch}: {place}, on rank {rank},"
        return f"{batch}: the sum of all ranks' gradients"

    def join(self, tally: Tally, counts_are_own: bool) -> None:
        """Make the tally that of all ranks."""
        tally.join(self.objects(tally.contents()), counts_are_own)

    def finish_epoch(self, engine: Engine) -> None:
        """Make the running statistics one, and look whether the parameters are.

        Raises
        ------
        RuntimeError
            If the ranks have come apart.
        """
        if self.size == 1:
            return
        if not self.sync_batch_norm:
            for name in engine.parameters.statistics:
                value = engine.parameters.value(name)
                value[...] = self._gathered(np.array(value)).mean(axis=0)
        sums = self.objects(_checksum(engine.parameters.flat_values))
        if len(set(sums)) > 1:
            rank = next(rank for rank, own in enumerate(sums) if own != sums[0])
            raise RuntimeError(
                f"communicator: the parameters on rank {rank} have come apart from those on rank 0; a callback may "
                f"have changed them on some ranks only"
            )

    def leave(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        """End all ranks if this one is about to leave the program in the middle of a training."""
        if self.size > 1 and isinstance(error, SystemExit):
            if isinstance(error.code, str):
                print(error.code, file=sys.stderr)
            end_all(error.code if isinstance(error.code, int) else 1)

    # --- the start ------------------------------------------------------------------------------------------

    def require_same(self, description: Mapping[str, Any]) -> None:
        """Raise on all ranks unless they are about to train the same network in the same way."""
        others = self.objects(dict(description))
        for rank, other in enumerate(others):
            for name in description:
                if other[name] != others[0][name]:
                    raise ValueError(
                        f"{name}: expected the same on all ranks, got {others[0][name]} on rank 0 and {other[name]} on "
                        f"rank {rank}"
                    )

    def describe(self, engine: Engine, batches: Batches) -> dict[str, Any]:
        """Return what has to be the same on all ranks about a network and what it is trained on."""
        about: dict[str, Any] = {
            "layers": repr(engine.layers),
            "inputs and outputs": repr(engine.wiring),
            "dtype": engine.dtype.name,
            "seed": engine.seed,
            "the network's parameters (by a checksum)": _checksum(engine.parameters.flat_values),
            "frozen": engine.parameters.frozen,
            "communicator": repr(self),
            "version": _core.__version__,
        }
        if self.is_fixed:
            about["the instruction set"] = _core.cpu_info()["isa"]
        about["the shape of a sample"] = batches.first.x.shape[1:]
        about["the shape of a target"] = batches.first.y.shape[1:]
        about["the number of samples"] = batches.samples
        if not batches.is_ordered and not self.own_data:
            about["x (by a checksum of its ends)"] = _checksum_of_ends(batches.first.x)
            about["y (by a checksum of its ends)"] = _checksum_of_ends(batches.first.y)
        return about

    def batches(self, data: Data, batch_size: Any) -> ArrayBatches:
        """Return the batches of arrays, of those of all ranks or of this rank's own; None takes all in one.

        Raises
        ------
        ValueError
            If ranks with data of their own cannot have equal parts.
        """
        samples = len(data.x) * (self.size if self.own_data else 1)
        size = samples if batch_size is None else min(integer(batch_size, "batch_size", 1), samples)
        if not self.own_data:
            return ArrayBatches(data, size, self._read_own)
        if size % self.size:
            raise ValueError(f"batch_size: expected a multiple of the {self.size} ranks, got {size}")
        return ArrayBatches(data, size // self.size)

    def _read_own(self, data: Data, numbers: Labels, batch_size: int) -> Data:
        """Return samples of these numbers in memory, of which only this rank's are read; others are zero."""
        positions = self.share(len(numbers), batch_size).positions
        own = data.read(numbers[positions])

        def placed(rows: Any) -> Any:
            whole = np.zeros((len(numbers), *rows.shape[1:]), rows.dtype)
            whole[positions] = rows
            return whole

        return Data(placed(own.x), placed(own.y), None if own.weights is None else placed(own.weights))


def data_parallel(communicator: Any) -> DataParallel | None:
    """Return how to train together, given a communicator or that; None if there is nobody to train with."""
    if communicator is None:
        return None
    together = communicator if isinstance(communicator, DataParallel) else DataParallel(communicator)
    if together.is_alone:
        return None
    together.machine = machine_of(together.communicator)  # another one if an error came to some ranks only
    _warn_of_too_many_threads(together)
    return together


def _checked_shards(given: Any, ranks: int) -> int:
    shards: int = integer(given, "shards", 1)
    if shards & (shards - 1):
        raise ValueError(f"shards: expected a power of two, got {shards}")
    if ranks & (ranks - 1):
        raise ValueError(f"shards: expected a number of ranks that is a power of two with them, got {ranks} ranks")
    if shards < ranks:
        raise ValueError(f"shards: expected at least one for each of {ranks} ranks, got {shards}")
    return shards


def _checksum(array: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def _checksum_of_ends(rows: Array) -> int:
    """Return a checksum of some rows, which mostly differs if the order of all does."""
    return _checksum(np.concatenate([rows[:8], rows[-8:]]))


def _warn_of_too_many_threads(together: DataParallel) -> None:
    ranks, threads, processors = together.machine.ranks, _core.num_threads(), os.cpu_count() or 1
    if ranks > 1 and threads > 1 and ranks * threads > processors:
        warnings.warn(
            f"{ranks} ranks of {threads} threads have {processors} processors on this machine; set OMP_NUM_THREADS, or "
            f"call set_num_threads(), so that each thread has one",
            RuntimeWarning,
            stacklevel=4,
        )
