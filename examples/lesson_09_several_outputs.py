"""Lesson 9. Several outputs: two numbers at once (regression), and the probabilities of three classes (softmax).

Regression: the two angles of an arm of two links, each of length 1, give the place of its hand, measured with noise.
Classes: scikit-learn's irises, four lengths of a flower in and the probabilities of three species out.
"""

import sys

import numpy as np
import ranvier as rv
from matplotlib.figure import Figure
from ranvier import kernels, metrics, plot
from sklearn.datasets import load_iris


def arm(samples, noise=0.05, seed=0):
    """Return the angles of shoulder and elbow, shape (samples, 2), and where the hand is seen."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, np.pi / 2, (samples, 2))
    first, both = angles[:, 0], angles.sum(axis=1)
    hand = np.stack([np.cos(first) + np.cos(both), np.sin(first) + np.sin(both)], axis=1)
    return angles, hand + noise * rng.standard_normal(hand.shape)


def regress(x, y, epochs=100):
    net = rv.Network([rv.Linear(2, 16), rv.Tanh(), rv.Linear(16, 2)], seed=0)
    optimizer = rv.Adam(rv.CosineAnnealingLR(0.01, T_max=epochs))
    net.fit(x, y, epochs=epochs, loss=rv.MSELoss(), optimizer=optimizer, progress=False)
    return net


def irises(seed=0):
    """Return 100 flowers to train on and 50 to test, each length with mean 0 and standard deviation 1."""
    data = load_iris()
    order = np.random.default_rng(seed).permutation(len(data.data))
    x, y = data.data[order], data.target[order]
    x = (x - x[:100].mean(axis=0)) / x[:100].std(axis=0)
    return (x[:100], y[:100]), (x[100:], y[100:]), list(data.target_names)


def classify(x, y, epochs=200):
    net = rv.Network([rv.Linear(4, 8), rv.Tanh(), rv.Linear(8, 3)], seed=0)
    net.fit(x, y, epochs=epochs, optimizer=rv.Adam(0.01), progress=False)
    return net


def main(picture):
    x_test, y_test = arm(500, seed=1)
    hand = regress(*arm(1000)).predict(x_test)
    for i, name in enumerate(("x", "y")):
        r2, error = metrics.r2_score(y_test[:, i], hand[:, i]), np.sqrt(np.mean((hand[:, i] - y_test[:, i]) ** 2))
        print(f"hand {name}: R2 {r2:.4f}, root mean square error {error:.3f} links")
    print(f"both:   R2 {metrics.r2_score(y_test, hand):.4f}")

    train, (x_flowers, species), names = irises()
    probabilities = kernels.softmax(classify(*train).predict(x_flowers))
    print(f"irises: {100 * metrics.accuracy(species, probabilities):.1f} % of {len(species)} test flowers")
    unsure = probabilities[probabilities.max(axis=1).argmin()]
    print("least certain flower:", ", ".join(f"{name} {100 * p:.1f} %" for name, p in zip(names, unsure, strict=True)))

    figure = Figure(figsize=(9.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, (name, color, marker) in enumerate((("x", "#0072B2", "o"), ("y", "#D55E00", "^"))):
        left.scatter(
            y_test[:, i], hand[:, i], s=10, color=color, marker=marker, alpha=0.6, linewidth=0, label=f"hand {name}"
        )
    left.plot([-1, 2], [-1, 2], color="0.3", linewidth=1, label="exact")
    left.set(xlabel="measured (links)", ylabel="predicted (links)", title="two targets, test samples")
    left.legend()
    plot.confusion_matrix(metrics.confusion_matrix(species, probabilities), names, right).set_title(
        "irises, test flowers"
    )
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "lesson_09.png")
