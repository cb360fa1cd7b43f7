"""Threads that use one network at once, interruptions, and passes that end in the middle."""

import functools
import threading
import time

import numpy as np
import pytest
import ranvier as rv
from fuzz.threads import in_threads
from programs import HANGING, succeeds

RNG = np.random.default_rng(0)


def changed(net, before):
    """Wait until the parameters are others than those, so that an epoch is under way."""
    flat = net.engine.parameters.flat_values
    while np.array_equal(flat, before):
        pass


def number_of_others(outputs, last):
    """Count the outputs that are not of the weights at the end: they were made in the midst of the training."""
    return sum(not np.array_equal(output, last) for output in outputs)


# --- predictions while the network is trained -------------------------------------------------------------------

BATCH, BATCHES, FEATURES = 256, 300, 24


def long_epoch():
    """A network, and what makes an epoch of seconds without a call of Python."""
    rng = np.random.default_rng(1)
    net = rv.Network([rv.Linear(FEATURES, 512), rv.Tanh(), rv.Linear(512, 512), rv.Tanh(), rv.Linear(512, 64)], seed=0)
    x = rng.standard_normal((BATCH * BATCHES, FEATURES)).astype(np.float32)
    y = rng.integers(0, 64, len(x))
    return net, x, y, dict(batch_size=BATCH, optimizer=rv.SGD(0.05), shuffle=False, progress=False)


PROBES = {
    samples: np.random.default_rng(2).standard_normal((samples, FEATURES)).astype(np.float32)
    for samples in (1, 40, 300)
}


@functools.cache
def predictions_between_batches():
    """Return what the weights before, between and after those batches predict for each probe, and the last weights."""
    net, x, y, options = long_epoch()
    allowed = {samples: {net.predict(probe).tobytes()} for samples, probe in PROBES.items()}
    for first in range(0, len(x), BATCH):
        net.fit(x[first : first + BATCH], y[first : first + BATCH], **options)
        for samples, probe in PROBES.items():
            allowed[samples].add(net.predict(probe).tobytes())
    return allowed, net.engine.parameters.flat_values.copy()


@pytest.mark.parametrize("samples", PROBES)
def test_predictions_do_not_wait_for_an_epoch_and_are_of_one_set_of_weights(samples):
    net, x, y, options = long_epoch()
    probe = PROBES[samples]
    start = net.engine.parameters.flat_values.copy()
    outputs, done = [], threading.Event()

    def train():
        net.fit(x, y, **options)
        done.set()

    def predict():
        changed(net, start)
        while not done.is_set():
            outputs.append(net.predict(probe).copy())

    in_threads([train, predict])
    assert number_of_others(outputs, net.predict(probe)) >= 5
    allowed, last = predictions_between_batches()
    assert len(allowed[samples]) == BATCHES + 1
    np.testing.assert_array_equal(net.engine.parameters.flat_values, last)
    assert all(np.isfinite(output).all() for output in outputs)
    assert all(output.tobytes() in allowed[samples] for output in outputs)


def test_columns_that_are_equal_at_any_moment_are_predicted_so():
    # Equal starts, equal targets: all outputs are the same number after each batch, and it changes a lot.
    net = rv.Network([rv.Linear(1, 4096)], seed=0)
    for value in net.parameters().values():
        value[...] = 0
    x, y = np.ones((4000, 1), np.float32), np.full((4000, 4096), 1e6, np.float32)
    start = net.engine.parameters.flat_values.copy()
    outputs, done = [], threading.Event()

    def train():
        net.fit(x, y, batch_size=1, loss=rv.QuadraticLoss(), optimizer=rv.SGD(1e-4), progress=False)
        done.set()

    def predict():
        changed(net, start)
        while not done.is_set():
            outputs.append(net.predict(x[:1]).copy())

    in_threads([train, predict])
    assert number_of_others(outputs, net.predict(x[:1])) >= 5
    assert all((output == output[0, 0]).all() and np.isfinite(output).all() for output in outputs)


@pytest.mark.parametrize("optimizer", [rv.SGD(0.05), rv.Adam()], ids=["descent", "adam"])
def test_predictions_of_any_size_do_not_disturb_training(optimizer):
    x = RNG.standard_normal((200000, 20)).astype(np.float32)
    y = RNG.integers(0, 5, len(x))
    layers = [rv.Linear(20, 64), rv.ReLU(), rv.Dropout(0.3), rv.BatchNorm1d(64), rv.Linear(64, 5)]
    disturbed, quiet = rv.Network(layers, seed=0), rv.Network(layers, seed=0)
    options = dict(epochs=3, batch_size=20, optimizer=optimizer, progress=False)
    done = threading.Event()
    start = disturbed.engine.parameters.flat_values.copy()

    def train():
        disturbed.fit(x, y, **options)
        done.set()

    def predict():
        changed(disturbed, start)
        while not done.is_set():
            for samples in (300, 1, 20, 257, 7):
                disturbed.predict(x[:samples])
                disturbed.evaluate(x[:samples], y[:samples])

    in_threads([train, predict])
    quiet.fit(x, y, **options)
    for name, value in quiet.state_dict().items():
        np.testing.assert_array_equal(disturbed.state_dict()[name], value)
    assert disturbed.history.loss == quiet.history.loss
    assert disturbed.engine.training_passes == quiet.engine.training_passes


class Halved:
    """A layer of one's own."""

    def forward(self, x):
        return x / 2

    def backward(self, grad):
        return grad / 2


NETWORKS = {
    "dense": ([rv.Linear(48, 32), rv.ReLU(), rv.Dropout(0.2), rv.Linear(32, 5), rv.Softmax()], (48,)),
    "images": ([rv.Conv2d(3, 4, 3), rv.ReLU(), rv.MaxPool2d(2), rv.Flatten(), rv.Linear(4, 3)], (3, 4, 4)),
    "own layer": ([rv.Linear(48, 32), Halved(), rv.Residual([rv.Linear(32, 32), Halved()])], (48,)),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_predictions_in_several_threads_have_the_serial_bits(kind):
    layers, shape = NETWORKS[kind]
    net = rv.Network(layers, seed=0)
    samples = [RNG.standard_normal((n, *shape)).astype(np.float32) for n in (1, 2, 17, 256, 300, 1000)]
    targets = [RNG.standard_normal((len(x), *net.predict(x).shape[1:])).astype(np.float32) for x in samples]
    loss = rv.MSELoss()
    expected = [net.predict(x).copy() for x in samples]
    evaluations = [net.evaluate(x, y, loss=loss) for x, y in zip(samples, targets, strict=True)]
    wrong = []

    def work(number):
        for i in range(40):
            k = (number * 5 + i) % len(samples)
            if not np.array_equal(net.predict(samples[k]), expected[k]):
                wrong.append(("predict", k))
            if net.evaluate(samples[k], targets[k], loss=loss) != evaluations[k]:
                wrong.append(("evaluate", k))

    in_threads([lambda number=number: work(number) for number in range(4)])
    assert not wrong


# --- Ctrl-C -----------------------------------------------------------------------------------------------------

LONG = """
    import os, signal, threading
    import numpy as np
    import ranvier as rv

    rng = np.random.default_rng(0)
    x = rng.standard_normal((256 * 400, 24)).astype(np.float32)
    y = rng.integers(0, 64, len(x))
    net = rv.Network([rv.Linear(24, 512), rv.Tanh(), rv.Linear(512, 512), rv.Tanh(), rv.Linear(512, 64)], seed=0)
    flat = net.engine.parameters.flat_values
    start = flat.copy()

    def under_way():
        while np.array_equal(flat, start):
            pass

    def interrupt():
        under_way()
        os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_fit_is_interrupted_within_an_epoch():
    succeeds(
        LONG
        + """
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        net.fit(x, y, batch_size=256, progress=False)
    except KeyboardInterrupt:
        assert net.history.loss == []
    else:
        raise SystemExit("no interrupt")
    before = net.predict(x[:300]).copy()
    assert np.isfinite(before).all()
    history = net.fit(x[:512], y[:512], batch_size=256, progress=False)
    assert len(history.loss) == 1 and not np.array_equal(net.predict(x[:300]), before)
    """
    )


def test_a_prediction_is_interrupted_while_another_thread_trains():
    succeeds(
        LONG
        + """
    done = threading.Event()

    def train():
        net.fit(x, y, batch_size=256, progress=False)
        done.set()

    trainer = threading.Thread(target=train)
    trainer.start()
    under_way()
    ready = threading.Event()

    def interrupt_when_ready():
        ready.wait()
        interrupt()

    threading.Thread(target=interrupt_when_ready, daemon=True).start()
    try:
        ready.set()
        while not done.is_set():
            net.predict(x[:300])
        raise SystemExit("no interrupt")
    except KeyboardInterrupt:
        pass
    # The training goes on: the interrupt came in the midst of it.
    now = flat.copy()
    while np.array_equal(flat, now) and not done.wait(0.001):
        pass
    assert not np.array_equal(flat, now), "interrupted behind the epoch"
    trainer.join()
    assert np.isfinite(net.predict(x[:300])).all()
    assert len(net.history.loss) == 1
    """
    )


# --- the profile ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 30, 300])
def test_a_profile_and_predictions_at_once(samples):
    succeeds(
        f"""
    import threading
    import numpy as np
    import ranvier as rv

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(({samples}, 20)).astype(np.float32), rng.integers(0, 5, {samples})
    many, labels = rng.standard_normal((300, 20)).astype(np.float32), rng.integers(0, 5, 300)
    net = rv.Network([rv.Linear(20, 64), rv.ReLU(), rv.Dropout(0.5), rv.BatchNorm1d(64), rv.Linear(64, 5)], seed=0)
    expected, evaluation = net.predict(x).copy(), net.evaluate(x, y)
    done = threading.Event()

    def profile():
        for _ in range(70):
            layers = net.profile(many, labels, batch_size=30, seconds=0.0005).layers
            assert [layer.path for layer in layers] == ["0", "2", "3", "4"], layers
        done.set()

    errors = []

    def guarded():
        try:
            profile()
        except BaseException as error:
            errors.append(error)
            done.set()

    thread = threading.Thread(target=guarded)
    thread.start()
    wrong = 0
    while not done.is_set():
        wrong += not np.array_equal(net.predict(x), expected)
        wrong += net.evaluate(x, y) != evaluation
    thread.join()
    assert not errors, errors
    assert not wrong, wrong
    assert np.array_equal(net.predict(x), expected)
    """
    )


# --- passes that end in the middle ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["RuntimeError", "KeyboardInterrupt"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("optimizer", ["SGD(0.1)", "Adam()"])
def test_an_error_while_a_fault_is_being_found_leaves_no_trace(optimizer, direction, error):
    succeeds(
        f"""
    import threading
    import numpy as np
    import ranvier as rv

    class Layer:
        armed = False

        def __init__(self):
            self.passes = {{"forward": 0, "backward": 0}}

        def forward(self, x):
            return self.answer("forward", x)

        def backward(self, grad):
            return self.answer("backward", grad)

        def answer(self, direction, values):
            if not self.armed or len(values) == 1:  # a single one is the trial of the shape
                return 2 * values
            self.passes[direction] += 1
            return self.armed_answer(direction, 2 * values)

    class Faulty(Layer):
        "Gives NaN, in the direction of the test."

        def armed_answer(self, direction, values):
            return values * np.nan if direction == "{direction}" else values

    class Stopping(Layer):
        "Raises the second time, when the fault is looked for, and before it is found."

        def armed_answer(self, direction, values):
            if direction == "{direction}" and self.passes[direction] == 2:
                raise {error}("while looking")
            return values

    def network(first, second):
        inner = [rv.Residual([rv.Linear(8, 8), first]), rv.BatchNorm1d(8), rv.Dropout(0.3), second]
        return rv.Network([rv.Linear(6, 8), *inner, rv.Linear(8, 3)], seed=0)

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 6)).astype(np.float32), rng.integers(0, 3, 60)
    faulty, stopping = Faulty(), Stopping()
    pair = (stopping, faulty) if "{direction}" == "forward" else (faulty, stopping)
    net, twin = network(*pair), network(Layer(), Layer())
    faulty.armed = stopping.armed = True
    raised = []

    def fit():
        try:
            net.fit(x, y, batch_size=20, optimizer=rv.{optimizer}, progress=False)
        except {error} as caught:
            raised.append(str(caught))

    # In a thread whose stack is so large that the system takes it back: what lay there can be used no more.
    threading.stack_size(1 << 26)
    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert raised == ["while looking"], raised
    faulty.armed = stopping.armed = False
    for name, value in twin.state_dict().items():
        assert np.array_equal(net.state_dict()[name], value), name
    for samples in (1, 20, 60, 20):
        assert np.array_equal(net.predict(x[:samples]), twin.predict(x[:samples]))
        assert net.evaluate(x[:samples], y[:samples]) == twin.evaluate(x[:samples], y[:samples])
    history = net.fit(x, y, epochs=3, batch_size=20, optimizer=rv.{optimizer}, progress=False)
    assert np.isfinite(history.loss).all()
    """
    )


@pytest.mark.parametrize("error", ["RuntimeError", "KeyboardInterrupt"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_an_error_in_a_pass_leaves_no_trace(direction, error):
    class Stopping(Halved):
        armed = False

        def forward(self, x):
            if self.armed and direction == "forward":
                raise kind("stopped")
            return super().forward(x)

        def backward(self, grad):
            if self.armed and direction == "backward":
                raise kind("stopped")
            return super().backward(grad)

    kind = {"RuntimeError": RuntimeError, "KeyboardInterrupt": KeyboardInterrupt}[error]
    x, y = RNG.standard_normal((60, 6)).astype(np.float32), RNG.integers(0, 3, 60)
    layer = Stopping()
    net, twin = (
        rv.Network([rv.Linear(6, 8), own, rv.BatchNorm1d(8), rv.Linear(8, 3)], seed=0) for own in (layer, Halved())
    )
    layer.armed = True
    for use in (
        lambda: net.fit(x, y, progress=False),
        lambda: net.loss_gradients(x, y),
        *([lambda: net.predict(x), lambda: net.evaluate(x, y)] if direction == "forward" else []),
    ):
        with pytest.raises(kind, match="stopped"):
            use()
    layer.armed = False
    for name, value in twin.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[name], value)
    np.testing.assert_array_equal(net.predict(x), twin.predict(x))
    for name, value in twin.loss_gradients(x, y).items():
        np.testing.assert_array_equal(net.loss_gradients(x, y)[name], value)


# --- states while the network is trained ------------------------------------------------------------------------


def equal_columns():
    """A network whose parameters are one number at any moment between two batches, and what trains it so."""
    net = rv.Network([rv.Linear(1, 1 << 17)], seed=0)
    for value in net.parameters().values():
        value[...] = 0
    return net, np.ones((4000, 1), np.float32), np.full((1, 1 << 17), 1e6, np.float32)


STATES = {
    "state_dict": lambda net, path: net.state_dict(),
    "save": lambda net, path: (net.save(path, training_state=True), rv.load(path).state_dict())[1],
    "copy": lambda net, path: net.copy().state_dict(),
    "predictor": lambda net, path: {"0.weight": net.predictor()(np.ones((1, 1), np.float32))},
    "activations": lambda net, path: net.activations(np.ones((1, 1), np.float32)),
}


def while_training(optimizer, look):
    """Train equal columns batch by batch, and look in another thread until that returns True."""
    net, x, y = equal_columns()
    y = np.broadcast_to(y, (50, y.shape[1])).copy()
    start = net.engine.parameters.flat_values.copy()
    options = dict(batch_size=1, loss=rv.QuadraticLoss(), optimizer=optimizer, shuffle=False, progress=False)
    done, end = threading.Event(), time.monotonic() + HANGING

    def train():
        while not done.is_set():
            net.fit(x[:50], y, **options)

    def watch():
        changed(net, start)
        try:
            while not look(net):
                assert time.monotonic() < end
        finally:
            done.set()

    in_threads([train, watch])
    return net, lambda twin: twin.fit(x[:1], y[:1], **options)


@pytest.mark.parametrize("optimizer", [rv.SGD(1e-4), rv.Adam()], ids=["descent", "adam"])
@pytest.mark.parametrize("kind", STATES)
def test_states_are_those_between_two_batches(tmp_path, kind, optimizer):
    values, seen = [], set()

    def look(net):
        for value in STATES[kind](net, tmp_path / "net").values():
            values.append((value.min(), value.max()))
            seen.add(value.min())
        return len(values) >= 20 and len(seen) >= 5

    while_training(optimizer, look)
    assert all(least == largest for least, largest in values)


def test_a_training_state_is_of_one_moment(tmp_path):
    files = []

    def save(net):
        files.append(tmp_path / str(len(files)))
        net.save(files[-1], training_state=True)
        return len(files) >= 6

    _, train = while_training(rv.Adam(), save)
    saved = {}
    for file in files:
        net = rv.load(file)
        state = net.training_state_dict()
        weight = net.state_dict()["0.weight"]
        assert (weight == weight[0, 0]).all()
        assert state["training_passes"] == state["updates"]
        saved[state["updates"]] = weight[0, 0], state["first_moment.0.weight"][0, 0]
    assert len(saved) >= 3
    twin, *_ = equal_columns()
    for steps in range(1, max(saved) + 1):
        train(twin)
        now = twin.state_dict()["0.weight"][0, 0], twin.training_state_dict()["first_moment.0.weight"][0, 0]
        assert saved.get(steps, now) == now


def test_a_training_state_in_memory_is_of_one_moment():
    states = []

    def look(net):
        states.append(net.training_state_dict())
        return len(states) >= 40 and len({state["updates"] for state in states}) >= 5

    while_training(rv.Adam(), look)
    for state in states:
        assert state["training_passes"] == state["updates"]
        for moment in ("first_moment.0.weight", "second_moment.0.bias"):
            assert state[moment].min() == state[moment].max()


def test_a_state_is_loaded_between_two_batches():
    # All columns are one number in both states, so that they stay equal, unless half of a state is trained on.
    other = {name: np.full_like(value, 7) for name, value in equal_columns()[0].state_dict().items()}
    values = []

    def load(net):
        net.load_state_dict(other)
        values.extend((value.min(), value.max()) for value in net.state_dict().values())
        return len(values) >= 40

    while_training(rv.SGD(1e-4), load)
    assert all(least == largest for least, largest in values)


def test_in_the_middle_of_a_pass_a_layer_may_read_the_state_and_not_load_one():
    class Meddling(Halved):
        def forward(self, x):
            if len(x) > 1:
                states.append(net.state_dict())
                with pytest.raises(RuntimeError, match="in the middle of a pass"):
                    net.load_state_dict(states[0])
                training = net.training_state_dict()
                with pytest.raises(RuntimeError, match="in the middle of a pass"):
                    net.load_training_state_dict(training | {"epochs": 5, "frozen": ["0.weight"]})
                after = net.training_state_dict()
                assert (after["epochs"], after["frozen"]) == (training["epochs"], training["frozen"])
            return super().forward(x)

    states = []
    net = rv.Network([rv.Linear(6, 8), Meddling(), rv.Linear(8, 3)], seed=0)
    x, y = RNG.standard_normal((60, 6)).astype(np.float32), RNG.integers(0, 3, 60)
    before = net.state_dict()
    net.fit(x, y, batch_size=60, progress=False)
    for name, value in before.items():
        np.testing.assert_array_equal(states[0][name], value)
    assert not np.array_equal(net.state_dict()["0.weight"], before["0.weight"])


def test_ctrl_c_leaves_the_best_weights_of_early_stopping():
    succeeds(
        """
    import _thread
    import numpy as np
    import ranvier as rv

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 5)), rng.integers(0, 3, 64)
    net = rv.Network([rv.Linear(5, 3)], seed=0)
    states = []

    def interrupt(network, epoch, history):
        states.append(network.state_dict())
        if epoch == 2:  # worse than the first by far from now on
            network.learning_rate_factor = 1e4
        if epoch == 5:
            _thread.interrupt_main()

    stop = rv.EarlyStopping("loss", patience=100)
    try:
        net.fit(x, y, epochs=50, optimizer=rv.SGD(0.1), callbacks=[stop, interrupt], progress=False)
        raise SystemExit("no interrupt")
    except KeyboardInterrupt:
        pass
    assert 1 <= stop.best_epoch < 5 <= len(net.history.loss), (stop.best_epoch, net.history)
    for name, value in net.state_dict().items():
        assert np.array_equal(value, states[stop.best_epoch - 1][name])
    """
    )
