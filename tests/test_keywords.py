"""Calls of kernels by keyword: in any order, with arguments left out, with names that are wrong."""

import sys

import numpy as np
import pytest
from ranvier import kernels as K

rng = np.random.default_rng(0)
a, b = rng.standard_normal((5, 7)), rng.standard_normal((7, 3))


def results(*calls):
    """Return what the calls give, each into an array of its own."""
    return [call(np.zeros((5, 3))) for call in calls]


def test_any_order_is_the_same_call():
    first, *others = results(
        lambda c: K.matmul(a, b, c),
        lambda c: K.matmul(a, b, out=c),
        lambda c: K.matmul(a, out=c, b=b),
        lambda c: K.matmul(out=c, b=b, a=a),
        lambda c: K.matmul(a, b, **{"".join(["o", "ut"]): c}),  # a string that Python has not made one with others
    )
    assert np.any(first)
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_out_is_what_is_returned():
    c = np.zeros((5, 3))
    assert K.matmul(a, b, out=c) is c
    assert K.leaky_relu(a, out=a) is a


def test_arguments_between_may_be_left_out():
    out = np.zeros((5, 3))
    assert K.linear(a, b.T, out=out) is out
    np.testing.assert_array_equal(out, K.linear(a, b.T))
    np.testing.assert_array_equal(K.matmul(a, b, out=None), K.matmul(a, b))


def test_keyword_only_arguments_go_with_others():
    out = np.zeros_like(a)
    np.testing.assert_array_equal(K.softmax(a, out=out, axis=0), K.softmax(a, axis=0))
    np.testing.assert_array_equal(K.leaky_relu(negative_slope=0.5, x=a), K.leaky_relu(a, negative_slope=0.5))
    with pytest.raises(TypeError, match="incompatible function arguments"):
        K.softmax(a, None, 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: K.matmul(a, b, uot=None),
        lambda: K.matmul(a, b, a=a),
        lambda: K.matmul(a, out=None),
        lambda: K.matmul(b=b),
        lambda: K.matmul(a, b, None, out=None),
        lambda: K.matmul(a, b, None, None),
    ],
)
def test_wrong_calls_are_refused(call):
    with pytest.raises(TypeError, match=r"matmul\(\): incompatible function arguments"):
        call()


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"out: expected shape \(5, 3\)"):
        K.matmul(a, b=b, out=np.zeros((5, 4)))
    with pytest.raises(TypeError, match="out: expected an array"):
        K.relu(a, out=3)


def test_no_reference_is_kept():
    c = np.zeros((5, 3))
    before = sys.getrefcount(c), sys.getrefcount(b), sys.getrefcount(None)
    for _ in range(2000):
        K.matmul(a, b=b, out=c)
        K.linear(a, b.T, out=c)
    after = sys.getrefcount(c), sys.getrefcount(b), sys.getrefcount(None)
    assert after[:2] == before[:2]
    assert abs(after[2] - before[2]) < 1000
