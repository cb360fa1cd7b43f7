"""Samples and targets from what users hand over: checked, and converted at most once.

Arrays in memory are taken as a whole. What lies elsewhere is read and converted when its rows are wanted, if the caller
can do with that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ranvier import _core
from ranvier.checks import real, real_array
from ranvier.custom_losses import require_weighable
from ranvier.labels import Classes, is_text, learned_classes
from ranvier.losses import CrossEntropyLoss, CustomLoss, Loss, NLLLoss, classifies, is_of_numbers
from ranvier.rows import Rows, is_read_by_rows
from ranvier.types import Array, Labels, Weights

__all__ = [
    "Data",
    "as_batch",
    "as_data",
    "as_labels",
    "as_samples",
    "as_targets",
    "as_weights",
    "checked_targets",
    "has_classes",
    "held_out",
    "is_stream",
    "require_apart",
]


def is_stream(x: Any) -> bool:
    """Return whether x, which came without targets, is to be iterated over for batches: it is no array or frame.

    A list of two things that are no tuples is a pair (x, y).
    """
    if isinstance(x, tuple | dict | str | bytes) or hasattr(x, "shape") or hasattr(x, "__array__"):
        return False
    if isinstance(x, list):
        return len(x) > 0 and all(isinstance(item, tuple) for item in x)
    return hasattr(x, "__iter__")


class Data(NamedTuple):
    """Samples with what they are compared with, checked."""

    x: Any  # C-contiguous: of the network's dtype, or bytes; or `Rows` of such
    y: Any  # labels of shape (n,) as int64, or rows of the output's shape; or `Rows` of such
    weights: Weights | None
    classes: Classes | None = None  # that the labels were found to be of, or were taken for

    def is_read_by_rows(self) -> bool:
        """Return whether some of it is to be read when it is wanted."""
        return isinstance(self.x, Rows) or isinstance(self.y, Rows)

    def read(self, numbers: Labels | slice) -> Data:
        """Return the samples of these numbers, in memory."""
        x, y = (part.read(numbers) if isinstance(part, Rows) else part[numbers] for part in (self.x, self.y))
        return Data(x, y, None if self.weights is None else self.weights[numbers])

    def block(self, samples: slice) -> Data:
        """Return some samples in succession, unread if these are."""
        return Data(self.x[samples], self.y[samples], None if self.weights is None else self.weights[samples])

    def split(self, count: int) -> tuple[Data, Data]:
        """Return the samples but for the last ``count``, and these without their weights."""
        end = len(self.x) - count
        weights = None if self.weights is None else self.weights[:end]
        return Data(self.x[:end], self.y[:end], weights), Data(self.x[end:], self.y[end:], None)


def as_data(
    x: Any,
    y: Any,
    sample_weight: Any,
    loss: Loss | CustomLoss,
    dtype: np.dtype[Any],
    output_shape: Callable[[tuple[int, ...]], tuple[int, ...]],
    of: str = "",
    by_rows: bool = False,
    classes: Classes | None = None,
    learn: bool = False,
) -> Data:
    """Return samples and targets for a network of that dtype, checked against the loss and the outputs.

    Parameters
    ----------
    x, y, sample_weight
        As in `ranvier.Network.fit`.
    loss : Loss or CustomLoss
    dtype : numpy.dtype
    output_shape : function
        Of the shape of a sample; raises a ValueError if a layer does not fit it.
    of : str
        What x and y belong to, for errors.
    by_rows : bool
        Whether what lies elsewhere may stay there, as `Rows`. Its targets are looked at in any case, block by block.
    classes : Classes, optional
        What the labels are of.
    learn : bool
        Whether to find that out, if nobody knows.
    """
    names = (f"{of} x", f"{of} y") if of else ("x", "y")
    samples = as_samples(x, dtype, names[0], by_rows)
    shape = output_shape(samples.shape[1:])
    if len(samples) == 0:
        raise ValueError(f"{names[0]}: expected at least one sample, got none")

    outputs = math.prod(shape)
    usable = (np.int64, dtype) if len(getattr(y, "shape", ())) == 1 else (dtype,)
    y_by_rows = by_rows and is_read_by_rows(y, usable, names[1])
    if learn and classes is None:
        classes = _found_classes(y, y_by_rows, loss, outputs, names[1])

    def checked(part: Any, n: int) -> Any:
        numbers = _numbers_of_labels(part, classes, loss, outputs, names[1])
        return checked_targets(numbers, n, loss, dtype, shape, names[1])

    if sample_weight is not None:
        require_weighable(loss)
    weights = None if sample_weight is None else as_weights(sample_weight, len(samples))
    if not y_by_rows:
        return Data(samples, checked(y, len(samples)), weights, classes)
    if y.shape[0] != len(samples):
        raise ValueError(f"{names[1]}: expected one target for each of {len(samples)} samples, got shape {y.shape}")
    targets = Rows(y, lambda part: checked(part, len(part)))
    for _ in targets.blocks():  # so that what is wrong shows before anything happens
        pass
    return Data(samples, targets, weights, classes)


def checked_targets(
    y: Any, n: int, loss: Loss | CustomLoss, dtype: np.dtype[Any], shape: tuple[int, ...], name: str
) -> Any:
    """Return n targets, whose labels are numbers of classes, as `as_targets` does; they fit outputs of that shape."""
    targets = as_targets(y, n, dtype, loss, math.prod(shape), name)
    if isinstance(loss, Loss):
        if targets.dtype != np.int64 and targets.shape[1:] != shape:
            raise ValueError(f"{name}: expected targets of shape {shape} or integer labels, got {targets.shape[1:]}")
        _core.check_targets(loss.spec(), targets, shape, name)
    return targets


def _has_labels(array: Any, loss: Loss | CustomLoss, outputs: int) -> bool:
    """Return whether an array of targets has labels that stand for classes."""
    if array.ndim != 1:
        return False
    if is_text(array):
        return True
    is_number = isinstance(loss, CustomLoss) and not isinstance(loss, Loss)
    is_number |= is_of_numbers(loss) and outputs == 1
    return array.dtype.kind in "iub" and not is_number


def _found_classes(y: Any, by_rows: bool, loss: Loss | CustomLoss, outputs: int, name: str) -> Classes | None:
    """Return the classes that labels are of, or None if the targets are no labels."""
    array = np.asarray(y[:1] if by_rows else y)
    if not _has_labels(array, loss, outputs) or (outputs == 1 and isinstance(loss, CrossEntropyLoss | NLLLoss)):
        return None
    if by_rows:
        array = np.unique(np.concatenate([np.unique(block) for block in Rows(y, np.asarray).blocks()]))
    return learned_classes(array, max(2, outputs), name)


def _numbers_of_labels(y: Any, classes: Classes | None, loss: Loss | CustomLoss, outputs: int, name: str) -> Any:
    """Return y with the numbers of their classes for labels."""
    array = np.asarray(y)
    if not _has_labels(array, loss, outputs):
        return array
    if classes is not None:
        return classes.numbers(array, name)
    if is_text(array):
        raise ValueError(
            f"{name}: expected integer labels, got text, {array[0]!r}; fit() finds the classes of labels in an array; "
            f"otherwise set network.classes_"
        )
    return array


def as_batch(
    batch: Any,
    loss: Loss | CustomLoss,
    dtype: np.dtype[Any],
    output_shape: Callable[[tuple[int, ...]], tuple[int, ...]],
    of: str,
    classes: Classes | None = None,
) -> Data:
    """Return a batch of a stream, a tuple (x, y) or (x, y, sample_weight), checked like `as_data`."""
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        got = f"{len(batch)} items" if isinstance(batch, tuple | list) else type(batch).__name__
        raise TypeError(f"{of}: expected a tuple (x, y) or (x, y, sample_weight), got {got}")
    data = as_data(batch[0], batch[1], None, loss, dtype, output_shape, f"{of}:", classes=classes)
    if len(batch) == 2 or batch[2] is None:
        return data
    require_weighable(loss)
    return data._replace(weights=as_weights(batch[2], len(data.x), f"{of}: sample_weight", of_batch=True))


def has_classes(loss: Loss | CustomLoss, targets: Any, outputs: int) -> bool:
    """Return whether targets stand for classes, so that hits can be counted; else they are numbers to come near to.

    Labels are classes, and so are targets that a loss of classification takes. Others are if all are one-hot rows, or 0
    and 1 for a single output.
    """
    if classifies(loss):
        return True
    if isinstance(targets, Rows):
        return all(has_classes(loss, block, outputs) for block in targets.blocks())
    if targets.dtype == np.int64 and targets.ndim == 1:
        return bool(targets.min() >= 0 and targets.max() < max(2, outputs))
    rows = targets.reshape(len(targets), -1)
    if rows.shape[1] == 0 or rows.shape[1] != outputs:
        return False
    if not _are_one_hot(rows[:100]):  # most numbers show themselves at once
        return False
    return _are_one_hot(rows)


def _are_one_hot(rows: Array) -> bool:
    ones = rows == 1
    binary = bool((ones | (rows == 0)).all())
    return binary and (rows.shape[1] == 1 or bool((ones.sum(axis=1) == 1).all()))


def as_samples(x: Any, dtype: np.dtype[Any], name: str = "x", by_rows: bool = False) -> Any:
    """Return x as a C-contiguous array of that dtype, or of uint8 if it is: those are pixels.

    With ``by_rows``, what lies elsewhere and cannot be used there comes as `Rows` of such.

    Raises
    ------
    TypeError
        If x is not of real numbers.
    ValueError
        If x has no axis for the samples.
    """
    if by_rows and is_read_by_rows(x, (dtype, np.uint8), name):
        return Rows(x, lambda part: as_samples(part, dtype, name))
    array = real_array(x, name)
    if array.ndim < 1:
        raise ValueError(f"{name}: expected an array of shape (samples, ...), got shape ()")
    return _ready(array, np.uint8 if array.dtype == np.uint8 else dtype)


def _ready(array: Array, dtype: Any) -> Any:
    """Return the array as the core takes it, itself if it is so already."""
    contiguous = np.ascontiguousarray(array, dtype=dtype)
    return contiguous if contiguous.flags.aligned else contiguous.copy()


def require_apart(out: Array | None, samples: Array) -> None:
    """Check that outputs are not written to where the samples are.

    Raises
    ------
    ValueError
        If they may be.
    """
    if out is not None and np.may_share_memory(samples, out):
        raise ValueError("out: expected memory of its own, got some that may be that of x")


def as_targets(y: Any, n: int, dtype: np.dtype[Any], loss: object, outputs: int, name: str = "y") -> Any:
    """Return y as int64 labels of shape (n,), or as rows of shape (n, outputs).

    One axis of integers is labels, but numbers for a loss of numbers and a single output; one axis of other numbers is
    the targets of a single output. For a loss of your own, integers stay integers, of any shape (n, ...).
    """
    array = real_array(y, name)
    if array.ndim < 1 or len(array) != n:
        raise ValueError(f"{name}: expected one target for each of {n} samples, got shape {array.shape}")
    is_own = not isinstance(loss, Loss)
    if array.dtype.kind == "f" and array.ndim == 1 and not is_own and np.isnan(array).any():
        raise ValueError(f"{name}: contains NaN")  # the core looks at rows
    if array.ndim == 1 and outputs == 1 and is_of_numbers(loss):
        array = array[:, None]
    if array.dtype.kind in "iub" and (array.ndim == 1 or is_own):
        return _ready(array, np.int64)
    if array.ndim == 1:
        if isinstance(loss, CrossEntropyLoss | NLLLoss):
            raise TypeError(
                f"{name}: expected integer labels for {type(loss).__name__}, got dtype {array.dtype}; take MSELoss for "
                f"numbers, or BCEWithLogitsLoss for two classes and a single output"
            )
        if outputs == 1:
            array = array[:, None]
    return _ready(array, dtype)


def as_weights(sample_weight: Any, n: int, name: str = "sample_weight", of_batch: bool = False) -> Weights:
    """Return the weights of n samples as float64; all of a batch's may be 0.

    Raises
    ------
    TypeError
        If they are not real numbers.
    ValueError
        If they are not of shape (n,), one is negative, infinite or NaN, or their sum is 0 or overflows.
    """
    array = real_array(sample_weight, name)
    if array.shape != (n,):
        raise ValueError(f"{name}: expected shape ({n},), a weight for each sample, got {array.shape}")
    weights: Weights = _ready(array, np.float64)
    right = (weights >= 0) & np.isfinite(weights)
    if not right.all():
        raise ValueError(f"{name}: expected finite numbers of at least 0, got {weights[~right][0]}")
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not 0 < total < np.inf and not (of_batch and total == 0):
        raise ValueError(f"{name}: expected a finite sum above 0, got {total}")
    return weights


def as_labels(y: Any, name: str = "y") -> Labels:
    """Return the class of each sample, from labels or from rows of scores or one-hot rows.

    A row's class is where its largest entry is. Of a single column, integers are labels, and other numbers mean
    class 1 above 1/2.

    Raises
    ------
    TypeError
        If y is not of real numbers, or is one axis of other numbers than integers.
    ValueError
        If it is empty, has another number of axes, a negative label or NaN.
    """
    array = real_array(y, name)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"{name}: expected labels of shape (n,) or rows of shape (n, classes), got {array.shape}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{name}: contains NaN")
    if array.ndim == 2 and array.shape[1] > 1:
        return np.asarray(array.argmax(axis=1), dtype=np.int64)
    if array.ndim == 2 and array.dtype.kind == "f":
        return (array[:, 0] > 0.5).astype(np.int64)
    if array.dtype.kind == "f":
        raise TypeError(f"{name}: expected integer labels or rows of scores, got shape {array.shape} of {array.dtype}")
    if array.min() < 0:
        raise ValueError(f"{name}: expected labels of at least 0, got {array.min()}")
    return array.reshape(-1).astype(np.int64)


def held_out(fraction: object, samples: int) -> int:
    """Return how many of the samples a validation split holds out: the nearest whole number.

    Raises
    ------
    TypeError
        If the fraction is not a real number.
    ValueError
        If it is not between 0 and 1, or would leave nothing to train on or nothing to validate with.
    """
    part = real(fraction, "validation_split")
    if not 0 < part < 1:
        raise ValueError(f"validation_split: expected a fraction above 0 and below 1, got {fraction}")
    count = round(part * samples)
    if not 0 < count < samples:
        raise ValueError(f"validation_split: expected samples on both sides, got {fraction} of {samples} samples")
    return count
