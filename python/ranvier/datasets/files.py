"""Files of data sets: where they are looked for, and how they are downloaded and checked."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import secrets
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RemoteFile", "cache_folder", "locate", "read_bytes", "unpacked_digest"]

_CHUNK = 1 << 20
_TIMEOUT = 30  # seconds without a byte


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
        Of what ``digest`` reads.
    digest : callable
        Path to hexadecimal digest: of the file itself, or of what it unpacks to.
    """

    name: str
    mirrors: Sequence[str]
    sha256: str
    digest: Callable[[Path], str]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def unpacked_digest(path: Path) -> str:
    """Return the SHA-256 of what a gzip file unpacks to; ValueError if it does not."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


def read_bytes(path: Path) -> bytes:
    """Return a file's contents, unpacked if its name ends in .gz; ValueError if it is truncated or no gzip file."""
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            return file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: not a complete gzip file ({error})") from None


def cache_folder() -> Path:
    """Return the folder for downloads: the platform's cache folder, /ranvier."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "ranvier"


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
        Also the name of the data set's folder in RANVIER_DATA and in the cache.
    root : path-like, optional
        The first folder to look in; where a download goes, if it is given.
    *alternatives : str
        Other names (say, of the unpacked file) under which the file serves.
    unique_names : bool
        False if another data set's files have the same names: RANVIER_DATA itself is then not looked in, only the
        data set's folder there.

    Raises
    ------
    OSError
        If it is not there and cannot be downloaded.
    """
    folders = [] if root is None else [Path(root)]
    if "RANVIER_DATA" in os.environ:
        data = Path(os.environ["RANVIER_DATA"])
        folders += [data / dataset, data] if unique_names else [data / dataset]
    target = Path(root) if root is not None else cache_folder() / dataset
    folders.append(cache_folder() / dataset)
    for folder in folders:
        for name in (file.name, *alternatives):
            if (folder / name).is_file():
                return folder / name
    return _download(file, target / file.name)


def _download(file: RemoteFile, target: Path) -> Path:
    from http.client import HTTPException  # which takes longer to load than the rest of the package

    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for mirror in file.mirrors:
        url = f"{mirror.rstrip('/')}/{file.name}"
        temporary = target.with_name(f".{secrets.token_hex(8)}.{target.name}")
        try:
            _fetch(url, temporary)
            digest = file.digest(temporary)
            if digest == file.sha256:
                os.replace(temporary, target)
                return target
            failures.append(f"{url}: SHA-256 is {digest}")
        except (OSError, ValueError, HTTPException) as error:  # a URLError is an OSError
            failures.append(f"{url}: {error}")
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
    raise OSError(
        f"could not download {file.name} (SHA-256 {file.sha256}); put it at {target} yourself. Tried:\n  "
        + "\n  ".join(failures)
    )


def _fetch(url: str, path: Path) -> None:
    # Imported here, for they take longer to load than the rest of the package.
    import urllib.request

    from tqdm import tqdm

    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, path.open("wb") as file:
        size = response.headers.get("Content-Length")
        total = int(size) if size is not None else None
        with tqdm(total=total, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1]) as bar:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            if total is not None and bar.n != total:
                raise OSError(f"ended after {bar.n} of {total} bytes")
