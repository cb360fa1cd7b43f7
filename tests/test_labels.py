"""Labels of any values, the classes that they stand for, and probabilities of these."""

import copy
import pickle

import numpy as np
import pytest
import ranvier as rv

N = 60
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 3)).astype(np.float32)
NUMBERS = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)
NAMES = np.array(["zebra", "cat", "mule"])  # not in their order
QUIET = {"progress": False, "epochs": 2}


def network(outputs=3, *more):
    return rv.Network([rv.Linear(3, 8), rv.Tanh(), rv.Linear(8, outputs), *more], seed=0)


def assert_same(one, other):
    for name, value in one.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name], err_msg=name)


@pytest.mark.parametrize(
    "values",
    [
        np.array(["a", "bb", "ccc"]),
        np.array(["a", "bb", "ccc"], dtype=object),
        np.array([1, 2, 3]),
        np.array([-7, 0, 10**15]),
        np.array([3, 5, 250], dtype=np.uint8),
    ],
    ids=["text", "objects", "from 1", "far apart", "bytes"],
)
@pytest.mark.parametrize("kind", [np.asarray, list])
def test_labels_of_any_values_train_as_their_numbers(values, kind):
    plain, named = network(), network()
    one = plain.fit(X, NUMBERS, validation_data=(X[:20], NUMBERS[:20]), **QUIET)
    other = named.fit(X, kind(values[NUMBERS]), validation_data=(X[:20], kind(values[NUMBERS[:20]])), **QUIET)
    assert_same(plain, named)
    assert one.val_accuracy == other.val_accuracy
    np.testing.assert_array_equal(plain.classes_, [0, 1, 2])
    assert named.classes_.tolist() == values.tolist()
    np.testing.assert_array_equal(named.predict_classes(X), values[plain.predict_classes(X)])
    np.testing.assert_array_equal(plain.predict_classes(X), plain.predict(X).argmax(1))
    labels = values[NUMBERS]
    assert named.evaluate(X, labels) == plain.evaluate(X, NUMBERS)
    assert named.train_step(X, labels) == plain.train_step(X, NUMBERS)
    assert named.train_step(X, labels) == plain.train_step(X, NUMBERS)
    for name, gradient in named.loss_gradients(X, labels).items():
        np.testing.assert_array_equal(gradient, plain.loss_gradients(X, NUMBERS)[name])


def test_text_is_in_its_order():
    net = network()
    net.fit(X, NAMES[NUMBERS], **QUIET)
    assert net.classes_.tolist() == ["cat", "mule", "zebra"]


@pytest.mark.parametrize("loss", [rv.BCEWithLogitsLoss(), rv.HingeLoss()], ids=str)
def test_two_classes_of_one_output(loss):
    numbers = (X[:, 0] > 0).astype(int)
    plain, named, signed = network(1), network(1), network(1)
    plain.fit(X, numbers, loss=loss, **QUIET)
    named.fit(X, np.array(["no", "yes"])[numbers], loss=loss, **QUIET)
    signed.fit(X, 2 * numbers - 1, loss=loss, **QUIET)
    assert_same(plain, named)
    assert_same(plain, signed)
    assert signed.classes_.tolist() == [-1, 1]
    positive = plain.predict(X)[:, 0] > 0
    np.testing.assert_array_equal(named.predict_classes(X) == "yes", positive)


def test_the_classes_stay():
    net = network()
    net.fit(X, NAMES[NUMBERS], **QUIET)
    before = net.state_dict()
    for call in (net.fit, net.evaluate, net.train_step):
        with pytest.raises(ValueError, match=r"y: expected labels among classes_ = \['cat', .* got 'dog'"):
            call(X, np.where(NUMBERS == 0, "dog", "cat"))
        with pytest.raises(ValueError, match=r"y: expected labels among classes_ = .* got 0"):
            call(X, np.zeros(N, int))
    with pytest.raises(ValueError, match=r"validation_data y: expected labels among classes_ = .* got 'dog'"):
        net.fit(X, NAMES[NUMBERS], validation_data=(X, ["dog"] * N), **QUIET)
    np.testing.assert_array_equal(net.state_dict()["0.weight"], before["0.weight"])
    net.fit(X[:9], NAMES[NUMBERS[:9] * 0 + 1], **QUIET)  # not every class need be there
    assert net.classes_.tolist() == ["cat", "mule", "zebra"]
    plain = network()
    plain.fit(X, NUMBERS, **QUIET)
    with pytest.raises(ValueError, match="y: expected labels from 0 to 2, got 3"):
        plain.fit(X, NUMBERS + 1, **QUIET)


@pytest.mark.parametrize(
    ("y", "outputs", "message"),
    [
        (NAMES[NUMBERS], 2, r"y: expected 2 different labels, one for each output .*, got 3: 'cat', 'mule', 'zebra'"),
        (NAMES[NUMBERS], 4, "y: expected 4 different labels, .*, got 3"),
        (NUMBERS + 1, 4, None),
        (NUMBERS * 3, 4, r"y: expected labels from 0 to 3, or 4 different labels, .*, got 3: 0, 3, 6"),
        (np.arange(N), 3, r"y: expected labels from 0 to 2, or 3 .*, got 60: 0, 1, .*, 9, \.\.\."),
    ],
)
def test_there_must_be_as_many_labels_as_outputs(y, outputs, message):
    net = network(outputs)
    if message is None:
        net.fit(X, y, **QUIET)
        assert net.classes_.tolist() == [0, 1, 2, 3]
        return
    with pytest.raises(ValueError, match=message):
        net.fit(X, y, **QUIET)
    with pytest.raises(AttributeError, match="classes_: no labels have been seen yet"):
        _ = net.classes_
    assert_same(net, network(outputs))


def test_labels_in_a_stream_need_classes():
    batches = [(X[:30], NAMES[NUMBERS[:30]]), (X[30:], NAMES[NUMBERS[30:]])]
    net = network()
    with pytest.raises(ValueError, match=r"x, batch 1: y: expected integer labels, got text, .*; otherwise set"):
        net.fit(batches, **QUIET)
    with pytest.raises(ValueError, match=r"y: expected integer labels, got text"):
        net.train_step(*batches[0])
    net.classes_ = NAMES
    net.fit(batches, **QUIET)
    assert net.classes_.tolist() == NAMES.tolist()
    plain = network()
    plain.fit([(X[:30], NUMBERS[:30]), (X[30:], NUMBERS[30:])], **QUIET)
    assert_same(plain, net)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([1, 1], ValueError, "classes_: expected values that are all different"),
        ([0.5, 1], TypeError, "classes_: expected a sequence of integers or of text"),
        ([["a"]], TypeError, "classes_: expected a sequence"),
        ([], TypeError, "classes_: expected a sequence"),
    ],
)
def test_bad_classes(values, error, message):
    with pytest.raises(error, match=message):
        network().classes_ = values


def test_classes_and_loss_are_saved(tmp_path):
    net = network(1)
    labels = np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)]
    net.fit(X, labels, loss=rv.BCEWithLogitsLoss(pos_weight=2.0), **QUIET)
    net.save(tmp_path / "net.safetensors")
    for twin in (
        rv.load(tmp_path / "net.safetensors"),
        net.copy(),
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),
    ):
        assert twin.classes_.tolist() == ["no", "yes"]
        assert twin.loss == net.loss
        assert twin.evaluate(X, labels) == net.evaluate(X, labels)
        np.testing.assert_array_equal(twin.predict_proba(X), net.predict_proba(X))


def test_numbers_are_not_labels():
    net = network(1)
    net.fit(X, np.arange(N) * 7, loss=rv.MSELoss(), **QUIET)
    with pytest.raises(AttributeError, match="classes_"):
        _ = net.classes_
    with pytest.raises(TypeError, match="predict_classes: expected a network that was trained on classes"):
        net.predict_classes(X)


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("outputs", "last", "loss", "expected"),
    [
        (3, (), rv.CrossEntropyLoss(), softmax),
        (3, (rv.LogSoftmax(),), rv.CrossEntropyLoss(), np.exp),
        (3, (rv.Softmax(),), rv.MSELoss(), lambda p: p),
        (3, (), rv.BCEWithLogitsLoss(), lambda p: 1 / (1 + np.exp(-p))),
        (1, (), rv.BCEWithLogitsLoss(), lambda p: np.hstack([1 / (1 + np.exp(p)), 1 / (1 + np.exp(-p))])),
        (1, (rv.Sigmoid(),), rv.BCELoss(), lambda p: np.hstack([1 - p, p])),
        (1, (rv.Sigmoid(),), rv.MSELoss(), lambda p: np.hstack([1 - p, p])),
    ],
)
def test_probabilities(outputs, last, loss, expected):
    net = network(outputs, *last)
    y = np.eye(3)[NUMBERS] if outputs == 3 else (X[:, :1] > 0).astype(float)
    net.fit(X, y, loss=loss, **QUIET)
    p = net.predict_proba(X)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p, expected(net.predict(X)), rtol=1e-5, atol=1e-6)
    if outputs == 1:
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(net.predict_classes(X), p.argmax(axis=1))


@pytest.mark.parametrize("loss", [rv.MSELoss(), rv.HingeLoss()], ids=str)
def test_outputs_that_are_no_probabilities(loss):
    net = network()
    net.fit(X, NUMBERS, loss=loss, **QUIET)
    with pytest.raises(TypeError, match=r"predict_proba: expected a network trained with CrossEntropyLoss, .* got"):
        net.predict_proba(X)
