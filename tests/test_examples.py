"""The examples that need no download run and say what they should."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ranvier as rv
from ranvier.plot import learning_curves

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(name, cwd):
    result = subprocess.run(
        [sys.executable, EXAMPLES / name], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_xor(tmp_path):
    assert re.findall(r"= (\d)", run("xor.py", tmp_path)) == ["0", "1", "1", "0"]


def test_notes_digits(tmp_path):
    assert int(run("notes_digits.py", tmp_path).splitlines()[-1].split(": ")[1].split(" /")[0]) > 330


def test_own_layer(tmp_path):
    assert float(run("own_layer.py", tmp_path).split()[-1]) > 0.93


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_learning_curves(tmp_path, suffix):
    history = rv.History([3.0, 2.0], [0.1, 0.2], [3.5], [0.15], [1.0, 1.0])
    learning_curves(history, tmp_path / f"curves{suffix}", "title")
    assert (tmp_path / f"curves{suffix}").stat().st_size > 1000
    assert np.isfinite(history.loss).all()
