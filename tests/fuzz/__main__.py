"""The long run: cases of all domains in turn, in child processes, whose ends are looked at."""

import argparse
import importlib
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

from . import DOMAINS

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 40  # cases of a child
LIMIT = 120  # seconds of a child without a new case


def run_here(domain, seed, count):
    """Run cases in this process, and say before each which it is."""
    limit_memory()
    case = importlib.import_module(f".{domain}", __package__).case
    for number in range(seed, seed + count):
        print(number, flush=True)
        case(number)


def limit_memory():
    """What asks for too much gets an error, as on a small machine."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))


def run_child(domain, seed, count):
    """Run cases in a child; return the number of the one that failed, or None, and how it ended."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz", domain, "--seed", str(seed)]
    command += ["--count", str(count)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
        status, output, errors = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as error:
        status, output, errors = "no end", (error.stdout or b"").decode(), (error.stderr or b"").decode()
    if status == 0:
        return None, ""
    numbers = [int(line) for line in output.split() if line.isdigit()]
    return (numbers or [seed])[-1], f"{status}: {errors.strip().splitlines()[-1:]}"


def main():
    """Run until the time is over; return the number of failures."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("domain", nargs="?", choices=DOMAINS, help="with it, --count cases in this process")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    if arguments.domain:
        run_here(arguments.domain, arguments.seed, arguments.count)
        return 0
    end, failures, cases = time.monotonic() + arguments.seconds, 0, 0
    for start in itertools.count(arguments.seed, BLOCK):
        for domain in DOMAINS:
            seed = start
            while seed < start + BLOCK and time.monotonic() < end:
                failed, how = run_child(domain, seed, start + BLOCK - seed)
                cases += (start + BLOCK if failed is None else failed + 1) - seed
                if failed is None:
                    break
                failures += 1
                print(f"FAILED ({how}), again by: python -m tests.fuzz {domain} --seed {failed}", flush=True)
                seed = failed + 1
        if time.monotonic() >= end:
            break
    print(f"{cases} cases, {failures} failures")
    return min(failures, 100)


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "agg")
    sys.exit(main())
