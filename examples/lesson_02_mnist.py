"""Lesson 2, digits: from the first network of the notes, 95 % of the test digits, to 98 %, one idea at a time.

It needs MNIST, which is looked for as `ranvier.datasets.mnist` does, and downloaded if it is nowhere; without it all
runs on scikit-learn's small digits, and says so. Run it as ``python lesson_02_mnist.py [picture.png]``.
"""

import sys

import ranvier as rv
from matplotlib.figure import Figure
from ranvier import plot
from ranvier.initializers import LeCunNormal, Normal
from ranvier.plot.common import integer_ticks, line_style


def load_digits():
    """Return MNIST, or scikit-learn's digits if it cannot be had; samples are rows of pixels."""
    try:
        data = rv.datasets.mnist(flatten=True)
    except (OSError, ImportError):
        data = rv.datasets.digits(flatten=True)
    (x, _), (x_test, _) = data
    name = "MNIST" if x.shape[1] == 784 else "no MNIST found; scikit-learn's 8 x 8 digits instead"
    print(f"{name}: {len(x)} training and {len(x_test)} test digits of {x.shape[1]} pixels")
    return data


def sigmoid_network(inputs, hidden, init=None, l2=0.0):
    """Return a network with one hidden layer of sigmoids; the softmax is part of the cross-entropy loss."""
    layers = [rv.Linear(inputs, hidden, l2=l2), rv.Sigmoid(), rv.Linear(hidden, 10, l2=l2)]
    return rv.Network(layers, seed=0, init=init)


def stages(inputs, epochs):
    """Return the network, the loss and the optimizer of each stage, by name."""
    unit_start, small = Normal(1.0), LeCunNormal()
    cross_entropy, decay = rv.CrossEntropyLoss(), rv.CosineAnnealingLR(0.5, epochs)
    return {
        "chapter 1": (rv.Network([inputs, 30, 10], seed=0), rv.QuadraticLoss(), rv.SGD(3.0)),
        "+ cross-entropy": (sigmoid_network(inputs, 30, unit_start), cross_entropy, rv.SGD(0.5)),
        "+ start values": (sigmoid_network(inputs, 30, small), cross_entropy, rv.SGD(0.1)),
        "+ 100 units": (sigmoid_network(inputs, 100, small), cross_entropy, rv.SGD(0.1)),
        "+ L2, falling rate": (sigmoid_network(inputs, 100, small, l2=3e-5), cross_entropy, rv.SGD(decay)),
    }


def train(net, loss, optimizer, data, epochs):
    """Train in batches of 10, and return the history."""
    (x, y), test = data
    return net.fit(
        x, y, epochs=epochs, batch_size=10, loss=loss, optimizer=optimizer, validation_data=test, progress=False
    )


def draw(histories, net, test):
    """Return a picture of the test accuracies, and of the first digits that the last network gets wrong."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    for number, (name, history) in enumerate(histories.items()):
        percents = [100 * accuracy for accuracy in history.val_accuracy]
        left.plot(range(1, len(percents) + 1), percents, label=name, **line_style(number))
    best = max(max(history.val_accuracy) for history in histories.values())
    left.set(xlabel="epoch", ylabel="correct test digits in %", ylim=(100 * best - 8, 100 * best + 0.5))
    integer_ticks(left)
    left.grid(alpha=0.3)
    left.legend(loc="lower right")
    plot.misclassified(*test, net.predict(test[0]), 12, ax=right, columns=4)
    return figure


def main(picture, epochs=30):
    """Print the test accuracy of each stage, and write the picture."""
    data = load_digits()
    histories = {}
    for name, (net, loss, optimizer) in stages(data[0][0].shape[1], epochs).items():
        history = histories[name] = train(net, loss, optimizer, data, epochs)
        last, best, seconds = 100 * history.val_accuracy[-1], 100 * max(history.val_accuracy), sum(history.seconds)
        print(f"{name:18}  {last:.2f} % of the test digits after {epochs} epochs (best {best:.2f} %), {seconds:.0f} s")
    draw(histories, net, data[1]).savefig(picture, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "lesson_02.png")
