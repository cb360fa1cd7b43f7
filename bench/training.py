#!/usr/bin/env python3
"""Time epochs of training beside PyTorch, and show where Ranvier's time goes.

    python bench/training.py [--threads N] [--match TEXT] [--samples N] [--figure FILE]

The networks are those of the lecture notes, on random samples of MNIST's shape. Both systems take turns, an epoch at
a time; a row has the median seconds of each and PyTorch's over Ranvier's. Then comes each network's profile: the
microseconds of a sample in every layer, forward and backward, and the fraction of the processor's peak. With
``--figure`` the profiles are drawn (that needs matplotlib).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranvier.profiling import Profile

# name: (batch size, whether samples are vectors)
CASES = {
    "784-30-10, batches of 10": (10, True),
    "784-100-10, batches of 128": (128, True),
    "CNN, batches of 50": (50, False),
}
ROUNDS = 5


def layers_of(name: str) -> list[Any]:
    import ranvier as rv
    from ranvier.models import DATASETS

    if name.startswith("784-30"):
        return [rv.Linear(784, 30), rv.Sigmoid(), rv.Linear(30, 10)]
    if name.startswith("784-100"):
        return [rv.Linear(784, 100), rv.ReLU(), rv.Linear(100, 10)]
    return list(DATASETS["mnist"].cnn)


def samples_of(name: str, count: int) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.random((count, 1, 28, 28), dtype=np.float32)
    return x.reshape(count, -1) if CASES[name][1] else x, rng.integers(0, 10, count)


def ranvier_epoch(name: str, count: int) -> tuple[Callable[[], object], Callable[[], Profile]]:
    import ranvier as rv

    net, (x, y), batch = rv.Network(layers_of(name), seed=0), samples_of(name, count), CASES[name][0]
    optimizer = rv.SGD(0.1) if CASES[name][1] else rv.Adam()
    return (
        lambda: net.fit(x, y, batch_size=batch, optimizer=optimizer, progress=False),
        lambda: net.profile(x, y, batch_size=batch, optimizer=optimizer),
    )


def torch_epoch(name: str, count: int, threads: int | None) -> Callable[[], object]:
    import torch

    if threads:
        torch.set_num_threads(threads)
    modules = []
    for layer in layers_of(name):
        fields = {key: value for key, value in layer.config().items() if key not in ("l1", "l2", "init", "max_norm")}
        fields = {key: value for key, value in fields.items() if value is not None}
        modules.append(getattr(torch.nn, type(layer).__name__)(**fields))
    net, batch = torch.nn.Sequential(*modules), CASES[name][0]
    x, y = map(torch.from_numpy, samples_of(name, count))
    kind = torch.optim.SGD if CASES[name][1] else torch.optim.Adam
    optimizer = kind(net.parameters(), 0.1 if CASES[name][1] else 1e-3)

    def epoch() -> None:
        order = torch.randperm(count)
        for start in range(0, count, batch):
            chosen = order[start : start + batch]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x[chosen]), y[chosen]).backward()
            optimizer.step()

    return epoch


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(name: str, count: int, threads: int | None) -> Profile:
    """Time one network, print its row and its profile."""
    ours, profiled = ranvier_epoch(name, count)
    peer = torch_epoch(name, count, threads) if importlib.util.find_spec("torch") else None
    times: dict[str, list[float]] = {"ranvier": [], "torch": []}
    for round_number in range(ROUNDS + 1):  # the first is to warm up
        for system, call in (("ranvier", ours), ("torch", peer)):
            if call and (took := seconds(call)) and round_number:
                times[system].append(took)
    mine = statistics.median(times["ranvier"])
    theirs = (
        f"{statistics.median(times['torch']):10.3f} s{statistics.median(times['torch']) / mine:8.2f}" if peer else ""
    )
    print(f"{name:28}{mine:10.3f} s{theirs}", flush=True)
    profile = profiled()
    print(profile, "", sep="\n", flush=True)
    return profile


def draw(profiles: dict[str, Profile], path: str) -> None:
    """Draw the microseconds of each layer, and those that its arithmetic would take at the peak."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, all_axes = pyplot.subplots(
        len(profiles),
        height_ratios=[len(profile.layers) + 3 for profile in profiles.values()],
        figsize=(8, 0.34 * sum(len(profile.layers) + 5 for profile in profiles.values())),
        layout="constrained",
        squeeze=False,
    )
    for axes, (name, profile) in zip(all_axes[:, 0], profiles.items(), strict=True):
        rows = [(f"{layer.path}  {layer.name}", layer.forward, layer.backward) for layer in profile.layers]
        rows += [("loss", profile.loss, 0.0), ("update", profile.update, 0.0), ("gather", profile.gather, 0.0)]
        labels = [label for label, _, _ in rows]
        forward, backward = ([1e6 * row[column] for row in rows] for column in (1, 2))
        axes.barh(labels, forward, color="#56B4E9", label="forward")
        axes.barh(labels, backward, left=forward, color="#0072B2", label="backward")
        ideal = [1e6 * (layer.flops + layer.backward_flops) / profile.peak for layer in profile.layers]
        known = [number for number, value in enumerate(ideal) if value]
        axes.plot(
            [ideal[number] for number in known], known, "|", color="#D55E00", markersize=16, markeredgewidth=2.5,
            label="its arithmetic at the processor's peak",
        )  # fmt: skip
        axes.invert_yaxis()
        axes.set_xlabel("microseconds a sample")
        axes.set_title(f"{name}: {1e6 * profile.total:.1f} us a sample", fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0, 0].legend(fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, help="of each system; default: each system's own")
    parser.add_argument("--match", default="", help="only the networks whose name contains this")
    parser.add_argument("--samples", type=int, default=10000, help="of an epoch")
    parser.add_argument("--figure", help="a file for the picture, its format by the name's ending")
    arguments = parser.parse_args()
    if arguments.threads:
        os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    print(f"{'seconds an epoch':28}{'ranvier':>12}{'torch':>12}{'ratio':>8}")
    names = [name for name in CASES if arguments.match in name]
    profiles = {name: compare(name, arguments.samples, arguments.threads) for name in names}
    if arguments.figure and profiles:
        draw(profiles, arguments.figure)


if __name__ == "__main__":
    main()
