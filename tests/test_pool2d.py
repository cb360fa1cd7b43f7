"""Pooling against NumPy's sliding windows, on every instruction set and memory layout."""

from typing import Any

import numpy as np
import pytest
from arrays import LAYOUTS, assert_same_bits, lay_out, normal
from numpy.typing import NDArray
from ranvier import kernels as K

# The shape of x, kernel_size, and the other options.
CASES: list[tuple[tuple[int, int, int, int], Any, dict[str, Any]]] = [
    ((1, 1, 1, 1), 1, {}),
    ((2, 3, 28, 28), 2, {}),
    ((2, 3, 7, 35), 2, {}),
    ((2, 3, 7, 9), 3, {"stride": 2, "padding": 1}),
    ((2, 3, 7, 9), (3, 2), {"stride": (1, 3), "padding": (1, 0)}),
    ((1, 2, 19, 67), 3, {"stride": 1, "padding": 1}),
    ((1, 2, 5, 5), 5, {}),
    ((1, 2, 5, 5), (4, 5), {"padding": (2, 2), "stride": 1}),
    ((1, 2, 8, 8), 2, {"stride": 5}),
    ((3, 2, 2, 1), 2, {"padding": 1}),
    ((0, 2, 5, 5), 2, {}),
    ((2, 0, 5, 5), 2, {}),
]


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def windows(x: NDArray[Any], kernel: Any, options: dict[str, Any], fill: float) -> NDArray[Any]:
    """(batch, channels, out height, out width, kernel area) of the padded image."""
    ph, pw = pair(options.get("padding", 0))
    sh, sw = pair(options.get("stride", kernel))
    image = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=fill)
    all_windows = np.lib.stride_tricks.sliding_window_view(image, pair(kernel), axis=(2, 3))[:, :, ::sh, ::sw]
    return all_windows.reshape(*all_windows.shape[:4], int(np.prod(pair(kernel))))


def positions(x: NDArray[Any], kernel: Any, options: dict[str, Any]) -> NDArray[np.int64]:
    """row * width + column of every pixel of every window; -1 in the padding."""
    plane = np.arange(x.shape[2] * x.shape[3]).reshape(1, 1, *x.shape[2:])
    return windows(plane, kernel, options, -1)


def scattered(grad: NDArray[Any], at: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Adds grad up at the positions of each plane that are not -1."""
    result = np.zeros((*shape[:2], shape[2] * shape[3]))
    n, c = np.indices(grad.shape)[:2]
    inside = at >= 0
    np.add.at(result, (n[inside], c[inside], at[inside]), grad[inside])
    return result.reshape(shape)


@pytest.mark.parametrize(("shape", "kernel", "options"), CASES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_max_pool2d_takes_the_first_of_the_largest(isa, dtype, rng, shape, kernel, options, layout):
    x = rng.integers(-4, 4, shape).astype(dtype)
    seen = windows(x, kernel, options, -np.inf)
    y, indices = K.max_pool2d(lay_out(x, layout), kernel, **options)
    assert y.dtype == dtype
    assert indices.dtype == np.int32
    np.testing.assert_array_equal(y, seen.max(axis=-1))
    at = np.broadcast_to(positions(x, kernel, options), seen.shape)
    first = np.take_along_axis(at, seen.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    np.testing.assert_array_equal(indices, first)


@pytest.mark.parametrize(("shape", "kernel", "options"), CASES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_max_pool2d_backward_adds_up_at_the_indices(isa, dtype, rng, shape, kernel, options, layout):
    y, indices = K.max_pool2d(normal(rng, shape, dtype), kernel, **options)
    grad = normal(rng, y.shape, dtype)
    actual = K.max_pool2d_backward(lay_out(grad, layout), indices, shape)
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, scattered(grad, indices, shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("shape", "kernel", "options"), CASES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_avg_pool2d_is_the_mean_with_zeros_around(isa, dtype, rng, shape, kernel, options, layout):
    x = normal(rng, shape, dtype)
    expected = windows(x.astype(np.float64), kernel, options, 0).mean(axis=-1)
    actual = K.avg_pool2d(lay_out(x, layout), kernel, **options)
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("shape", "kernel", "options"), CASES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_avg_pool2d_backward_spreads_the_gradient(isa, dtype, rng, shape, kernel, options, layout):
    grad = normal(rng, K.avg_pool2d(np.zeros(shape, dtype), kernel, **options).shape, dtype)
    at = np.moveaxis(positions(np.zeros(shape), kernel, options), -1, 0)
    area = np.prod(pair(kernel))
    expected = sum((scattered(grad, np.broadcast_to(p, grad.shape), shape) for p in at), np.zeros(shape)) / area
    actual = K.avg_pool2d_backward(lay_out(grad, layout), shape, kernel, **options)
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_nan_is_the_largest(isa, dtype):
    x = np.zeros((1, 1, 6, 70), dtype)
    x[0, 0, 1, 1], x[0, 0, 0, 2], x[0, 0, 0, 3] = np.nan, np.nan, np.inf
    y, indices = K.max_pool2d(x, 2)
    assert np.isnan(y[0, 0, 0, :2]).all()
    assert indices[0, 0, 0, :2].tolist() == [71, 2]
    assert not y[0, 0].ravel()[2:].any()


def test_a_window_of_minus_infinity_has_an_index_inside(isa, dtype):
    x = np.full((1, 1, 3, 3), -np.inf, dtype)
    y, indices = K.max_pool2d(x, 2, stride=1, padding=1)
    assert np.isneginf(y).all()
    assert indices.min() >= 0
    assert indices.max() < 9


@pytest.mark.parametrize(
    "pool", [lambda x: K.max_pool2d(x, 3, stride=2)[0], lambda x: K.avg_pool2d(x, 3, stride=2)]
)
def test_an_image_has_the_same_bits_in_every_batch(isa, dtype, rng, pool):
    x = normal(rng, (5, 3, 13, 37), dtype)
    expected = pool(x)
    for images in [slice(0, 1), slice(3, 5)]:
        assert_same_bits(pool(x[images]), expected[images])
