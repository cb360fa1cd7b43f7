#!/usr/bin/env python3
"""Say which algorithm a convolution takes, what each is expected to cost, and how long each takes.

    python bench/conv2d_algorithms.py 64,128,28,28 [--kernel 3] [--stride 1] [--padding 1] [--dilation 1] [--groups 1]
                                      [--batch 8] [--threads 1]

The shape is that of one image: input channels, output channels, height, width. A line for each pass and algorithm that
applies has the cycles that the model in cpp/kernels/conv2d_cost.cpp expects for an image, and the microseconds that an
image takes; both also as multiples of the first line's. The chosen algorithm has a star, and a note if another is
faster by more than a tenth. The direct algorithm is `planes` or `channels_last`; `direct` is a depthwise convolution.
All is in float32: in float64 Winograd's algorithm is never chosen.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import ranvier
from ranvier import _core, kernels

ROUNDS = 7
SECONDS_PER_ROUND = 0.01


def seconds_of(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the least time of a call by each algorithm; they take turns."""
    least = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for algorithm, call in calls.items():
            _core._testing.set_conv2d_algorithm(algorithm)
            call()
            start, repeats = time.perf_counter(), 0
            while (elapsed := time.perf_counter() - start) < SECONDS_PER_ROUND:
                call()
                repeats += 1
            least[algorithm] = min(least[algorithm], elapsed / repeats)
    _core._testing.set_conv2d_algorithm("automatic")
    return least


def print_pass(name: str, costs: dict[str, float], seconds: dict[str, float], batch: int) -> None:
    chosen, fastest = next(iter(costs)), min(seconds, key=seconds.__getitem__)
    lines = sorted(costs, key=["direct", "planes", "channels_last", "winograd_2", "winograd_4"].index)
    for algorithm in lines:
        image = seconds[algorithm] / batch
        note = " *" if algorithm == chosen else ""
        if note and seconds[chosen] > 1.1 * seconds[fastest]:
            note += f" slower than {fastest}"
        print(
            f"{name:18}{algorithm:14}{costs[algorithm]:14.0f}{costs[algorithm] / costs[lines[0]]:7.2f}"
            f"{image * 1e6:12.1f}{image * batch / seconds[lines[0]]:7.2f}{note}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shape", help="input channels, output channels, height, width, separated by commas")
    parser.add_argument("--kernel", type=int, default=3)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--padding", type=int, help="default: half the kernel")
    parser.add_argument("--dilation", type=int, default=1)
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    ranvier.set_num_threads(arguments.threads)
    channels, out_channels, height, width = map(int, arguments.shape.split(","))
    options = {
        "stride": arguments.stride,
        "padding": arguments.kernel // 2 if arguments.padding is None else arguments.padding,
        "dilation": arguments.dilation,
        "groups": arguments.groups,
    }
    rng = np.random.default_rng(0)
    x = rng.standard_normal((arguments.batch, channels, height, width), np.float32)
    w = rng.standard_normal((out_channels, channels // arguments.groups, *[arguments.kernel] * 2), np.float32)
    grad = rng.standard_normal(kernels.conv2d(x, w, **options).shape, np.float32)
    passes = {
        "forward": partial(kernels.conv2d, x, w, **options),
        "backward_input": partial(_core._testing.conv2d_backward_input, grad, x, w, **options),
        "backward_weights": partial(_core._testing.conv2d_backward_weights, grad, x, w, **options),
    }
    info = _core.cpu_info()
    print(f"{info['model']}, {info['isa']}, {arguments.threads} threads; an image in a batch of {arguments.batch}")
    print(f"{'pass':18}{'algorithm':14}{'cycles':>14}{'':7}{'microseconds':>12}")
    for name, costs in _core._testing.conv2d_costs(x, w, **options).items():
        print_pass(name, costs, seconds_of(dict.fromkeys(costs, passes[name])), arguments.batch)


if __name__ == "__main__":
    main()
