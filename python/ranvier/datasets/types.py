"""Types that the data sets share."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Images: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]
Split: TypeAlias = tuple[Images, Labels]
Bytes: TypeAlias = NDArray[np.uint8]


def scaled(images: Bytes) -> Images:
    """Return bytes 0 .. 255 as float32 in [0, 1]."""
    result: Any = images.astype(np.float32)
    result /= np.float32(255)
    return result  # type: ignore[no-any-return]
