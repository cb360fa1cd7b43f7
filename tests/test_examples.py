"""The examples that need no download run and say what they should."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import HANGING

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(name, cwd):
    """Run an example on one thread, whose bits are those of any number, and which waits for no other."""
    result = subprocess.run(
        [sys.executable, EXAMPLES / name],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=HANGING,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_xor(tmp_path):
    assert re.findall(r"= (\d)", run("xor.py", tmp_path)) == ["0", "1", "1", "0"]


def test_notes_digits(tmp_path):
    assert int(run("notes_digits.py", tmp_path).splitlines()[-1].split(": ")[1].split(" /")[0]) > 330


def test_parameters_of_ones_own(tmp_path):
    tanh, waves = (float(error) for error in re.findall(r"error ([\d.]+)", run("parameters_of_ones_own.py", tmp_path)))
    assert waves < 0.1 < tanh


def test_fine_tuning(tmp_path):
    before, first, both, scratch = (float(line.split()[-1]) for line in run("fine_tuning.py", tmp_path).splitlines())
    assert before < 0.6
    assert scratch < min(first, both) - 0.05


def test_own_layer(tmp_path):
    assert float(run("own_layer.py", tmp_path).split()[-1]) > 0.93


def test_stream(tmp_path):
    assert float(run("stream.py", tmp_path).split()[-1]) > 0.8


def test_two_inputs(tmp_path):
    accuracy, error = (float(value) for value in re.findall(r"[\d.]+", run("two_inputs.py", tmp_path).splitlines()[-1]))
    assert accuracy > 0.93
    assert error < 1


def test_adding(tmp_path):
    guess, error = (float(value) for value in re.findall(r"error ([\d.]+)", run("adding.py", tmp_path)))
    assert error < 0.1 * guess


def test_gan(tmp_path):
    lines = run("gan.py", tmp_path).splitlines()
    drawn = [int(count) for count in lines[-2].split(": ")[1].split()]
    assert sum(count > 0 for count in drawn) >= 6
    assert float(lines[-1].split(": ")[1]) > 0.3


def test_tabular(tmp_path):
    for name in ("sklearn", "pandas", "skops"):
        pytest.importorskip(name)
    printed = run("tabular.py", tmp_path)
    accuracy, brier = (float(re.search(rf"{name}: ([\d.]+)", printed)[1]) for name in ("accuracy", "Brier score"))
    assert accuracy > 0.78
    assert brier < 0.15
    leaver, stayer = (
        float(re.search(rf"{name}.*: ([\d.]+)", printed)[1]) for name in ("a new customer", "one of five")
    )
    assert leaver > 0.9
    assert stayer < 0.2
    assert printed.endswith("as the one that was saved: True\n")


def test_reinforce_balances_the_pole(tmp_path):
    pytest.importorskip("gymnasium")
    assert float(run("reinforce_cartpole.py", tmp_path).split()[-1]) >= 475


def test_deep_q_learning_balances_the_pole(tmp_path):
    pytest.importorskip("gymnasium")
    assert float(run("dqn_cartpole.py", tmp_path).split()[-1]) >= 475
