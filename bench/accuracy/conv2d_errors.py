#!/usr/bin/env python3
"""Print the errors of each convolution algorithm in float32: the largest error over the largest value.

    python bench/accuracy/conv2d_errors.py

Images and weights are standard normal; the reference is the direct algorithm in float64.
"""

from __future__ import annotations

import numpy as np
from ranvier import _core, kernels

# Batch, channels in and out, side, kernel.
SHAPES = [(4, 64, 64, 56, 3), (4, 128, 128, 28, 3), (4, 512, 512, 7, 3), (50, 16, 32, 14, 5), (8, 64, 64, 28, 5)]


def errors(algorithm: str, shape: tuple[int, ...]) -> list[float]:
    """Return the errors of the output and of the gradients to input and weights."""
    batch, channels, out_channels, side, kernel = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, channels, side, side), np.float32)
    w = rng.standard_normal((out_channels, channels, kernel, kernel), np.float32)
    grad = rng.standard_normal((batch, out_channels, side, side), np.float32)

    def passes(*arrays: np.ndarray) -> list[np.ndarray]:
        x, w, grad = arrays
        padding = kernel // 2
        return [kernels.conv2d(x, w, padding=padding), *kernels.conv2d_backward(grad, x, w, padding=padding)[:2]]

    _core._testing.set_conv2d_algorithm("direct")
    exact = passes(*(array.astype(np.float64) for array in (x, w, grad)))
    _core._testing.set_conv2d_algorithm(algorithm)
    got = passes(x, w, grad)
    _core._testing.set_conv2d_algorithm("automatic")
    return [float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in zip(got, exact, strict=True)]


def main() -> None:
    print("| shape | algorithm | output | to the input | to the weights |\n|---|---|---|---|---|")
    for shape in SHAPES:
        batch, channels, out_channels, side, kernel = shape
        for algorithm in ("direct", "winograd_2", "winograd_4"):
            if algorithm == "winograd_2" and kernel == 5:
                continue
            figures = " | ".join(f"{error:.1e}" for error in errors(algorithm, shape))
            print(
                f"| {batch} images, {channels} to {out_channels}, {side} x {side}, {kernel} x {kernel} "
                f"| {algorithm} | {figures} |"
            )


if __name__ == "__main__":
    main()
