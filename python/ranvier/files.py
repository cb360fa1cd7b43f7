"""Files that are replaced in one step: each either is complete or is what it was before."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from types import ModuleType
from typing import BinaryIO

__all__ = ["replace", "require_regular", "require_replaceable"]

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # a system without POSIX
    fcntl = None


def require_regular(path: str) -> None:
    """Check that a path leads to a plain file or to nothing.

    Raises
    ------
    IsADirectoryError
        If it leads to a folder.
    ValueError
        If it leads to a device, a pipe or the like.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        raise ValueError(f"path: expected a plain file, got a device, a pipe or the like: {path}")


def replace(path: str, contents: bytes) -> None:
    """Write a file, or what its symbolic links lead to. One that is there keeps its permissions.

    Raises
    ------
    OSError
        If it cannot be written. What was there is as it was then.
    ValueError
        If it is no plain file.
    """
    with _beside(path) as (file, target):
        file.write(contents)
        file.flush()
        os.fsync(file.fileno())  # else a power cut could leave the new name with the old file's end missing
        os.replace(file.name, target)


def require_replaceable(path: str) -> None:
    """Check that `replace` could write the file; it stays as it is.

    Raises
    ------
    OSError, ValueError
        As from `replace`.
    """
    with _beside(path):
        pass


@contextlib.contextmanager
def _beside(path: str) -> Iterator[tuple[BinaryIO, str]]:
    """Give a new file beside what a path leads to, and the name of that; remove the new file if it is still there."""
    target = os.path.realpath(path)
    require_regular(target)
    folder, name = os.path.split(target)
    if not name or path.endswith(os.sep):
        raise ValueError(f"path: expected the name of a file, got {path!r}")
    # Its own name would be too long beside a long one.
    start = f".ranvier-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}-"
    _remove_leftovers(folder, start)
    with contextlib.ExitStack() as stack:
        try:
            file = _new_file(folder, start)
        except OSError as error:
            is_lost = error.errno == errno.ENOENT
            raise OSError(error.errno, f"there is no folder {folder}" if is_lost else error.strerror, path) from None
        stack.callback(_remove, file.name)
        stack.enter_context(file)
        with contextlib.suppress(FileNotFoundError):
            os.chmod(file.name, stat.S_IMODE(os.stat(target).st_mode))
        yield file, target


def _new_file(folder: str, start: str) -> BinaryIO:
    """Return a file with a new name, locked so that no other save takes it for a leftover."""
    while True:
        file = open(os.path.join(folder, start + os.urandom(8).hex()), "xb")  # noqa: SIM115
        if fcntl is None:
            return file
        with contextlib.suppress(OSError):  # a file system without locks, on which none is removed either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink > 0:
            return file
        file.close()  # another save was faster


def _remove_leftovers(folder: str, start: str) -> None:
    """Remove what saves of the same file left when they were killed."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(start):
                _remove_unlocked(entry.path)


def _remove_unlocked(path: str) -> None:
    if fcntl is None:
        return _remove(path)
    with contextlib.suppress(OSError), open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
