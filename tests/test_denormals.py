"""Python that the library calls computes with denormals, as the program around it does."""

import threading
import time

import numpy as np
import pytest
import ranvier as rv
from ranvier import progress

X = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 40)
TINY = np.frombuffer(np.full(64, 71362, np.int32).tobytes(), np.float32)  # 1e-40


def there_are_denormals():
    """Whether they come out of additions and multiplications, of vectors and of single numbers."""
    one = TINY[:1] * np.float32(1)
    return bool((TINY * np.float32(1)).all() and (TINY + TINY).all() and one[0] != 0)


class Watching:
    """The identity, which looks for denormals."""

    def __init__(self):
        self.seen = {"forward": [], "backward": []}

    def forward(self, x):
        self.seen["forward"].append(there_are_denormals())
        return x

    def backward(self, grad):
        self.seen["backward"].append(there_are_denormals())
        return grad


class OwnLoss:
    """The mean squared distance from one-hot rows, which looks for denormals."""

    def __init__(self):
        self.seen = []

    def __call__(self, prediction, target):
        self.seen.append(there_are_denormals())
        return float(np.mean((prediction - np.eye(3)[target]) ** 2))

    def gradient(self, prediction, target):
        self.seen.append(there_are_denormals())
        return (2 * (prediction - np.eye(3)[target]) / prediction.size).astype(prediction.dtype)


USES = {
    "fit": lambda net: net.fit(X, Y, batch_size=10, progress=False),
    "fit by descent": lambda net: net.fit(X, Y, batch_size=10, optimizer=rv.SGD(0.1), progress=False),
    "gradients": lambda net: net.loss_gradients(X, Y),
    "predict": lambda net: net.predict(X),
    "predict one": lambda net: net.predict(X[:1]),
    "evaluate": lambda net: net.evaluate(X, Y),
}


def test_there_are_denormals_here():
    assert there_are_denormals()


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("place", ["first", "middle", "residual"])
def test_in_layers(place, use):
    own = Watching()
    layers = {
        "first": [own, rv.Linear(6, 3)],
        "middle": [rv.Linear(6, 8), rv.Tanh(), own, rv.Linear(8, 3)],
        "residual": [rv.Linear(6, 8), rv.Residual([own, rv.Linear(8, 8)]), rv.Linear(8, 3)],
    }[place]
    net = rv.Network(layers, seed=0)
    net.predict(X)
    own.seen = {"forward": [], "backward": []}
    USES[use](net)
    assert own.seen["forward"]
    assert bool(own.seen["backward"]) == (use in ("fit", "fit by descent", "gradients"))
    assert all(own.seen["forward"] + own.seen["backward"])
    assert there_are_denormals()


@pytest.mark.parametrize("use", ["fit", "gradients", "evaluate"])
def test_in_losses(use):
    net, loss = rv.Network([rv.Linear(6, 3)], seed=0), OwnLoss()
    {
        "fit": lambda: net.fit(X, Y, loss=loss, batch_size=10, progress=False),
        "gradients": lambda: net.loss_gradients(X, Y, loss=loss),
        "evaluate": lambda: net.evaluate(X, Y, loss=loss),
    }[use]()
    assert loss.seen
    assert all(loss.seen)


class Slow:
    """The identity, which takes its time, so that there is something to report."""

    def forward(self, x):
        time.sleep(0.06)
        return x

    def backward(self, grad):
        return grad


def test_in_reports_and_callbacks(monkeypatch):
    seen = {"report": [], "callback": []}

    class Bar:
        n, total = 0, None

        def __init__(self, **options):
            pass

        def set_description(self, text, refresh):
            pass

        def set_postfix_str(self, text, refresh):
            seen["report"].append(there_are_denormals())

        def update(self, more):
            self.n += more

        def refresh(self):
            pass

        close = refresh

    monkeypatch.setattr(progress, "is_visible", lambda: True)
    monkeypatch.setattr(progress, "_tqdm", lambda: Bar)
    net = rv.Network([rv.Linear(6, 3), Slow()], seed=0)
    net.fit(X, Y, batch_size=10, callbacks=[lambda *_: seen["callback"].append(there_are_denormals())])
    assert len(seen["report"]) > 1  # one in the epoch, one at its end
    assert all(seen["report"])
    assert seen["callback"] == [True]


def test_in_a_layer_that_uses_the_library():
    class Nested(Watching):
        def forward(self, x):
            inner.predict(x)
            rv.kernels.matmul(x, x.T)
            return super().forward(x)

    inner, own = rv.Network([rv.Linear(6, 3), Watching()], seed=0), Nested()
    net = rv.Network([own, rv.Linear(6, 3)], seed=0)
    net.fit(X, Y, batch_size=10, progress=False)
    assert all(own.seen["forward"] + own.seen["backward"])
    assert all(inner.layers[1].seen["forward"])


def test_in_a_thread_that_flushes_them_they_stay_flushed():
    torch = pytest.importorskip("torch")
    own, seen = Watching(), []

    def work():
        if not torch.set_flush_denormal(True):
            return
        seen.append(there_are_denormals())
        rv.Network([rv.Linear(6, 8), own, rv.Linear(8, 3)], seed=0).fit(X, Y, batch_size=10, progress=False)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if not seen:
        pytest.skip("this processor does not flush denormals")
    assert seen == [False]
    assert not any(own.seen["forward"] + own.seen["backward"])
    assert there_are_denormals()
