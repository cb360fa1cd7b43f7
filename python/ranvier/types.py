"""Types for annotations."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Labels", "LayerSpec", "LossSpec", "Pair", "Samples", "Weights"]

# Of float32 or float64; which one, the functions check themselves.
Array: TypeAlias = NDArray[Any]
Samples: TypeAlias = Array | NDArray[np.uint8]  # bytes stand for fractions of 255
Labels: TypeAlias = NDArray[np.int64]
Weights: TypeAlias = NDArray[np.float64]  # of samples

# One number for height and width, or one for each.
Pair: TypeAlias = int | tuple[int, int]
# A layer as the compiled core reads it: its kind and its fields.
LayerSpec: TypeAlias = tuple[str, Mapping[str, Any]]
# A loss as the compiled core reads it: its kind and its settings.
LossSpec: TypeAlias = tuple[str, dict[str, Any]]
