"""Where the batches of `fit` and `evaluate` come from: arrays in memory, rows that are read, or a stream of batches.

Each kind gives the parts of a pass, which the core then trains on batch by batch. What has to be read is read by a
thread while the part before is trained on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from ranvier.data import Data
from ranvier.prefetching import Prefetched
from ranvier.rows import Rows
from ranvier.types import Labels

__all__ = ["ArrayBatches", "Batches", "Part", "StreamBatches", "batches_of"]

# Bytes, as they lie and as they are used, that are read at a time.
_READ = 8 << 20


class Part(NamedTuple):
    """Some batches of a pass."""

    data: Data  # in memory
    order: Labels | None  # in which the samples are taken; None: as they are
    batch_size: int
    numbers: Labels | None = None  # of the samples in the whole data, where data are only some of them


# What reads the samples of these numbers, in batches of that size: those that are used of them.
Read: TypeAlias = Callable[[Data, Labels, int], Data]


class Batches(Protocol):
    """What can be passed through, epoch by epoch. Leaving it, as a context, ends the reading."""

    first: Data  # some of it, by which the rest is known

    @property
    def samples(self) -> int | None:
        """Those of a pass, or None if nobody knows."""

    @property
    def number(self) -> int | None:
        """The batches of a pass, or None if nobody knows."""

    @property
    def is_ordered(self) -> bool:
        """Whether its order is its own."""

    def parts(self, order: Labels | None = None) -> Iterator[Part]:
        """Return the parts of the next pass, in an order of the samples or as they are."""

    def __enter__(self) -> Batches: ...

    def __exit__(self, *error: object) -> None: ...


class ArrayBatches:
    """Batches of data that can be read in any order; ``read`` may leave out samples that nobody uses."""

    is_ordered = False

    def __init__(self, data: Data, batch_size: int, read: Read | None = None) -> None:
        self._data, self._batch_size = data, batch_size
        self._read_some = read
        self._reading: Prefetched[Part] | None = None
        self.samples = len(data.x)
        self.number = math.ceil(self.samples / batch_size)
        self.first = data.read(slice(0, 1)) if data.is_read_by_rows() else data

    def __enter__(self) -> ArrayBatches:
        return self

    def __exit__(self, *error: object) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def parts(self, order: Labels | None = None) -> Iterator[Part]:
        """Return the one part if all is in memory, else parts that a thread reads."""
        if not self._data.is_read_by_rows():
            return iter([Part(self._data, order, self._batch_size)])
        self.__exit__()
        self._reading = Prefetched(self._read(order))
        return self._reading

    def block(self, samples: slice) -> ArrayBatches:
        """Return some of the samples in succession."""
        return ArrayBatches(self._data.block(samples), self._batch_size)

    def _read(self, order: Labels | None) -> Iterator[Part]:
        sides = (self._data.x, self._data.y)
        bytes_of_sample = sum(2 * side.bytes_of_row for side in sides if isinstance(side, Rows))
        batches = max(1, _READ // max(1, bytes_of_sample * self._batch_size))
        count = self.samples if order is None else len(order)
        for first in range(0, count, batches * self._batch_size):
            last = min(count, first + batches * self._batch_size)
            numbers = np.arange(first, last) if order is None else order[first:last]
            if self._read_some is not None:
                data = self._read_some(self._data, numbers, self._batch_size)
            else:
                data = self._data.read(slice(first, last) if order is None else numbers)
            yield Part(data, None, self._batch_size, numbers)


class StreamBatches:
    """The batches of an iterable, which a thread runs.

    Parameters
    ----------
    stream : iterable
    passes : int
        How many there will be.
    steps : int or None
        The batches of a pass, if the passes share out an iteration that may be endless.
    check : function
        Of a batch, of its name for errors and of a function from a sample's shape to its output's; returns `Data`.
    output_shape : function
        Of a sample's shape.
    name : str
        The argument that the stream was, for errors.
    """

    is_ordered = True
    samples = None

    def __init__(
        self,
        stream: Iterable[Any],
        passes: int,
        steps: int | None,
        check: Callable[[Any, str, Callable[[tuple[int, ...]], tuple[int, ...]]], Data],
        output_shape: Callable[[tuple[int, ...]], tuple[int, ...]],
        name: str,
    ) -> None:
        self._stream, self._passes, self._steps, self._name = stream, passes, steps, name
        self._check, self._output_shape = check, output_shape
        self._shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None  # of a sample and its output
        length = len(stream) if isinstance(stream, Sized) else None
        self.number: int | None = length if steps is None else steps
        beginning = iter(stream)
        self._is_iterator = beginning is stream
        if self._is_iterator and steps is None and passes > 1:
            raise ValueError(
                f"{name}: expected batches for each of {passes} epochs, got an iterator ({type(stream).__name__}), "
                f"which is exhausted after one; hand over an object whose __iter__ begins anew, or say how many "
                f"batches an epoch takes from it: steps_per_epoch"
            )
        self._reading = self._prefetched(beginning)
        self._number = 0
        try:
            part = next(self._reading, None)
        except BaseException:
            self._reading.close()
            raise
        if part is None:
            self._reading.close()
            raise ValueError(f"{name}: expected at least one batch, got none{self._why_none()}")
        self.first = part.data
        self._waiting: list[Part] = [part]  # read, but not yet handed out

    def __enter__(self) -> StreamBatches:
        return self

    def __exit__(self, *error: object) -> None:
        self._reading.close()

    def parts(self, order: Labels | None = None) -> Iterator[Part]:
        """Return the next pass; the order is the stream's."""
        waiting, self._waiting = self._waiting, []
        if self._steps is not None:
            return itertools.islice(itertools.chain(waiting, self._reading), self._steps)
        if not waiting:
            self._reading.close()
            self._reading = self._prefetched(iter(self._stream))
        return self._counted(itertools.chain(waiting, self._reading))

    def _counted(self, parts: Iterator[Part]) -> Iterator[Part]:
        """Yield parts, and look at how many they were."""
        count = 0
        for part in parts:
            count += 1
            yield part
        if count == 0:
            raise ValueError(f"{self._name}: expected batches again in a further epoch, got none{self._why_none()}")
        if self.number is not None and count != self.number:
            raise ValueError(f"{self._name}: expected {self.number} batches, as its len() says, got {count}")

    def _why_none(self) -> str:
        return "; the iterator is exhausted" if self._is_iterator else ""

    def _prefetched(self, beginning: Iterator[Any]) -> Prefetched[Part]:
        limit = None if self._steps is None else self._steps * max(1, self._passes)
        return Prefetched(self._checked(beginning if self._steps is None else self._onward(beginning)), limit)

    def _onward(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield batches, and begin anew where they end, if that is possible."""
        for number in itertools.count():
            count = 0
            for batch in batches:
                count += 1
                yield batch
            if self._is_iterator or (count == 0 and number > 0):
                raise ValueError(
                    f"{self._name}: expected {self._passes} epochs of {self._steps} batches, got only {self._number}"
                )
            if count == 0:
                return
            batches = iter(self._stream)

    def _checked(self, batches: Iterator[Any]) -> Iterator[Part]:
        labels: bool | None = None
        for self._number, batch in enumerate(batches, start=1):
            name = f"{self._name}, batch {self._number}"
            data = self._check(batch, name, self._same_shape)
            are_labels = data.y.ndim == 1
            if labels not in (None, are_labels):
                kinds = ("labels", "rows") if labels else ("rows", "labels")
                raise ValueError(f"{name}: y: expected {kinds[0]} as in the first batch, got {kinds[1]}")
            labels = are_labels
            yield Part(data, None, len(data.x))

    def _same_shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of an output, which the first batch determines."""
        if self._shapes is None:
            self._shapes = sample, self._output_shape(sample)
        if sample != self._shapes[0]:
            raise ValueError(
                f"{self._name}, batch {self._number}: expected samples of shape {self._shapes[0]} as in the first "
                f"batch, got {sample}"
            )
        return self._shapes[1]


def batches_of(data: Data) -> ArrayBatches:
    """Return all samples as batches that only have to be evaluated."""
    return ArrayBatches(data, 1)
