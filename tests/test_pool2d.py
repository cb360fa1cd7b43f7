"""Pooling against a plain reference, with NaN, ties, borders and layouts."""

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, close, laid_out
from ranvier import kernels as K
from ranvier import set_num_threads


def places(size, kernel, stride, padding, ceil_mode):
    """Return how many windows there are along an axis: with ceil_mode all that begin in the image or before it."""
    last = size + padding - 1 if ceil_mode else size + 2 * padding - kernel
    count = last // stride + 1
    while ceil_mode and count > 1 and (count - 2) * stride + kernel >= size + 2 * padding:
        count -= 1  # the one before reaches the end
    return count


def windows(x, kernel, stride, padding, ceil_mode=False):
    """Yield (y, x, row slice, column slice) of each window, cut to the image."""
    height, width = (places(*axis, ceil_mode) for axis in zip(x.shape[2:], kernel, stride, padding, strict=True))
    for i in range(height):
        for j in range(width):
            top, left = i * stride[0] - padding[0], j * stride[1] - padding[1]
            rows = slice(max(top, 0), min(top + kernel[0], x.shape[2]))
            yield i, j, rows, slice(max(left, 0), min(left + kernel[1], x.shape[3])), height, width


def reference_max(x, kernel, stride, padding, ceil_mode=False):
    results = {}
    for i, j, rows, cols, _, _ in windows(x, kernel, stride, padding, ceil_mode):
        part = x[:, :, rows, cols]
        flat = part.reshape(*part.shape[:2], part.shape[2] * part.shape[3])
        best = np.argmax(flat, axis=2)  # the first; NaN is the greatest
        at = (rows.start + best // part.shape[3]) * x.shape[3] + cols.start + best % part.shape[3]
        results[i, j] = np.take_along_axis(flat, best[..., None], 2)[..., 0], at
    size = max(results)
    y = np.zeros((*x.shape[:2], size[0] + 1, size[1] + 1))
    indices = np.zeros(y.shape, int)
    for (i, j), (value, at) in results.items():
        y[:, :, i, j], indices[:, :, i, j] = value, at
    return y, indices


def divisor(x, i, j, kernel, stride, padding, count_include_pad):
    """Return the number of pixels that count."""
    area = 1
    for at, size, k, step, pad in zip((i, j), x.shape[2:], kernel, stride, padding, strict=True):
        first, end = at * step - pad, at * step - pad + k
        area *= min(end, size + pad) - first if count_include_pad else min(end, size) - max(first, 0)
    return area


def reference_mean(x, kernel, stride, padding, ceil_mode=False, count_include_pad=True):
    for i, j, rows, cols, height, width in windows(x, kernel, stride, padding, ceil_mode):
        if (i, j) == (0, 0):
            y = np.zeros((*x.shape[:2], height, width))
        area = divisor(x, i, j, kernel, stride, padding, count_include_pad)
        y[:, :, i, j] = x[:, :, rows, cols].astype(np.float64).sum(axis=(2, 3)) / area
    return y


SHAPES = [
    ((2, 3, 8, 8), (2, 2), (2, 2), (0, 0)),
    ((1, 2, 9, 7), (3, 3), (2, 2), (1, 1)),
    ((1, 1, 5, 70), (2, 3), (1, 1), (1, 1)),
    ((2, 2, 13, 37), (3, 2), (3, 1), (0, 1)),
    ((1, 3, 1, 1), (1, 1), (1, 1), (0, 0)),
    ((1, 1, 6, 6), (6, 6), (5, 5), (0, 0)),
    ((2, 1, 4, 67), (1, 2), (1, 2), (0, 0)),
    ((1, 2, 11, 131), (3, 3), (2, 2), (1, 1)),
    ((0, 2, 4, 4), (2, 2), (2, 2), (0, 0)),
    ((3, 7, 7, 7), (7, 7), (7, 7), (0, 0)),
    ((2, 9, 16, 13), (15, 12), (1, 1), (0, 0)),
    ((2, 5, 1, 100), (1, 100), (1, 1), (0, 0)),
    ((1, 17, 451, 10), (3, 3), (4, 2), (0, 1)),  # strips of planes, and rows behind the last window
    ((1, 17, 450, 9), (4, 3), (4, 2), (0, 0)),
    ((3, 11, 50, 1), (4, 1), (2, 1), (1, 0)),
    ((2, 17, 4, 4), (3, 3), (2, 2), (1, 1)),
    ((2, 6, 21, 34), (3, 4), (5, 6), (0, 1)),
    ((1, 9, 40, 36), (5, 5), (3, 3), (2, 2)),
    ((2, 3, 20, 38), (2, 2), (2, 2), (0, 0)),
    ((2, 3, 9, 20), (4, 20), (2, 3), (1, 0)),
    ((1, 2, 30, 17), (3, 13), (4, 4), (1, 1)),
    ((2, 2, 7, 40), (5, 16), (2, 8), (2, 3)),
    ((2, 3, 9, 35), (2, 2), (2, 2), (0, 0)),
]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding"), SHAPES)
def test_agree_with_the_reference(isa, dtype, shape, kernel, stride, padding, ceil_mode):
    rng = np.random.default_rng(0)
    x = np.round(2 * rng.standard_normal(shape)).astype(dtype)  # with ties
    options = dict(stride=stride, padding=padding, ceil_mode=ceil_mode)
    y, indices = K.max_pool2d(x, kernel, **options)
    expected, at = reference_max(x, kernel, **options)
    close(y, expected, dtype, 1)
    np.testing.assert_array_equal(indices, at)
    grad = rng.standard_normal(y.shape).astype(dtype)
    grad_x = np.zeros((*shape[:2], shape[2] * shape[3]))
    n, c = np.ogrid[: shape[0], : shape[1]]
    for i, j in np.ndindex(*y.shape[2:]):
        grad_x[n, c, at[:, :, i, j]] += grad[:, :, i, j]
    close(K.max_pool2d_backward(grad, indices, shape), grad_x.reshape(shape), dtype, 10)
    for with_padding in (True, False):
        means = options | {"count_include_pad": with_padding}
        close(K.avg_pool2d(x, kernel, **means), reference_mean(x, kernel, **means), dtype, 10)
        spread = np.zeros(shape)
        for i, j, rows, cols, _, _ in windows(x, kernel, **options):
            area = divisor(x, i, j, kernel, stride, padding, with_padding)
            spread[:, :, rows, cols] += grad[:, :, i, j, None, None] / area
        close(K.avg_pool2d_backward(grad, shape, kernel, **means), spread, dtype, 10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0), (1, 0, 3, 2)])
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding"), SHAPES)
def test_take_axes_in_any_order(isa, dtype, axes, shape, kernel, stride, padding):
    """`axes` are those of the array in memory."""
    rng = np.random.default_rng(5)

    def ordered(array):
        return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))

    x = np.round(3 * rng.standard_normal(shape)).astype(dtype)
    options = dict(stride=stride, padding=padding)
    y, indices = K.max_pool2d(x, kernel, **options)
    np.testing.assert_array_equal(K.max_pool2d(ordered(x), kernel, **options), (y, indices))
    average = K.avg_pool2d(x, kernel, **options)
    close(K.avg_pool2d(ordered(x), kernel, **options), average, dtype, 10)
    grad = rng.standard_normal(y.shape).astype(dtype)
    np.testing.assert_array_equal(
        K.max_pool2d_backward(ordered(grad), indices, shape), K.max_pool2d_backward(grad, indices, shape)
    )
    np.testing.assert_array_equal(
        K.avg_pool2d_backward(ordered(grad), shape, kernel, **options),
        K.avg_pool2d_backward(grad, shape, kernel, **options),
    )


@pytest.mark.parametrize("planes", [1, 3, 4, 9])
def test_gradients_go_to_whatever_pixel_the_indices_say(isa, planes):
    """Also where the sizes are those of windows of 2 x 2 side by side, and the indices are not theirs."""
    rng = np.random.default_rng(6)
    shape = (1, planes, 12, 40)
    grad = rng.standard_normal((1, planes, 6, 20)).astype(np.float32)
    indices = K.max_pool2d(rng.standard_normal(shape).astype(np.float32), 2)[1]
    indices[0, planes - 1, 3, 5] = 479
    expected = np.zeros((planes, 480), np.float32)
    for plane in range(planes):
        np.add.at(expected[plane], indices[0, plane].ravel(), grad[0, plane].ravel())
    np.testing.assert_array_equal(K.max_pool2d_backward(grad, indices, shape).reshape(planes, 480), expected)
    for bad in (480, -1, 2**31 - 1, -(2**31)):
        indices[0, planes - 1, 3, 5] = bad
        with pytest.raises(ValueError, match=rf"indices: expected positions from 0 to 479, got {bad}"):
            K.max_pool2d_backward(grad, indices, shape)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_take_any_layout(layout):
    x = np.random.default_rng(1).standard_normal((2, 3, 7, 9))
    there = laid_out(x, layout)
    np.testing.assert_array_equal(K.max_pool2d(there, 3, stride=2)[0], K.max_pool2d(x, 3, stride=2)[0])
    np.testing.assert_array_equal(K.avg_pool2d(there, 3, padding=1), K.avg_pool2d(x, 3, padding=1))
    grad = np.random.default_rng(2).standard_normal((2, 3, 3, 4))
    indices = K.max_pool2d(x, 3, stride=2)[1]
    np.testing.assert_array_equal(
        K.max_pool2d_backward(laid_out(grad, layout), indices, x.shape),
        K.max_pool2d_backward(grad, indices, x.shape),
    )


def test_nan_is_the_greatest(isa):
    x = np.zeros((1, 1, 2, 40), np.float32)
    x[0, 0, 1, 10], x[0, 0, 0, 20], x[0, 0, 0, 21] = np.nan, np.inf, np.nan
    y, indices = K.max_pool2d(x, 2)
    assert np.isnan(y[0, 0, 0, 5])
    assert indices[0, 0, 0, 5] == 50
    assert np.isnan(y[0, 0, 0, 10])
    assert np.isnan(y).sum() == 2


def test_same_bits_at_any_thread_count():
    x = np.random.default_rng(3).standard_normal((6, 8, 56, 57)).astype(np.float32)
    set_num_threads(1)
    expected = K.max_pool2d(x, 3, stride=2, padding=1), K.avg_pool2d(x, 3, stride=2, padding=1)
    for threads in (2, 3, 7):
        set_num_threads(threads)
        np.testing.assert_array_equal(K.max_pool2d(x, 3, stride=2, padding=1)[0], expected[0][0])
        np.testing.assert_array_equal(K.avg_pool2d(x, 3, stride=2, padding=1), expected[1])
