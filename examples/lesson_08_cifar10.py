"""Lesson 8. CIFAR-10: the lecture notes' two layers, 3072 - 100 - 10, and a small convolutional network beside them.

If CIFAR-10 can be neither found nor downloaded, scikit-learn's digits, grey and 8 x 8, take its place.
"""

import sys

import ranvier as rv
from matplotlib.figure import Figure
from ranvier import metrics, plot
from ranvier.models import DATASETS


def data():
    """Return the images, the names of their classes, and that of the data."""
    try:
        return rv.datasets.cifar10(), DATASETS["cifar10"].classes, "CIFAR-10"
    except (OSError, ImportError):
        print("CIFAR-10 is not here: scikit-learn's digits take its place")
        return rv.datasets.digits(), DATASETS["digits"].classes, "digits of 8 x 8"


def two_layers(shape, classes=10):
    """Return the network of s = W2 max(0, W1 x)."""
    channels, height, width = shape
    return rv.Network(
        [rv.Flatten(), rv.Linear(channels * height * width, 100), rv.ReLU(), rv.Linear(100, classes)], seed=0
    )


def small_cnn(shape, classes=10):
    channels, height, width = shape
    layers = [
        *(rv.Conv2d(channels, 16, 3, padding=1), rv.ReLU(), rv.MaxPool2d(2)),
        *(rv.Conv2d(16, 32, 3, padding=1), rv.ReLU(), rv.MaxPool2d(2)),
        *(rv.Flatten(), rv.Dropout(0.3), rv.Linear(32 * (height // 4) * (width // 4), classes)),
    ]
    return rv.Network(layers, seed=0)


def parameters(net):
    return sum(value.size for value in net.parameters().values())


def train(net, x, y, x_test, y_test, epochs=4):
    optimizer = rv.Adam(rv.OneCycleLR(3e-3, epochs=epochs))
    return net.fit(
        x, y, epochs=epochs, batch_size=50, optimizer=optimizer, validation_data=(x_test, y_test), progress=False
    )


def main(picture):
    ((x, y), (x_test, y_test)), classes, title = data()
    epochs = 4 if len(x) > 10000 else 30
    nets = {"two layers": two_layers(x.shape[1:]), "small CNN": small_cnn(x.shape[1:])}
    figure = Figure(figsize=(12.5, 4.5), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, 3, width_ratios=[1, 1, 1.25])
    for ax, (name, net) in zip(panels, nets.items(), strict=False):
        history = train(net, x, y, x_test, y_test, epochs)
        fitted, tested = net.evaluate(x, y).accuracy, net.evaluate(x_test, y_test).accuracy
        print(f"{name}: {parameters(net):,} parameters, {epochs} epochs in {sum(history.seconds):.2f} s, ", end="")
        print(f"{100 * fitted:.2f} % of {len(x):,} training and {100 * tested:.2f} % of {len(x_test):,} test images")
        plot.learning_curves(history, ax, quantities=["accuracy"]).set_title(f"{name}: {parameters(net):,} parameters")
    panels[1].sharey(panels[0])
    matrix = metrics.confusion_matrix(y_test, nets["small CNN"].predict(x_test))
    plot.confusion_matrix(matrix, classes, panels[2]).set_title("small CNN, test images")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "lesson_08.png")
