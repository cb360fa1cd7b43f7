"""Networks drawn at random: the same bits at any number of threads, and gradients that are sums over the samples."""

import numpy as np
import pytest
import ranvier as rv

ACTIVATIONS = (rv.ReLU, rv.Sigmoid, rv.Tanh, rv.Softplus, rv.ELU, rv.GELU, rv.SELU, rv.SiLU, rv.Mish, rv.Hardswish)
OPTIMIZERS = (rv.SGD(0.01), rv.SGD(0.01, momentum=0.9), rv.Adam(1e-3))
WIDTHS = (1, 2, 7, 16, 30, 33, 100, 257)


def maybe_activation(rng):
    return [rng.choice(ACTIVATIONS)()] if rng.random() < 0.7 else []


def convolutions(rng, channels, side):
    layers = []
    for _ in range(rng.integers(1, 3)):
        out, kernel = int(rng.choice([1, 4, 8, 17, 24])), int(rng.choice([1, 3, 5]))
        layers += [rv.Conv2d(channels, out, kernel, padding=kernel // 2), *maybe_activation(rng)]
        channels = out
        if rng.random() < 0.6 and side >= 4:
            layers.append(rv.MaxPool2d(2) if rng.random() < 0.6 else rv.AvgPool2d(2))
            side //= 2
    return [*layers, rv.Flatten()], channels * side * side


def drawn(seed):
    """Return layers, samples and targets."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 150))
    kind, rows = rng.random(), False
    if kind < 0.4:
        side, channels = int(rng.integers(8, 24)), int(rng.choice([1, 3]))
        layers, width = convolutions(rng, channels, side)
        shape = (n, channels, side, side)
    elif kind < 0.6:
        steps, features, width = int(rng.integers(1, 12)), int(rng.choice([1, 3, 17])), int(rng.choice([1, 5, 16, 40]))
        layers = [rng.choice((rv.GRU, rv.LSTM))(features, width, int(rng.integers(1, 3)), bool(rng.random() < 0.8))]
        shape = (n, steps, features)
    else:
        layers, width = [], int(rng.choice([1, 3, 10, 64, 513, 784, 1100]))
        rows = rng.random() < 0.2
        shape = (n, 3, width) if rows else (n, width)
    for _ in range(rng.integers(1, 4)):
        out = int(rng.choice(WIDTHS))
        layers += [rv.Linear(width, out, bias=rng.random() < 0.8), *maybe_activation(rng)]
        width = out
    if rows:
        layers.append(rv.Flatten())
        width *= 3
    return rng, layers, rng.standard_normal(shape), rng.standard_normal((n, width))


@pytest.mark.parametrize("seed", range(30))
def test_training_has_the_same_bits_at_any_thread_count(seed):
    rng, layers, x, y = drawn(seed)
    dtype = rng.choice([np.float32, np.float64])
    batch_size, optimizer, shuffle = int(rng.integers(1, len(x) + 1)), rng.choice(OPTIMIZERS), rng.random() < 0.7
    states = []
    for threads in (1, 2, 3, 5):
        rv.set_num_threads(threads)
        net = rv.Network(layers, seed=0, dtype=dtype)
        options = dict(batch_size=batch_size, optimizer=optimizer, shuffle=shuffle, on_nonfinite="ignore")
        net.fit(x.astype(dtype), y.astype(dtype), epochs=2, loss=rv.QuadraticLoss(), progress=False, **options)
        states.append(net.state_dict())
    for state in states[1:]:
        for name, value in states[0].items():
            np.testing.assert_array_equal(state[name], value)


@pytest.mark.parametrize("seed", range(100, 120))
def test_gradients_are_the_mean_of_the_samples_own(isa, seed):
    _, layers, x, y = drawn(seed)
    rv.set_num_threads(2)
    net = rv.Network(layers, seed=0, dtype=np.float64)
    together = {name: value.copy() for name, value in net.loss_gradients(x, y, loss=rv.QuadraticLoss()).items()}
    mean = {name: np.zeros_like(value) for name, value in together.items()}
    for i in range(len(x)):
        for name, value in net.loss_gradients(x[i : i + 1], y[i : i + 1], loss=rv.QuadraticLoss()).items():
            mean[name] += value / len(x)
    for name, value in mean.items():
        np.testing.assert_allclose(together[name], value, rtol=1e-8, atol=1e-10 * (1 + np.abs(value).max()))
