"""The processes of a training: whether there are several, and how one that fails ends all of them."""

from __future__ import annotations

import atexit
import os
import sys
import time
from typing import Any


def imported_mpi() -> Any:
    """Return `mpi4py.MPI`, whose import starts MPI.

    Raises
    ------
    ImportError
        If mpi4py or an MPI library is not installed.
    """
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(
            f"training on several processes needs mpi4py and an MPI library: pip install 'ranvier[mpi]' ({error})"
        ) from None
    return MPI


# Seconds between the last words of a rank and the end of all: launchers drop what they have not passed on by then.
_FAREWELL = 1.0

_ended: list[Any] = []  # communicators whose ranks end together


def end_all_with_errors(communicator: Any) -> None:
    """Have an error that nobody catches end all ranks, for the others would wait for this one forever."""
    if _ended:
        return
    _ended.append(communicator)
    failed = []
    hook = sys.excepthook

    def tell(kind: Any, error: Any, traceback: Any) -> None:
        print(f"rank {communicator.rank} of {communicator.size}:", file=sys.stderr)
        hook(kind, error, traceback)
        failed.append(1)

    def end() -> None:
        if failed:
            end_all(1)

    sys.excepthook = tell
    atexit.register(end)


def is_launched() -> bool:
    """Return whether mpiexec, or what does its work, has started this process as one of several."""
    names = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS")
    return any(os.environ.get(name, "1") not in ("", "1") for name in names)


def end_all(code: int) -> None:
    """End all ranks of the communicators that have been used, if there are others; this one with them."""
    if not _ended:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(_FAREWELL)
    for communicator in _ended:
        communicator.Abort(code)
