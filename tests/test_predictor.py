"""Frozen predictors: the network's outputs, whatever becomes of it, in any thread, process and file."""

import copy
import gc
import json
import multiprocessing
import os
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import ranvier as rv
from programs import succeeds
from safetensors.numpy import load_file, save_file

RNG = np.random.default_rng(0)

BLOCK = rv.Residual(
    [rv.Conv2d(6, 6, 3, padding=1, bias=False), rv.BatchNorm2d(6), rv.ReLU(), rv.Conv2d(6, 6, 1), rv.BatchNorm2d(6)],
)
STRIDED = rv.Residual(
    [rv.Conv2d(6, 8, 3, stride=2, padding=1), rv.BatchNorm2d(8, affine=False)],
    [rv.Conv2d(6, 8, 1, stride=2), rv.BatchNorm2d(8)],
)
BRANCHES = rv.Parallel([[rv.Conv2d(8, 3, 1), rv.BatchNorm2d(3), rv.ReLU()], [], [rv.MaxPool2d(3, 1, 1), rv.Dropout()]])
FOLDED = {
    "linear": ([rv.Linear(20, 33), rv.BatchNorm1d(33), rv.ReLU(), rv.Dropout(0.3), rv.Linear(33, 5)], (20,)),
    "blocks": (
        [
            *(rv.Conv2d(3, 6, 3, padding=1), rv.BatchNorm2d(6), rv.ReLU(), BLOCK, rv.ReLU(), STRIDED, BRANCHES),
            *(rv.AvgPool2d(2), rv.Flatten(), rv.Linear(19 * 9, 7), rv.Softmax()),
        ],
        (3, 12, 12),
    ),
    "lines": (
        [
            *(rv.Conv1d(3, 16, 4, padding="same"), rv.BatchNorm1d(16), rv.ReLU(), rv.MaxPool1d(2, ceil_mode=True)),
            *(rv.Residual([rv.Conv1d(16, 16, 3, padding=1), rv.BatchNorm1d(16)]), rv.ReLU6(), rv.Dropout1d()),
            *(rv.Conv1d(16, 32, 1), rv.SiLU(), rv.AdaptiveAvgPool1d(1), rv.Flatten(), rv.Linear(32, 4)),
        ],
        (3, 37),
    ),
    "depthwise": (
        [rv.Conv2d(4, 8, 3, groups=4), rv.BatchNorm2d(8), rv.LeakyReLU(), rv.GlobalAvgPool2d(), rv.Linear(8, 3)],
        (4, 9, 7),
    ),
}
PLAIN = {
    "sizes": ([784, 30, 10], (784,)),
    "wide": ([rv.Linear(300, 400), rv.Tanh(), rv.LayerNorm(400), rv.Linear(400, 7), rv.LogSoftmax()], (300,)),
    "groups": ([rv.Conv2d(2, 6, 3), rv.GroupNorm(3, 6), rv.ReLU(), rv.Flatten(), rv.Linear(96, 3)], (2, 6, 6)),
    "enlarged": (
        [rv.ConvTranspose2d(3, 8, 4, 2, 1), rv.ReLU(), rv.Upsample(2), rv.ConvTranspose2d(8, 1, 3, padding=1)],
        (3, 5, 6),
    ),
    "sequence": ([rv.GRU(3, 17, num_layers=2, return_sequences=True), rv.LSTM(17, 8), rv.Linear(8, 3)], (9, 3)),
    "norm first": ([rv.BatchNorm1d(9), rv.Linear(9, 4), rv.GELU()], (9,)),
    "images": (
        [
            *(rv.Conv2d(1, 8, 5, padding=2), rv.ReLU(), rv.MaxPool2d(2), rv.RandomCrop(6), rv.Flatten()),
            *(rv.Linear(8 * 36, 12), rv.PReLU(), rv.Maxout(2)),
        ],
        (1, 16, 16),
    ),
}
ALL = FOLDED | PLAIN


def network(kind, dtype="float32"):
    """Return a network whose parameters and statistics all matter, and the shape of its samples."""
    layers, shape = ALL[kind]
    net = rv.Network(layers, seed=1, dtype=dtype)
    rng = np.random.default_rng(2)
    state = net.state_dict()
    for name, value in state.items():
        if name.endswith("running_var"):
            state[name] = rng.uniform(0.5, 2, value.shape)
        elif not name.endswith("weight") or value.ndim == 1:
            state[name] = rng.standard_normal(value.shape)
    net.load_state_dict(state)
    return net, shape


def samples(n, shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape)).astype(dtype)


class Scaled:
    """A layer of one's own."""

    factor = 2

    def forward(self, x):
        return self.factor * x

    def backward(self, grad):
        return self.factor * grad


# --- the same outputs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ALL)
def test_outputs_are_the_networks(kind, dtype):
    net, shape = network(kind, dtype)
    x = samples(40, shape, dtype)
    expected = net.predict(x)
    got = net.predictor()(x)
    assert got.dtype == dtype
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("kind", PLAIN)
def test_outputs_are_exact_where_nothing_is_folded(kind):
    net, shape = network(kind)
    predictor = net.predictor()
    for n in (1, 3, 50, 300):
        x = samples(n, shape)
        np.testing.assert_array_equal(predictor(x), net.predict(x))


@pytest.mark.parametrize("kind", ALL)
def test_a_rows_bits_depend_neither_on_its_batch_nor_on_threads(kind):
    net, shape = network(kind)
    x = samples(600, shape)
    net.predict(x[:1])
    expected = net.predictor(threads=1)(x)
    for predictor in [net.predictor(threads=threads) for threads in (1, 2, 3)] + [net.predictor()]:
        for n in (1, 2, 7, 255, 256, 257, 600):
            np.testing.assert_array_equal(predictor(x[:n]), expected[:n])
            np.testing.assert_array_equal(predictor(x[-n:]), expected[-n:])
    predictor = net.predictor()
    for threads in (1, 2, 3):
        rv.set_num_threads(threads)
        np.testing.assert_array_equal(predictor(x), expected)


def test_every_instruction_set_predicts(isa):
    net, shape = network("blocks")
    x = samples(5, shape)
    np.testing.assert_allclose(net.predictor()(x), net.predict(x), rtol=1e-4, atol=1e-6)


# --- arguments --------------------------------------------------------------------------------------------------


def test_samples_of_other_kinds_are_converted_as_by_the_network():
    net, _ = network("linear")
    predictor = net.predictor()
    numbers = RNG.integers(-3, 4, (6, 20))
    expected = predictor(numbers.astype(np.float32))
    for x in (numbers, numbers.tolist(), numbers.astype(np.float64), numbers.astype(np.int8)):
        np.testing.assert_array_equal(predictor(x), expected)
    np.testing.assert_array_equal(predictor(np.asfortranarray(numbers, np.float32)), expected)
    np.testing.assert_array_equal(predictor(np.repeat(numbers, 2, 0)[::2]), expected)


@pytest.mark.parametrize("n", [1, 5, 700])
def test_bytes_are_fractions_of_255(n):
    net, shape = network("images")
    pixels = RNG.integers(0, 256, (n, *shape)).astype(np.uint8)
    np.testing.assert_array_equal(net.predictor()(pixels), net.predict(pixels))
    np.testing.assert_allclose(net.predictor()(pixels), net.predict(pixels / 255), rtol=1e-4, atol=1e-5)


def test_no_samples_give_no_outputs():
    net, shape = network("blocks")
    predictor = net.predictor()
    assert predictor(np.empty((0, *shape))).shape == (0, 7)
    out = np.empty((0, 7), np.float32)
    assert predictor(np.empty((0, *shape), np.float32), out=out) is out


@pytest.mark.parametrize("n", [1, 5, 700])
def test_out_is_filled_and_returned(n):
    net, shape = network("sizes")
    x, out = samples(n, shape), np.full((n, 10), np.nan, np.float32)
    predictor = net.predictor()
    assert predictor(x, out=out) is out
    np.testing.assert_array_equal(out, predictor(x))


@pytest.mark.parametrize("n", [1, 5, 700])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda n: np.zeros((n + 1, 5), np.float32), ValueError, "out: expected a writeable array of shape"),
        (lambda n: np.zeros((n, 4), np.float32), ValueError, "out: expected samples of shape"),
        (lambda n: np.zeros((n, 5)), TypeError, "out: expected an array of float32"),
        (lambda n: np.zeros((n, 10), np.float32)[:, ::2], ValueError, "out: expected a C-contiguous array"),
        (lambda n: np.frombuffer(bytes(20 * n), np.float32).reshape(n, 5), ValueError, "not writeable"),
    ],
)
def test_a_wrong_out_is_refused_and_left_alone(n, known, wrong, error, message):
    net, shape = network("linear")
    predictor = net.predictor()
    if known:
        predictor(samples(1, shape))
    out = wrong(n)
    with pytest.raises(error, match=message):
        predictor(samples(n, shape), out=out)
    assert not out.any()


@pytest.mark.parametrize("n", [1, 300])
def test_out_must_not_overlap_the_samples(n):
    predictor = rv.Network([rv.Linear(4, 4)], seed=0).predictor()
    memory = np.ones(8 * n, np.float32)
    for start in (0, 2):
        x, out = memory[: 4 * n].reshape(n, 4), memory[start : start + 4 * n].reshape(n, 4)
        for _ in range(2):  # before the shape is known, and after
            with pytest.raises(ValueError, match="out: expected memory of its own"):
                predictor(x, out=out)
        assert (memory == 1).all()
        predictor(x)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((3, 19)), ValueError, r"layer 0 \(Linear\): expected 20 input features"),
        (np.zeros((3, 4, 5)), ValueError, r"layer 1 \(BatchNorm1d\)"),
        (np.zeros(()), ValueError, "x: expected an array of shape"),
        (np.array(["a"]), TypeError, "x: expected an array of real numbers"),
        (np.zeros((3, 20), complex), TypeError, "x: expected an array of real numbers"),
    ],
)
def test_wrong_samples_are_refused_as_by_the_network(x, error, message):
    net, shape = network("linear")
    if x.shape == (3, 4, 5):
        message = r"layer 0 \(Linear\)"
    predictor = net.predictor()
    for _ in range(2):
        for predict in (predictor, net.predict):
            with pytest.raises(error, match=message):
                predict(x)
        assert predictor(samples(2, shape)).shape == (2, 5)


@pytest.mark.parametrize(("threads", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), (1.5, TypeError)])
def test_threads_are_checked(tmp_path, threads, error):
    net = rv.Network([2, 2], seed=0)
    with pytest.raises(error, match="threads: expected"):
        net.predictor(threads=threads)
    net.save(tmp_path / "net")
    with pytest.raises(error, match="threads: expected"):
        rv.load_predictor(tmp_path / "net", threads=threads)


# --- what it tells of itself ------------------------------------------------------------------------------------


def test_attributes():
    net = rv.Network([rv.Linear(2, 3), rv.ReLU()], seed=0, dtype="float64")
    predictor = net.predictor(threads=2)
    assert isinstance(predictor, rv.Predictor)
    assert predictor.layers == net.layers
    assert predictor.dtype == np.dtype("float64")
    assert predictor.threads == 2
    assert predictor.input_shape is None
    predictor(np.zeros((4, 2)))
    assert predictor.input_shape == (2,)
    assert repr(predictor) == "Predictor([Linear(in_features=2, out_features=3), ReLU()], threads=2)"
    assert repr(net.predictor()) == "Predictor([Linear(in_features=2, out_features=3), ReLU()])"
    assert net.predictor().threads is None
    for name in ("layers", "dtype", "threads", "input_shape", "weights"):
        with pytest.raises(AttributeError):
            setattr(predictor, name, None)


def test_a_shape_that_the_network_knows_is_made_ready_at_once():
    assert rv.Network([5, 2]).predictor().input_shape == (5,)
    net, shape = network("blocks")
    assert net.predictor().input_shape is None
    net.predict(samples(1, shape))
    assert net.predictor().input_shape == shape


def test_several_shapes_of_images():
    net, _ = network("depthwise")
    predictor = net.predictor()
    images = [samples(2, (4, height, 9 - height)) for height in (3, 4, 5, 6)]
    expected = [net.predict(x) for x in images]
    for _ in range(3):
        for x, y in zip(images, expected, strict=True):
            np.testing.assert_allclose(predictor(x), y, rtol=1e-5, atol=1e-5)
            assert predictor.input_shape == x.shape[1:]


def test_only_so_many_shapes_are_kept():
    net, _ = network("depthwise")
    predictor = net.predictor()
    for _ in range(2):
        for width in range(3, 45):
            x = samples(1, (4, 3, width))
            np.testing.assert_allclose(predictor(x), net.predict(x), rtol=1e-4, atol=1e-5)
    assert len(predictor._compiled) == 32


# --- frozen -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("kind", ["linear", "blocks", "wide"])
def test_the_networks_later_weights_change_nothing(kind, known):
    net, shape = network(kind)
    x = samples(9, shape)
    before = net.predictor()(x)
    if known:
        net.predict(x)
    net.input_shape = shape if known else None
    predictor = net.predictor()
    for value in net.parameters().values():
        value[...] = 0
    y = np.zeros_like(before)
    np.testing.assert_array_equal(predictor(x), before)
    net.load_state_dict({name: value + 1 for name, value in net.state_dict().items()})
    net.fit(x, y, loss=rv.MSELoss(), epochs=2, progress=False)
    np.testing.assert_array_equal(predictor(x), before)
    assert not np.array_equal(net.predict(x), before)


def inverted_residual(inputs, outputs, kernel, stride):
    wide = 4 * inputs
    layers = [
        rv.Conv2d(inputs, wide, 1, bias=False),
        rv.BatchNorm2d(wide),
        rv.ReLU(),
        rv.Conv2d(wide, wide, kernel, stride=stride, padding=kernel // 2, groups=wide),
        rv.BatchNorm2d(wide),
        rv.GELU(),
        rv.Conv2d(wide, outputs, 1),
    ]
    return [rv.Residual(tuple(layers))] if stride == 1 and inputs == outputs else layers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_images_with_neighbouring_channels_change_nothing_but_digits(dtype):
    layers = [
        rv.Conv2d(3, 12, 3, stride=2, padding=1),
        *inverted_residual(12, 20, 5, 2),
        *inverted_residual(20, 20, 3, 1),
        rv.Conv2d(20, 33, 3, padding=1),
        *inverted_residual(33, 33, 3, 1),
        rv.GlobalAvgPool2d(),
        rv.Linear(33, 5),
    ]
    net = rv.Network(layers, seed=0, dtype=dtype)
    x = samples(7, (3, 37, 29)).astype(dtype)
    net.fit(x, samples(7, (5,)).astype(dtype), loss=rv.MSELoss(), epochs=1, progress=False)
    predictor = net.predictor()
    y = predictor(x)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(y, net.predict(x), rtol=0, atol=tolerance * np.abs(y).max())
    for i in range(len(x)):
        np.testing.assert_array_equal(predictor(x[i : i + 1])[0], y[i])


def test_neither_keeps_the_other_alive():
    net, shape = network("linear")
    predictor = net.predictor()
    expected = predictor(samples(5, shape))
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None
    np.testing.assert_array_equal(predictor(samples(5, shape)), expected)
    net, _ = network("linear")
    predictor = net.predictor()
    net.predict(samples(5, shape))
    gone = weakref.ref(predictor)
    del predictor
    gc.collect()
    assert gone() is None
    assert net.predict(samples(5, shape)).shape == (5, 5)


def test_a_custom_layer_is_the_networks_own():
    layer = Scaled()
    net = rv.Network([rv.Linear(3, 4), layer, rv.Residual([layer])], seed=0)
    predictor = net.predictor()
    x = samples(5, (3,))
    np.testing.assert_array_equal(predictor(x), net.predict(x))
    assert predictor.layers[1] is layer
    layer.factor = 3
    np.testing.assert_array_equal(predictor(x), net.predict(x))


def test_a_custom_layer_may_ask_a_predictor():
    teacher = rv.Network([rv.Linear(3, 3)], seed=1).predictor()

    class Asking(Scaled):
        def forward(self, x):
            return x + teacher(x)

    net = rv.Network([rv.Linear(3, 3), Asking()], seed=0)
    x = samples(5, (3,))
    np.testing.assert_array_equal(net.predictor()(x), net.predict(x))


# --- threads ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sizes", "blocks"])
def test_while_the_network_is_trained(kind):
    net, shape = network(kind)
    many = samples(3000, shape, seed=5)
    targets = np.random.default_rng(6).random((len(many), *net.predict(many[:1]).shape[1:])).astype(np.float32)
    predictor = net.predictor()
    x = samples(30, shape)
    expected = predictor(x)
    done = threading.Event()

    def train():
        try:
            net.fit(many, targets, batch_size=10, loss=rv.MSELoss(), epochs=3, progress=False)
        finally:
            done.set()

    thread = threading.Thread(target=train)
    thread.start()
    calls = wrong = 0
    while not done.is_set():
        calls += 1
        wrong += not np.array_equal(predictor(x), expected)
        wrong += not np.array_equal(predictor(x[:1]), expected[:1])
    thread.join()
    assert calls > 1
    assert wrong == 0
    assert not np.array_equal(net.predict(x), expected)


def test_a_predictor_made_during_training_has_the_weights_between_two_batches():
    # Every weight is the same at each moment between two batches.
    net = rv.Network([rv.Linear(600, 600, bias=False)], seed=0)
    net.parameters()["0.weight"][...] = 1
    x, y = np.full((1500, 600), 1 / 600, np.float32), np.zeros((1500, 600), np.float32)
    done = threading.Event()

    def train():
        try:
            net.fit(x, y, batch_size=1, loss=rv.QuadraticLoss(), optimizer=rv.SGD(1e-3), progress=False)
        finally:
            done.set()

    thread = threading.Thread(target=train)
    thread.start()
    predictors = []
    while not done.is_set() and len(predictors) < 200:
        predictors.append(net.predictor())
    thread.join()
    values = [predictor._parameters.value("0.weight") for predictor in predictors]
    assert all((value == value[0, 0]).all() for value in values)
    assert len({float(value[0, 0]) for value in values}) > 2


@pytest.mark.parametrize("threads", [None, 1, 2])
@pytest.mark.parametrize("kind", ["sizes", "blocks", "depthwise"])
def test_eight_threads_at_once(kind, threads):
    net, shape = network(kind)
    shapes = [shape, (4, 6, 6)] if kind == "depthwise" else [shape]
    batches = [samples(n, one) for n in (1, 2, 17, 300) for one in shapes]
    whole = net.predictor(threads=threads)
    expected = [whole(x) for x in batches]
    predictor = net.predictor(threads=threads)  # so that the threads meet when it is made ready
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        wrong = 0
        for i in range(40):
            k = (number + i) % len(batches)
            wrong += not np.array_equal(predictor(batches[k]), expected[k])
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 0


def test_no_thread_waits_for_another():
    both = threading.Barrier(2)

    class Meeting(Scaled):
        def forward(self, x):
            if len(x) == 3:
                both.wait(30)
            return x

    predictor = rv.Network([rv.Linear(3, 3), Meeting()], seed=0).predictor()
    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(lambda _: predictor(samples(3, (3,))), range(2)))
    np.testing.assert_array_equal(*outputs)


def test_threads_that_meet_make_it_ready_once():
    tries = []

    class Counting(Scaled):
        def forward(self, x):
            if len(x) == 3:
                tries.append(threading.get_ident())
            return x

    net = rv.Network([Counting(), rv.Linear(3, 3)], seed=0)
    predictor = net.predictor()
    start = threading.Barrier(8)

    def work(_):
        start.wait()
        predictor(samples(3, (3,)))
        return predictor._compiled[(3,)]

    with ThreadPoolExecutor(8) as pool:
        assert len(set(map(id, pool.map(work, range(8))))) == 1
    assert len(tries) == 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_another_thread_makes_it_ready():
    succeeds(
        """
    import os, threading, time
    import numpy as np
    import ranvier as rv

    inside, on = threading.Event(), threading.Event()

    class Waiting:
        def forward(self, x):
            if threading.current_thread() is other:
                inside.set()
                on.wait()
            return x
        def backward(self, grad):
            return grad

    p = rv.Network([Waiting(), rv.Linear(3, 2)], seed=0).predictor()
    other = threading.Thread(target=lambda: p(np.zeros((1, 3))))
    other.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        p(np.zeros((1, 3)))
        os._exit(0)
    deadline = time.monotonic() + 300
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os._exit(1)
        time.sleep(0.01)
    on.set()
    other.join()
    """
    )


# --- files and pickles ------------------------------------------------------------------------------------------


def same(predictor, other, x):
    """Assert that two predictors are alike, bit by bit."""
    assert other is not predictor
    assert other.layers == predictor.layers
    assert other.dtype == predictor.dtype
    assert other.input_shape == predictor.input_shape
    np.testing.assert_array_equal(other(x), predictor(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ALL)
def test_files_and_pickles_keep_the_bits(tmp_path, kind, dtype):
    net, shape = network(kind, dtype)
    x = samples(20, shape, dtype)
    predictor = net.predictor(threads=2)
    predictor(x)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(predictor, protocol))
        same(predictor, again, x)
        assert again.threads == 2
    same(predictor, copy.deepcopy(predictor), x)
    same(predictor, copy.copy(predictor), x)
    predictor.save(tmp_path / "p")
    same(predictor, rv.load_predictor(tmp_path / "p"), x)
    assert rv.load_predictor(tmp_path / "p").threads is None
    assert rv.load_predictor(tmp_path / "p", threads=3).threads == 3
    assert os.listdir(tmp_path) == ["p"]


def test_a_pickle_of_one_that_has_seen_no_samples():
    net, shape = network("linear")
    again = pickle.loads(pickle.dumps(net.predictor()))
    assert again.input_shape is None
    np.testing.assert_array_equal(again(samples(5, shape)), net.predictor()(samples(5, shape)))


def test_all_shapes_are_made_ready_again():
    predictor = network("depthwise")[0].predictor()
    for width in (5, 4, 6, 4):
        predictor(samples(1, (4, 3, width)))
    again = pickle.loads(pickle.dumps(predictor))
    assert set(again._compiled) == {(4, 3, 5), (4, 3, 4), (4, 3, 6)}
    assert again.input_shape == (4, 3, 4)


def test_a_pickle_holds_a_file_and_calls_one_function_of_ours(tmp_path):
    predictor = network("linear")[0].predictor()
    predictor.save(tmp_path / "p")
    function, (contents, threads) = predictor.__reduce__()
    assert function.__module__ == "ranvier.predictor"
    assert contents == (tmp_path / "p").read_bytes()
    assert threads is None


def test_networks_and_predictors_read_each_others_files(tmp_path):
    net, shape = network("blocks")
    x = samples(20, shape)
    net.fit(x, np.zeros((20, 7), np.float32), loss=rv.MSELoss(), progress=False)
    predictor = net.predictor()
    for training_state in (False, True):
        net.save(tmp_path / "net", training_state=training_state)
        same(predictor, rv.load_predictor(tmp_path / "net"), x)
    predictor.save(tmp_path / "p")
    again = rv.load(tmp_path / "p")
    assert again.layers == net.layers
    assert again.input_shape == shape
    np.testing.assert_array_equal(again.predict(x), net.predict(x))
    again.fit(x, np.zeros((20, 7), np.float32), loss=rv.MSELoss(), progress=False)


def test_the_notes_networks_files(tmp_path):
    net = rv.Network([6, 5, 4], seed=2)
    net.save(tmp_path / "net")
    x = samples(3, (6,))
    np.testing.assert_array_equal(rv.load_predictor(tmp_path / "net")(x), net.predict(x))
    net.predictor().save(tmp_path / "p")
    np.testing.assert_array_equal(rv.load(tmp_path / "p").predict(x), net.predict(x))


def test_layers_of_your_own_are_not_saved(tmp_path):
    predictor = rv.Network([rv.Linear(2, 2), rv.Residual([Scaled()])], seed=0).predictor()
    for save in (
        lambda: predictor.save(tmp_path / "p"),
        lambda: pickle.dumps(predictor),
        lambda: copy.deepcopy(predictor),
    ):
        with pytest.raises(ValueError, match=r"layer 1\.layers\.0 \(Scaled\): one of your own cannot be saved"):
            save()
    assert os.listdir(tmp_path) == []


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        rv.load_predictor(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError):
        rv.load_predictor(tmp_path)
    path = tmp_path / "p"
    network("linear")[0].predictor().save(path)
    contents = path.read_bytes()
    path.write_bytes(contents[:-8])
    with pytest.raises(ValueError, match="p: not a complete safetensors file"):
        rv.load_predictor(path)
    path.write_bytes(contents)
    tensors = load_file(path)
    config = json.loads(json.loads(contents[8 : 8 + int.from_bytes(contents[:8], "little")])["__metadata__"]["ranvier"])

    def refused(message, changed, tensors=tensors):
        save_file(tensors, path, {"ranvier": json.dumps(changed)})
        with pytest.raises(ValueError, match=message):
            rv.load_predictor(path)

    refused("format 99", config | {"format": 99})
    refused("there is no layer 'os.system'", config | {"layers": [{"layer": "os.system"}]})
    refused("layer 0", config | {"shapes": [[3]]})
    refused("not a network that can be read", config | {"shapes": 3})
    refused("not a network that can be read", config | {"dtype": "int8"})
    refused(r"missing \['0.bias'\]", config, {name: value for name, value in tensors.items() if name != "0.bias"})
    refused("0.bias: expected shape", config, tensors | {"0.bias": np.zeros(3, np.float32)})


def outputs_of(predictor, x):
    """Predict in another process."""
    return predictor(x)


def test_it_goes_to_a_process_that_is_spawned():
    net, shape = network("blocks")
    predictor, x = net.predictor(), samples(5, shape)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(outputs_of, (predictor, x)), predictor(x))


def test_joblib_keeps_it(tmp_path):
    joblib = pytest.importorskip("joblib")
    net, shape = network("linear")
    joblib.dump(net.predictor(), tmp_path / "p", compress=3)
    np.testing.assert_array_equal(joblib.load(tmp_path / "p")(samples(5, shape)), net.predictor()(samples(5, shape)))
