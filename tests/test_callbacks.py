"""Callbacks: when they stop, what they keep and put back; and the validation split."""

import math

import numpy as np
import pytest
import ranvier as rv
from ranvier import fitting
from ranvier.callbacks import Callback
from ranvier.history import History


def problem(n=80, seed=0):
    """Noisy labels, which a network soon learns by heart."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 5)).astype(np.float32)
    return x, ((x[:, 0] + rng.standard_normal(n)) > 0).astype(int)


def network(seed=0):
    return rv.Network([rv.Linear(5, 12, bias=False), rv.BatchNorm1d(12), rv.ReLU(), rv.Linear(12, 2)], seed=seed)


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value)


class Following(Callback):
    """Keeps the state after each epoch."""

    def on_train_begin(self, network, quantities):
        self.states = []

    def on_epoch_end(self, network, epoch, history):
        self.states.append(network.state_dict())


OPTIONS = {"optimizer": rv.Adam(0.03), "progress": False, "validation_data": problem(seed=1)}


def test_early_stopping_ends_after_its_patience_and_restores_the_best():
    stop, follow = rv.EarlyStopping(patience=4), Following()
    net = network()
    history = net.fit(*problem(), epochs=200, callbacks=[stop, follow], **OPTIONS)
    best = int(np.argmin(history.val_loss))
    assert best > 0
    assert stop.best_epoch == best + 1
    assert len(history) == best + 1 + 4
    assert_same(net.state_dict(), follow.states[best])  # the running statistics, too
    assert "1.running_mean" in net.state_dict()
    assert net.evaluate(*OPTIONS["validation_data"]).loss == history.val_loss[best]


def test_early_stopping_restores_the_best_at_the_last_epoch_too():
    follow = Following()
    net = network()
    history = net.fit(*problem(), epochs=9, callbacks=[rv.EarlyStopping(patience=100), follow], **OPTIONS)
    best = int(np.argmin(history.val_loss))
    assert best < 8
    assert_same(net.state_dict(), follow.states[best])


def test_early_stopping_may_leave_the_last():
    follow = Following()
    net = network()
    stop = rv.EarlyStopping("val_accuracy", patience=3, restore_best=False)
    history = net.fit(*problem(), epochs=200, callbacks=[stop, follow], **OPTIONS)
    best = int(np.argmax(history.val_accuracy))  # the first of equals
    assert len(history) == best + 1 + 3
    assert_same(net.state_dict(), follow.states[-1])


def waits(stop, values):
    """Return the epoch in which training on these losses ends."""
    history = History()
    for epoch, value in enumerate(values, 1):
        history.loss.append(value)
        if stop.on_epoch_end(network(), epoch, history):
            return epoch
    return None


def test_min_delta_and_nan_are_no_improvement():
    assert waits(rv.EarlyStopping("loss", patience=2), [3, 2, 2, 1.9, 1.9, 1.9]) == 6
    assert waits(rv.EarlyStopping("loss", patience=2, min_delta=0.5), [3, 2, 1.9, 1.8]) == 4
    assert waits(rv.EarlyStopping("loss", patience=2, min_delta=0.5), [3, 2.6, 2.4, 2.2, 1.8]) is None
    assert waits(rv.EarlyStopping("loss", patience=2), [3, math.nan, math.nan]) == 3
    stop = rv.EarlyStopping("loss", patience=2)
    assert waits(stop, [math.nan, math.nan]) == 2
    assert stop.best_epoch == 0


def test_a_second_fit_starts_anew():
    stop = rv.EarlyStopping("val_loss", patience=4)
    first = network().fit(*problem(), epochs=200, callbacks=[stop], **OPTIONS)
    worse = rv.Network([rv.Linear(5, 2)], seed=3)  # none of its losses would be an improvement on the first's best
    second = worse.fit(*problem(), epochs=5, callbacks=[stop], **(OPTIONS | {"optimizer": rv.SGD(1e-4)}))
    assert min(second.val_loss) > min(first.val_loss)
    assert len(second) == 5
    assert stop.best_epoch == 5


def test_an_own_callback_may_end_a_fit_that_another_finishes():
    stop, follow = rv.EarlyStopping("loss", patience=50), Following()
    net = network()
    net.fit(*problem(), epochs=50, callbacks=[stop, follow, lambda network, epoch, history: epoch == 3], **OPTIONS)
    assert len(follow.states) == 3
    assert_same(net.state_dict(), follow.states[stop.best_epoch - 1])


def test_a_training_interrupted_goes_on_from_its_checkpoint_with_the_same_bits(tmp_path):
    x, y = problem()
    options = OPTIONS | {"optimizer": rv.Adam(rv.WarmUp(rv.CosineAnnealingLR(0.02, 6), 2))}
    whole = network()
    whole.fit(x, y, epochs=8, **options)

    def fail(network, epoch, history):
        if epoch == 6:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        network().fit(x, y, epochs=8, callbacks=[fail, rv.Checkpoint(tmp_path / "net", every=2)], **options)
    again = rv.load(tmp_path / "net")
    assert again.epochs_trained == 4
    again.fit(x, y, epochs=4, **options)
    assert_same(again.state_dict(), whole.state_dict())


def test_a_checkpoint_with_a_monitor_keeps_the_best(tmp_path):
    follow = Following()
    history = network().fit(
        *problem(), epochs=15, callbacks=[rv.Checkpoint(tmp_path / "net", monitor="val_loss"), follow], **OPTIONS
    )
    best = int(np.argmin(history.val_loss))
    assert best < 14
    again = rv.load(tmp_path / "net")
    assert again.epochs_trained == best + 1
    assert_same(again.state_dict(), follow.states[best])


def test_reduce_on_plateau_is_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch's scheduler needs torch: pip install torch==2.13.0")
    losses = np.random.default_rng(0).random(60).round(2)
    reduce = rv.ReduceLROnPlateau("loss", factor=0.5, patience=3, min_delta=0.05, min_factor=0.1)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=2, threshold=0.05, threshold_mode="abs", min_lr=0.1
    )  # its patience is of the epochs before the one that reduces
    net, history = network(), History()
    seen = set()
    for epoch, loss in enumerate(losses, 1):
        history.loss.append(loss)
        assert not reduce.on_epoch_end(net, epoch, history)
        peer.step(loss)
        assert net.learning_rate_factor == pytest.approx(optimizer.param_groups[0]["lr"])
        seen.add(net.learning_rate_factor)
    assert len(seen) == 5


def test_reduce_on_plateau_slows_the_training_and_survives_a_file(tmp_path):
    x, y = problem()
    net, by_hand = network(), network()
    reduce = rv.ReduceLROnPlateau("accuracy", factor=0.5, patience=2, min_delta=1.0)  # only the first is better
    options = {"progress": False}
    net.fit(x, y, epochs=4, optimizer=rv.SGD(0.25), callbacks=[reduce], **options)
    by_hand.fit(x, y, epochs=3, optimizer=rv.SGD(0.25), **options)
    by_hand.fit(x, y, epochs=1, optimizer=rv.SGD(0.125), **options)
    assert net.learning_rate_factor == 0.5
    assert_same(net.state_dict(), by_hand.state_dict())
    net.save(tmp_path / "net", training_state=True)
    again = rv.load(tmp_path / "net")
    again.fit(x, y, epochs=4, optimizer=rv.SGD(0.25), callbacks=[reduce], **options)
    by_hand.fit(x, y, epochs=3, optimizer=rv.SGD(0.125), **options)
    by_hand.fit(x, y, epochs=1, optimizer=rv.SGD(0.0625), **options)
    assert again.learning_rate_factor == 0.25
    assert_same(again.state_dict(), by_hand.state_dict())


def test_gradient_descent_stops_at_its_tolerance():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 3))
    y = x @ [1.0, -2.0, 0.5] + 0.25
    net = rv.Network([rv.Linear(3, 1)], seed=0, dtype="float64")
    by_hand = np.append(net.parameters()["0.weight"][0], net.parameters()["0.bias"])
    stop = rv.StopAtTolerance(1e-4)
    options = {"batch_size": None, "loss": rv.QuadraticLoss(), "optimizer": rv.SGD(0.1), "progress": False}
    history = net.fit(x, y, epochs=1000, callbacks=[stop], **options)

    design = np.column_stack([x, np.ones(30)])
    steps, length = 0, np.inf
    while length >= 1e-4:
        step = 0.1 * design.T @ (design @ by_hand - y) / 30
        by_hand -= step
        length = np.linalg.norm(step)
        steps += 1
    assert 10 < steps == len(history) < 1000
    assert stop.length == pytest.approx(length, rel=1e-9)
    np.testing.assert_allclose(net.parameters()["0.weight"][0], by_hand[:3], rtol=1e-12)
    assert len(net.fit(x, y, epochs=3, callbacks=[stop], **options)) == steps + 1  # it is there already
    assert len(net.fit(x, y, epochs=3, callbacks=[rv.StopAtTolerance(1e-9)], **options)) == steps + 1 + 3


def test_no_batch_size_is_one_batch_of_all():
    x, y = problem(50)
    states = []
    for size in (None, 50, 1000):
        net = network()
        net.fit(x, y, epochs=2, batch_size=size, progress=False)
        assert net._training.state.steps == 2
        states.append(net.state_dict())
    assert_same(states[0], states[1])
    assert_same(states[0], states[2])


@pytest.mark.parametrize(("fraction", "held"), [(0.1, 8), (0.29, 23), (0.99, 79)])
@pytest.mark.parametrize("targets", ["labels", "rows"])
def test_a_validation_split_is_the_last_samples(fraction, held, targets):
    x, y = problem(80)
    y = y if targets == "labels" else np.eye(2)[y]
    split, given = network(), network()
    first = split.fit(x, y, epochs=3, validation_split=fraction, progress=False)
    second = given.fit(x[:-held], y[:-held], epochs=3, validation_data=(x[-held:], y[-held:]), progress=False)
    assert first.val_loss == second.val_loss
    assert_same(split.state_dict(), given.state_dict())


X, Y = problem(20)
BAD = {
    "both kinds of validation": (
        {"validation_split": 0.5, "validation_data": (X, Y)},
        ValueError,
        "validation_split: expected None with validation_data, got both",
    ),
    "a split of all": ({"validation_split": 1.0}, ValueError, "validation_split: expected a fraction above 0"),
    "a split of NaN": ({"validation_split": math.nan}, ValueError, "validation_split: expected a finite number"),
    "a split of nothing": ({"validation_split": 0.01}, ValueError, "validation_split: expected samples on both sides"),
    "a split of True": ({"validation_split": True}, TypeError, "validation_split: expected a number"),
    "no validation data to watch": (
        {"callbacks": [rv.EarlyStopping()]},
        ValueError,
        "monitor: expected validation data for 'val_loss', got none",
    ),
    "nor for a plateau": (
        {"callbacks": [rv.ReduceLROnPlateau("val_accuracy")]},
        ValueError,
        "'val_accuracy', got none",
    ),
    "nor for files": ({"callbacks": [rv.Checkpoint("net", monitor="val_loss")]}, ValueError, "'val_loss', got none"),
    "a file in no folder": ({"callbacks": [rv.Checkpoint("nowhere/net")]}, FileNotFoundError, "nowhere"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_calls_change_nothing(case):
    options, error, message = BAD[case]
    net = network()
    before = net.state_dict()
    with pytest.raises(error, match=message):
        net.fit(X, Y, progress=False, **options)
    assert net.epochs_trained == 0
    assert net.history is None
    assert net.input_shape is None
    assert_same(net.state_dict(), before)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rv.EarlyStopping("val_lost"), ValueError, "monitor: expected one of 'loss', .* got 'val_lost'"),
        (lambda: rv.EarlyStopping(patience=0), ValueError, "patience: expected at least 1, got 0"),
        (lambda: rv.EarlyStopping(min_delta=-1), ValueError, "min_delta: expected a number from 0"),
        (lambda: rv.EarlyStopping(restore_best=1), TypeError, "restore_best: expected a bool"),
        (lambda: rv.Checkpoint("net", every=0), ValueError, "every: expected at least 1"),
        (lambda: rv.Checkpoint(3), TypeError, "path: expected a path, got int"),
        (lambda: rv.Checkpoint("net", monitor=3), ValueError, "monitor: expected one of"),
        (lambda: rv.ReduceLROnPlateau(factor=1), ValueError, "factor: expected a number above 0 and below 1, got 1"),
        (lambda: rv.ReduceLROnPlateau(min_factor=1), ValueError, "min_factor: expected a number from 0 to below 1"),
        (lambda: rv.StopAtTolerance(0), ValueError, "tolerance: expected a number above 0, got 0"),
    ],
)
def test_bad_settings_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_callbacks_show_their_settings():
    assert repr(rv.EarlyStopping(patience=3)) == (
        "EarlyStopping(monitor='val_loss', patience=3, min_delta=0.0, restore_best=True, mode=None)"
    )
    assert repr(rv.StopAtTolerance(0.5)) == "StopAtTolerance(tolerance=0.5)"


@pytest.mark.parametrize("shuffle", [True, False])
def test_who_hears_of_batches_costs_no_look_at_all_samples(shuffle, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((90, 4)), rng.integers(0, 3, 90)
    options = {"epochs": 2, "batch_size": 16, "sample_weight": rng.random(90), "shuffle": shuffle, "progress": False}
    nets = [rv.Network([rv.Linear(4, 8), rv.Tanh(), rv.Dropout(0.3), rv.Linear(8, 3)], seed=0) for _ in range(2)]
    nets[0].fit(x, y, **options)
    seen, own = [], fitting.run_batches
    monkeypatch.setattr(
        fitting, "run_batches", lambda engine, data, *a, **k: seen.append(len(data.x)) or own(engine, data, *a, **k)
    )

    class Hears(rv.callbacks.Callback):
        def on_batch_end(self, network, batch, loss):
            return False

    nets[1].fit(x, y, callbacks=[Hears()], **options)
    assert max(seen) == 16
    for name, value in nets[0].state_dict().items():
        np.testing.assert_array_equal(nets[1].state_dict()[name], value)
    x[47] = np.nan
    with pytest.raises(FloatingPointError, match="sample 47 of the input"):
        nets[1].fit(x, y, callbacks=[Hears()], **options)
