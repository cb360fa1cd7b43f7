"""Every bad call of a kernel raises the right error, names the argument, and changes nothing."""

import numpy as np
import pytest
from ranvier import kernels as K

F32, F64 = np.float32, np.float64


def ones(*shape, dtype=F64):
    return np.ones(shape, dtype)


def read_only(array):
    array.flags.writeable = False
    return array


BAD_VALUES = {
    "a": [
        lambda: K.matmul(ones(3, 4), ones(5, 2)),
        lambda: K.matmul(ones(), ones(5)),
        lambda: K.matmul(ones(2, 3, 4), ones(3, 4, 5)),
    ],
    "x": [
        lambda: K.linear(ones(2, 3), ones(5, 4)),
        lambda: K.conv2d(ones(3, 8, 8), ones(4, 3, 3, 3)),
        lambda: K.max_pool2d(ones(8, 8), 2),
        lambda: K.max_pool2d(ones(1, 1, 0, 4), 2, padding=1),
        lambda: K.relu_backward(ones(3), ones(4)),
    ],
    "weight": [
        lambda: K.linear(ones(2, 3), ones(3)),
        lambda: K.conv2d(ones(1, 3, 8, 8), ones(4, 2, 3, 3)),
        lambda: K.conv2d(ones(1, 3, 8, 8), ones(4, 3, 3)),
        lambda: K.prelu(ones(2, 3), ones(2)),
        lambda: K.prelu(ones(2, 3), ones(3, 1)),
    ],
    "bias": [
        lambda: K.linear(ones(2, 3), ones(5, 3), ones(4)),
        lambda: K.conv2d(ones(1, 3, 8, 8), ones(4, 3, 3, 3), ones(3)),
    ],
    "grad": [
        lambda: K.conv2d_backward(ones(1, 4, 8, 8), ones(1, 3, 8, 8), ones(4, 3, 3, 3)),
        lambda: K.avg_pool2d_backward(ones(1, 1, 3, 3), (1, 1, 8, 8), 2),
        lambda: K.linear_backward(ones(2, 4), ones(2, 3), ones(5, 3)),
    ],
    "kernel_size": [
        lambda: K.conv2d(ones(1, 3, 4, 4), ones(4, 3, 7, 7), padding=1),
        lambda: K.conv2d(ones(1, 3, 4, 4), ones(4, 3, 3, 3), dilation=4),
        lambda: K.conv2d(ones(1, 3, 4, 4), ones(4, 3, 0, 3)),
        lambda: K.max_pool2d(ones(1, 1, 4, 4), 5),
        lambda: K.avg_pool2d(ones(1, 1, 4, 4), 0),
        lambda: K.max_pool2d(ones(1, 1, 4, 4), (2, 2, 2)),
    ],
    "stride": [
        lambda: K.conv2d(ones(1, 3, 8, 8), ones(4, 3, 3, 3), stride=0),
        lambda: K.conv2d(ones(1, 3, 8, 8), ones(4, 3, 3, 3), stride=(1, -1)),
        lambda: K.conv2d(ones(1, 3, 8, 8), ones(4, 3, 3, 3), stride=2**70),
        lambda: K.max_pool2d(ones(1, 1, 4, 4), 2, stride=0),
    ],
    "padding": [
        lambda: K.conv2d(ones(1, 3, 8, 8), ones(4, 3, 3, 3), padding=-1),
        lambda: K.conv2d(ones(1, 3, 8, 8), ones(4, 3, 3, 3), padding=2**62),
        lambda: K.max_pool2d(ones(1, 1, 4, 4), 2, padding=2),
    ],
    "dilation": [lambda: K.conv2d(ones(1, 3, 8, 8), ones(4, 3, 3, 3), dilation=0)],
    "groups": [
        lambda: K.conv2d(ones(1, 3, 8, 8), ones(4, 3, 3, 3), groups=2),
        lambda: K.conv2d(ones(1, 4, 8, 8), ones(3, 2, 3, 3), groups=2),
        lambda: K.conv2d(ones(1, 3, 8, 8), ones(4, 3, 3, 3), groups=0),
    ],
    "indices": [lambda: K.max_pool2d_backward(ones(1, 1, 2, 2), np.full((1, 1, 2, 2), 16, np.int32), (1, 1, 4, 4))],
    "input_shape": [
        lambda: K.max_pool2d_backward(ones(1, 1, 2, 2), np.zeros((1, 1, 2, 2), np.int32), (1, 2, 4, 4)),
        lambda: K.max_pool2d_backward(ones(1, 1, 2, 2), np.zeros((1, 1, 2, 2), np.int32), (4, 4)),
        lambda: K.max_pool2d_backward(ones(1, 1, 2, 2), np.zeros((1, 1, 2, 2), np.int32), (1, 1, -4, 4)),
        lambda: K.avg_pool2d_backward(ones(1, 1, 2, 2), (1, 1, 2**62, 4), 2),
    ],
    "axis": [lambda: K.softmax(ones(2, 3), axis=2), lambda: K.log_softmax(ones(), axis=0)],
    "p": [
        lambda: K.dropout(ones(3), p=1.0),
        lambda: K.dropout(ones(3), p=-0.1),
        lambda: K.dropout(ones(3), p=np.nan),
    ],
    "seed": [lambda: K.dropout(ones(3), seed=-1), lambda: K.rrelu(ones(3), seed=2**64)],
    "lower": [lambda: K.rrelu(ones(3), lower=0.5, upper=0.1)],
    "slopes": [
        lambda: K.rrelu(ones(3), slopes=ones(4)),
        lambda: K.rrelu(X, slopes=X),
        lambda: K.rrelu_backward(ones(3), ones(2)),
    ],
    "pieces": [lambda: K.maxout(ones(2, 5), 2), lambda: K.maxout(ones(2, 4), 0)],
}


@pytest.mark.parametrize(("name", "call"), [(name, call) for name, calls in BAD_VALUES.items() for call in calls])
def test_value_errors_name_the_argument(name, call):
    expected = "b" if name == "a" and "a:" not in _message(call) else name
    assert _message(call).startswith(f"{expected}:")


def _message(call):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("a", lambda: K.matmul(np.ones((2, 2), int), ones(2, 2))),
        ("a", lambda: K.matmul([[1.0]], ones(1, 1))),
        ("a", lambda: K.matmul(np.ones((2, 2), np.float16), ones(2, 2))),
        ("a", lambda: K.matmul(np.ones((2, 2), ">f8"), ones(2, 2))),
        ("a", lambda: K.matmul(np.ones((2, 2), complex), ones(2, 2))),
        ("b", lambda: K.matmul(ones(2, 2), ones(2, 2, dtype=F32))),
        ("b", lambda: K.matmul(ones(2, 2), None)),
        ("out", lambda: K.matmul(ones(2, 2), ones(2, 2), out=ones(2, 2, dtype=F32))),
        ("out", lambda: K.relu(ones(2, 2), out=np.ones((2, 2), int))),
        ("x", lambda: K.relu(np.arange(3))),
        ("weight", lambda: K.conv2d(ones(1, 1, 4, 4), ones(1, 1, 2, 2, dtype=F32))),
        ("stride", lambda: K.conv2d(ones(1, 1, 4, 4), ones(1, 1, 2, 2), stride=1.5)),
        ("padding", lambda: K.conv2d(ones(1, 1, 4, 4), ones(1, 1, 2, 2), padding=True)),
        ("stride", lambda: K.max_pool2d(ones(1, 1, 4, 4), 2, stride=np.array([1, 2]))),
        ("groups", lambda: K.conv2d(ones(1, 1, 4, 4), ones(1, 1, 2, 2), groups=1.5)),
        ("input_shape", lambda: K.avg_pool2d_backward(ones(1, 1, 2, 2), 4, 2)),
        ("pieces", lambda: K.maxout(ones(2, 4), 2.0)),
        ("axis", lambda: K.softmax(ones(2, 4), axis=None)),
        ("seed", lambda: K.dropout(ones(3), seed=0.5)),
        ("p", lambda: K.dropout(ones(3), p="half")),
        ("negative_slope", lambda: K.leaky_relu(ones(3), negative_slope=None)),
        (
            "indices",
            lambda: K.max_pool2d_backward(ones(1, 1, 2, 2), np.zeros((1, 1, 2, 2), np.int64), (1, 1, 4, 4)),
        ),
    ],
)
def test_type_errors_name_the_argument(name, call):
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value).startswith(f"{name}:")


# Each takes `out` of shape (4, 4) for inputs whose memory `inputs` lists.
X, W = ones(4, 4), ones(4, 4)
IMAGE, FILTER = ones(1, 1, 5, 5), ones(1, 1, 2, 2)
CALLS = {
    "matmul": (lambda out: K.matmul(X, W, out=out), (4, 4), [X, W]),
    "linear": (lambda out: K.linear(X, W, ones(4), out=out), (4, 4), [X, W]),
    "conv2d": (lambda out: K.conv2d(IMAGE, FILTER, out=out), (1, 1, 4, 4), [IMAGE]),
    "tanh": (lambda out: K.tanh(X, out=out), (4, 4), [X]),
    "tanh_backward": (lambda out: K.tanh_backward(X, W, out=out), (4, 4), [X, W]),
    "softmax": (lambda out: K.softmax(X, out=out), (4, 4), [X]),
    "dropout": (lambda out: K.dropout(X, out=out), (4, 4), [X]),
    "prelu": (lambda out: K.prelu(X, ones(1), out=out), (4, 4), [X]),
    "maxout": (lambda out: K.maxout(ones(4, 8), 2, out=out), (4, 4), []),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_unfit_out_is_refused_and_untouched(name):
    call, shape, inputs = CALLS[name]
    wrong_size = np.full((*shape[:-1], 5), 7.0)
    bad = [
        (wrong_size, ValueError),
        (np.full(shape, 7.0, F32), TypeError),
        (read_only(np.full(shape, 7.0)), ValueError),
    ]
    bad.append((np.broadcast_to(np.full((1,) * len(shape), 7.0), shape), ValueError))
    for out, error in bad:
        before = out.copy()
        with pytest.raises(error, match=r"^out:"):
            call(out)
        np.testing.assert_array_equal(out, before)
    for array in inputs:
        room = np.concatenate([array.ravel(), array.ravel()])
        assert room.size  # the overlap is with the input itself, shifted
        before = array.copy()
        shifted = array.reshape(-1)[: int(np.prod(shape))].reshape(shape)
        overlapping = shifted[::-1] if len(shape) == 2 else shifted
        with pytest.raises(ValueError, match=r"^out: overlaps"):
            call(overlapping)
        np.testing.assert_array_equal(array, before)


def test_unaligned_memory_is_refused():
    memory = np.zeros(33, np.uint8)
    with pytest.raises(ValueError, match=r"^x: .*unaligned"):
        K.relu(memory[1:].view(F64))
    packed = np.zeros(4, [("flag", "u1"), ("value", "f4")])["value"]
    with pytest.raises(ValueError, match=r"^x: .*unaligned"):
        K.relu(packed)


@pytest.mark.parametrize("strides", [(0, 8), (8, 8), (16, 8), (-8, 8)])
def test_out_whose_elements_share_memory_is_refused(strides):
    memory = np.zeros(40)
    out = np.lib.stride_tricks.as_strided(memory[8:], (2, 4), strides)
    with pytest.raises(ValueError, match=r"^out: .*overlap each other"):
        K.relu(ones(2, 4), out=out)
    assert not memory.any()
