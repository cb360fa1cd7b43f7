"""Files whose values are changed where they are read: a ValueError, or a network that can be used."""

import functools
import json
import math
import struct
import tempfile
from pathlib import Path

import numpy as np
import ranvier as rv

VALUES = [
    *(0, 1, -1, 2, 3, 7, 255, 2**31 - 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, 10**400, -(2**63)),
    *(0.5, -0.0, 1e-320, 1e308, -1e308, 1.5, math.inf, -math.inf, math.nan),
    *("", "x", "float64", ">f4", "F64", "F8_E4M3", "F4", "BF16", "Linear", "Conv2d", "Residual", "SGD", "Adam"),
    *("__class__", "os.system", "\0", "ö", "9" * 5000),
    *(None, True, False, [], {}, [0], [1, 2], [-1], [2**62, 2**62], [[]], {"layer": "ReLU"}, {"layer": "Flatten"}),
    *({"initializer": "Zeros"}, {"initializer": "Orthogonal"}, {"schedule": "CosineAnnealingLR"}, {"layer": {}}),
    {"layer": "Linear", "in_features": 30000, "out_features": 30000},
    {"layer": "Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1, "padding": 2**30},
]
SMALL = 10**5  # elements


def case(seed):
    """Change a good file, and read it."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net"
        path.write_bytes(changed(rng))
        for read, use in ((rv.load, use_network), (rv.load_predictor, use_predictor)):
            try:
                result = read(path)
            except ValueError as error:
                assert str(path) in str(error), error  # noqa: PT017
                continue
            use(result, path)


@functools.cache
def originals():
    """Header and data of good files of each kind."""
    made = []
    rng = np.random.default_rng(0)
    networks = [
        (rv.Network([rv.Conv2d(1, 4, 3, padding=1), rv.BatchNorm2d(4), rv.ReLU(), rv.MaxPool2d(2), rv.Flatten(),
                     rv.Linear(16, 3, init=rv.initializers.KaimingNormal())], seed=0), (1, 4, 4)),
        (rv.Network([rv.Linear(5, 6), rv.Residual([rv.Linear(6, 6), rv.Tanh()], [rv.Dropout(0.2)]),
                     rv.Parallel([[rv.PReLU()], [rv.LayerNorm(6)]]), rv.Linear(12, 3)], seed=1, dtype="float64",
                    init=rv.initializers.XavierUniform()), (5,)),
        (rv.Network([5, 4, 3], seed=2), (5,)),
        (rv.Network([rv.ConvTranspose2d(1, 2, 2, 2), rv.GroupNorm(1, 2), rv.Upsample(2), rv.Flatten(),
                     rv.Linear(128, 3)], seed=3), (1, 2, 2)),
        (rv.Network([rv.GRU(3, 4, 2, return_sequences=True), rv.LSTM(4, 3)], seed=4), (5, 3)),
    ]  # fmt: skip
    optimizers = [rv.Adam(rv.CosineAnnealingLR(1e-3, T_max=4)), rv.SGD(0.1, 0.9, clip_norm=1.0), rv.RMSprop()]
    optimizers += [rv.Adam(), rv.SGD(0.1)]
    with tempfile.TemporaryDirectory() as folder:
        for (net, shape), optimizer in zip(networks, optimizers, strict=True):
            x, y = rng.standard_normal((6, *shape)), rng.integers(0, 3, 6)
            loss = rv.QuadraticLoss() if isinstance(net, rv.notes.Network) else None
            net.fit(x, y if loss is None else np.eye(3)[y], loss=loss, optimizer=optimizer, progress=False)
            net.save(Path(folder) / "a", {"note": "text"}, training_state=True)
            net.predictor().save(Path(folder) / "b")
            made += [(Path(folder) / name).read_bytes() for name in "ab"]
    return made


def changed(rng):
    """Return a file's contents with a few changes."""
    contents = originals()[rng.integers(len(originals()))]
    length = int.from_bytes(contents[:8], "little")
    header, data = json.loads(contents[8 : 8 + length]), contents[8 + length :]
    config = json.loads(header["__metadata__"]["ranvier"])
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        change(rng, config if rng.random() < 0.6 else header)
    if isinstance(header.get("__metadata__"), dict) and rng.random() < 0.95:
        header["__metadata__"]["ranvier"] = json.dumps(config)
    text = json.dumps(header).encode()
    if rng.random() < 0.1:
        data = data[: rng.integers(len(data) + 1)] if rng.random() < 0.5 else data + bytes(int(rng.integers(1, 9)))
    result = bytearray(struct.pack("<Q", len(text)) + text + data)
    if rng.random() < 0.1:
        for position in rng.integers(0, len(result), 3):
            result[position] = rng.integers(256)
    return bytes(result)


def places(tree):
    """All containers of a tree with their keys."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from places(value)


def change(rng, tree):
    """Replace, take away, double, or swap a value, or move a number a little."""
    all_places = list(places(tree))
    if not all_places:
        return
    container, key = all_places[rng.integers(len(all_places))]
    other, other_key = all_places[rng.integers(len(all_places))]
    kind = rng.random()
    value = container[key]
    if type(value) in (int, float) and kind < 0.3:
        container[key] = value + int(rng.choice([-1, 1, 2, 1000])) if kind < 0.2 else -value
    elif kind < 0.75:
        container[key] = VALUES[rng.integers(len(VALUES))]
    elif kind < 0.85:
        del container[key]
    elif kind < 0.92 and isinstance(container, list):
        container.append(json.loads(json.dumps(value)))
    else:
        container[key] = json.loads(json.dumps(other[other_key]))


def is_small(net, shape):
    return all(math.prod(sizes) <= SMALL for sizes in (shape, *net.shapes(shape)))


def use_network(net, path):
    """A network that was read does what any other does."""
    net.state_dict()
    net.save(path.with_name("again"), training_state=True)
    again = rv.load(path.with_name("again"))
    assert again.layers == net.layers
    if net.input_shape is None or not is_small(net, net.input_shape):
        return
    x = np.zeros((2, *net.input_shape))
    assert np.array_equal(again.predict(x), net.predict(x), equal_nan=True)
    target = np.zeros((2, *net.shapes(net.input_shape)[-1]))
    if target.size:
        settings = net.training_state_dict()["optimizer"]
        try:
            net.fit(x, target, loss=rv.MSELoss(), optimizer=settings, on_nonfinite="ignore", progress=False)
        except ValueError as error:  # of the schedule, say
            assert ": expected" in str(error), error  # noqa: PT017


def use_predictor(predictor, path):
    """The same of a predictor."""
    shape = predictor.input_shape
    if shape is not None and math.prod(shape) <= SMALL:
        try:
            net = rv.load(path)
        except ValueError:  # of what a predictor does not need
            return
        if is_small(net, shape):
            assert np.allclose(predictor(np.zeros((2, *shape))), net.predict(np.zeros((2, *shape))), equal_nan=True)
