"""Labels of any values, and the classes that they stand for: text, or integers that need not begin at 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier.types import Labels

__all__ = ["Classes", "is_text", "learned_classes", "text_array"]


def is_text(array: Any) -> bool:
    """Return whether an array has labels that are text."""
    return array.dtype.kind in "UT" or (
        array.dtype.kind == "O" and array.size > 0 and all(isinstance(value, str) for value in array.flat)
    )


def text_array(array: Any) -> Any:
    """Return text as NumPy sorts and compares it."""
    return array if array.dtype.kind == "U" else array.astype(str)


class Classes:
    """The labels that outputs stand for, in the order of the outputs.

    Parameters
    ----------
    values : array_like, shape (classes,)
        Integers, or text, all different.

    Raises
    ------
    TypeError, ValueError
        If they are not such.
    """

    def __init__(self, values: Any) -> None:
        array = np.asarray(values)
        if array.ndim != 1 or len(array) == 0 or not (array.dtype.kind in "iub" or is_text(array)):
            raise TypeError(f"classes_: expected a sequence of integers or of text, got {values!r}")
        self.values = text_array(array) if is_text(array) else array.astype(np.int64)
        self._order = np.argsort(self.values, kind="stable")
        self._sorted = self.values[self._order]
        if (self._sorted[1:] == self._sorted[:-1]).any():
            raise ValueError(f"classes_: expected values that are all different, got {values!r}")
        self.is_plain = self.values.dtype.kind != "U" and np.array_equal(self.values, np.arange(len(self.values)))

    def numbers(self, labels: Any, name: str) -> Labels:
        """Return the position of each label among the classes.

        Raises
        ------
        ValueError
            If a label is none of them.
        """
        if self.is_plain and labels.dtype.kind in "iub":
            return np.asarray(labels)  # the core looks at them
        text = is_text(labels)
        if text != (self.values.dtype.kind == "U"):
            raise ValueError(
                f"{name}: expected labels among classes_ = {self._shown()}, got {labels[:1].tolist()[0]!r}"
            )
        values = text_array(labels) if text else labels
        places = np.minimum(np.searchsorted(self._sorted, values), len(self._sorted) - 1)
        unknown = self._sorted[places] != values
        if unknown.any():
            first = values[unknown][0].item()
            raise ValueError(f"{name}: expected labels among classes_ = {self._shown()}, got {first!r}")
        return np.asarray(self._order[places], dtype=np.int64)

    def _shown(self) -> str:
        values = self.values.tolist()
        return repr(values) if len(values) <= 12 else f"[{', '.join(map(repr, values[:10]))}, ... {len(values)} in all]"


def learned_classes(labels: Any, count: int, name: str) -> Classes:
    """Return the classes of labels for so many outputs.

    Integers from 0 to below the count stand for themselves. Of others, and of text, there must be as many different
    values as outputs; these are taken in their order.

    Raises
    ------
    ValueError
        If there are not.
    """
    text = is_text(labels)
    if not text and (len(labels) == 0 or (labels.min() >= 0 and labels.max() < count)):
        return Classes(np.arange(count))
    values = np.unique(text_array(labels) if text else labels)
    if len(values) != count:
        shown = ", ".join(map(repr, values[:10].tolist())) + (", ..." if len(values) > 10 else "")
        own = "" if text else f"labels from 0 to {count - 1}, or "
        raise ValueError(
            f"{name}: expected {own}{count} different labels, one for each output (two for a single output), got "
            f"{len(values)}: {shown}"
        )
    return Classes(values)
