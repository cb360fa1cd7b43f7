"""The search for settings and cross-validation, on small data."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import ranvier as rv
from programs import HANGING
from ranvier.tuning import Choice, Integer, Real, cross_validate, search
from ranvier.tuning.splits import fold_indices

pytest.importorskip("optuna")
pytest.importorskip("sklearn")

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 2))
Y = (X[:, 0] > X[:, 1]).astype(int)
RATES = {"lr": Real(1e-5, 1.0, log=True)}


def linear(parameters):
    return rv.Network([rv.Linear(2, 2)], seed=0), {"optimizer": rv.SGD(parameters["lr"])}


class Recorder(rv.Network):
    """A network that notes which samples it meets, by their first number."""

    def __init__(self):
        super().__init__([rv.Linear(1, 2)], seed=0)
        self.trained, self.evaluated = [], []

    def fit(self, x, y, **options):
        self.trained += x[:, 0].tolist()
        self.options = options
        return super().fit(x, y, **options)

    def evaluate(self, x, y=None, **options):
        self.evaluated += x[:, 0].tolist()
        return super().evaluate(x, y, **options)


# --- cross-validation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [2, 3, 7, 23])
@pytest.mark.parametrize("labels", [True, False])
def test_each_sample_is_held_out_once(folds, labels):
    x = np.arange(23.0)[:, None]
    y = np.arange(23) % 2 if labels else np.eye(2)[np.arange(23) % 2]
    networks = []

    def build():
        networks.append(Recorder())
        return networks[-1]

    result = cross_validate(build, x, y, folds, loss=rv.QuadraticLoss())
    assert len(networks) == len(result.evaluations) == folds
    assert sorted(sample for net in networks for sample in net.evaluated) == list(range(23))
    for net in networks:
        assert sorted(net.trained + net.evaluated) == list(range(23))
        assert len(net.evaluated) in (23 // folds, 23 // folds + 1)


def test_folds_have_the_classes_in_proportion():
    y = np.repeat([0, 1], [30, 10])
    for train, held_out in fold_indices(y, 5, seed=3):
        assert np.bincount(y[train]).tolist() == [24, 8]
        assert np.bincount(y[held_out]).tolist() == [6, 2]


def test_scores_are_those_of_fit_and_evaluate():
    result = cross_validate(lambda: linear({"lr": 0.3}), X, Y, 3, epochs=4, batch_size=10, seed=5)
    for evaluation, (train, held_out) in zip(result.evaluations, fold_indices(Y, 3, 5), strict=True):
        net, options = linear({"lr": 0.3})
        net.fit(X[train], Y[train], epochs=4, batch_size=10, progress=False, **options)
        assert net.evaluate(X[held_out], Y[held_out]) == evaluation
    assert result.losses.tolist() == [evaluation.loss for evaluation in result.evaluations]
    assert result.accuracies.tolist() == [evaluation.accuracy for evaluation in result.evaluations]
    assert str(result) == (
        f"loss {result.losses.mean():.4f} ± {result.losses.std():.4f}, "
        f"accuracy {result.accuracies.mean():.4f} ± {result.accuracies.std():.4f} over 3 folds"
    )


def test_the_folds_follow_the_seed():
    first, second = (cross_validate(lambda: linear({"lr": 0.3}), X, Y, seed=seed) for seed in (1, 2))
    assert first != second
    assert first == cross_validate(lambda: linear({"lr": 0.3}), X, Y, seed=1)


def test_arguments_from_build_go_first():
    net = Recorder()
    cross_validate(lambda: (net, {"epochs": 3}), X[:, :1], Y, 2, epochs=1, batch_size=7)
    assert net.options["epochs"] == 3
    assert net.options["batch_size"] == 7
    assert net.options["progress"] is False


@pytest.mark.parametrize(
    ("arguments", "error", "argument"),
    [
        ({"folds": 1}, ValueError, "folds"),
        ({"folds": 61}, ValueError, "folds"),
        ({"folds": 2.0}, TypeError, "folds"),
        ({"seed": -1}, ValueError, "seed"),
        ({"epochs": -1}, ValueError, "epochs"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"x": X[:5]}, ValueError, "y"),
        ({"x": X[:0]}, ValueError, "x"),
        ({"build": lambda: "network"}, TypeError, "build"),
        ({"build": lambda: (rv.Network([2, 2]), 3)}, TypeError, "build"),
        ({"build": lambda: (rv.Network([2, 2]), {"validation_data": (X, Y)})}, ValueError, "build"),
    ],
)
def test_bad_arguments_of_cross_validate(arguments, error, argument):
    given = {"build": lambda: linear({"lr": 0.1}), "x": X, "y": Y} | arguments
    with pytest.raises(error, match=f"^{argument}:"):
        cross_validate(**given)


# --- search -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
@pytest.mark.parametrize("held_out", [{"validation_data": (X[:20], Y[:20])}, {"folds": 2}, {}], ids=str)
def test_finds_the_better_of_two_settings(metric, held_out):
    space = {"lr": Choice([1e-9, 0.5])}
    result = search(linear, space, X, Y, trials=6, epochs=5, batch_size=10, metric=metric, **held_out)
    assert {trial.parameters["lr"] for trial in result.trials} == {1e-9, 0.5}
    assert result.best.parameters == {"lr": 0.5}
    assert result.best in result.trials
    values = [trial.value for trial in result.trials if trial.state == "complete"]
    assert result.best.value == (max(values) if metric == "accuracy" else min(values))


def test_value_is_the_mean_over_the_folds():
    result = search(linear, RATES, X, Y, trials=1, folds=4, epochs=3, seed=2, metric="loss")
    expected = cross_validate(lambda: linear(result.best.parameters), X, Y, 4, epochs=3, seed=2)
    assert result.best.value == pytest.approx(expected.losses.mean(), rel=1e-12)


def test_a_search_repeats_itself():
    space = {**RATES, "hidden": Integer(2, 9), "log": Integer(1, 64, log=True), "kind": Choice(("a", None, True))}

    def run(seed):
        return search(linear, space, X, Y, trials=12, epochs=2, seed=seed).trials

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_values_are_from_the_space():
    space = {
        "lr": Real(1e-3, 1e-2, log=True),
        "width": Integer(-2, 3),
        "factor": Real(-1, 1),
        "kind": Choice([1, 2.5, "x"]),
    }
    seen = []

    def build(parameters):
        seen.append(parameters)
        return linear(parameters)

    result = search(build, space, X, Y, trials=15, validation_data=(X, Y))
    assert seen == [trial.parameters for trial in result.trials]
    for parameters in seen:
        assert 1e-3 <= parameters["lr"] <= 1e-2
        assert parameters["width"] in range(-2, 4)
        assert type(parameters["width"]) is int
        assert -1 <= parameters["factor"] <= 1
        assert parameters["kind"] in (1, 2.5, "x")
    assert len({parameters["width"] for parameters in seen}) > 2


@pytest.mark.parametrize("folds", [None, 3])
def test_prunes_trials_without_prospects(folds):
    epochs = []

    def build(parameters):
        # The first five settings are good, and all others are bad.
        rate = 0.5 if len(epochs) < 5 * (folds or 1) else 1e-9
        epochs.append(0)

        def count(network, epoch, history):
            epochs[-1] = epoch

        return rv.Network([rv.Linear(2, 2)], seed=1), {"optimizer": rv.SGD(rate), "callbacks": [count]}

    held_out = {"folds": folds} if folds else {"validation_data": (X, Y)}
    result = search(build, RATES, X, Y, trials=8, epochs=8, batch_size=10, metric="loss", **held_out)
    assert [trial.state for trial in result.trials] == ["complete"] * 5 + ["pruned"] * 3
    assert epochs[-3:] == [2, 2, 2]  # a quarter of the epochs is waited for
    assert all(count == 8 for count in epochs[:-3])
    assert all(trial.value > result.best.value for trial in result.trials[5:])


def test_without_pruning_all_trials_are_complete():
    result = search(linear, RATES, X, Y, trials=10, epochs=4, pruning=False, validation_data=(X, Y))
    assert {trial.state for trial in result.trials} == {"complete"}


def test_callbacks_are_called_beside_the_pruning():
    calls = []
    search(
        linear,
        RATES,
        X,
        Y,
        trials=2,
        epochs=3,
        validation_data=(X, Y),
        callbacks=[lambda network, epoch, history: calls.append(epoch)],
    )
    assert calls == [1, 2, 3, 1, 2, 3]


def test_jobs_share_the_threads_and_get_the_same_values():
    rv.set_num_threads(4)
    threads, counts = set(), set()

    def build(parameters):
        threads.add(threading.current_thread())
        counts.add(rv.num_threads())
        return linear(parameters)

    options = {"trials": 12, "validation_data": (X, Y), "epochs": 3, "metric": "loss", "pruning": False}
    result = search(build, RATES, X, Y, jobs=2, **options)
    assert rv.num_threads() == 4
    assert threading.main_thread() not in threads
    assert counts == ({2} if rv.cpu_info()["openmp"] else counts)
    for trial in result.trials:
        net, own = linear(trial.parameters)
        net.fit(X, Y, epochs=3, progress=False, **own)
        assert trial.value == net.evaluate(X, Y).loss


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_ends_the_search_and_brings_the_threads_back(jobs):
    calls = []

    def build(parameters):
        calls.append(parameters)
        if len(calls) == 4:
            raise RuntimeError("no network today")
        return linear(parameters)

    rv.set_num_threads(3)
    with pytest.raises(RuntimeError, match="no network today"):
        search(build, RATES, X, Y, trials=50, jobs=jobs, validation_data=(X, Y))
    assert len(calls) < 50
    assert rv.num_threads() == 3


def test_usual_threads_stay_the_usual():
    rv.set_num_threads(0)
    usual = rv.num_threads()
    search(linear, RATES, X, Y, trials=2, jobs=2)
    assert rv.num_threads() == usual


def test_a_training_that_explodes_is_a_failed_trial():
    def build(parameters):
        rate = 0.1 if parameters["good"] else 1e30
        return rv.Network([rv.Linear(2, 2)], seed=0), {"optimizer": rv.SGD(rate), "loss": rv.QuadraticLoss()}

    result = search(build, {"good": Choice([True, False])}, X * 1e3, Y, trials=6, epochs=3, folds=2)
    states = {trial.parameters["good"]: (trial.state, trial.value is None) for trial in result.trials}
    assert states == {True: ("complete", False), False: ("failed", True)}
    with pytest.raises(FloatingPointError, match="each of 2 trials"):
        search(build, {"good": Choice([False])}, X * 1e3, Y, trials=2, epochs=3, folds=2)


def test_nothing_is_printed(capfd):
    search(linear, RATES, X, Y, trials=2)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "error", "argument"),
    [
        ({"space": {}}, ValueError, "space"),
        ({"space": [Real(0, 1)]}, TypeError, "space"),
        ({"space": {"a": (0, 1)}}, TypeError, "space"),
        ({"trials": 0}, ValueError, "trials"),
        ({"jobs": 0}, ValueError, "jobs"),
        ({"seed": 0.5}, TypeError, "seed"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"metric": "f1"}, ValueError, "metric"),
        ({"pruning": "yes"}, TypeError, "pruning"),
        ({"folds": 1}, ValueError, "folds"),
        ({"folds": 3, "validation_data": (X, Y)}, ValueError, "folds"),
        ({"validation_data": X}, TypeError, "validation_data"),
        ({"validation_data": (X[:3], Y[:2])}, ValueError, "validation_data y"),
        ({"y": Y[:7]}, ValueError, "y"),
        ({"build": lambda parameters: None}, TypeError, "build"),
    ],
)
def test_bad_arguments_of_search(arguments, error, argument):
    given = {"build": linear, "space": RATES, "x": X, "y": Y, "trials": 1} | arguments
    with pytest.raises(error, match=f"^{argument}:"):
        search(**given)


@pytest.mark.parametrize(
    ("make", "error", "field"),
    [
        (lambda: Real(1, 1), ValueError, "high"),
        (lambda: Real(0, 1, log=True), ValueError, "low"),
        (lambda: Real("0", 1), TypeError, "low"),
        (lambda: Real(0, float("inf")), ValueError, "high"),
        (lambda: Integer(3, 2), ValueError, "high"),
        (lambda: Integer(0, 2, log=True), ValueError, "low"),
        (lambda: Integer(1.0, 2), TypeError, "low"),
        (lambda: Integer(1, 2, log=1), TypeError, "log"),
        (lambda: Choice([]), ValueError, "options"),
        (lambda: Choice("abc"), TypeError, "options"),
        (lambda: Choice([rv.ReLU()]), TypeError, "options"),
    ],
)
def test_bad_dimensions(make, error, field):
    with pytest.raises(error, match=f"^{field}:"):
        make()


@pytest.mark.parametrize("missing", ["optuna", "sklearn"])
def test_what_is_missing_is_named(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setitem(sys.modules, f"{missing}.model_selection", None)
    with pytest.raises(ImportError, match=r"pip install 'ranvier\[tune\]'"):
        search(linear, RATES, X, Y, trials=1)
    if missing == "sklearn":
        with pytest.raises(ImportError, match=r"pip install 'ranvier\[tune\]'"):
            cross_validate(lambda: linear({"lr": 1.0}), X, Y)


def test_imports_are_late():
    code = """
import sys, ranvier
assert not {"ranvier.tuning", "ranvier.diagnostics"} & sys.modules.keys()
import ranvier.tuning, ranvier.diagnostics
assert not {"optuna", "sklearn", "matplotlib"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANGING)


# --- a study of one's own -----------------------------------------------------------------------------------

SHARING = """
import sys
import numpy as np
import optuna
import ranvier as rv
from ranvier.tuning import Real, search

rng = np.random.default_rng(0)
x = rng.standard_normal((60, 2))
y = (x[:, 0] > x[:, 1]).astype(int)


def linear(parameters):
    return rv.Network([rv.Linear(2, 2)], seed=0), {"optimizer": rv.SGD(parameters["lr"])}


study = optuna.create_study(
    study_name="shared", storage=sys.argv[1], load_if_exists=True, direction="maximize",
)
print(len(search(linear, {"lr": Real(1e-5, 1.0, log=True)}, x, y, trials=4, folds=2, study=study).trials))
"""


def test_processes_share_a_study(tmp_path):
    optuna = pytest.importorskip("optuna")
    storage = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name="shared", storage=storage, direction="maximize")
    command = [sys.executable, "-c", SHARING, storage]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        study = optuna.load_study(study_name="shared", storage=storage)
        while len(study.trials) < 4 and other.poll() is None:  # both at once
            search(linear, RATES, X, Y, trials=1, folds=2, study=study)
        seen = int(other.communicate(timeout=HANGING)[0])
    assert other.returncode == 0
    own = search(linear, RATES, X, Y, trials=1, folds=2, study=study)
    assert 4 < seen < len(own.trials) == len(study.trials)
    assert {trial.state for trial in own.trials} <= {"complete", "pruned"}
    assert own.best.value == max(trial.value for trial in own.trials if trial.state == "complete")
    assert own.study is study


def test_the_trials_of_a_study_count():
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(direction="minimize")
    study.enqueue_trial({"lr": 0.125})
    first = search(linear, RATES, X, Y, trials=1, folds=2, metric="loss", study=study)
    assert first.best.parameters == {"lr": 0.125}
    study.enqueue_trial({"lr": 0.5})
    study.ask()  # by someone else, who is still at it
    again = search(linear, RATES, X, Y, trials=1, folds=2, metric="loss", study=study)
    assert [trial.state for trial in again.trials] == ["complete", "running", "complete"]


def test_an_unfit_study_is_told():
    optuna = pytest.importorskip("optuna")
    with pytest.raises(TypeError, match=r"study: expected an optuna\.Study, got str"):
        search(linear, RATES, X, Y, trials=1, study="sqlite:///study.db")
    with pytest.raises(ValueError, match="study: expected the direction 'maximize', which the metric has, got"):
        search(linear, RATES, X, Y, trials=1, study=optuna.create_study(direction="minimize"))
    with pytest.raises(ValueError, match="study: expected the direction"):
        search(linear, RATES, X, Y, trials=1, study=optuna.create_study(directions=["maximize", "minimize"]))
