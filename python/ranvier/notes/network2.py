"""The notes' own file of a network: the JSON text that the ``save`` of their ``network2.py`` writes."""

from __future__ import annotations

import json
import os
from typing import Any

__all__ = ["is_json", "read"]


def is_json(path: str | os.PathLike[str]) -> bool:
    """Return whether a file begins as such a text does; a safetensors file begins with a length of 8 bytes."""
    with open(path, "rb") as file:
        beginning = file.read(8)
    return beginning.lstrip().startswith(b"{") and b"\0" not in beginning


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return sizes, weights, biases and the cost's name.

    Raises
    ------
    ValueError
        If the text is not JSON, or has not these four.
    """
    with open(path, encoding="utf-8") as file:
        try:
            contents = json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{os.fspath(path)}: not the JSON of a network ({error})") from None
    names = {"sizes", "weights", "biases", "cost"}
    if not isinstance(contents, dict) or contents.keys() != names:
        raise ValueError(f"{os.fspath(path)}: expected {sorted(names)} of a network, got other contents")
    return contents
