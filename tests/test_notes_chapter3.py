"""The notes' chapter 3, written down from its formulas, against Ranvier's; and methods that a subclass writes anew."""

import json
import pickle

import numpy as np
import pytest
import ranvier as rv
from ranvier.notes import CrossEntropyCost, Network, QuadraticCost, sigmoid, sigmoid_prime


class Reference:
    """Gradient descent in NumPy with the cost, the regularization and the momentum of chapter 3."""

    def __init__(self, net, l1=0.0, l2=0.0, momentum=0.0):
        self.cost, self.l1, self.l2, self.momentum = net.cost, l1, l2, momentum
        self.biases, self.weights = [b.copy() for b in net.biases], [w.copy() for w in net.weights]
        self.velocities = [np.zeros_like(values) for values in self.biases + self.weights]

    def feedforward(self, a):
        for b, w in zip(self.biases, self.weights, strict=True):
            a = 1 / (1 + np.exp(-(w @ a + b)))
        return a

    def backprop(self, x, y):
        activations = [x]
        for b, w in zip(self.biases, self.weights, strict=True):
            activations.append(1 / (1 + np.exp(-(w @ activations[-1] + b))))
        a = activations[-1]
        delta = a - y if self.cost is CrossEntropyCost else (a - y) * a * (1 - a)
        nabla_b, nabla_w = [delta], [delta @ activations[-2].T]
        for layer in range(len(self.weights) - 2, -1, -1):
            a = activations[layer + 1]
            delta = (self.weights[layer + 1].T @ delta) * a * (1 - a)
            nabla_b.insert(0, delta)
            nabla_w.insert(0, delta @ activations[layer].T)
        return nabla_b, nabla_w

    def update_mini_batch(self, batch, eta):
        sums = [np.zeros_like(values) for values in self.biases + self.weights]
        for x, y in batch:
            nabla_b, nabla_w = self.backprop(x, y)
            sums = [total + part for total, part in zip(sums, nabla_b + nabla_w, strict=True)]
        penalties = [0] * len(self.biases) + [self.l1 * np.sign(w) + self.l2 * w for w in self.weights]
        for values, total, penalty, velocity in zip(
            self.biases + self.weights, sums, penalties, self.velocities, strict=True
        ):
            velocity *= self.momentum
            velocity -= eta * (total / len(batch) + penalty)
            values += velocity

    def total_cost(self, pairs):
        total = 0.0
        for x, y in pairs:
            a = self.feedforward(x)
            if self.cost is CrossEntropyCost:
                total -= float((y * np.log(a) + (1 - y) * np.log(1 - a)).sum())
            else:
                total += float(((a - y) ** 2).sum()) / 2
        penalty = sum(self.l1 * np.abs(w).sum() + self.l2 / 2 * (w**2).sum() for w in self.weights)
        return total / len(pairs) + float(penalty)

    def hits(self, pairs):
        return sum(int(self.feedforward(x).argmax() == y.argmax()) for x, y in pairs)


def samples(n=63, sizes=(4, 5, 3), seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, sizes[0], 1))
    labels = np.argmax(x[:, : sizes[-1], 0], axis=1)
    return [(column, np.eye(sizes[-1])[:, [label]]) for column, label in zip(x, labels, strict=True)]


def assert_near(net, reference, atol=1e-11):
    for got, expected in zip(net.weights + net.biases, reference.weights + reference.biases, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("cost", [QuadraticCost, CrossEntropyCost])
@pytest.mark.parametrize(("regularization", "lmbda"), [("L2", 0.0), ("L2", 3.0), ("L1", 2.0)])
@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("written_anew", [False, True])
def test_sgd_gives_the_weights_and_lists_of_the_reference(cost, regularization, lmbda, momentum, written_anew, capsys):
    class OwnBackprop(Network):
        def backprop(self, x, y):
            return super().backprop(x, y)

    net = (OwnBackprop if written_anew else Network)([4, 5, 3], cost, seed=3, dtype="float64")
    pairs, evaluation = samples(), samples(20, seed=1)
    factor = lmbda / len(pairs)
    l1, l2 = (factor, 0.0) if regularization == "L1" else (0.0, factor)
    reference = Reference(net, l1, l2, momentum)
    expected = [], [], [], []
    for epoch in (1, 2, 3):
        order = rv._core.random_permutation(3, epoch, len(pairs))
        for first in range(0, len(pairs), 10):
            reference.update_mini_batch([pairs[i] for i in order[first : first + 10]], 0.5)
        expected[1].append(reference.hits(evaluation))
        expected[2].append(reference.total_cost(pairs))
        expected[3].append(reference.hits(pairs))
        reference.l1, reference.l2 = l1 * 63 / 20, l2 * 63 / 20
        expected[0].append(reference.total_cost(evaluation))
        reference.l1, reference.l2 = l1, l2
    lists = net.SGD(
        pairs,
        3,
        10,
        0.5,
        lmbda=lmbda,
        regularization=regularization,
        momentum=momentum,
        evaluation_data=evaluation,
        monitor_evaluation_cost=True,
        monitor_evaluation_accuracy=True,
        monitor_training_cost=True,
        monitor_training_accuracy=True,
    )
    assert_near(net, reference)
    for got, wanted in zip(lists, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9)
    assert net.epochs_trained == 3
    assert net.total_cost(evaluation, lmbda * 20 / 63 * 63 / 20, regularization) == pytest.approx(lists[0][-1])
    out = capsys.readouterr().out
    assert out.count("complete") == 3
    assert f"evaluation accuracy: {lists[1][-1]} / 20" in out


def test_a_saturated_output_still_learns_with_the_cross_entropy():
    net = Network([1, 1], CrossEntropyCost, seed=0)
    net.weights, net.biases = [np.array([[1.0]])], [np.array([[30.0]])]  # the output is 1 in float32, wrong by 1
    net.update_mini_batch([(np.array([[1.0]]), 0)], 0.5)
    assert (net.weights[0].item(), net.biases[0].item()) == (0.5, 29.5)
    nabla_b, nabla_w = net.backprop(np.array([[1.0]]), 0)
    assert (nabla_b[0].item(), nabla_w[0].item()) == (1, 1)


@pytest.mark.parametrize("cost", [QuadraticCost, CrossEntropyCost])
def test_update_mini_batch_and_backprop_with_regularization(cost):
    net = Network([4, 5, 3], cost, seed=1, dtype="float64")
    reference = Reference(net, l2=7.0 / 63)
    pairs = samples(10)
    for (x, y), label in zip(pairs, [int(y.argmax()) for _, y in pairs], strict=True):
        for target in (y, label):
            for got, wanted in zip(net.backprop(x, target), reference.backprop(x, y), strict=True):
                for g, w in zip(got, wanted, strict=True):
                    np.testing.assert_allclose(g, w, rtol=0, atol=1e-12)
    net.update_mini_batch(pairs, 0.3, 7.0, 63)
    reference.update_mini_batch(pairs, 0.3)
    assert_near(net, reference)
    with pytest.raises(TypeError, match="n: expected the number of training samples"):
        net.update_mini_batch(pairs, 0.3, 7.0)


def test_costs():
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal((4, 1)), rng.random((4, 1))
    a = sigmoid(z)
    for cost in (QuadraticCost, CrossEntropyCost):
        step = 1e-6
        for i in range(4):
            e = np.zeros((4, 1))
            e[i] = step
            slope = (cost.fn(sigmoid(z + e), y) - cost.fn(sigmoid(z - e), y)) / (2 * step)
            assert cost.delta(z, a, y)[i, 0] == pytest.approx(slope, rel=1e-6)
    assert CrossEntropyCost.fn(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0
    assert CrossEntropyCost.fn(np.array([1.0, 0.0]), np.array([0.0, 0.0])) == np.inf
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0, 0.5, 1]
    assert sigmoid_prime(0.0) == 0.25


def test_a_cost_of_ones_own(tmp_path):
    class Double:
        def fn(self, a, y):
            return 2 * QuadraticCost.fn(a, y)

        def delta(self, z, a, y):
            assert z.shape == a.shape == y.shape == (3, 1)
            return 2 * QuadraticCost.delta(z, a, y)

    net, other = Network([4, 5, 3], Double(), seed=0), Network([4, 5, 3], QuadraticCost, seed=0)
    lists = net.SGD(samples(), 2, 10, 0.5, monitor_training_cost=True)
    wanted = other.SGD(samples(), 2, 10, 1.0, monitor_training_cost=True)
    np.testing.assert_allclose(lists[2], 2 * np.array(wanted[2]), rtol=1e-4)
    for got, expected in zip(net.weights, other.weights, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="cost: expected one of the library for a file"):
        net.save(tmp_path / "net.safetensors")
    with pytest.raises(TypeError, match="cost is of your own"):
        net.evaluate(np.zeros((1, 4)), [0])
    with pytest.raises(TypeError, match="cost: expected a cost with fn and delta"):
        Network([2, 1], cost="cross-entropy")


def calls_of(name, *args, **options):
    """Return how often SGD calls a method that a subclass writes anew, and the networks with it and without."""
    calls = []

    def method(self, *arguments):
        calls.append(arguments)
        return getattr(Network, name)(self, *arguments)

    own, plain = type("Own", (Network,), {name: method})([4, 5, 3], seed=0), rv.Network([4, 5, 3], seed=0)
    for net in (own, plain):
        net.SGD(samples(), 2, 10, 0.5, *args, **options)
    return calls, own, plain


@pytest.mark.parametrize(
    ("name", "count"), [("backprop", 126), ("update_mini_batch", 14), ("cost_derivative", 126), ("evaluate", 2)]
)
def test_sgd_calls_what_a_subclass_writes_anew(name, count, capsys):
    test = [(x, int(y.argmax())) for x, y in samples(20, seed=1)]
    calls, own, plain = calls_of(name, test)
    assert len(calls) == count
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == lines[2:]
    for got, expected in zip(own.weights + own.biases, plain.weights + plain.biases, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    if name == "update_mini_batch":
        assert {len(arguments[0]) for arguments in calls} == {10, 3}
        x, y = calls[0][0][0]
        assert (x.shape, y.shape) == ((4, 1), (3, 1))


def test_sgd_counts_hits_by_a_feedforward_of_ones_own(capsys):
    class Contrary(Network):
        def feedforward(self, a):
            return -super().feedforward(a)

    net = Contrary([4, 5, 2], seed=0)
    pairs = samples(40, (4, 5, 2))
    net.SGD(pairs, 5, 5, 3.0, test_data=pairs)
    least = int(capsys.readouterr().out.splitlines()[-1].split()[2])
    assert least < 10
    assert net.evaluate(pairs) == least
    assert rv.notes.Network.evaluate(net, pairs) == least


def test_the_notes_own_update_runs_as_it_stands():
    class FromTheNotes(Network):
        def update_mini_batch(self, mini_batch, eta):
            nabla_b = [np.zeros(b.shape) for b in self.biases]
            nabla_w = [np.zeros(w.shape) for w in self.weights]
            for x, y in mini_batch:
                delta_nabla_b, delta_nabla_w = self.backprop(x, y)
                nabla_b = [nb + dnb for nb, dnb in zip(nabla_b, delta_nabla_b, strict=True)]
                nabla_w = [nw + dnw for nw, dnw in zip(nabla_w, delta_nabla_w, strict=True)]
            self.weights = [w - (eta / len(mini_batch)) * nw for w, nw in zip(self.weights, nabla_w, strict=True)]
            self.biases = [b - (eta / len(mini_batch)) * nb for b, nb in zip(self.biases, nabla_b, strict=True)]

    own, plain = FromTheNotes([4, 5, 3], seed=0, dtype="float64"), rv.Network([4, 5, 3], seed=0, dtype="float64")
    for net in (own, plain):
        net.SGD(samples(), 3, 10, 3.0)
    for got, expected in zip(own.weights, plain.weights, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)
    with pytest.raises(TypeError, match="momentum, regularization: expected none with an update_mini_batch"):
        own.SGD(samples(), 1, 10, 3.0, momentum=0.5)


def test_a_method_set_on_one_network_counts():
    net = rv.Network([4, 5, 3], seed=0)
    calls = []
    net.backprop = lambda x, y: calls.append(1) or Network.backprop(net, x, y)
    net.SGD(samples(), 1, 10, 0.5)
    assert len(calls) == 63


def test_early_stopping_and_halving():
    rates, hits = [], [3, 5, 5, 4, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6]

    class Scripted(Network):
        def evaluate(self, data):
            return hits[self.epochs_trained - 1]

        def update_mini_batch(self, mini_batch, eta):
            rates.append(eta)

    pairs = samples(10)
    lists = Scripted([4, 5, 3], seed=0).SGD(
        pairs, 24, 10, 1.0, evaluation_data=pairs, early_stopping_n=2, monitor_evaluation_accuracy=True
    )
    assert lists[1] == [3, 5, 5, 4]
    rates.clear()
    Scripted([4, 5, 3], seed=0).SGD(pairs, 24, 10, 1.0, evaluation_data=pairs, halving_n=2)
    halvings = [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128]
    assert rates == [1] * 4 + [1 / 2] * 3 + [factor for factor in halvings[2:] for _ in range(2)]


def test_halving_in_the_compiled_trainer():
    hits = iter([1, 0, 0, 0])

    class Scripted(Network):
        def evaluate(self, data):
            return next(hits)

    pairs = samples(10)
    net, reference = Scripted([4, 5, 3], seed=0, dtype="float64"), Network([4, 5, 3], seed=0, dtype="float64")
    net.SGD(pairs, 4, 10, 1.0, evaluation_data=pairs, halving_n=1)
    for rate in (1, 1, 1 / 2, 1 / 4):
        reference.SGD(pairs, 1, 10, rate)
    for got, expected in zip(net.weights, reference.weights, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)
    assert net.learning_rate_factor == 1


def test_initializers():
    first, third = Network([400, 300, 10], seed=0), Network([400, 300, 10], CrossEntropyCost, seed=0)
    assert first.weights[0].std() == pytest.approx(1, rel=0.02)
    assert third.weights[0].std() == pytest.approx(1 / 20, rel=0.02)
    for net in (first, third):
        assert net.biases[0].std() == pytest.approx(1, rel=0.1)
    third.large_weight_initializer()
    first.default_weight_initializer()
    np.testing.assert_array_equal(third.weights[1], rv.Network([400, 300, 10], seed=0).weights[1])
    assert first.weights[1].std() == pytest.approx(1 / np.sqrt(300), rel=0.05)


def test_files_and_copies(tmp_path):
    net = rv.Network([4, 5, 3], cost=CrossEntropyCost, seed=0)
    net.SGD(samples(), 1, 10, 0.5)
    net.save(tmp_path / "net.safetensors")
    loaded = [rv.load(tmp_path / "net.safetensors"), rv.notes.load(tmp_path / "net.safetensors"), net.copy()]
    for twin in [*loaded, pickle.loads(pickle.dumps(net))]:
        assert type(twin) is Network
        assert (twin.sizes, twin.cost, twin.epochs_trained) == ([4, 5, 3], CrossEntropyCost, 1)
        np.testing.assert_array_equal(twin.weights[1], net.weights[1])
    assert repr(net) == "Network([4, 5, 3], cost=CrossEntropyCost)"
    rv.Network([rv.Linear(2, 2)]).save(tmp_path / "layers.safetensors")
    with pytest.raises(ValueError, match="expected a network of sizes"):
        rv.notes.load(tmp_path / "layers.safetensors")


def test_the_json_of_network2(tmp_path):
    net = Network([4, 5, 3], CrossEntropyCost, seed=0, dtype="float64")
    contents = {
        "sizes": net.sizes,
        "weights": [w.tolist() for w in net.weights],
        "biases": [b.tolist() for b in net.biases],
        "cost": "CrossEntropyCost",
    }
    path = tmp_path / "net.json"
    path.write_text(json.dumps(contents))
    loaded = rv.notes.load(path)
    assert (loaded.sizes, loaded.cost, loaded.dtype) == ([4, 5, 3], CrossEntropyCost, np.float64)
    for got, expected in zip(loaded.weights + loaded.biases, net.weights + net.biases, strict=True):
        np.testing.assert_array_equal(got, expected)
    for wrong in ({"cost": "Cubic"}, {"weights": []}, {"sizes": "784"}, {"sizes": [0, 1]}, {"more": 1}):
        path.write_text(json.dumps(contents | wrong))
        with pytest.raises(ValueError, match=r"net\.json"):
            rv.notes.load(path)
    path.write_text("{nonsense")
    with pytest.raises(ValueError, match="not the JSON of a network"):
        rv.notes.load(path)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lmbda": -1}, ValueError, "lmbda"),
        ({"regularization": "L3"}, ValueError, "regularization: expected 'L1' or 'L2'"),
        ({"momentum": 1}, ValueError, "momentum"),
        ({"test_data": 5.0}, TypeError, "pass lmbda and others by their names"),
        ({"monitor_evaluation_cost": True}, ValueError, "evaluation_data: expected data"),
        ({"early_stopping_n": 3}, ValueError, "evaluation_data: expected data"),
        ({"early_stopping_n": -1}, ValueError, "early_stopping_n"),
        ({"halving_n": 1.5}, TypeError, "halving_n"),
        ({"monitor_training_cost": 1}, TypeError, "monitor_training_cost"),
        ({"early_stopping_n": 1, "halving_n": 1}, ValueError, "halving_n: expected 0 with early_stopping_n"),
        ({"evaluation_data": (np.zeros((2, 3)), [0, 1])}, ValueError, "layer 0"),
        ({"evaluation_data": (np.zeros((2, 4)), [0, 3])}, ValueError, "evaluation_data y: expected labels"),
    ],
)
def test_bad_calls_change_nothing(options, error, message):
    net = Network([4, 5, 3], CrossEntropyCost, seed=0)
    before = net.state_dict()
    with pytest.raises(error, match=message):
        net.SGD(samples(), 1, 10, 0.5, **options)
    for name, value in before.items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


def test_a_subclass_for_sizes_derives_from_the_notes_class():
    class Mine(rv.Network):
        pass

    with pytest.raises(TypeError, match=r"derive from ranvier\.notes\.Network"):
        Mine([4, 5, 3])
    assert type(Mine([rv.Linear(2, 2)])) is Mine
    assert type(rv.Network([4, 5, 3])) is Network
    assert isinstance(rv.Network([4, 5, 3]), rv.Network)
    with pytest.raises(TypeError, match="sizes: expected ints"):
        Network([rv.Linear(2, 2)])
