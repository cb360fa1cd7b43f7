"""The check of gradients, the observers of a training run and the learning rate test, against plain formulas."""

import itertools

import numpy as np
import pytest
import ranvier as rv
import test_layers
from ranvier import diagnostics, plot
from ranvier.diagnostics import gradient_check, learning_rate_range_test

rng = np.random.default_rng(0)
X = rng.standard_normal((12, 6))
Y = rng.integers(0, 3, 12)


def small(*between, seed=0, **options):
    return rv.Network([rv.Linear(6, 5), *between, rv.Linear(5, 3)], seed=seed, **options)


def untouched(net):
    """Return what an observer must not change."""
    return net.state_dict(), net.engine.training_passes, net.epochs_trained, net.history


def assert_same(before, after):
    assert before[1:] == after[1:]
    assert before[0].keys() == after[0].keys()
    for name, value in before[0].items():
        np.testing.assert_array_equal(after[0][name], value, err_msg=name)


class Square:
    """A layer of one's own; its gradient is too large by some factor."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def forward(self, x):
        self.x = x
        return x * x

    def backward(self, grad):
        return 2 * self.factor * self.x * grad


class Cubes:
    """A loss of one's own; its gradient is too large by some factor."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def __call__(self, prediction, target):
        return float((np.abs(prediction - np.eye(3)[target]) ** 3).mean())

    def gradient(self, prediction, target):
        difference = prediction - np.eye(3)[target]
        return self.factor * 3 * difference * np.abs(difference) / difference.size


# --- gradient check -----------------------------------------------------------------------------------------


LOSSES = [
    (rv.QuadraticLoss(), []),
    (rv.SumSquaredResidualsLoss(), []),
    (rv.MSELoss(), []),
    (rv.CrossEntropyLoss(label_smoothing=0.1), []),
    (rv.BCELoss(), [rv.Sigmoid()]),
    (rv.BCEWithLogitsLoss(), []),
    (rv.HingeLoss(), []),
]


@pytest.mark.parametrize(("loss", "last"), LOSSES, ids=lambda value: str(value))
@pytest.mark.parametrize("case", test_layers.CASES)
def test_gradients_of_every_layer_and_loss_pass(case, loss, last):
    shape, layers = test_layers.CASES[case]
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, *shape))
    net = rv.Network([*layers, rv.Flatten(), *last], seed=3)  # to one row of classes, as some losses need
    if not net.parameters():
        pytest.skip("nothing to check")
    y = rng.random((3, *net.predict(x).shape[1:]))
    if isinstance(loss, rv.HingeLoss):
        y = np.where(y > 0.5, 1.0, -1.0)
    result = gradient_check(net, x, y, loss=loss, samples_per_parameter=4)
    assert result.passed, result


@pytest.mark.parametrize("layers", [[Square()], [rv.Residual([Square()])], [rv.Parallel([[Square()]])]])
def test_layers_of_ones_own_pass(layers):
    assert gradient_check(small(rv.Tanh(), *layers, rv.Dropout(0.3)), X, Y).passed


@pytest.mark.parametrize("wrap", [lambda layer: layer, lambda layer: rv.Residual([layer])], ids=["plain", "inner"])
@pytest.mark.parametrize("factor", [1.001, 0.5, -1.0, 0.0])
def test_a_wrong_backward_fails_and_is_named(factor, wrap):
    layers = [rv.Linear(6, 5), rv.ReLU(), rv.Linear(5, 5), wrap(Square(factor)), rv.Linear(5, 3)]
    result = gradient_check(rv.Network(layers, seed=0), X, Y)
    assert not result.passed
    wrong = {name for name, error in result.errors.items() if error > result.tolerance}
    assert wrong == {"0.weight", "0.bias", "2.weight", "2.bias"}  # all before the layer
    worst = result.worst
    assert worst.name in wrong
    assert worst.error == max(result.errors.values())
    assert abs(worst.analytic - worst.numeric) / max(abs(worst.analytic), abs(worst.numeric)) == worst.error
    assert worst.index in set(np.ndindex(*rv.Network(layers).parameters()[worst.name].shape))
    assert str(result).splitlines()[-1].startswith(f"failed: largest error in {worst.name}")


def test_worst_has_the_numbers_of_backpropagation_and_of_differences():
    net = small(rv.Tanh(), dtype="float64")
    worst = gradient_check(net, X, Y, samples_per_parameter=1000).worst
    assert worst.analytic == pytest.approx(net.loss_gradients(X, Y)[worst.name][worst.index], rel=1e-12)
    losses = []
    for step in (1e-5, -1e-5):
        moved = net.state_dict()
        moved[worst.name][worst.index] += step
        other = small(rv.Tanh(), dtype="float64")
        other.load_state_dict(moved)
        losses.append(other.evaluate(X, Y).loss)
    assert worst.numeric == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-4)


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_losses_of_ones_own(factor):
    result = gradient_check(small(rv.Tanh()), X, Y, loss=Cubes(factor))
    assert result.passed == (factor == 1)


def test_penalties_count():
    layers = [rv.Residual([rv.Linear(6, 6, l1=0.2, l2=0.3)]), rv.Tanh(), rv.Linear(6, 3, l2=0.5)]
    assert gradient_check(rv.Network(layers, seed=0), X, Y).passed
    image = rng.standard_normal((4, 2, 5, 5))
    assert gradient_check(
        rv.Network([rv.Conv2d(2, 3, 3, l1=0.1, l2=0.2), rv.GlobalAvgPool2d()], seed=0), image, [0, 1, 2, 0]
    ).passed


def test_the_network_stays_as_it_is():
    net = small(rv.BatchNorm1d(5), rv.Dropout(0.4))
    net.fit(X, Y, epochs=2, progress=False)
    before = untouched(net)
    gradient_check(net, X, Y)
    assert_same(before, untouched(net))


def test_sizes_have_their_usual_loss():
    net = rv.Network([6, 5, 3], seed=0)
    gradient = gradient_check(net, X, Y, samples_per_parameter=1).parameters[-1]
    expected = net.loss_gradients(X, Y, loss=rv.QuadraticLoss())[gradient.name][gradient.index]
    assert gradient.analytic == pytest.approx(expected, rel=1e-5)


def test_entries_are_as_many_as_asked_for():
    result = gradient_check(small(), X, Y, samples_per_parameter=7)
    assert [check.compared for check in result.parameters] == [7, 5, 7, 3]


def test_a_kink_within_the_step_is_told_from_an_error():
    # ReLU's input is 4e-6 for a sample: within the step of 1e-5 of the kink, but not within a tenth of it.
    net = rv.Network([rv.Linear(1, 1), rv.ReLU(), rv.Linear(1, 3)], seed=0, dtype="float64")
    net.load_state_dict(net.state_dict() | {"0.weight": [[1.0]], "0.bias": [4e-6]})
    x = np.array([[0.0], [1.0]])
    result = gradient_check(net, x, [0, 1])
    assert result.passed, result
    assert all(check.kinks == 0 for check in result.parameters)
    wrong = rv.Network([rv.Linear(1, 1), rv.ReLU(), Square(1.1), rv.Linear(1, 3)], seed=0, dtype="float64")
    wrong.load_state_dict({name.replace("2.", "3."): value for name, value in net.state_dict().items()})
    assert not gradient_check(wrong, x, [0, 1]).passed


def test_entries_at_a_kink_are_left_out_and_counted():
    net = small(rv.ReLU())
    net.parameters()["0.bias"][...] = 0
    x = np.vstack([np.zeros((1, 6)), X])  # the first sample is at the kink, whatever the weights
    result = gradient_check(net, x, [0, *Y])
    bias = next(check for check in result.parameters if check.name == "0.bias")
    assert (bias.compared, bias.kinks) == (0, 5)
    assert not result.passed  # nothing was compared
    assert result.worst is bias
    assert "nothing but kinks in 0.bias" in str(result)
    rest = [check for check in result.parameters if check is not bias]
    assert all(check.error <= result.tolerance and check.kinks == 0 for check in rest)


def test_max_pooling_of_ties():
    net = rv.Network([rv.Conv2d(1, 2, 1), rv.MaxPool2d(2), rv.Flatten(), rv.Linear(8, 3)], seed=0)
    image = np.repeat(np.repeat(rng.standard_normal((4, 1, 2, 2)), 2, axis=2), 2, axis=3)  # all of a window are equal
    assert gradient_check(net, image, [0, 1, 2, 0]).passed  # they move together


class Noise:
    def forward(self, x):
        return x + rng.standard_normal(x.shape)

    def backward(self, grad):
        return grad


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"step": 0}, ValueError, "step:"),
        ({"step": "1"}, TypeError, "step:"),
        ({"tolerance": -1}, ValueError, "tolerance:"),
        ({"samples_per_parameter": 0}, ValueError, "samples_per_parameter:"),
        ({"samples_per_parameter": 1.5}, TypeError, "samples_per_parameter:"),
        ({"loss": "mse"}, TypeError, "loss:"),
        ({"y": [0]}, ValueError, "y:"),
        ({"x": X * np.inf}, ValueError, "x: expected a batch with a finite loss"),
        ({"net": rv.Network([rv.Tanh()])}, ValueError, "net: expected a network with parameters"),
        ({"net": small(Noise())}, ValueError, "net: expected the same loss"),
    ],
)
def test_bad_arguments_of_gradient_check(arguments, error, message):
    given = {"net": small(), "x": X, "y": Y} | arguments
    with np.errstate(invalid="ignore"), pytest.raises(error, match=f"^{message}"):
        gradient_check(given.pop("net"), given.pop("x"), given.pop("y"), **given)


# --- inner layers -------------------------------------------------------------------------------------------


def test_activations_are_the_outputs_of_the_first_layers():
    layers = [
        rv.Conv2d(2, 4, 3, padding=1),
        rv.BatchNorm2d(4),
        rv.ReLU(),
        rv.Residual([rv.Conv2d(4, 4, 1), rv.Tanh()]),
        rv.Dropout(0.5),
        rv.Flatten(),
        rv.Linear(36, 3),
        Square(),
    ]
    net = rv.Network(layers, seed=0)
    x = rng.standard_normal((7, 2, 3, 3)).astype(np.float32)
    net.fit(x, [0, 1, 2, 0, 1, 2, 0], epochs=2, progress=False)
    outputs = net.activations(x)
    assert list(outputs) == list(range(8))
    for position, output in outputs.items():
        first = rv.Network(layers[: position + 1])
        names = first.state_dict().keys()
        first.load_state_dict({name: value for name, value in net.state_dict().items() if name in names})
        np.testing.assert_allclose(output, first.predict(x), rtol=1e-5, atol=1e-6)
    assert list(net.activations(x, [6, 2])) == [2, 6]
    np.testing.assert_array_equal(net.activations(x, [2])[2], outputs[2])


def test_activations_of_bytes_and_of_nothing():
    net = rv.Network([rv.Flatten(), rv.Linear(4, 2)], seed=0)
    pixels = rng.integers(0, 256, (3, 2, 2)).astype(np.uint8)
    np.testing.assert_allclose(net.activations(pixels)[0], pixels.reshape(3, 4) / 255, rtol=1e-6)
    assert net.activations(pixels[:0])[1].shape == (0, 2)
    assert net.activations(pixels, []) == {}


@pytest.mark.parametrize(
    ("layers", "error"), [([2], ValueError), ([-1], ValueError), (["0"], TypeError), ([True], TypeError)]
)
def test_activations_of_no_such_layer(layers, error):
    with pytest.raises(error, match=r"^layers:"):
        rv.Network([rv.Linear(6, 2), rv.ReLU()]).activations(X, layers)


# --- observers ----------------------------------------------------------------------------------------------


def fitted(net, observer, epochs=3, **options):
    net.fit(X, Y, epochs=epochs, batch_size=4, callbacks=[observer], progress=False, **options)


OBSERVERS = {
    "GradientNorms": lambda net: diagnostics.GradientNorms(X, Y),
    "UpdateRatios": lambda net: diagnostics.UpdateRatios(net),
    "DeadUnits": lambda net: diagnostics.DeadUnits(X),
    "Saturation": lambda net: diagnostics.Saturation(X),
    "ActivationHistograms": lambda net: diagnostics.ActivationHistograms(X),
}


@pytest.mark.parametrize("name", OBSERVERS)
def test_observers_do_not_change_the_training(name):
    def network():
        return small(rv.BatchNorm1d(5), rv.ReLU(), rv.Dropout(0.4), rv.Sigmoid())

    observed, alone = network(), network()
    fitted(observed, OBSERVERS[name](observed))
    alone.fit(X, Y, epochs=3, batch_size=4, progress=False)
    assert_same(untouched(alone)[:3], untouched(observed)[:3])


def test_gradient_norms():
    net = small(rv.Tanh(), dtype="float64")
    observer = diagnostics.GradientNorms(X, Y)
    expected = []

    def note(network, epoch, history):
        expected.append({name: np.sqrt((value**2).sum()) for name, value in network.loss_gradients(X, Y).items()})

    net.fit(X, Y, epochs=3, callbacks=[observer, note], progress=False)
    assert list(observer.norms) == list(net.parameters())
    for name, norms in observer.norms.items():
        np.testing.assert_allclose(norms, [norm[name] for norm in expected], rtol=1e-12)
    assert len(plot.gradient_norms(observer.norms).lines) == 4


def test_gradient_norms_with_a_loss_of_ones_own():
    net = rv.Network([rv.Linear(6, 3)], seed=0, dtype="float64")
    observer = diagnostics.GradientNorms(X, Y, loss=Cubes())
    fitted(net, observer, epochs=1, loss=Cubes())
    weight_gradient = Cubes().gradient(net.predict(X), Y).T @ X
    assert observer.norms["0.weight"] == [pytest.approx(np.linalg.norm(weight_gradient), rel=1e-12)]


@pytest.mark.parametrize("start", [True, False])
def test_update_ratios(start):
    net = small(rv.ReLU())
    states = [net.state_dict()]
    observer = diagnostics.UpdateRatios(net) if start else diagnostics.UpdateRatios()
    net.fit(
        X,
        Y,
        epochs=3,
        callbacks=[observer, lambda network, epoch, history: states.append(network.state_dict())],
        progress=False,
    )
    for name, ratios in observer.ratios.items():
        expected = [
            np.linalg.norm(after[name] - before[name]) / np.linalg.norm(after[name])
            for before, after in itertools.pairwise(states)
        ]
        assert np.isnan(ratios[0]) == (not start)
        first = 0 if start else 1
        np.testing.assert_allclose(ratios[first:], expected[first:], rtol=1e-5)


def test_update_ratios_of_parameters_that_rest():
    net = small(rv.BatchNorm1d(5))
    observer = diagnostics.UpdateRatios(net)
    fitted(net, observer, epochs=2, optimizer=rv.SGD(0.0))
    assert all(ratios == [0, 0] for ratios in observer.ratios.values())


def test_dead_units():
    net = rv.Network([rv.Linear(6, 8), rv.ReLU(), rv.Residual([rv.Linear(8, 8), rv.ReLU()]), rv.Linear(8, 3)], seed=0)
    net.parameters()["0.bias"][:3] = -100
    net.parameters()["2.layers.0.bias"][:4] = -100
    observer = diagnostics.DeadUnits(X)
    fitted(net, observer, epochs=2, optimizer=rv.SGD(0.0))
    state = net.state_dict()
    first = np.maximum(X @ state["0.weight"].T + state["0.bias"], 0)
    second = np.maximum(first @ state["2.layers.0.weight"].T + state["2.layers.0.bias"], 0)
    dead = {"1": (first == 0).all(0).mean(), "2.layers.1": (second == 0).all(0).mean()}
    assert dead["1"] >= 3 / 8
    assert observer.fractions == {name: [value, value] for name, value in dead.items()}


def test_dead_channels():
    net = rv.Network([rv.Conv2d(1, 4, 3), rv.ReLU(), rv.Flatten(), rv.Linear(16, 3)], seed=0)
    net.parameters()["0.bias"][...] = [-100, 100, -100, 100]
    image = rng.standard_normal((12, 1, 4, 4))
    observer = diagnostics.DeadUnits(image)
    net.fit(image, Y, callbacks=[observer], optimizer=rv.SGD(0.0), progress=False)
    assert observer.fractions == {"1": [0.5]}


@pytest.mark.parametrize("threshold", [0.05, 0.2])
def test_saturation(threshold):
    net = rv.Network([rv.Linear(6, 8), rv.Sigmoid(), rv.Linear(8, 5), rv.Tanh(), rv.Linear(5, 3)], seed=0)
    net.parameters()["0.weight"][...] *= 10
    net.parameters()["2.weight"][...] *= 10
    observer = diagnostics.Saturation(X, threshold)
    fitted(net, observer, epochs=1, optimizer=rv.SGD(0.0))
    sigmoid, tanh = (net.activations(X)[position] for position in (1, 3))
    expected = {
        "1": [np.mean(np.minimum(sigmoid, 1 - sigmoid) < threshold)],
        "3": [np.mean((1 - np.abs(tanh)) / 2 < threshold)],
    }
    assert 0 < expected["1"][0] < 1
    assert 0 < expected["3"][0] < 1
    assert observer.fractions == expected


@pytest.mark.parametrize("bins", [7, [-1.0, 0.0, 0.5, 2.0]])
def test_activation_histograms(bins):
    net = small(rv.Residual([rv.Tanh()]))
    observer = diagnostics.ActivationHistograms(X, bins)
    fitted(net, observer, epochs=2)
    assert list(observer.histograms) == ["0", "1.layers.0", "1", "2"]
    for position, output in net.activations(X).items():
        counts, edges = np.histogram(output, bins)
        assert len(observer.histograms[str(position)]) == 2
        np.testing.assert_array_equal(observer.histograms[str(position)][-1][0], counts)
        np.testing.assert_array_equal(observer.histograms[str(position)][-1][1], edges)


def test_histograms_leave_out_what_is_not_finite():
    class Overflow:
        def forward(self, x):
            return np.where(x > 0, np.inf, x)

        def backward(self, grad):
            return grad

    observer = diagnostics.ActivationHistograms(X)
    observer(rv.Network([Overflow()]), 1, rv.History())
    assert observer.histograms["0"][0][0].sum() == (X <= 0).sum()


@pytest.mark.parametrize(
    ("make", "error", "argument"),
    [
        (lambda: diagnostics.DeadUnits(X[:0]), ValueError, "x"),
        (lambda: diagnostics.DeadUnits(["a"]), TypeError, "x"),
        (lambda: diagnostics.GradientNorms([], []), ValueError, "x"),
        (lambda: diagnostics.Saturation(X, 0.5), ValueError, "threshold"),
        (lambda: diagnostics.Saturation(X, 0), ValueError, "threshold"),
        (lambda: diagnostics.ActivationHistograms(X, 0), ValueError, "bins"),
        (lambda: diagnostics.ActivationHistograms(X, [1.0]), ValueError, "bins"),
        (lambda: diagnostics.ActivationHistograms(X, [1.0, 0.0]), ValueError, "bins"),
        (lambda: diagnostics.ActivationHistograms(X, 2.5), TypeError, "bins"),
    ],
)
def test_bad_arguments_of_observers(make, error, argument):
    with pytest.raises(error, match=f"^{argument}:"):
        make()


# --- learning rate test -------------------------------------------------------------------------------------


def test_learning_rate_test_is_a_training_with_growing_rates():
    net = small(rv.Tanh(), dtype="float64")
    result = learning_rate_range_test(net, X, Y, low=1e-3, high=1.0, steps=7, batch_size=4, optimizer=rv.SGD(5.0))
    np.testing.assert_allclose(result.rates, np.geomspace(1e-3, 1, 7))
    order = np.concatenate([rv._core.random_permutation(0, epoch, 12) for epoch in (1, 2, 3)])
    losses = []
    for step, rate in enumerate(result.rates):
        batch = order[4 * step : 4 * step + 4]
        losses.append(net.evaluate(X[batch], Y[batch]).loss)
        gradients = {name: np.array(value) for name, value in net.loss_gradients(X[batch], Y[batch]).items()}
        for name, value in net.parameters().items():
            value -= rate * gradients[name]
    for step, loss in enumerate(result.losses, start=1):
        weights = 0.9 ** np.arange(step)[::-1]
        assert loss == pytest.approx(np.average(losses[:step], weights=weights), rel=1e-10)


def test_learning_rate_test_leaves_the_network_as_it_was():
    net = small(rv.BatchNorm1d(5), rv.Dropout(0.3))
    net.fit(X, Y, epochs=2, progress=False)
    before, optimizer = untouched(net), net._training.state.steps
    learning_rate_range_test(net, X, Y, steps=20)
    assert_same(before, untouched(net))
    assert net._training.state.steps == optimizer


@pytest.mark.parametrize("optimizer", [rv.SGD(1.0), rv.Adam(), None], ids=str)
def test_learning_rate_test_suggests_a_rate_that_learns(optimizer):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((400, 6))
    y = (x @ rng.standard_normal((6, 3))).argmax(1)
    net = small(rv.ReLU())
    result = learning_rate_range_test(net, x, y, optimizer=optimizer, high=1e3)
    assert len(result.rates) == len(result.losses)
    assert result.rates[0] < result.suggestion < result.rates[int(np.argmin(result.losses))]
    ax = plot.learning_rate_test(result.rates, result.losses, suggestion=result.suggestion)
    assert len(ax.lines) == 2
    before = net.evaluate(x, y).loss
    chosen = rv.SGD(result.suggestion) if isinstance(optimizer, rv.SGD) else rv.Adam(result.suggestion)
    net.fit(x, y, epochs=10, optimizer=chosen, progress=False)
    assert net.evaluate(x, y).loss < before / 2


def test_learning_rate_test_ends_at_an_explosion():
    net = rv.Network([rv.Linear(6, 3)], seed=0)
    rates = np.geomspace(1e-3, 1e6, 50)
    y = rng.standard_normal((12, 3))
    result = learning_rate_range_test(
        net, X, y, low=1e-3, high=1e6, steps=50, optimizer=rv.SGD(1.0), loss=rv.QuadraticLoss()
    )
    assert 5 < len(result.rates) < 50
    np.testing.assert_allclose(result.rates, rates[: len(result.rates)])
    assert np.isfinite(result.losses).all()
    assert max(result.losses) <= 4 * min(result.losses)


def test_learning_rate_test_without_a_fall_has_no_suggestion():
    result = learning_rate_range_test(small(), X, Y, low=100, high=1000, steps=10, batch_size=12)
    assert result.suggestion is None


def test_learning_rate_test_with_a_loss_of_ones_own():
    assert len(learning_rate_range_test(small(), X, Y, steps=5, loss=Cubes(), high=1e-3).losses) == 5


@pytest.mark.parametrize(
    ("arguments", "error", "argument"),
    [
        ({"low": 0}, ValueError, "low"),
        ({"high": 1e-7}, ValueError, "high"),
        ({"steps": 1}, ValueError, "steps"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"optimizer": 0.1}, TypeError, "optimizer"),
        ({"loss": 1}, TypeError, "loss"),
    ],
)
def test_bad_arguments_of_the_learning_rate_test(arguments, error, argument):
    with pytest.raises(error, match=f"^{argument}:"):
        learning_rate_range_test(small(), X, Y, **arguments)
