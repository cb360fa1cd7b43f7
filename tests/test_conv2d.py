"""Convolution against a plain float64 reference, for every option, layout and instruction set."""

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, close, laid_out
from ranvier import kernels as K
from ranvier import set_num_threads


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def reference(x, w, b, stride, padding, dilation, groups):
    """Return the convolution, tap by tap, in float64."""
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    w = w.astype(np.float64)
    out, per_group, kh, kw = w.shape
    height = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    width = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    y = np.zeros((len(x), out, height, width)) + (0 if b is None else b.astype(np.float64)[:, None, None])
    for o in range(out):
        first = o // (out // groups) * per_group
        for c in range(per_group):
            for i in range(kh):
                for j in range(kw):
                    rows = slice(i * dh, i * dh + sh * (height - 1) + 1, sh)
                    cols = slice(j * dw, j * dw + sw * (width - 1) + 1, sw)
                    y[:, o] += w[o, c, i, j] * x[:, first + c, rows, cols]
    return y


def reference_backward(grad, x, w, stride, padding, dilation, groups):
    """Return the three gradients by linearity: each tap's part, transposed."""
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    grad, w64 = grad.astype(np.float64), w.astype(np.float64)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    grad_padded, grad_w = np.zeros_like(padded), np.zeros_like(w64)
    out, per_group, kh, kw = w.shape
    height, width = grad.shape[2:]
    for o in range(out):
        first = o // (out // groups) * per_group
        for c in range(per_group):
            for i in range(kh):
                for j in range(kw):
                    rows = slice(i * dh, i * dh + sh * (height - 1) + 1, sh)
                    cols = slice(j * dw, j * dw + sw * (width - 1) + 1, sw)
                    grad_w[o, c, i, j] = np.sum(grad[:, o] * padded[:, first + c, rows, cols])
                    grad_padded[:, first + c, rows, cols] += w64[o, c, i, j] * grad[:, o]
    grad_x = grad_padded[:, :, ph : ph + x.shape[2], pw : pw + x.shape[3]]
    return grad_x, grad_w, grad.sum(axis=(0, 2, 3))


def problem(rng, dtype, batch, in_channels, out_channels, image, kernel, groups):
    x = rng.standard_normal((batch, in_channels, *image)).astype(dtype)
    w = rng.standard_normal((out_channels, in_channels // groups, *kernel)).astype(dtype)
    return x, w, rng.standard_normal(out_channels).astype(dtype)


def check(x, w, b, rng, **options):
    dtype = x.dtype.type
    y = K.conv2d(x, w, b, **options)
    expected = reference(x, w, b, **options)
    close(y, expected, dtype, 4 * np.sqrt(w[0].size) + 4)
    grad = rng.standard_normal(y.shape).astype(dtype)
    scales = [np.sqrt(w[:, 0].size), np.sqrt(grad[:, 0].size), np.sqrt(grad[:, 0].size)]
    got = K.conv2d_backward(grad, x, w, **options)
    for value, wanted, scale in zip(got, reference_backward(grad, x, w, **options), scales, strict=True):
        close(value, wanted, dtype, 8 * scale + 8)


CASES = {
    "one by one": dict(batch=2, in_channels=5, out_channels=7, image=(6, 9), kernel=(1, 1)),
    "notes' first": dict(batch=3, in_channels=1, out_channels=16, image=(28, 28), kernel=(5, 5), padding=2),
    "notes' second": dict(batch=2, in_channels=16, out_channels=32, image=(14, 14), kernel=(5, 5), padding=2),
    "stride": dict(batch=2, in_channels=3, out_channels=8, image=(17, 23), kernel=(7, 7), stride=2, padding=3),
    "stride beyond kernel": dict(batch=1, in_channels=2, out_channels=3, image=(11, 13), kernel=(2, 1), stride=3),
    "unequal": dict(
        batch=2,
        in_channels=2,
        out_channels=3,
        image=(10, 31),
        kernel=(3, 2),
        stride=(1, 2),
        padding=(0, 1),
        dilation=(2, 3),
    ),
    "groups": dict(batch=2, in_channels=6, out_channels=9, image=(8, 8), kernel=(3, 3), padding=1, groups=3),
    "depthwise": dict(batch=2, in_channels=5, out_channels=5, image=(9, 40), kernel=(3, 3), padding=1, groups=5),
    "depthwise, two outputs": dict(batch=1, in_channels=4, out_channels=8, image=(7, 7), kernel=(3, 3), groups=4),
    "whole image": dict(batch=3, in_channels=4, out_channels=6, image=(5, 7), kernel=(5, 7)),
    "one pixel": dict(batch=1, in_channels=1, out_channels=1, image=(1, 1), kernel=(1, 1)),
    "padding beyond the kernel": dict(batch=1, in_channels=2, out_channels=2, image=(4, 4), kernel=(2, 2), padding=3),
    "deep": dict(batch=1, in_channels=50, out_channels=13, image=(6, 6), kernel=(3, 3), padding=1),
    "wide": dict(batch=1, in_channels=2, out_channels=3, image=(3, 700), kernel=(3, 3), padding=1),
}


# Winograd's algorithm, which rounds more, has tests of its own.
@pytest.mark.parametrize("algorithm", ["direct"], indirect=True)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_float64(isa, algorithm, dtype, case):
    options = dict(CASES[case])
    sizes = {name: options.pop(name) for name in ("batch", "in_channels", "out_channels", "image", "kernel")}
    options = dict(stride=1, padding=0, dilation=1, groups=1) | options
    rng = np.random.default_rng(0)
    check(*problem(rng, dtype, **sizes, groups=options["groups"]), rng, **options)


@pytest.mark.parametrize("seed", range(30))
def test_random_shapes(isa, seed):
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 4))
    kernel = tuple(int(k) for k in rng.integers(1, 5, 2))
    options = dict(
        stride=tuple(int(s) for s in rng.integers(1, 4, 2)),
        padding=tuple(int(p) for p in rng.integers(0, 4, 2)),
        dilation=tuple(int(d) for d in rng.integers(1, 4, 2)),
        groups=groups,
    )
    image = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + int(extra)
        for d, k, p, extra in zip(options["dilation"], kernel, options["padding"], rng.integers(0, 20, 2), strict=True)
    )
    channels = groups * int(rng.integers(1, 5)), groups * int(rng.integers(1, 6))
    check(*problem(rng, np.float64, int(rng.integers(1, 4)), *channels, image, kernel, groups), rng, **options)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("padding", [0, 1])
def test_takes_any_layout(layout, padding):
    rng = np.random.default_rng(1)
    x, w, b = problem(rng, np.float64, 2, 3, 4, (6, 7), (3, 3), 1)
    expected = reference(x, w, b, 1, padding, 1, 1)
    out = laid_out(np.zeros(expected.shape), layout)
    x_there, w_there = laid_out(x, layout), laid_out(w, layout)
    assert K.conv2d(x_there, w_there, b, padding=padding, out=out) is out
    close(out, expected, np.float64, 30)
    grad = rng.standard_normal(expected.shape)
    got = K.conv2d_backward(laid_out(grad, layout), x_there, w_there, padding=padding)
    for value, wanted in zip(got, reference_backward(grad, x, w, 1, padding, 1, 1), strict=True):
        close(value, wanted, np.float64, 60)
    np.testing.assert_array_equal(x_there, x)


def test_empty_batch():
    x, w = np.zeros((0, 3, 8, 8)), np.zeros((4, 3, 3, 3))
    assert K.conv2d(x, w).shape == (0, 4, 6, 6)
    grad_x, grad_w, grad_b = K.conv2d_backward(np.zeros((0, 4, 6, 6)), x, w)
    assert grad_x.shape == x.shape
    assert not grad_w.any()
    assert not grad_b.any()


@pytest.mark.parametrize(("batch", "padding", "stride"), [(1, 1, 1), (5, 2, 2), (20, 0, 1)])
def test_same_bits_at_any_thread_count_and_in_any_batch(isa, batch, padding, stride):
    rng = np.random.default_rng(2)
    x, w, b = problem(rng, np.float32, batch, 16, 24, (40, 40), (3, 3), 1)
    options = dict(stride=stride, padding=padding)
    set_num_threads(1)
    y = K.conv2d(x, w, b, **options)
    grad = rng.standard_normal(y.shape).astype(np.float32)
    gradients = K.conv2d_backward(grad, x, w, **options)
    for threads in (2, 3, 4, 7):
        set_num_threads(threads)
        np.testing.assert_array_equal(K.conv2d(x, w, b, **options), y)
        for got, expected in zip(K.conv2d_backward(grad, x, w, **options), gradients, strict=True):
            np.testing.assert_array_equal(got, expected)
    for i in range(batch):
        np.testing.assert_array_equal(K.conv2d(x[i : i + 1], w, b, **options)[0], y[i])


def test_nan_and_infinity_reach_what_they_touch():
    x = np.zeros((1, 1, 8, 8))
    x[0, 0, 4, 4] = np.nan
    y = K.conv2d(x, np.ones((1, 1, 3, 3)), padding=1)
    assert np.isnan(y[0, 0, 3:6, 3:6]).all()
    assert np.isnan(y).sum() == 9


@pytest.mark.parametrize("view", [np.s_[..., :10], np.s_[:, :, 2:12, 3:13], np.s_[:, ::2]])
def test_a_view_reads_nothing_beside_it(view):
    rng = np.random.default_rng(4)
    memory = np.full((2, 6, 14, 16), np.nan)
    x = memory[view]
    x[...] = rng.standard_normal(x.shape)
    w = rng.standard_normal((4, x.shape[1], 3, 3))
    grad = rng.standard_normal((2, 4, x.shape[2] - 2, x.shape[3] - 2))
    for got, expected in zip(K.conv2d_backward(grad, x, w), K.conv2d_backward(grad, x.copy(), w), strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(K.conv2d(x, w), K.conv2d(x.copy(), w))


def test_no_input_channels_give_the_bias():
    y = K.conv2d(np.zeros((2, 0, 5, 5)), np.zeros((3, 0, 2, 2)), np.arange(3.0))
    np.testing.assert_array_equal(y, np.broadcast_to(np.arange(3.0)[:, None, None], (2, 3, 4, 4)))


def test_a_stride_beyond_the_image():
    rng = np.random.default_rng(5)
    x, w, b = problem(rng, np.float64, 1, 2, 3, (6, 7), (2, 2), 1)
    check(x, w, b, rng, stride=30000, padding=0, dilation=1, groups=1)
