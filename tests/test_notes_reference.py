"""The lecture notes' network, written down from their formulas, against Ranvier's in float64."""

import numpy as np
import pytest
import ranvier as rv


class NotesNetwork:
    """Sigmoid layers, quadratic cost, and the four equations of backpropagation on columns."""

    def __init__(self, sizes, biases, weights):
        self.sizes = sizes
        self.biases = [b.copy() for b in biases]
        self.weights = [w.copy() for w in weights]

    def backprop(self, x, y):
        activations, weighted = [x], []
        for b, w in zip(self.biases, self.weights, strict=True):
            weighted.append(w @ activations[-1] + b)
            activations.append(1 / (1 + np.exp(-weighted[-1])))
        slopes = [1 / (1 + np.exp(-z)) * (1 - 1 / (1 + np.exp(-z))) for z in weighted]
        delta = (activations[-1] - y) * slopes[-1]
        nabla_b, nabla_w = [delta], [delta @ activations[-2].T]
        for layer in range(len(self.sizes) - 3, -1, -1):
            delta = (self.weights[layer + 1].T @ delta) * slopes[layer]
            nabla_b.insert(0, delta)
            nabla_w.insert(0, delta @ activations[layer].T)
        return nabla_b, nabla_w

    def update_mini_batch(self, batch, eta):
        total_b, total_w = [np.zeros_like(b) for b in self.biases], [np.zeros_like(w) for w in self.weights]
        for x, y in batch:
            nabla_b, nabla_w = self.backprop(x, y)
            total_b = [a + b for a, b in zip(total_b, nabla_b, strict=True)]
            total_w = [a + b for a, b in zip(total_w, nabla_w, strict=True)]
        self.biases = [b - eta / len(batch) * n for b, n in zip(self.biases, total_b, strict=True)]
        self.weights = [w - eta / len(batch) * n for w, n in zip(self.weights, total_w, strict=True)]


def data(sizes, n, seed=0):
    rng = np.random.default_rng(seed)
    xs = rng.random((n, sizes[0], 1))
    labels = rng.integers(0, sizes[-1], n)
    return [(x, np.eye(sizes[-1])[:, [label]]) for x, label in zip(xs, labels, strict=True)], labels


def both(sizes, seed=1):
    net = rv.Network(sizes, seed=seed, dtype="float64")
    return net, NotesNetwork(sizes, net.biases, net.weights)


@pytest.mark.parametrize("sizes", [[3, 1], [4, 5, 3], [784, 30, 10], [7, 6, 5, 4]])
def test_backprop_gives_the_notes_gradients(isa, sizes):
    net, notes = both(sizes)
    for x, y in data(sizes, 5)[0]:
        for got, expected in zip(net.backprop(x, y), notes.backprop(x, y), strict=True):
            for g, e in zip(got, expected, strict=True):
                assert g.shape == e.shape
                np.testing.assert_allclose(g, e, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sizes", [[4, 5, 3], [784, 30, 10]])
def test_an_epoch_gives_the_notes_weights(sizes):
    net, notes = both(sizes)
    pairs, _ = data(sizes, 203)
    order = rv._core.random_permutation(net.seed, 1, len(pairs))  # of the first epoch
    net.SGD(pairs, epochs=1, mini_batch_size=10, eta=3.0)
    for start in range(0, len(pairs), 10):
        notes.update_mini_batch([pairs[i] for i in order[start : start + 10]], 3.0)
    for got, expected in zip(net.weights + net.biases, notes.weights + notes.biases, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


def test_update_mini_batch_takes_pairs_and_arrays():
    net, notes = both([4, 5, 3])
    pairs, labels = data([4, 5, 3], 10)
    other = rv.Network([4, 5, 3], seed=1, dtype="float64")
    net.update_mini_batch(pairs, 0.7)
    other.update_mini_batch((np.stack([x[:, 0] for x, _ in pairs]), labels), 0.7)
    notes.update_mini_batch(pairs, 0.7)
    for got, same, expected in zip(net.weights, other.weights, notes.weights, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)
        np.testing.assert_array_equal(got, same)


def test_sgd_prints_as_the_notes_do(capsys):
    net, _ = both([4, 5, 3])
    pairs, labels = data([4, 5, 3], 30)
    test = [(x, label) for (x, _), label in zip(pairs, labels, strict=True)]
    net.SGD(pairs, 2, 10, 3.0, test_data=test)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["Epoch 0", "Epoch 1"]
    assert lines[1].endswith(f"{net.evaluate(test)} / 30")
    net.SGD(pairs, 1, 10, 3.0)
    assert capsys.readouterr().out == "Epoch 0 complete\n"


def test_feedforward_and_evaluate():
    net, notes = both([4, 5, 3])
    pairs, labels = data([4, 5, 3], 20)
    hits = 0
    for (x, _), label in zip(pairs, labels, strict=True):
        a = x
        for b, w in zip(notes.biases, notes.weights, strict=True):
            a = 1 / (1 + np.exp(-(w @ a + b)))
        np.testing.assert_allclose(net.feedforward(x), a, rtol=0, atol=1e-14)
        np.testing.assert_allclose(net.feedforward(x[:, 0]), a[:, 0], rtol=0, atol=1e-14)
        hits += a.argmax() == label
    x = np.stack([x[:, 0] for x, _ in pairs])
    assert net.evaluate((x, labels)) == hits
    assert net.evaluate(pairs) == hits
    assert net.evaluate(x, labels).accuracy == hits / 20


def test_the_notes_attributes():
    net = rv.Network([4, 5, 3], seed=0)
    assert net.sizes == [4, 5, 3]
    assert net.num_layers == 3
    assert [b.shape for b in net.biases] == [(5, 1), (3, 1)]
    assert [w.shape for w in net.weights] == [(5, 4), (3, 5)]
    net.weights[0][...] = 0
    assert not net.weights[0].any()
    net.biases = [np.ones((5, 1)), np.ones((3, 1))]
    assert (net.parameters()["2.bias"] == 1).all()
    with pytest.raises(ValueError, match="weights: expected 2 arrays, got 1"):
        net.weights = [np.zeros((5, 4))]
    with pytest.raises(ValueError, match=r"weights\[1\]: expected shape \(3, 5\)"):
        net.weights = [np.zeros((5, 4)), np.zeros((5, 3))]
    np.testing.assert_array_equal(net.cost_derivative(np.array([1.0, 2.0]), np.array([0.0, 2.0])), [1, 0])
    layers = rv.Network([rv.Linear(2, 2)], seed=0)
    names = {name for name in vars(rv.notes.Network) if not name.startswith("_")} - set(dir(rv.Network))
    assert names >= {"SGD", "backprop", "update_mini_batch", "feedforward", "cost_derivative", "weights", "biases"}
    assert not any(hasattr(layers, name) for name in [*names, "sizes", "cost"])


def test_sgd_takes_every_form_of_data():
    pairs, labels = data([1, 5, 3], 2)  # one feature and two samples: the forms that are easily confused
    x = np.stack([x[:, 0] for x, _ in pairs])
    one_hot = np.stack([y[:, 0] for _, y in pairs])
    states = []
    for form in (pairs, tuple(pairs), iter(pairs), (x, labels), [x, labels], (x, one_hot), (list(x), list(labels))):
        net = rv.Network([1, 5, 3], seed=1)
        net.SGD(form, 2, 1, 3.0)
        states.append(net.state_dict())
    for state in states[1:]:
        for name, value in states[0].items():
            np.testing.assert_array_equal(state[name], value)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"training_data": []}, ValueError, "training_data: expected at least one sample"),
        ({"training_data": [(np.zeros(4), 1), (np.zeros(3), 1)]}, ValueError, "training_data x: expected one size"),
        ({"training_data": (np.zeros((4, 4)), [0, 1, 2])}, ValueError, "y: expected one target for each of 4 samples"),
        ({"training_data": np.zeros((5, 4))}, TypeError, "training_data: expected a pair of arrays"),
        ({"test_data": (np.zeros((2, 4)), [0, 3])}, ValueError, "test_data y: expected labels from 0 to 2, got 3"),
        ({"test_data": (np.zeros((2, 5)), [0, 1])}, ValueError, "layer 0"),
        ({"mini_batch_size": 0}, ValueError, "mini_batch_size: expected at least 1"),
        ({"eta": "3"}, TypeError, "eta: expected a number"),
    ],
)
def test_bad_sgd_calls_change_nothing(change, error, message):
    net = rv.Network([4, 5, 3], seed=0)
    before = net.state_dict()
    good = {"training_data": (np.ones((4, 4)), [0, 1, 2, 0]), "epochs": 1, "mini_batch_size": 2, "eta": 1.0}
    with pytest.raises(error, match=message):
        net.SGD(**(good | change))
    for name, value in before.items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


def test_start_is_standard_normal():
    net = rv.Network([784, 100, 10], seed=3)
    values = net.weights[0]
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01
