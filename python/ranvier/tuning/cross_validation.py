"""Cross-validation: a new network for each fold of the data, trained on all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ranvier.checks import integer
from ranvier.history import Evaluation
from ranvier.tuning.splits import Built, arrays, fold_indices, splits, train
from ranvier.types import Array

__all__ = ["CrossValidation", "cross_validate"]


@dataclass(frozen=True)
class CrossValidation:
    """How networks did on the parts of the data that they were not trained on; as text, means and deviations.

    Attributes
    ----------
    evaluations : tuple of Evaluation
        One for each fold.
    """

    evaluations: tuple[Evaluation, ...]

    @property
    def losses(self) -> Array:
        """The loss of each fold, of shape (folds,)."""
        return np.array([evaluation.loss for evaluation in self.evaluations])

    @property
    def accuracies(self) -> Array:
        """The accuracy of each fold, of shape (folds,); NaN if the targets are numbers and not classes."""
        return np.array([evaluation.accuracy for evaluation in self.evaluations], dtype=np.float64)

    def __str__(self) -> str:
        """Return mean and standard deviation of both."""
        parts = [
            f"{name} {values.mean():.4f} ± {values.std():.4f}"
            for name, values in (("loss", self.losses), ("accuracy", self.accuracies))
            if not np.isnan(values).all()
        ]
        return f"{', '.join(parts)} over {len(self.evaluations)} folds"


def cross_validate(
    build: Callable[[], Built],
    x: Any,
    y: Any,
    folds: int = 5,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    seed: int = 0,
    **options: Any,
) -> CrossValidation:
    """Train a new network for each fold of the data on all others, and evaluate it on that fold.

    Parameters
    ----------
    build : function
        Returns a new network, or a pair of one and a dict of arguments for `ranvier.Network.fit`, which go before
        those given here. Only a network with a seed makes the results repeatable.
    x, y
        As in `ranvier.Network.fit`.
    folds : int
        From 2 to the number of samples. If y is labels, and each class has a sample for each fold, all folds have the
        classes in the same proportions.
    epochs, batch_size, **options
        As in `ranvier.Network.fit`, for each training; there is no progress bar unless ``progress`` asks for it.
        Callbacks that keep something from epoch to epoch are better made anew by ``build``.
    seed : int
        Of the division into folds.

    Returns
    -------
    CrossValidation

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        If an argument is unfit.

    Examples
    --------
    >>> import ranvier as rv
    >>> x = np.random.default_rng(0).standard_normal((90, 2))
    >>> y = (x[:, 0] > x[:, 1]).astype(int)
    >>> result = cross_validate(lambda: rv.Network([rv.Linear(2, 2)], seed=0), x, y, folds=3, epochs=20,
    ...                         optimizer=rv.SGD(0.5))
    >>> bool(result.accuracies.min() > 0.9)
    True
    """
    samples, targets = arrays(x, y)
    folds, seed = integer(folds, "folds", 2), integer(seed, "seed", 0)
    options |= {"epochs": integer(epochs, "epochs", 0), "batch_size": integer(batch_size, "batch_size", 1)}
    parts = splits(samples, targets, fold_indices(targets, folds, seed))
    return CrossValidation(tuple(train(build(), split, options) for split in parts))
