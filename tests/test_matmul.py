"""Products from Python: NumPy's rules, layouts, `out`, and the linear layer."""

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, close, laid_out
from hypothesis import given, settings
from hypothesis import strategies as st
from ranvier import kernels as K


def normal(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 13, 5), (12, 32, 384), (13, 33, 385), (64, 1, 97), (1, 100, 784)])
def test_agrees_with_float64(isa, dtype, shape):
    m, n, k = shape
    a, b = normal(m, k, dtype=dtype), normal(k, n, dtype=dtype, seed=1)
    close(K.matmul(a, b), a.astype(np.float64) @ b.astype(np.float64), dtype, 4 * np.sqrt(k) + 4)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 1003, 1050), (2, 730, 256), (3, 730, 382), (7, 1500, 530)])
def test_few_rows_by_a_large_matrix(isa, layout, shape):
    m, n, k = shape
    a, b = normal(m, k, dtype=np.float32), laid_out(normal(k, n, dtype=np.float32, seed=1), layout)
    close(K.matmul(a, b), a.astype(np.float64) @ b.astype(np.float64), np.float32, 4 * np.sqrt(k) + 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 21, 203), (3, 64, 150), (4, 16, 97), (203, 21, 2), (150, 64, 3)])
def test_few_rows_or_columns_into_any_layout(isa, shape, layout, dtype):
    m, k, n = shape
    a, b = normal(m, k, dtype=dtype), normal(k, n, dtype=dtype, seed=1)
    out = laid_out(np.zeros((m, n), dtype), layout)
    for left, right in [(a, b), (np.asfortranarray(a), b), (a, np.asfortranarray(b))]:
        K.matmul(left, right, out=out)
        close(out, a.astype(np.float64) @ b, dtype, 40)


@pytest.mark.parametrize("a_layout", LAYOUTS)
@pytest.mark.parametrize("b_layout", LAYOUTS)
def test_takes_any_layout_without_changing_it(a_layout, b_layout):
    a, b = laid_out(normal(14, 21), a_layout), laid_out(normal(21, 35), b_layout)
    a_before, b_before = a.copy(), b.copy()
    for out_layout in LAYOUTS:
        out = laid_out(np.zeros((14, 35)), out_layout)
        assert K.matmul(a, b, out=out) is out
        close(out, a_before @ b_before, np.float64, 40)
    np.testing.assert_array_equal(a, a_before)
    np.testing.assert_array_equal(b, b_before)


@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [
        ((5,), (5,)),
        ((5,), (5, 3)),
        ((4, 5), (5,)),
        ((2, 4, 5), (5, 3)),
        ((2, 4, 5), (2, 5, 3)),
        ((3, 1, 4, 5), (2, 5, 3)),
        ((2, 4, 5), (5,)),
        ((5,), (2, 5, 3)),
        ((0, 5), (5, 3)),
        ((4, 0), (0, 3)),
        ((0, 4, 5), (5, 3)),
    ],
)
def test_vectors_stacks_and_empty_arrays_follow_numpy(a_shape, b_shape):
    a, b = normal(*a_shape), normal(*b_shape)
    expected = np.matmul(a, b)
    close(K.matmul(a, b), np.asarray(expected), np.float64, 20)
    out = np.ones(expected.shape)
    close(K.matmul(a, b, out=out), np.asarray(expected), np.float64, 20)


@pytest.mark.parametrize("step", [-1, -2, 2, -3, 3])
@pytest.mark.parametrize(
    "shape", [(1, 1, 70), (3, 5, 134), (2, 300, 530), (300, 40, 37), (2, 900, 700), (230, 900, 700)]
)
def test_steps_through_memory(isa, step, shape):
    m, n, k = shape
    a, b = (
        normal(m * 3, k * 3, dtype=np.float32)[::step, ::step],
        normal(k * 3, n * 3, dtype=np.float32)[::step, ::step],
    )
    a, b = a[:m, :k], b[:k, :n]
    expected = a.astype(np.float64) @ b.astype(np.float64)
    close(K.matmul(a, b), expected, np.float32, 4 * np.sqrt(k) + 4)
    close(K.matmul(b.T, a.T), expected.T, np.float32, 4 * np.sqrt(k) + 4)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 90), st.sampled_from(LAYOUTS), st.sampled_from(DTYPES))
def test_random_shapes(m, n, k, layout, dtype):
    a, b = laid_out(normal(m, k, dtype=dtype), layout), laid_out(normal(k, n, dtype=dtype), layout)
    close(K.matmul(a, b), a.astype(np.float64) @ b.astype(np.float64), dtype, 4 * np.sqrt(k) + 4)


def test_broadcast_inputs_are_read_where_they_lie():
    row = np.broadcast_to(normal(1, 6), (4, 6))
    close(K.matmul(row, normal(6, 3)), row @ normal(6, 3), np.float64, 20)


def test_interleaved_memory_is_no_overlap():
    memory = np.zeros((8, 16))
    a, out = memory[:, ::2], memory[:, 1::2]
    a[...] = normal(8, 8)
    expected = a @ a
    close(K.matmul(a, a, out=out), expected, np.float64, 20)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x_shape", [(3, 7), (7,), (2, 5, 7), (0, 7)])
def test_linear_and_its_gradients(isa, dtype, x_shape):
    x, w, b = normal(*x_shape, dtype=dtype), normal(4, 7, dtype=dtype), normal(4, dtype=dtype)
    expected = x.astype(np.float64) @ w.astype(np.float64).T
    close(K.linear(x, w), expected, dtype, 20)
    close(K.linear(x, w, b), expected + b, dtype, 20)
    grad = normal(*x_shape[:-1], 4, dtype=dtype)
    grad_x, grad_w, grad_b = K.linear_backward(grad, x, w)
    rows, x_rows = grad.reshape(-1, 4).astype(np.float64), x.reshape(-1, 7).astype(np.float64)
    close(grad_x, grad.astype(np.float64) @ w, dtype, 20)
    close(grad_w, rows.T @ x_rows, dtype, 20)
    close(grad_b, rows.sum(axis=0), dtype, 20)


def test_linear_takes_strided_bias():
    x, w, b = normal(3, 7), normal(4, 7), normal(8)[::2]
    close(K.linear(x, w, b), x @ w.T + b, np.float64, 20)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("x_shape", [(7,), (3, 7), (2, 5, 7), (2, 1, 3, 7), (2, 0, 7)])
def test_linear_and_its_gradients_take_any_layout(layout, x_shape):
    x, w, b = normal(*x_shape), normal(4, 7), normal(4)
    grad = normal(*x_shape[:-1], 4)
    out = laid_out(np.zeros(grad.shape), layout)
    x_there, w_there, grad_there = laid_out(x, layout), laid_out(w, layout), laid_out(grad, layout)
    assert K.linear(x_there, w_there, laid_out(b, layout), out=out) is out
    if x.ndim == 1:  # the order of additions depends on which way w lies
        close(out, K.linear(x, w, b), np.float64, 20)
    else:
        np.testing.assert_array_equal(out, K.linear(x, w, b))
    got, expected = K.linear_backward(grad_there, x_there, w_there), K.linear_backward(grad, x, w)
    for value, wanted in zip(got, expected, strict=True):
        close(value, wanted, np.float64, 20)
    np.testing.assert_array_equal(x_there, x)
