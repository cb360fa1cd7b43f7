"""Arrays in awkward memory, and comparisons, for the kernels' tests."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

LAYOUTS = ["contiguous", "fortran", "strided", "reversed", "offset"]


def lay_out(values: ArrayLike, layout: str) -> NDArray[np.floating]:
    """Gives an array of the same values and dtype whose memory has that layout."""
    values = np.asarray(values)
    if layout == "contiguous":
        return np.array(values, order="C")
    if layout == "fortran":
        return np.array(values, order="F")
    if layout == "reversed":
        flip = (slice(None, None, -1),) * values.ndim + (...,)
        return np.array(values[flip], order="C")[flip]
    if layout == "offset":
        view = np.empty(values.size + 1, values.dtype)[1:].reshape(values.shape)
    else:
        view = np.full([2 * size + 1 for size in values.shape], np.nan, values.dtype)
        view = view[(slice(1, None, 2),) * values.ndim + (...,)]
    view[...] = values
    return view


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: type[np.floating]) -> NDArray[np.floating]:
    return rng.standard_normal(shape).astype(dtype)


def assert_same_bits(actual: NDArray[np.floating], expected: NDArray[np.floating]) -> None:
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


def assert_within(actual: NDArray[np.floating], expected: ArrayLike, bound: ArrayLike) -> None:
    """Checks that no error exceeds its bound, which may differ from element to element."""
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    excess = np.abs(actual.astype(np.float64) - expected) - np.asarray(bound)
    assert not np.any(np.isnan(excess))
    assert np.all(excess <= 0), f"an error exceeds its bound by {excess.max()}"


def sum_bound(terms: int, magnitude: ArrayLike, dtype: type[np.floating]) -> NDArray[np.floating]:
    """Bounds the rounding of a sum of products whose absolute values add up to `magnitude`."""
    tiny = float(np.finfo(dtype).tiny)
    return (terms + 4) * float(np.finfo(dtype).eps) * np.asarray(magnitude, np.float64) + tiny
