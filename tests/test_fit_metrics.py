"""Metrics in `fit` and `evaluate`, by name or as functions, and what callbacks do with them."""

import copy

import numpy as np
import pytest
import ranvier as rv
from ranvier import progress

sklearn_metrics = pytest.importorskip("sklearn.metrics")

N = 90
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 4)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)
NUMBERS = (X @ RNG.standard_normal((4, 2)) + [1000, 5]).astype(np.float32)
VALIDATION = {"labels": (X[:30], LABELS[:30]), "numbers": (X[:30], NUMBERS[:30])}
STILL = {"optimizer": rv.SGD(0.0), "progress": False, "batch_size": 7}  # the outputs of an epoch are those after it


def network(outputs):
    return rv.Network([rv.Linear(4, 6), rv.Tanh(), rv.Linear(6, outputs)], seed=0)


class OwnMSE:
    def __call__(self, prediction, target):
        return float(np.mean((prediction - target) ** 2))

    def gradient(self, prediction, target):
        return 2 * (prediction - target) / prediction.size


def errors(y, p):
    y, p = y.astype(float), p.astype(float)
    mse = float(np.mean((y - p) ** 2))
    return {
        "r2": sklearn_metrics.r2_score(y, p),
        "mae": float(np.mean(abs(y - p))),
        "rmse": mse**0.5,
        "mse": mse,
    }


@pytest.mark.parametrize("loss", [rv.MSELoss(), rv.QuadraticLoss(), OwnMSE()], ids=["mean", "quadratic", "own"])
@pytest.mark.parametrize("columns", [1, 2])
def test_errors_are_those_of_scikit_learn(loss, columns):
    y = NUMBERS[:, :columns]
    net = network(columns)
    history = net.fit(X, y, loss=loss, metrics=["rmse", "mse"], validation_data=(X[:30], y[:30]), **STILL)
    evaluation = net.evaluate(X, y, metrics=["mse", "rmse"])
    for name, value in errors(y, net.predict(X)).items():
        assert getattr(history, name) == [pytest.approx(value, rel=1e-6)], name
        assert getattr(evaluation, name) == pytest.approx(value, rel=1e-6)
    for name, value in errors(y[:30], net.predict(X[:30])).items():
        assert getattr(history, f"val_{name}") == [pytest.approx(value, rel=1e-6)], name
    assert history.accuracy == []
    assert evaluation.accuracy is None
    assert evaluation.metrics.keys() == {"r2", "mae", "mse", "rmse"}


@pytest.mark.parametrize("outputs", [1, 15, 16, 17, 40])
def test_errors_of_any_number_of_outputs(outputs):
    y = RNG.standard_normal((N, outputs)).astype(np.float32) * 10 + np.arange(outputs)
    net = network(outputs)
    evaluation = net.evaluate(X, y, loss=rv.MSELoss())
    expected = errors(y, net.predict(X))
    assert evaluation.r2 == pytest.approx(expected["r2"], rel=1e-5)
    assert evaluation.mae == pytest.approx(expected["mae"], rel=1e-6)


def test_r2_of_targets_that_are_all_equal():
    net = network(1)
    for layer in net.parameters().values():
        layer[...] = 0
    assert net.evaluate(X, np.zeros(N), loss=rv.MSELoss()).accuracy is not None  # 0 and 1 are classes
    assert net.evaluate(X, np.full(N, 3.0), loss=rv.MSELoss()).r2 == 0
    net.parameters()["2.bias"][...] = 3
    assert net.evaluate(X, np.full(N, 3.0), loss=rv.MSELoss()).r2 == 1
    assert np.isnan(net.evaluate(X[:1], [3.0], loss=rv.MSELoss()).r2)


def test_metrics_of_classes():
    net = network(3)
    names = ["precision", "recall", "f1", "accuracy"]
    history = net.fit(X, LABELS, metrics=names, validation_data=VALIDATION["labels"], **STILL)
    predicted = net.predict(X).argmax(1)
    for name in ("precision", "recall", "f1"):
        score = getattr(sklearn_metrics, f"{name}_score")(LABELS, predicted, average="macro", zero_division=0)
        assert getattr(history, name) == [pytest.approx(score)]
    assert history.accuracy == [np.mean(predicted == LABELS)]
    assert list(history.metrics) == ["precision", "recall", "f1", "val_precision", "val_recall", "val_f1"]


def test_functions_see_targets_and_outputs_of_the_whole_epoch():
    seen = []

    def middle(y_true, y_pred):
        seen.append((y_true, y_pred))
        return np.median(abs(y_true - y_pred))

    net = network(2)
    data = VALIDATION["numbers"]
    history = net.fit(X, NUMBERS, loss=rv.MSELoss(), metrics=[middle], validation_data=data, **STILL)
    (y, p), (y_held, p_held) = seen
    order = net.shuffled(N)
    np.testing.assert_array_equal(y, NUMBERS[order])
    np.testing.assert_allclose(p, net.predict(X)[order], rtol=1e-4)
    np.testing.assert_array_equal(y_held, NUMBERS[:30])
    np.testing.assert_array_equal(p_held, net.predict(X[:30]))
    assert history.middle == [pytest.approx(np.median(abs(NUMBERS - net.predict(X))), rel=1e-4)]
    assert history.val_middle == [pytest.approx(np.median(abs(NUMBERS[:30] - net.predict(X[:30]))))]


def test_metrics_change_nothing_in_a_training():
    nets = [network(3), network(3)]
    for net, metrics in zip(nets, ([], ["f1", lambda y, p: 1.0]), strict=True):
        if metrics:
            metrics[1].__name__ = "one"
        net.fit(X, LABELS, epochs=3, metrics=metrics, progress=False)
    for name, value in nets[0].state_dict().items():
        np.testing.assert_array_equal(value, nets[1].state_dict()[name])


def test_batches_that_are_left_out_do_not_count():
    x = X.copy()
    x[10] = np.inf
    for loss in (rv.MSELoss(), OwnMSE()):
        net, seen = network(2), []

        def count(y, p, seen=seen):
            seen.append(y)
            assert np.isfinite(p).all()
            return len(y)

        with pytest.warns(RuntimeWarning, match="7 samples in such batches were left out"):
            history = net.fit(
                x, NUMBERS, loss=loss, metrics=[count], shuffle=False, on_nonfinite="warn", epochs=1, **STILL
            )
        kept = np.r_[0:7, 14:N]
        np.testing.assert_array_equal(seen[0], NUMBERS[kept])
        assert history.count == [N - 7]
        expected = errors(NUMBERS[kept], net.predict(X[kept]))
        assert history.r2 == [pytest.approx(expected["r2"], rel=1e-6)]
        assert history.mae == [pytest.approx(expected["mae"], rel=1e-6)]


def test_callbacks_go_by_any_metric(tmp_path):
    net = network(2)
    values = iter([3.0, 5.0, 4.0, 4.5])

    def score(y, p):
        return next(values) if len(y) == 30 else 0.0

    stop = rv.EarlyStopping("val_score", patience=2, mode="max")
    keep = rv.Checkpoint(tmp_path / "net.safetensors", monitor="val_score", mode="max")
    options = {"loss": rv.MSELoss(), "metrics": [score], "validation_data": VALIDATION["numbers"], "progress": False}
    history = net.fit(X, NUMBERS, epochs=9, callbacks=[stop, keep], **options)
    assert len(history) == 4
    assert stop.best_epoch == 2
    loaded = rv.load(tmp_path / "net.safetensors")
    assert loaded.history.val_score == [3, 5]
    assert loaded.history.r2 == history.r2[:2]
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))

    plateau = rv.ReduceLROnPlateau("mae", patience=1, min_delta=1e9)
    net.fit(X, NUMBERS, epochs=3, loss=rv.MSELoss(), callbacks=[plateau], progress=False)
    assert net.learning_rate_factor < 1


@pytest.mark.parametrize("name", ["r2", "f1", "accuracy", "loss", "mae", "rmse"])
def test_the_direction_of_the_librarys_metrics_is_known(name):
    stop = rv.EarlyStopping(name, patience=1, restore_best=False)
    stop.on_train_begin(None, [name])
    history = rv.History()
    ends = []
    for value in (1.0, 2.0):
        history.append(**{"loss": 0.0, name: value})
        ends.append(stop.on_epoch_end(None, 1, history))
    assert ends == [False, name in ("loss", "mae", "rmse")]


@pytest.mark.parametrize(
    ("metrics", "y", "error", "message"),
    [
        (["f2"], LABELS, ValueError, "metrics: expected 'accuracy', .* or a function of .* got 'f2'"),
        (["r2"], LABELS, ValueError, "metrics: expected targets that are numbers for 'r2', got labels"),
        (["f1"], NUMBERS, ValueError, "metrics: expected targets that are classes for 'f1', got numbers"),
        (["accuracy"], NUMBERS, ValueError, "metrics: expected targets that are classes for 'accuracy', got numbers"),
        ("f1", LABELS, TypeError, "metrics: expected a list of names and functions, got 'f1'"),
        ([3], LABELS, TypeError, "metrics: expected names or functions of"),
        ([int], LABELS, TypeError, "metrics: expected names or functions of"),
        ([lambda y, p: 0.0], LABELS, ValueError, "metrics: expected a function whose name .* got '<lambda>'"),
    ],
)
def test_unfit_metrics(metrics, y, error, message):
    net = network(3 if y.ndim == 1 else 2)
    loss = rv.CrossEntropyLoss() if y.ndim == 1 else rv.MSELoss()
    for call in (net.fit, net.evaluate):
        with pytest.raises(error, match=message):
            call(X, y, loss=loss, metrics=metrics)
    assert net.history is None


def test_a_metric_must_be_a_number():
    def rows(y, p):
        return p[0]

    with pytest.raises(TypeError, match=r"metrics: expected a number from rows, got an array of shape \(3,\)"):
        network(3).fit(X, LABELS, metrics=[rows], progress=False)


def test_what_is_to_be_monitored_must_be_there():
    net = network(3)
    for monitor, message in (
        ("f1", "monitor: expected one of 'loss', 'accuracy', got 'f1'; fit"),
        ("val_f1", "monitor: expected validation data for 'val_f1', got none"),
    ):
        with pytest.raises(ValueError, match=message):
            net.fit(X, LABELS, callbacks=[rv.EarlyStopping(monitor)])
    with pytest.raises(ValueError, match=r"monitor: expected one of .* or a metric of your own with mode"):
        rv.EarlyStopping("val_mine")
    with pytest.raises(ValueError, match="mode: expected 'min' or 'max', got 'up'"):
        rv.EarlyStopping("val_mine", mode="up")


def test_histories_and_evaluations_are_copied_with_their_metrics():
    net = network(2)
    history = net.fit(X, NUMBERS, loss=rv.MSELoss(), progress=False)
    for twin in (copy.deepcopy(history), copy.copy(history), copy.deepcopy(net).history):
        assert twin == history
        assert twin.r2 == history.r2
    evaluation = net.evaluate(X, NUMBERS)
    assert copy.deepcopy(evaluation).r2 == evaluation.r2
    loss, r2, mae = evaluation.loss, evaluation.r2, evaluation.mae
    assert repr(evaluation) == f"Evaluation(loss={loss!r}, accuracy=None, r2={r2!r}, mae={mae!r})"
    with pytest.raises(AttributeError, match=r"Evaluation has no 'f1'; its further metrics are \['mae', 'r2'\]"):
        _ = evaluation.f1
    with pytest.raises(AttributeError, match="History has no 'val_r2'"):
        _ = history.val_r2


def test_a_first_batch_that_is_not_finite_is_told_with_metrics_too():
    def bias(y_true, y_pred):
        return float(np.mean(y_pred - y_true))

    with pytest.raises(FloatingPointError, match="batch 1: sample"):
        network(2).fit(np.full_like(X, np.nan), NUMBERS, loss=rv.MSELoss(), metrics=[bias], progress=False)


def test_the_bar_shows_them(capsys, monkeypatch):
    monkeypatch.setattr(progress, "is_visible", lambda: True)
    network(2).fit(X, NUMBERS, loss=rv.MSELoss(), validation_data=VALIDATION["numbers"])
    shown = capsys.readouterr().err
    for name in ("r2", "mae", "val_loss", "val_r2", "val_mae"):
        assert f" {name}=" in shown
    assert "accuracy" not in shown
