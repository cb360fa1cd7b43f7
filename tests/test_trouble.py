"""Numbers that go bad in training: where they did is told, and the last good parameters stay."""

import numpy as np
import pytest
import ranvier as rv

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, 5)).astype(np.float32), RNG.integers(0, 3, 40)


def network(*layers):
    return rv.Network([rv.Linear(5, 8), rv.ReLU(), *layers, rv.Linear(8, 3)], seed=0)


class Poison:
    """The identity, but for what it gives back once it is armed."""

    def __init__(self, forward=None, backward=None, after=2):
        self.poison = {"forward": forward, "backward": backward}
        self.calls = {"forward": 0, "backward": 0}
        self.after = after

    def _pass(self, name, values):
        if len(values) > 1:  # not the trial of the shape
            self.calls[name] += 1
        if self.poison[name] is None or self.calls[name] <= self.after:
            return values
        values = values.copy()
        values.flat[0] = self.poison[name]
        return values

    def forward(self, x):
        return self._pass("forward", x)

    def backward(self, grad):
        return self._pass("backward", grad)


def trained_for(batches, layers, optimizer):
    net = network(*layers)
    order = slice(0, 10 * batches)
    net.fit(X[order], Y[order], batch_size=10, shuffle=False, optimizer=optimizer, progress=False)
    return net.state_dict()


OPTIMIZERS = [rv.SGD(0.1), rv.SGD(0.1, momentum=0.9), rv.Adam()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "momentum", "adam"])
@pytest.mark.parametrize(
    ("poison", "where"),
    [
        ({"forward": np.nan}, r"forward through layer 2 \(Poison\)"),
        ({"forward": np.inf}, r"forward through layer 2 \(Poison\)"),
        ({"backward": np.inf}, r"backward through layer 2 \(Poison\)"),
        ({"backward": np.nan}, r"backward through layer 2 \(Poison\)"),
    ],
)
def test_the_layer_and_direction_are_named_and_the_last_good_parameters_stay(poison, where, optimizer):
    net = network(Poison(**poison))
    with pytest.raises(FloatingPointError, match=rf"epoch 1, batch 3: {where} gave numbers"):
        net.fit(X, Y, batch_size=10, shuffle=False, optimizer=optimizer, progress=False)
    for name, value in trained_for(2, [Poison()], optimizer).items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


def test_a_bad_sample_is_named():
    x = X.copy()
    x[27, 3] = np.nan
    net = network()
    with pytest.raises(FloatingPointError, match=r"epoch 1, batch 3: sample 27 of the input"):
        net.fit(x, Y, batch_size=10, shuffle=False, optimizer=rv.SGD(0.1), progress=False)
    for name, value in trained_for(2, [], rv.SGD(0.1)).items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


def test_parameters_that_were_bad_before_are_named():
    net = network()
    net.parameters()["2.bias"][1] = np.inf
    with pytest.raises(FloatingPointError, match=r"batch 1: the bias of layer 2 \(Linear\), before the batch"):
        net.fit(X, Y, progress=False)


def test_a_step_too_large_is_noticed():
    net = rv.Network([rv.Linear(5, 8), rv.Linear(8, 3)], seed=0)
    with pytest.raises(FloatingPointError, match="epoch"):
        net.fit(X, Y, epochs=200, loss=rv.QuadraticLoss(), optimizer=rv.SGD(50.0), progress=False)
    assert all(np.isfinite(value).all() for value in net.state_dict().values())


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "momentum", "adam"])
def test_warned_of_the_batch_is_left_out(optimizer):
    x = X.copy()
    x[12, 0] = np.inf
    net, without = network(), network()
    with pytest.warns(RuntimeWarning, match="batch 2: sample 12 of the input .* 10 samples in such batches"):
        history = net.fit(x, Y, batch_size=10, shuffle=False, optimizer=optimizer, on_nonfinite="warn", progress=False)
    rest = np.r_[0:10, 20:40]
    expected = without.fit(X[rest], Y[rest], batch_size=10, shuffle=False, optimizer=optimizer, progress=False)
    for name, value in without.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[name], value)
    assert history.loss == expected.loss
    assert history.accuracy == expected.accuracy


def test_ignored_the_parameters_go_bad():
    x = X.copy()
    x[12, 0] = np.nan
    net = network()
    net.fit(x, Y, on_nonfinite="ignore", progress=False)
    assert not all(np.isfinite(value).all() for value in net.state_dict().values())


def test_running_statistics_stay_good():
    x = X.copy()
    x[35, 0] = np.nan
    net = rv.Network([rv.BatchNorm1d(5), rv.Linear(5, 3)], seed=0)
    with pytest.raises(FloatingPointError, match="batch 4"):
        net.fit(x, Y, batch_size=10, shuffle=False, progress=False)
    assert all(np.isfinite(value).all() for value in net.state_dict().values())


def test_bad_wish():
    with pytest.raises(ValueError, match="on_nonfinite: expected 'raise', 'warn' or 'ignore', got 'stop'"):
        network().fit(X, Y, on_nonfinite="stop", progress=False)
