"""A plugin of pytest for a Python that some libraries have no wheels for: tests that need one are skipped.

The variable LACKING names these libraries. A test, or a file of tests, is skipped if its failure, or what was printed
before it, says that one is missing: the error may come from another thread or process.
"""

import os

import pytest

LACKING = os.environ["LACKING"].split()
# The last is what Ranvier says of a library that is no requirement of its own.
MISSING = [*(f"No module named '{library}'" for library in LACKING), "pip install 'ranvier["]


def _skipped(report, place):
    """Return the report of a failure, made a skip if a library is missing."""
    said = report.longreprtext + report.caplog + report.capstdout + report.capstderr if report.failed else ""
    if any(words in said for words in MISSING):
        report.outcome = "skipped"
        report.longrepr = (*place, f"needs a library without wheels for this Python: {', '.join(LACKING)}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """Look at a file of tests."""
    return _skipped((yield), (str(collector.path), 0))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Look at a test."""
    path, line, _ = item.location
    return _skipped((yield), (path, line or 0))
