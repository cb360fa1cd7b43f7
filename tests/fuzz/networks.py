"""Networks of random layers, and random calls of one network from several threads at once."""

import contextlib
import functools
import pickle
import tempfile
from pathlib import Path

import numpy as np
import ranvier as rv

from .threads import in_threads


class Halved:
    """A layer of one's own."""

    def forward(self, x):
        return x / 2

    def backward(self, grad):
        return grad / 2


def case(seed):
    """Make a network, use it from several threads, and see that it is whole afterwards."""
    rng = np.random.default_rng(seed)
    layers, shape, outputs = random_layers(rng)
    dtype = str(rng.choice(["float32", "float64"]))
    net = rv.Network(layers, seed=int(rng.integers(100)), dtype=dtype)
    assert net.shapes(shape)[-1] == outputs
    with tempfile.TemporaryDirectory() as folder:
        plans = [random_calls(rng, shape, outputs, Path(folder)) for _ in range(rng.integers(1, 4))]

        def work(plan):
            for call in plan:
                call(net)

        in_threads([functools.partial(work, plan) for plan in plans])
        is_whole(net, samples(rng, 5, shape), Path(folder) / "net")


def random_layers(rng):
    """Return layers, the shape of samples, and that of the outputs."""
    shape = (int(rng.integers(1, 5)), int(rng.integers(4, 11)), int(rng.integers(4, 11)))
    shape = (shape, shape[1:], shape[:2], (int(rng.integers(1, 40)),))[rng.integers(4)]
    layers, now = [], shape
    for _ in range(rng.integers(1, 7)):
        layer, now = random_layer(rng, now)
        layers.append(layer)
    if len(now) > 1:
        layers.append(rv.Flatten())
        now = (int(np.prod(now)),)
    outputs = int(rng.integers(1, 6))
    return [*layers, rv.Linear(now[0], outputs)], shape, (outputs,)


def random_layer(rng, shape):
    """Return a layer that fits, and the shape of its outputs."""
    anywhere = [rv.ReLU(), rv.Tanh(), rv.GELU(), rv.Softplus(), rv.ELU(), rv.PReLU(), rv.RReLU(), rv.Dropout(0.3)]
    anywhere += [rv.GaussianNoise(0.1), rv.LayerNorm(shape), rv.Softmax(), Halved(), rv.PReLU(shape[0]), rv.Sigmoid()]
    anywhere += [rv.GroupNorm(1, shape[0]), rv.GroupNorm(shape[0], shape[0])]
    anywhere += [rv.ReLU6(), rv.SELU(), rv.SiLU(), rv.Mish(), rv.Hardswish()]
    anywhere += [rv.Identity()]
    anywhere += [rv.Residual([rv.Tanh()]), rv.Residual([rv.ReLU(), Halved()], [rv.Dropout(0.1)])]
    kind = rng.random()
    if kind < 0.4:
        return anywhere[rng.integers(len(anywhere))], shape
    if kind < 0.5:
        return rv.Parallel([[rv.ReLU()], []]), (2 * shape[0], *shape[1:])
    if len(shape) == 2:
        return (random_layer_of_lines if kind < 0.75 else random_recurrent_layer)(rng, shape)
    if len(shape) == 1:
        if kind < 0.6:
            return rv.BatchNorm1d(shape[0]), shape
        outputs = int(rng.choice([1, 3, 8, 17, 64, 500]))
        return rv.Linear(shape[0], outputs, bias=bool(rng.random() < 0.8)), (outputs,)
    if kind < 0.6:
        return rv.BatchNorm2d(shape[0]), shape
    if kind < 0.7 and min(shape[1:]) >= 2:
        up = bool(rng.random() < 0.5)
        pool = rv.MaxPool2d(2, ceil_mode=up) if rng.random() < 0.5 else rv.AvgPool2d(2, ceil_mode=up)
        return pool, (shape[0], (shape[1] + up) // 2, (shape[2] + up) // 2)
    if kind < 0.72:
        return rv.GlobalAvgPool2d(), (shape[0],)
    if kind < 0.75:
        sizes = [int(size) for size in rng.integers(1, 6, 2)]
        return (rv.AdaptiveAvgPool2d if rng.random() < 0.5 else rv.AdaptiveMaxPool2d)(sizes), (shape[0], *sizes)
    if kind < 0.8:
        return rv.RandomShift(1) if rng.random() < 0.5 else rv.RandomHorizontalFlip(), shape
    channels = int(rng.choice([1, 2, 5, 8, 16]))
    if kind < 0.85 and max(shape[1:]) < 20:
        layer = rv.ConvTranspose2d(shape[0], channels, 3, 2, 1, 1) if kind < 0.83 else rv.Upsample(2, "bilinear")
        return layer, (channels if kind < 0.83 else shape[0], 2 * shape[1], 2 * shape[2])
    groups = shape[0] if channels % shape[0] == 0 and rng.random() < 0.5 else 1
    size = int(rng.choice([1, 2, 3, 4]))
    return rv.Conv2d(shape[0], channels, size, padding="same", groups=groups), (channels, *shape[1:])


def random_layer_of_lines(rng, shape):
    channels, length = shape
    outputs, size, kind = int(rng.choice([1, 2, 5, 8, 16])), int(rng.integers(1, 5)), rng.random()
    if kind < 0.4:
        return rv.Conv1d(channels, outputs, size, padding="same"), (outputs, length)
    if kind < 0.6:
        return rv.BatchNorm1d(channels), shape
    if kind < 0.7:
        return rv.AdaptiveMaxPool1d(size), (channels, size)
    if kind < 0.8 and length >= 2:
        return rv.AvgPool1d(2, ceil_mode=True), (channels, (length + 1) // 2)
    return (rv.Dropout1d(0.2), shape) if kind < 0.9 else (rv.Unflatten(1, (1, -1)), (1, *shape))


def random_recurrent_layer(rng, shape):
    recurrent = rv.GRU if rng.random() < 0.5 else rv.LSTM
    size, whole = int(rng.choice([1, 3, 8, 17])), bool(rng.random() < 0.5)
    layer = recurrent(shape[1], size, int(rng.integers(1, 3)), bool(rng.random() < 0.8), return_sequences=whole)
    return layer, (shape[0], size) if whole else (size,)


def samples(rng, n, shape):
    return rng.standard_normal((n, *shape)).astype(rng.choice([np.float32, np.float64]))


def random_calls(rng, shape, outputs, folder):
    """Return what a thread does."""
    x = samples(rng, int(rng.choice([1, 2, 3, 17, 40, 300])), shape)
    labels = rng.integers(0, outputs[0], len(x)) if outputs[0] > 1 else rng.integers(0, 2, len(x))[:, None] + 0.0
    loss = rv.CrossEntropyLoss() if outputs[0] > 1 else rv.MSELoss()
    size = int(rng.choice([1, 7, 32, 300]))
    optimizer = [rv.SGD(0.01), rv.Adam(), rv.SGD(0.01, 0.9, clip_norm=1.0)][rng.integers(3)]
    path = folder / str(rng.integers(3))

    def fit(net):
        net.fit(x, labels, batch_size=size, loss=loss, optimizer=optimizer, on_nonfinite="ignore", progress=False)

    def save_and_load(net):
        try:
            net.save(path, training_state=bool(size % 2))
        except ValueError as error:
            assert "of your own" in str(error)  # noqa: PT017
            return
        rv.load(path).predict(x)
        rv.load_predictor(path)(x)

    def bad_call(net):
        for wrong in (x[:, :0], x[..., None, None, None, None], "text", None, np.zeros(3, complex)):
            with contextlib.suppress(TypeError, ValueError):  # some layers take samples of any shape
                net.predict(wrong)

    uses = [
        fit,
        fit,
        lambda net: net.predict(x),
        lambda net: net.predict(x[:1], out=np.empty((1, *outputs), net.dtype)),
        lambda net: net.evaluate(x, labels, loss=loss),
        lambda net: net.loss_gradients(x, labels, loss=loss),
        lambda net: net.load_state_dict(net.state_dict()),
        lambda net: net.predictor(threads=int(1 + size % 3))(x),
        lambda net: net.profile(x, labels, batch_size=size, loss=loss, seconds=0.001),
        lambda net: net.activations(x),
        lambda net: net.copy().predict(x),
        save_and_load,
        bad_call,
    ]
    return [uses[i] for i in rng.integers(0, len(uses), rng.integers(2, 7))]


def is_whole(net, x, path):
    """Predictions are the same by any way."""
    whole = net.predict(x).copy()
    for i in range(len(x)):
        assert np.array_equal(net.predict(x[i : i + 1])[0], whole[i], equal_nan=True), "a row of a batch"
    twin = rv.Network(net.layers, seed=1, dtype=net.dtype)
    twin.load_state_dict(net.state_dict())
    assert np.array_equal(twin.predict(x), whole, equal_nan=True), "state_dict"
    frozen = net.predictor()(x)
    if np.isfinite(whole).all():
        tolerance = 1e-3 if net.dtype == np.float32 else 1e-9
        assert np.allclose(frozen, whole, rtol=tolerance, atol=tolerance * max(1, np.abs(whole).max())), "predictor"
    if any(isinstance(layer, Halved) for layer in net.layers) or "Halved" in repr(net):
        return
    net.save(path)
    assert np.array_equal(rv.load(path).predict(x), whole, equal_nan=True), "file"
    assert np.array_equal(rv.load_predictor(path)(x), frozen, equal_nan=True), "predictor's file"
    assert np.array_equal(pickle.loads(pickle.dumps(net.predictor()))(x), frozen, equal_nan=True), "pickle"
