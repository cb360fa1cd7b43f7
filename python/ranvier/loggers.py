"""Callbacks that log a training, epoch by epoch: to a CSV file, to a file of JSON lines, for TensorBoard."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
import weakref
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ranvier.callbacks import Callback
from ranvier.files import replace, require_replaceable
from ranvier.history import History

__all__ = ["CSVLogger", "JSONLogger", "TensorBoardLogger"]


def _checked_path(path: Any) -> str:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path: expected a path, got {type(path).__name__}")
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"path: expected a path of text, got {text!r}")
    return text


def _quantities(history: History) -> dict[str, list[float]]:
    """Return what the history has, a list with an entry for each epoch for each quantity."""
    return {name: values for name, values in history.as_dict().items() if values}


@dataclass(eq=False)
class _FileLogger(Callback):
    """Writes a line for each epoch of the history to a file: those of earlier trainings first, then one by one."""

    first_rank_only = True

    path: str | os.PathLike[str]

    def __post_init__(self) -> None:
        self.path = _checked_path(self.path)
        self._columns: list[str] = []  # once the file has been begun

    def on_train_begin(self, network: Any, quantities: Collection[str]) -> None:
        """Get ready to write the file, which the end of the first epoch replaces.

        Raises
        ------
        OSError
            If the file could not be written, for example since there is no folder for it.
        ValueError
            If something that is no plain file has the name.
        """
        self._columns = []
        require_replaceable(os.fspath(self.path))

    def on_epoch_end(self, network: Any, epoch: int, history: History) -> None:
        """Write the epoch's line."""
        lists = _quantities(history)
        if self._columns:
            with open(self.path, "a", encoding="utf-8", newline="") as file:
                file.write(self._line([len(history), *(lists[name][-1] for name in self._columns[1:])]))
            return
        self._columns = ["epoch", *lists]
        rows = zip(range(1, len(history) + 1), *lists.values(), strict=True)
        replace(os.fspath(self.path), "".join([self._head(), *map(self._line, rows)]).encode())

    def _head(self) -> str:
        """Return what the file begins with."""
        return ""

    def _line(self, row: Sequence[float]) -> str:
        """Return an epoch's line, given a number for each column."""
        raise NotImplementedError


class CSVLogger(_FileLogger):
    """Write losses, metrics and learning rate of each epoch to a CSV file.

    The file has the network's whole history, with a column for each of its quantities. A training that goes on, in the
    same process or from a `Checkpoint`, continues it: lines of epochs that had come after the checkpoint are dropped. A
    network without a history begins the file anew. Each line is in the file when its epoch has ended.

    Parameters
    ----------
    path : path-like
    """

    def _head(self) -> str:
        return self._written(self._columns)

    def _line(self, row: Sequence[float]) -> str:
        return self._written(row)

    def _written(self, cells: Sequence[object]) -> str:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        return line.getvalue()


class JSONLogger(_FileLogger):
    """Write losses, metrics and learning rate of each epoch to a file of JSON lines.

    Each line is an object such as ``{"epoch": 1, "loss": 0.5, "lr": 0.001, "seconds": 0.1}``. Numbers that are infinite
    or NaN, which JSON does not know, are null. The file has the network's whole history, as that of `CSVLogger`.

    Parameters
    ----------
    path : path-like
    """

    def _line(self, row: Sequence[float]) -> str:
        numbers = (number if math.isfinite(number) else None for number in row)
        return json.dumps(dict(zip(self._columns, numbers, strict=True))) + "\n"


@dataclass(eq=False)
class TensorBoardLogger(Callback):
    """Write losses, metrics and learning rate of each epoch for TensorBoard.

    ``tensorboard --logdir FOLDER`` shows them, also while the training runs. Give each run a folder of its own, such as
    ``runs/adam``, to compare the runs of ``runs``. A training that goes on adds a file to the folder, and TensorBoard
    replaces epochs that had come after the checkpoint that it goes on from. It needs tensorboardX, the extra
    ``tensorboard``.

    Parameters
    ----------
    path : path-like
        The folder, which is made if it is not there.

    Raises
    ------
    ImportError
        If tensorboardX is not installed.
    """

    first_rank_only = True

    path: str | os.PathLike[str]

    def __post_init__(self) -> None:
        self.path = _checked_path(self.path)
        try:
            from tensorboardX import event_file_writer, proto
            from tensorboardX.proto import event_pb2, summary_pb2  # noqa: F401
        except ImportError:
            raise ImportError("logs for TensorBoard need tensorboardX: pip install 'ranvier[tensorboard]'") from None
        self._open, self._proto = event_file_writer.EventsWriter, proto
        self._file: Any = None

    def on_train_begin(self, network: Any, quantities: Collection[str]) -> None:
        """Make the folder.

        Raises
        ------
        OSError
            If it cannot be made.
        """
        self.on_train_end(network)  # of a training that an error ended
        os.makedirs(self.path, exist_ok=True)

    def on_epoch_end(self, network: Any, epoch: int, history: History) -> None:
        """Write the epoch's numbers."""
        events, summaries, number = self._proto.event_pb2, self._proto.summary_pb2, len(history)
        if self._file is None:  # the suffix tells files of one second apart
            self._file = self._open(os.path.join(self.path, "events"), f".{number:06d}.{os.getpid()}")
            self._close = weakref.finalize(self, self._file.close)  # also after an error, once nobody has the logger
            start = events.SessionLog(status=events.SessionLog.START)  # which drops what was logged of later epochs
            self._file.write_event(events.Event(wall_time=time.time(), step=number, session_log=start))
        values = [
            summaries.Summary.Value(tag=name, simple_value=numbers[-1])
            for name, numbers in _quantities(history).items()
        ]
        summary = summaries.Summary(value=values)
        self._file.write_event(events.Event(wall_time=time.time(), step=number, summary=summary))
        self._file.flush()

    def on_train_end(self, network: Any) -> None:
        """Close the file."""
        if self._file is not None:
            self._close()
            self._file = None
