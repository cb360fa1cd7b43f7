"""Embedding against PyTorch's, what it refuses, and its promises."""

import numpy as np
import pytest
import ranvier as rv

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, 50, (120, 7))
LABELS = (TOKENS[:, 0] > 25).astype(int)


def network(dtype="float32", size=12):
    return rv.Network([rv.Embedding(50, size), rv.Flatten(), rv.Linear(7 * size, 2)], seed=0, dtype=dtype)


@pytest.mark.parametrize("shape", [(5,), (1,), (), (3, 4)])
def test_outputs_and_gradients_are_pytorchs(isa, shape):
    torch = pytest.importorskip("torch")
    net = rv.Network([rv.Embedding(6, 5)], seed=0, dtype="float64")
    peer = torch.nn.Embedding(6, 5, _weight=torch.from_numpy(net.state_dict()["0.weight"]))
    x = RNG.integers(0, 6, (40, *shape))
    expected = peer(torch.from_numpy(x))
    np.testing.assert_array_equal(net.predict(x), expected.detach().numpy())
    grad = RNG.standard_normal(expected.shape)
    expected.backward(torch.from_numpy(grad))
    net.forward(x)
    grad_x = net.backward(grad, input_gradient=True)
    np.testing.assert_array_equal(grad_x, np.zeros(x.shape))
    np.testing.assert_allclose(net.gradients()["0.weight"], peer.weight.grad.numpy(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("optimizer", [rv.SGD(0.1), rv.Adam(1e-2), rv.SGD(0.1, clip_norm=0.5)], ids=str)
@pytest.mark.parametrize("size", [1, 12, 300])
def test_training_has_the_same_bits_at_any_thread_count(optimizer, size):
    states = []
    for threads in (1, 2, 3, 5):
        rv.set_num_threads(threads)
        net = network(size=size)
        net.fit(TOKENS, LABELS, epochs=2, batch_size=50, optimizer=optimizer, progress=False)
        states.append(net.state_dict())
    for state in states[1:]:
        for name, value in states[0].items():
            np.testing.assert_array_equal(state[name], value)


@pytest.mark.parametrize("optimizer", [rv.SGD(0.1), rv.SGD(0.1, momentum=0.9), rv.Adam(1e-2)], ids=str)
def test_updates_are_those_of_the_gradients(optimizer):
    fused, apart = network("float64"), network("float64")
    loss = rv.CrossEntropyLoss()
    for first in (0, 40, 80):
        x, y = TOKENS[first : first + 40], LABELS[first : first + 40]
        fused.train_step(x, y, loss=loss, optimizer=optimizer)
        apart.backward(loss.gradient(apart.forward(x), y))
        apart.step(optimizer)
    for name, value in fused.state_dict().items():
        np.testing.assert_allclose(value, apart.state_dict()[name], rtol=1e-10, atol=1e-13)


def test_rows_that_nothing_reads_stay():
    net = network()
    before = net.state_dict()["0.weight"]
    net.fit(TOKENS % 20, LABELS, optimizer=rv.SGD(0.1), progress=False)
    changed = (net.state_dict()["0.weight"] != before).any(axis=1)
    np.testing.assert_array_equal(changed, np.arange(50) < 20)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given", [np.int64, np.int32, np.int16, np.float32, np.float64])
def test_any_type_of_integers(dtype, given):
    net = network(dtype)
    np.testing.assert_array_equal(net.predict(TOKENS.astype(given)), net.predict(TOKENS))


@pytest.mark.parametrize("bad", [50, -1, 1e9, 0.5, np.nan, np.inf])
def test_what_is_no_index_is_refused_and_changes_nothing(bad):
    net, x = network(), TOKENS.astype(np.float64)
    x[77, 3] = bad
    before = net.state_dict()
    message = r"layer 0 \(Embedding\): expected integers from 0 to 49, got .* in sample 77$"
    loss, optimizer = rv.CrossEntropyLoss(), rv.Adam()
    for call in (
        lambda: net.predict(x),
        lambda: net.predictor()(x),
        lambda: net.forward(x),
        lambda: net.evaluate(x, LABELS, loss=loss),
        lambda: net.fit(x, LABELS, batch_size=120, optimizer=optimizer, progress=False),
        lambda: net.train_step(x, LABELS, loss=loss, optimizer=optimizer),
        lambda: net.loss_gradients(x, LABELS, loss=loss),
    ):
        with pytest.raises(ValueError, match=message):
            call()
        for name, value in net.state_dict().items():
            np.testing.assert_array_equal(value, before[name])


def test_pixels_are_no_indices():
    with pytest.raises(ValueError, match="expected integers"):
        network().predict(TOKENS.astype(np.uint8))


def test_more_embeddings_than_the_dtype_has_integers():
    # Without memory for such a table: its parameters exist when the network does.
    with pytest.raises(ValueError, match="expected at most 16777216 embeddings"):
        rv.Network([rv.Embedding(2**24 + 1, 1)], seed=0).predict(np.zeros((1, 1)))


def test_a_bag_of_words_is_learned():
    x = RNG.integers(0, 50, (500, 6))
    y = np.isin(x, [3, 14, 15, 9, 26]).any(axis=1).astype(int)
    net = rv.Network([rv.Embedding(50, 8), rv.GRU(8, 16), rv.Linear(16, 2)], seed=0)
    net.fit(x, y, epochs=25, batch_size=25, optimizer=rv.Adam(1e-2), progress=False)
    assert net.evaluate(x, y).accuracy > 0.95
