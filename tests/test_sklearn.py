"""The estimators with the real scikit-learn: its own checks, and what they offer beyond its perceptron."""

import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
import ranvier as rv

pytest.importorskip("sklearn", minversion="1.6")
from ranvier.sklearn import NetworkClassifier, NetworkRegressor
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from threadpoolctl import threadpool_limits

rng = np.random.default_rng(0)
X = rng.standard_normal((120, 4))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
NAMES = np.where(X[:, 0] > 0.5, "high", np.where(X[:, 0] < -0.5, "low", "middle"))
WEIGHTS = rng.integers(0, 4, 120).astype(float)
SHORT = {"max_iter": 4, "tol": None, "random_state": 0, "solver": rv.Adam(0.02)}


class OwnLayers:
    def __call__(self, shape, outputs):
        return [rv.Linear(shape[0], 12), rv.Tanh(), rv.Linear(12, outputs)]

    def __repr__(self):  # a function's has its address, and a test of that name would be another one in each process
        return "own_layers"


own_layers = OwnLayers()


def same_network(one, other):
    states = one.network_.state_dict(), other.network_.state_dict()
    return states[0].keys() == states[1].keys() and all((states[0][n] == states[1][n]).all() for n in states[0])


# --- scikit-learn's checks ----------------------------------------------------------------------------------

CHECKED = [
    NetworkClassifier((8,), "tanh", solver="sgd", learning_rate_init=0.1, max_iter=30, n_iter_no_change=30),
    NetworkClassifier(
        layers=own_layers, loss=rv.CrossEntropyLoss(), solver=rv.AdamW(0.05), batch_size=None, max_iter=30
    ),
    NetworkRegressor((8,), rv.GELU(), learning_rate_init=0.05, max_iter=30, early_stopping=False),
]


@parametrize_with_checks(CHECKED)
def test_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


# What they compare to seven digits.
OF_DOUBLE_PRECISION = {
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_checks_of_a_network_of_float32():
    estimator = NetworkClassifier((8,), solver=rv.Adam(0.05), max_iter=20, tol=None, dtype="float32")
    names = set()
    for instance, check in estimator_checks_generator(estimator):
        name = getattr(check, "func", check).__name__
        names.add(name)
        if name not in OF_DOUBLE_PRECISION and name != "check_array_api_input":
            check(instance)
    assert len(names) > 40


# --- what they wrap -----------------------------------------------------------------------------------------


def test_it_is_network_fit():
    estimator = NetworkClassifier((6,), "tanh", alpha=0.5, **SHORT).fit(X, NAMES)
    layers = [rv.Linear(4, 6, l2=0.5 / 120), rv.Tanh(), rv.Linear(6, 3, l2=0.5 / 120)]
    net = rv.Network(layers, seed=estimator.network_.seed, dtype="float64")
    net.fit(X, NAMES, epochs=4, batch_size=120, optimizer=rv.Adam(0.02), progress=False)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, estimator.network_.state_dict()[name])
    np.testing.assert_array_equal(estimator.predict(X), net.predict_classes(X))
    np.testing.assert_array_equal(estimator.predict_proba(X), net.predict_proba(X))
    assert estimator.loss_curve_ == net.history.loss
    assert estimator.n_iter_ == 4


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(("activation", "labels"), [("tanh", Y), ("logistic", NAMES), ("relu", NAMES)])
def test_a_step_is_that_of_the_perceptron_of_scikit_learn(weights, activation, labels):
    options = {"alpha": 3.0, "random_state": 0, "activation": activation, "hidden_layer_sizes": (5,)}
    theirs, ours = MLPClassifier(**options), NetworkClassifier(**options, solver=rv.Adagrad(0.0))  # which stays put
    for estimator in (theirs, ours):
        estimator.partial_fit(X, labels, classes=np.unique(labels), sample_weight=weights)
        estimator.set_params(solver="sgd", learning_rate_init=0.05)
    del theirs._optimizer  # so that it begins anew
    state = ours.network_.state_dict()
    for i in range(2):
        theirs.coefs_[i][...], theirs.intercepts_[i][...] = state[f"{2 * i}.weight"].T, state[f"{2 * i}.bias"]
    for estimator in (theirs, ours):
        estimator.partial_fit(X, labels, sample_weight=weights)
    for i in range(2):
        moved = theirs.coefs_[i].T - state[f"{2 * i}.weight"]
        assert np.abs(moved).max() > 1e-3
        ours_moved = ours.network_.state_dict()[f"{2 * i}.weight"] - state[f"{2 * i}.weight"]
        np.testing.assert_allclose(ours_moved, moved, atol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)


# --- training -----------------------------------------------------------------------------------------------


def test_parts_and_warm_starts_go_on_with_the_optimizer():
    whole = NetworkClassifier((6,), **SHORT | {"max_iter": 7}).fit(X, Y)
    by_parts = NetworkClassifier((6,), **SHORT)
    for _ in range(7):
        by_parts.partial_fit(X, Y, classes=[0, 1])
    assert same_network(whole, by_parts)
    assert by_parts.n_iter_ == 7
    warm = NetworkClassifier((6,), warm_start=True, **SHORT | {"max_iter": 3}).fit(X, Y)
    warm.set_params(max_iter=4).fit(X, Y)
    assert same_network(whole, warm)
    assert warm.n_iter_ == 4
    assert warm.loss_curve_ == whole.loss_curve_


def test_a_warm_start_does_not_take_other_layers():
    warm = NetworkClassifier((6,), warm_start=True, **SHORT).fit(X, Y)
    with pytest.raises(ValueError, match="warm_start: expected the parameters of the layers"):
        warm.set_params(hidden_layer_sizes=(7,)).fit(X, Y)
    with pytest.raises(ValueError, match="y: expected labels of the classes"):
        warm.set_params(hidden_layer_sizes=(6,)).fit(X, Y + 1)


def test_validation_samples_are_recorded_or_end_the_training():
    half, rest = slice(0, 60), slice(60, None)
    recorded = NetworkClassifier((6,), **SHORT).fit(X[half], NAMES[half], X_val=X[rest], y_val=NAMES[rest])
    assert len(recorded.validation_loss_curve_) == 4
    loss = recorded.network_.evaluate(X[rest], np.unique(NAMES, return_inverse=True)[1][rest]).loss
    assert recorded.validation_loss_curve_[-1] == pytest.approx(loss, rel=1e-12)
    # Validation labels at random: the loss soon rises again.
    noise = rng.permutation(NAMES[rest])
    options = {"early_stopping": True, "n_iter_no_change": 3, "solver": rv.Adam(0.1), "random_state": 0}
    best = NetworkClassifier((40,), max_iter=60, **options)
    best.fit(X[half], NAMES[half], X_val=X[rest], y_val=noise)
    assert best.n_iter_ < 60
    curve = best.validation_loss_curve_
    assert curve[-1] > min(curve)
    best_loss = best.network_.evaluate(X[rest], np.unique(noise, return_inverse=True)[1]).loss
    assert best_loss == pytest.approx(min(curve), rel=1e-12)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("as_matrix", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("kind", [NetworkClassifier, NetworkRegressor])
def test_samples_are_held_out(kind, as_matrix, weights):
    estimator = kind((6,), early_stopping=True, validation_fraction=0.25, **SHORT)
    estimator.fit(as_matrix(X), Y, sample_weight=weights)
    assert len(estimator.validation_loss_curve_) == 4
    seen = []
    watching = clone(estimator).set_params(callbacks=[lambda net, epoch, history: seen.append(net.shuffled(90))])
    assert same_network(estimator, watching.fit(as_matrix(X), Y, sample_weight=weights))
    assert len(seen) == 4


def test_weights_count_in_validation():
    doubled = np.r_[np.arange(60, 120), np.arange(60, 70)]
    weights = np.where(np.arange(60) < 10, 2.0, 1.0)
    one, other = (NetworkRegressor((6,), **SHORT) for _ in range(2))
    one.fit(X[:60], X[:60, 0], X_val=X[doubled], y_val=X[doubled, 0])
    other.fit(X[:60], X[:60, 0], X_val=X[60:], y_val=X[60:, 0], sample_weight_val=weights)
    np.testing.assert_allclose(one.validation_loss_curve_, other.validation_loss_curve_, rtol=1e-12)


def test_weights_of_classes_multiply_those_of_samples():
    by_class = NetworkClassifier((6,), class_weight={"high": 5.0, "low": 0.5}, **SHORT).fit(X, NAMES, WEIGHTS)
    factors = np.where(NAMES == "high", 5.0, np.where(NAMES == "low", 0.5, 1.0))
    assert same_network(by_class, NetworkClassifier((6,), **SHORT).fit(X, NAMES, WEIGHTS * factors))
    rare = np.arange(120) % 10 == 0
    counts = {
        weight: NetworkClassifier((6,), class_weight=weight, **SHORT).fit(X, rare).predict(X).sum()
        for weight in (None, "balanced")
    }
    assert counts["balanced"] > counts[None]


def test_dropout_and_batch_normalization():
    estimator = NetworkClassifier((6, 5), "tanh", dropout=0.2, batch_norm=True, **SHORT).fit(X, NAMES)
    kinds = [type(layer) for layer in estimator.network_.layers]
    assert kinds == 2 * [rv.Linear, rv.BatchNorm1d, rv.Tanh, rv.Dropout] + [rv.Linear]
    assert same_network(estimator, clone(estimator).fit(X, NAMES))
    alone = np.concatenate([estimator.predict_proba(row[None]) for row in X])
    np.testing.assert_array_equal(alone, estimator.predict_proba(X))


def test_any_loss():
    y = X[:, 0] + 0.01 * rng.standard_normal(120)
    y[::10] += 100  # which squares follow

    class AbsoluteError:
        def __call__(self, prediction, target):
            return float(np.abs(prediction - target).mean())

        def gradient(self, prediction, target):
            return np.sign(prediction - target) / prediction.size

    robust = NetworkRegressor((10,), loss=AbsoluteError(), solver=rv.Adam(0.05), max_iter=60, tol=None, random_state=0)
    robust.fit(X, y)
    assert np.median(np.abs(robust.predict(X) - y)) < 0.5
    with pytest.raises(TypeError, match="sample_weight: expected a loss that takes it"):
        robust.fit(X, y, sample_weight=WEIGHTS)


def test_without_convergence_there_is_a_warning():
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        NetworkRegressor((3,), max_iter=2).fit(X, Y)
    assert NetworkRegressor((3,), max_iter=500, tol=10.0, n_iter_no_change=3).fit(X, Y).n_iter_ == 4


# --- samples and targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_rows_have_the_bits_of_dense_ones(dtype):
    x = np.where(rng.random((300, 50)) < 0.1, rng.standard_normal((300, 50)), 0).astype(dtype)
    y = x.sum(axis=1)
    dense = NetworkRegressor((6,), **SHORT).fit(x, y)
    for kind in (sparse.csr_array, sparse.csr_matrix, sparse.coo_array, sparse.csc_matrix):
        other = NetworkRegressor((6,), **SHORT).fit(kind(x), y)
        assert same_network(dense, other)
        np.testing.assert_array_equal(dense.predict(x), other.predict(kind(x)))
    assert dense.network_.dtype == dense.predict(x).dtype == dtype


@pytest.mark.parametrize("labels", [NAMES, NAMES.astype(object), Y.astype(bool), Y * 2.0 - 7, Y + 3])
def test_labels_of_any_kind(labels):
    classifier = NetworkClassifier((6,), **SHORT | {"max_iter": 60}).fit(X, labels)
    assert classifier.classes_.tolist() == sorted(set(labels.tolist()))
    predicted = classifier.predict(X)
    assert set(predicted.tolist()) <= set(labels.tolist())
    assert classifier.score(X, labels) > 0.9
    best = classifier.classes_[classifier.predict_proba(X).argmax(axis=1)]
    np.testing.assert_array_equal(best, predicted)


@pytest.mark.parametrize("as_matrix", [np.asarray, sparse.csr_array])
def test_several_labels_at_once(as_matrix):
    labels = np.stack([X[:, 0] > 0, X[:, 1] > 0, X[:, 0] > X[:, 1]], axis=1).astype(int)
    classifier = NetworkClassifier((10,), **SHORT | {"max_iter": 60}).fit(X, as_matrix(labels))
    assert classifier.score(X, labels) > 0.7
    assert classifier.predict_proba(X).shape == classifier.decision_function(X).shape == (120, 3)
    by_parts = NetworkClassifier((10,), **SHORT)
    for _ in range(60):
        by_parts.partial_fit(X, as_matrix(labels))
    assert same_network(classifier, by_parts)


def test_several_numbers():
    targets = np.stack([X[:, 0], X[:, 1] - X[:, 2]], axis=1)
    regressor = NetworkRegressor((10,), **SHORT | {"max_iter": 80}).fit(X, targets)
    assert regressor.score(X, targets) > 0.9
    assert NetworkRegressor((10,), **SHORT).fit(X, targets[:, :1]).predict(X).shape == (120, 1)
    with pytest.raises(ValueError, match=r"y: expected targets of shape \(2,\)"):
        regressor.partial_fit(X, targets[:, 0])


def test_images():
    x = rng.standard_normal((80, 1, 6, 6))
    x[::2, :, 2:4, 2:4] += 3
    layers = [rv.Conv2d(1, 4, 3), rv.ReLU(), rv.Flatten(), rv.Linear(64, 1)]
    classifier = NetworkClassifier(layers=layers, **SHORT | {"max_iter": 20}).fit(x, np.arange(80) % 2)
    assert classifier.score(x, np.arange(80) % 2) > 0.9
    assert isinstance(classifier.network_.loss, rv.BCEWithLogitsLoss)


def test_frames_have_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    classifier = NetworkClassifier((6,), **SHORT).fit(frame, NAMES)
    assert classifier.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert classifier.n_features_in_ == 4
    np.testing.assert_array_equal(classifier.predict(frame), NetworkClassifier((6,), **SHORT).fit(X, NAMES).predict(X))
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(frame[["b", "a", "c", "d"]])


def test_a_column_of_labels_is_told():
    with pytest.warns(DataConversionWarning):
        NetworkClassifier((3,), **SHORT).fit(X, Y[:, None])


# --- in scikit-learn's tools --------------------------------------------------------------------------------


def test_a_loss_without_probabilities_can_be_calibrated():
    hinge = NetworkClassifier((6,), loss=rv.HingeLoss(), **SHORT)
    assert not hasattr(hinge, "predict_proba")
    assert not hasattr(clone(hinge).fit(X, Y), "predict_proba")
    for labels in (Y, NAMES):
        calibrated = CalibratedClassifierCV(hinge, cv=2).fit(X, labels)
        np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    hinge.fit(X, Y)
    np.testing.assert_array_equal(hinge.decision_function(X) > 0, hinge.predict(X) == 1)
    assert get_scorer("roc_auc")(hinge, X, Y) > 0.5


def threads():
    import ranvier

    return ranvier.num_threads()


def test_searches_in_workers_and_their_threads():
    pipeline = make_pipeline(StandardScaler(), NetworkClassifier((6,), **SHORT))
    sizes = {"networkclassifier__hidden_layer_sizes": [(3,), (12, 4)], "networkclassifier__dropout": [0.0, 0.3]}
    search = GridSearchCV(pipeline, sizes, cv=2, error_score="raise")
    alone = clone(search).fit(X, NAMES)
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        together = clone(search).fit(X, NAMES)
        assert joblib.Parallel()(joblib.delayed(threads)() for _ in range(2)) == [1, 1]
    np.testing.assert_array_equal(alone.cv_results_["mean_test_score"], together.cv_results_["mean_test_score"])
    with joblib.parallel_config("threading", n_jobs=2):
        scores = cross_val_score(alone.best_estimator_, X, NAMES, cv=3)
    np.testing.assert_array_equal(scores, cross_val_score(alone.best_estimator_, X, NAMES, cv=3))
    with threadpool_limits(1):
        assert threads() == 1


def test_pickles_and_copies_go_on():
    one = NetworkClassifier((6,), warm_start=True, **SHORT).fit(X, NAMES)
    other = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    assert same_network(one.fit(X, NAMES), other.fit(X, NAMES))


def test_skops():
    skops = pytest.importorskip("skops.io")
    estimator = NetworkClassifier((6,), activation=rv.GELU(), warm_start=True, **SHORT).fit(X, NAMES)
    stored = skops.dumps(make_pipeline(StandardScaler(), estimator))
    unknown = skops.get_untrusted_types(data=stored)
    assert all(name.startswith("ranvier.") for name in unknown), unknown
    loaded = skops.loads(stored, trusted=unknown)[-1]
    np.testing.assert_array_equal(estimator.predict_proba(X), loaded.predict_proba(X))
    assert same_network(estimator.fit(X, NAMES), loaded.fit(X, NAMES))


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "lbfgs"}, "solver: expected 'adam', 'sgd' or an optimizer"),
        ({"solver": rv.Adam(), "learning_rate_init": 0.1}, "learning_rate_init: expected none with an optimizer"),
        ({"activation": "swish"}, "activation: expected 'identity'"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes: expected at least 1"),
        ({"layers": own_layers, "dropout": 0.5}, "dropout: expected none with layers"),
        ({"layers": [rv.Linear(4, 5)]}, "layers: expected 3 outputs, one for each class, got 5"),
        ({"layers": [rv.Linear(9, 3)]}, "Linear"),
        ({"batch_size": "all"}, "batch_size: expected 'auto'"),
        ({"batch_size": 0}, "batch_size: expected at least 1"),
        ({"max_iter": 0}, "max_iter: expected at least 1"),
        ({"alpha": -1.0}, "l2: expected a number from 0"),
        ({"tol": -1.0}, "tol: expected a number from 0"),
        ({"dropout": 1.0}, "dropout: expected a number from 0 to below 1"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "expected samples on both sides"),
        ({"dtype": "float16"}, "dtype: expected float32 or float64"),
    ],
)
def test_unfit_parameters_are_told(parameters, message):
    estimator = NetworkClassifier(**parameters)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, NAMES)
    assert not hasattr(estimator, "network_")


def test_unfit_arguments_are_told():
    estimator = NetworkClassifier((3,), **SHORT)
    with pytest.raises(ValueError, match="X_val: expected it together with y_val"):
        estimator.fit(X, Y, X_val=X)
    with pytest.raises(ValueError, match="y_val: expected labels of the classes"):
        estimator.fit(X, Y, X_val=X, y_val=Y + 1)
    with pytest.raises(ValueError, match="at least two classes"):
        estimator.fit(X, np.zeros(120))
    with pytest.raises(ValueError, match="class_weight: expected a dict for partial_fit"):
        clone(estimator).set_params(class_weight="balanced").partial_fit(X, Y, [0, 1])
    with pytest.raises(ValueError, match="classes: expected"):
        clone(estimator).partial_fit(X, Y, [0, 1]).partial_fit(X, Y, [0, 1, 2])
    with pytest.raises(ValueError, match="zero weights only"):
        estimator.fit(X, Y, X_val=X, y_val=Y, sample_weight_val=WEIGHTS * 0)
    with pytest.raises(TypeError, match="loss: expected an instance"):
        clone(estimator).set_params(loss=rv.HingeLoss).fit(X, Y)


def test_without_scikit_learn_the_extra_is_named():
    code = """
import sys
sys.modules["sklearn"] = None
import ranvier
try:
    ranvier.sklearn
except ImportError as error:
    assert "pip install 'ranvier[sklearn]'" in str(error), error
else:
    raise AssertionError("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_regression_beside_the_perceptron_of_scikit_learn():
    y = np.sin(2 * X[:, 0]) + X[:, 1]
    options = {"hidden_layer_sizes": (30,), "max_iter": 200, "tol": 0.0, "n_iter_no_change": 200, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours, theirs = (
            kind(learning_rate_init=0.02, **options).fit(X, y).score(X, y) for kind in (NetworkRegressor, MLPRegressor)
        )
    assert ours > theirs - 0.05
