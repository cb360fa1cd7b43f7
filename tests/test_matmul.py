"""Matrix products and the linear layer against float64 NumPy, on every instruction set and memory layout."""

import numpy as np
import pytest
from arrays import LAYOUTS, assert_same_bits, assert_within, lay_out, normal, sum_bound
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ranvier import kernels as K

SHAPES = [
    (1, 1, 1),
    (1, 7, 5),
    (3, 2, 1),
    (8, 8, 8),
    (11, 13, 17),
    (12, 31, 33),
    (13, 65, 32),
    (10, 784, 30),
    (97, 257, 101),
    (255, 384, 129),
    (300, 513, 64),
    (1, 1000, 300),
    (300, 1000, 1),
]
EMPTY = [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)]


def assert_product(actual: NDArray[np.floating], a: NDArray[np.floating], b: NDArray[np.floating]) -> None:
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    magnitude = np.matmul(np.abs(a64), np.abs(b64))
    assert actual.dtype == a.dtype
    assert_within(actual, np.matmul(a64, b64), sum_bound(a.shape[-1], magnitude, a.dtype.type))


@pytest.mark.parametrize(("m", "k", "n"), SHAPES + EMPTY)
def test_matmul_is_the_product(isa, dtype, rng, m, k, n):
    a, b = normal(rng, (m, k), dtype), normal(rng, (k, n), dtype)
    assert_product(K.matmul(a, b), a, b)


@pytest.mark.parametrize(("m", "k", "n"), [(3, 5, 2), (33, 47, 35), (70, 300, 65)])
@pytest.mark.parametrize("layout_a", LAYOUTS)
@pytest.mark.parametrize("layout_b", LAYOUTS)
def test_matmul_has_the_same_bits_in_every_layout(isa, dtype, rng, m, k, n, layout_a, layout_b):
    a, b = normal(rng, (m, k), dtype), normal(rng, (k, n), dtype)
    expected = K.matmul(a, b)
    assert_product(expected, a, b)
    assert_same_bits(K.matmul(lay_out(a, layout_a), lay_out(b, layout_b)), expected)


def test_matmul_takes_broadcast_operands(isa, dtype, rng):
    row = np.broadcast_to(normal(rng, (37,), dtype), (29, 37))
    column = np.broadcast_to(normal(rng, (37, 1), dtype), (37, 41))
    assert_product(K.matmul(row, column), row, column)


@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [
        ((7,), (7,)),
        ((7,), (7, 3)),
        ((3, 7), (7,)),
        ((4, 3, 7), (7, 5)),
        ((3, 7), (4, 7, 5)),
        ((4, 3, 7), (4, 7, 5)),
        ((2, 1, 3, 7), (4, 7, 5)),
        ((1, 4, 3, 7), (2, 1, 7, 5)),
        ((7,), (4, 7, 5)),
        ((4, 3, 7), (7,)),
        ((0, 3, 7), (7, 5)),
        ((0, 3, 7), (1, 7, 5)),
        ((0,), (0,)),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_matmul_follows_numpy_for_vectors_and_stacks(isa, dtype, rng, a_shape, b_shape, layout):
    a, b = normal(rng, a_shape, dtype), normal(rng, b_shape, dtype)
    expected = np.matmul(a.astype(np.float64), b.astype(np.float64))
    actual = K.matmul(lay_out(a, layout), lay_out(b, layout))
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    out = lay_out(np.full(expected.shape, 9, dtype), layout)
    assert K.matmul(a, b, out) is out
    np.testing.assert_array_equal(out, actual)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_matmul_writes_out_and_nothing_around_it(isa, dtype, rng, layout):
    a, b = normal(rng, (33, 20), dtype), normal(rng, (20, 45), dtype)
    out = lay_out(np.zeros((33, 45), dtype), layout)
    around = out.base if out.base is not None else out
    untouched = np.isnan(around).sum()
    assert K.matmul(a, b, out=out) is out
    assert_same_bits(np.ascontiguousarray(out), K.matmul(a, b))
    assert np.isnan(around).sum() == untouched


def test_matmul_takes_the_other_half_of_one_array(isa, dtype, rng):
    both = normal(rng, (16, 32), dtype)
    a, out = both[:, ::2], both[:, 1::2]
    expected = K.matmul(a.copy(), a[:16].copy())
    K.matmul(a, a, out=out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(("k", "n"), [(784, 30), (300, 257), (513, 1), (2000, 64)])
def test_a_row_has_the_same_bits_in_every_batch(isa, dtype, rng, k, n):
    a, b = normal(rng, (150, k), dtype), normal(rng, (k, n), dtype)
    expected = K.matmul(a, b)
    for rows in [slice(0, 1), slice(77, 78), slice(3, 16), slice(149, 150), slice(20, 120)]:
        assert_same_bits(K.matmul(a[rows], b), expected[rows])


def test_matmul_of_nan_and_infinity_is_as_in_ieee(isa, dtype):
    a = np.ones((20, 20), dtype)
    a[1, 2], a[3, 4], a[5, 6] = np.nan, np.inf, np.inf
    b = np.ones((20, 40), dtype)
    b[6] = 0
    c = K.matmul(a, b)
    assert np.isnan(c[1]).all()
    assert np.isposinf(c[3]).all()
    assert np.isnan(c[5]).all()
    assert np.isfinite(np.delete(c, [1, 3, 5], axis=0)).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 70), st.integers(1, 600), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_matmul_of_random_shapes(m, k, n, seed):
    rng = np.random.default_rng(seed)
    a, b = normal(rng, (m, k), np.float32), normal(rng, (k, n), np.float32)
    assert_product(K.matmul(a, b), a, b)


@pytest.mark.parametrize("shape", [(30,), (1, 30), (7, 30), (2, 3, 30), (0, 30), (2, 0, 30), (2, 3, 4, 30)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_linear_is_x_times_w_transposed_plus_b(isa, dtype, rng, shape, layout):
    x, w, b = normal(rng, shape, dtype), normal(rng, (17, 30), dtype), normal(rng, (17,), dtype)
    x64, w64 = x.astype(np.float64), w.astype(np.float64)
    bound = sum_bound(31, np.abs(x64) @ np.abs(w64.T) + np.abs(b), dtype)
    laid = [lay_out(array, layout) for array in (x, w, b)]
    assert_within(K.linear(laid[0], laid[1]), x64 @ w64.T, bound)
    actual = K.linear(*laid)
    assert_within(actual, x64 @ w64.T + b, bound)
    out = lay_out(np.zeros(actual.shape, dtype), layout)
    assert K.linear(*laid, out=out) is out
    np.testing.assert_array_equal(out, actual)


@pytest.mark.parametrize("shape", [(30,), (1, 30), (67, 30), (2, 3, 30), (0, 30), (2, 0, 30), (2, 3, 4, 30)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_linear_backward_gives_the_three_gradients(isa, dtype, rng, shape, layout):
    x, w = normal(rng, shape, dtype), normal(rng, (17, 30), dtype)
    grad = normal(rng, (*shape[:-1], 17), dtype)
    grad_x, grad_w, grad_b = K.linear_backward(*(lay_out(array, layout) for array in (grad, x, w)))
    g64, x64, w64 = (array.astype(np.float64) for array in (grad, x, w))
    rows, inputs = g64.reshape(-1, 17), x64.reshape(-1, 30)
    assert_within(grad_x, g64 @ w64, sum_bound(17, np.abs(g64) @ np.abs(w64), dtype))
    assert_within(grad_w, rows.T @ inputs, sum_bound(len(rows), np.abs(rows).T @ np.abs(inputs), dtype))
    assert_within(grad_b, rows.sum(axis=0), sum_bound(len(rows), np.abs(rows).sum(axis=0), dtype))
