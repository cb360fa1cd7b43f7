"""What the package tells the modules below it, which must not import what stands above them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["class_of_sizes", "class_of_values"]

# Return the classes of the networks that are made from sizes, and from symbolic values.
class_of_sizes: Callable[[], type[Any]]
class_of_values: Callable[[], type[Any]]
