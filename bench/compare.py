#!/usr/bin/env python3
"""Time Ranvier beside NumPy and PyTorch on the same arrays.

    python bench/compare.py [--threads N] [--match TEXT] [--rounds N] [--figure FILE]

Each system runs in a process of its own, so that no two thread pools spin against each other, and the
processes take turns, round by round. A row has each system's median in milliseconds and, last, the fastest
peer's time over Ranvier's: above 1, Ranvier is faster. A system that is not installed is left out, and so is
one that has no such call. With ``--figure`` the ratios are drawn (that needs matplotlib).
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

SECONDS_PER_ROUND = 0.03

# name: (kind, sizes). The sizes of matmul are (m, k, n); of conv2d (batch, in channels, side, out channels, kernel,
# padding); of a pooling (batch, channels, side, kernel, stride); of an activation its shape; of train (hidden units,
# batch size) of a 784-hidden-10 net.
CASES: dict[str, tuple[str, tuple[int, ...]]] = {
    "matmul 64": ("matmul", (64, 64, 64)),
    "matmul 512": ("matmul", (512, 512, 512)),
    "matmul 1536": ("matmul", (1536, 1536, 1536)),
    "matmul 10x784x30": ("matmul", (10, 784, 30)),
    "matmul 128x784x100": ("matmul", (128, 784, 100)),
    "conv2d 50x1x28 16@5": ("conv2d", (50, 1, 28, 16, 5, 2)),
    "conv2d 50x16x14 32@5": ("conv2d", (50, 16, 14, 32, 5, 2)),
    "conv2d 8x64x56 64@3": ("conv2d", (8, 64, 56, 64, 3, 1)),
    "relu 1 M": ("relu", (1000, 1000)),
    "sigmoid 1 M": ("sigmoid", (1000, 1000)),
    "softmax 128x10": ("softmax", (128, 10)),
    "softmax 1000x1000": ("softmax", (1000, 1000)),
    "tanh 1 M": ("tanh", (1000, 1000)),
    "max_pool2d 50x16x28 2/2": ("max_pool2d", (50, 16, 28, 2, 2)),
    "max_pool2d 8x64x112 3/2": ("max_pool2d", (8, 64, 112, 3, 2)),
    "avg_pool2d 8x64x112 3/2": ("avg_pool2d", (8, 64, 112, 3, 2)),
    "train 784-100-10, epoch": ("train", (100, 128)),
}


def arrays(kind: str, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """Return the float32 operands of a case, the output last where the call takes one."""
    rng = np.random.default_rng(1)

    def new(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    if kind == "matmul":
        m, k, n = sizes
        return [new(m, k), new(k, n), np.empty((m, n), np.float32)]
    if kind == "conv2d":
        batch, channels, side, out_channels, kernel, _ = sizes
        return [
            new(batch, channels, side, side),
            new(out_channels, channels, kernel, kernel),
            new(out_channels),
        ]
    if kind == "train":
        return [new(12_800, 784), rng.integers(0, 10, 12_800)]
    if kind.endswith("pool2d"):
        batch, channels, side, _, _ = sizes
        return [new(batch, channels, side, side)]
    return [new(*sizes), np.empty(sizes, np.float32)]


def numpy_call(kind: str, sizes: tuple[int, ...]) -> Callable[[], Any] | None:
    if kind == "matmul":
        a, b, out = arrays(kind, sizes)
        return lambda: np.matmul(a, b, out=out)
    if kind == "relu":
        x, out = arrays(kind, sizes)
        return lambda: np.maximum(x, 0, out=out)
    return None


def torch_call(kind: str, sizes: tuple[int, ...]) -> Callable[[], Any]:
    import torch

    operands = [torch.from_numpy(array) for array in arrays(kind, sizes)]
    if kind == "train":
        return torch_epoch(*operands, *sizes)
    torch.set_grad_enabled(False)
    if kind == "conv2d":
        return lambda: torch.nn.functional.conv2d(*operands, padding=sizes[-1])
    if kind == "max_pool2d":
        return lambda: torch.nn.functional.max_pool2d(*operands, *sizes[-2:], return_indices=True)
    if kind == "avg_pool2d":
        return lambda: torch.nn.functional.avg_pool2d(*operands, *sizes[-2:])
    *inputs, out = operands
    if kind == "relu":
        return lambda: torch.clamp_min(*inputs, 0, out=out)
    if kind == "softmax":
        return lambda: torch.softmax(*inputs, -1, out=out)
    function = getattr(torch, kind)
    return lambda: function(*inputs, out=out)


def torch_epoch(x: Any, labels: Any, hidden: int, batch_size: int) -> Callable[[], Any]:
    import torch

    torch.set_grad_enabled(True)
    net = torch.nn.Sequential(torch.nn.Linear(784, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)

    def epoch() -> None:
        for batch in torch.randperm(len(x)).split(batch_size):
            loss = torch.nn.functional.cross_entropy(net(x[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def ranvier_call(kind: str, sizes: tuple[int, ...]) -> Callable[[], Any]:
    import ranvier as rv
    from ranvier import kernels

    if kind == "train":
        x, labels = arrays(kind, sizes)
        hidden, batch_size = sizes
        net = rv.Network([rv.Linear(784, hidden), rv.ReLU(), rv.Linear(hidden, 10)], seed=0)
        settings = {"loss": rv.CrossEntropyLoss(), "optimizer": rv.SGD(0.1), "progress": False}
        return lambda: net.fit(x, labels, epochs=1, batch_size=batch_size, **settings)
    if kind == "conv2d":
        x, w, b = arrays(kind, sizes)
        return lambda: kernels.conv2d(x, w, b, padding=sizes[-1])
    if kind.endswith("pool2d"):
        (x,) = arrays(kind, sizes)
        pool, (kernel, stride) = getattr(kernels, kind), sizes[-2:]
        return lambda: pool(x, kernel, stride=stride)
    *inputs, out = arrays(kind, sizes)
    function = getattr(kernels, kind)
    return lambda: function(*inputs, out=out)


SYSTEMS = {"numpy": numpy_call, "torch": torch_call, "ranvier": ranvier_call}
prepared: tuple[Callable[[], Any], int] | None = None  # in a system's process: its call, and calls a round


def prepare(system: str, name: str) -> bool:
    """Make the call of a case ready and find how often to repeat it; False if the system has none."""
    global prepared
    call = SYSTEMS[system](*CASES[name])
    prepared = None
    if call is not None:
        call()
        start = time.perf_counter()
        call()
        prepared = call, max(1, int(SECONDS_PER_ROUND / (time.perf_counter() - start)))
    return prepared is not None


def time_round() -> float:
    """Return the seconds of one call, averaged over a round."""
    assert prepared is not None
    call, repeats = prepared
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def compare(name: str, rounds: int, processes: dict[str, ProcessPoolExecutor]) -> float:
    """Time one case, print its row, and return the fastest peer's time over Ranvier's, NaN without one."""
    taking_part = {
        system: process for system, process in processes.items() if process.submit(prepare, system, name).result()
    }
    times: dict[str, list[float]] = {system: [] for system in taking_part}
    for _ in range(rounds):
        for system, process in taking_part.items():
            times[system].append(process.submit(time_round).result())
    medians = {system: statistics.median(values) for system, values in times.items()}
    ours = medians["ranvier"]
    ratio = min((value for system, value in medians.items() if system != "ranvier"), default=math.nan) / ours
    columns = "".join(f"{medians[s] * 1e3:12.4f}" if s in medians else f"{'-':>12}" for s in processes)
    print(f"{name:26}{columns}{ratio:9.2f}", flush=True)
    return ratio


def draw(ratios: dict[str, float], path: str, threads: int | None) -> None:
    """Draw how many times faster than its fastest peer Ranvier is in each case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    known = {name: ratio for name, ratio in ratios.items() if not math.isnan(ratio)}
    figure, axes = pyplot.subplots(figsize=(7.5, 0.32 * len(known) + 1.2), layout="constrained")
    bars = axes.barh(list(known), list(known.values()), color="#0072B2")
    axes.bar_label(bars, fmt=" %.2f", fontsize=9, backgroundcolor="white")
    axes.axvline(1, color="#D55E00", linewidth=1.5, zorder=0)
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.5, 2 * max(known.values()))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.invert_yaxis()
    axes.set_xlabel("the fastest peer's time over Ranvier's (above 1 Ranvier is faster; logarithmic)")
    axes.set_title(f"float32, {threads or 'default'} threads", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, help="of each system; default: each system's own")
    parser.add_argument("--match", default="", help="only the cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--figure", help="a file for the picture, its format by the name's ending")
    arguments = parser.parse_args()
    if arguments.threads:
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[variable] = str(arguments.threads)
    context = multiprocessing.get_context("spawn")
    systems = [system for system in SYSTEMS if importlib.util.find_spec(system)]
    if "ranvier" not in systems:
        parser.error("ranvier is not installed: pip install .")
    processes = {system: ProcessPoolExecutor(1, mp_context=context) for system in systems}
    print(f"{'ms':26}" + "".join(f"{system:>12}" for system in systems) + f"{'ratio':>9}")
    ratios = {name: compare(name, arguments.rounds, processes) for name in CASES if arguments.match in name}
    known = [ratio for ratio in ratios.values() if not math.isnan(ratio)]
    if known:
        print(f"geometric mean of the ratios {statistics.geometric_mean(known):.2f}, least {min(known):.2f}")
    for process in processes.values():
        process.shutdown()
    if arguments.figure and known:
        draw(ratios, arguments.figure, arguments.threads)


if __name__ == "__main__":
    main()
