"""Kernels on arrays of random shapes that lie in memory in random ways, against NumPy in float64."""

import numpy as np
from ranvier import kernels as K

EPSILON = {np.dtype(np.float32): 1.2e-7, np.dtype(np.float64): 2.3e-16}
SIZES = (0, 1, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100, 129)


def case(seed):
    """Run one kernel, and see that it reads and writes what it should, and nothing else."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(rng.choice([np.float32, np.float64]))
    KERNELS[rng.integers(len(KERNELS))](rng, dtype)


class Memory:
    """A view of random strides into a room of its own, which is watched."""

    def __init__(self, rng, shape, dtype):
        order = rng.permutation(len(shape))
        steps = [int(rng.choice([1, 1, 1, 2, -1, -2])) for _ in shape]
        gaps = [int(rng.choice([0, 0, 1, 3])) for _ in shape]
        room = [size * abs(step) + gap for size, step, gap in zip(shape, steps, gaps, strict=True)]
        values = np.asarray(rng.standard_normal([room[axis] for axis in order])) * 10.0 ** rng.integers(-2, 3)
        values = np.where(rng.random(values.shape) < 0.05, 0, values)
        self.room = np.asarray(values, dtype)
        view = self.room.transpose(np.argsort(order))
        for axis, (size, step) in enumerate(zip(shape, steps, strict=True)):
            part = slice(None, size * step, step) if step > 0 else slice(size * -step, None, step)
            cut = np.moveaxis(view, axis, 0)
            cut = cut[:size] if size == 0 else cut[part][:size]
            view = np.moveaxis(cut, 0, axis)
        assert view.shape == tuple(shape)
        self.view = view
        self.before = self.room.copy()

    def is_untouched(self):
        return np.array_equal(self.room, self.before)

    def is_untouched_beside(self):
        """Whether nothing but the view has changed."""
        now, kept = self.room.copy(), self.view.copy()
        self.view[...] = 0
        beside = self.room.copy()
        self.room[...] = self.before
        self.view[...] = 0
        right = np.array_equal(beside, self.room)
        self.room[...] = now
        return right and np.array_equal(self.view, kept)


def sizes(rng, count, most=10**9):
    return [int(min(size, most)) for size in rng.choice(SIZES, count)]


def compared(got, expected, scale, what):
    assert got.shape == expected.shape, (what, got.shape, expected.shape)
    error = np.abs(got.astype(np.float64) - expected)
    bound = 16 * EPSILON[got.dtype] * (scale + np.abs(expected)) + np.finfo(got.dtype).tiny
    assert (error <= bound).all(), (what, got.shape, got.dtype, float((error / bound).max()))


def checked(rng, what, call, inputs, expected, scale, with_out=True):
    """Call with and without `out`, with one that is wrong, and compare."""
    result = call(*[memory.view for memory in inputs])
    compared(result, expected, scale, what)
    assert all(memory.is_untouched() for memory in inputs), what
    if not with_out:
        return
    out = Memory(rng, expected.shape, result.dtype)
    assert call(*[memory.view for memory in inputs], out=out.view) is out.view
    compared(out.view, expected, scale, (what, "out"))
    assert out.is_untouched_beside(), (what, "beside out")
    assert all(memory.is_untouched() for memory in inputs), (what, "inputs, with out")
    refuse(rng, what, call, inputs, expected, scale, result)


def refuse(rng, what, call, inputs, expected, scale, result):
    """An `out` that overlaps an input gives the right result or is refused; so is one that is not aligned."""
    source = inputs[0]
    if source.view.shape == expected.shape and source.view.size and source.view.dtype == result.dtype:
        out = source.view[::-1] if source.view.ndim and rng.random() < 0.5 else source.view
        try:
            call(*[memory.view for memory in inputs], out=out)
            compared(out, expected, scale, (what, "in place"))
        except ValueError as error:
            assert "overlap" in str(error), (what, error)  # noqa: PT017
            assert source.is_untouched(), (what, "refused")
        source.room[...] = source.before
    if result.size:
        memory = np.zeros(result.nbytes + 1, np.uint8)
        out = memory[1:].view(result.dtype).reshape(expected.shape)
        try:
            call(*[memory.view for memory in inputs], out=out)
            raise AssertionError((what, "unaligned"))
        except ValueError:
            assert not memory.any(), (what, "unaligned")


def matmul(rng, dtype):
    m, k, n = sizes(rng, 3)
    a, b = Memory(rng, (m, k), dtype), Memory(rng, (k, n), dtype)
    wide_a, wide_b = a.view.astype(np.float64), b.view.astype(np.float64)
    scale = np.abs(wide_a) @ np.abs(wide_b) * max(1, np.sqrt(k))
    checked(rng, "matmul", K.matmul, [a, b], wide_a @ wide_b, scale)


def linear(rng, dtype):
    n, inputs, outputs = sizes(rng, 3)
    x, w, b = Memory(rng, (n, inputs), dtype), Memory(rng, (outputs, inputs), dtype), Memory(rng, (outputs,), dtype)
    wide_x, wide_w, wide_b = (memory.view.astype(np.float64) for memory in (x, w, b))
    scale = (np.abs(wide_x) @ np.abs(wide_w).T + np.abs(wide_b)) * max(1, np.sqrt(inputs))
    checked(rng, "linear", K.linear, [x, w, b], wide_x @ wide_w.T + wide_b, scale)


def linear_backward(rng, dtype):
    n, inputs, outputs = sizes(rng, 3)
    grad, x, w = (Memory(rng, s, dtype) for s in ((n, outputs), (n, inputs), (outputs, inputs)))
    results = K.linear_backward(grad.view, x.view, w.view)
    g, a, v = (memory.view.astype(np.float64) for memory in (grad, x, w))
    expected = g @ v, g.T @ a, g.sum(axis=0)
    scales = np.abs(g) @ np.abs(v), np.abs(g).T @ np.abs(a), np.abs(g).sum(axis=0)
    for result, right, scale in zip(results, expected, scales, strict=True):
        compared(result, right, scale * max(1, np.sqrt(max(n, outputs))), "linear_backward")
    assert grad.is_untouched()
    assert x.is_untouched()
    assert w.is_untouched()


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 0.5 * (1 + np.tanh(x / 2)),
    "softplus": lambda x: np.logaddexp(0, x),
    "heaviside": lambda x: (x > 0).astype(np.float64),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "relu6": lambda x: np.clip(x, 0, 6),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "silu": lambda x: x * 0.5 * (1 + np.tanh(x / 2)),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}


def activation(rng, dtype):
    name = str(rng.choice(list(ACTIVATIONS)))
    x = Memory(rng, sizes(rng, rng.integers(0, 5), 17), dtype)
    expected = ACTIVATIONS[name](x.view.astype(np.float64))
    checked(rng, name, getattr(K, name), [x], expected, 1.0)


def softmax(rng, dtype):
    shape = sizes(rng, rng.integers(1, 4), 33)
    axis = int(rng.integers(-len(shape), len(shape)))
    x = Memory(rng, shape, dtype)
    wide = x.view.astype(np.float64)
    if wide.size == 0:
        expected = wide
    else:
        powers = np.exp(wide - wide.max(axis=axis, keepdims=True))
        expected = powers / powers.sum(axis=axis, keepdims=True)
    largest = np.abs(wide).max(initial=1)
    checked(rng, "softmax", lambda x, **k: K.softmax(x, axis=axis, **k), [x], expected, largest)


def conv2d(rng, dtype):
    groups = int(rng.choice([1, 1, 2, 3]))
    n, inputs, outputs = sizes(rng, 3, 4)
    if rng.random() < 0.2:
        inputs, outputs = sizes(rng, 2, 33)
    inputs, outputs = inputs * groups, outputs * groups
    height, width = sizes(rng, 2, 17)
    kernel = [int(size) for size in rng.integers(1, 5, 2)]
    options = {
        name: tuple(int(number) for number in rng.integers(least, most, 2))
        for name, least, most in (("stride", 1, 4), ("padding", 0, 4), ("dilation", 1, 3))
    }
    x, w = Memory(rng, (n, inputs, height, width), dtype), Memory(rng, (outputs, inputs // groups, *kernel), dtype)
    b = Memory(rng, (outputs,), dtype)

    def call(x, w, b, **more):
        return K.conv2d(x, w, b, groups=groups, **options, **more)

    try:
        expected, scale = convolved(x.view, w.view, b.view, groups, **options)
    except ValueError:
        try:
            call(x.view, w.view, b.view)
            raise AssertionError("conv2d: expected an error")
        except ValueError:
            return
    checked(rng, "conv2d", call, [x, w, b], expected, scale)


def convolved(x, w, b, groups, stride, padding, dilation):
    """The convolution tap by tap, and the sums of magnitudes; ValueError if there is no place for a window."""
    x, w, b = (array.astype(np.float64) for array in (x, w, b))
    padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    extent = [(size - 1) * gap + 1 for size, gap in zip(w.shape[2:], dilation, strict=True)]
    places = [(padded.shape[2 + i] - extent[i]) // stride[i] + 1 for i in range(2)]
    if min(places) < 1:
        raise ValueError
    result = np.zeros((len(x), len(w), *places))
    scale = np.zeros_like(result)
    per_in, per_out = x.shape[1] // groups, len(w) // groups
    for group in range(groups):
        rows = slice(group * per_out, (group + 1) * per_out)
        for i in range(w.shape[2]):
            for j in range(w.shape[3]):
                top, left = i * dilation[0], j * dilation[1]
                part = padded[
                    :,
                    group * per_in : (group + 1) * per_in,
                    top : top + (places[0] - 1) * stride[0] + 1 : stride[0],
                    left : left + (places[1] - 1) * stride[1] + 1 : stride[1],
                ]
                taps = w[rows, :, i, j]
                result[:, rows] += np.einsum("ncij,oc->noij", part, taps)
                scale[:, rows] += np.einsum("ncij,oc->noij", np.abs(part), np.abs(taps))
    return result + b[:, None, None], 20 * (scale + np.abs(b)[:, None, None])


def pool2d(rng, dtype):
    n, channels = sizes(rng, 2, 5)
    height, width = sizes(rng, 2, 33)
    kernel = tuple(int(size) for size in rng.integers(1, 5, 2))
    stride = tuple(int(step) for step in rng.integers(1, 4, 2))
    padding = tuple(int(rng.integers(0, size // 2 + 1)) for size in kernel)
    x = Memory(rng, (n, channels, height, width), dtype)
    wide = x.view.astype(np.float64)
    places = [(size + 2 * pad - window) // step + 1 for size, pad, window, step in
              zip((height, width), padding, kernel, stride, strict=True)]  # fmt: skip
    maximum = rng.random() < 0.5
    function = K.max_pool2d if maximum else K.avg_pool2d
    try:
        result = function(x.view, kernel, stride=stride, padding=padding)
    except ValueError:
        assert min(places) < 1 or min(height, width) < 1, ("pool2d", x.view.shape, kernel, stride, padding)
        return
    result = result[0] if maximum else result
    spread = ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)
    padded = np.pad(wide, spread, constant_values=-np.inf if maximum else 0.0)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, (2, 3))[:, :, :: stride[0], :: stride[1]]
    expected = windows.max((4, 5)) if maximum else windows.mean((4, 5))
    compared(result, expected, np.abs(wide).max(initial=0), "max_pool2d" if maximum else "avg_pool2d")
    assert x.is_untouched()


KERNELS = (matmul, linear, linear_backward, activation, softmax, conv2d, conv2d, pool2d)
