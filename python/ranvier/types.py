"""Types of arrays, for annotations."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Labels"]

# Of float32 or float64; which one, the functions check themselves.
Array: TypeAlias = NDArray[Any]
Labels: TypeAlias = NDArray[np.int64]
