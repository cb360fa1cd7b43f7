"""Items of an iterator, made ready by a thread while those before are used."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["Prefetched"]

Item = TypeVar("Item")

_DEPTH = 2  # items ready at most, one of them in the making


class Prefetched(Generic[Item]):
    """An iterator that a thread runs ahead of its user, within ``with``, whose end is the thread's.

    An exception of the iterator is raised where its item would have come, with its traceback. The thread begins with
    the first item that is asked for. It takes no more than ``limit`` items, if that is given, from the iterator.
    """

    def __init__(self, items: Iterator[Item], limit: int | None = None) -> None:
        self._items = items
        self._limit = limit
        self._ready: SimpleQueue[tuple[Item | None, BaseException | None]] = SimpleQueue()
        self._wanted: SimpleQueue[bool] = SimpleQueue()  # an entry for each item that the thread may make
        self._closed = False
        self._ended = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Prefetched[Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Prefetched[Item]:
        return self

    def __next__(self) -> Item:
        if self._ended or self._closed:
            raise StopIteration
        if self._thread is None:
            self._start()
        item, error = self._ready.get()
        if error is not None:
            self._ended = True
            if isinstance(error, StopIteration):
                raise StopIteration
            raise error
        self._wanted.put(True)
        return item  # type: ignore[return-value]

    def close(self) -> None:
        """End the thread, as soon as the item is made that it is at."""
        self._closed = True
        self._wanted.put(False)
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _start(self) -> None:
        for _ in range(_DEPTH):
            self._wanted.put(True)
        context = contextvars.copy_context()  # such as np.errstate
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="ranvier-prefetch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        made = 0
        while made != self._limit and self._wanted.get() and not self._closed:
            try:
                item = next(self._items)
            except BaseException as error:  # which is raised in the other thread
                self._ready.put((None, error))
                return
            made += 1
            self._ready.put((item, None))
        self._ready.put((None, StopIteration()))
