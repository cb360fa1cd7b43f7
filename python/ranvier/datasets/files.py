"""Files of data sets: where they are looked for, how they are checked, and their download, which pooch does."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

__all__ = ["RemoteFile", "locate", "read_bytes"]

_LARGEST = 1 << 28  # of what a gzip file may unpack to: more than any data set has


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be downloaded.

    Parameters
    ----------
    name : str
        On every mirror and on disk.
    mirrors : sequence of str
        URLs of folders, tried in order.
    sha256 : str
        Of the file on the mirrors.
    unpacked_sha256 : str, optional
        Of what it unpacks to: on disk it may be unpacked, or packed by another program.
    """

    name: str
    mirrors: Sequence[str]
    sha256: str
    unpacked_sha256: str | None = None


def _digest(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()


def read_bytes(path: Path) -> bytes:
    """Return a file's contents, unpacked if its name ends in .gz; ValueError if it is truncated or no gzip file."""
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            contents = file.read(_LARGEST + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: not a complete gzip file ({error})") from None
    if len(contents) > _LARGEST:
        raise ValueError(f"{path}: unpacks to more than {_LARGEST} bytes")
    return contents


def locate(
    file: RemoteFile,
    dataset: str,
    root: str | os.PathLike[str] | None,
    *alternatives: str,
    unique_names: bool = True,
) -> Path:
    """Return the path of a data set's file, downloading it if it is nowhere.

    Parameters
    ----------
    file : RemoteFile
    dataset : str
        Also the name of the data set's folder in RANVIER_DATA and in pooch's cache folder for this library.
    root : path-like, optional
        The first folder to look in; where a download goes, if it is given.
    *alternatives : str
        Other names (say, of the unpacked file) under which the file serves.
    unique_names : bool
        False if another data set's files have the same names: RANVIER_DATA itself is then not looked in, only the
        data set's folder there.

    Raises
    ------
    ImportError
        If it is not there, and pooch is not installed.
    OSError
        If it is not there and cannot be downloaded.
    ValueError
        If it is there, but is another file by its SHA-256.
    """
    folders = [] if root is None else [Path(root)]
    if "RANVIER_DATA" in os.environ:
        data = Path(os.environ["RANVIER_DATA"])
        folders += [data / dataset, data] if unique_names else [data / dataset]
    for folder in folders:
        for name in (file.name, *alternatives):
            if (folder / name).is_file():
                return _checked(folder / name, file)
    return _download(file, dataset, root)


def _checked(path: Path, file: RemoteFile) -> Path:
    """Return the path of a file on disk, if it is the right one as far as that is known."""
    is_packed = path.name == file.name
    expected = file.sha256 if is_packed else file.unpacked_sha256
    digest = _digest(path.read_bytes())
    if expected is None or digest == expected:
        return path
    if is_packed and file.unpacked_sha256 is not None and _digest(read_bytes(path)) == file.unpacked_sha256:
        return path
    raise ValueError(f"{path}: expected the SHA-256 {expected}, got {digest}; remove it, and it is downloaded anew")


def _download(file: RemoteFile, dataset: str, root: str | os.PathLike[str] | None) -> Path:
    """Return the path of a file in pooch's cache, or in the root, once it is there."""
    try:
        import pooch
    except ImportError:
        place = (
            f"{dataset}/{file.name} in the folder that RANVIER_DATA names" if root is None else Path(root) / file.name
        )
        raise ImportError(
            f"{file.name} is nowhere, and downloads need pooch: pip install 'ranvier[data]'; or put the file at {place}"
        ) from None
    cache = Path(pooch.os_cache("ranvier")).expanduser() / dataset
    folder = cache if root is None or (cache / file.name).is_file() else Path(root)
    failures = []
    for mirror in file.mirrors:
        url = f"{mirror.rstrip('/')}/{file.name}"
        try:
            return _retrieved(pooch, url, file, folder)
        except (OSError, ValueError) as error:  # those of requests are OSErrors
            failures.append(f"{url}: {error}")
    raise OSError(
        f"could not download {file.name} (SHA-256 {file.sha256}); put it at {folder / file.name} yourself. Tried:\n  "
        + "\n  ".join(failures)
    )


def _retrieved(pooch: ModuleType, url: str, file: RemoteFile, folder: Path) -> Path:
    with _quiet(pooch.get_logger()):
        path = Path(pooch.retrieve(url, f"sha256:{file.sha256}", file.name, folder, progressbar=True))
    if path.stat().st_mode & 0o077 == 0:  # a temporary file's, which the others of this machine could not read
        with contextlib.suppress(OSError):
            path.chmod(0o644)
    return path


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch from announcing a download, which has a progress bar."""
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
