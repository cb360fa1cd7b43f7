"""Bits of whole trainings: at any number of threads, in another process, and continued from a file."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ranvier as rv
from fuzz.threads import in_threads
from programs import HANGING

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.random((120, 1, 28, 28), dtype=np.float32), RNG.integers(0, 10, 120)

# name: layers, shape of samples, batch size, optimizer
CASES = {
    "plain descent": ([rv.Linear(784, 30), rv.Sigmoid(), rv.Linear(30, 10)], (784,), 10, rv.SGD(0.5)),
    "plain descent, wide": ([rv.Linear(784, 100), rv.ReLU(), rv.Linear(100, 10)], (784,), 64, rv.SGD(0.1)),
    "momentum": ([rv.Linear(784, 100), rv.ReLU(), rv.Linear(100, 10)], (784,), 50, rv.SGD(0.1, 0.9, clip_norm=1.0)),
    "convolutions in front": (
        [
            rv.Conv2d(1, 8, 5, padding=2),
            rv.ReLU(),
            rv.MaxPool2d(2),
            rv.Conv2d(8, 20, 5),
            rv.Tanh(),
            rv.AvgPool2d(2),
            rv.Flatten(),
            rv.Linear(500, 40),
            rv.Sigmoid(),
            rv.Linear(40, 10),
        ],
        (1, 28, 28),
        50,
        rv.Adam(1e-3),
    ),
    "convolution": (
        [
            rv.Conv2d(1, 8, 5, padding=2),
            rv.ReLU(),
            rv.MaxPool2d(2),
            rv.Dropout(0.3),
            rv.Residual([rv.Conv2d(8, 8, 3, padding=1), rv.BatchNorm2d(8), rv.ReLU()]),
            rv.Parallel([[rv.Conv2d(8, 4, 1)], [rv.AvgPool2d(3, 1, 1)]]),
            rv.GlobalAvgPool2d(),
            rv.LayerNorm(12),
            rv.Linear(12, 10),
        ],
        (1, 28, 28),
        50,
        rv.Adam(rv.CosineAnnealingLR(1e-3, T_max=4)),
    ),
    "sequences": ([rv.LSTM(28, 24, num_layers=2), rv.Linear(24, 10)], (28, 28), 50, rv.Adam(1e-3)),
    "images enlarged": (
        [
            rv.Conv2d(1, 4, 4, stride=4),
            rv.GroupNorm(2, 4),
            rv.ConvTranspose2d(4, 6, 2, stride=2),
            rv.Upsample(2, "bilinear"),
            rv.GlobalAvgPool2d(),
            rv.Linear(6, 10),
        ],
        (1, 28, 28),
        50,
        rv.Adam(1e-3),
    ),
}


def made(case):
    layers, shape, batch_size, optimizer = CASES[case]
    samples = IMAGES.reshape(120, *shape)
    return rv.Network(layers, seed=5), samples, dict(batch_size=batch_size, optimizer=optimizer, progress=False)


def trained(case, epochs=1):
    net, samples, options = made(case)
    net.fit(samples, LABELS, epochs=epochs, **options)
    return net.state_dict()


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value)


@pytest.mark.parametrize("case", CASES)
def test_an_epoch_has_the_same_bits_at_any_thread_count(isa, case):
    rv.set_num_threads(1)
    expected = trained(case)
    for threads in (2, 3, 7):
        rv.set_num_threads(threads)
        assert_same(trained(case), expected)


@pytest.mark.parametrize("case", CASES)
def test_training_continued_from_a_file_has_the_bits_of_one_that_never_stopped(tmp_path, case):
    expected = trained(case, epochs=4)
    net, samples, options = made(case)
    net.fit(samples, LABELS, epochs=2, **options)
    net.save(tmp_path / "half.safetensors", training_state=True)
    # In a process of its own, as after a crash.
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import ranvier as rv, test_resume
_, samples, options = test_resume.made({case!r})
net = rv.load({str(tmp_path / "half.safetensors")!r})
assert net.epochs_trained == 2
net.fit(samples, test_resume.LABELS, epochs=2, **options)
net.save({str(tmp_path / "whole.safetensors")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANGING)
    assert_same(rv.load(tmp_path / "whole.safetensors").state_dict(), expected)


def test_without_the_training_state_the_optimizer_begins_anew(tmp_path):
    net, samples, options = made("momentum")
    net.fit(samples, LABELS, epochs=2, **options)
    net.save(tmp_path / "net.safetensors")
    net.save(tmp_path / "all.safetensors", training_state=True)
    fresh, going_on = rv.load(tmp_path / "net.safetensors"), rv.load(tmp_path / "all.safetensors")
    assert_same(fresh.state_dict(), going_on.state_dict())
    for network in (fresh, going_on):
        network.fit(samples, LABELS, **options)
    assert any((fresh.state_dict()[name] != value).any() for name, value in going_on.state_dict().items())


def test_a_process_killed_while_it_saves_leaves_a_whole_file(tmp_path):
    if not hasattr(signal, "SIGKILL"):
        pytest.skip("this system cannot kill")
    path = tmp_path / "net.safetensors"
    code = f"""
import ranvier as rv
net = rv.Network([rv.Linear(1000, 1000)], seed=0)
net.save({str(path)!r})
print("saved", flush=True)
for number in range(10**6):
    net.parameters()["0.weight"][...] = number
    net.save({str(path)!r}, training_state=True)
"""
    for delay in (0.0, 0.003, 0.01, 0.017, 0.04):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(delay)
            process.kill()
        weight = rv.load(path).parameters()["0.weight"]
        assert (weight == weight[0, 0]).all() or weight.std() > 0.01  # a state that was saved: never half of two


def test_two_networks_train_in_two_threads_at_once():
    names = ("plain descent, wide", "convolution")
    expected = {case: trained(case, epochs=2) for case in names}
    results = {}

    def work(case):
        results[case] = trained(case, epochs=2)

    in_threads([functools.partial(work, case) for case in names for _ in range(2)])
    for case in names:
        assert_same(results[case], expected[case])


def test_a_forked_child_trains_serially_to_the_same_bits():
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    code = f"""
import os, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import ranvier as rv, test_resume
rv.set_num_threads(2)
expected = test_resume.trained("convolution")
child = os.fork()
if child == 0:
    test_resume.assert_same(test_resume.trained("convolution"), expected)
    os._exit(0 if rv.num_threads() == 1 else 1)
print(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGING, check=True)
    assert done.stdout.strip() == "0"


def test_workers_of_joblib_share_the_processors_out():
    joblib = pytest.importorskip("joblib")
    if not rv.cpu_info()["openmp"]:
        pytest.skip("built without OpenMP")
    code = """
import joblib, ranvier
print(joblib.Parallel(2, backend="loky")(joblib.delayed(ranvier.num_threads)() for _ in range(2)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGING, check=True)
    each = max(1, joblib.cpu_count() // 2)
    assert done.stdout.strip() == f"[{each}, {each}]"
