"""Lesson 5, dead ReLUs: how many units a large learning rate kills, with ReLU, leaky ReLU and ELU.

A unit that is never above 0, whatever the sample, is silent; a silent ReLU has no gradient either, and is dead. Two
hidden layers of 100 units on scikit-learn's digits. Run it as ``python lesson_05_dead_relus.py [picture.png]``.
"""

import sys

import numpy as np
import ranvier as rv
from matplotlib.figure import Figure
from ranvier.diagnostics import DeadUnits
from ranvier.initializers import HeNormal
from ranvier.plot.common import COLORS, MARKERS

RATES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
ACTIVATIONS = {"ReLU": rv.ReLU(), "leaky ReLU": rv.LeakyReLU(0.01), "ELU": rv.ELU()}


def train(activation, rate, data, seed=0, epochs=20, callbacks=()):
    """Return a trained network; if the numbers overflow, as it was before."""
    layers = [rv.Linear(64, 100), activation, rv.Linear(100, 100), activation, rv.Linear(100, 10)]
    net = rv.Network(layers, seed=seed, init=HeNormal())
    try:
        net.fit(*data[0], epochs=epochs, optimizer=rv.SGD(rate), callbacks=callbacks, progress=False)
    except FloatingPointError as error:
        print(f"  {activation} at rate {rate}, seed {seed}: {error}")
    return net


def silent_units(net, x):
    """Return the fraction of hidden units that are never above 0."""
    outputs = net.activations(x, layers=[1, 3])
    return float(np.mean([(output <= 0).all(axis=0) for output in outputs.values()]))


def measure(activation, rate, data, starts):
    """Return the silent fraction and the test accuracy, each a mean over several starts."""
    nets = [train(activation, rate, data, seed) for seed in range(starts)]
    silent = [silent_units(net, data[0][0]) for net in nets]
    return np.mean(silent), np.mean([net.evaluate(*data[1]).accuracy for net in nets])


def draw(results):
    """Return a picture of silent units and accuracy over the learning rate."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    panels = figure.subplots(1, 2)
    for number, (name, rows) in enumerate(results.items()):
        for panel, values in zip(panels, 100 * np.transpose(rows), strict=True):
            panel.plot(RATES, values, color=COLORS[number], marker=MARKERS[number], label=name)
    for panel, label in zip(panels, ("silent hidden units in %", "correct test digits in %"), strict=True):
        panel.set(xscale="log", xlabel="learning rate", ylabel=label, ylim=(-3, 103))
        panel.set_xticks(RATES, [str(rate) for rate in RATES])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].legend()
    return figure


def main(picture, starts=5):
    """Print silent units and accuracy for each activation and rate, and write the picture."""
    data = rv.datasets.digits(flatten=True)
    dead = DeadUnits(data[0][0])
    train(rv.ReLU(), 1.0, data, callbacks=[dead])
    first, second = dead.fractions.values()
    for epoch in (1, 2, 5, 20):
        print(f"ReLU at rate 1: {first[epoch - 1]:.0%} and {second[epoch - 1]:.0%} dead after epoch {epoch}")
    results = {}
    for name, activation in ACTIVATIONS.items():
        results[name] = [measure(activation, rate, data, starts) for rate in RATES]
        for rate, (silent, accuracy) in zip(RATES, results[name], strict=True):
            print(f"{name:10} at rate {rate}: {silent:4.0%} silent, {accuracy:6.1%} of the test digits")
    draw(results).savefig(picture, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "lesson_05.png")
