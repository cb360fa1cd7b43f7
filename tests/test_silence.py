"""What cannot mean what the user wants is an error or a warning that says what to do."""

import warnings

import numpy as np
import pytest
import ranvier as rv
from ranvier import progress
from ranvier.callbacks import Callback

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))
LINE = X @ [1.0, -2.0, 0.5]
LABELS = RNG.integers(0, 3, 40)
QUIET = {"progress": False}
CALLS = ["fit", "evaluate", "train_step", "loss_gradients"]


def one_output(*more):
    return rv.Network([rv.Linear(3, 1), *more], seed=0)


def call(net, name, *arguments, **options):
    return getattr(net, name)(*arguments, **(options | (QUIET if name == "fit" else {})))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("y", [np.zeros(40, int), np.zeros((40, 1))], ids=["labels", "rows"])
def test_cross_entropy_of_one_output_names_what_to_take(name, y):
    net = one_output()
    before = net.state_dict()
    with pytest.raises(
        ValueError, match=r"loss: the cross-entropy of a single output is always 0; take MSELoss .*BCEWi"
    ):
        call(net, name, X, y)
    np.testing.assert_array_equal(net.state_dict()["0.weight"], before["0.weight"])
    with pytest.raises(ValueError, match="cross-entropy of a single output"):
        rv.CrossEntropyLoss()(np.zeros((4, 1)), np.zeros(4, int))


@pytest.mark.parametrize("name", CALLS)
def test_numbers_for_cross_entropy_name_what_to_take(name):
    for net in (one_output(), rv.Network([rv.Linear(3, 3)], seed=0)):
        with pytest.raises(
            TypeError, match=r"y: expected integer labels for CrossEntropyLoss, .* take MSELoss for numb"
        ):
            call(net, name, X, LINE)


@pytest.mark.parametrize("name", CALLS)
def test_classes_in_place_of_instances_are_named(name):
    net = one_output()
    with pytest.raises(TypeError, match=r"loss: expected an instance, as MSELoss\(...\), got the class MSELoss"):
        call(net, name, X, LINE, loss=rv.MSELoss)
    if name in ("fit", "train_step"):
        with pytest.raises(TypeError, match="optimizer: expected an instance, as Adam"):
            call(net, name, X, LINE, loss=rv.MSELoss(), optimizer=rv.Adam)
    with pytest.raises(TypeError, match="callbacks: expected an instance, as EarlyStopping"):
        net.fit(X, LINE, loss=rv.MSELoss(), callbacks=[rv.EarlyStopping], **QUIET)


@pytest.mark.parametrize(
    ("last", "loss", "targets"),
    [(rv.Softmax(), rv.CrossEntropyLoss(), LABELS), (rv.Sigmoid(), rv.BCEWithLogitsLoss(), np.eye(3)[LABELS])],
    ids=["softmax", "sigmoid"],
)
def test_a_function_that_the_loss_applies_again_warns(last, loss, targets):
    net = rv.Network([rv.Linear(3, 3), last], seed=0)
    message = f"{type(loss).__name__} takes outputs from before a {type(last).__name__} and applies one itself"
    with pytest.warns(UserWarning, match=message) as caught:
        net.fit(X, targets, loss=loss, **QUIET)
    assert caught[0].filename == __file__
    net = rv.Network([rv.Linear(3, 3), last], seed=0)
    with pytest.warns(UserWarning, match=message):
        net.train_step(X, targets, loss=loss)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.train_step(X, targets, loss=loss)  # it was said
        rv.Network([rv.Linear(3, 3), rv.LogSoftmax()], seed=0).fit(X, LABELS, **QUIET)  # of which one more is none
        rv.Network([rv.Linear(3, 3), rv.Sigmoid()], seed=0).fit(X, targets, loss=rv.BCELoss(), **QUIET)


@pytest.mark.parametrize("loss", [rv.MSELoss(), rv.QuadraticLoss(), rv.SumSquaredResidualsLoss()], ids=str)
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_integers_are_numbers_for_losses_of_squares(loss, dtype):
    counts = RNG.integers(0, 50, 40).astype(dtype)
    for name in CALLS:
        one, other = one_output(), one_output()
        got, expected = call(one, name, X, counts, loss=loss), call(other, name, X, counts.astype(float), loss=loss)
        if name == "loss_gradients":
            np.testing.assert_array_equal(got["0.weight"], expected["0.weight"])
        elif name == "fit":
            assert got.loss == expected.loss
        else:
            assert got == expected
        np.testing.assert_array_equal(one.predict(X), other.predict(X))


class Absolute:
    """A loss of one's own."""

    def __call__(self, prediction, target):
        return float(np.abs(prediction - target).mean())

    def gradient(self, prediction, target):
        return np.sign(prediction - target) / prediction.size


@pytest.mark.parametrize("loss", [rv.MSELoss(), rv.QuadraticLoss(), Absolute()], ids=["mse", "quadratic", "own"])
@pytest.mark.parametrize("targets", ["numbers", "integers", "rows"])
def test_numbers_have_no_accuracy(loss, targets, capsys, monkeypatch):
    monkeypatch.setattr(progress, "is_visible", lambda: True)
    y = {"numbers": LINE, "integers": np.arange(40), "rows": np.stack([LINE, LINE], 1)}[targets]
    if targets == "integers" and isinstance(loss, Absolute):
        y = y[:, None]
    net = rv.Network([rv.Linear(3, 2 if targets == "rows" else 1)], seed=0)
    history = net.fit(X, y, loss=loss, validation_data=(X, y), progress=True)
    assert history.accuracy == history.val_accuracy == []
    assert len(history.loss) == len(history.val_loss) == 1
    bar = capsys.readouterr().err
    assert "val_loss=" in bar
    assert "accuracy" not in bar
    assert net.evaluate(X, y).accuracy is None
    for callback in (
        rv.EarlyStopping("val_accuracy"),
        rv.ReduceLROnPlateau("accuracy"),
        rv.Checkpoint("a", 1, "accuracy"),
    ):
        with pytest.raises(
            ValueError, match=r"monitor: expected targets that are classes for '(val_)?accuracy', got num"
        ):
            net.fit(X, y, loss=loss, validation_data=(X, y), callbacks=[callback], **QUIET)


def test_classes_have_one():
    binary = (LINE > 0).astype(int)
    for outputs, y, loss in (
        (1, binary, rv.BCEWithLogitsLoss()),
        (1, binary, rv.MSELoss()),
        (1, binary.astype(float), rv.QuadraticLoss()),
        (3, LABELS, rv.CrossEntropyLoss()),
        (3, LABELS, rv.QuadraticLoss()),
        (3, np.eye(3)[LABELS], rv.MSELoss()),
        (3, np.full((40, 3), 1 / 3), rv.CrossEntropyLoss()),
        (3, LABELS, rv.HingeLoss()),
    ):
        net = rv.Network([rv.Linear(3, outputs)], seed=0)
        assert len(net.fit(X, y, loss=loss, **QUIET).accuracy) == 1, (outputs, loss)
        assert 0 <= net.evaluate(X, y).accuracy <= 1


def test_evaluate_takes_the_loss_of_fit():
    net = one_output()
    net.fit(X, LINE, loss=rv.MSELoss(), **QUIET)
    assert net.loss == rv.MSELoss()
    assert net.evaluate(X, LINE) == net.evaluate(X, LINE, loss=rv.MSELoss())
    net.train_step(X, LINE, loss=rv.QuadraticLoss())
    assert net.evaluate(X, LINE) == net.evaluate(X, LINE, loss=rv.QuadraticLoss())
    assert rv.Network([rv.Linear(3, 3)]).loss == rv.CrossEntropyLoss()
    assert rv.Network([3, 3]).loss == rv.QuadraticLoss()


# --- callbacks ------------------------------------------------------------------------------------------------


def test_a_misspelt_hook_is_an_error():
    with pytest.raises(TypeError, match=r"Mine.on_epoch_ends: expected one of .*; did you mean on_epoch_end\?"):

        class Mine(Callback):
            def on_epoch_ends(self, network, epoch, history):
                pass

    class Loose:
        def on_epoch_end(self, network, epoch, history):
            pass

    net = rv.Network([rv.Linear(3, 3)], seed=0)
    with pytest.raises(TypeError, match=r"ranvier.callbacks.Callback, got .*, whose on_epoch_end would not be called"):
        net.fit(X, LABELS, callbacks=[Loose()], **QUIET)
    assert net.epochs_trained == 0


class Listening(Callback):
    """Notes what it hears."""

    def __init__(self, ends=None):
        self.heard, self.losses, self.ends = [], [], ends

    def on_train_begin(self, network, quantities):
        self.heard.append(("begin", tuple(quantities)))

    def on_batch_end(self, network, batch, loss):
        self.heard.append(("batch", batch))
        self.losses.append(loss)
        return self.ends == ("batch", batch)

    def on_epoch_end(self, network, epoch, history):
        self.heard.append(("epoch", epoch))
        return self.ends == ("epoch", epoch)

    def on_train_end(self, network):
        self.heard.append(("end",))


LAYERS = [rv.Linear(3, 5), rv.BatchNorm1d(5), rv.Dropout(0.2), rv.Linear(5, 3)]
OPTIONS = {"batch_size": 16, "optimizer": rv.Adam(rv.CosineAnnealingLR(0.1, 3)), "progress": False}


def test_batches_are_heard_and_change_no_bit():
    heard, plain = rv.Network(LAYERS, seed=0), rv.Network(LAYERS, seed=0)
    listening = Listening()
    weights = RNG.random(40)
    with_them = heard.fit(X, LABELS, epochs=2, sample_weight=weights, callbacks=[listening], **OPTIONS)
    without = plain.fit(X, LABELS, epochs=2, sample_weight=weights, **OPTIONS)
    epoch = [("batch", 1), ("batch", 2), ("batch", 3)]
    quantities = ("begin", ("loss", "accuracy"))
    assert listening.heard == [quantities, *epoch, ("epoch", 1), *epoch, ("epoch", 2), ("end",)]
    for name, value in plain.state_dict().items():
        np.testing.assert_array_equal(heard.state_dict()[name], value)
    np.testing.assert_allclose(with_them.loss, without.loss, rtol=1e-14)
    assert (with_them.accuracy, with_them.lr) == (without.accuracy, without.lr)
    assert len(set(listening.losses)) == 6


def test_a_callback_may_end_training_after_a_batch():
    net, listening = rv.Network(LAYERS, seed=0), Listening(ends=("batch", 2))
    history = net.fit(X, LABELS, epochs=5, callbacks=[listening], **OPTIONS)
    assert listening.heard[1:] == [("batch", 1), ("batch", 2), ("epoch", 1), ("end",)]
    assert len(history) == 1
    assert net.training_state_dict()["updates"] == 2


def test_a_bad_batch_is_told_by_its_number_to_listeners_too():
    bad = X.copy()
    bad[20, 0] = np.nan
    for callbacks in ([], [Listening()]):
        net = rv.Network(LAYERS, seed=0)
        net.fit(X, LABELS, **OPTIONS)
        with pytest.raises(FloatingPointError, match="epoch 1, batch 2: sample 20 of the input gave"):
            net.fit(bad, LABELS, shuffle=False, callbacks=callbacks, **OPTIONS)
        with pytest.warns(
            RuntimeWarning, match="epoch 1, batch 2: sample 20 .* 16 samples in such batches were left out"
        ):
            net.fit(bad, LABELS, shuffle=False, callbacks=callbacks, on_nonfinite="warn", **OPTIONS)


def test_a_batch_may_change_the_learning_rate():
    class Halving(Callback):
        def on_batch_end(self, network, batch, loss):
            network.learning_rate_factor /= 2

    net, by_hand = rv.Network(LAYERS, seed=0), rv.Network(LAYERS, seed=0)
    net.fit(X, LABELS, batch_size=16, optimizer=rv.SGD(0.5), shuffle=False, callbacks=[Halving()], progress=False)
    for number, first in enumerate(range(0, 40, 16)):
        part = slice(first, first + 16)
        by_hand.train_step(X[part], LABELS[part], optimizer=rv.SGD(0.5 / 2**number))
    for name, value in by_hand.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[name], value)
