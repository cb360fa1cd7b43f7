"""Data sets as NumPy arrays: found on disk, downloaded once, or made.

``digits``, ``mnist``, ``fashion_mnist`` and ``cifar10`` return ``((x_train, y_train), (x_test, y_test))``: images as
float32 in [0, 1], of shape (n, channels, height, width), and labels as int64. Files are looked for in ``root``, then
in the folder that the environment variable RANVIER_DATA names, then in a cache folder, and are else downloaded by
`pooch <https://www.fatiando.org/pooch>`_, the extra ``data``, from several mirrors, into ``root`` or the cache folder.
Each must have the expected SHA-256, be it downloaded or found. Only of Fashion-MNIST and CIFAR-10 unpacked by hand no
SHA-256 is known: their form is checked.

``blobs``, ``circles``, ``moons`` and ``spirals`` make ``(x, y)``: points of the plane as float32, of shape (n, 2),
and labels as int64. ``curve`` makes ``(x, y)`` for regression, both of shape (n, 1).
"""

from ranvier.datasets.cifar import cifar10
from ranvier.datasets.digits import digits
from ranvier.datasets.idx import fashion_mnist, mnist
from ranvier.datasets.toy import blobs, circles, curve, moons, spirals

__all__ = ["blobs", "cifar10", "circles", "curve", "digits", "fashion_mnist", "mnist", "moons", "spirals"]
