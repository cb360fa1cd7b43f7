"""The networks and settings that the command line offers for each data set."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from ranvier import datasets
from ranvier.datasets.types import Split
from ranvier.layers import Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU, Sigmoid

__all__ = ["DATASETS", "MODELS", "Task"]

Root = str | os.PathLike[str] | None


@dataclass(frozen=True)
class Task:
    """A data set with its classes, networks and the settings that suit them."""

    load: Callable[[Root], tuple[Split, Split]]
    classes: tuple[str, ...]
    mlp: tuple[Layer, ...]
    cnn: tuple[Layer, ...]
    epochs: int
    batch_size: int


_TEN = tuple("0123456789")
_FASHION = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _mlp(inputs: int, hidden: int) -> tuple[Layer, ...]:
    return Flatten(), Linear(inputs, hidden), ReLU(), Linear(hidden, 10)


# The lecture notes' network for images of 28 x 28.
_NOTES_CNN: tuple[Layer, ...] = (
    Conv2d(1, 16, 5, padding=2),
    ReLU(),
    MaxPool2d(2),
    Conv2d(16, 32, 5, padding=2),
    ReLU(),
    MaxPool2d(2),
    Flatten(),
    Linear(32 * 7 * 7, 100),
    Sigmoid(),
    Linear(100, 10),
)
_DIGITS_CNN: tuple[Layer, ...] = (
    Conv2d(1, 16, 3, padding=1),
    ReLU(),
    Conv2d(16, 32, 3, padding=1),
    ReLU(),
    MaxPool2d(2),
    Flatten(),
    Linear(32 * 4 * 4, 10),
)
_CIFAR_CNN: tuple[Layer, ...] = (
    Conv2d(3, 32, 3, padding=1),
    ReLU(),
    Conv2d(32, 32, 3, padding=1),
    ReLU(),
    MaxPool2d(2),
    Conv2d(32, 64, 3, padding=1),
    ReLU(),
    Conv2d(64, 64, 3, padding=1),
    ReLU(),
    MaxPool2d(2),
    Flatten(),
    Dropout(0.3),
    Linear(64 * 8 * 8, 256),
    ReLU(),
    Dropout(0.5),
    Linear(256, 10),
)

MODELS = ("mlp", "cnn")
DATASETS = {
    "digits": Task(lambda root: datasets.digits(), _TEN, _mlp(64, 128), _DIGITS_CNN, epochs=30, batch_size=16),
    "mnist": Task(datasets.mnist, _TEN, _mlp(784, 128), _NOTES_CNN, epochs=5, batch_size=50),
    "fashion-mnist": Task(datasets.fashion_mnist, _FASHION, _mlp(784, 256), _NOTES_CNN, epochs=10, batch_size=50),
    "cifar10": Task(datasets.cifar10, _CIFAR, _mlp(3072, 512), _CIFAR_CNN, epochs=10, batch_size=50),
}
