"""Networks in files: everything comes back, nothing foreign is taken."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import ranvier as rv
from programs import HANGING
from safetensors.numpy import load_file, save_file

CNN = [
    rv.Conv2d(1, 4, (3, 5), stride=(1, 2), padding=1),
    rv.PReLU(4),
    rv.MaxPool2d(2),
    rv.Flatten(),
    rv.Dropout(0.2),
    rv.Linear(4 * 4 * 2, 10),
]


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 1, 8, 10)).astype(np.float32), rng.integers(0, 10, 60)
    net = rv.Network(CNN, seed=5)
    net.fit(x, y, epochs=1, progress=False)
    path = tmp_path / "net.safetensors"
    net.save(path, {"note": "kept"})
    return net, path, x


def test_everything_comes_back(saved):
    net, path, x = saved
    again = rv.load(path)
    assert again.layers == net.layers
    assert again.seed == net.seed
    assert again.input_shape == (1, 8, 10)
    assert again.epochs_trained == 1  # so that further epochs take new orders
    assert again.metadata == {"note": "kept"}
    np.testing.assert_array_equal(again.predict(x), net.predict(x))


def test_a_new_process_predicts_the_same_bits(saved, tmp_path):
    net, path, x = saved
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy as np, ranvier as rv;"
        "np.save(sys.argv[3], rv.load(sys.argv[1]).predict(np.load(sys.argv[2])))"
    )
    arguments = [str(path), str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, timeout=HANGING)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), net.predict(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_notes_network_comes_back_as_itself(tmp_path, dtype):
    net = rv.Network([6, 5, 4], seed=2, dtype=dtype)
    net.save(tmp_path / "net.safetensors")
    again = rv.load(tmp_path / "net.safetensors")
    assert again.sizes == [6, 5, 4]
    assert again.dtype == dtype
    for a, b in zip(net.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_file_is_plain_safetensors(saved):
    net, path, _ = saved
    tensors = load_file(path)
    assert set(tensors) == set(net.parameters())
    assert tensors["5.weight"].shape == (10, 32)
    np.testing.assert_array_equal(tensors["5.weight"], net.parameters()["5.weight"])


def test_saving_replaces_in_one_step(saved, tmp_path):
    net, path, _ = saved
    net.save(path)
    assert os.listdir(tmp_path) == ["net.safetensors"]
    before = path.read_bytes()

    class Own:
        def forward(self, x):
            return x

        def backward(self, grad):
            return grad

    with pytest.raises(ValueError, match=r"layer 1 \(Own\)"):
        rv.Network([rv.Linear(2, 2), Own()]).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net.safetensors"]


@pytest.mark.parametrize("length", [0, 4, 100, -10])
def test_a_truncated_file_is_refused(saved, length):
    _, path, _ = saved
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"net\.safetensors: not a complete safetensors file"):
        rv.load(path)


def test_foreign_files_are_refused(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"\x80\x04}\x94.")  # a pickle
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        rv.load(other)
    save_file({"a": np.zeros(3)}, other)
    with pytest.raises(ValueError, match="not of a ranvier network"):
        rv.load(other)
    with pytest.raises(FileNotFoundError):
        rv.load(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError):
        rv.load(tmp_path)


def test_deeply_nested_configuration_is_refused(tmp_path):
    path = tmp_path / "deep"
    save_file({"a": np.zeros(3)}, path, {"ranvier": "[" * 100000})
    with pytest.raises(ValueError, match="deep: not a network that can be read"):
        rv.load(path)


def test_a_history_of_numbers_that_are_not_finite_comes_back(saved):
    net, path, _ = saved
    net.history.loss[:], net.history.accuracy[:] = [np.inf, 0.5, -np.inf], [np.nan, 1.0, np.float32(0.25)]
    net.history.seconds[:] = net.history.lr[:] = [0.0] * 3
    net.save(path, training_state=True)
    np.testing.assert_equal(vars(rv.load(path).history), vars(net.history))


def test_fields_from_numpy_are_saved(tmp_path):
    net = rv.Network([rv.Linear(np.prod((2, 2)), 3), rv.LeakyReLU(np.float32(0.25))], seed=np.int64(0))
    net.save(tmp_path / "net")
    assert rv.load(tmp_path / "net").layers == (rv.Linear(4, 3), rv.LeakyReLU(0.25))


def test_a_saved_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "other").write_bytes(b"")
    rv.Network([2, 2], seed=0).save(tmp_path / "net")
    assert (tmp_path / "net").stat().st_mode == (tmp_path / "other").stat().st_mode
    with pytest.raises(FileNotFoundError):
        rv.Network([2, 2], seed=0).save(tmp_path / "nowhere" / "net")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"format": 99}, "format 99"),
        (lambda c: c | {"layers": [{"layer": "os.system"}]}, "there is no layer 'os.system'"),
        (lambda c: c | {"layers": [{"layer": "Layer"}]}, "Layer"),
        (lambda c: c | {"layers": [{"layer": "Linear", "in_features": 2}]}, "out_features"),
        (lambda c: c | {"layers": c["layers"][:-1]}, "unknown"),
        (lambda c: {"format": 1}, "layers"),
        (lambda c: {name: value for name, value in c.items() if name != "sizes"}, "sizes"),
        (lambda c: c | {"dtype": "int8"}, "dtype"),
        (lambda c: [c], "configuration: expected an object, got list"),
        (lambda c: c | {"layers": [3]}, "expected objects, got int"),
        (lambda c: c | {"layers": [{"layer": ["Linear"]}]}, "there is no layer"),
        (
            lambda c: c | {"layers": [{"layer": "Linear", "in_features": 10**30, "out_features": 1}]},
            "in_features: expected at most",
        ),
        (lambda c: c | {"layers": [{"layer": "Linear", "in_features": 2, "out_features": 1, "bias": "x"}]}, "bias"),
        (lambda c: c | {"sizes": [2**31 - 1, 2**31 - 1]}, "not a network that can be read"),
    ],
)
def test_a_wrong_configuration_is_refused(saved, change, message):
    _, path, _ = saved
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        config = json.loads(file.metadata()["ranvier"])
    save_file(load_file(path), path, {"ranvier": json.dumps(change(config))})
    with pytest.raises(ValueError, match=message):
        rv.load(path)


def test_missing_or_misshapen_tensors_are_refused(saved):
    _, path, _ = saved
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    save_file({name: value for name, value in tensors.items() if name != "5.bias"}, path, metadata)
    with pytest.raises(ValueError, match="missing"):
        rv.load(path)
    save_file(tensors | {"5.bias": np.zeros(3, np.float32)}, path, metadata)
    with pytest.raises(ValueError, match=r"5\.bias: expected shape"):
        rv.load(path)
