"""Lesson 7. The lecture notes' convolutional network on MNIST: train, watch, save, load, look inside, improve.

First the notes' network, tested on the first 2,000 test digits every 100 steps, as in the notes. Then the same
convolutions with dropout, augmented digits and a learning rate that rises and falls, for more than 99.2 %.
If MNIST can be neither found nor downloaded, scikit-learn's digits of 8 x 8 take its place.
"""

import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import ranvier as rv
from matplotlib.figure import Figure
from ranvier import plot

BATCH = 50


def data():
    try:
        return rv.datasets.mnist()
    except (OSError, ImportError):
        print("MNIST is not here: scikit-learn's digits take its place")
        return rv.datasets.digits()


def notes_layers(side):
    """Return the notes' layers, for images of side x side."""
    return [
        *(rv.Conv2d(1, 16, 5, padding=2), rv.ReLU(), rv.MaxPool2d(2)),
        *(rv.Conv2d(16, 32, 5, padding=2), rv.ReLU(), rv.MaxPool2d(2)),
        *(rv.Flatten(), rv.Linear(32 * (side // 4) ** 2, 100), rv.Sigmoid(), rv.Linear(100, 10)),
    ]


def better_layers(side):
    """Return the same convolutions behind random shifts and turns, with dropout before both linear layers."""
    return [
        *(rv.RandomShift(side // 14), rv.RandomRotation(10)),
        *(rv.Conv2d(1, 16, 5, padding=2), rv.ReLU(), rv.MaxPool2d(2)),
        *(rv.Conv2d(16, 32, 5, padding=2), rv.ReLU(), rv.MaxPool2d(2)),
        *(rv.Flatten(), rv.Dropout(0.3), rv.Linear(32 * (side // 4) ** 2, 200), rv.ReLU()),
        *(rv.Dropout(0.5), rv.Linear(200, 10)),
    ]


def train_and_watch(net, x, y, x_test, y_test, epochs=1, steps=100):
    """Return pairs of the number of batches done and the accuracy on the test digits, after every ``steps`` batches.

    Each `fit` gets the next ``steps`` batches of the samples in random order, and goes on with Adam's state.
    """
    done, watched = 0, []
    for _ in range(epochs):
        for part in np.split(net.shuffled(len(x)), range(steps * BATCH, len(x), steps * BATCH)):
            net.fit(x[part], y[part], batch_size=BATCH, optimizer=rv.Adam(1e-3), progress=False)
            done += math.ceil(len(part) / BATCH)
            watched.append((done, net.evaluate(x_test, y_test).accuracy))
    return watched


def train_better(net, x, y, x_test, y_test, epochs=15):
    schedule = rv.OneCycleLR(3e-3, epochs=epochs)
    return net.fit(
        x,
        y,
        epochs=epochs,
        batch_size=BATCH,
        optimizer=rv.Adam(schedule),
        validation_data=(x_test, y_test),
        progress=False,
    )


def same_after_loading(net, x):
    """Return whether the network, written to a file and read again, predicts the same bits."""
    with tempfile.TemporaryDirectory() as folder:
        net.save(Path(folder) / "cnn.safetensors")
        again = rv.load(Path(folder) / "cnn.safetensors")
    return again.predict(x).tobytes() == net.predict(x).tobytes()


def draw(picture, net, image, watched, history):
    figure = Figure(figsize=(11, 8), layout="constrained")
    (first, filters), (maps, curves) = figure.subplots(2, 2)
    first.plot([step for step, _ in watched], [100 * accuracy for _, accuracy in watched], "o-", color="#0072B2")
    first.set(xlabel=f"step (batch of {BATCH})", ylabel="test accuracy (%)", title="the notes' network")
    first.grid(alpha=0.3)
    plot.filters(net, ax=filters).set_title("filters of the first convolution")
    plot.feature_maps(net, image, 1, maps).set_title("what they make of a test digit, after ReLU")
    plot.learning_curves(history, curves, quantities=["accuracy"]).set_title("with dropout and augmentation")
    figure.savefig(picture, dpi=110)


def main(picture, epochs=15):
    (x, y), (x_test, y_test) = data()
    side = x.shape[-1]
    notes_epochs = 1 if len(x) > 10000 else 20
    net = rv.Network(notes_layers(side), seed=0)
    start = time.perf_counter()
    watched = train_and_watch(net, x, y, x_test[:2000], y_test[:2000], notes_epochs)
    seconds = time.perf_counter() - start
    for step, accuracy in watched:
        print(f"step {step:4}: {100 * accuracy:.2f} % of {len(x_test[:2000])} test digits")
    accuracy = net.evaluate(x_test, y_test).accuracy
    print(f"the notes' network, {notes_epochs} epoch(s): {100 * accuracy:.2f} % of {len(x_test)}, {seconds:.1f} s")
    print("saved and loaded, it predicts the same bits:", same_after_loading(net, x_test))

    better = rv.Network(better_layers(side), seed=0)
    start = time.perf_counter()
    history = train_better(better, x, y, x_test, y_test, epochs)
    seconds = time.perf_counter() - start
    print(f"dropout and augmentation, {epochs} epochs: {100 * history.val_accuracy[-1]:.2f} %, {seconds:.1f} s")
    draw(picture, net, x_test[0], watched, history)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "lesson_07.png")
