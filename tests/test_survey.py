"""The survey of the kernels (bench/survey.py): its rows, and that they can be called; nothing is timed."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from ranvier import kernels

BENCH = Path(__file__).resolve().parents[1] / "bench"
ROWS = 400


@pytest.fixture(scope="module")
def survey():
    sys.path.insert(0, str(BENCH))
    yield importlib.import_module("survey")
    sys.path.remove(str(BENCH))


def test_every_public_kernel_is_in_the_survey(survey):
    assert set(survey.KERNELS) == set(kernels.__all__)


def test_rows_depend_on_the_seed_and_their_number_alone(survey):
    rows = [survey.draw_row(3, number) for number in range(ROWS)]
    assert rows == [survey.draw_row(3, number) for number in reversed(range(ROWS))][::-1]
    assert rows != [survey.draw_row(4, number) for number in range(ROWS)]


def test_rows_survive_json(survey):
    for number in range(ROWS):
        row = survey.draw_row(0, number)
        assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize(
    ("layout", "strides"),
    [
        ({}, (12, 4)),
        ({"order": [1, 0]}, (4, 8)),
        ({"steps": [1, 2]}, (20, 8)),
        ({"steps": [-2, 1]}, (-24, 4)),
        ({"gap": 2}, (20, 4)),
        ({"offset": 3}, (12, 4)),
    ],
)
def test_arrays_lie_as_their_layout_says(survey, layout, strides):
    array = survey.place(layout | {"shape": [2, 3]}, "float32")
    assert array.shape == (2, 3)
    assert array.strides == strides
    lowest = array.ctypes.data + sum(min(0, stride * (size - 1)) for stride, size in zip(strides, (2, 3), strict=True))
    assert lowest % 64 == 4 * layout.get("offset", 0)
    positive = survey.place(layout | {"shape": [2, 3]}, "float32", negative=False)
    assert positive.strides == tuple(map(abs, strides))


def test_systems_agree_on_small_rows(survey):
    pytest.importorskip("torch")
    rows = [survey.draw_row(1, number) for number in range(ROWS)]
    small = [row for row in rows if sum(math.prod(o["shape"]) for o in row["operands"].values()) < 2000]
    assert {row["kernel"] for row in small} > {"matmul", "conv2d", "max_pool2d", "gelu"}
    for row in small:
        got = {system: survey.results(system, row) for system in survey.SYSTEMS}
        assert not [result for result in got.values() if isinstance(result, str)], row
        assert survey.errors_of(row, got) == [], row


def test_a_wrong_result_is_an_error(survey):
    row = next(row for row in map(survey.draw_row, [0] * ROWS, range(ROWS)) if row["kernel"] == "relu")
    right = np.ones(3, np.float32)
    assert survey.errors_of(row, {"ranvier": (right,), "torch": (right,)}) == []
    assert survey.errors_of(row, {"ranvier": (right + 1,), "torch": (right,)})
    assert survey.errors_of(row, {"ranvier": (right * np.nan,), "torch": (right,)})
    assert survey.errors_of(row, {"ranvier": "ValueError: x", "torch": (right,)})
