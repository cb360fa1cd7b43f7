"""The compiled trainer and predictor and their parts, as the Python storey calls them."""

import gc

import numpy as np
import pytest
from ranvier import _core

LAYERS = [
    ("linear", {"in_features": 3, "out_features": 4, "bias": True, "l1": 0.0, "l2": 0.0, "max_norm": 0.0}),
    ("tanh", {}),
    ("linear", {"in_features": 4, "out_features": 2, "bias": False, "l1": 0.0, "l2": 0.0, "max_norm": 0.0}),
]
X = np.random.default_rng(0).standard_normal((10, 3))
Y = np.arange(10) % 2
ORDER = np.arange(10)
LOSS = ("softmax_cross_entropy", {})


def make(dtype="float64", capacity=4):
    parameters = _core.Parameters(LAYERS, dtype)
    parameters.flat_values[...] = np.random.default_rng(1).standard_normal(parameters.flat_values.size)
    return parameters, _core.Trainer(parameters, (3,), capacity, 0)


def live(parameters):
    return _core.Predictor(parameters, (3,), frozen=False)


def sgd(parameters, momentum=0.0):
    return _core.Optimizer(parameters, "sgd", {"lr": 0.1, "momentum": momentum})


def train(trainer, batch_size, optimizer):
    return trainer.train_epoch(X, Y, ORDER, batch_size, LOSS, optimizer, None, "raise", None)


def test_parameters_are_views_of_one_buffer():
    parameters, _ = make()
    assert parameters.names == ["0.weight", "0.bias", "2.weight"]
    weight = parameters.value("0.weight")
    assert weight.shape == (4, 3)
    assert weight.flags.f_contiguous
    assert weight.flags.writeable
    assert np.shares_memory(weight, parameters.flat_values)
    assert parameters.flat_values.ctypes.data % 64 == 0
    assert np.shares_memory(parameters.gradient("2.weight"), parameters.flat_gradients)
    values = weight.copy()
    del parameters
    gc.collect()
    np.testing.assert_array_equal(weight, values)
    with pytest.raises(KeyError, match=r"9\.weight"):
        make()[0].value("9.weight")


def test_shapes_follow_the_layers():
    parameters, trainer = make()
    predictor = live(parameters)
    assert trainer.input_shape == predictor.input_shape == (3,)
    assert trainer.output_shape == predictor.output_shape == (2,)
    assert predictor.shapes == [(4,), (4,), (2,)]
    assert trainer.capacity == 4


def test_forward_and_backward_are_the_formulas():
    parameters, trainer = make()
    w0, b0, w1 = (parameters.value(name) for name in parameters.names)
    x, grad = X[:4], np.random.default_rng(2).standard_normal((4, 2))
    hidden = np.tanh(x @ w0.T + b0)
    np.testing.assert_allclose(trainer.forward(x, True), hidden @ w1.T, atol=1e-14)
    np.testing.assert_allclose(live(parameters).predict(X, None), np.tanh(X @ w0.T + b0) @ w1.T, atol=1e-14)
    trainer.forward(x, True)
    grad_x = trainer.backward(grad, True, False)
    delta = grad @ w1 * (1 - hidden**2)
    np.testing.assert_allclose(grad_x, delta @ w0, atol=1e-13)
    np.testing.assert_allclose(parameters.part("2.weight", parameters.flat_accumulated), grad.T @ hidden, atol=1e-13)
    np.testing.assert_allclose(parameters.part("0.weight", parameters.flat_accumulated), delta.T @ x, atol=1e-13)
    np.testing.assert_allclose(parameters.part("0.bias", parameters.flat_accumulated), delta.sum(axis=0), atol=1e-13)


def test_an_epoch_is_its_batches():
    parameters, trainer = make()
    other, other_trainer = make()
    order = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5])
    optimizer = sgd(parameters, momentum=0.9)
    mean, hits, done, skipped, fault, *_ = trainer.train_epoch(X, Y, order, 4, LOSS, optimizer, None, "raise", None)
    by_hand = sgd(other, momentum=0.9)
    loss_sum = right = 0
    for start in range(0, 9, 4):
        batch = order[start : start + 4]
        batch_mean, batch_right, _ = other_trainer.gradients(X[batch], Y[batch], LOSS)
        loss_sum, right = loss_sum + batch_mean * len(batch), right + batch_right
        by_hand.step()
    np.testing.assert_array_equal(parameters.flat_values, other.flat_values)
    assert (hits, done, skipped, fault) == (right, 9, 0, "")
    assert mean == pytest.approx(loss_sum / 9, rel=1e-14)
    assert optimizer.steps == by_hand.steps == 3
    np.testing.assert_array_equal(optimizer.state["velocity"], by_hand.state["velocity"])


def test_an_error_in_the_report_ends_after_a_whole_batch():
    parameters, trainer = make()
    optimizer = _core.Optimizer(parameters, "adam", {"lr": 1e-3})
    seen = []

    def report(loss, hits, used, done):
        seen.append(done)
        raise RuntimeError("enough")

    order = np.tile(ORDER, 1_000_000)
    with pytest.raises(RuntimeError, match="enough"):
        trainer.train_epoch(X, Y, order, 4, LOSS, optimizer, None, "raise", report)
    assert len(seen) == 1
    assert seen[0] == 4 * optimizer.steps < len(order)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda p, trainer, o: live(p).predict(X.astype(np.float32), None),
            TypeError,
            "x: expected an array of float64",
        ),
        (lambda p, trainer, o: live(p).predict(X[:, ::-1], None), ValueError, "x: expected a C-contiguous array"),
        (
            lambda p, trainer, o: live(p).predict(X[:, :2].copy(), None),
            ValueError,
            r"x: expected samples of shape \(3,\)",
        ),
        (lambda p, trainer, o: trainer.forward(X, True), ValueError, "x: expected 1 to 4 samples, got 10"),
        (lambda p, trainer, o: trainer.gradients(X[:4], Y[:3], LOSS), ValueError, "target: expected one target"),
        (
            lambda p, trainer, o: trainer.gradients(X[:4], Y[:4] + 1, LOSS),
            ValueError,
            "target: expected labels from 0 to 1",
        ),
        (lambda p, trainer, o: trainer.gradients(X[:4], Y[:4], ("mse", {})), ValueError, "loss: expected one of"),
        (
            lambda p, trainer, o: trainer.gradients(X[:4], Y[:4], LOSS, np.ones(3)),
            ValueError,
            "weights: expected one for each",
        ),
        (
            lambda p, trainer, o: live(p).evaluate(X, Y, LOSS, np.ones(10, int)),
            TypeError,
            "weights: expected an array of",
        ),
        (
            lambda p, trainer, o: live(p).evaluate(X, Y, LOSS, -np.ones(10)),
            ValueError,
            "weights: expected finite numbers",
        ),
        (lambda p, trainer, o: live(p).evaluate(X, np.full((10, 2), np.nan), LOSS), ValueError, "target: contains NaN"),
        (
            lambda p, trainer, o: trainer.train_epoch(X, Y, ORDER + 1, 4, LOSS, o, None, "raise", None),
            ValueError,
            "order: expected",
        ),
        (
            lambda p, trainer, o: trainer.train_epoch(X, Y, ORDER, 0, LOSS, o, None, "raise", None),
            ValueError,
            "batch_size: expected 1 to 4",
        ),
        (
            lambda p, trainer, o: trainer.train_epoch(X, Y, ORDER, 5, LOSS, o, None, "raise", None),
            ValueError,
            "batch_size: expected 1 to 4",
        ),
        (
            lambda p, trainer, o: trainer.train_epoch(X, Y, ORDER, 4, LOSS, sgd(make()[0]), None, "raise", None),
            ValueError,
            "optimizer: belongs to other parameters",
        ),
        (
            lambda p, trainer, o: trainer.backward(np.zeros((3, 2)), False, False),
            ValueError,
            "grad_output: expected the 4 samples",
        ),
        (lambda p, trainer, o: _core.Trainer(p, (5,), 4, 0), ValueError, r"layer 0 \(Linear\)"),
        (lambda p, trainer, o: _core.Trainer(p, (3,), 0, 0), ValueError, "capacity"),
        (lambda p, trainer, o: _core.Parameters(LAYERS, "int8"), ValueError, "dtype"),
        (lambda p, trainer, o: _core.Parameters([("magic", {})], "float32"), ValueError, "no layer of kind 'magic'"),
        (lambda p, trainer, o: _core.random_permutation(0, 0, -1), ValueError, "count"),
    ],
)
def test_bad_calls_name_the_argument_and_change_nothing(call, error, message):
    parameters, trainer = make()
    optimizer = sgd(parameters)
    trainer.forward(X[:4], True)
    before = parameters.flat_values.copy()
    with pytest.raises(error, match=message):
        call(parameters, trainer, optimizer)
    np.testing.assert_array_equal(parameters.flat_values, before)
    assert optimizer.steps == 0


def test_permutations_are_of_seed_and_stream():
    first = _core.random_permutation(1, 2, 100)
    assert sorted(first) == list(range(100))
    np.testing.assert_array_equal(first, _core.random_permutation(1, 2, 100))
    for seed, stream in ((1, 3), (2, 2)):
        assert (first != _core.random_permutation(seed, stream, 100)).sum() > 90


@pytest.mark.parametrize("count", [5, 40_000])
def test_permutations_are_uniform(count):
    """Where a number goes is spread evenly, on either side of the size where buckets begin."""
    seeds = 2000 if count == 5 else 30
    cells = np.zeros((5, 5))
    for seed in range(seeds):
        order = _core.random_permutation(seed, 1, count)
        places = np.empty(count, int)
        places[order] = np.arange(count)
        np.add.at(cells, (np.arange(count) * 5 // count, places * 5 // count), 1)
    expected = cells.sum() / 25
    assert np.square(cells - expected).sum() / expected < 45  # chi squared with 16 degrees of freedom: p < 2e-4
