"""Some of the random cases of tests/fuzz: the same ones each time. `python -m tests.fuzz` runs more."""

import importlib

import pytest

CASES = {"kernels": 1500, "networks": 150, "files": 1500, "commands": 48}
PARTS = 6


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("domain", CASES)
@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
def test_random_cases(domain, part):
    case = importlib.import_module(f"fuzz.{domain}").case
    for seed in range(part, CASES[domain], PARTS):
        try:
            case(seed)
        except BaseException as error:
            raise AssertionError(f"python -m tests.fuzz {domain} --seed {seed}") from error
