"""Lesson 5, dead ReLUs: how many units a large learning rate kills, with ReLU, leaky ReLU and ELU.

A unit that is never above 0, whatever the sample, is silent; a silent ReLU has no gradient either, and is dead. Two
hidden layers of 100 units on scikit-learn's digits. Run it as ``python lesson_05_dead_relus.py [picture.png]``.
"""

import sys

import numpy as np
import ranvier as rv
from matplotlib.figure import Figure
from ranvier.diagnostics import DeadUnits
from ranvier.initializers import KaimingNormal
from ranvier.plot.common import COLORS, MARKERS

RATES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
ACTIVATIONS = {"ReLU": rv.ReLU(), "leaky ReLU": rv.LeakyReLU(0.01), "ELU": rv.ELU()}


def network(activation, seed=0):
    """Return a network for the 64 pixels of a digit."""
    layers = [rv.Linear(64, 100), activation, rv.Linear(100, 100), activation, rv.Linear(100, 10)]
    return rv.Network(layers, seed=seed, init=KaimingNormal())


def train(net, rate, data, epochs=20, callbacks=()):
    """Train a network, and return it; if the numbers overflow, as it was before that."""
    try:
        net.fit(*data[0], epochs=epochs, optimizer=rv.SGD(rate), callbacks=callbacks, progress=False)
    except FloatingPointError:
        print(f"  {net.layers[1]}, rate {rate}, seed {net.seed}: overflows in epoch {len(net.history) + 1}")
    return net


def silent_units(net, x):
    """Return the fraction of hidden units that are never above 0."""
    outputs = net.activations(x, layers=[1, 3])
    return float(np.mean([(output <= 0).all(axis=0) for output in outputs.values()]))


def medians(nets, data):
    """Return the medians of the silent fraction and of the test accuracy."""
    silent = [silent_units(net, data[0][0]) for net in nets]
    return np.median(silent), np.median([net.evaluate(*data[1]).accuracy for net in nets])


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
    train(network(rv.ReLU()), 1.0, data, callbacks=[dead])
    first, second = dead.fractions.values()
    for epoch in (1, 2, 5, 20):
        print(f"ReLU at rate 1.0, epoch {epoch}: {first[epoch - 1]:.0%} and {second[epoch - 1]:.0%} are dead")
    results = {}
    for name, activation in ACTIVATIONS.items():
        results[name] = []
        for rate in RATES:
            nets = [train(network(activation, seed), rate, data) for seed in range(starts)]
            results[name].append(medians(nets, data))
            silent, accuracy = results[name][-1]
            print(f"{name:10} at rate {rate}: {silent:4.0%} silent, {accuracy:5.1%} of the test digits")
        silent, accuracy = medians([train(net, 0.1, data) for net in nets], data)
        print(f"{name:10} then at 0.1:  {silent:4.0%} silent, {accuracy:5.1%} of the test digits")
    draw(results).savefig(picture, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "lesson_05.png")
