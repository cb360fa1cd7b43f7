"""Any two calls of one network at once: what only reads gives what it gives alone, and the network stays whole.

CI runs this under the thread sanitizer and with a free-threaded Python as well. ``STRESS_TURNS`` repeats it.
"""

import functools
import itertools
import os
import threading

import numpy as np
import pytest
import ranvier as rv
from fuzz.threads import in_threads
from ranvier import kernels as K

TURNS = int(os.environ.get("STRESS_TURNS", "1"))
RNG = np.random.default_rng(0)

DENSE = [rv.Linear(48, 24), rv.BatchNorm1d(24), rv.ReLU(), rv.Dropout(0.2), rv.Linear(24, 3)]
IMAGES = [rv.Conv2d(3, 8, 3, padding=1), rv.BatchNorm2d(8), rv.ReLU(), rv.MaxPool2d(2), rv.Flatten(), rv.Linear(32, 3)]
NETWORKS = {"dense": (DENSE, (48,)), "images": (IMAGES, (3, 4, 4))}
N = 70
LABELS = RNG.integers(0, 3, N)
MATRIX = RNG.standard_normal((90, 90)).astype(np.float32)


class Shared:
    """What the threads use: a network, a predictor of its weights at the beginning, and samples."""

    def __init__(self, kind):
        layers, shape = NETWORKS[kind]
        self.x = np.random.default_rng(1).standard_normal((N, *shape)).astype(np.float32)
        self.net = rv.Network(layers, seed=0)
        self.net.fit(self.x, LABELS, optimizer=rv.Adam(), progress=False)
        self.predictor = self.net.predictor()
        self.state, self.training = self.net.state_dict(), self.net.training_state_dict()


# What depends on nothing that others change, whatever they do.
CONSTANT = {
    "frozen": lambda s: s.predictor(s.x),
    "frozen, one": lambda s: s.predictor(s.x[:1]),
    "product": lambda s: K.matmul(MATRIX, MATRIX),
}
READING = {
    "predict": lambda s: s.net.predict(s.x),
    "predict one": lambda s: s.net.predict(s.x[:1]),
    "evaluate": lambda s: np.array(s.net.evaluate(s.x, LABELS)),
    "activations": lambda s: list(s.net.activations(s.x[:9]).values())[-1],
    "freeze a predictor": lambda s: s.net.predictor(threads=2)(s.x[:9]),
    "copy": lambda s: s.net.copy().predict(s.x[:9]),
    "profile": lambda s: np.array(len(s.net.profile(s.x, LABELS, batch_size=30, seconds=0.0005).layers)),
    "state": lambda s: np.concatenate([value.ravel() for value in s.net.state_dict().values()]),
    "training state": lambda s: np.array(s.net.training_state_dict()["updates"]),
}
CHANGING = {
    "fit": lambda s: s.net.fit(s.x, LABELS, batch_size=16, optimizer=rv.Adam(), progress=False),
    "train step": lambda s: s.net.train_step(s.x[:20], LABELS[:20], optimizer=rv.Adam()),
    "gradients": lambda s: s.net.loss_gradients(s.x[:20], LABELS[:20]),
    "load": lambda s: s.net.load_state_dict(s.state),
    "load training state": lambda s: s.net.load_training_state_dict(s.training),
    "number of threads": lambda s: [rv.set_num_threads(count) for count in (1, 3, 2)],
}
WITH_A_CHANGE = [
    *itertools.product(CHANGING, [*CONSTANT, *READING]),
    *itertools.combinations_with_replacement(CHANGING, 2),
]


def again(use, shared):
    for _ in range(4 * TURNS):
        use(shared)


def wrong_answers(uses, shared, number):
    """Call functions in turn, from several threads that begin at others; count what is not as it was alone."""
    expected = {name: np.array(use(shared)) for name, use in uses.items()}
    wrong = []

    def work(first):
        for turn in range(2 * TURNS * len(uses)):
            name = list(uses)[(first + turn) % len(uses)]
            if not np.array_equal(uses[name](shared), expected[name], equal_nan=True):
                wrong.append(name)

    in_threads([functools.partial(work, first) for first in range(number)])
    return wrong


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_reads_gives_in_eight_threads_what_it_gives_alone(kind):
    assert not wrong_answers(CONSTANT | READING, Shared(kind), 8)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(("changing", "other"), WITH_A_CHANGE)
def test_two_calls_at_once_of_which_one_changes_something(kind, changing, other):
    shared = Shared(kind)
    expected = {name: use(shared) for name, use in CONSTANT.items()}
    uses = CONSTANT | READING | CHANGING
    in_threads([functools.partial(again, uses[name], shared) for name in (changing, other)])
    for name, use in CONSTANT.items():
        np.testing.assert_array_equal(use(shared), expected[name])
    assert all(np.isfinite(value).all() for value in shared.net.state_dict().values())
    # The network is whole: from a given state on, it does what one does that was always alone.
    quiet = Shared(kind)
    for net in (shared.net, quiet.net):
        net.load_state_dict(shared.state)
        net.load_training_state_dict(shared.training)
        net.fit(shared.x, LABELS, batch_size=16, optimizer=rv.Adam(), progress=False)
    np.testing.assert_array_equal(shared.net.predict(shared.x), quiet.net.predict(quiet.x))
    assert shared.net.training_state_dict()["updates"] == quiet.net.training_state_dict()["updates"]


def test_eight_threads_train_and_predict_with_networks_of_their_own():
    expected = {kind: Shared(kind).net.predict(Shared(kind).x) for kind in NETWORKS}
    wrong = []

    def work(kind):
        for _ in range(2 * TURNS):
            own = Shared(kind)
            if not np.array_equal(own.net.predict(own.x), expected[kind]):
                wrong.append(kind)

    in_threads([functools.partial(work, kind) for kind in 4 * list(NETWORKS)])
    assert not wrong


def test_gradients_beside_a_training_are_those_of_their_own_batch():
    net = rv.Network([rv.BatchNorm1d(4096), rv.Linear(4096, 1)], seed=0)
    x, y = RNG.standard_normal((400, 4096)).astype(np.float32), RNG.standard_normal((400, 1)).astype(np.float32)
    loss, done = rv.MSELoss(), threading.Event()
    expected = net.loss_gradients(x[:9], y[:9], loss=loss)["0.weight"]
    wrong = []

    def train():
        while not done.is_set():
            net.fit(x, y, batch_size=2, loss=loss, optimizer=rv.SGD(1e-30), progress=False)

    def look():
        try:
            for _ in range(300):
                wrong.append(not np.array_equal(net.loss_gradients(x[:9], y[:9], loss=loss)["0.weight"], expected))
        finally:
            done.set()

    in_threads([train, look])
    assert not any(wrong)
