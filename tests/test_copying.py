"""Networks copied, pickled and sent to other processes, in the midst of their training."""

import copy
import multiprocessing
import pickle
import subprocess
import sys

import numpy as np
import pytest
import ranvier as rv

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, 6)).astype(np.float32), RNG.integers(0, 3, 40)
LINEAR = rv.Linear(6, 8, init=rv.initializers.KaimingNormal())
LAYERS = [LINEAR, rv.BatchNorm1d(8), rv.ReLU(), rv.Dropout(0.3), rv.Linear(8, 3)]
OPTIMIZER = rv.Adam(rv.CosineAnnealingLR(1e-2, T_max=9))


def trained(dtype="float32"):
    net = rv.Network(LAYERS, seed=1, dtype=dtype)
    net.fit(X, Y, epochs=3, batch_size=16, loss=rv.HingeLoss(), optimizer=OPTIMIZER, progress=False)
    net.learning_rate_factor = 0.5
    return net


def go_on(net):
    net.fit(X, Y, epochs=2, batch_size=16, optimizer=OPTIMIZER, progress=False)
    return net.predict(X)


def go_on_elsewhere(net):
    return go_on(net), net.history.loss


WAYS = {
    "copy": lambda net: net.copy(),
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "pickle, protocol 2": lambda net: pickle.loads(pickle.dumps(net, protocol=2)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("way", WAYS)
def test_a_copy_trains_on_like_the_original_and_apart_from_it(way, dtype):
    net = trained(dtype)
    net.metadata = {"note": "mine"}
    twin = WAYS[way](net)
    assert type(twin) is rv.Network
    assert repr(twin) == repr(net)
    assert (twin.seed, twin.dtype, twin.input_shape, twin.metadata) == (net.seed, net.dtype, (6,), {"note": "mine"})
    assert twin.history == net.history
    assert twin.history is not net.history
    assert twin.training_state_dict().keys() == net.training_state_dict().keys()
    np.testing.assert_array_equal(twin.predict(X), net.predict(X))
    before = net.predict(X)
    moved = go_on(twin)
    np.testing.assert_array_equal(net.predict(X), before)
    np.testing.assert_array_equal(go_on(net), moved)
    assert net.history.loss == twin.history.loss


@pytest.mark.parametrize("way", WAYS)
def test_a_network_that_was_never_trained(way):
    net = rv.Network([3, 4, 2], seed=0, init=rv.initializers.LeCunNormal())
    twin = WAYS[way](net)
    assert (twin.sizes, twin.init, twin.history) == ([3, 4, 2], net.init, None)
    np.testing.assert_array_equal(twin.predict(np.ones((2, 3))), net.predict(np.ones((2, 3))))


@pytest.mark.parametrize("way", WAYS)
def test_a_subclass_keeps_its_class_and_its_attributes(way):
    net = Named(LAYERS, seed=0)
    net.names = ["a", "b"]
    twin = WAYS[way](net)
    assert type(twin) is Named
    assert twin.names == ["a", "b"]
    assert (twin.names is net.names) == (way in ("copy", "copy.copy"))


class Named(rv.Network):
    """A network with something more."""


class Scaled:
    """A layer of one's own."""

    def __init__(self, factor):
        self.factor = [factor]

    def forward(self, x):
        return self.factor[0] * x

    def backward(self, grad):
        return self.factor[0] * grad


def test_layers_of_ones_own_are_shared_by_a_copy_and_copied_by_a_deep_one():
    net = rv.Network([rv.Linear(6, 3), Scaled(2.0)], seed=0)
    expected = net.predict(X)
    shared, own = net.copy(), copy.deepcopy(net)
    assert shared.layers[1] is net.layers[1]
    net.layers[1].factor[0] = 3.0
    np.testing.assert_array_equal(own.predict(X), expected)
    np.testing.assert_array_equal(shared.predict(X), net.predict(X))
    assert (net.predict(X) != expected).any()
    with pytest.raises(ValueError, match=r"layer 1 \(Scaled\): one of your own cannot be saved"):
        pickle.dumps(net)


def test_deep_copies_within_one_structure_are_one():
    net = trained()
    pair = copy.deepcopy({"online": net, "again": net})
    assert pair["online"] is pair["again"]
    assert pair["online"] is not net


def test_a_pickle_runs_no_code_but_the_librarys():
    assert b"safetensors" not in pickle.dumps(trained())  # its contents are, its reader is the library
    names = {argument for operation, argument, _ in pickletools_of(pickle.dumps(trained(), 0)) if operation == "GLOBAL"}
    assert {name.split()[0].split(".")[0] for name in names} <= {
        "ranvier",
        "copyreg",
        "copy_reg",
        "_codecs",
        "__builtin__",
    }


def pickletools_of(contents):
    import pickletools

    return [(operation.name, argument, position) for operation, argument, position in pickletools.genops(contents)]


def test_other_processes_train_on():
    net = trained()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        prediction, losses = pool.apply(go_on_elsewhere, (net,))
    np.testing.assert_array_equal(go_on(net), prediction)
    assert net.history.loss == losses


def test_joblib_takes_networks(tmp_path):
    joblib = pytest.importorskip("joblib")
    net = trained()
    joblib.dump(net, tmp_path / "net")
    np.testing.assert_array_equal(joblib.load(tmp_path / "net").predict(X), net.predict(X))
    assert joblib.hash(net.state_dict()) == joblib.hash(net.copy().state_dict())
    (prediction, _), *_ = joblib.Parallel(2, backend="loky")(joblib.delayed(go_on_elsewhere)(net) for _ in range(2))
    np.testing.assert_array_equal(go_on(net), prediction)


def test_an_unpickled_network_is_of_a_fresh_process():
    code = "import pickle, sys; net = pickle.load(sys.stdin.buffer); print(net.epochs_trained, len(net.history))"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(trained()), capture_output=True, check=True)
    assert done.stdout.split() == [b"3", b"3"]
