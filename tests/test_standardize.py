"""Standardize: statistics of data, as a layer that is adapted once, and saved, copied and predicted with."""

import copy
import pickle

import numpy as np
import pytest
import ranvier as rv

RNG = np.random.default_rng(0)
N = 300
X = (RNG.standard_normal((N, 4)) * [1, 10, 1e-3, 5] + [0, 100, 1, -3]).astype(np.float32)
Y = RNG.integers(0, 3, N)
QUIET = {"progress": False, "epochs": 2, "optimizer": rv.Adam(1e-2)}


def network(dtype="float32", **options):
    layers = [rv.Standardize(4), rv.Linear(4, 16), rv.Tanh(), rv.Linear(16, 3)]
    return rv.Network(layers, seed=0, dtype=dtype, **options)


def adapted(x=X, **options):
    net = network(**options)
    net.adapt(x)
    return net


def assert_statistics(net, x, axes=0, rtol=1e-6):
    x = np.asarray(x, np.float64)
    state = net.state_dict()
    np.testing.assert_allclose(state["0.mean"], x.mean(axis=axes), rtol=rtol, atol=1e-7)
    np.testing.assert_allclose(state["0.std"], x.std(axis=axes), rtol=rtol)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 5), (4, 5, 3)])
def test_outputs_are_the_formula(shape, dtype, isa):
    x = RNG.standard_normal((37, *shape)) * 3 + 2
    net = rv.Network([rv.Standardize(4)], dtype=dtype)
    net.adapt(x)
    axes = (0, *range(2, x.ndim))
    assert_statistics(net, x, axes)
    expected = (x - x.mean(axis=axes, keepdims=True)) / x.std(axis=axes, keepdims=True)
    tolerance = {"rtol": 0, "atol": 1e-5 if dtype == "float32" else 1e-12}
    np.testing.assert_allclose(net.predict(x), expected, **tolerance)
    np.testing.assert_allclose(net.predictor()(x.astype(dtype)), expected, **tolerance)
    np.testing.assert_allclose(net.forward(x), expected, **tolerance)
    grad = RNG.standard_normal(x.shape)
    to_x = net.backward(grad, input_gradient=True)
    np.testing.assert_allclose(to_x, grad / x.std(axis=axes, keepdims=True), rtol=1e-5)
    for first in range(0, 37, 5):  # a row's bits do not depend on its batch
        np.testing.assert_array_equal(net.predict(x[first : first + 5]), net.predict(x)[first : first + 5])


def test_a_network_trains_as_on_standardized_data():
    x = X.astype(np.float64)
    net, plain = adapted(x, dtype="float64"), rv.Network(network().layers[1:], seed=0, dtype="float64")
    plain.load_state_dict({f"{int(k[0]) - 1}{k[1:]}": v for k, v in net.state_dict().items() if k[0] != "0"})
    net.fit(x, Y, **QUIET)
    plain.fit((x - x.mean(axis=0)) / x.std(axis=0), Y, **QUIET)
    for name, value in plain.state_dict().items():
        np.testing.assert_allclose(net.state_dict()[f"{int(name[0]) + 1}{name[1:]}"], value, rtol=1e-6, atol=1e-9)
    assert_statistics(net, x, rtol=1e-12)  # which training leaves alone


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_same_bits_at_any_thread_count(threads):
    rv.set_num_threads(1)
    expected = adapted()
    expected.fit(X, Y, **QUIET)
    rv.set_num_threads(threads)
    net = adapted()
    net.fit(X, Y, **QUIET)
    for name, value in expected.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


class Batches:
    def __iter__(self):
        for first in range(0, N, 64):
            yield X[first : first + 64], Y[first : first + 64]


def endless():
    while True:
        yield from Batches()


@pytest.mark.parametrize(
    "x",
    [Batches(), list(Batches()), (x for x, _ in Batches()), X.tolist(), X[::-1].astype(">f8")],
    ids=["stream", "list", "of samples", "lists", "another dtype"],
)
def test_takes_what_fit_takes(x):
    assert_statistics(adapted(x), X)


def test_some_batches_of_an_endless_stream():
    net = network()
    net.adapt(endless(), steps=2)
    assert_statistics(net, X[:128])


def test_files_are_read_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr("ranvier.standardizing._BLOCK", 100)
    monkeypatch.setattr("ranvier.rows._BLOCK", 1000)
    for dtype in (np.float32, np.float64):
        np.save(tmp_path / "x.npy", X.astype(dtype))
        assert_statistics(adapted(np.load(tmp_path / "x.npy", mmap_mode="r")), X)


def test_bytes_are_fractions():
    x = RNG.integers(0, 256, (50, 3, 6, 5), np.uint8)
    net = rv.Network([rv.Standardize(3), rv.Flatten(), rv.Linear(90, 2)], seed=0)
    net.adapt(x)
    assert_statistics(net, x / 255, (0, 2, 3))
    net.fit(x, Y[:50] % 2, **QUIET)


def test_statistics_of_blocks_are_exact():
    x = RNG.standard_normal((10**5, 2)) + np.array([1e6, 0])
    net = rv.Network([rv.Standardize(2)], dtype="float64")
    net.adapt(x)
    assert_statistics(net, x, rtol=1e-10)


def test_a_layer_in_the_middle_gets_what_comes_to_it():
    net = rv.Network([rv.Standardize(4), rv.Linear(4, 5), rv.Standardize(5), rv.Linear(5, 3)], seed=0, dtype="float64")
    net.adapt(X)
    hidden = net.activations(X)
    np.testing.assert_allclose(hidden[2].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(hidden[2].std(axis=0), 1, rtol=1e-6)


def test_what_does_not_vary_is_divided_by_1():
    x = np.full((20, 4), 0.1)
    x[:, 1] = np.arange(20)
    net = adapted(x, dtype="float64")
    np.testing.assert_array_equal(net.state_dict()["0.std"][[0, 2, 3]], 1)
    assert np.isfinite(net.predict(x)).all()


def test_numbers_that_float32_does_not_tell_apart_are_told():
    x = X.astype(np.float64) + np.array([1.6e9, 0, 0, 0])
    with pytest.warns(UserWarning, match="adapt: feature 0 has the mean 1.6e.09 .* float32 keeps less than 3 digits"):
        adapted(x)
    adapted(x, dtype="float64")


def test_is_saved_and_copied(tmp_path):
    net = adapted()
    net.fit(X, Y, **QUIET)
    net.save(tmp_path / "net.safetensors")
    predictor = net.predictor()
    predictor.save(tmp_path / "predictor.safetensors")
    expected = net.predict(X)
    for other in (
        rv.load(tmp_path / "net.safetensors"),
        rv.load(tmp_path / "predictor.safetensors"),
        net.copy(),
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),
    ):
        np.testing.assert_array_equal(other.predict(X), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(predictor))(X), predictor(X))
    fresh = network()
    fresh.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(fresh.predict(X), expected)
    net.adapt(X * 2)
    np.testing.assert_array_equal(predictor(X), pickle.loads(pickle.dumps(predictor))(X))
    assert not (net.predict(X) == expected).all()


CALLS = {
    "predict": lambda net: net.predict(X),
    "predict, one": lambda net: net.predict(X[:1]),
    "fit": lambda net: net.fit(X, Y, **QUIET),
    "stream": lambda net: net.fit(Batches(), **QUIET),
    "train_step": lambda net: net.train_step(X, Y),
    "forward": lambda net: net.forward(X),
    "evaluate": lambda net: net.evaluate(X, Y),
    "loss_gradients": lambda net: net.loss_gradients(X, Y),
    "predictor": lambda net: net.predictor(),
    "activations": lambda net: net.activations(X),
    "profile": lambda net: net.profile(X, Y),
    "core": lambda net: net.engine.predict(X),
}


@pytest.mark.parametrize("call", CALLS)
def test_without_statistics_nothing_is_done(call):
    net = network()
    before, state = net.state_dict(), net.training_state_dict()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"layer 0 \(Standardize\): expected .* call adapt\(x\) of the network"):
            CALLS[call](net)
    for name, value in before.items():
        np.testing.assert_array_equal(net.state_dict()[name], value)
    assert net.training_state_dict() == state
    net.adapt(X)
    CALLS[call](net)


def nan_in(column):
    x = X.copy()
    x[7, column] = np.nan
    return x


BAD = {
    "NaN": (lambda net: net.adapt(nan_in(2)), ValueError, "x: expected finite numbers .* got others in 2"),
    "features": (
        lambda net: net.adapt(X[:, :3]),
        ValueError,
        r"\(Standardize\): expected samples of shape \(4,",
    ),
    "none": (lambda net: net.adapt(X[:0]), ValueError, "x: expected at least one sample"),
    "no batches": (lambda net: net.adapt(iter(())), ValueError, "x: expected at least one sample"),
    "text": (lambda net: net.adapt(["a"]), TypeError, "x: expected an array of real numbers"),
    "steps": (lambda net: net.adapt(X, steps=2), TypeError, "steps: expected None with an array"),
    "no steps": (lambda net: net.adapt(Batches(), steps=0), ValueError, "steps: expected at least 1"),
    "other shapes": (lambda net: net.adapt([(X,), (X[:, :3],)]), ValueError, r"expected samples of shape \(4,\) as"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_calls_change_nothing(case):
    call, error, message = BAD[case]
    net = adapted()
    before = net.state_dict()
    with pytest.raises(error, match=message):
        call(net)
    for name, value in before.items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


def test_only_networks_that_have_one_are_adapted():
    with pytest.raises(ValueError, match="expected a network with a Standardize layer, got none"):
        rv.Network([rv.Linear(4, 3)]).adapt(X)
    with pytest.raises(ValueError, match=r"layer 0.layers.0 \(Standardize\): expected it outside of branches"):
        rv.Network([rv.Residual([rv.Standardize(4), rv.Linear(4, 4)])]).adapt(X)
    twice = rv.Network([rv.Standardize(4), rv.Linear(4, 4), rv.Standardize(4)])
    with pytest.raises(ValueError, match="can be gone through for each Standardize layer"):
        twice.adapt(iter(Batches()))


def test_freezing_leaves_it_alone():
    net = adapted()
    net.freeze("*")
    net.unfreeze("1.*")
    net.fit(X, Y, **QUIET)
    assert_statistics(net, X)


def test_gradients_are_right():
    net = rv.Network([rv.Linear(4, 5), rv.Standardize(5), rv.Tanh(), rv.Linear(5, 3)], seed=0, dtype="float64")
    net.adapt(X)
    assert rv.diagnostics.gradient_check(net, X[:20] / 100, Y[:20]).passed
