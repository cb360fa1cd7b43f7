"""How long `import ranvier` takes, beside `import numpy`, in fresh processes taken in turns.

    python bench/import_time.py [--rounds 25]

The last row also makes a network, which loads the layers, losses and optimizers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

PROGRAMS = {
    "import numpy": "import numpy",
    "import ranvier": "import ranvier",
    "and a network": "import ranvier; ranvier.Network([ranvier.Linear(2, 2)])",
}
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def seconds_of(program: str) -> float:
    """Return what a program takes in a fresh process, without the start of the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", TIMED.format(program)]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    for program in PROGRAMS.values():  # writes the byte code
        seconds_of(program)
    turns = [{name: seconds_of(program) for name, program in PROGRAMS.items()} for _ in range(rounds)]
    for name in PROGRAMS:
        seconds = statistics.median(turn[name] for turn in turns)
        ratio = statistics.median(turn[name] / turn["import numpy"] for turn in turns)
        print(f"{name:<15} {seconds * 1e3:6.1f} ms  {ratio:5.2f} times import numpy")


if __name__ == "__main__":
    main()
