"""MNIST and Fashion-MNIST: the IDX format."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np

from ranvier.datasets.files import RemoteFile, locate, read_bytes
from ranvier.datasets.types import Bytes, Split, scaled

__all__ = ["fashion_mnist", "mnist", "read_idx"]

_PARTS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
    "https://systemds.apache.org/assets/datasets/mnist",
)
_MNIST_SHA256 = (
    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
)
_MNIST_UNPACKED_SHA256 = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)

_FASHION_MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
)
_FASHION_SHA256 = (
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
)


def read_idx(path: Path) -> Bytes:
    """Read an IDX file of unsigned bytes, packed by gzip or not.

    The format: two zero bytes, the type (8 for unsigned byte), the number of dimensions, each size as a big-endian
    32-bit integer, then the elements.

    Raises
    ------
    ValueError
        If the magic number is wrong, or the file is shorter or longer than its header says.
    """
    data = read_bytes(path)
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: not an IDX file of bytes: it starts with {data[:4].hex() or 'nothing'}")
    ndim = data[3]
    header = 4 + 4 * ndim
    if len(data) < header:
        raise ValueError(f"{path}: truncated: the header needs {header} bytes, the file has {len(data)}")
    shape = struct.unpack(f">{ndim}I", data[4:header])
    size = int(np.prod(shape, dtype=np.int64))
    if len(data) - header != size:
        raise ValueError(f"{path}: expected {size} bytes of data for shape {shape}, found {len(data) - header}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _read_split(images: Path, labels: Path, flatten: bool) -> Split:
    x, y = read_idx(images), read_idx(labels)
    if x.ndim != 3:
        raise ValueError(f"{images}: expected images, three dimensions, got shape {x.shape}")
    if y.shape != x.shape[:1]:
        raise ValueError(f"{labels}: expected {len(x)} labels, one for each image, got shape {y.shape}")
    if len(y) and y.max() > 9:
        raise ValueError(f"{labels}: expected labels from 0 to 9, got {y.max()}")
    scaled_x = scaled(x)
    return scaled_x.reshape((len(x), -1) if flatten else (len(x), 1, *x.shape[1:])), y.astype(np.int64)


def _load(
    files: list[RemoteFile], dataset: str, root: str | os.PathLike[str] | None, flatten: bool
) -> tuple[Split, Split]:
    unique = dataset == "mnist"  # whose names Fashion-MNIST took over
    paths = [locate(file, dataset, root, file.name.removesuffix(".gz"), unique_names=unique) for file in files]
    return _read_split(paths[0], paths[1], flatten), _read_split(paths[2], paths[3], flatten)


def mnist(root: str | os.PathLike[str] | None = None, *, flatten: bool = False) -> tuple[Split, Split]:
    """Return MNIST: 60000 and 10000 handwritten digits.

    Parameters
    ----------
    root : path-like, optional
        The folder of its four files, packed or not; looked in first, and downloaded into if it is given.
    flatten : bool
        Images of shape (n, 784) instead of (n, 1, 28, 28).

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        float32 in [0, 1] and int64.

    Raises
    ------
    ImportError
        If a file is missing, and pooch, the extra ``data``, is not installed.
    OSError
        If a file is missing and cannot be downloaded.
    ValueError
        If a file is not what it should be.
    """
    files = [
        RemoteFile(f"{part}.gz", _MNIST_MIRRORS, sha256, unpacked)
        for part, sha256, unpacked in zip(_PARTS, _MNIST_SHA256, _MNIST_UNPACKED_SHA256, strict=True)
    ]
    return _load(files, "mnist", root, flatten)


def fashion_mnist(root: str | os.PathLike[str] | None = None, *, flatten: bool = False) -> tuple[Split, Split]:
    """Return Fashion-MNIST: 60000 and 10000 pictures of clothes in ten classes.

    Parameters, results and errors are those of `mnist`. Its files have MNIST's names, so they are looked for in the
    folder ``fashion-mnist`` of RANVIER_DATA, not in RANVIER_DATA itself.
    """
    files = [
        RemoteFile(f"{part}.gz", _FASHION_MIRRORS, sha256) for part, sha256 in zip(_PARTS, _FASHION_SHA256, strict=True)
    ]
    return _load(files, "fashion-mnist", root, flatten)
