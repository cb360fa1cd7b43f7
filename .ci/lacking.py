"""A plugin of pytest for a Python that some libraries have no wheels for: tests that need one are skipped.

The variable LACKING names these libraries. Files of tests are skipped by what they import, and tests by the error that
names the library, which may come from another thread or process.
"""

import os
import sys
import threading

import pytest

LACKING = os.environ["LACKING"].split()


class Lacking:
    """The last of `sys.meta_path`: it is asked when nothing else has found a module."""

    def find_spec(self, name, path=None, target=None):
        """Skip the test, or the file of tests, that imports one of the libraries."""
        library = name.partition(".")[0]
        if library in LACKING and threading.current_thread() is threading.main_thread():
            pytest.skip(f"{library} has no wheel for this Python", allow_module_level=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Make a failure a skip if it, or what was printed before it, says that a library is missing."""
    report = yield
    said = report.longreprtext + report.caplog + report.capstdout + report.capstderr if report.failed else ""
    for library in LACKING:
        reason = f"{library} has no wheel for this Python"
        if reason in said or f"No module named '{library}'" in said:
            path, line, _ = item.location
            report.outcome, report.longrepr = "skipped", (path, line or 0, reason)
    return report


sys.meta_path.append(Lacking())
