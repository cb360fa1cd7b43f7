"""Winograd's convolutions: exact but for rounding, within the published bound, and the same bits in any company."""

import functools

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, laid_out
from ranvier import _core, set_num_threads
from ranvier import kernels as K
from test_conv2d import reference, reference_backward

# Of the largest output, on standard normal data: the error that docs/accuracy.md allows, and in float64 what a wrong
# coefficient could not hide in.
BOUND = {np.float32: 1e-4, np.float64: 1e-12}
OPTIONS = dict(stride=1, dilation=1, groups=1)


def problem(seed, dtype, batch, in_channels, out_channels, image, kernel):
    rng = np.random.default_rng(seed)

    def new(*shape):
        return rng.standard_normal(shape).astype(dtype)

    return new(batch, in_channels, *image), new(out_channels, in_channels, kernel, kernel), new(out_channels), rng


def largest_error(got, expected):
    return np.max(np.abs(got.astype(np.float64) - expected)) / np.max(np.abs(expected))


@functools.cache
def solved(seed, dtype, batch, in_channels, out_channels, image, kernel, padding):
    """Return a problem, its outputs, a gradient of these, and the three gradients that follow from it.

    The slow reference computes once what all algorithms and instruction sets are compared with.
    """
    x, w, b, rng = problem(seed, dtype, batch, in_channels, out_channels, image, kernel)
    y = reference(x, w, b, padding=padding, **OPTIONS)
    grad = rng.standard_normal(y.shape).astype(dtype)
    return (x, w, b), y, grad, reference_backward(grad, x, w, padding=padding, **OPTIONS)


def check(bound, *sizes, padding):
    (x, w, b), y, grad, grads = solved(*sizes, padding)
    assert largest_error(K.conv2d(x, w, b, padding=padding), y) <= bound
    for value, wanted in zip(K.conv2d_backward(grad, x, w, padding=padding), grads, strict=True):
        assert largest_error(value, wanted) <= bound


@pytest.mark.parametrize("algorithm", ["winograd_2", "winograd_4"], indirect=True)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_float64(isa, algorithm, dtype, kernel, seed):
    rng = np.random.default_rng(seed)
    padding = int(rng.integers(0, kernel))
    image = tuple(int(size) for size in kernel + rng.integers(0, 20, 2))
    batch, in_channels, out_channels = (int(size) for size in rng.integers(1, (5, 40, 70)))
    check(BOUND[dtype], seed, dtype, batch, in_channels, out_channels, image, kernel, padding=padding)


@pytest.mark.parametrize("algorithm", ["winograd_2", "winograd_4"], indirect=True)
@pytest.mark.parametrize("image", [(1, 1), (1, 9), (4, 4), (5, 3), (8, 7)])
@pytest.mark.parametrize("channels", [(1, 1), (16, 32), (17, 33), (15, 31)])
def test_awkward_sizes(isa, algorithm, image, channels):
    check(1e-12, 0, np.float64, 3, *channels, image, 3, padding=1)
    check(1e-12, 0, np.float64, 3, *channels, image, 5, padding=2)


@pytest.mark.parametrize("algorithm", ["winograd_4"], indirect=True)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_takes_any_layout(algorithm, layout):
    x, w, b, rng = problem(1, np.float64, 2, 5, 6, (9, 11), 3)
    expected = reference(x, w, b, padding=1, **OPTIONS)
    out = laid_out(np.zeros(expected.shape), layout)
    x_there, w_there = laid_out(x, layout), laid_out(w, layout)
    assert K.conv2d(x_there, w_there, b, padding=1, out=out) is out
    assert largest_error(out, expected) < 1e-12
    grad = rng.standard_normal(expected.shape)
    got = K.conv2d_backward(laid_out(grad, layout), x_there, w_there, padding=1)
    for value, wanted in zip(got, reference_backward(grad, x, w, padding=1, **OPTIONS), strict=True):
        assert largest_error(value, wanted) < 1e-12


# One for each way through: few tiles; many; weights that are not kept; sums by groups, by blocks, by points.
WAYS = {
    "few tiles": (2, 32, 64, (12, 12), 3),
    "many tiles": (9, 32, 64, (28, 28), 3),
    "many weights": (3, 300, 300, (30, 10), 3),
    "many sums": (17, 96, 96, (30, 30), 3),
    "five by five": (30, 16, 32, (14, 14), 5),
}


@pytest.mark.parametrize("way", WAYS)
def test_same_bits_at_any_thread_count_and_in_any_batch(isa, way):
    x, w, b, rng = problem(2, np.float32, *WAYS[way])
    options = dict(padding=w.shape[2] // 2)
    set_num_threads(1)
    y = K.conv2d(x, w, b, **options)
    grad = rng.standard_normal(y.shape).astype(np.float32)
    gradients = K.conv2d_backward(grad, x, w, **options)
    for threads in (2, 3, 4, 7):
        set_num_threads(threads)
        np.testing.assert_array_equal(K.conv2d(x, w, b, **options), y)
        for got, expected in zip(K.conv2d_backward(grad, x, w, **options), gradients, strict=True):
            np.testing.assert_array_equal(got, expected)
    for i in (0, len(x) - 1):
        np.testing.assert_array_equal(K.conv2d(x[i : i + 1], w, b, **options)[0], y[i])
        part = K.conv2d_backward(grad[i : i + 1], x[i : i + 1], w, **options)
        np.testing.assert_array_equal(part[0][0], gradients[0][i])


def test_is_chosen_in_single_precision_only():
    for dtype, chosen in ((np.float32, "winograd_4"), (np.float64, "direct")):
        x, w, b, _ = problem(3, dtype, 2, 32, 32, (28, 28), 3)
        usual = K.conv2d(x, w, b, padding=1)
        results = {}
        for name in ("winograd_4", "direct"):
            _core._testing.set_conv2d_algorithm(name)
            results[name] = K.conv2d(x, w, b, padding=1)
        _core._testing.set_conv2d_algorithm("automatic")
        assert [name for name, result in results.items() if np.array_equal(result, usual)] == [chosen]


@pytest.mark.parametrize(
    ("sizes", "padding"),
    [
        ((3, 2, 32, (28, 28), 3), 1),
        ((1, 64, 4, (6, 6), 3), 0),
        ((2, 64, 64, (28, 28), 5), 2),
        ((2, 4, 64, (9, 9), 3), 3),
    ],
)
def test_the_cheapest_algorithm_is_chosen(isa, sizes, padding):
    x, w, _, rng = problem(4, np.float32, *sizes)
    grad = rng.standard_normal(K.conv2d(x, w, padding=padding).shape).astype(np.float32)
    passes = {
        "forward": lambda: K.conv2d(x, w, padding=padding),
        "backward_input": lambda: _core._testing.conv2d_backward_input(grad, x, w, padding=padding),
        "backward_weights": lambda: _core._testing.conv2d_backward_weights(grad, x, w, padding=padding),
    }
    costs = _core._testing.conv2d_costs(x, w, padding=padding)
    assert set(costs) == set(passes)
    gradients = K.conv2d_backward(grad, x, w, padding=padding)
    for i, name in enumerate(("backward_input", "backward_weights")):
        np.testing.assert_array_equal(passes[name](), gradients[i])
    for name, of_pass in costs.items():
        assert list(of_pass.values()) == sorted(of_pass.values())
        usual = passes[name]()
        same = []
        for algorithm in of_pass:
            _core._testing.set_conv2d_algorithm(algorithm)
            if np.array_equal(passes[name](), usual):
                same.append(algorithm)
        _core._testing.set_conv2d_algorithm("automatic")
        chosen = next(iter(of_pass))
        if len(same) == 2:  # the two ways of the direct algorithm may add in the same order
            assert set(same) == {"planes", "channels_last"}, (name, of_pass)
        else:
            assert same == [chosen], (name, of_pass)
        assert chosen in same


def test_costs_count_the_multiplications_of_a_group():
    x, w, *_ = problem(5, np.float32, 1, 32, 32, (14, 14), 3)  # so many channels fill vectors of any width
    of_one = _core._testing.conv2d_costs(x, w, stride=2)["forward"]
    of_four = _core._testing.conv2d_costs(x, np.ascontiguousarray(w[:, :8]), stride=2, groups=4)["forward"]
    assert set(of_one) == set(of_four) == {"planes", "channels_last"}
    assert of_four["planes"] < of_one["planes"]


def test_an_unknown_algorithm_is_refused():
    with pytest.raises(ValueError, match="name: expected automatic, direct, planes"):
        _core._testing.set_conv2d_algorithm("fft")
