"""What the engine does beyond layers: pixels as bytes, predictions into an array, own layers inside, the profile."""

import functools

import numpy as np
import pytest
import ranvier as rv
from fuzz.threads import in_threads

RNG = np.random.default_rng(0)
BYTES, LABELS = RNG.integers(0, 256, (60, 1, 12, 12), dtype=np.uint8), RNG.integers(0, 3, 60)
PIXELS = BYTES.astype(np.float32) / 255
LAYERS = [rv.Conv2d(1, 4, 3), rv.ReLU(), rv.MaxPool2d(2), rv.Flatten(), rv.Linear(100, 3)]
DENSE = [rv.Flatten(), rv.Linear(144, 8), rv.ReLU(), rv.Linear(8, 3)]


@pytest.mark.parametrize("layers", [LAYERS, DENSE], ids=["convolution", "dense"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_are_fractions_of_255(layers, dtype):
    from_bytes, from_numbers = (rv.Network(layers, seed=0, dtype=dtype) for _ in range(2))
    numbers = BYTES.astype(dtype) / 255
    options = dict(epochs=2, batch_size=16, progress=False)
    from_bytes.fit(BYTES, LABELS, validation_data=(BYTES, LABELS), **options)
    from_numbers.fit(numbers, LABELS, validation_data=(numbers, LABELS), **options)
    for name, value in from_numbers.state_dict().items():
        np.testing.assert_array_equal(from_bytes.state_dict()[name], value)
    assert from_bytes.history.val_loss == from_numbers.history.val_loss
    np.testing.assert_array_equal(from_bytes.predict(BYTES), from_numbers.predict(numbers))
    for name, value in from_numbers.loss_gradients(numbers[:5], LABELS[:5]).items():
        np.testing.assert_array_equal(from_bytes.loss_gradients(BYTES[:5], LABELS[:5])[name], value)
    assert from_bytes.evaluate(BYTES, LABELS) == from_numbers.evaluate(numbers, LABELS)


@pytest.mark.parametrize("n", [1, 60])
def test_predictions_go_into_out(n):
    net = rv.Network(LAYERS, seed=0)
    expected = net.predict(PIXELS[:n]).copy()
    out = np.full((n, 3), np.nan, np.float32)
    for _ in range(2):  # the usual way, and the short one
        assert net.predict(PIXELS[:n], out=out) is out
        np.testing.assert_array_equal(out, expected)
        out[...] = np.nan
    assert net.predict(BYTES[:n], out) is out
    np.testing.assert_array_equal(out, expected)


def test_bad_out_is_refused():
    net = rv.Network([rv.Linear(3, 3)], seed=0)
    x = np.ones((4, 3), np.float32)
    read_only = np.zeros((4, 3), np.float32)
    read_only.flags.writeable = False
    bad = {
        "shape": (np.zeros((3, 3), np.float32), ValueError, r"out: expected a writeable array of shape \(4, 3\)"),
        "dtype": (np.zeros((4, 3)), TypeError, "out: expected an array of float32"),
        "order": (np.zeros((4, 3), np.float32, order="F"), ValueError, "out: expected a C-contiguous array"),
        "read-only": (read_only, ValueError, "out: .* not writeable"),
        "overlap": (x, ValueError, "out: expected memory of its own"),
    }
    for _ in range(2):
        for out, error, message in bad.values():
            before = out.copy()
            with pytest.raises(error, match=message):
                net.predict(x, out=out)
            np.testing.assert_array_equal(out, before)
        net.predict(x)


def test_many_threads_predict_on_one_network():
    net = rv.Network(DENSE, seed=0)
    samples = [PIXELS[i : i + 1 + i % 3] for i in range(20)]
    expected = [net.predict(x).copy() for x in samples]
    wrong = []

    def work(number):
        for i in range(300):
            k = (number * 7 + i) % len(samples)
            if (net.predict(samples[k]) != expected[k]).any():
                wrong.append(k)

    in_threads([functools.partial(work, number) for number in range(6)])
    assert not wrong


class Counted:
    """The identity, which counts its calls."""

    def __init__(self):
        self.calls = {"forward": 0, "backward": 0}

    def forward(self, x):
        self.calls["forward"] += 1
        return x

    def backward(self, grad):
        self.calls["backward"] += 1
        return grad


@pytest.mark.parametrize("place", ["first", "middle", "residual", "parallel"])
def test_own_layers_are_called_once_each_way(place):
    own = Counted()
    layers = {
        "first": [own, rv.Flatten(), rv.Linear(144, 3)],
        "middle": [rv.Flatten(), rv.Linear(144, 8), own, rv.ReLU(), rv.Linear(8, 3)],
        "residual": [rv.Flatten(), rv.Linear(144, 8), rv.Residual([own]), rv.Linear(8, 3)],
        "parallel": [rv.Flatten(), rv.Linear(144, 8), rv.Parallel([[own], [rv.Tanh()]]), rv.Linear(16, 3)],
    }[place]
    net = rv.Network(layers, seed=0)
    net.fit(PIXELS, LABELS, epochs=2, batch_size=20, progress=False)
    assert own.calls == {"forward": 1 + 6, "backward": 6}  # once for the shape


def test_an_error_in_an_own_layer_comes_through():
    class Broken(Counted):
        def backward(self, grad):
            raise RuntimeError("broken on purpose")

    net = rv.Network([rv.Flatten(), rv.Linear(144, 3), Broken()], seed=0)
    before = net.state_dict()
    with pytest.raises(RuntimeError, match="broken on purpose"):
        net.fit(PIXELS, LABELS, progress=False)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(before[name], value)


def test_what_an_own_layer_keeps_stays_whole():
    class Keeping(Counted):
        kept = ()

        def forward(self, x):
            self.kept = (*self.kept, x)
            return super().forward(x)

    layer = Keeping()
    net = rv.Network([rv.Flatten(), layer], seed=0)
    net.predict(PIXELS[:2])
    net.predict(PIXELS[2:4])
    del net
    np.testing.assert_array_equal(layer.kept[-2].reshape(2, -1), PIXELS[:2].reshape(2, -1))


def test_a_small_resnet_learns():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 300)
    x = 0.4 * rng.standard_normal((300, 1, 12, 12)).astype(np.float32)
    for label, image in zip(y, x, strict=True):
        image[0, 4 * label : 4 * label + 3] += 1  # a bar, whose height is the class

    def block(channels):
        inner = [rv.Conv2d(channels, channels, 3, padding=1), rv.BatchNorm2d(channels), rv.ReLU()]
        return [rv.Residual([*inner, rv.Conv2d(channels, channels, 3, padding=1), rv.BatchNorm2d(channels)]), rv.ReLU()]

    net = rv.Network(
        [
            rv.Conv2d(1, 8, 3, padding=1),
            rv.ReLU(),
            *block(8),
            rv.MaxPool2d(4),
            *block(8),
            rv.Flatten(),
            rv.Linear(72, 3),
        ],
        seed=0,
    )
    net.fit(x[:250], y[:250], epochs=4, batch_size=25, optimizer=rv.Adam(3e-3), progress=False)
    assert net.evaluate(x[250:], y[250:]).accuracy > 0.95
    assert "2.layers.1.running_mean" in net.state_dict()


def test_batch_normalization_is_pytorchs():
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((20, 3, 4, 5))
    net = rv.Network([rv.BatchNorm2d(3, momentum=0.3)], seed=0, dtype="float64")
    peer = torch.nn.BatchNorm2d(3, momentum=0.3).double()
    targets = RNG.standard_normal((20, 3, 4, 5))
    net.fit(x, targets, epochs=3, batch_size=7, shuffle=False, loss=rv.MSELoss(), optimizer=rv.SGD(0.0), progress=False)
    for _ in range(3):
        for start in (0, 7, 14):
            peer(torch.from_numpy(x[start : start + 7]))
    state = net.state_dict()
    np.testing.assert_allclose(state["0.running_mean"], peer.running_mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(state["0.running_var"], peer.running_var.numpy(), rtol=1e-12)
    peer.eval()
    np.testing.assert_allclose(net.predict(x), peer(torch.from_numpy(x)).detach().numpy(), rtol=1e-10)
    one = rv.Network([rv.BatchNorm1d(5)], seed=0, dtype="float64")
    rows = RNG.standard_normal((130, 5)) * 3 + 1
    output = one.engine.trainer((5,), 130).forward(rows, True)
    np.testing.assert_allclose(output, torch.nn.BatchNorm1d(5).double()(torch.from_numpy(rows)).detach(), atol=1e-12)


def test_layer_normalization_is_pytorchs():
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((20, 3, 4, 5)) * 5 + 2
    net = rv.Network([rv.LayerNorm((4, 5), eps=1e-3)], seed=0, dtype="float64")
    peer = torch.nn.LayerNorm((4, 5), eps=1e-3).double()
    np.testing.assert_allclose(net.predict(x), peer(torch.from_numpy(x)).detach().numpy(), atol=1e-12)


def test_float32_statistics_do_not_lose_digits():
    x = (RNG.standard_normal((64, 2, 60, 60)) + 1000).astype(np.float32)
    net = rv.Network([rv.BatchNorm2d(2)], seed=0)
    output = net.engine.trainer((2, 60, 60), 64).forward(x, True)
    exact = (x - x.mean((0, 2, 3), keepdims=True, dtype=np.float64)) / x.std((0, 2, 3), keepdims=True, dtype=np.float64)
    assert np.abs(output - exact).max() < 2e-4  # 1000 has an ULP of 6e-5


@pytest.mark.parametrize("seconds", [0.0, 1e-9])
def test_a_profile_of_no_time_takes_an_epoch(seconds):
    net = rv.Network([rv.Linear(6, 5), rv.ReLU(), rv.Linear(5, 3)], seed=0)
    profile = net.profile(np.ones((20, 6)), np.zeros(20, int), batch_size=5, seconds=seconds)
    assert profile.samples == 20
    assert [layer.path for layer in profile.layers] == ["0", "2"]
    assert profile.total > 0


def test_the_profile_tells_of_every_layer_and_changes_nothing():
    net = rv.Network([*LAYERS[:3], rv.Residual([rv.Conv2d(4, 4, 3, padding=1)]), *LAYERS[3:]], seed=0)
    net.fit(PIXELS, LABELS, progress=False)
    twin = rv.Network(net.layers, seed=0)
    twin.fit(PIXELS, LABELS, progress=False)
    profile = net.profile(PIXELS, LABELS, batch_size=20, seconds=0.02)
    assert [(layer.path, layer.name) for layer in profile.layers] == [
        ("0", "Conv2d"),
        ("1", "ReLU + MaxPool2d"),
        ("3.layers.0", "Conv2d"),
        ("3", "Residual"),
        ("5", "Linear"),
    ]
    assert profile.layers[0].flops == 2 * 9 * 4 * 100
    assert profile.layers[0].backward_flops == profile.layers[0].flops
    assert profile.layers[-1].backward_flops == 2 * profile.layers[-1].flops == 4 * 300
    assert all(layer.forward > 0 for layer in profile.layers)
    # The gradient of a sum is that of each addend, where it lies.
    assert [layer.name for layer in profile.layers if layer.backward == 0] == ["Residual"]
    assert 0 < sum(layer.forward + layer.backward for layer in profile.layers) < profile.total
    assert profile.samples >= 60
    assert "ReLU + MaxPool2d" in str(profile)
    for network in (net, twin):
        network.fit(PIXELS, LABELS, progress=False)
    for name, value in twin.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


def test_relu_before_pooling_changes_no_bit():
    x = RNG.standard_normal((30, 2, 9, 8)).astype(np.float32)
    layers = [rv.Conv2d(2, 4, 3, padding=1), rv.ReLU(), rv.MaxPool2d(2), rv.Flatten(), rv.Linear(64, 3)]
    apart = [*layers[:2], rv.Dropout(0.0), *layers[2:]]
    fused, plain = rv.Network(layers, seed=0), rv.Network(apart, seed=0)
    y = RNG.integers(0, 3, 30)
    for network in (fused, plain):
        network.fit(x, y, epochs=2, progress=False)
    for one, other in zip(fused.state_dict().values(), plain.state_dict().values(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("optimizer", [rv.SGD(0.1), rv.Adam()], ids=["plain descent", "adam"])
def test_nothing_is_sent_back_beyond_the_first_trained_layer(optimizer):
    net = rv.Network([rv.Flatten(), rv.Tanh(), rv.Dropout(0.2), rv.Linear(144, 8), rv.ReLU(), rv.Linear(8, 3)], seed=0)
    layers = net.profile(PIXELS, LABELS, optimizer=optimizer, seconds=0.01).layers
    assert [layer.name for layer in layers] == ["Tanh", "Dropout", "Linear + ReLU", "Linear"]
    assert [layer.backward > 0 for layer in layers] == [False, False, True, True]
    assert [layer.backward_flops / layer.flops for layer in layers[2:]] == [1, 2]
