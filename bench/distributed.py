#!/usr/bin/env python3
"""Time training on several processes, beside threads and PyTorch's DDP, and draw what more machines would do.

    python bench/distributed.py [--match TEXT] [--seconds S] [--rounds N]
    python bench/distributed.py --constants
    python bench/distributed.py --figure FILE

The first form takes turns on one machine: one process with two threads, two ranks of one thread each, the same with
eight shards, the same with messages in place of shared memory, and two processes of PyTorch's DistributedDataParallel
with gloo. A row has microseconds a step (the least of all rounds) and, for ranks, the share of the time that a rank
spends with others: in sums of others' gradients, messages and waiting. Behind it are the constants of an all-reduce.
The second form prints what a sample and the rest of a step take on one core, and the third draws the speedup that the
cost model of docs/distributed.md predicts (that needs matplotlib).
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

CASES = {"mlp": 256, "cnn": 50}  # batch sizes
SYSTEMS = {
    "1 process, 2 threads": ("ranvier", 1, 2),
    "2 ranks, 1 thread each": ("ranvier", 2, 1),
    "2 ranks, 8 shards": ("shards", 2, 1),
    "2 ranks, messages": ("messages", 2, 1),
    "PyTorch DDP, gloo": ("torch", 2, 1),
}
IMAGES = {"mlp": 12800, "cnn": 1000}


def data_of(case: str) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    images = IMAGES[case]
    x = rng.random((images, 1, 28, 28), dtype=np.float32)
    return (x.reshape(images, -1) if case == "mlp" else x), rng.integers(0, 10, images)


def timed(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def ranvier_job(case: str, kind: str, seconds: float) -> None:
    import ranvier as rv
    from ranvier.models import DATASETS

    together = None
    if kind != "ranvier" or "PMI_SIZE" in os.environ:
        together = watched(kind)
    layers = [rv.Linear(784, 128), rv.ReLU(), rv.Linear(128, 10)] if case == "mlp" else list(DATASETS["mnist"].cnn)
    net, (x, y) = rv.Network(layers, seed=0), data_of(case)
    epochs: list[tuple[float, float]] = []
    for _ in range(2 + int(seconds * 6)):
        before = 0.0 if together is None else together.seconds()
        spent = timed(lambda: net.fit(x, y, batch_size=CASES[case], progress=False, communicator=together))
        epochs.append((spent, 0.0 if together is None else together.seconds() - before))
    least, with_others = min(epochs)
    if together is None or together.rank == 0:
        print(least, with_others / least)


def watched(kind: str) -> Any:
    """Return a DataParallel that adds up the seconds in which it sends, receives and waits."""
    from ranvier import _core
    from ranvier.distributed import DataParallel

    class Watched(DataParallel):
        def __init__(self, shards: int | None) -> None:
            super().__init__(shards=shards)
            self.sent = 0.0
            self.met: list[_core.SharedRanks] = []

        def seconds(self) -> float:
            return self.sent + sum(ranks.seconds for ranks in self.met)

        def ranks(self, engine: Any) -> Any:
            if kind == "messages":
                sums = self.sums(engine)
                functions = (self.watch(function) for function in (self._gathered, sums.begin, sums.wait))
                return _core.Messages(self.rank, self.size, *functions)
            self.met.append(super().ranks(engine))
            return self.met[-1]

        def watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                begin = time.perf_counter()
                try:
                    return function(*arguments)
                finally:
                    self.sent += time.perf_counter() - begin

            return call

    return Watched(8 if kind == "shards" else None)


def torch_job(case: str, seconds: float) -> None:
    import torch
    from torch import nn

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    if case == "mlp":
        net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    else:
        net = nn.Sequential(
            *(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(1568, 100), nn.Sigmoid(), nn.Linear(100, 10)),
        )
    net = nn.parallel.DistributedDataParallel(net)
    optimizer, loss = torch.optim.Adam(net.parameters()), nn.CrossEntropyLoss()
    x, y = (torch.from_numpy(part) for part in data_of(case))
    batch = CASES[case]

    def epoch() -> None:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        for first in range(0, len(x), batch):
            own = order[first : first + batch][rank * batch // size : (rank + 1) * batch // size]
            optimizer.zero_grad()
            loss(net(x[own]), y[own]).backward()
            optimizer.step()

    least = min(timed(epoch) for _ in range(2 + int(seconds * 2)))
    if rank == 0:
        print(least, math.nan)
    torch.distributed.destroy_process_group()


def all_reduce_job() -> None:
    """Print the microseconds of an all-reduce of nothing much, and of a megabyte more."""
    import numpy as np
    from mpi4py import MPI

    def least(size: int) -> float:
        array = np.zeros(size // 4, np.float32)
        times = []
        for _ in range(200):
            MPI.COMM_WORLD.Barrier()
            times.append(timed(lambda: MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, array)))
        return float(np.median(times))

    small, large = least(64), least(1 << 20)
    if MPI.COMM_WORLD.rank == 0:
        print(f"all-reduce of 64 bytes {small * 1e6:.1f} us, of 1 MiB {large * 1e6:.0f} us")


def command(case: str, system: str, seconds: float) -> tuple[list[str], dict[str, str]]:
    kind, ranks, threads = SYSTEMS[system]
    own = [sys.executable, __file__, "--job", kind, "--match", case, "--seconds", str(seconds)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if kind == "torch":
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        return launch + own[1:], environment
    return (["mpiexec", "-n", str(ranks)] if ranks > 1 else []) + own, environment


def measure(match: str, seconds: float, rounds: int) -> None:
    for case, batch in CASES.items():
        if match not in case:
            continue
        best: dict[str, tuple[float, float]] = {}
        for _ in range(rounds):
            for system in SYSTEMS:
                line, environment = command(case, system, seconds)
                out = subprocess.run(line, env=environment, capture_output=True, text=True, check=True).stdout
                least, share = (float(number) for number in out.split()[-2:])
                best[system] = min(best.get(system, (math.inf, math.nan)), (least, share))
        steps = math.ceil(IMAGES[case] / batch)
        first = best["1 process, 2 threads"][0]
        print(f"{case}, batches of {batch}")
        for system, (least, share) in best.items():
            with_others = "" if math.isnan(share) or share == 0 else f", {share:5.1%} with others"
            print(f"  {system:24s} {least / steps * 1e6:8.0f} us a step, {least / first:5.2f}{with_others}")
    print(
        subprocess.run(
            ["mpiexec", "-n", "2", sys.executable, __file__, "--job", "all_reduce"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )


# --- the cost model ---------------------------------------------------------------------------------------------

# name: (seconds a sample on one core, bytes of gradients, samples in a batch)
NETWORKS = {
    "784-128-10, batches of 256": (4.5e-6, 4 * 101_770, 256),
    "the notes' CNN, batches of 256": (128e-6, 4 * 171_158, 256),
    "ResNet-20, batches of 1024": (2.5e-3, 4 * 273_066, 1024),
}
# name: (seconds of latency, bytes a second)
NETWORK_SPEEDS = {"10 Gbit/s, 30 us": (30e-6, 1.25e9), "200 Gbit/s, 2 us": (2e-6, 25e9)}
UPDATE = 0.4e-9  # seconds for a byte of gradients: to scale, look at and use it


def layers_of(name: str) -> tuple[list[Any], tuple[int, ...]]:
    import ranvier as rv
    from ranvier.models import DATASETS

    if name.startswith("784"):
        return [rv.Linear(784, 128), rv.ReLU(), rv.Linear(128, 10)], (784,)
    if "CNN" in name:
        return list(DATASETS["mnist"].cnn), (1, 28, 28)

    def block(inputs: int, outputs: int) -> list[Any]:
        stride = outputs // inputs
        own = [
            *(rv.Conv2d(inputs, outputs, 3, stride=stride, padding=1), rv.BatchNorm2d(outputs), rv.ReLU()),
            *(rv.Conv2d(outputs, outputs, 3, padding=1), rv.BatchNorm2d(outputs)),
        ]
        return [rv.Residual(own, [rv.Conv2d(inputs, outputs, 1, stride=stride)] if stride > 1 else []), rv.ReLU()]

    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [layer for pair in itertools.pairwise(widths) for layer in block(*pair)]
    start = [rv.Conv2d(3, 16, 3, padding=1), rv.BatchNorm2d(16), rv.ReLU()]
    return [*start, *blocks, rv.GlobalAvgPool2d(), rv.Flatten(), rv.Linear(64, 10)], (3, 32, 32)


def constants() -> None:
    """Print the seconds that a sample and the rest of a step take, from steps of two sizes."""
    import numpy as np
    import ranvier as rv

    rv.set_num_threads(1)
    for name in NETWORKS:
        layers, shape = layers_of(name)
        net, rng = rv.Network(layers, seed=0), np.random.default_rng(0)
        sizes = (8, 32) if "ResNet" in name else (64, 256)
        times = []
        for size in sizes:
            x, y = rng.random((size, *shape), dtype=np.float32), rng.integers(0, 10, size)
            run = functools.partial(net.train_step, x, y)
            times.append(min(timed(run) for _ in range(6 if "ResNet" in name else 60)))
        sample = (times[1] - times[0]) / (sizes[1] - sizes[0])
        parameters = sum(value.size for value in net.parameters().values())
        rest = times[0] - sizes[0] * sample
        print(
            f"{name}: {sample * 1e6:.1f} us a sample, {rest * 1e6:.0f} us a step, {parameters} parameters", flush=True
        )


def step_seconds(ranks: int, sample: float, gradients: int, batch: int, latency: float, bandwidth: float) -> float:
    """Return how long a step takes on so many ranks of one core: compute / ranks + messages."""
    compute = sample * math.ceil(batch / ranks) + UPDATE * gradients
    messages = 3 * math.log2(ranks) * latency + 2 * (1 - 1 / ranks) * gradients / bandwidth
    return compute + messages


def draw(path: str) -> None:
    import matplotlib.pyplot as plt

    ranks = [2**i for i in range(11)]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for axis, (speed, (latency, bandwidth)) in zip(axes, NETWORK_SPEEDS.items(), strict=True):
        for name, (sample, gradients, batch) in NETWORKS.items():
            alone = step_seconds(1, sample, gradients, batch, latency, bandwidth)
            gains = [alone / step_seconds(r, sample, gradients, batch, latency, bandwidth) for r in ranks]
            axis.plot(ranks, gains, marker="o", markersize=3, label=name)
            best = max(range(len(ranks)), key=gains.__getitem__)
            print(f"{speed}: {name}: {gains[best]:.1f} times as fast on {ranks[best]} ranks")
        axis.plot(ranks, ranks, color="0.7", linewidth=1)
        axis.set(xscale="log", yscale="log", xlabel="ranks", title=speed, ylim=(0.5, 1024))
        axis.set_xticks(ranks[::2], ranks[::2])
    axes[0].set_ylabel("speedup")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="only cases with this in their name")
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long a turn trains")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--constants", action="store_true", help="measure what the cost model has")
    parser.add_argument("--figure", metavar="FILE", help="draw the cost model")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job == "all_reduce":
        all_reduce_job()
    elif given.job == "torch":
        torch_job(given.match, given.seconds)
    elif given.job:
        ranvier_job(given.match, given.job, given.seconds)
    elif given.constants:
        constants()
    elif given.figure:
        draw(given.figure)
    else:
        measure(given.match, given.seconds, given.rounds)


if __name__ == "__main__":
    main()
