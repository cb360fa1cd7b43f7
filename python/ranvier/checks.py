"""Checks of single arguments: each names what was expected and what came, and returns a plain value or an array.

Plain values compare, hash and go into files alike, whether a NumPy scalar or an int was handed over.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ranvier.types import Array

__all__ = [
    "as_values",
    "boolean",
    "integer",
    "integers",
    "nonnegative",
    "positive",
    "real",
    "real_array",
    "require_instance",
    "require_real",
    "set_fields",
    "sizes",
]

_LARGEST = 2**31 - 1  # of any size or count; products of two still fit 64 bits


def boolean(value: object, name: str) -> bool:
    """Return value as a bool.

    Raises
    ------
    TypeError
        If it is not one.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected a bool, got {type(value).__name__}")
    return bool(value)


def integer(value: object, name: str, least: int) -> int:
    """Return value as an int.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is below ``least`` or does not fit 32 bits.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    if value > _LARGEST:
        raise ValueError(f"{name}: expected at most {_LARGEST}, got {value}")
    return int(value)


def integers(value: object, name: str, least: int) -> int | tuple[int, int]:
    """Return value as an int or a pair of ints, checked like `integer`."""
    if not isinstance(value, tuple | list):
        return integer(value, name, least)
    if len(value) != 2:
        raise ValueError(f"{name}: expected an int or a pair of ints, got {len(value)} items")
    return integer(value[0], name, least), integer(value[1], name, least)


def sizes(value: object, name: str) -> tuple[int, ...]:
    """Return a shape as a tuple of ints, each checked like `integer` to be at least 0."""
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name}: expected a tuple of ints, got {type(value).__name__}")
    return tuple(integer(size, name, 0) for size in value)


def real(value: object, name: str) -> float:
    """Return value as a float.

    Raises
    ------
    TypeError
        If it is not a real number.
    ValueError
        If it is not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # an int
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {number}")
    return number


def nonnegative(value: object, name: str, below: float = math.inf) -> float:
    """Return value as a float from 0 to below a limit.

    Raises
    ------
    TypeError
        If it is not a real number.
    ValueError
        If it is not in that range.
    """
    number = real(value, name)
    if not 0 <= number < below:
        limit = "" if below == math.inf else f" to below {below:g}"
        raise ValueError(f"{name}: expected a number from 0{limit}, got {value}")
    return number


def positive(value: object, name: str) -> float:
    """Return value as a float above 0.

    Raises
    ------
    TypeError
        If it is not a real number.
    ValueError
        If it is not above 0.
    """
    number = real(value, name)
    if number <= 0:
        raise ValueError(f"{name}: expected a number above 0, got {value}")
    return number


def real_array(value: object, name: str) -> Array:
    """Return value as an array.

    Raises
    ------
    TypeError
        If it is not of real numbers.
    """
    array = _from_tensor(value, name) if hasattr(value, "detach") else np.asarray(value)
    require_real(array, name)
    return array


def _from_tensor(tensor: Any, name: str) -> Array:
    """Return a tensor of PyTorch as an array.

    NumPy lacks bfloat16 and the floats of 8 bits; float32 holds each of their numbers.
    """
    if tensor.is_meta:
        raise ValueError(f"{name}: expected a tensor with data, got one on the device meta")
    tensor = tensor.detach().cpu()
    try:
        return np.asarray(tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor)
    except (RuntimeError, TypeError):  # sparse, quantized, conjugate
        raise TypeError(
            f"{name}: expected a dense tensor of real numbers, got {tensor.dtype} ({tensor.layout})"
        ) from None


def require_real(array: Any, name: str) -> None:
    """Raise a TypeError unless an array, or something with such a dtype, is of real numbers."""
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected an array of real numbers, got dtype {array.dtype}")


def as_values(value: object, shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> Array:
    """Return value as an array of exactly that shape, to be copied into a parameter.

    Raises
    ------
    TypeError
        If it is not of real numbers.
    ValueError
        If its shape differs.
    """
    array = real_array(value, name)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array.astype(dtype, copy=False)


def require_instance(value: object, name: str) -> None:
    """Raise a TypeError if the value is a class, where an instance of it belongs."""
    if isinstance(value, type):
        raise TypeError(f"{name}: expected an instance, as {value.__name__}(...), got the class {value.__name__}")


def set_fields(instance: object, **fields: Any) -> None:
    """Set fields of a frozen dataclass, for its ``__post_init__``."""
    for name, value in fields.items():
        object.__setattr__(instance, name, value)
