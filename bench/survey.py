#!/usr/bin/env python3
"""Look for shapes at which a kernel falls behind: random calls of all public kernels beside NumPy and PyTorch.

    python bench/survey.py [--rows N] [--seed N] [--kernels a,b] [--threads 1,2] [--isa v3] [--json FILE]
    python bench/survey.py --row JSON

Each row is a call drawn at random: kernel, shape, layout of each operand, dtype, windows, groups. Its ratio is the
fastest peer's time over Ranvier's; above 1, Ranvier is faster. Each system runs in a process of its own, and they take
turns at a block of rows, with a pause before each turn, so that no threads that still spin take another's processor. A
time is the least of several repetitions. PyTorch has no negative strides; it gets the same numbers with positive ones.
Rows below 0.8 are measured a second time in the end, and those below it twice are the cliffs. Results are compared,
too: if any differ, the exit status is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from typing import Any

import numpy as np
import survey_kernels
from survey_kernels import KERNELS, Call

SYSTEMS = ("numpy", "torch", "ranvier")
BLOCK = 16  # rows for which the systems are prepared at a time
TURNS = 2
REPETITIONS = 4  # in a turn
SECONDS_PER_REPETITION = 0.003
PAUSE = 0.1  # seconds before a turn
CLIFF = 0.8
TOLERANCE = {"float32": 2e-4, "float64": 1e-10}  # of the largest number: for mistakes, not for roundings

# What keeps the peers to the instruction set that Ranvier is told.
PEER_LIMITS = {
    "v2": {
        "ATEN_CPU_CAPABILITY": "default",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
    "v3": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "v4": {},
}


# --- rows and their operands


def draw_row(seed: int, number: int) -> dict[str, Any]:
    """Return a row of the survey, which depends on the seed and its number alone."""
    rng = np.random.default_rng([seed, number])
    weights = np.array([kernel.weight for kernel in KERNELS.values()])
    name = list(KERNELS)[rng.choice(len(KERNELS), p=weights / weights.sum())]
    shapes, options = KERNELS[name].draw(rng)
    operands: dict[str, Any] = {}
    for operand, shape in shapes.items():
        like_first = operands and rng.random() < 0.6 and len(shape) == len(next(iter(shapes.values())))
        layout = dict(next(iter(operands.values()))) if like_first else survey_kernels.draw_layout(rng, len(shape))
        operands[operand] = layout | {"shape": list(shape)}
    return {
        "kernel": name,
        "dtype": str(rng.choice(["float32", "float64"], p=[0.65, 0.35])),
        "operands": operands,
        "options": options,
    }


def place(layout: dict[str, Any], dtype: str, negative: bool = True) -> np.ndarray:
    """Return an array of zeros that lies in memory as the layout says, or with the absolute values of its strides."""
    shape = layout["shape"]
    order = layout.get("order", range(len(shape)))
    steps = layout.get("steps", [1] * len(shape))
    extents = [(size - 1) * abs(step) + 1 for size, step in zip(shape, steps, strict=True)]
    room = [extents[axis] for axis in order]
    room[-1] += layout.get("gap", 0)
    memory = np.zeros(math.prod(room) + layout.get("offset", 0) + 64, dtype)
    aligned = -memory.ctypes.data % 64 // memory.itemsize
    start = aligned + layout.get("offset", 0)
    array = memory[start : start + math.prod(room)].reshape(room).transpose(np.argsort(order))
    array = array[tuple(slice(extent) for extent in extents)]
    return array[tuple(slice(None, None, step if negative else abs(step)) for step in steps)]


def operands_of(row: dict[str, Any], negative: bool = True) -> dict[str, np.ndarray]:
    """Return a row's operands, filled with normal numbers, the same in each system."""
    rng = np.random.default_rng(0)
    arrays = {name: place(layout, row["dtype"], negative) for name, layout in row["operands"].items()}
    for name, array in arrays.items():
        if name != "out":
            array[...] = rng.standard_normal(array.shape, array.dtype)
    return arrays


def is_reproducible(row: dict[str, Any]) -> bool:
    """Tell whether all systems have the same result: masks are each system's own."""
    return "seed" not in row["options"] or row["options"].get("training") is False


# --- in a system's process

calls: list[Call | None] = []


def prepared(system: str, row: dict[str, Any]) -> Call | None:
    """Return a system's call for a row, or None if it has none."""
    kernel = KERNELS[row["kernel"]]
    if system == "ranvier":
        return survey_kernels.ranvier_call(row["kernel"], operands_of(row), row["options"])
    if system == "numpy":
        return kernel.numpy(operands_of(row), **row["options"]) if kernel.numpy else None
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in operands_of(row, negative=False).items()}
    return kernel.torch(tensors, **row["options"])


def inference_mode(system: str) -> contextlib.AbstractContextManager[Any]:
    if system != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.inference_mode()


def results(system: str, row: dict[str, Any]) -> tuple[np.ndarray, ...] | str | None:
    """Prepare a row and return what its call returns, what went wrong, or None if the system has no such call."""
    calls.append(None)
    try:
        with inference_mode(system):
            call = prepared(system, row)
            result = call() if call else None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    calls[-1] = call
    if result is None:
        return None
    return tuple(np.asarray(array).copy() for array in (result if isinstance(result, tuple) else (result,)))


def prepare(system: str, rows: list[dict[str, Any]]) -> list[tuple[np.ndarray, ...] | str | None]:
    calls.clear()
    return [results(system, row) for row in rows]


def least_time(call: Call) -> float:
    """Return the seconds of a call, in the fastest of some repetitions."""
    call()
    start = time.perf_counter()
    call()
    repeats = max(1, int(SECONDS_PER_REPETITION / (time.perf_counter() - start)))
    least = math.inf
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        least = min(least, (time.perf_counter() - start) / repeats)
    return least


def take_turn(system: str) -> list[float]:
    """Return the time of each row that was prepared, infinity where there is no call."""
    with inference_mode(system):
        return [least_time(call) if call else math.inf for call in calls]


# --- the survey


@contextlib.contextmanager
def started(threads: int) -> Iterator[dict[str, ProcessPoolExecutor]]:
    """Start each installed system in a process of its own, with that many threads."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        yield {
            system: stack.enter_context(ProcessPoolExecutor(1, mp_context=context))
            for system in SYSTEMS
            if find_spec(system)
        }


def difference(row: dict[str, Any], got: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> str:
    """Say how the results of a call differ from a peer's, or nothing."""
    for ours, theirs in zip(got, expected, strict=True):
        if ours.shape != theirs.shape:
            return f"shape {ours.shape} instead of {theirs.shape}"
        error = np.max(np.abs(ours.astype(float) - theirs), initial=0)
        allowed = TOLERANCE[row["dtype"]] * np.max(np.abs(theirs), initial=1) if theirs.dtype.kind == "f" else 0
        if not error <= allowed:
            return f"error {error:.2g}, allowed {allowed:.2g}"
    return ""


def errors_of(row: dict[str, Any], got: dict[str, Any]) -> list[str]:
    """Return what is wrong with the systems' results: an exception of Ranvier's, or a difference from a peer."""
    if isinstance(got["ranvier"], str):
        return [got["ranvier"]]
    peers = {system: result for system, result in got.items() if system != "ranvier" and isinstance(result, tuple)}
    found = {peer: difference(row, got["ranvier"], result) for peer, result in peers.items() if is_reproducible(row)}
    return [f"{text} of {peer}'s" for peer, text in found.items() if text]


def measure_block(rows: list[dict[str, Any]], processes: dict[str, ProcessPoolExecutor]) -> list[dict[str, Any]]:
    """Return the rows with the systems' times, the ratio, and what went wrong."""
    futures = {system: process.submit(prepare, system, rows) for system, process in processes.items()}
    got = {system: future.result() for system, future in futures.items()}
    times = {system: [math.inf] * len(rows) for system in processes}
    for _ in range(TURNS):
        for system, process in processes.items():
            time.sleep(PAUSE)
            times[system] = list(map(min, times[system], process.submit(take_turn, system).result()))
    measured = []
    for i, row in enumerate(rows):
        seconds = {system: values[i] for system, values in times.items() if values[i] < math.inf}
        of_row = {system: results[i] for system, results in got.items()}
        peers = [value for system, value in seconds.items() if system != "ranvier"]
        measured.append(
            row
            | {
                "seconds": seconds,
                "ratio": min(peers) / seconds["ranvier"] if peers and "ranvier" in seconds else math.nan,
                "errors": errors_of(row, of_row),
                "refusals": {system: text for system, text in of_row.items() if isinstance(text, str)},
            }
        )
    return measured


def measure(rows: list[dict[str, Any]], processes: dict[str, ProcessPoolExecutor]) -> list[dict[str, Any]]:
    blocks = [rows[first : first + BLOCK] for first in range(0, len(rows), BLOCK)]
    return [row for block in blocks for row in measure_block(block, processes)]


def survey(rows: list[dict[str, Any]], threads: int) -> list[dict[str, Any]]:
    """Measure the rows, and again those that seem to be cliffs."""
    with started(threads) as processes:
        measured = [row | {"threads": threads} for row in measure(rows, processes)]
        slow = [i for i, row in enumerate(measured) if row["ratio"] < CLIFF]
        for i, row in zip(slow, measure([rows[i] for i in slow], processes), strict=True):
            measured[i]["again"] = row["ratio"]
    return measured


# --- the report


def repetition(row: dict[str, Any], isa: str | None) -> str:
    """Return the command that measures a row again."""
    plain = {key: row[key] for key in ("kernel", "dtype", "operands", "options")}
    limit = f" --isa {isa}" if isa else ""
    return f"python bench/survey.py --threads {row['threads']}{limit} --row {shlex.quote(json.dumps(plain))}"


def is_cliff(row: dict[str, Any]) -> bool:
    return max(row["ratio"], row.get("again", math.inf)) < CLIFF


def summary(rows: list[dict[str, Any]]) -> str:
    """Return the columns for a kernel at a number of threads: geometric mean, share below 1, cliffs."""
    ratios = [row["ratio"] for row in rows if not math.isnan(row["ratio"])]
    if not ratios:
        return " | | |"
    below = sum(ratio < 1 for ratio in ratios) / len(ratios)
    return f" {statistics.geometric_mean(ratios):5.2f} | {below:7.0%} | {sum(map(is_cliff, rows)):6} |"


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print a table with a line for each kernel, in Markdown."""
    threads = sorted({row["threads"] for row in rows})
    print(
        f"| {'kernel':20} | rows |"
        + "".join(f" mean, {count} thread{'s'[: count - 1]} | below 1 | cliffs |" for count in threads)
    )
    print("|---|--:|" + "--:|--:|--:|" * len(threads))
    for name in [*KERNELS, "all"]:
        group = [row for row in rows if name in (row["kernel"], "all")]
        if group:
            columns = (summary([row for row in group if row["threads"] == count]) for count in threads)
            print(f"| {name:20} | {len(group) // len(threads):4} |" + "".join(columns))


def print_row(row: dict[str, Any], isa: str | None) -> None:
    times = ", ".join(f"{system} {seconds * 1e6:.2f} us" for system, seconds in row["seconds"].items())
    ratios = " and ".join(f"{row[key]:.2f}" for key in ("ratio", "again") if key in row)
    print(f"{row['kernel']} {row['dtype']}, {row['threads']} threads: {ratios} ({times})\n  {repetition(row, isa)}")


def report(rows: list[dict[str, Any]], isa: str | None, worst: int) -> bool:
    """Print everything; tell whether all results were right."""
    print_table(rows)
    cliffs = sorted(filter(is_cliff, rows), key=lambda row: max(row["ratio"], row["again"]))
    for row in cliffs[:worst]:
        print_row(row, isa)
    for row in rows:
        for peer, text in row["refusals"].items():
            if peer != "ranvier":
                print(f"not compared with {peer}, which says {text[:200]}\n  {repetition(row, isa)}")
    wrong = [row for row in rows if row["errors"]]
    for row in wrong:
        print(f"ERROR: {row['kernel']}: {'; '.join(row['errors'])}\n  {repetition(row, isa)}")
    return not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kernels", help="only those of the rows that are of these kernels, separated by commas")
    parser.add_argument("--threads", default="1,2", help="of each system, separated by commas")
    parser.add_argument("--isa", choices=PEER_LIMITS, help="the instruction set of all systems, as in RANVIER_ISA")
    parser.add_argument("--worst", type=int, default=20, help="how many cliffs to print")
    parser.add_argument("--row", type=json.loads, help="measure this row alone")
    parser.add_argument("--json", help="a file for all rows")
    arguments = parser.parse_args()
    if not find_spec("ranvier"):
        parser.error("ranvier is not installed: pip install .")
    names = arguments.kernels.split(",") if arguments.kernels else list(KERNELS)
    if unknown := set(names) - set(KERNELS):
        parser.error(f"no such kernel: {', '.join(unknown)}")
    if arguments.isa:
        os.environ.update(PEER_LIMITS[arguments.isa], RANVIER_ISA=arguments.isa)
    rows = [arguments.row] if arguments.row else [draw_row(arguments.seed, i) for i in range(arguments.rows)]
    rows = [row for row in rows if row["kernel"] in names]
    measured = [row for threads in map(int, arguments.threads.split(",")) for row in survey(rows, threads)]
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(measured, file)
    if arguments.row:
        for row in measured:
            print_row(row, arguments.isa)
    return 0 if report(measured, arguments.isa, arguments.worst) else 1


if __name__ == "__main__":
    sys.exit(main())
