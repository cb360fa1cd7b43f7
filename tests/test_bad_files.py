"""Files that are damaged or made to do harm: a ValueError, before there is memory for what they claim."""

import contextlib
import json
import os
import struct
import threading
import time

import numpy as np
import pytest
import ranvier as rv
from programs import succeeds

LAYERS = [rv.Linear(4, 3), rv.BatchNorm1d(3), rv.ReLU(), rv.Linear(3, 2, init=rv.initializers.Constant(0.1))]


def read_parts(path):
    """The header of a file and its data."""
    contents = path.read_bytes()
    length = int.from_bytes(contents[:8], "little")
    return json.loads(contents[8 : 8 + length]), contents[8 + length :]


def write_parts(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def change_config(header, change):
    config = json.loads(header["__metadata__"]["ranvier"])
    changed = change(config)
    text = changed if isinstance(changed, str) else json.dumps(config if changed is None else changed)
    header["__metadata__"]["ranvier"] = text


@pytest.fixture
def trained(tmp_path):
    """A file with a training state."""
    net = rv.Network(LAYERS, seed=0)
    net.fit(np.ones((6, 4)), np.zeros(6, int), optimizer=rv.Adam(), progress=False)
    path = tmp_path / "net.safetensors"
    net.save(path, training_state=True)
    return path


@pytest.fixture
def frozen(tmp_path):
    """A predictor's file."""
    path = tmp_path / "predictor.safetensors"
    net = rv.Network(LAYERS, seed=0)
    net.predict(np.zeros((1, 4)))
    net.predictor().save(path)
    return path


def refused(path, readers=(rv.load, rv.load_predictor)):
    for reader in readers:
        with pytest.raises(ValueError, match=path.name) as caught:
            reader(path)
        assert "\n" not in str(caught.value)


COUNTERS = ["updates", "training_passes", "epochs", "epochs_trained"]
NUMBERS = [-1, 2**53 + 1, 2**63, 10**400, 1.0, 1.5, "3", True, None, [], {}]


@pytest.mark.parametrize("number", NUMBERS, ids=str)
@pytest.mark.parametrize("name", COUNTERS)
def test_counters_that_are_none_are_refused(trained, name, number):
    header, data = read_parts(trained)
    change_config(header, lambda c: (c if name == "epochs_trained" else c["training"]).__setitem__(name, number))
    write_parts(trained, header, data)
    refused(trained, [rv.load])


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e400", "1" + "0" * 400, "1" * 5000])
@pytest.mark.parametrize(
    "place", ['"eps": 1e-05', '"value": 0.1', '"eps": 1e-08', '"learning_rate_factor": 1.0', '"seed": 0']
)
def test_numbers_beyond_all_bounds_are_refused(trained, place, number):
    header, data = read_parts(trained)
    text = header["__metadata__"]["ranvier"]
    if place == '"value": 0.1':
        place = next(part for part in (place, '"low": -0.1', '"bound": 0.1', '"scale": 0.1') if part in text)
    assert place in text
    header["__metadata__"]["ranvier"] = text.replace(place, place.split(": ")[0] + ": " + number)
    write_parts(trained, header, data)
    refused(trained, [rv.load])


@pytest.mark.parametrize("dtype", [">f4", "<f8", "f4", "float16", "int8", "object", "F32", "", None, 3, [], {}])
def test_dtypes_that_are_none_are_refused(trained, dtype):
    header, data = read_parts(trained)
    change_config(header, lambda c: c | {"dtype": dtype})
    write_parts(trained, header, data)
    refused(trained)


@pytest.mark.parametrize(
    "dtype", ["F8_E4M3", "F8_E5M2", "F4", "BF16", "I64", "U8", "BOOL", "C64", "", "f4", None, 3, []]
)
def test_tensors_of_other_dtypes_are_refused(trained, dtype):
    header, data = read_parts(trained)
    for name in header:
        if name != "__metadata__":
            header[name]["dtype"] = dtype
    write_parts(trained, header, data)
    refused(trained)


def test_tensors_of_half_precision_are_read(tmp_path):
    net = rv.Network([rv.Linear(4, 3)], seed=0)
    net.save(tmp_path / "net")
    header, _ = read_parts(tmp_path / "net")
    data = b""
    for name, value in net.state_dict().items():
        part = value.astype(np.float16).tobytes()
        header[name] = {"dtype": "F16", "shape": value.shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    write_parts(tmp_path / "net", header, data)
    for name, value in rv.load(tmp_path / "net").state_dict().items():
        np.testing.assert_array_equal(value, net.state_dict()[name].astype(np.float16))


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": [3]},
        {"shape": [3, 5]},
        {"shape": [4, 3]},
        {"shape": [3, 4, 1]},
        {"shape": [-3, -4]},
        {"shape": [3.0, 4.0]},
        {"shape": [2**62, 2**62]},
        {"shape": [True, 12]},
        {"shape": None},
        {"shape": 12},
        {"shape": "34"},
        {"shape": [[3], [4]]},
        {"data_offsets": [0, 2**63]},
        {"data_offsets": [0, 10**30]},
        {"data_offsets": [-48, 0]},
        {"data_offsets": [48, 0]},
        {"data_offsets": [0]},
        {"data_offsets": [0, 24, 48]},
        {"data_offsets": None},
        {"data_offsets": "ab"},
        {"more": 1},
        {"dtype": "F64"},
    ],
    ids=str,
)
def test_tensors_that_do_not_fit_are_refused(trained, fields):
    header, data = read_parts(trained)
    header["0.weight"] |= fields
    write_parts(trained, header, data)
    refused(trained)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"3",
        b"null",
        b"{",
        b"\xff\xfe",
        b'{"a": 1}',
        b'{"a": []}',
        b'{"a": {}}',
        b'{"__metadata__": 3}',
        b'{"__metadata__": {"ranvier": 3}}',
        b'{"__metadata__": {"ranvier": "{}"}}',
        b'{"__metadata__": {"ranvier": "[]"}}',
        b'{"__metadata__": {"ranvier": "null"}}',
        b'{"__metadata__": {"ranvier": ""}}',
        b'{"__metadata__": {"ranvier": "NaN"}}',
        b'{"__metadata__": null}',
        b"[" * 200000,
        b'{"a":' * 200000,
    ],
    ids=lambda header: header[:40],
)
def test_headers_that_are_none_are_refused(trained, header):
    write_parts(trained, header, b"")
    refused(trained)


def test_lengths_that_lie_are_refused(trained):
    contents = trained.read_bytes()
    for length in (0, 1, len(contents), 2**31, 2**40, 2**63, 2**64 - 1):
        trained.write_bytes(struct.pack("<Q", length) + contents[8:])
        refused(trained)
    for changed in (contents + b"x", contents[:-1], contents[:7], b""):
        trained.write_bytes(changed)
        refused(trained)


SHAPES = [-1, 2**31, 1.5, "4", [4, 4], [-4], [2**40], [4.0], ["4"], [True], [[4]], {}, [4] * 70]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_of_samples_that_are_none_are_refused(trained, frozen, shape):
    for path in (trained, frozen):
        header, data = read_parts(path)
        change_config(header, lambda c: c | {"input_shape": shape, "shapes": [shape]})
        write_parts(path, header, data)
        refused(path)


def test_more_shapes_than_a_predictor_keeps_are_refused(frozen):
    header, data = read_parts(frozen)
    change_config(header, lambda c: c | {"shapes": [[4]] * 100000})
    write_parts(frozen, header, data)
    refused(frozen, [rv.load_predictor])


COUNTS = {"epochs": 1, "training_passes": 1, "updates": 1, "learning_rate_factor": 1.0}


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": []},
        {"layers": {}},
        {"layers": 3},
        {"layers": None},
        {"layers": "Linear"},
        {"layers": [[]]},
        {"layers": [{"optimizer": "SGD", "lr": 0.1}]},
        {"layers": [{"layer": "Network", "layers": []}]},
        {"layers": [{"layer": "__class__"}]},
        {"layers": [{"layer": "ReLU", "kind": "linear"}]},
        {"sizes": [4, 3]},
        {"sizes": [2**31 - 1, 2**31 - 1]},
        {"sizes": []},
        {"sizes": "43"},
        {"sizes": 3},
        {"sizes": [4.0, 3.0]},
        {"sizes": [None]},
        {"seed": -1},
        {"seed": 2**63},
        {"seed": 1.0},
        {"seed": "0"},
        {"seed": []},
        {"init": 3},
        {"init": {"layer": "ReLU"}},
        {"init": []},
        {"training": 3},
        {"training": []},
        {"training": {}},
        {"training": None},
        {"training": {**COUNTS, "optimizer": None}},
        {"training": {**COUNTS, "optimizer": 3}},
        {"training": {**COUNTS, "optimizer": {}}},
        {"training": {**COUNTS, "optimizer": {"layer": "ReLU"}}},
        {"training": {**COUNTS, "optimizer": {"optimizer": "SGD", "lr": 0.1}}},
        {"training": {**COUNTS, "optimizer": {"optimizer": "Adam", "lr": 10**400}}},
        {"training": {**COUNTS, "optimizer": {"optimizer": "Adam"}, "first_moment.9.weight": "text"}},
        {"training": {**COUNTS, "optimizer": {"optimizer": "Optimizer"}}},
        {"training": {**COUNTS, "optimizer": {"optimizer": "Adam"}, "learning_rate_factor": -1}},
        {"history": 3},
        {"history": []},
        {"history": {"loss": 3}},
        {"history": {"loss": ["text"]}},
        {"history": {"loss": [None]}},
        {"history": {"loss": [True]}},
        {"history": {"loss": [[1.0]]}},
        {"history": {"loss": [1.0], "accuracy": [1.0, 2.0]}},
        {"history": {"loss": [10**400]}},
        {"history": {"lost": [1.0]}},
        {"classes": [1, "a"]},
        {"classes": [1, 1]},
        {"classes": "ab"},
        {"loss": {"loss": "NoLoss"}},
        {"loss": {"layer": "ReLU"}},
        {"format": [1]},
    ],
    ids=str,
)
def test_configurations_that_make_no_sense_are_refused(trained, changes):
    header, data = read_parts(trained)
    change_config(header, lambda c: c | changes)
    write_parts(trained, header, data)
    refused(trained, [rv.load])


HUGE = {
    "weights": [{"layer": "Linear", "in_features": 30000, "out_features": 30000}],
    "weights of convolutions": [
        {"layer": "Conv2d", "in_channels": 3000, "out_channels": 30000, "kernel_size": [3, 3], "bias": False}
    ],
    "orthogonal weights": [
        {
            "layer": "Linear",
            "in_features": 6000,
            "out_features": 6000,
            "init": {"initializer": "Orthogonal"},
        }
    ],
    "normalized shape": [{"layer": "LayerNorm", "normalized_shape": [30000, 30000]}],
    "paddings": [
        {"layer": "Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1, "padding": 2**30},
        {"layer": "GlobalAvgPool2d"},
    ],
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_small_file_cannot_ask_for_much_memory_or_time(tmp_path, kind):
    pytest.importorskip("resource")
    path = tmp_path / "net"
    rv.Network([rv.Linear(4, 3)], seed=0).save(path)
    header, data = read_parts(path)
    config = {"layers": HUGE[kind], "sizes": None, "input_shape": [1, 4, 4] if kind == "paddings" else None}
    config["shapes"] = [config["input_shape"]]
    change_config(header, lambda c: c | config)
    write_parts(path, header, data)
    succeeds(
        f"""
        import resource
        import ranvier as rv
        limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (256 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for reader in rv.load, rv.load_predictor:
            try:
                reader({str(path)!r})
                raise SystemExit("no error")
            except ValueError as error:
                assert "MemoryError" not in repr(error.__cause__), error
        """,
        timeout=20,
    )


def test_what_is_no_plain_file_is_refused(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", "/dev/null"):
        with pytest.raises(ValueError, match="path: expected a plain file"):
            rv.load(path)
        with pytest.raises(ValueError, match="path: expected a plain file"):
            rv.load_predictor(path)


def test_a_file_that_becomes_shorter_while_it_is_read_is_no_crash(tmp_path):
    path = tmp_path / "net"
    rv.Network([rv.Linear(1500, 1500)], seed=0).save(path)
    contents = path.read_bytes()
    done = threading.Event()

    def change():
        while not done.is_set():
            for length in (len(contents) // 2, 3000, 0):
                path.write_bytes(contents)
                os.truncate(path, length)

    thread = threading.Thread(target=change)
    thread.start()
    end = time.monotonic() + 1
    while time.monotonic() < end:
        for reader in (rv.load, rv.load_predictor):
            with contextlib.suppress(ValueError):
                reader(path)
    done.set()
    thread.join()
