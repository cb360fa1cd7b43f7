"""Layers, losses and callbacks that use their own network while it is at work."""

import numpy as np
import pytest
import ranvier as rv

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((60, 6)).astype(np.float32), RNG.integers(0, 3, 60)
MANY = RNG.standard_normal((300, 6)).astype(np.float32)  # more than a prediction takes at a time
LABELS = RNG.integers(0, 3, 300)


class Meddler:
    """Doubles its input; before that it may call something, forward or backward, on batches only.

    What it calls may come through here again: it calls nothing then.
    """

    def __init__(self, direction="forward"):
        self.direction = direction
        self.call = None
        self.busy = False
        self.calls = 0

    def _double(self, direction, values):
        if self.call is not None and direction == self.direction and not self.busy:
            self.busy = True
            try:
                self.calls += 1
                self.call()
            finally:
                self.busy = False
        return 2 * values

    def forward(self, x):
        return self._double("forward", x)

    def backward(self, grad):
        return self._double("backward", grad)


class MeddlingLoss:
    """The mean squared distance from one-hot rows; before each answer it may call something."""

    def __init__(self, direction="forward"):
        self.meddler = Meddler(direction)

    def __call__(self, prediction, target):
        self.meddler.forward(prediction)
        return float(np.mean((prediction - np.eye(3)[target]) ** 2))

    def gradient(self, prediction, target):
        self.meddler.backward(prediction)
        return (2 * (prediction - np.eye(3)[target]) / prediction.size).astype(prediction.dtype)


def layers_with(own, place):
    return {
        "first": [own, rv.Linear(6, 8), rv.ReLU(), rv.Dropout(0.3), rv.Linear(8, 3)],
        "middle": [rv.Linear(6, 8), rv.Tanh(), own, rv.Dropout(0.3), rv.BatchNorm1d(8), rv.Linear(8, 3)],
        "last": [rv.Linear(6, 8), rv.ReLU(), rv.Linear(8, 3), own],
        "residual": [rv.Linear(6, 8), rv.Residual([rv.Linear(8, 8), own, rv.ReLU()]), rv.Linear(8, 3)],
        "parallel": [rv.Linear(6, 8), rv.Parallel([[own, rv.Tanh()], [rv.Dropout(0.3)]]), rv.Linear(16, 3)],
    }[place]


def everything_of(net):
    state = net.state_dict()
    return {name: value.copy() for name, value in state.items()}


# What the network is doing: each gives what can be compared.
def fits(net, loss, optimizer):
    history = net.fit(X, Y, epochs=2, batch_size=16, loss=loss, optimizer=optimizer, progress=False)
    return [*net.state_dict().values(), history.loss, history.accuracy, net.predict(X)]


PASSES = {
    "fit by descent": lambda net, loss: fits(net, loss, rv.SGD(0.05)),
    "fit by Adam": lambda net, loss: fits(net, loss, rv.Adam()),
    "gradients": lambda net, loss: [value.copy() for value in net.loss_gradients(X[:20], Y[:20], loss=loss).values()],
    "predict one": lambda net, loss: [net.predict(X[:1]).copy()],
    "predict": lambda net, loss: [net.predict(X).copy()],
    "predict many": lambda net, loss: [net.predict(MANY).copy()],
    "evaluate": lambda net, loss: [net.evaluate(X, Y, loss=loss)],
    "evaluate many": lambda net, loss: [net.evaluate(MANY, LABELS, loss=loss)],
}
TRAINING = ["fit by descent", "fit by Adam", "gradients"]
WITHOUT_BACKWARD = [name for name in PASSES if name not in TRAINING]
DIRECTIONS = [(name, "forward") for name in PASSES] + [(name, "backward") for name in TRAINING]

# What may be called meanwhile.
HARMLESS = {
    "predict one": lambda net: net.predict(X[:1]),
    "predict": lambda net: net.predict(X[:20]),
    "predict many": lambda net: net.predict(MANY),
    "predict into": lambda net: net.predict(X[:20], out=np.empty((20, 3), np.float32)),
    "evaluate": lambda net: net.evaluate(X[:20], Y[:20]),
    "evaluate many": lambda net: net.evaluate(MANY, LABELS),
    "activations": lambda net: net.activations(X[:5]),
    "profile": lambda net: net.profile(X, Y, batch_size=30, seconds=0.0001),
    "describe": lambda net: (net.shapes((6,)), net.state_dict()),
}
# What may not: it would need the memory of the pass that is under way.
REFUSED = {
    "fit": lambda net: net.fit(X, Y, epochs=1, batch_size=10, optimizer=rv.SGD(0.5, momentum=0.5), progress=False),
    "gradients": lambda net: net.loss_gradients(X[:7], Y[:7]),
}


def assert_same(got, expected):
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("call", HARMLESS)
@pytest.mark.parametrize(("doing", "direction"), DIRECTIONS)
@pytest.mark.parametrize("place", ["first", "middle", "last", "residual", "parallel"])
def test_a_layer_may_use_its_network(place, doing, direction, call):
    own = Meddler(direction)
    meddled, quiet = (rv.Network(layers_with(layer, place), seed=0) for layer in (own, Meddler()))
    own.call = lambda: HARMLESS[call](meddled)
    got, expected = PASSES[doing](meddled, None), PASSES[doing](quiet, None)
    assert own.calls
    assert_same(got, expected)
    own.call = None
    assert_same(fits(meddled, None, rv.Adam()), fits(quiet, None, rv.Adam()))


@pytest.mark.parametrize("call", HARMLESS)
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("doing", TRAINING)
def test_a_loss_may_use_the_network(doing, direction, call):
    losses = [MeddlingLoss(direction), MeddlingLoss()]
    meddled, quiet = (rv.Network(layers_with(Meddler(), "middle"), seed=0) for _ in losses)
    losses[0].meddler.call = lambda: HARMLESS[call](meddled)
    got, expected = PASSES[doing](meddled, losses[0]), PASSES[doing](quiet, losses[1])
    assert losses[0].meddler.calls
    assert_same(got, expected)


@pytest.mark.parametrize("samples", [1, 20, 300])
@pytest.mark.parametrize(("doing", "direction"), DIRECTIONS)
def test_what_is_predicted_meanwhile_is_right(doing, direction, samples):
    own = Meddler(direction)
    net, twin = (rv.Network(layers_with(layer, "middle"), seed=0) for layer in (own, Meddler()))
    wrong = []

    def compare():
        twin.load_state_dict(net.state_dict())
        got, expected = net.predict(MANY[:samples]).copy(), twin.predict(MANY[:samples])
        if not np.array_equal(got, expected):
            wrong.append(np.abs(got - expected).max())
        if net.evaluate(MANY[:samples], LABELS[:samples]) != twin.evaluate(MANY[:samples], LABELS[:samples]):
            wrong.append("evaluation")

    own.call = compare
    PASSES[doing](net, None)
    assert own.calls
    assert not wrong


def test_a_layer_may_use_its_network_on_images_of_another_size():
    small, large = RNG.standard_normal((2, 2, 2, 9, 9)).astype(np.float32)[0], RNG.standard_normal((3, 2, 14, 11))
    results = []
    for meddles in (True, False):
        own = Meddler()
        net = rv.Network(
            [rv.Conv2d(2, 4, 3), own, rv.ReLU(), rv.Dropout(0.2), rv.GlobalAvgPool2d(), rv.Linear(4, 3)], seed=0
        )
        own.call = (lambda net=net: net.predict(large)) if meddles else None
        net.fit(small, np.array([0, 2]), epochs=4, batch_size=1, progress=False)
        results.append([*net.state_dict().values(), net.predict(small), net.predict(large)])
    assert_same(*results)


@pytest.mark.parametrize("call", REFUSED)
@pytest.mark.parametrize(("doing", "direction"), DIRECTIONS)
@pytest.mark.parametrize("place", ["first", "middle", "residual"])
def test_a_layer_may_not_train_its_network_in_a_pass(place, doing, direction, call):
    own = Meddler(direction)
    meddled, quiet = (rv.Network(layers_with(layer, place), seed=0) for layer in (own, Meddler()))

    def refused():
        before = everything_of(meddled)
        with pytest.raises(RuntimeError, match="in the middle of a pass"):
            REFUSED[call](meddled)
        assert_same(list(meddled.state_dict().values()), list(before.values()))

    own.call = refused
    got, expected = PASSES[doing](meddled, None), PASSES[doing](quiet, None)
    assert own.calls
    assert_same(got, expected)
    own.call = None
    assert_same(fits(meddled, None, rv.Adam()), fits(quiet, None, rv.Adam()))


@pytest.mark.parametrize("call", REFUSED)
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("doing", TRAINING)
def test_a_loss_may_not_train_the_network(doing, direction, call):
    losses = [MeddlingLoss(direction), MeddlingLoss()]
    meddled, quiet = (rv.Network(layers_with(Meddler(), "middle"), seed=0) for _ in losses)

    def refused():
        with pytest.raises(RuntimeError, match="in the middle of a pass"):
            REFUSED[call](meddled)

    losses[0].meddler.call = refused
    got, expected = PASSES[doing](meddled, losses[0]), PASSES[doing](quiet, losses[1])
    assert losses[0].meddler.calls
    assert_same(got, expected)


@pytest.mark.parametrize("call", REFUSED)
@pytest.mark.parametrize(("doing", "direction"), DIRECTIONS)
def test_the_refusal_comes_through(doing, direction, call):
    own = Meddler(direction)
    net, quiet = (rv.Network(layers_with(layer, "middle"), seed=0) for layer in (own, Meddler()))
    own.call = lambda: REFUSED[call](net)
    before = everything_of(net)
    with pytest.raises(RuntimeError, match="in the middle of a pass"):
        PASSES[doing](net, None)
    assert own.calls == 1
    assert_same(list(net.state_dict().values()), list(before.values()))
    own.call = None
    np.testing.assert_array_equal(net.predict(X), quiet.predict(X))
    assert all(np.isfinite(value).all() for value in PASSES["fit by Adam"](net, None))


def test_between_epochs_everything_is_allowed():
    options = dict(batch_size=16, optimizer=rv.Adam(), progress=False)
    layers = layers_with(Meddler(), "middle")
    net, twin = rv.Network(layers, seed=0), rv.Network(layers, seed=0)
    seen, inner = [], []

    def callback(network, epoch, history):
        if inner:
            return
        inner.append(epoch)
        network.predict(MANY)
        network.loss_gradients(X[:5], Y[:5])
        network.profile(X, Y, batch_size=10, seconds=0.001)
        seen.append(network.evaluate(X, Y))
        network.fit(MANY, LABELS, **options)
        seen.append(network.evaluate(X, Y))

    history = net.fit(X, Y, epochs=3, callbacks=[callback], **options)
    expected = []
    for x, y in [(X, Y), (MANY, LABELS), (X, Y), (X, Y)]:
        losses = twin.fit(x, y, **options).loss
        if len(losses) == 1:  # the gradients and the profile take no mask that training would
            twin.loss_gradients(X[:5], Y[:5])
        if len(losses) < 3:
            expected.append(twin.evaluate(X, Y))
    assert seen == expected
    assert_same(list(net.state_dict().values()), list(twin.state_dict().values()))
    assert history.loss == losses
