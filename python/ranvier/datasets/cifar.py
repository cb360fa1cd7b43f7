"""CIFAR-10 in its binary version: records of a label byte and 3 x 32 x 32 bytes."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np

from ranvier.datasets.files import RemoteFile, locate
from ranvier.datasets.types import Split, scaled

__all__ = ["cifar10", "read_records"]

_ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    (
        "https://www.cs.toronto.edu/~kriz",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10",
    ),
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
_FOLDER = "cifar-10-batches-bin"
_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_TEST = ("test_batch.bin",)
_IMAGE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_RECORDS = 10000  # of each file


def read_records(data: bytes, name: str) -> Split:
    """Read the records of one file.

    Raises
    ------
    ValueError
        If it does not hold 10000 whole records, or a label is not from 0 to 9.
    """
    if len(data) != _RECORDS * _RECORD:
        raise ValueError(f"{name}: expected {_RECORDS * _RECORD} bytes, {_RECORDS} records, got {len(data)}")
    records = np.frombuffer(data, np.uint8).reshape(_RECORDS, _RECORD)
    labels = records[:, 0].astype(np.int64)
    if labels.max() > 9:
        raise ValueError(f"{name}: expected labels from 0 to 9, got {labels.max()}")
    return scaled(records[:, 1:]).reshape(_RECORDS, *_IMAGE), labels


def _from_archive(path: Path) -> dict[str, bytes]:
    import tarfile  # which takes longer to load than the rest of the package

    try:
        with tarfile.open(path) as archive:
            files = {}
            for name in (*_TRAIN, *_TEST):
                member = archive.extractfile(f"{_FOLDER}/{name}")
                if member is None:
                    raise ValueError(f"{path}: {name} is not a file")
                files[name] = member.read()
            return files
    except (tarfile.TarError, EOFError, KeyError, zlib.error) as error:
        raise ValueError(f"{path}: not a complete archive of CIFAR-10 ({error})") from None


def cifar10(root: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """Return CIFAR-10: 50000 and 10000 colour pictures in ten classes.

    Parameters
    ----------
    root : path-like, optional
        The folder of ``cifar-10-binary.tar.gz`` or of its unpacked files; looked in first, and downloaded into if
        it is given.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        Images of shape (n, 3, 32, 32), float32 in [0, 1]; labels int64.

    Raises
    ------
    ImportError
        If the archive is missing, and pooch, the extra ``data``, is not installed.
    OSError
        If the archive is missing and cannot be downloaded.
    ValueError
        If a file is not what it should be.
    """
    first = f"{_FOLDER}/{_TRAIN[0]}"
    path = locate(_ARCHIVE, "cifar10", root, first, _TRAIN[0])
    if path.name == _ARCHIVE.name:
        files = _from_archive(path)
    else:
        files = {name: (path.parent / name).read_bytes() for name in (*_TRAIN, *_TEST)}
    parts = [read_records(files[name], name) for name in _TRAIN]
    train = np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])
    return train, read_records(files[_TEST[0]], _TEST[0])
