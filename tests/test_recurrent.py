"""Recurrent layers against PyTorch's, and their promises: the same bits whatever threads and batches there are."""

import numpy as np
import pytest
import ranvier as rv

RNG = np.random.default_rng(0)
CASES = {
    "GRU": rv.GRU(5, 7),
    "GRU of sequences": rv.GRU(5, 16, return_sequences=True),
    "GRU without biases": rv.GRU(5, 33, bias=False),
    "GRU of three layers": rv.GRU(5, 6, num_layers=3),
    "LSTM": rv.LSTM(5, 7),
    "LSTM of sequences": rv.LSTM(5, 16, return_sequences=True),
    "LSTM without biases": rv.LSTM(5, 33, bias=False),
    "LSTM of three layers": rv.LSTM(5, 6, num_layers=3, return_sequences=True),
    "one by one": rv.GRU(1, 1),
}


def samples(layer, n, steps, seed=0):
    return np.random.default_rng(seed).standard_normal((n, steps, layer.input_size))


@pytest.mark.parametrize(("n", "steps"), [(1, 1), (1, 9), (3, 2), (17, 1), (40, 13)])
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_pytorchs(isa, case, n, steps):
    torch = pytest.importorskip("torch")
    layer = CASES[case]
    net = rv.Network([layer], seed=1, dtype="float64")
    options = {"num_layers": layer.num_layers, "bias": layer.bias, "batch_first": True}
    peer = getattr(torch.nn, type(layer).__name__)(layer.input_size, layer.hidden_size, **options).double()
    peer.load_state_dict({name.removeprefix("0."): torch.from_numpy(v) for name, v in net.state_dict().items()})
    x = samples(layer, n, steps)
    inputs = torch.from_numpy(x).requires_grad_()
    expected = peer(inputs)[0] if layer.return_sequences else peer(inputs)[0][:, -1]
    np.testing.assert_allclose(net.predict(x), expected.detach().numpy(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(net.predictor()(x), expected.detach().numpy(), rtol=0, atol=1e-14)

    grad = np.random.default_rng(2).standard_normal(expected.shape)
    expected.backward(torch.from_numpy(grad))
    np.testing.assert_allclose(net.forward(x), expected.detach().numpy(), rtol=0, atol=1e-14)
    for times in (1, 2):  # a further backward pass adds the same once more
        grad_x = net.backward(grad, input_gradient=True)
        np.testing.assert_allclose(grad_x, inputs.grad.numpy(), rtol=1e-10, atol=1e-12)
        for name, parameter in peer.named_parameters():
            ours = net.gradients()[f"0.{name}"]
            np.testing.assert_allclose(ours, times * parameter.grad.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("layer", [rv.GRU(3, 40, num_layers=2, return_sequences=True), rv.LSTM(3, 40)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_has_the_same_bits_at_any_thread_count(isa, layer, dtype):
    x, y = samples(layer, 150, 12).astype(dtype), RNG.integers(0, 3, 150)
    layers = [
        layer,
        *([rv.Flatten()] if layer.return_sequences else []),
        rv.Linear(480 if layer.return_sequences else 40, 3),
    ]
    states = []
    for threads in (1, 2, 3, 5):
        rv.set_num_threads(threads)
        net = rv.Network(layers, seed=0, dtype=dtype)
        net.fit(x, y, epochs=2, batch_size=64, optimizer=rv.Adam(1e-2), progress=False)
        states.append((net.state_dict(), net.predict(x)))
    for state, outputs in states[1:]:
        np.testing.assert_array_equal(outputs, states[0][1])
        for name, value in states[0][0].items():
            np.testing.assert_array_equal(state[name], value)


@pytest.mark.parametrize("layer", [rv.GRU(6, 17), rv.LSTM(6, 32, num_layers=2), rv.GRU(1, 1), rv.LSTM(1, 2)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sample_has_the_same_bits_in_any_batch(isa, layer, dtype):
    net = rv.Network([layer], seed=0, dtype=dtype)
    x = samples(layer, 200, 11).astype(dtype)
    together = net.predict(x)
    for predict in (net.predict, net.predictor()):
        for n in (1, 2, 3, 5, 16, 33, 200):
            np.testing.assert_array_equal(predict(x[:n]), together[:n])


def test_gradients_are_the_mean_of_the_samples_own():
    layer = rv.LSTM(4, 9, num_layers=2)
    net = rv.Network([layer, rv.Linear(9, 2)], seed=0, dtype="float64")
    x, y = samples(layer, 75, 6), RNG.standard_normal((75, 2))
    together = {name: value.copy() for name, value in net.loss_gradients(x, y, loss=rv.MSELoss()).items()}
    for name, value in together.items():
        own = [net.loss_gradients(x[[i]], y[[i]], loss=rv.MSELoss())[name].copy() for i in range(75)]
        np.testing.assert_allclose(value, np.mean(own, axis=0), rtol=1e-9, atol=1e-14)


def test_a_layer_of_layers_is_layers_one_above_the_other():
    stack = rv.Network([rv.GRU(4, 6, num_layers=2)], seed=0)
    apart = rv.Network([rv.GRU(4, 6, return_sequences=True), rv.GRU(6, 6)], seed=0)
    apart.load_state_dict({f"{name[-1]}{name[1:-1]}0": value for name, value in stack.state_dict().items()})
    x = samples(rv.GRU(4, 6), 30, 8)
    np.testing.assert_array_equal(stack.predict(x), apart.predict(x))


def test_a_parameter_that_is_not_finite_is_named():
    net = rv.Network([rv.GRU(4, 6, num_layers=2), rv.Linear(6, 2)], seed=0)
    net.parameters()["0.weight_hh_l1"][0, 0] = np.nan
    with pytest.raises(FloatingPointError, match=r"weight_hh_l1 of layer 0 \(GRU l1\)"):
        net.fit(samples(rv.GRU(4, 6), 8, 5), RNG.integers(0, 2, 8), progress=False)


def test_a_profile_has_each_layer():
    net = rv.Network([rv.GRU(4, 6, num_layers=2), rv.Linear(6, 2)], seed=0)
    profile = net.profile(samples(rv.GRU(4, 6), 40, 5), RNG.integers(0, 2, 40), seconds=0.01)
    assert [layer.name for layer in profile.layers] == ["GRU l0", "GRU l1", "Linear"]
    assert [layer.flops for layer in profile.layers] == [2 * 5 * 18 * 10, 2 * 5 * 18 * 12, 24]


def test_frozen_parameters_stay():
    net = rv.Network([rv.LSTM(4, 6, num_layers=2), rv.Linear(6, 2)], seed=0)
    net.freeze("0.*_l0")
    before = net.state_dict()
    net.fit(samples(rv.GRU(4, 6), 40, 5), RNG.integers(0, 2, 40), progress=False)
    changed = {name for name, value in net.state_dict().items() if not np.array_equal(value, before[name])}
    assert changed == {name for name in before if not name.endswith("_l0")}


@pytest.mark.parametrize("shape", [(8,), (0, 4), (5, 3), (2, 5, 4)])
def test_samples_that_are_no_sequences_are_refused(shape):
    net = rv.Network([rv.GRU(4, 6)], seed=0)
    with pytest.raises(ValueError, match=r"layer 0 \(GRU\): expected samples of shape \(time, 4\)"):
        net.predict(np.zeros((3, *shape)))


def test_a_sine_is_continued():
    t = np.arange(400) * 0.2
    wave = np.sin(t)
    x = np.stack([wave[i : i + 20] for i in range(380)])[..., None]
    net = rv.Network([rv.GRU(1, 16), rv.Linear(16, 1)], seed=0)
    net.fit(x, wave[20:, None], epochs=20, batch_size=32, loss=rv.MSELoss(), optimizer=rv.Adam(1e-2), progress=False)
    assert net.evaluate(x, wave[20:, None], loss=rv.MSELoss()).loss < 1e-3
