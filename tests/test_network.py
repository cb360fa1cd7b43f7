"""Networks: training, prediction, parameters, own layers and losses, and every bad call."""

import signal
import threading
import time

import numpy as np
import pytest
import ranvier as rv


def blobs(n=300, seed=0):
    """Three clouds of points in the plane."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    centres = np.array([[0, 2], [2, -1], [-2, -1]])
    return (centres[y] + 0.4 * rng.standard_normal((n, 2))).astype(np.float32), y


def small(seed=0, **options):
    return rv.Network([rv.Linear(2, 16), rv.ReLU(), rv.Linear(16, 3)], seed=seed, **options)


def test_learns_and_keeps_a_history():
    x, y = blobs()
    net = small()
    history = net.fit(x, y, epochs=15, validation_data=blobs(seed=1), progress=False)
    assert history is net.history
    assert len(history) == len(history.val_loss) == len(history.seconds) == 15
    assert history.loss[-1] < history.loss[0]
    assert history.val_accuracy[-1] > 0.97
    assert net.evaluate(x, y).accuracy > 0.97
    assert (net.predict(x).argmax(axis=1) == y).mean() == pytest.approx(net.evaluate(x, y).accuracy)


@pytest.mark.parametrize(
    "optimizer",
    [rv.SGD(0.1), rv.SGD(0.05, momentum=0.9), rv.SGD(0.05, momentum=0.9, nesterov=True), rv.Adam(0.01)],
    ids=str,
)
@pytest.mark.parametrize("loss", [rv.CrossEntropyLoss(), rv.QuadraticLoss()], ids=str)
def test_every_optimizer_learns(optimizer, loss):
    x, y = blobs()
    net = small()
    net.fit(x, y, epochs=20, loss=loss, optimizer=optimizer, progress=False)
    assert net.evaluate(x, y, loss=loss).accuracy > 0.95


def test_one_output_learns_both_ways():
    x, y = blobs()
    y = (y == 0).astype(int)
    for last, loss in (([], rv.BCEWithLogitsLoss()), ([rv.Sigmoid()], rv.BCELoss())):
        net = rv.Network([rv.Linear(2, 8), rv.Tanh(), rv.Linear(8, 1), *last], seed=0)
        net.fit(x, y, epochs=20, loss=loss, optimizer=rv.Adam(0.01), progress=False)
        assert net.evaluate(x, y, loss=loss).accuracy > 0.97
        assert net.evaluate(x, y[:, None].astype(float), loss=loss).accuracy > 0.97


def adam_by_hand(w, grads, lr=0.01, b1=0.9, b2=0.999, eps=1e-8, decay=0.0):
    m = v = 0
    for step, grad in enumerate(grads, 1):
        g = grad(w) + decay * w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        w = w - lr * (m / (1 - b1**step)) / (np.sqrt(v / (1 - b2**step)) + eps)
    return w


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_updates_follow_their_formulas(isa, decay):
    rng = np.random.default_rng(0)
    start = rng.standard_normal((40, 37))
    target = rng.standard_normal((40, 37))

    def run(optimizer):
        net = rv.Network([rv.Linear(37, 40, bias=False)], dtype="float64", seed=0)
        weight = net.parameters()["0.weight"]
        weight[...] = start
        state = optimizer.create(net.engine.parameters)
        for _ in range(5):
            net.engine.parameters.gradient("0.weight")[...] = weight - target
            state.step()
        return np.array(weight)

    w, v = start, 0
    for _ in range(5):
        v = 0.9 * v + (w - target + decay * w)
        w = w - 0.1 * v
    np.testing.assert_allclose(run(rv.SGD(0.1, momentum=0.9, weight_decay=decay)), w, atol=1e-13)
    w, v = start, 0
    for _ in range(5):
        g = w - target + decay * w
        v = 0.9 * v + g
        w = w - 0.1 * (g + 0.9 * v)
    np.testing.assert_allclose(run(rv.SGD(0.1, momentum=0.9, weight_decay=decay, nesterov=True)), w, atol=1e-13)
    expected = adam_by_hand(start, [lambda w: w - target] * 5, decay=decay)
    np.testing.assert_allclose(run(rv.Adam(0.01, weight_decay=decay)), expected, atol=1e-13)


def test_same_bits_at_any_thread_count():
    rng = np.random.default_rng(1)
    x, y = rng.random((256, 1, 16, 16)).astype(np.float32), rng.integers(0, 10, 256)
    layers = [
        rv.Conv2d(1, 8, 3, padding=1),
        rv.ReLU(),
        rv.MaxPool2d(2),
        rv.Dropout(0.3),
        rv.Flatten(),
        rv.Linear(512, 10),
    ]
    states = []
    for threads in (1, 2, 3, 4):
        rv.set_num_threads(threads)
        net = rv.Network(layers, seed=0)
        net.fit(x, y, epochs=2, batch_size=64, progress=False)
        states.append(net.state_dict())
    for state in states[1:]:
        for name, value in states[0].items():
            np.testing.assert_array_equal(state[name], value)


def test_a_row_does_not_depend_on_its_batch():
    x, _ = blobs(700)
    for net in (small(), rv.Network([2, 30, 10], seed=0)):
        whole = net.predict(x)
        for i in (0, 1, 255, 256, 699):
            np.testing.assert_array_equal(net.predict(x[i : i + 1])[0], whole[i])


def test_a_seed_repeats_a_run():
    x, y = blobs()
    first, second, other = small(), small(), small(seed=1)
    for net in (first, second, other):
        net.fit(x, y, epochs=2, progress=False)
    for name, value in first.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[name], value)
        assert (other.state_dict()[name] != value).any()


def test_fitting_on_equals_fitting_at_once():
    x, y = blobs()
    whole, parts = small(), small()
    whole.fit(x, y, epochs=3, progress=False)
    for _ in range(3):
        parts.fit(x, y, epochs=1, progress=False)
    for name, value in whole.state_dict().items():
        np.testing.assert_array_equal(parts.state_dict()[name], value)


def test_validation_does_not_disturb_the_random_layers():
    x, y = blobs()
    layers = [rv.Linear(2, 16), rv.Dropout(0.4), rv.ReLU(), rv.Linear(16, 3)]
    plain, watched = rv.Network(layers, seed=0), rv.Network(layers, seed=0)
    plain.fit(x, y, epochs=3, progress=False)
    watched.fit(x, y, epochs=3, validation_data=(np.tile(x, (3, 1)), np.tile(y, 3)), progress=False)
    for name, value in plain.state_dict().items():
        np.testing.assert_array_equal(watched.state_dict()[name], value)


@pytest.mark.parametrize("optimizer", [rv.SGD(0.1), rv.SGD(0.1, momentum=0.5)], ids=["plain", "momentum"])
def test_order_without_shuffle_is_the_given_one(optimizer):
    x, y = blobs(40)
    net, by_hand = small(dtype="float64"), small(dtype="float64")
    net.fit(x, y, batch_size=16, shuffle=False, optimizer=optimizer, progress=False)
    state = optimizer.create(by_hand.engine.parameters)
    for start in (0, 16, 32):
        by_hand.loss_gradients(x[start : start + 16], y[start : start + 16])
        state.step()
    for name, value in net.state_dict().items():
        # Plain descent adds to the weights in the product, and so rounds at another place.
        np.testing.assert_allclose(by_hand.state_dict()[name], value, rtol=0 if optimizer.momentum else 1e-13)


def test_parameters_are_views_and_states_are_copies():
    net = small()
    state = net.state_dict()
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert all(value.flags.c_contiguous for value in state.values())
    net.parameters()["0.weight"][...] = 0
    assert state["0.weight"].any()
    assert not net.state_dict()["0.weight"].any()
    net.load_state_dict(state)
    np.testing.assert_array_equal(net.parameters()["0.weight"], state["0.weight"])
    view = net.parameters()["2.bias"]
    del net
    view += 1  # the view keeps the memory


def test_load_state_dict_changes_all_or_nothing():
    net = small()
    before = net.state_dict()
    zeros = {name: np.zeros_like(value) for name, value in before.items()}
    missing = {name: value for name, value in zeros.items() if name != "2.bias"}
    for bad, message in (
        (missing, "state: missing"),
        (zeros | {"9.weight": np.zeros(1)}, "unknown"),
        (zeros | {"2.bias": np.zeros(4)}, r"2\.bias: expected shape"),
        (zeros | {"2.bias": np.array(["a", "b", "c"])}, r"2\.bias: expected an array of real numbers"),
        (zeros | {"2.bias": np.array([1j, 2, 3])}, r"2\.bias: expected an array of real numbers"),
        (zeros | {"2.bias": np.array([1, None, 3])}, r"2\.bias: expected an array of real numbers"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            net.load_state_dict(bad)
        for name, value in before.items():
            np.testing.assert_array_equal(net.state_dict()[name], value)


class Doubling:
    """A layer of one's own."""

    def forward(self, x):
        return 2 * x

    def backward(self, grad):
        return 2 * grad


class MeanAbsolute:
    """A loss of one's own."""

    def __call__(self, prediction, target):
        return float(np.abs(prediction - target).mean())

    def gradient(self, prediction, target):
        return np.sign(prediction - target) / prediction.size


@pytest.mark.parametrize("position", [0, 1, 3])
def test_a_layer_of_ones_own_works_anywhere(position):
    x, y = blobs()
    layers = [rv.Linear(2, 8), rv.Tanh(), rv.Linear(8, 3)]
    layers.insert(position, Doubling())
    net = rv.Network(layers, seed=0, dtype="float64")
    native = rv.Network([layer for layer in layers if not isinstance(layer, Doubling)], seed=0, dtype="float64")
    assert net.predict(x).shape == (300, 3)
    net.fit(x, y, epochs=10, optimizer=rv.Adam(0.01), progress=False)
    assert net.evaluate(x, y).accuracy > 0.95
    assert [value.shape for value in net.parameters().values()] == [v.shape for v in native.parameters().values()]
    assert "Doubling" in str(net.summary((2,)))


def test_own_layer_gives_the_native_network_s_training():
    class Identity:
        def forward(self, x):
            return x

        def backward(self, grad):
            return grad

    x, y = blobs(64)
    native = rv.Network([rv.Linear(2, 8), rv.Tanh(), rv.Linear(8, 3)], seed=0, dtype="float64")
    own = rv.Network([rv.Linear(2, 8), Identity(), rv.Tanh(), rv.Linear(8, 3)], seed=0, dtype="float64")
    for net in (native, own):
        net.fit(x, y, epochs=2, batch_size=10, progress=False)
    for a, b in zip(native.state_dict().values(), own.state_dict().values(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_own_layer_is_tried_once_for_a_shape():
    class Counting(Doubling):
        sizes = ()

        def forward(self, x):
            self.sizes += (len(x),)
            return super().forward(x)

    x, y = blobs(20)
    layer = Counting()
    rv.Network([layer, rv.Linear(2, 3)], seed=0).fit(x, y, epochs=2, batch_size=10, progress=False)
    assert layer.sizes == (1, 10, 10, 10, 10)


def test_a_loss_of_ones_own():
    x, _ = blobs()
    y = x @ np.array([[1.0], [-2.0]])
    net = rv.Network([rv.Linear(2, 1)], seed=0, dtype="float64")
    history = net.fit(x, y, epochs=60, loss=MeanAbsolute(), optimizer=rv.Adam(0.02), progress=False)
    assert history.loss[-1] < 0.05


def test_callbacks_see_each_epoch_and_can_stop():
    x, y = blobs()
    seen = []

    def watch(network, epoch, history):
        seen.append((epoch, len(history)))
        return epoch == 3

    small().fit(x, y, epochs=9, callbacks=[watch], progress=False)
    assert seen == [(1, 1), (2, 2), (3, 3)]


def test_interruption_keeps_what_was_trained():
    rng = np.random.default_rng(2)
    x, y = rng.random((20000, 400)).astype(np.float32), rng.integers(0, 10, 20000)
    net = rv.Network([rv.Linear(400, 300), rv.ReLU(), rv.Linear(300, 10)], seed=0)
    before = net.state_dict()

    def interrupt():
        """Raise the signal once a batch has changed the weights, however long that takes."""
        while np.array_equal(net.state_dict()["0.weight"], before["0.weight"]):
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    # A shell's background jobs ignore the signal.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt, daemon=True)  # an error in fit must not leave it waiting for ever
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            net.fit(x, y, epochs=100000, progress=False)
    finally:
        signal.signal(signal.SIGINT, usual)
    thread.join()
    assert len(net.history) < 100000
    after = net.state_dict()
    assert all(np.isfinite(value).all() for value in after.values())
    assert (after["0.weight"] != before["0.weight"]).any()
    net.predict(x[:5])


def test_an_error_in_a_callback_comes_through():
    x, y = blobs()

    def fail(network, epoch, history):
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        small().fit(x, y, callbacks=[fail], progress=False)


def test_summary_shows_shapes_and_counts():
    net = rv.Network([rv.Conv2d(1, 16, 5, padding=2), rv.ReLU(), rv.MaxPool2d(2), rv.Flatten(), rv.Linear(3136, 10)])
    text = str(net.summary((1, 28, 28)))
    assert "(16, 28, 28)" in text
    assert "(16, 14, 14)" in text
    assert "31,370" in text
    assert f"{416 + 31370:,} parameters of float32" in text
    assert "?" in str(net.summary())


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ([3, 4, 2], "26 parameters of float32: 20 weights, 6 biases, 6 neurons"),
        ([3, 4, 4, 1], "41 parameters of float32: 32 weights, 9 biases, 9 neurons"),
    ],
)
def test_summary_counts_the_notes_examples(sizes, told):
    assert told in str(rv.Network(sizes).summary())


X, Y = blobs(20)
BAD = {
    "batch size of 0": (
        lambda net: net.fit(X, Y, batch_size=0),
        ValueError,
        "batch_size: expected at least 1, got 0",
    ),
    "fractional batch size": (lambda net: net.fit(X, Y, batch_size=2.5), TypeError, "batch_size"),
    "negative epochs": (lambda net: net.fit(X, Y, epochs=-1), ValueError, "epochs"),
    "empty data": (lambda net: net.fit(X[:0], Y[:0]), ValueError, "x: expected at least one sample"),
    "labels too large": (lambda net: net.train_step(X, Y + 1), ValueError, "y: expected labels from 0 to 2, got 3"),
    "negative labels": (lambda net: net.train_step(X, Y - 1), ValueError, "y: expected labels from 0 to 2, got -1"),
    "NaN in labels": (lambda net: net.fit(X, np.where(Y == 0, np.nan, Y)), ValueError, "y: contains NaN"),
    "NaN in targets": (lambda net: net.fit(X, np.full((20, 3), np.nan)), ValueError, "y: contains NaN"),
    "labels that are no integers": (lambda net: net.fit(X, Y + 0.5), TypeError, "y: expected integer labels"),
    "too few labels": (
        lambda net: net.fit(X, Y[:19]),
        ValueError,
        "y: expected one target for each of 20 samples",
    ),
    "targets of another size": (
        lambda net: net.fit(X, np.zeros((20, 4))),
        ValueError,
        "y: expected targets of shape",
    ),
    "features that do not fit": (
        lambda net: net.fit(np.zeros((20, 5)), Y),
        ValueError,
        r"layer 0 \(Linear\): expected 2 input features",
    ),
    "samples of another rank": (lambda net: net.predict(np.zeros((2, 4, 4))), ValueError, r"layer 0 \(Linear\)"),
    "complex samples": (lambda net: net.predict(X * 1j), TypeError, "x: expected an array of real numbers"),
    "strings": (
        lambda net: net.predict(np.array([["a", "b"]])),
        TypeError,
        "x: expected an array of real numbers",
    ),
    "one number": (lambda net: net.predict(1.0), ValueError, "x: expected an array of shape"),
    "validation labels": (
        lambda net: net.fit(X, Y, validation_data=(X, Y + 5)),
        ValueError,
        "validation_data y: expected labels",
    ),
    "validation data that is no pair": (
        lambda net: net.fit(X, Y, validation_data=(X,)),
        TypeError,
        r"validation_data: expected a pair \(x, y\)",
    ),
    "a callback that is no function": (
        lambda net: net.fit(X, Y, callbacks=[3]),
        TypeError,
        "callbacks: expected functions, or instances of .*, got 3",
    ),
    "samples alone": (lambda net: net.evaluate(X), TypeError, "y: expected targets"),
    "no optimizer": (lambda net: net.fit(X, Y, optimizer="adam"), TypeError, "optimizer"),
    "no loss": (lambda net: net.fit(X, Y, loss="mse"), TypeError, "loss"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_calls_change_nothing(case):
    call, error, message = BAD[case]
    net = small()
    before = net.state_dict()
    with pytest.raises(error, match=message):
        call(net)
    assert net.epochs_trained == 0
    assert net.input_shape is None
    for name, value in before.items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ([], ValueError, "at least one layer"),
        ([3], ValueError, "at least two sizes"),
        ([3, 0], ValueError, "at least 1"),
        ([rv.Linear(2, 3), "relu"], TypeError, "'relu' at position 1"),
        ([rv.Linear], TypeError, "position 0: expected an instance, as Linear"),
    ],
)
def test_bad_layers(layers, error, message):
    with pytest.raises(error, match=message):
        rv.Network(layers)


def test_a_misfit_in_the_middle_names_its_layer():
    net = rv.Network([rv.Conv2d(1, 4, 3), rv.MaxPool2d(2), rv.Linear(10, 2)])
    with pytest.raises(ValueError, match=r"layer 2 \(Linear\): .*\(4, 3, 3\)"):
        net.predict(np.zeros((1, 1, 8, 8)))
    with pytest.raises(ValueError, match=r"layer 0 \(Conv2d\): kernel_size"):
        net.predict(np.zeros((1, 1, 2, 2)))


def test_empty_prediction():
    assert small().predict(np.zeros((0, 2))).shape == (0, 3)


def test_integers_and_lists_are_converted_once():
    net = small()
    np.testing.assert_array_equal(net.predict([[1, 2], [3, 4]]), net.predict(np.array([[1, 2], [3, 4]], np.float32)))
    np.testing.assert_array_equal(net.predict(np.asfortranarray(X)), net.predict(X))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_a_copy_of_a_dtype_is_that_dtype(dtype):
    """Arrays that were pickled or mapped by others may have one of their own."""
    twin = np.dtype(dtype, copy=True)
    x = np.ones((3, 2), dtype).view(twin)
    assert x.dtype is not np.dtype(dtype)
    net = rv.Network([rv.Linear(2, 2)], dtype="float64" if dtype == "uint8" else twin)
    net.fit(x, [0, 1, 1], progress=False)
    assert net.predict(x).shape == net.predict(np.concatenate([x, x]))[:3].shape
