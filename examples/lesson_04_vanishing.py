"""Lesson 4, vanishing gradients: the norm of the gradient in each layer of deep networks, and what keeps it alive.

Six hidden layers of 30 units on scikit-learn's digits: sigmoid and ReLU, small, large and suitable start values, batch
normalization. Run it as ``python lesson_04_vanishing.py [picture.png]``.
"""

import contextlib
import sys

import ranvier as rv
from matplotlib.figure import Figure
from ranvier import plot
from ranvier.diagnostics import GradientNorms
from ranvier.initializers import KaimingNormal, Normal, XavierNormal
from ranvier.plot.common import integer_ticks, line_style

KINDS = {
    "sigmoid, Xavier": (rv.Sigmoid(), XavierNormal(), False),
    "sigmoid, 4 x Xavier": (rv.Sigmoid(), XavierNormal(gain=4), False),  # its slope is at most 1/4
    "sigmoid, batch norm": (rv.Sigmoid(), XavierNormal(), True),
    "ReLU, He": (rv.ReLU(), KaimingNormal(), False),
    "ReLU, N(0, 1)": (rv.ReLU(), Normal(1.0), False),
}


def deep_network(activation, init, normalize, depth=6, units=30):
    """Return a network for the 64 pixels of a digit."""
    layers = []
    for inputs in [64] + [units] * (depth - 1):
        norm = [rv.BatchNorm1d(units)] if normalize else []
        layers += [rv.Linear(inputs, units), *norm, activation]
    return rv.Network([*layers, rv.Linear(units, 10)], seed=0, init=init)


def gradient_norms(net, x, y):
    """Return the norms of the gradients of the weights, from the first layer to the last."""
    observer = GradientNorms(x, y)
    observer(net, 0, rv.History())
    weights = [f"{i}.weight" for i, layer in enumerate(net.layers) if isinstance(layer, rv.Linear)]
    return [observer.norms[name][0] for name in weights]


def train(net, data, epochs=20):
    """Return the test accuracy after each epoch; training may overflow, and ends then."""
    (x, y), test = data
    with contextlib.suppress(FloatingPointError):
        net.fit(x, y, epochs=epochs, batch_size=10, optimizer=rv.SGD(0.1), validation_data=test, progress=False)
    return net.history.val_accuracy


def draw(norms, accuracies):
    """Return a picture of the norms by layer, and of the accuracies over the epochs."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot.gradient_norms(norms, left, unit="layer, from the input")
    left.set_title("before training")
    left.get_legend().remove()
    for number, (name, accuracy) in enumerate(accuracies.items()):
        percents = [100 * value for value in accuracy]
        right.plot(range(1, len(percents) + 1), percents, marker=".", label=name, **line_style(number))
    right.set(title="in training", xlabel="epoch", ylabel="correct test digits in %", ylim=(0, 102))
    integer_ticks(right)
    right.grid(alpha=0.3)
    right.legend(loc="lower right", bbox_to_anchor=(1, 0.14), fontsize="small")
    return figure


def main(picture):
    """Print the norms at the start and the accuracy in the end, and write the picture."""
    data = rv.datasets.digits(flatten=True)
    norms, accuracies = {}, {}
    for name, kind in KINDS.items():
        net = deep_network(*kind)
        norms[name] = gradient_norms(net, *data[0])
        accuracies[name] = train(net, data)
        first, sixth = norms[name][0], norms[name][5]
        result = f"{100 * accuracies[name][-1]:.1f} % of the test digits" if accuracies[name] else "training overflows"
        print(f"{name:19}  gradient {first:.1e} in layer 1, {sixth:.1e} in layer 6: {first / sixth:.1e}; {result}")
    draw(norms, accuracies).savefig(picture, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "lesson_04.png")
