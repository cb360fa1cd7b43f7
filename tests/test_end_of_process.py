"""Daemon threads at work when the interpreter ends, and networks that are garbage."""

import gc
import weakref

import numpy as np
import pytest
import ranvier as rv
from programs import run

X, LABELS = np.ones((6, 3), np.float32), np.zeros(6, int)

PROGRAM = """
import threading, time
import numpy as np
import ranvier as rv
from ranvier import kernels as K


class Own:
    def forward(self, x):
        if {blocks} and len(x) > 1:
            threading.Event().wait()
        return 2 * x

    def backward(self, grad):
        return 2 * grad


class OwnLoss:
    def __call__(self, prediction, target):
        return float((prediction**2).mean())

    def gradient(self, prediction, target):
        return 2 * prediction / prediction.size


own = [Own()] if {own} else []
net = rv.Network([rv.Linear(20, 200), *own, rv.ReLU(), rv.Linear(200, 5)], seed=0)
x, y = np.random.default_rng(0).random((20000, 20), dtype=np.float32), np.zeros(20000, int)
a = np.ones((500, 500))


def work():
    while True:
        try:
            {use}
        except BaseException:
            {on_error}


for _ in range({threads}):
    threading.Thread(target=work, daemon=True).start()
time.sleep({delay})
"""
USES = {
    "fit": dict(use="net.fit(x, y, progress=False)", threads=1),
    "fit, others wait": dict(use="net.fit(x, y, progress=False)", threads=5),
    "fit with a layer of one's own": dict(use="net.fit(x, y, progress=False)", own=True),
    "fit with a loss of one's own": dict(use="net.fit(x, y, loss=OwnLoss(), progress=False)"),
    "fit again and again": dict(use="net.fit(x[:50], y[:50], progress=False)", on_error="pass"),
    "predict": dict(use="net.predict(x), net.predict(x[:1])"),
    "evaluate": dict(use="net.evaluate(x, y)"),
    "predictor": dict(use="net.predictor()(x)"),
    "state": dict(use="net.load_state_dict(net.state_dict())"),
    "matmul": dict(use="K.matmul(a, a)"),
    "a layer that never returns": dict(use="net.fit(x, y, progress=False)", own=True, blocks=True),
}


@pytest.mark.parametrize("name", USES)
def test_a_daemon_thread_at_work_does_not_abort_the_interpreter(name):
    settings = dict(threads=2, own=False, blocks=False, on_error="raise") | USES[name]
    for delay in (0.05, 0.2):
        status, output, errors = run(PROGRAM.format(**settings, delay=delay))
        assert (status, output, errors) == (0, "", "")


class Own:
    """A layer that knows its network."""

    def forward(self, x):
        return 2 * x

    def backward(self, grad):
        return 2 * grad


def made(place):
    own = Own()
    inner = {
        "in a row": own,
        "in a residual block": rv.Residual([own]),
        "in a shortcut": rv.Residual([rv.ReLU()], [own]),
        "in a branch": rv.Parallel([[rv.ReLU()], [own]]),
    }
    own.network = rv.Network([rv.Linear(3, 4), inner[place], rv.Flatten()], seed=0)
    return own


PASSES = {
    "nothing": lambda net: None,
    "predict": lambda net: net.predict(X),
    "evaluate": lambda net: net.evaluate(X, LABELS),
    "loss_gradients": lambda net: net.loss_gradients(X, LABELS),
    "train_step": lambda net: [net.train_step(X, LABELS, optimizer=rv.SGD(0.1)) for _ in range(3)],
    "copy": lambda net: net.copy().predict(X),
    "fit": lambda net: net.fit(X, LABELS, optimizer=rv.Adam(), progress=False),
    "activations": lambda net: net.activations(X),
}


@pytest.mark.parametrize("use", PASSES)
@pytest.mark.parametrize("place", ["in a row", "in a residual block", "in a shortcut", "in a branch"])
def test_a_network_to_which_its_own_layer_refers_is_collected(place, use):
    own = made(place)
    PASSES[use](own.network)
    layer, network = weakref.ref(own), weakref.ref(own.network)
    del own
    gc.collect()
    assert layer() is None
    assert network() is None


def test_a_predictor_to_which_its_own_layer_refers_is_collected():
    own = made("in a row")
    own.network.predict(X)
    own.predictor = own.network.predictor()
    own.predictor(X)
    layer, predictor = weakref.ref(own), weakref.ref(own.predictor)
    del own
    gc.collect()
    assert layer() is None
    assert predictor() is None


def test_a_predictor_keeps_the_layers_of_a_network_that_is_gone():
    own = made("in a row")
    predictor, expected = own.network.predictor(), own.network.predict(X).copy()
    network = weakref.ref(own.network)
    own.network = None
    del own
    gc.collect()
    assert network() is None
    np.testing.assert_array_equal(predictor(X), expected)


def test_a_finalizer_may_use_what_is_collected():
    class Last(Own):
        def __del__(self):
            outputs.append(self.network.predict(X).copy())
            outputs.append(self.network.fit(X, LABELS, progress=False))

    outputs = []
    own = Last()
    own.network = rv.Network([rv.Linear(3, 4), own], seed=0)
    expected = own.network.predict(X).copy()
    del own
    gc.collect()
    np.testing.assert_array_equal(outputs[0], expected)
    assert len(outputs) == 2


def test_the_collector_runs_in_the_middle_of_passes():
    class Collecting(Own):
        def forward(self, x):
            gc.collect()
            return super().forward(x)

    own = Collecting()
    own.network = rv.Network([rv.Linear(3, 4), rv.Residual([own]), rv.Linear(4, 2)], seed=0)
    for _ in range(3):
        own.network.fit(X, LABELS, batch_size=2, progress=False)
        own.network.predict(X)
        own.network.predictor()(X)
