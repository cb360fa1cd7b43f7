"""Activations, dropout, maxout and softmax against float64 references."""

import math

import numpy as np
import pytest
from arrays import DTYPES, EPSILON, LAYOUTS, close, laid_out
from ranvier import kernels as K
from ranvier import set_num_threads

ERF = np.vectorize(math.erf, otypes=[np.float64])
ERFC = np.vectorize(math.erfc, otypes=[np.float64])


def logistic(x):
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def normal_cdf(x):
    return 0.5 * ERFC(-x / math.sqrt(2))


def density(x):
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


SELU = 1.0507009873554804934, 1.6732632423543772848  # scale and alpha
# name: (value, derivative, keyword arguments)
FUNCTIONS = {
    "heaviside": (lambda x: np.where(x > 0, 1.0, 0.0), lambda x: 0 * x, {}),
    "sigmoid": (logistic, lambda x: logistic(x) * logistic(-x), {}),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(np.clip(x, -350, 350)) ** 2, {}),
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0, {}),
    "relu6": (lambda x: np.clip(x, 0, 6), lambda x: ((x > 0) & (x < 6)) * 1.0, {}),
    "leaky_relu": (
        lambda x: np.where(x > 0, x, 0.2 * x),
        lambda x: np.where(x > 0, 1, 0.2),
        {"negative_slope": 0.2},
    ),
    "elu": (
        lambda x: np.where(x > 0, x, 1.5 * np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 1, 1.5 * np.exp(np.minimum(x, 0))),
        {"alpha": 1.5},
    ),
    "selu": (
        lambda x: SELU[0] * np.where(x > 0, x, SELU[1] * np.expm1(np.minimum(x, 0))),
        lambda x: SELU[0] * np.where(x > 0, 1, SELU[1] * np.exp(np.minimum(x, 0))),
        {},
    ),
    "softplus": (softplus, logistic, {}),
    "gelu": (lambda x: x * normal_cdf(x), lambda x: normal_cdf(x) + x * density(x), {}),
    "silu": (lambda x: x * logistic(x), lambda x: logistic(x) * (1 + x * logistic(-x)), {}),
    "mish": (
        lambda x: x * np.tanh(softplus(x)),
        lambda x: np.tanh(softplus(x)) + x * logistic(x) / np.cosh(np.minimum(softplus(x), 350)) ** 2,
        {},
    ),
    "hardswish": (
        lambda x: np.where(x > -3, x * np.clip(x + 3, 0, 6) / 6, 0),
        lambda x: np.where(np.abs(x) < 3, x / 3 + 0.5, x > 0),
        {},
    ),
}
SPECIALS = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 88.0, -88.0, 89.5, -104.0, 1e30, -1e30, 1e-7, -1e-7]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_is_within_a_few_roundings(isa, dtype, name):
    value, _, options = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal(2001) * scale for scale in (1e-3, 0.1, 1, 10, 60)]).astype(dtype)
    expected = value(x.astype(np.float64))
    got = getattr(K, name)(x, **options).astype(np.float64)
    # The tails of GELU below float32's smallest normal number are not asked for.
    normal = np.abs(expected) > np.finfo(dtype).tiny * 4
    error = np.abs(got - expected)[normal] / (np.abs(expected)[normal] * EPSILON[dtype])
    limit = np.full(x.shape, 6.0)[normal]  # in units of the last place
    if name == "gelu" and dtype == np.float64:
        limit += x[normal] ** 2  # what the rounding of x / sqrt(2) does to the reference's tail
    assert (error < limit).all(), f"{error.max()} at {x[normal][error.argmax()]}"
    assert np.abs(got - expected)[~normal].max(initial=0) <= np.finfo(dtype).tiny * 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradient_is_the_derivative(isa, dtype, name):
    _, derivative, options = FUNCTIONS[name]
    rng = np.random.default_rng(1)
    x, grad = (rng.standard_normal(999) * 3).astype(dtype), rng.standard_normal(999).astype(dtype)
    got = getattr(K, name + "_backward")(grad, x, **options)
    close(got, grad * derivative(x.astype(np.float64)), dtype, 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values_follow_ieee(isa, dtype, name):
    value, _, options = FUNCTIONS[name]
    x = np.array(SPECIALS * 3, dtype)
    with np.errstate(all="ignore"):
        expected = value(x.astype(np.float64))
    limits = {"elu": -1.5, "leaky_relu": -np.inf} | dict.fromkeys(["gelu", "silu", "mish"], 0.0)
    expected[x == -np.inf] = limits.get(name, expected[x == -np.inf][0])
    expected[np.isnan(x)] = np.nan
    got = getattr(K, name)(x, **options)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(got, expected.astype(dtype), rtol=40 * EPSILON[dtype], atol=1e-37)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (17,), (5, 7), (3, 1, 4), (2, 3, 4, 5), (600, 3)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_bits(name, shape, layout):
    _, _, options = FUNCTIONS[name]
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    function = getattr(K, name)
    expected = np.array([function(np.array([v]), **options)[0] for v in x.ravel()], np.float32).reshape(shape)
    there = laid_out(x, layout)
    np.testing.assert_array_equal(function(there, **options), expected)
    out = laid_out(np.zeros(shape, np.float32), layout)
    assert function(there, out=out, **options) is out
    np.testing.assert_array_equal(out, expected)
    assert function(there, out=there, **options) is there
    np.testing.assert_array_equal(there, expected)


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "mish"])
def test_same_bits_at_any_thread_count(name):
    x = np.random.default_rng(3).standard_normal((1000, 1003)).astype(np.float32)
    set_num_threads(1)
    expected = getattr(K, name)(x)
    for threads in (2, 3, 4, 7):
        set_num_threads(threads)
        np.testing.assert_array_equal(getattr(K, name)(x), expected)
        np.testing.assert_array_equal(getattr(K, name)(x.T), expected.T)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 10), (50, 7), (4, 33), (2, 5, 6), (3, 4, 5, 6), (7,), (0, 3)])
def test_softmax_along_every_axis(isa, dtype, shape):
    rng = np.random.default_rng(4)
    x, grad = (5 * rng.standard_normal(shape)).astype(dtype), rng.standard_normal(shape).astype(dtype)
    x64, g64 = x.astype(np.float64), grad.astype(np.float64)
    for axis in range(-len(shape), len(shape)):
        if x.size == 0:
            assert K.softmax(x, axis=axis).shape == K.log_softmax(x, axis=axis).shape == shape
            continue
        shifted = x64 - x64.max(axis=axis, keepdims=True)
        log_y = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
        y = np.exp(log_y)
        close(K.softmax(x, axis=axis), y, dtype, 4)
        close(K.log_softmax(x, axis=axis), log_y, dtype, 20)
        grad_x = K.softmax_backward(grad, y.astype(dtype), axis=axis)
        close(grad_x, y * (g64 - (g64 * y).sum(axis=axis, keepdims=True)), dtype, 10)
        grad_x = K.log_softmax_backward(grad, log_y.astype(dtype), axis=axis)
        close(grad_x, g64 - y * g64.sum(axis=axis, keepdims=True), dtype, 20)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(37, 41), (4, 33, 45), (3, 16, 18), (70, 2)])
@pytest.mark.parametrize("layouts", [("C", "F reversed"), ("F reversed", "C"), ("F reversed", "F"), ("reversed", "F")])
def test_layouts_that_cross(isa, dtype, shape, layouts):
    x, grad = (np.random.default_rng(seed).standard_normal(shape).astype(dtype) for seed in (3, 4))
    from_layout, to_layout = layouts
    for name, *inputs in (("silu", x), ("relu_backward", grad, x), ("softmax", x), ("softmax_backward", grad, x)):
        out = laid_out(np.zeros_like(x), to_layout)
        getattr(K, name)(*(laid_out(array, from_layout) for array in inputs), out=out)
        np.testing.assert_array_equal(out, getattr(K, name)(*inputs))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_softmax_takes_any_layout(layout):
    x = np.random.default_rng(5).standard_normal((6, 9))
    there, out = laid_out(x, layout), laid_out(np.zeros((6, 9)), layout)
    for axis in (0, 1):
        close(K.softmax(there, axis=axis, out=out), K.softmax(x, axis=axis), np.float64, 2)
    assert K.softmax(there, out=there) is there


def test_softmax_keeps_its_limits(isa):
    x = np.array([[1000, 0, -1000], [-np.inf, 0, 0], [np.nan, 0, 0], [-np.inf] * 3], np.float32)
    y = K.softmax(x)
    np.testing.assert_array_equal(y[0], [1, 0, 0])
    np.testing.assert_array_equal(y[1], [0, 0.5, 0.5])
    assert np.isnan(y[2]).all()
    assert np.isnan(y[3]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu_does_not_depend_on_its_neighbours(isa, dtype):
    """Numbers near zero and far from it take different ways through one vector."""
    near = np.random.default_rng(8).uniform(-4, 4, 64).astype(dtype)
    mixed = near.copy()
    mixed[::3] = [30, -5, np.nan, np.inf, -13, 4.001, -4.001, 1e30, -np.inf, 6, -7] * 2
    kept = np.arange(64) % 3 != 0
    ones = np.ones_like(near)
    np.testing.assert_array_equal(K.gelu(mixed)[kept], K.gelu(near)[kept])
    np.testing.assert_array_equal(K.gelu_backward(ones, mixed)[kept], K.gelu_backward(ones, near)[kept])


@pytest.mark.parametrize("function", [K.relu, K.gelu, K.softmax])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_new_arrays_have_their_axes_in_the_order_of_the_input(function, axes):
    x = np.random.default_rng(9).standard_normal((5, 6, 7)).transpose(axes)
    assert function(x).strides == x.strides
    assert function(x[::2, :, ::-1]).transpose(np.argsort(axes)).flags.c_contiguous


def test_softmax_rows_do_not_depend_on_each_other():
    x = np.random.default_rng(6).standard_normal((70, 13)).astype(np.float32)
    whole = K.softmax(x)
    for i in range(70):
        np.testing.assert_array_equal(K.softmax(x[i : i + 1])[0], whole[i])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "slopes"), [((4, 3), 3), ((4, 3), 1), ((2, 3, 5), 3), ((2, 3, 4, 5), 3), ((7,), 1)])
def test_prelu(isa, dtype, shape, slopes):
    rng = np.random.default_rng(7)
    x, grad = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)
    weight = rng.standard_normal(slopes).astype(dtype)
    axis = 1 if len(shape) > 1 else 0
    broad = weight.reshape([slopes if d == axis else 1 for d in range(len(shape))]).astype(np.float64)
    close(K.prelu(x, weight), np.where(x > 0, x, broad * x), dtype, 4)
    grad_x, grad_weight = K.prelu_backward(grad, x, weight)
    close(grad_x, np.where(x > 0, grad, broad * grad), dtype, 4)
    parts = np.where(x > 0, 0, grad.astype(np.float64) * x)
    sums = parts.sum(axis=tuple(d for d in range(len(shape)) if d != axis)) if slopes > 1 else parts.sum().reshape(1)
    close(grad_weight, sums, dtype, 20)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "pieces"), [((3, 8), 2), ((2, 6, 5), 3), ((2, 4, 3, 3), 4), ((9,), 3)])
def test_maxout(isa, dtype, shape, pieces):
    rng = np.random.default_rng(8)
    x = np.round(3 * rng.standard_normal(shape)).astype(dtype)
    axis = 1 if len(shape) > 1 else 0
    split = x.reshape(*shape[:axis], shape[axis] // pieces, pieces, *shape[axis + 1 :])
    y = K.maxout(x, pieces)
    np.testing.assert_array_equal(y, split.max(axis=axis + 1))
    grad = rng.standard_normal(y.shape).astype(dtype)
    expected = np.zeros_like(split)
    first = np.expand_dims(split.argmax(axis=axis + 1), axis + 1)
    np.put_along_axis(expected, first, np.expand_dims(grad, axis + 1), axis + 1)
    np.testing.assert_array_equal(K.maxout_backward(grad, x, pieces), expected.reshape(shape))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_keeps_its_rate_and_its_mask(isa, dtype):
    x = np.ones(100_003, dtype)
    y = K.dropout(x, p=0.3, seed=5)
    assert set(np.unique(y)) == {0, dtype(1 / 0.7)}
    assert abs((y == 0).mean() - 0.3) < 0.01
    set_num_threads(3)
    np.testing.assert_array_equal(K.dropout(x, p=0.3, seed=5), y)
    np.testing.assert_array_equal(K.dropout_backward(x, p=0.3, seed=5), y)
    np.testing.assert_array_equal(K.dropout(x[:17], p=0.3, seed=5), y[:17])
    assert abs((K.dropout(x, p=0.3, seed=6) != y).mean() - 2 * 0.3 * 0.7) < 0.01
    np.testing.assert_array_equal(K.dropout(x, p=0, seed=5), x)


def test_every_instruction_set_draws_the_same_numbers(isa):
    kept = np.flatnonzero(K.dropout(np.ones(40, np.float32), p=0.5, seed=0))
    assert kept.tolist() == EXPECTED_KEPT


# From the reference vectors of Philox4x32-10: block 0 of key 0 is 6627e8d5 e169c58d bc57ac4c 9b00dbd8.
EXPECTED_KEPT = None


def philox(block):
    """Return the four words of a block for key 0, in plain integers."""
    c, k0, k1, low = [block, 0, 0, 0], 0, 0, 0xFFFFFFFF
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k0, p1 & low, (p0 >> 32) ^ c[3] ^ k1, p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & low, (k1 + 0xBB67AE85) & low
    return c


assert [f"{word:08x}" for word in philox(0)] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]
EXPECTED_KEPT = [4 * block + i for block in range(10) for i in range(4) if philox(block)[i] >= 2**31]


def test_rrelu(isa):
    x = np.full(50_000, -1.0)
    slopes = -K.rrelu(x, lower=0.1, upper=0.5, training=True, seed=3)
    assert slopes.min() >= 0.1
    assert slopes.max() < 0.5
    assert abs(slopes.mean() - 0.3) < 0.005
    drawn = np.empty_like(x)
    np.testing.assert_array_equal(K.rrelu(x, lower=0.1, upper=0.5, training=True, seed=3, slopes=drawn), -slopes)
    np.testing.assert_array_equal(drawn, slopes)
    np.testing.assert_array_equal(K.rrelu_backward(2 * x, drawn), -2 * slopes)
    np.testing.assert_allclose(K.rrelu(x, lower=0.1, upper=0.5), -0.3)
    np.testing.assert_allclose(K.rrelu(x, lower=0.1, upper=0.5, slopes=drawn), -0.3)
    np.testing.assert_allclose(drawn, 0.3)
    np.testing.assert_array_equal(K.rrelu(-x, lower=0.1, upper=0.5, training=True, slopes=drawn), -x)
    np.testing.assert_array_equal(drawn, 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_slopes_of_rrelu_are_halves_of_the_words_of_philox(isa, dtype):
    halves = [word >> shift & 0xFFFF for block in range(9) for word in philox(block) for shift in (0, 16)]
    slopes = -K.rrelu(np.full(67, -1, dtype), lower=0, upper=1, training=True, seed=0)
    np.testing.assert_allclose(slopes, (np.array(halves[:67]) + 0.5) / 65536, rtol=1e-6)


@pytest.mark.parametrize("cols", [1, 5, 10, 16, 32, 33, 100])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_a_row_of_softmax_does_not_depend_on_its_batch(isa, name, cols):
    x = np.random.default_rng(3).standard_normal((37, cols)).astype(np.float32)
    whole = getattr(K, name)(x)
    for i in (0, 1, 20, 36):
        np.testing.assert_array_equal(getattr(K, name)(x[i : i + 1])[0], whole[i])
    np.testing.assert_array_equal(getattr(K, name)(x[5:30]), whole[5:30])
