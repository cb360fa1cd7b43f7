"""Fixtures: each instruction set of the machine, and a way back to the usual threads; a quick garbage collector."""

import gc

import pytest
from ranvier import _core, set_num_threads


def pytest_collection_finish():
    """Keep the collector from going through thousands of tests and all imported modules each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=_core.cpu_info()["supported_isas"])
def isa(request):
    """Run the test once with each instruction set."""
    before = _core.cpu_info()["isa"]
    _core._testing.set_active_isa(request.param)
    yield request.param
    _core._testing.set_active_isa(before)


@pytest.fixture
def algorithm(request):
    """Compute convolutions by the algorithm that the test is parametrized with, indirectly."""
    _core._testing.set_conv2d_algorithm(request.param)
    yield request.param
    _core._testing.set_conv2d_algorithm("automatic")


@pytest.fixture(autouse=True)
def usual_threads():
    """Undo what a test does to the number of threads."""
    yield
    set_num_threads(0)
