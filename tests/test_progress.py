"""What is shown of a training while it runs, and what an interruption leaves."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest
import ranvier as rv
from programs import HANGING
from ranvier import progress

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((60, 4)), RNG.integers(0, 3, 60)


def network():
    return rv.Network([rv.Linear(4, 8), rv.Tanh(), rv.Linear(8, 3)], seed=0)


@pytest.fixture
def shown(monkeypatch, capsys):
    """Return a function that gives what was drawn since its last call."""
    monkeypatch.setattr(progress, "is_visible", lambda: True)
    return lambda: capsys.readouterr().err


def test_one_bar_has_the_figures_of_all_epochs(shown):
    network().fit(X, Y, epochs=3, validation_data=(X, Y), metrics=["f1"])
    text = shown()
    assert text.count("\n") == 1
    last = text.rstrip().rpartition("\r")[2]
    assert last.startswith("Epoch 3/3: 100%")
    for name in ("loss=", "accuracy=", "f1=", "val_loss=", "val_accuracy=", "val_f1="):
        assert len(re.findall(rf"\b{name}\d", last)) == 1


def test_epochs_are_those_of_the_call(shown):
    net = network()
    net.fit(X, Y, epochs=2)
    shown()
    net.fit(X, Y, epochs=4)
    text = shown()
    assert "Epoch 4/4" in text
    assert "Epoch 6" not in text
    with pytest.raises(FloatingPointError, match="epoch 1, batch 2:"):
        net.fit(X, Y, optimizer=rv.SGD(1e300))


def test_a_bar_is_full_where_a_callback_ends_the_training_and_not_where_an_error_does(shown):
    network().fit(X, Y, epochs=4, callbacks=[lambda net, epoch, history: epoch == 2])
    assert "Epoch 2/4: 100%" in shown().rpartition("\r")[2]
    with pytest.raises(ZeroDivisionError):
        network().fit(X, Y, epochs=4, callbacks=[lambda net, epoch, history: 1 / (epoch - 2) > 0])
    assert "Epoch 2/4:  50%" in shown().rpartition("\r")[2]


def test_a_stream_shows_how_many_samples_it_gave(shown):
    network().fit([(X[:20], Y[:20]), (X[20:], Y[20:])], epochs=2)
    last = shown().rpartition("\r")[2]
    assert "Epoch 2/2: 120 samples" in last
    assert "loss=" in last


@pytest.mark.parametrize("options", ["progress=False", "progress=True"])
def test_tqdm_is_not_loaded_where_nothing_is_shown(options):
    code = f"""
import sys, numpy as np, ranvier as rv
rv.Network([rv.Linear(4, 2)], seed=0).fit(np.eye(4), [0, 1, 0, 1], epochs=2, {options})
assert "tqdm" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=HANGING)
    assert result.stderr == ""


def run_on_terminal(arguments, columns):
    """Run Python on a terminal of so many columns; return what it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    written = b""
    with subprocess.Popen([sys.executable, *arguments], stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            while part := os.read(ours, 65536):
                written += part
        except OSError:  # that of Linux when the other side is closed
            pass
    os.close(ours)
    assert process.returncode == 0, written
    return written.decode().replace("\r\n", "\n")


def test_a_terminal_has_a_bar_below_the_table_of_epochs(tmp_path):
    files = ["--save", str(tmp_path / "m.safetensors"), "--plot", str(tmp_path / "p.svg")]
    text = run_on_terminal(["-m", "ranvier", "train", "digits", "--epochs", "3", *files], 120)
    lines = [line.rpartition("\r")[2] for line in text.split("\n")]  # as they stand in the end
    assert [line.split()[0] for line in lines if re.match(r"epoch| +\d+ ", line)] == ["epoch", "1", "2", "3"]
    bars = [line for line in lines if line.startswith("Epoch")]
    assert len(bars) == 1
    assert bars[0].startswith("Epoch 3/3: 100%")
    assert "val_accuracy=" in bars[0]
    assert all(len(line) <= 120 for line in lines)


class InterruptBatch(rv.callbacks.Callback):
    def on_batch_end(self, network, batch, loss):
        if len(network.history) == 3 and batch == 2:
            signal.raise_signal(signal.SIGINT)


def interrupt_epoch(network, epoch, history):
    if epoch == 4:
        signal.raise_signal(signal.SIGINT)


class InterruptedLayer:
    """The identity, which is interrupted in its third pass over validation samples, of which there are 50."""

    def __init__(self):
        self.passes = 0

    def forward(self, x):
        self.passes += len(x) == 50
        if self.passes == 3:
            self.passes += 1
            signal.raise_signal(signal.SIGINT)
        return x

    def backward(self, grad):
        return grad


@pytest.mark.parametrize("where", ["batch", "epoch", "validation"])
def test_an_interruption_leaves_a_history_the_best_weights_and_a_network_that_trains_on(where, shown):
    states = []
    layers = [*network().layers, *([InterruptedLayer()] if where == "validation" else [])]
    net = rv.Network(layers, seed=0)
    callbacks = [
        lambda network, epoch, history: states.append(network.state_dict()),
        rv.EarlyStopping("loss", mode="max", patience=100),  # the first epoch is the best
        *{"batch": [InterruptBatch()], "epoch": [interrupt_epoch], "validation": []}[where],
    ]
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            net.fit(X, Y, epochs=100, optimizer=rv.Adam(0.01), validation_data=(X[:50], Y[:50]), callbacks=callbacks)
    finally:
        signal.signal(signal.SIGINT, usual)
    epochs = {"batch": 3, "epoch": 4, "validation": 2}[where]
    assert len(net.history) == len(net.history.val_loss) == epochs
    assert all(np.array_equal(value, states[0][name]) for name, value in net.state_dict().items())
    assert f"Epoch {epochs + (where != 'epoch')}/100" in shown()
    assert len(net.fit(X, Y, epochs=2, optimizer=rv.Adam(0.01))) == epochs + 2
    assert "Epoch 2/2" in shown()
    assert np.isfinite(net.predict(X)).all()
