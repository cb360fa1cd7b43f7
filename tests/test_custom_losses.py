"""Losses of one's own: weights, targets of any kind, and what they must return."""

import numpy as np
import pytest
import ranvier as rv

RNG = np.random.default_rng(0)
N = 40
X = RNG.standard_normal((N, 3))
LABELS, WEIGHTS = RNG.integers(0, 2, N), RNG.random(N)
ROWS = RNG.standard_normal((N, 2))
QUIET = {"progress": False, "shuffle": False, "batch_size": 16}


class OwnMSE:
    """The mean squared error."""

    def __call__(self, prediction, target, sample_weight=None):
        return float(np.average(((prediction - target) ** 2).mean(axis=1), weights=sample_weight))

    def gradient(self, prediction, target, sample_weight=None):
        share = np.full(len(target), 1 / len(target)) if sample_weight is None else sample_weight / sample_weight.sum()
        return 2 / prediction.shape[1] * (prediction - target) * share[:, None]


def network(outputs=2, seed=0, **options):
    return rv.Network([rv.Linear(3, 8), rv.Tanh(), rv.Linear(8, outputs)], seed=seed, dtype="float64", **options)


def assert_near(one, other):
    for name, value in one.state_dict().items():
        np.testing.assert_allclose(value, other.state_dict()[name], rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("weights", [None, WEIGHTS, np.arange(N) // 16 % 2], ids=["", "weighted", "zero batches"])
def test_weights_are_those_of_the_library(weights):
    own, library = network(), network()
    options = {"sample_weight": weights, "epochs": 2, "validation_data": (X[:9], ROWS[:9]), "metrics": ["rmse"]} | QUIET
    one = own.fit(X, ROWS, loss=OwnMSE(), **options)
    other = library.fit(X, ROWS, loss=rv.MSELoss(), **options)
    assert_near(own, library)
    for quantity, values in other.metrics.items():
        np.testing.assert_allclose(one.metrics[quantity], values, rtol=1e-8, err_msg=quantity)
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-10)
    np.testing.assert_allclose(one.val_loss, other.val_loss, rtol=1e-10)
    mine, its = (net.evaluate(X, ROWS, sample_weight=weights) for net in (own, library))
    np.testing.assert_allclose(mine.loss, its.loss, rtol=1e-10)
    steps = [net.train_step(X, ROWS, sample_weight=weights, loss=net.loss) for net in (own, library)]
    np.testing.assert_allclose(*steps, rtol=1e-10)
    mine, its = (net.loss_gradients(X, ROWS, sample_weight=weights) for net in (own, library))
    for name, value in its.items():
        np.testing.assert_allclose(mine[name], value, rtol=1e-9, atol=1e-14)


def test_streams_have_weights():
    batches = [(X[i : i + 16], ROWS[i : i + 16], WEIGHTS[i : i + 16]) for i in range(0, N, 16)]
    one, other = network(), network()
    one.fit(X, ROWS, loss=OwnMSE(), sample_weight=WEIGHTS, **QUIET)
    other.fit(batches, loss=OwnMSE(), progress=False)
    assert_near(one, other)
    np.testing.assert_allclose(
        one.evaluate(X, ROWS, sample_weight=WEIGHTS).loss, other.evaluate(batches).loss, rtol=1e-12
    )


class Recorder:
    """Takes any targets, and remembers the last ones."""

    def __call__(self, prediction, target):
        self.target = target
        return 0.0

    def gradient(self, prediction, target):
        return np.zeros_like(prediction)


@pytest.mark.parametrize(
    ("y", "dtype", "shape"),
    [
        (2**40 + np.arange(N * 6).reshape(N, 2, 3), np.int64, (2, 3)),
        (np.ones((N, 7), bool), np.int64, (7,)),
        (RNG.random((N, 4, 5), np.float32), np.float64, (4, 5)),
        (LABELS, np.int64, ()),
        (np.where(LABELS[:, None], np.nan, ROWS), np.float64, (2,)),
    ],
    ids=["numbers of 40 bits", "bools", "images", "labels", "with NaN"],
)
def test_targets_come_as_they_are(y, dtype, shape):
    loss, net = Recorder(), network()
    net.fit(X, y, loss=loss, epochs=1, validation_data=(X, y), **QUIET)
    assert loss.target.dtype == dtype
    assert loss.target.shape[1:] == shape
    np.testing.assert_array_equal(loss.target, y.astype(dtype)[-len(loss.target) :])
    assert len(net.history.accuracy) == (y is LABELS)


def test_numbers_that_are_no_classes_have_no_accuracy():
    net = network(1)
    history = net.fit(X, np.arange(N), loss=Recorder(), **QUIET)
    assert len(history.accuracy) == 0


class Masked(OwnMSE):
    """Only of the targets that are there."""

    def __call__(self, prediction, target):
        return float(np.nansum((prediction - target) ** 2) / len(target))

    def gradient(self, prediction, target):
        return np.nan_to_num(2 * (prediction - target) / len(target))


def test_missing_targets_train():
    net, target = network(), ROWS.copy()
    target[::2, 0] = np.nan
    before = net.evaluate(X, target, loss=Masked()).loss
    net.fit(X, target, loss=Masked(), epochs=20, optimizer=rv.Adam(0.05), **QUIET)
    assert net.evaluate(X, target).loss < 0.9 * before


def returning(value=0.0, gradient=None):
    class Own:
        def __call__(self, prediction, target):
            return value

        def gradient(self, prediction, target):
            return np.zeros_like(prediction) if gradient is None else gradient

    return Own()


BAD_RETURNS = {
    "a loss for each": (returning(np.zeros(16)), TypeError, r"Own.__call__: expected a number.* shape \(16,\)"),
    "nothing": (returning(None), TypeError, "Own.__call__: expected a number.* NoneType"),
    "text": (returning("1"), TypeError, "Own.__call__: expected a number.* str"),
    "complex": (returning(1j), TypeError, "Own.__call__: expected a number"),
    "no gradient": (returning(gradient=[None]), TypeError, "Own.gradient: expected an array of real numbers, got obj"),
    "another shape": (
        returning(gradient=np.zeros(2)),
        ValueError,
        r"Own.gradient: expected shape \(\d+, 2\), .* \(2,\)",
    ),
    "complex gradient": (returning(gradient=np.zeros((16, 2), complex)), TypeError, "Own.gradient: .* complex128"),
}


@pytest.mark.parametrize(
    ("case", "call"),
    [
        (case, call)
        for case in BAD_RETURNS
        for call in ("fit", "train_step", "loss_gradients", "evaluate")
        if call != "evaluate" or "gradient" not in BAD_RETURNS[case][2]
    ],
)
def test_bad_returns_are_told(case, call):
    loss, error, message = BAD_RETURNS[case]
    net = network()
    before = net.state_dict()
    with pytest.raises(error, match=message):
        getattr(net, call)(X, ROWS, loss=loss, **(QUIET if call == "fit" else {}))
    for name, value in before.items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


def test_a_loss_without_weights_says_so():
    class Half(OwnMSE):
        def gradient(self, prediction, target):
            return np.zeros_like(prediction)

    for loss, where in ((Recorder(), "Recorder, whose __call__"), (Half(), "Half, whose gradient")):
        with pytest.raises(TypeError, match=f"sample_weight: expected a loss that takes it, got {where} has no param"):
            network().fit(X, ROWS, sample_weight=WEIGHTS, loss=loss, **QUIET)


def test_gradient_checks_take_them():
    assert rv.diagnostics.gradient_check(network(), X, ROWS, loss=OwnMSE()).passed
    with pytest.raises(TypeError, match=r"Own\.__call__"):
        rv.diagnostics.gradient_check(network(), X, ROWS, loss=returning(np.zeros(3)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: rv.Network([rv.Linear(3, 2), rv.ReLU]),
        lambda: rv.Network([rv.Residual([rv.ReLU])]),
        lambda: rv.Network([rv.Linear(3, 2)], init=rv.initializers.Zeros),
        lambda: rv.Linear(3, 2, init=rv.initializers.Zeros),
        lambda: network().fit(X, ROWS, loss=rv.MSELoss),
        lambda: network().fit(X, ROWS, loss=OwnMSE),
        lambda: network().fit(X, ROWS, optimizer=rv.SGD),
        lambda: network().fit(X, ROWS, loss=rv.MSELoss(), callbacks=[rv.EarlyStopping]),
    ],
    ids=["layer", "inner layer", "init", "layer's init", "loss", "own loss", "optimizer", "callback"],
)
def test_a_class_in_place_of_an_instance(make):
    with pytest.raises(TypeError, match=r"expected an instance, as \w+\(...\), got the class \w+"):
        make()
