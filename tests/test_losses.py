"""Losses: values and gradients against formulas and central differences, weights, and what does not fit."""

import dataclasses
import pickle

import numpy as np
import pytest
import ranvier as rv
from ranvier import losses as loss_module

# Each with the layers that must stand before it.
LOSSES = [
    (rv.QuadraticLoss(), []),
    (rv.SumSquaredResidualsLoss(), []),
    (rv.MSELoss(), []),
    (rv.BCELoss(), [rv.Sigmoid()]),
    (rv.BCEWithLogitsLoss(), []),
    (rv.BCEWithLogitsLoss(3.0), []),
    (rv.BCEWithLogitsLoss((0.5, 2, 0, 4)), []),
    (rv.CrossEntropyLoss(), []),
    (rv.CrossEntropyLoss(label_smoothing=0.2), []),
    (rv.CrossEntropyLoss(weight=(0.5, 2, 0, 1)), []),
    (rv.CrossEntropyLoss(0.3, (0.5, 2, 0, 1)), []),
    (rv.HingeLoss(), []),
    (rv.L1Loss(), []),
    (rv.HuberLoss(0.7), []),
    (rv.SmoothL1Loss(0.3), []),
    (rv.SmoothL1Loss(0), []),
    (rv.QuantileLoss(0.9), []),
    (rv.QuantileLoss((0.5, 0.1, 0.9, 0.25)), []),
    (rv.NLLLoss(), [rv.LogSoftmax()]),
    (rv.NLLLoss((0.5, 2, 0, 1)), [rv.LogSoftmax()]),
    (rv.FocalLoss(), []),
    (rv.FocalLoss(None, 0.5), []),
    (rv.FocalLoss(0.6, 0), []),
    (rv.PoissonNLLLoss(), []),
    (rv.PoissonNLLLoss(log_input=False, eps=1e-3), [rv.Softplus()]),
]
OF_CLASSES = rv.CrossEntropyLoss | rv.NLLLoss
EVERY_LOSS = pytest.mark.parametrize(("loss", "last"), LOSSES, ids=lambda value: str(value))


def targets_of(loss, labels, shape, seed=0):
    """Return labels, or rows that the loss takes."""
    rng = np.random.default_rng(seed)
    if labels:
        return rng.integers(0, shape[1] if shape[1] > 1 else 2, shape[0])
    return rng.choice([-1.0, 1.0], shape) if isinstance(loss, rv.HingeLoss) else rng.random(shape)


def log_softmax(p):
    shifted = p - p.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def sample_losses(loss, p, t):
    """Return each sample's loss, its weight, and how many numbers it is the sum of, by the formulas."""
    n, outputs = p.shape
    ones, labels = np.ones(n), t.ndim == 1
    rows = t if not labels else t[:, None].astype(float) if outputs == 1 else np.eye(outputs)[t]
    if isinstance(loss, rv.CrossEntropyLoss):
        weights = np.array(loss.weight or np.ones(outputs))
        smooth = (1 - loss.label_smoothing) * rows + loss.label_smoothing / outputs
        return -(weights * smooth * log_softmax(p)).sum(axis=1), weights[t] if labels else ones, 1
    if isinstance(loss, rv.NLLLoss):
        weights = np.array(loss.weight or np.ones(outputs))
        return -(weights * rows * p).sum(axis=1), weights[t] if labels else ones, 1
    if isinstance(loss, rv.HingeLoss):
        if labels and outputs > 1:
            margins = np.maximum(0, 1 - p[np.arange(n), t][:, None] + p)
            return margins.sum(axis=1) - 1, ones, 1
        signs = 2 * rows - 1 if labels else rows
        return np.maximum(0, 1 - signs * p).sum(axis=1), ones, 1
    if isinstance(loss, rv.BCEWithLogitsLoss):
        positive = 1 if loss.pos_weight is None else np.array(loss.pos_weight)
        terms = positive * rows * np.log1p(np.exp(-p)) + (1 - rows) * np.log1p(np.exp(p))
        return terms.sum(axis=1), ones, outputs
    if isinstance(loss, rv.BCELoss):
        return -(rows * np.log(p) + (1 - rows) * np.log(1 - p)).sum(axis=1), ones, outputs
    if isinstance(loss, rv.FocalLoss):
        positive = 1 / (1 + np.exp(-p))
        entropy = -(rows * np.log(positive) + (1 - rows) * np.log(1 - positive))
        share = 1 if loss.alpha is None else loss.alpha * rows + (1 - loss.alpha) * (1 - rows)
        wrong = positive * (1 - rows) + (1 - positive) * rows
        return (share * wrong**loss.gamma * entropy).sum(axis=1), ones, outputs
    if isinstance(loss, rv.PoissonNLLLoss):
        terms = np.exp(p) - rows * p if loss.log_input else p - rows * np.log(p + loss.eps)
        return terms.sum(axis=1), ones, outputs
    distance = np.abs(p - rows)
    if isinstance(loss, rv.QuantileLoss):
        q = np.array(loss.quantile)
        return np.maximum(q * (rows - p), (q - 1) * (rows - p)).sum(axis=1), ones, outputs
    if isinstance(loss, rv.L1Loss) or loss == rv.SmoothL1Loss(0):
        return distance.sum(axis=1), ones, outputs
    if isinstance(loss, rv.HuberLoss | rv.SmoothL1Loss):
        delta, divisor = (loss.delta, 1) if isinstance(loss, rv.HuberLoss) else (loss.beta, loss.beta)
        terms = np.where(distance < delta, distance**2 / 2, delta * (distance - delta / 2))
        return terms.sum(axis=1) / divisor, ones, outputs
    squares = ((p - rows) ** 2).sum(axis=1)
    return squares / (2 if isinstance(loss, rv.QuadraticLoss) else 1), ones, outputs


def expected(loss, p, t, sample_weight=None):
    """Return the loss of a batch by the formulas."""
    each, weights, count = sample_losses(loss, p, t)
    sample_weight = np.ones(len(p)) if sample_weight is None else sample_weight
    if isinstance(loss, rv.SumSquaredResidualsLoss):
        return (sample_weight * each).sum()
    over = 1 if isinstance(loss, rv.QuadraticLoss) else count
    return (sample_weight * each).sum() / (sample_weight * weights).sum() / over


def pass_through(width, dtype="float64"):
    """Return a network whose outputs are its inputs."""
    net = rv.Network([rv.Linear(width, width, bias=False)], dtype=dtype)
    net.parameters()["0.weight"][...] = np.eye(width)
    return net


def batch(loss, last, labels, n=300, outputs=4, seed=1):
    """Return predictions and targets, more than one batch of an evaluation unless n is given."""
    p = np.random.default_rng(seed).standard_normal((n, outputs))
    return 1 / (1 + np.exp(-p)) if last else 2 * p, targets_of(loss, labels, (n, outputs))


@EVERY_LOSS
@pytest.mark.parametrize("labels", [True, False], ids=["labels", "rows"])
def test_values_are_the_formulas(loss, last, labels):
    p, t = batch(loss, last, labels)
    assert loss(p, t) == pytest.approx(expected(loss, p, t), rel=1e-13)
    assert loss(p.astype(np.float32), t) == pytest.approx(expected(loss, p, t), rel=1e-5)
    weights = np.random.default_rng(5).random(len(p)) * (np.arange(len(p)) % 3)
    evaluation = pass_through(4).evaluate(p, t, loss=loss, sample_weight=weights)
    assert evaluation.loss == pytest.approx(expected(loss, p, t, weights), rel=1e-13)
    assert evaluation.accuracy == pass_through(4).evaluate(p, t, loss=loss).accuracy


@EVERY_LOSS
@pytest.mark.parametrize("labels", [True, False], ids=["labels", "rows"])
def test_gradients_agree_with_central_differences(loss, last, labels):
    p, t = batch(loss, last, labels, n=6)
    gradient = loss.gradient(p, t)
    for position in np.ndindex(p.shape):
        moved = [p.copy(), p.copy()]
        moved[0][position] += 1e-6
        moved[1][position] -= 1e-6
        assert abs(gradient[position] - (loss(moved[0], t) - loss(moved[1], t)) / 2e-6) < 1e-8


@EVERY_LOSS
@pytest.mark.parametrize("labels", [True, False], ids=["labels", "rows"])
def test_weighted_gradients_of_a_network_agree_with_central_differences(loss, last, labels):
    rng = np.random.default_rng(2)
    net = rv.Network([rv.Linear(5, 4), rv.Tanh(), rv.Linear(4, 4), *last], seed=3, dtype="float64")
    x, y, weights = rng.standard_normal((6, 5)), targets_of(loss, labels, (6, 4)), np.array([0.5, 0, 2, 1, 3, 0.1])
    gradients = {
        name: value.copy() for name, value in net.loss_gradients(x, y, loss=loss, sample_weight=weights).items()
    }
    for name, gradient in gradients.items():
        parameter = net.parameters()[name]
        for position in np.ndindex(gradient.shape):
            before, moved = parameter[position], []
            for step in (1e-6, -1e-6):
                parameter[position] = before + step
                moved.append(net.evaluate(x, y, loss=loss, sample_weight=weights).loss)
            parameter[position] = before
            assert abs(gradient[position] - (moved[0] - moved[1]) / 2e-6) < 1e-7, f"{name}{position}"


def test_every_loss_is_covered():
    public = {getattr(loss_module, name) for name in loss_module.__all__} - {loss_module.Loss, loss_module.CustomLoss}
    built_in = {item for item in public if isinstance(item, type)}
    assert {type(loss) for loss, _ in LOSSES} == built_in


@pytest.mark.parametrize(
    ("loss", "last"), [case for case in LOSSES if not isinstance(case[0], rv.HingeLoss)], ids=lambda value: str(value)
)
def test_labels_stand_for_one_hot_rows(loss, last):
    p, t = batch(loss, last, labels=True)
    _, weights, _ = sample_losses(loss, p, t)
    mean_weight = weights.mean()  # only labels' class weights divide, as in PyTorch
    assert mean_weight * loss(p, t) == pytest.approx(loss(p, np.eye(4)[t]), rel=1e-13)


@pytest.mark.parametrize(
    ("loss", "last"),
    [case for case in LOSSES if not isinstance(case[0], OF_CLASSES) and "=(0.5" not in str(case[0])],
    ids=lambda value: str(value),
)
def test_one_output(loss, last):
    p, t = batch(loss, last, labels=True, outputs=1)
    assert loss(p, t) == pytest.approx(expected(loss, p, t), rel=1e-13)
    boundary = 0 if isinstance(loss, rv.BCEWithLogitsLoss | rv.FocalLoss | rv.HingeLoss) else 0.5
    right = ((p[:, 0] > boundary) == t).mean()
    assert 0.3 < right < 0.7
    rows = 2.0 * t - 1 if isinstance(loss, rv.HingeLoss) else t.astype(float)
    for targets in (t, rows, rows[:, None]):
        evaluation = pass_through(1).evaluate(p, targets, loss=loss)
        assert evaluation.loss == pytest.approx(loss(p, t), rel=1e-13)
        assert evaluation.accuracy == right


def test_the_hinge_is_flat_beyond_its_margin():
    hinge = rv.HingeLoss()
    np.testing.assert_array_equal(hinge.gradient(np.array([[1.0], [3.0], [-0.5]]), [1, 1, 0]), [[0], [0], [1 / 3]])
    p = np.array([[3.0, 2.0, 0.0], [0.0, 0.5, 0.0]])
    assert hinge(p, [0, 1]) == (0 + 0.5 + 0.5) / 2
    np.testing.assert_array_equal(hinge.gradient(p, [0, 1]), [[0, 0, 0], [0.5, -1, 0.5]])
    assert np.isnan(hinge(np.array([[np.nan, 1.0]]), [1]))
    assert np.isnan(hinge(np.array([[np.nan]]), [1]))


def test_losses_stay_finite_at_their_limits():
    p = np.array([[0.0], [1.0], [1000.0], [-1000.0]])
    assert rv.BCELoss()(p[:2], np.array([[1.0], [0.0]])) == 100
    for weight in (None, 7.0):
        assert np.isfinite(rv.BCEWithLogitsLoss(weight)(p, np.array([[1.0], [0], [0], [1]])))
    assert rv.CrossEntropyLoss()(np.array([[1000.0, 0]]), [1]) == 1000
    assert rv.CrossEntropyLoss(0.5)(np.array([[1000.0, 0]]), [0]) == 250
    assert rv.NLLLoss()(np.array([[0.0, -np.inf]]), [0]) == 0
    assert rv.NLLLoss()(np.array([[0.0, -np.inf]]), [1]) == np.inf
    for dtype in (np.float32, np.float64):
        for loss in (rv.FocalLoss(), rv.FocalLoss(None, 0), rv.FocalLoss(None, 0.5), rv.FocalLoss(None, 1)):
            for t in (np.array([[1.0], [0], [0], [1]]), np.array([[0.0], [1], [1], [0]])):
                assert np.isfinite(loss(p.astype(dtype), t))
                assert np.isfinite(loss.gradient(p.astype(dtype), t)).all()
        far = np.array([[np.finfo(dtype).max]], dtype)
        assert rv.HuberLoss(0.5)(far, [[0.0]]) == 0.5 * far[0, 0]
        for loss in (rv.L1Loss(), rv.SmoothL1Loss(), rv.QuantileLoss(0.75), rv.QuantileLoss(0.25)):
            assert loss(np.array([[np.inf]], dtype), [[0.0]]) == np.inf


@pytest.mark.parametrize("loss", [rv.L1Loss(), rv.HuberLoss(), rv.SmoothL1Loss(), rv.QuantileLoss(0.1)], ids=str)
def test_a_distance_of_zero_has_no_slope(loss):
    assert loss.gradient(np.ones((1, 1)), [[1.0]]) == 0


# --- weights ----------------------------------------------------------------------------------------------


@EVERY_LOSS
@pytest.mark.parametrize("labels", [True, False], ids=["labels", "rows"])
def test_whole_weights_are_repetitions(loss, last, labels):
    rng = np.random.default_rng(4)
    net = rv.Network([rv.Linear(5, 4), *last], seed=0, dtype="float64")
    x, y, weights = rng.standard_normal((40, 5)), targets_of(loss, labels, (40, 4)), rng.integers(0, 4, 40)
    many = np.repeat(np.arange(40), weights)
    assert net.evaluate(x, y, loss=loss, sample_weight=weights).loss == pytest.approx(
        net.evaluate(x[many], y[many], loss=loss).loss, rel=1e-13
    )
    gradient = net.loss_gradients(x, y, loss=loss, sample_weight=weights)["0.weight"].copy()
    np.testing.assert_allclose(gradient, net.loss_gradients(x[many], y[many], loss=loss)["0.weight"], atol=1e-13)


def test_fit_weighs_each_batch_and_the_history():
    rng = np.random.default_rng(6)
    x, y, weights = rng.standard_normal((50, 5)), rng.integers(0, 4, 50), rng.random(50)
    loss = rv.CrossEntropyLoss(0.1, (1, 2, 0.5, 3))
    net, by_hand = (rv.Network([rv.Linear(5, 4)], seed=0, dtype="float64") for _ in range(2))
    options = dict(loss=loss, sample_weight=weights, optimizer=rv.SGD(0.1), batch_size=16, progress=False)
    history = net.fit(x, y, shuffle=True, **options)
    state = rv.SGD(0.1).create(by_hand.engine.parameters)
    by_hand.epochs_trained = 1
    order, total, divisor = by_hand.shuffled(50), 0.0, 0.0
    for start in range(0, 50, 16):
        part = order[start : start + 16]
        weight = (weights[part] * np.array(loss.weight)[y[part]]).sum()
        total += weight * by_hand.evaluate(x[part], y[part], loss=loss, sample_weight=weights[part]).loss
        divisor += weight
        by_hand.loss_gradients(x[part], y[part], loss=loss, sample_weight=weights[part])
        state.step()
    np.testing.assert_allclose(net.parameters()["0.weight"], by_hand.parameters()["0.weight"], atol=1e-14)
    assert history.loss[0] == pytest.approx(total / divisor, rel=1e-13)


def test_equal_weights_change_nothing_in_a_mean():
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((50, 5)), rng.integers(0, 4, 50)
    nets = [rv.Network([rv.Linear(5, 4)], seed=0) for _ in range(2)]
    losses = [
        net.fit(x, y, batch_size=7, sample_weight=weights, progress=False).loss
        for net, weights in zip(nets, (None, np.full(50, 4)), strict=True)
    ]
    assert losses[0] == losses[1]
    for name, value in nets[0].state_dict().items():
        np.testing.assert_array_equal(value, nets[1].state_dict()[name])


def test_a_batch_without_weight_has_no_gradient():
    x, y = np.ones((4, 5)), np.array([0, 1, 2, 3])
    net = rv.Network([rv.Linear(5, 4)], seed=0)
    before = net.state_dict()
    weights = [1, 1, 0, 0]
    history = net.fit(x, y, batch_size=2, shuffle=False, sample_weight=weights, optimizer=rv.SGD(0.1), progress=False)
    alone = rv.Network([rv.Linear(5, 4)], seed=0)
    assert alone.fit(x[:2], y[:2], batch_size=2, shuffle=False, optimizer=rv.SGD(0.1), progress=False).loss == (
        history.loss
    )
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, alone.state_dict()[name])
        assert (value != before[name]).any()
    assert rv.CrossEntropyLoss(weight=(0, 1))(np.ones((2, 2)), [0, 0]) == 0


@EVERY_LOSS
@pytest.mark.parametrize("labels", [True, False], ids=["labels", "rows"])
def test_same_bits_at_any_thread_count(loss, last, labels):
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((1000, 6)).astype(np.float32), targets_of(loss, labels, (1000, 4))
    weights = rng.random(1000)
    results = []
    for threads in (1, 2, 3, 7):
        rv.set_num_threads(threads)
        net = rv.Network([rv.Linear(6, 4), *last], seed=0)
        history = net.fit(
            x, y, loss=loss, sample_weight=weights, optimizer=rv.SGD(1e-3), batch_size=700, progress=False
        )
        evaluation = net.evaluate(x, y, loss=loss, sample_weight=weights)
        results.append((history.loss, evaluation, net.state_dict()["0.weight"].tobytes()))
    assert all(result == results[0] for result in results)


# --- settings, and what does not fit ----------------------------------------------------------------------


def test_a_loss_is_its_fields():
    loss = rv.CrossEntropyLoss(np.float32(0.5), np.array([1, 2]))
    assert loss == rv.CrossEntropyLoss(0.5, [1.0, 2.0])
    assert hash(loss) == hash(rv.CrossEntropyLoss(0.5, (1, 2)))
    assert repr(loss) == "CrossEntropyLoss(label_smoothing=0.5, weight=(1.0, 2.0))"
    assert rv.BCEWithLogitsLoss(np.int64(3)) == rv.BCEWithLogitsLoss(3.0)
    assert rv.BCEWithLogitsLoss([3, 1]).pos_weight == (3.0, 1.0)
    assert eval(repr(loss), vars(rv)) == loss
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.label_smoothing = 0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rv.CrossEntropyLoss(-0.1), ValueError, "label_smoothing: expected a number from 0 to 1, got -0.1"),
        (lambda: rv.CrossEntropyLoss(1.5), ValueError, "label_smoothing"),
        (lambda: rv.CrossEntropyLoss(float("nan")), ValueError, "label_smoothing"),
        (lambda: rv.CrossEntropyLoss("much"), TypeError, "label_smoothing"),
        (lambda: rv.CrossEntropyLoss(weight=(1, -1)), ValueError, "weight: .* at least 0, got -1"),
        (lambda: rv.CrossEntropyLoss(weight=(1, np.inf)), ValueError, "weight: .* finite"),
        (lambda: rv.CrossEntropyLoss(weight=(0, 0)), ValueError, "weight: .* above 0"),
        (lambda: rv.CrossEntropyLoss(weight=()), ValueError, "weight"),
        (lambda: rv.CrossEntropyLoss(weight="ab"), TypeError, "weight: expected a sequence"),
        (lambda: rv.CrossEntropyLoss(weight=2.0), TypeError, "weight: expected a sequence"),
        (lambda: rv.CrossEntropyLoss(weight=np.eye(2)), TypeError, "weight: expected a number"),
        (lambda: rv.BCEWithLogitsLoss(-1), ValueError, "pos_weight"),
        (lambda: rv.BCEWithLogitsLoss(float("nan")), ValueError, "pos_weight"),
        (lambda: rv.BCEWithLogitsLoss("2"), TypeError, "pos_weight"),
        (lambda: rv.HuberLoss(0), ValueError, "delta"),
        (lambda: rv.HuberLoss("1"), TypeError, "delta"),
        (lambda: rv.SmoothL1Loss(-1), ValueError, "beta"),
        (lambda: rv.QuantileLoss(1), ValueError, "quantile: .* above 0 and below 1, got 1"),
        (lambda: rv.QuantileLoss((0.5, 0)), ValueError, "quantile: .* above 0 and below 1, got 0"),
        (lambda: rv.QuantileLoss(()), ValueError, "quantile: expected at least one"),
        (lambda: rv.QuantileLoss("half"), TypeError, "quantile"),
        (lambda: rv.NLLLoss((1, -1)), ValueError, "weight"),
        (lambda: rv.FocalLoss(1.5), ValueError, "alpha: expected a number from 0 to 1, or None, got 1.5"),
        (lambda: rv.FocalLoss(gamma=-1), ValueError, "gamma"),
        (lambda: rv.PoissonNLLLoss(eps=0), ValueError, "eps"),
        (lambda: rv.PoissonNLLLoss(1), TypeError, "log_input"),
    ],
)
def test_bad_settings_name_the_field(make, error, message):
    with pytest.raises(error, match=rf"^{message}"):
        make()


X, Y, W = np.ones((20, 2)), np.arange(20) % 3, np.ones(20)
WEIGHTED = rv.CrossEntropyLoss(weight=(1, 1))


def with_nan(values):
    return np.where(np.arange(20) == 7, np.nan, values)


class MeanAbsolute:
    """A loss of one's own."""

    def __call__(self, prediction, target):
        return 0.0

    def gradient(self, prediction, target):
        return np.zeros_like(prediction)


BAD = {
    "negative": (dict(sample_weight=W - 2), ValueError, "sample_weight: expected finite .* at least 0, got -1"),
    "NaN": (dict(sample_weight=with_nan(W)), ValueError, "sample_weight: expected finite .* got nan"),
    "infinite": (dict(sample_weight=W * np.inf), ValueError, "sample_weight: expected finite .* got inf"),
    "all zero": (dict(sample_weight=0 * W), ValueError, "sample_weight: expected a finite sum above 0, got 0"),
    "overflow": (dict(sample_weight=W * 1e308), ValueError, "sample_weight: expected a finite sum above 0, got inf"),
    "too few": (dict(sample_weight=W[:19]), ValueError, r"sample_weight: expected shape \(20,\)"),
    "columns": (dict(sample_weight=W[:, None]), ValueError, r"sample_weight: expected shape \(20,\)"),
    "strings": (dict(sample_weight=["1"] * 20), TypeError, "sample_weight: expected an array of real numbers"),
    "own loss": (
        dict(sample_weight=W, loss=MeanAbsolute()),
        TypeError,
        "sample_weight: .* got MeanAbsolute, whose __call__",
    ),
    "class weights": (dict(loss=WEIGHTED), ValueError, "weight: expected one for each of 3 classes, got 2"),
    "positive weights": (
        dict(loss=rv.BCEWithLogitsLoss((1, 2))),
        ValueError,
        "pos_weight: expected a number or one for each of 3 outputs, got 2",
    ),
    "quantiles": (
        dict(loss=rv.QuantileLoss((0.1, 0.9))),
        ValueError,
        "quantile: expected a number or one for each of 3 outputs, got 2",
    ),
    "counts": (
        dict(loss=rv.PoissonNLLLoss(), y=-np.ones((20, 3))),
        ValueError,
        "y: expected numbers of at least 0 for PoissonNLLLoss, got -1",
    ),
    "class weights of logarithms": (
        dict(loss=rv.NLLLoss((1, 1))),
        ValueError,
        "weight: expected one for each of 3 classes, got 2",
    ),
    "numbers for classes": (dict(loss=rv.NLLLoss(), y=Y + 0.5), TypeError, "y: expected integer labels for NLLLoss"),
    "hinge labels": (dict(loss=rv.HingeLoss(), y=np.minimum(Y, 1) - 1), ValueError, "y: expected labels from 0 to 2,"),
    "hinge rows": (dict(loss=rv.HingeLoss(), y=np.eye(3)[Y]), ValueError, "y: expected rows of -1 and 1 for a hinge"),
}


@pytest.mark.parametrize("call", ["fit", "evaluate", "loss_gradients", "train_step"])
@pytest.mark.parametrize("case", BAD)
def test_bad_calls_change_nothing(case, call):
    options, error, message = BAD[case]
    net = rv.Network([rv.Linear(2, 3)], seed=0)
    before = net.state_dict()
    with pytest.raises(error, match=message):
        getattr(net, call)(X, **({"y": Y} | options))
    assert net.epochs_trained == 0
    assert net.input_shape is None
    for name, value in before.items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


def test_hits_of_test_data_take_no_weights():
    net = rv.Network([2, 3], seed=0)
    with pytest.raises(TypeError, match="sample_weight: expected x and y"):
        net.evaluate((X, Y), sample_weight=W)
    assert 0 <= net.evaluate(X, Y, sample_weight=W).accuracy <= 1


def test_log_likelihood_behind_log_softmax_is_the_cross_entropy():
    rng = np.random.default_rng(9)
    x, y, weight = rng.standard_normal((50, 5)), rng.integers(0, 4, 50), (1, 2, 0.5, 3)
    one, two = (rv.Network([rv.Linear(5, 4), *last], seed=0, dtype="float64") for last in ([], [rv.LogSoftmax()]))
    options = dict(optimizer=rv.SGD(0.5), batch_size=16, progress=False)
    expected = one.fit(x, y, loss=rv.CrossEntropyLoss(weight=weight), **options)
    got = two.fit(x, y, loss=rv.NLLLoss(weight), **options)
    assert got.loss == pytest.approx(expected.loss, rel=1e-13)
    assert got.accuracy == expected.accuracy
    np.testing.assert_allclose(two.predict_proba(x), one.predict_proba(x), rtol=1e-12)
    np.testing.assert_array_equal(two.predict_classes(x), one.predict_classes(x))


@pytest.mark.parametrize("last", [[], [rv.Softmax()]])
def test_log_likelihood_warns_where_there_are_no_logarithms(last):
    net = rv.Network([rv.Linear(2, 3), *last], seed=0)
    with pytest.warns(UserWarning, match="NLLLoss takes logarithms of probabilities"):
        net.fit(X, Y, loss=rv.NLLLoss(), progress=False)


def test_focal_loss_warns_of_two_sigmoids():
    net = rv.Network([rv.Linear(2, 3), rv.Sigmoid()], seed=0)
    with pytest.warns(UserWarning, match="FocalLoss takes outputs from before a Sigmoid"):
        net.fit(X, Y, loss=rv.FocalLoss(), progress=False)


@pytest.mark.parametrize(
    "loss", [rv.L1Loss(), rv.HuberLoss(), rv.SmoothL1Loss(), rv.QuantileLoss(0.2), rv.PoissonNLLLoss()], ids=str
)
def test_integers_are_numbers_for_a_loss_of_numbers(loss):
    x, y = np.random.default_rng(0).standard_normal((20, 2)), np.arange(20)
    net = rv.Network([rv.Linear(2, 1)], seed=0)
    history = net.fit(x, y, loss=loss, progress=False)
    assert not hasattr(net, "classes_")
    assert history.accuracy == []
    assert np.isfinite(history.metrics["r2"]).all()


def test_focal_loss_gives_probabilities_and_classes():
    x = np.random.default_rng(0).standard_normal((60, 2))
    y = (x[:, 0] > 0).astype(int)
    net = rv.Network([rv.Linear(2, 1)], seed=0)
    net.fit(x, y, loss=rv.FocalLoss(), epochs=30, optimizer=rv.Adam(0.1), progress=False)
    assert net.evaluate(x, y, loss=rv.FocalLoss()).accuracy > 0.9
    np.testing.assert_array_equal(net.predict_classes(x), net.predict(x)[:, 0] > 0)
    np.testing.assert_array_equal(net.predict_proba(x).argmax(axis=1), net.predict_classes(x))


def test_arrays_that_were_pickled():
    """Their dtypes are not NumPy's own objects."""
    p, t = (pickle.loads(pickle.dumps(np.ones((3, 2), np.float32) * k)) for k in (1, 3))
    labels = pickle.loads(pickle.dumps(np.array([0, 1, 0])))
    assert rv.MSELoss()(p, t) == 4
    np.testing.assert_array_equal(rv.MSELoss().gradient(p, t), np.full((3, 2), -4 / 6, np.float32))
    assert rv.CrossEntropyLoss()(p, labels) == pytest.approx(np.log(2))
