"""Fixtures that the kernels' tests share."""

from collections.abc import Iterator

import numpy as np
import pytest
import ranvier
from ranvier import _core


@pytest.fixture(params=ranvier.cpu_info()["supported_isas"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once on each instruction set that this machine has."""
    before = ranvier.cpu_info()["isa"]
    _core._testing.set_active_isa(request.param)
    yield request.param
    _core._testing.set_active_isa(before)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> type[np.floating]:
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture
def threads() -> Iterator[None]:
    """Restores the default number of threads after the test."""
    yield
    ranvier.set_num_threads(0)
