"""Every kernel gives the same bits at any number of threads, on arrays large enough to be shared out."""

import numpy as np
import pytest
from ranvier import kernels as K
from ranvier import set_num_threads

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((6, 16, 41, 37)).astype(np.float32)
ROWS = RNG.standard_normal((600, 500)).astype(np.float32)
WEIGHT = RNG.standard_normal((300, 500)).astype(np.float32)
KERNEL = RNG.standard_normal((24, 16, 3, 3)).astype(np.float32)
STRIDED = RNG.standard_normal((600, 1000)).astype(np.float32)[:, ::2]
SLOPES = RNG.random(16).astype(np.float32)
SEEDED = dict(seed=3)


def gradient(y, seed=1):
    return np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype)


def pooled(**options):
    return K.max_pool2d(IMAGES, 3, stride=2, **options)


# name: the call. Functions of one array and no options are added below.
CALLS = {
    "matmul": lambda: K.matmul(ROWS, WEIGHT.T),
    "linear": lambda: K.linear(ROWS, WEIGHT, WEIGHT[:, 0].copy()),
    "linear_backward": lambda: K.linear_backward(ROWS[:, :300], ROWS, WEIGHT),
    "conv2d": lambda: K.conv2d(IMAGES, KERNEL, padding=1),
    "conv2d_backward": lambda: K.conv2d_backward(gradient(K.conv2d(IMAGES, KERNEL)), IMAGES, KERNEL),
    "max_pool2d": pooled,
    "max_pool2d_backward": lambda: K.max_pool2d_backward(gradient(pooled()[0]), pooled()[1], IMAGES.shape),
    "avg_pool2d": lambda: K.avg_pool2d(IMAGES, 2, padding=1),
    "avg_pool2d_backward": lambda: K.avg_pool2d_backward(gradient(K.avg_pool2d(IMAGES, 2)), IMAGES.shape, 2),
    "prelu": lambda: K.prelu(IMAGES, SLOPES),
    "prelu_backward": lambda: K.prelu_backward(gradient(IMAGES), IMAGES, SLOPES),
    "rrelu": lambda: K.rrelu(IMAGES, training=True, **SEEDED),
    "rrelu_backward": lambda: K.rrelu_backward(gradient(IMAGES), IMAGES),
    "dropout": lambda: K.dropout(IMAGES, p=0.3, **SEEDED),
    "dropout_backward": lambda: K.dropout_backward(IMAGES, p=0.3, **SEEDED),
    "maxout": lambda: K.maxout(IMAGES, 4),
    "maxout_backward": lambda: K.maxout_backward(gradient(K.maxout(IMAGES, 4)), IMAGES, 4),
    "softmax_backward": lambda: K.softmax_backward(gradient(ROWS), K.softmax(ROWS)),
    "log_softmax_backward": lambda: K.log_softmax_backward(gradient(ROWS), K.log_softmax(ROWS)),
}


def call(name):
    if name in CALLS:
        results = [CALLS[name]()]
    elif name.endswith("_backward"):
        function = getattr(K, name)
        results = [function(gradient(x), x) for x in (ROWS, STRIDED)]
    else:
        function = getattr(K, name)
        results = [function(x) for x in (ROWS, STRIDED)]
    return [array for result in results for array in (result if isinstance(result, tuple) else (result,))]


@pytest.mark.parametrize("name", K.__all__)
def test_same_bits_at_any_thread_count(isa, name):
    set_num_threads(1)
    expected = call(name)
    for threads in (2, 3, 4, 7):
        set_num_threads(threads)
        for got, wanted in zip(call(name), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
