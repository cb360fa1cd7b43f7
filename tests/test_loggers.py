"""Logs: what the files say is the history, also of a training that is interrupted and goes on."""

import csv
import gc
import json
import math
import sys

import numpy as np
import pytest
import ranvier as rv

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, 3)), RNG.integers(0, 2, 40)
OPTIONS = {"optimizer": rv.Adam(rv.StepLR(0.1, 2, 0.5)), "progress": False, "batch_size": 20}


def network():
    return rv.Network([rv.Linear(3, 4), rv.Tanh(), rv.Linear(4, 2)], seed=0)


def read_csv(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def read_json(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {name: [math.nan if row[name] is None else row[name] for row in rows] for name in rows[0]}


def read_tensorboard(path):
    """Return what TensorBoard itself reads."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(path), purge_orphaned_data=True)
    events.Reload()
    scalars = {name: events.Scalars(name) for name in events.Tags()["scalars"]}
    return {"epoch": [scalar.step for scalar in scalars["loss"]]} | {
        name: [scalar.value for scalar in values] for name, values in scalars.items()
    }


KINDS = {
    "csv": (rv.CSVLogger, read_csv),
    "json": (rv.JSONLogger, read_json),
    "tensorboard": (rv.TensorBoardLogger, read_tensorboard),
}
kinds = pytest.mark.parametrize("kind", KINDS)
files = pytest.mark.parametrize("kind", ["csv", "json"])


def assert_has(log, history):
    """Assert that a log is a history; TensorBoard's numbers are float32."""
    expected = {name: values for name, values in history.as_dict().items() if values}
    assert log.keys() == {"epoch", *expected}
    assert log["epoch"] == list(range(1, len(history) + 1))
    for name, values in expected.items():
        np.testing.assert_allclose(log[name], values, rtol=1e-6)


@kinds
def test_a_log_is_the_history_after_each_epoch(kind, tmp_path):
    logger, read = KINDS[kind]
    log = logger(tmp_path / "log")
    seen = []

    def look(network, epoch, history):
        assert_has(read(tmp_path / "log"), history)
        seen.append(epoch)

    options = {**OPTIONS, "validation_data": (X, Y), "metrics": ["f1"]}
    history = network().fit(X, Y, epochs=5, callbacks=[log, look], **options)
    assert seen == [1, 2, 3, 4, 5]
    assert {"lr", "loss", "accuracy", "val_loss", "val_accuracy", "f1", "val_f1"} <= read(tmp_path / "log").keys()
    assert len(set(history.lr)) > 1


@kinds
def test_a_training_that_goes_on_continues_the_log(kind, tmp_path):
    logger, read = KINDS[kind]
    net = network()
    net.fit(X, Y, epochs=2, callbacks=[logger(tmp_path / "log")], **OPTIONS)
    net.save(tmp_path / "net", training_state=True)
    net.fit(X, Y, epochs=3, callbacks=[logger(tmp_path / "log")], **OPTIONS)
    assert_has(read(tmp_path / "log"), net.history)
    again = rv.load(tmp_path / "net")  # epochs 3 to 5 have never been
    log = logger(tmp_path / "log")
    again.fit(X, Y, epochs=1, callbacks=[log], **{**OPTIONS, "shuffle": False})
    again.fit(X, Y, epochs=1, callbacks=[log], **{**OPTIONS, "shuffle": False})
    assert_has(read(tmp_path / "log"), again.history)


@kinds
def test_an_interruption_and_an_error_leave_the_epochs_before_it(kind, tmp_path):
    logger, read = KINDS[kind]
    net, log = network(), logger(tmp_path / "log")
    for error in (KeyboardInterrupt, ZeroDivisionError):

        def fail(network, epoch, history, error=error):
            if epoch == 2:
                raise error

        with pytest.raises(error):
            net.fit(X, Y, epochs=5, callbacks=[log, fail], **OPTIONS)
        assert_has(read(tmp_path / "log"), net.history)
    net.fit(X, Y, callbacks=[log], **OPTIONS)
    assert len(net.history) == 5
    assert_has(read(tmp_path / "log"), net.history)


@kinds
def test_a_logger_that_goes_after_an_error_leaves_no_file_open(kind, tmp_path):
    def fail(network, epoch, history):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        network().fit(X, Y, callbacks=[KINDS[kind][0](tmp_path / "log"), fail], **OPTIONS)
    gc.collect()  # what is not closed yet is a warning, and so an error


@files
def test_a_new_network_begins_the_file_anew_and_a_training_that_cannot_begin_leaves_it(kind, tmp_path):
    logger, read = KINDS[kind]
    (tmp_path / "log").write_text("something else\n")
    log = logger(tmp_path / "log")
    with pytest.raises(ValueError, match="monitor"):
        network().fit(X, Y, callbacks=[log, rv.EarlyStopping("val_loss")], **OPTIONS)
    assert (tmp_path / "log").read_text() == "something else\n"
    for epochs in (3, 2):
        history = network().fit(X, Y, epochs=epochs, callbacks=[log], **OPTIONS)
        assert_has(read(tmp_path / "log"), history)


@files
def test_quantities_that_only_some_epochs_have(kind, tmp_path):
    logger, read = KINDS[kind]
    net, log = network(), logger(tmp_path / "log")
    net.fit(X, Y, epochs=2, callbacks=[log], **OPTIONS)
    net.fit(X, Y, epochs=2, callbacks=[log], validation_data=(X, Y), **OPTIONS)
    net.fit(X, Y, epochs=2, callbacks=[log], **OPTIONS)
    assert_has(read(tmp_path / "log"), net.history)
    assert np.isnan(read(tmp_path / "log")["val_loss"]).tolist() == [True, True, False, False, True, True]


def test_json_has_no_numbers_that_json_does_not_know(tmp_path):
    def score(y_true, y_pred):
        return math.inf

    network().fit(X, Y, metrics=[score], callbacks=[rv.JSONLogger(tmp_path / "log")], **OPTIONS)
    line = json.loads((tmp_path / "log").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert line["score"] is None


@pytest.mark.parametrize("path", [3, None, b"log"])
@kinds
def test_paths_are_checked(kind, path):
    with pytest.raises(TypeError, match=r"^path: expected a path"):
        KINDS[kind][0](path)


@kinds
def test_a_place_that_cannot_be_written_is_told_before_the_training(kind, tmp_path):
    (tmp_path / "file").touch()
    net = network()
    with pytest.raises(OSError, match="file"):
        net.fit(X, Y, callbacks=[KINDS[kind][0](tmp_path / "file" / "log")], **OPTIONS)
    assert net.history is None


def test_without_tensorboardx_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'ranvier\[tensorboard\]'"):
        rv.TensorBoardLogger(tmp_path)
