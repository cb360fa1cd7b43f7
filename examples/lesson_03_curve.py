"""Lesson 3, any function: how well one hidden layer approximates a curve, by its number of units.

The networks have sigmoid hidden units and a linear output. Each size is trained from several starts; the error is the
root mean square on a fine grid, its median over the starts. Run it as ``python lesson_03_curve.py [picture.png]``.
"""

import sys

import numpy as np
import ranvier as rv
from matplotlib.figure import Figure
from ranvier.plot.common import COLORS, line_style

UNITS = (1, 2, 5, 10, 20, 50, 100)
DRAWN = (2, 5, 20)
GRID = np.linspace(-np.pi, np.pi, 400)[:, None]


def wave(x):
    """Return the curve that is to be learned."""
    return np.sin(2 * x) + 0.5 * np.sin(5 * x)


def fit_curve(units, seed=0, epochs=1000):
    """Return a network of so many hidden units, trained on 500 points of the curve."""
    x, y = rv.datasets.curve(500, wave, noise=0, seed=0)
    net = rv.Network([rv.Linear(1, units), rv.Sigmoid(), rv.Linear(units, 1)], seed=seed)
    optimizer = rv.Adam(rv.CosineAnnealingLR(0.1, epochs))
    net.fit(x, y, epochs=epochs, batch_size=25, loss=rv.MSELoss(), optimizer=optimizer, progress=False)
    return net


def rms_error(net):
    """Return the root mean square of the difference from the curve."""
    return float(np.sqrt(np.mean((net.predict(GRID) - wave(GRID)) ** 2)))


def typical(nets):
    """Return the network with the median error."""
    return sorted(nets, key=rms_error)[len(nets) // 2]


def draw(nets):
    """Return a picture of three fits, and of all errors over the number of units."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(GRID, wave(GRID), color="0.75", linewidth=5, label="the curve")
    for number, units in enumerate(DRAWN):
        style = line_style(number) | {"linestyle": (":", "--", "-")[number]}
        left.plot(GRID, typical(nets[units]).predict(GRID), label=f"{units} units", **style)
    left.set(xlabel="x", ylabel="y", ylim=(-1.7, 2.9))
    left.legend(ncols=2, loc="upper center")
    for units, starts in nets.items():
        right.plot([units] * len(starts), [rms_error(net) for net in starts], ".", color=COLORS[0], alpha=0.5)
    medians = [rms_error(typical(starts)) for starts in nets.values()]
    right.plot(list(nets), medians, "o-", color=COLORS[1], label="median of the starts")
    right.plot([], [], ".", color=COLORS[0], alpha=0.5, label="one start")
    right.set(xscale="log", yscale="log", xlabel="hidden units", ylabel="root mean square error")
    right.set_xticks(list(nets), [str(units) for units in nets])
    right.minorticks_off()
    right.grid(alpha=0.3)
    right.legend()
    return figure


def main(picture, starts=5):
    """Print the error of each size, and write the picture."""
    nets = {units: [fit_curve(units, seed) for seed in range(starts)] for units in UNITS}
    for units, trained in nets.items():
        errors = sorted(map(rms_error, trained))
        print(f"hidden units {units:3}: error {errors[starts // 2]:.4f} (from {errors[0]:.4f} to {errors[-1]:.4f})")
    draw(nets).savefig(picture, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "lesson_03.png")
