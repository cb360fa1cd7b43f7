"""Convolution against a float64 sum over the kernel's positions, on every instruction set and layout."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from arrays import LAYOUTS, assert_same_bits, assert_within, lay_out, normal, sum_bound
from numpy.typing import NDArray
from ranvier import kernels as K


class Case(NamedTuple):
    x: tuple[int, int, int, int]
    w: tuple[int, int, int, int]
    options: dict[str, Any]


CASES = [
    Case((1, 1, 1, 1), (1, 1, 1, 1), {}),
    Case((1, 1, 5, 5), (1, 1, 5, 5), {}),
    Case((2, 3, 7, 5), (4, 3, 3, 2), {}),
    Case((3, 1, 28, 28), (16, 1, 5, 5), {"padding": 2}),
    Case((2, 16, 14, 14), (32, 16, 5, 5), {"padding": 2}),
    Case((2, 5, 9, 11), (7, 5, 1, 1), {}),
    Case((2, 8, 9, 17), (5, 8, 1, 1), {"stride": 2}),
    Case((2, 3, 11, 13), (5, 3, 3, 3), {"stride": (2, 3), "padding": (1, 2)}),
    Case((1, 2, 17, 19), (3, 2, 3, 2), {"dilation": (3, 5), "padding": (4, 1)}),
    Case((2, 4, 8, 9), (6, 2, 3, 3), {"groups": 2, "padding": 1}),
    Case((2, 6, 8, 33), (6, 1, 3, 3), {"groups": 6, "padding": 1}),
    Case((1, 4, 8, 9), (8, 1, 3, 3), {"groups": 4, "stride": 2, "dilation": 2, "padding": 3}),
    Case((1, 2, 3, 3), (2, 2, 3, 3), {"padding": 5}),
    Case((1, 2, 3, 3), (2, 2, 2, 2), {"stride": 7, "padding": 1}),
    Case((2, 3, 4, 4), (2, 3, 3, 3), {"padding": (0, 1), "stride": (1, 4)}),
    Case((1, 130, 6, 7), (65, 130, 3, 3), {"padding": 1}),
]
EMPTY = [
    Case((0, 3, 7, 5), (4, 3, 3, 2), {}),
    Case((2, 3, 7, 5), (0, 3, 3, 2), {}),
]


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def patches(x: NDArray[Any], case: Case, i: int, j: int) -> NDArray[Any]:
    """The padded image's pixels that the kernel's position (i, j) meets, a view."""
    (sh, sw), (dh, dw) = pair(case.options.get("stride", 1)), pair(case.options.get("dilation", 1))
    kernel = case.w[2:]
    out = [
        (x.shape[2 + d] - dilation * (kernel[d] - 1) - 1) // stride + 1
        for d, (stride, dilation) in enumerate([(sh, dh), (sw, dw)])
    ]
    rows = slice(i * dh, i * dh + sh * (out[0] - 1) + 1, sh)
    columns = slice(j * dw, j * dw + sw * (out[1] - 1) + 1, sw)
    return x[:, :, rows, columns]


def padded(x: NDArray[Any], case: Case) -> NDArray[np.float64]:
    ph, pw = pair(case.options.get("padding", 0))
    return np.pad(x.astype(np.float64), ((0, 0), (0, 0), (ph, ph), (pw, pw)))


def grouped(case: Case) -> list[tuple[slice, slice]]:
    """The input and output channels of each group."""
    groups = case.options.get("groups", 1)
    ins, outs = case.x[1] // groups, case.w[0] // groups
    return [(slice(g * ins, (g + 1) * ins), slice(g * outs, (g + 1) * outs)) for g in range(groups)]


def forward(x: NDArray[Any], w: NDArray[Any], case: Case) -> NDArray[np.float64]:
    image = padded(x, case)
    y = np.zeros((case.x[0], case.w[0], *patches(image, case, 0, 0).shape[2:]))
    for i, j in np.ndindex(*case.w[2:]):
        for ins, outs in grouped(case):
            y[:, outs] += np.einsum(
                "nchw,oc->nohw", patches(image, case, i, j)[:, ins], w[outs, :, i, j].astype(np.float64)
            )
    return y


def backward(
    grad: NDArray[Any], x: NDArray[Any], w: NDArray[Any], case: Case
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    grad = grad.astype(np.float64)
    image, grad_w = padded(x, case), np.zeros(case.w)
    grad_image = np.zeros_like(image)
    for i, j in np.ndindex(*case.w[2:]):
        seen, grad_seen = patches(image, case, i, j), patches(grad_image, case, i, j)
        for ins, outs in grouped(case):
            weights = w[outs, :, i, j].astype(np.float64)
            grad_w[outs, :, i, j] = np.einsum("nohw,nchw->oc", grad[:, outs], seen[:, ins])
            grad_seen[:, ins] += np.einsum("nohw,oc->nchw", grad[:, outs], weights)
    ph, pw = pair(case.options.get("padding", 0))
    return grad_image[:, :, ph : ph + case.x[2], pw : pw + case.x[3]], grad_w


def operands(rng: np.random.Generator, case: Case, dtype: type[np.floating]) -> list[NDArray[np.floating]]:
    return [normal(rng, shape, dtype) for shape in (case.x, case.w, case.w[:1])]


def check_forward(
    y: NDArray[np.floating], x: NDArray[np.floating], w: NDArray[np.floating], b: NDArray[Any], case: Case
) -> None:
    bias = b.astype(np.float64)[:, None, None]
    magnitude = forward(np.abs(x), np.abs(w), case) + np.abs(bias)
    assert y.dtype == x.dtype
    assert_within(y, forward(x, w, case) + bias, sum_bound(int(np.prod(case.w[1:])) + 1, magnitude, x.dtype.type))


@pytest.mark.parametrize("case", CASES + EMPTY, ids=str)
def test_conv2d_is_the_sum_over_the_kernel(isa, dtype, rng, case):
    x, w, b = operands(rng, case, dtype)
    check_forward(K.conv2d(x, w, b, **case.options), x, w, b, case)
    check_forward(K.conv2d(x, w, **case.options), x, w, np.zeros_like(b), case)


@pytest.mark.parametrize("case", CASES + EMPTY, ids=str)
def test_conv2d_backward_gives_the_three_gradients(isa, dtype, rng, case):
    x, w, b = operands(rng, case, dtype)
    grad = normal(rng, K.conv2d(x, w, **case.options).shape, dtype)
    grad_x, grad_w, grad_b = K.conv2d_backward(grad, x, w, **case.options)
    expected_x, expected_w = backward(grad, x, w, case)
    magnitude_x, magnitude_w = backward(np.abs(grad), np.abs(x), np.abs(w), case)
    assert grad_x.dtype == grad_w.dtype == grad_b.dtype == dtype
    assert_within(
        grad_x, expected_x, sum_bound(int(np.prod(case.w) / case.w[1]) if w.size else 0, magnitude_x, dtype)
    )
    outputs = grad.size // case.w[0] if case.w[0] else 0
    assert_within(grad_w, expected_w, sum_bound(outputs, magnitude_w, dtype))
    sums, magnitudes = (a.astype(np.float64).sum(axis=(0, 2, 3)) for a in (grad, np.abs(grad)))
    assert_within(grad_b, sums, sum_bound(outputs, magnitudes, dtype))
    assert grad_b.shape == b.shape


@pytest.mark.parametrize("case", [CASES[2], CASES[4], CASES[7], CASES[9], CASES[10]], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_conv2d_takes_every_layout(isa, dtype, rng, case, layout):
    x, w, b = operands(rng, case, dtype)
    laid = [lay_out(array, layout) for array in (x, w, b)]
    y = K.conv2d(*laid, **case.options)
    check_forward(y, x, w, b, case)
    out = lay_out(np.zeros(y.shape, dtype), layout)
    untouched = np.isnan(out.base).sum() if out.base is not None else 0
    assert K.conv2d(*laid, **case.options, out=out) is out
    check_forward(out, x, w, b, case)
    assert out.base is None or np.isnan(out.base).sum() == untouched


@pytest.mark.parametrize("case", [CASES[2], CASES[4], CASES[7], CASES[9], CASES[10]], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_conv2d_backward_takes_every_layout(isa, dtype, rng, case, layout):
    x, w, _ = operands(rng, case, dtype)
    grad = normal(rng, K.conv2d(x, w, **case.options).shape, dtype)
    expected = K.conv2d_backward(grad, x, w, **case.options)
    actual = K.conv2d_backward(*(lay_out(array, layout) for array in (grad, x, w)), **case.options)
    tolerance = 1e-4 if dtype is np.float32 else 1e-12
    for given, wanted in zip(actual, expected, strict=True):
        np.testing.assert_allclose(given, wanted, rtol=tolerance, atol=10 * tolerance)


def test_conv2d_takes_channels_last_and_broadcast_images(isa, dtype, rng):
    case = Case((3, 4, 9, 8), (5, 4, 3, 3), {"padding": 1})
    _, w, b = operands(rng, case, dtype)
    last = normal(rng, (3, 9, 8, 4), dtype).transpose(0, 3, 1, 2)
    check_forward(K.conv2d(last, w, b, **case.options), last, w, b, case)
    one = np.broadcast_to(normal(rng, (1, 4, 9, 8), dtype), case.x)
    check_forward(K.conv2d(one, w, b, **case.options), one, w, b, case)


@pytest.mark.parametrize("case", [CASES[3], CASES[7], CASES[10]], ids=str)
def test_an_image_has_the_same_bits_in_every_batch(isa, dtype, rng, case):
    x, w, b = operands(rng, case._replace(x=(9, *case.x[1:])), dtype)
    expected = K.conv2d(x, w, b, **case.options)
    for images in [slice(0, 1), slice(4, 5), slice(2, 9)]:
        assert_same_bits(K.conv2d(x[images], w, b, **case.options), expected[images])


def test_conv2d_with_the_unit_kernel_is_the_image(isa, dtype, rng):
    x, w = normal(rng, (2, 1, 13, 17), dtype), np.zeros((1, 1, 3, 3), dtype)
    w[0, 0, 1, 1] = 1
    np.testing.assert_array_equal(K.conv2d(x, w, padding=1), x)


def test_conv2d_keeps_nan_where_the_kernel_meets_it(isa, dtype):
    x, w = np.ones((1, 1, 9, 9), dtype), np.ones((1, 1, 3, 3), dtype)
    x[0, 0, 4, 4] = np.nan
    y = K.conv2d(x, w)
    assert np.isnan(y[0, 0, 2:5, 2:5]).all()
    assert np.isnan(y).sum() == 9
