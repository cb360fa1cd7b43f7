"""Programs in processes of their own, for what may crash, hang or be interrupted."""

import os
import subprocess
import sys
import textwrap

# A process that was started in the background ignores the interrupt, and so do those that it starts.
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"

# After so many seconds a program hangs. A slow machine that does other work takes minutes for what a fast one does in
# one second.
HANGING = 900


def run(code, timeout=HANGING, **environment):
    """Run a program; return its exit status, which is negative for a signal, its output and its errors."""
    result = subprocess.run(
        [sys.executable, "-c", INTERRUPTIBLE + textwrap.dedent(code)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return result.returncode, result.stdout.strip(), result.stderr


def succeeds(code, timeout=HANGING):
    """Assert that a program comes to its end without an error; return its output."""
    status, output, errors = run(code, timeout)
    assert status == 0, f"exit status {status}\n{output}\n{errors}"
    return output
