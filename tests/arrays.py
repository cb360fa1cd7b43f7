"""Arrays that lie in memory in every awkward way, and the dtypes with their tolerances."""

import numpy as np

DTYPES = (np.float32, np.float64)
EPSILON = {np.float32: 1.2e-7, np.float64: 2.3e-16}

LAYOUTS = ("C", "F", "gaps", "reversed", "F reversed", "every second", "offset")


def laid_out(array, layout):
    """Return an array equal to this one that lies in memory as its name says."""
    shape = array.shape
    if not shape:
        return np.array(array)  # a scalar has one layout
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "gaps":
        room = np.zeros([size + 3 for size in shape], array.dtype)
        view = room[tuple(slice(1, 1 + size) for size in shape)]
    elif layout == "reversed":
        view = np.zeros(shape, array.dtype)[tuple(slice(None, None, -1) for _ in shape)]
    elif layout == "F reversed":
        view = np.zeros(shape, array.dtype, order="F")[tuple(slice(None, None, -1) for _ in shape)]
    elif layout == "every second":
        view = np.zeros([2 * size for size in shape], array.dtype)[tuple(slice(None, None, 2) for _ in shape)]
    elif layout == "offset":
        view = np.zeros(array.size + 1, array.dtype)[1:].reshape(shape)
    else:
        return np.ascontiguousarray(array)
    view[...] = array
    return view


def close(got, expected, dtype, scale):
    """Assert agreement within a few roundings of numbers of that magnitude."""
    assert got.dtype == dtype
    assert got.shape == expected.shape
    error = np.max(np.abs(got.astype(np.float64) - expected), initial=0)
    assert error <= 8 * EPSILON[dtype] * scale, f"error {error}, allowed {8 * EPSILON[dtype] * scale}"
