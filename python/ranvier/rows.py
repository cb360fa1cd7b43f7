"""Rows that are read when they are wanted: of a mapped file, or of an object like the data sets of h5py and zarr."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ranvier.checks import require_real
from ranvier.types import Labels

__all__ = ["Rows", "is_read_by_rows"]

# Bytes that are read at a time where all rows are looked at.
_BLOCK = 4 << 20


class Rows:
    """Rows of an array that stays where it is, such as a file: read and converted when they are asked for.

    Parameters
    ----------
    array : object
        With ``shape``, ``dtype`` and ``array[rows]`` for a slice and for an increasing array of row numbers.
    convert : function
        Of some rows as NumPy has them; returns them as the core takes them.
    first, end : int
        The rows of the array that these are.
    """

    def __init__(self, array: Any, convert: Callable[[Any], Any], first: int = 0, end: int | None = None) -> None:
        self._array, self._convert = array, convert
        self._first, self._end = first, array.shape[0] if end is None else end
        self.shape: tuple[int, ...] = (self._end - first, *array.shape[1:])

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    @property
    def bytes_of_row(self) -> int:
        """What a row takes where it lies."""
        return int(self._array.dtype.itemsize) * math.prod(self.shape[1:])

    def __getitem__(self, part: slice) -> Rows:
        """Return some of the rows in succession, still unread."""
        start, stop, _ = part.indices(len(self))
        return Rows(self._array, self._convert, self._first + start, self._first + stop)

    def read(self, numbers: Labels | slice) -> Any:
        """Return the rows of these numbers, in their order; none comes twice."""
        if isinstance(numbers, slice):
            start, stop, _ = numbers.indices(len(self))
            return self._convert(np.asarray(self._array[self._first + start : self._first + stop]))
        if isinstance(self._array, np.ndarray):
            return self._convert(self._array[numbers + self._first])
        places = np.argsort(numbers)
        rows = np.asarray(self._array[numbers[places] + self._first])
        read = np.empty_like(rows)
        read[places] = rows
        return self._convert(read)

    def blocks(self) -> Iterator[Any]:
        """Yield all rows in succession, some at a time."""
        count = max(1, _BLOCK // max(1, self.bytes_of_row))
        for first in range(0, len(self), count):
            yield self.read(slice(first, first + count))


def _lies_elsewhere(x: Any) -> bool:
    """Return whether to read x by its rows: in a mapped file, or an object like the data sets of h5py and zarr.

    What can hand over its memory, or has rows by name as a data frame, is an array in memory.
    """
    if isinstance(x, np.ndarray):
        while isinstance(x, np.ndarray):
            x = x.base
        return isinstance(x, mmap.mmap)
    shape = getattr(x, "shape", None)
    return (
        isinstance(getattr(x, "dtype", None), np.dtype)
        and isinstance(shape, tuple)
        and len(shape) > 0
        and hasattr(x, "__getitem__")
        and not any(hasattr(x, name) for name in ("__dlpack__", "iloc"))
    )


def is_read_by_rows(x: Any, usable: tuple[Any, ...], name: str) -> bool:
    """Return whether x lies elsewhere, and cannot be used there as an array of one of these dtypes.

    Text does not count, which is read as a whole if it may be there.
    """
    if not _lies_elsewhere(x) or x.dtype.kind in "UOT":
        return False
    require_real(x, name)
    return not (isinstance(x, np.ndarray) and x.dtype in usable and x.flags.c_contiguous and x.flags.aligned)
