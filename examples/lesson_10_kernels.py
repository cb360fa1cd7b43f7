"""Lesson 10. Kernels alone: a convolution that finds edges, pooling, and matrix products timed against NumPy's.

No network here: arrays in, arrays out. The image is one that scikit-learn ships.
"""

import sys
import time

import numpy as np
import ranvier as rv
from matplotlib.figure import Figure
from ranvier import kernels
from sklearn.datasets import load_sample_image

# Sobel's kernels: the brightness to the right less that to the left, and below less above, for one pixel.
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32) / 8
EDGES = np.stack([SOBEL, SOBEL.T])[:, None]  # (2 output channels, 1 input channel, 3, 3)
SIZES = (16, 32, 64, 128, 256, 512, 1024)


def grey_image():
    """Return the picture as one grey image in [0, 1], shape (1, 1, height, width)."""
    colours = load_sample_image("china.jpg").astype(np.float32) / 255
    return np.ascontiguousarray(colours.mean(axis=2))[None, None]


def edges(image):
    """Return how steep the brightness is at each pixel: the length of its gradient, in brightness per pixel."""
    across, down = kernels.conv2d(image, EDGES)[0]
    return np.hypot(across, down)[None, None]


def best_time(function, a, b, out, seconds=0.3):
    """Return the seconds of the fastest call, of as many as fit in the given time."""
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        function(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return best


def time_matmul(n, seconds=0.3):
    """Return the best times of Ranvier and NumPy for a product of n x n matrices, in turns."""
    a, b = np.random.default_rng(0).standard_normal((2, n, n), dtype=np.float32)
    out = np.empty_like(a)
    times = [[best_time(f, a, b, out, seconds / 3) for f in (kernels.matmul, np.matmul)] for _ in range(3)]
    return np.min(times, axis=0)


def draw_times(rates, ratios):
    """Time both libraries; draw operations in a second, and the ratio of the times."""
    ours, theirs = np.transpose([time_matmul(n) for n in SIZES])
    print(f"matmul of n x n matrices, float32, best of many calls, {rv.num_threads()} thread(s)")
    for n, mine, other in zip(SIZES, ours, theirs, strict=True):
        print(
            f"n = {n:4}: Ranvier {1e6 * mine:8.1f} us, NumPy {1e6 * other:8.1f} us, NumPy / Ranvier {other / mine:.2f}"
        )
    flops = 2 * np.array(SIZES, float) ** 3
    rates.semilogx(SIZES, flops / ours / 1e9, "o-", color="#0072B2", label="Ranvier")
    rates.semilogx(SIZES, flops / theirs / 1e9, "s--", color="#D55E00", label="NumPy")
    rates.set(xlabel="n", ylabel="GFLOP/s", title="matmul, n x n times n x n", ylim=(0, None))
    rates.legend()
    rates.grid(alpha=0.3)
    ratios.semilogx(SIZES, theirs / ours, "o-", color="#0072B2")
    ratios.axhline(1, color="0.3", linewidth=1)
    ratios.set(xlabel="n", ylabel="time of NumPy / time of Ranvier", title="above 1 Ranvier is faster", ylim=(0, None))
    ratios.grid(alpha=0.3)
    for ax in (rates, ratios):
        ax.set_xticks(SIZES, [str(n) for n in SIZES])
        ax.minorticks_off()


def main(picture):
    image = grey_image()
    steep = edges(image)
    strongest, _ = kernels.max_pool2d(steep, 8)
    mean = kernels.avg_pool2d(image, 8)
    for name, array in (("image", image), ("edges", steep), ("max pool", strongest), ("mean pool", mean)):
        print(f"{name:9} {array.shape[2]} x {array.shape[3]} pixels, from {array.min():.2f} to {array.max():.2f}")

    figure = Figure(figsize=(11, 5.6), layout="constrained")
    panels = figure.subplots(2, 3)
    shown = (
        (image, "image (brightness)"),
        (steep, "edges (brightness per pixel)"),
        (strongest, "edges, maxima of 8 x 8"),
        (mean, "image, means of 8 x 8"),
    )
    for ax, (array, title) in zip(panels.flat, shown, strict=False):
        colours = "gray" if array is image or array is mean else "gray_r"  # edges dark on white
        ax.set(title=title, xlabel="pixel", ylabel="pixel")
        figure.colorbar(ax.imshow(array[0, 0], cmap=colours), ax=ax, shrink=0.7)

    draw_times(*panels[1, 1:])
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "lesson_10.png")
