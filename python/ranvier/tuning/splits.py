"""Training on one part of the data, and evaluation on the part held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ranvier.callbacks import AnyCallback
from ranvier.history import Evaluation
from ranvier.network import Network
from ranvier.types import Array, Labels

__all__ = ["Built", "Parameters", "Split", "arrays", "fold_indices", "splits", "train"]

# A network, or one with arguments for Network.fit.
Built = Network | tuple[Network, Mapping[str, Any]]
Parameters = dict[str, Any]
Split = tuple[Any, Any, Any, Any]  # x, y to train on; x, y held out


def arrays(x: Any, y: Any) -> tuple[Array, Array]:
    """Return samples and targets as arrays of equally many rows."""
    samples, targets = np.asarray(x), np.asarray(y)
    if samples.ndim < 1 or len(samples) == 0:
        raise ValueError(f"x: expected at least one sample, got shape {samples.shape}")
    if targets.ndim < 1 or len(targets) != len(samples):
        raise ValueError(f"y: expected one target for each of {len(samples)} samples, got shape {targets.shape}")
    return samples, targets


def fold_indices(y: Array, folds: int, seed: int) -> list[tuple[Labels, Labels]]:
    """Return the samples to train on and those held out, for each fold."""
    try:
        from sklearn.model_selection import KFold, StratifiedKFold
    except ImportError:
        raise ImportError("cross-validation needs scikit-learn: pip install 'ranvier[tune]'") from None
    if folds > len(y):
        raise ValueError(f"folds: expected at most the number of samples, {len(y)}, got {folds}")
    labels = y.ndim == 1 and y.dtype.kind in "iub"
    stratified = labels and np.unique(y, return_counts=True)[1].min() >= folds
    splitter = (StratifiedKFold if stratified else KFold)(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(y)), y))


def splits(x: Array, y: Array, folds: list[tuple[Labels, Labels]]) -> Iterator[Split]:
    """Yield what to train on and what to hold out, for each fold."""
    for train, held_out in folds:
        yield x[train], y[train], x[held_out], y[held_out]


def train(built: Any, split: Split, options: Parameters, observe: AnyCallback | None = None) -> Evaluation:
    """Train what was built on one split, and return how it does on the samples held out."""
    network, own = built if isinstance(built, tuple) and len(built) == 2 else (built, {})
    if not isinstance(network, Network) or not isinstance(own, Mapping):
        raise TypeError(f"build: expected a Network, or a Network and a dict of arguments for fit, got {built!r}")
    arguments: Parameters = {"progress": False, **options, **own}
    if "validation_data" in arguments:
        raise ValueError("build: expected no validation_data, as these are the samples held out")
    x, y, x_held_out, y_held_out = split
    if observe is not None:
        arguments["callbacks"] = [*arguments.get("callbacks", ()), observe]
        arguments["validation_data"] = x_held_out, y_held_out
    network.fit(x, y, **arguments)
    evaluation: Evaluation = network.evaluate(x_held_out, y_held_out, loss=arguments.get("loss"))
    return evaluation
