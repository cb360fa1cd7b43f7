"""Lesson 6. Capacity and regularization: more hidden units fit more noise, unless something holds them back.

The same 80 noisy points for all: 3, 6 and 20 hidden units, then 20 units with L2 penalties of three strengths, with
dropout, and with noise on the inputs. Each is trained from five starting points; the picture shows the first.
"""

import sys

import numpy as np
import ranvier as rv
from matplotlib.figure import Figure
from ranvier import plot

STARTS = 5


def network(hidden, *, l2=0.0, dropout=0.0, noise=0.0, seed=0):
    return rv.Network(
        [
            rv.GaussianNoise(noise),
            rv.Linear(2, hidden, l2=l2),
            rv.ReLU(),
            rv.Dropout(dropout),
            rv.Linear(hidden, 2, l2=l2),
        ],
        init=rv.initializers.KaimingNormal(),
        seed=seed,
    )


def train(net, x, y, epochs=1500):
    optimizer = rv.Adam(rv.CosineAnnealingLR(0.03, T_max=epochs))
    net.fit(x, y, epochs=epochs, batch_size=20, optimizer=optimizer, progress=False)
    return net


def weight_size(net):
    """Return the square root of the sum of all squared weights."""
    return float(np.sqrt(sum((w**2).sum() for name, w in net.parameters().items() if name.endswith("weight"))))


SETTINGS = {
    "3 units": dict(hidden=3),
    "6 units": dict(hidden=6),
    "20 units": dict(hidden=20),
    "20 units, L2 0.001": dict(hidden=20, l2=0.001),
    "20 units, L2 0.01": dict(hidden=20, l2=0.01),
    "20 units, L2 0.1": dict(hidden=20, l2=0.1),
    "20 units, dropout 0.3": dict(hidden=20, dropout=0.3),
    "20 units, input noise 0.3": dict(hidden=20, noise=0.3),
}


def main(picture):
    x, y = rv.datasets.moons(80, noise=0.35, seed=1)
    x_test, y_test = rv.datasets.moons(5000, noise=0.35, seed=2)
    figure = Figure(figsize=(11, 6), layout="constrained")
    figure.suptitle(f"Regions of the first start; accuracies are means of {STARTS} starts", fontsize="medium")
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    print(f"{f'means of {STARTS} starts':26} train   test   size of the weights")
    for ax, (name, setting) in zip(panels.flat, SETTINGS.items(), strict=True):
        nets = [train(network(**setting, seed=seed), x, y) for seed in range(STARTS)]
        fitted = 100 * np.mean([net.evaluate(x, y).accuracy for net in nets])
        tested = 100 * np.mean([net.evaluate(x_test, y_test).accuracy for net in nets])
        print(f"{name:26} {fitted:4.1f} % {tested:4.1f} % {np.mean([weight_size(net) for net in nets]):6.2f}")
        plot.decision_regions(nets[0], x, y, ax).set_title(f"{name}\ntrain {fitted:.1f} %, test {tested:.1f} %")
        ax.label_outer()
        if ax is not panels[0, -1]:
            ax.get_legend().remove()
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "lesson_06.png")
