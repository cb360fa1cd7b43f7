"""Every elementwise kernel, maxout and softmax where the operands lie in memory each in a way of its own.

What they give must not depend on it, to the bit; the slopes' gradient of `prelu`, a sum over all axes but one, alone
has its own order of additions for each layout.
"""

import itertools

import numpy as np
import pytest
from arrays import DTYPES, close
from ranvier import kernels as K
from ranvier import set_num_threads

# Around the boxes of 32 by 32 and of 1024 elements in which strided memory is read, and far from them.
SHAPES = [(1,), (17,), (1031,), (5, 3), (33, 65), (3, 1100), (1100, 3), (2, 6, 37, 5), (4, 34, 3, 7), (40, 2, 2, 2)]
SHAPES += [(150, 4), (70, 13)]  # lines that fit in a vector, if their elements do not lie too far apart


def places(shape, dtype):
    """Return arrays of zeros of this shape that lie in memory in many ways: transposed, turned, with gaps."""
    ndim = len(shape)
    for order in itertools.islice(itertools.permutations(range(ndim)), 0, None, 1 if ndim < 4 else 5):
        yield np.zeros([shape[axis] for axis in order], dtype).transpose(np.argsort(order))
    along_last = [[1] * (ndim - 1) + [step] for step in (-1, 3, -2, -3, 4)]
    for steps in (*along_last, [-1] * ndim, [2] * ndim, [-2] + [1] * (ndim - 1)):
        room = [(size - 1) * abs(step) + 1 for size, step in zip(shape, steps, strict=True)]
        yield np.zeros(room, dtype)[tuple(slice(None, None, step) for step in steps)]
    yield np.zeros([*shape[:-1], shape[-1] + 3], dtype)[..., 1:-2]


def put(array, place):
    place[...] = array
    return place


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def check(function, *arrays):
    """Assert that function(*arrays, out=...) has the same bits wherever the arrays and its result lie.

    It must not touch what lies between the result's elements.
    """
    dtype = arrays[0].dtype
    expected = np.ascontiguousarray(function(*arrays))
    ways = [list(places(array.shape, dtype)) for array in arrays]
    for i, out in enumerate(places(expected.shape, dtype)):
        for shift in (0, 1, 5):  # the operands lie alike, or not
            there = [
                put(array, way[(i + shift * (k + 1)) % len(way)])
                for k, (array, way) in enumerate(zip(arrays, ways, strict=True))
            ]
            out[...] = np.nan
            assert function(*there, out=out) is out
            strides = f"strides {[a.strides for a in [*there, out]]}"
            np.testing.assert_array_equal(out, expected, err_msg=strides)
            out[...] = 0
            assert out.base is None or not out.base.any(), f"written between the elements, {strides}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_elementwise(isa, shape, dtype):
    x, grad = normal(shape, dtype), normal(shape, dtype, 1)
    check(K.tanh, x)
    check(K.leaky_relu_backward, grad, x)
    check(K.heaviside_backward, grad, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_random(isa, shape, dtype):
    x, grad = normal(shape, dtype), normal(shape, dtype, 1)
    check(lambda x, **out: K.dropout(x, p=0.3, seed=5, **out), x)
    check(lambda x, **out: K.rrelu(x, training=True, seed=5, **out), x)
    check(lambda x, slopes, **out: K.rrelu(x, training=True, seed=5, slopes=slopes.copy("K"), **out), x, grad)
    check(K.rrelu_backward, grad, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_prelu(isa, shape, dtype):
    x, grad = normal(shape, dtype), normal(shape, dtype, 1)
    axis = min(1, len(shape) - 1)
    along = [size if d == axis else 1 for d, size in enumerate(shape)]
    terms = np.where(x > 0, 0, grad.astype(np.float64) * x)
    for slopes in (normal(shape[axis], dtype, 2), normal(1, dtype, 3)):
        shared = slopes.size == 1
        factor = np.where(x > 0, dtype(1), slopes if shared else slopes.reshape(along))
        np.testing.assert_array_equal(K.prelu(x, slopes), x * factor)
        check(lambda x, slopes=slopes, **out: K.prelu(x, slopes, **out), x)
        sums = terms.sum() if shared else terms.sum(axis=tuple(d for d in range(len(shape)) if d != axis))
        for there, where in zip(places(shape, dtype), reversed(list(places(shape, dtype))), strict=True):
            grad_x, grad_slopes = K.prelu_backward(put(grad, there), put(x, where), slopes)
            np.testing.assert_array_equal(grad_x, grad * factor)
            close(grad_slopes, np.broadcast_to(sums, slopes.shape), dtype, np.abs(terms).sum() + 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pieces", [1, 2, 3, 9, 300])
@pytest.mark.parametrize("shape", [(4,), (3, 5), (70, 40), (2, 3, 37), (2, 5, 7, 3), (3, 40, 2, 2)])
def test_maxout(isa, shape, pieces, dtype):
    axis = min(1, len(shape) - 1)
    wide = [*shape[:axis], shape[axis] * pieces, *shape[axis + 1 :]]
    x = np.round(4 * normal(wide, dtype)) / 4  # with equal numbers
    x.flat[:: x.size // 3 + 1] = np.nan
    grad = normal(shape, dtype, 1)
    groups = x.reshape([*shape[: axis + 1], pieces, *shape[axis + 1 :]])
    np.testing.assert_array_equal(K.maxout(x, pieces), groups.max(axis=axis + 1))
    best = np.expand_dims(groups.argmax(axis=axis + 1), axis + 1)
    grad_x = np.zeros_like(groups)
    np.put_along_axis(grad_x, best, np.expand_dims(grad, axis + 1), axis + 1)
    np.testing.assert_array_equal(K.maxout_backward(grad, x, pieces), grad_x.reshape(wide))
    if pieces < 300:
        check(lambda x, **out: K.maxout(x, pieces, **out), x)
        check(lambda grad, x, **out: K.maxout_backward(grad, x, pieces, **out), grad, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [*SHAPES, (9000, 3), (300, 40)])
def test_softmax(isa, shape, name, dtype):
    x, grad = 5 * normal(shape, dtype), normal(shape, dtype, 1)
    for axis in range(len(shape)):
        y = getattr(K, name)(x, axis=axis)
        check(lambda x, axis=axis, **out: getattr(K, name)(x, axis=axis, **out), x)
        check(lambda grad, y, axis=axis, **out: getattr(K, f"{name}_backward")(grad, y, axis=axis, **out), grad, y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 32, 33, 100, 1025])
def test_a_softmax_has_the_same_bits_alone(isa, size, dtype):
    x, grad = 5 * normal((70, size), dtype), normal((70, size), dtype, 1)
    y = K.softmax(x)
    expected = y, K.softmax_backward(grad, y), K.log_softmax(x), K.log_softmax_backward(grad, y)
    for i in (0, 1, 69):
        part = slice(i, i + 1)
        alone = K.softmax(x[i]), K.softmax_backward(grad[i], y[i]), K.log_softmax(x[i])
        for got, whole in zip((*alone, K.log_softmax_backward(grad[i], y[i])), expected, strict=True):
            np.testing.assert_array_equal(got, whole[i])
        np.testing.assert_array_equal(K.softmax(x.T[:, part], axis=0).T, y[part])


@pytest.mark.parametrize("transposed", [False, True])
def test_same_bits_at_any_thread_count(transposed):
    x, slopes = normal((300, 6, 70), np.float32), normal(6, np.float32)
    there = put(x, np.zeros((70, 6, 300), np.float32).T) if transposed else x

    def results():
        return [
            K.dropout(there, seed=1),
            K.rrelu(there, training=True, seed=1),
            K.prelu(there, slopes),
            *K.prelu_backward(there, x, slopes),
            K.maxout(there, 2),
            *(K.softmax(there, axis=axis) for axis in range(3)),
            *(K.softmax_backward(x, there, axis=axis) for axis in range(3)),
        ]

    set_num_threads(1)
    expected = results()
    for threads in (2, 3, 7):
        set_num_threads(threads)
        for got, alone in zip(results(), expected, strict=True):
            np.testing.assert_array_equal(got, alone)
