"""The 8 x 8 digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from ranvier.datasets.types import Split

__all__ = ["digits"]

_TEST_SAMPLES = 360  # of 1797: a fifth


def digits(*, flatten: bool = False) -> tuple[Split, Split]:
    """Return scikit-learn's handwritten digits; no network is needed.

    Parameters
    ----------
    flatten : bool
        Images of shape (n, 64) instead of (n, 1, 8, 8).

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        1437 and 360 samples, split by a fixed shuffle; float32 in [0, 1] and int64.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError(
            "the digits come with scikit-learn, which is not installed: pip install 'ranvier[examples]'"
        ) from None
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x = (data.images[order, None] / 16).astype(np.float32)
    y = data.target[order].astype(np.int64)
    if flatten:
        x = x.reshape(len(x), -1)
    return (x[:-_TEST_SAMPLES], y[:-_TEST_SAMPLES]), (x[-_TEST_SAMPLES:], y[-_TEST_SAMPLES:])
