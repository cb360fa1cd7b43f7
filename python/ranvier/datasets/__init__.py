"""Data sets as NumPy arrays, found on disk or downloaded once.

Each function returns ``((x_train, y_train), (x_test, y_test))``: images as float32 in [0, 1], of shape
(n, channels, height, width), and labels as int64. Files are looked for in ``root``, then in the folder that the
environment variable RANVIER_DATA names, then in a cache folder, and are else downloaded, from several mirrors,
into ``root`` or the cache folder; a download is kept only if its SHA-256 is the expected one.
"""

from ranvier.datasets.cifar import cifar10
from ranvier.datasets.digits import digits
from ranvier.datasets.idx import fashion_mnist, mnist

__all__ = ["cifar10", "digits", "fashion_mnist", "mnist"]
