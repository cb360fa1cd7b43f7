"""Networks in files, with what training needs to go on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ranvier import serialization
from ranvier.initializers import Initializer
from ranvier.layers import CustomLayer, Layer
from ranvier.serialization import OPTIMIZER, object_from_json, object_to_json, value_from_json, value_to_json
from ranvier.types import Array

__all__ = ["Contents", "from_bytes", "opened", "to_bytes", "write"]


@dataclass
class Contents:
    """What a file has of a network."""

    layers: Sequence[Layer | CustomLayer]
    sizes: list[int] | None
    dtype: str
    seed: int | None
    init: Initializer | None
    input_shape: tuple[int, ...] | None
    epochs: int
    values: Mapping[str, Array]  # parameters and running statistics
    training: Mapping[str, Any] | None = None  # as `Network.training_state_dict` returns it
    history: Mapping[str, list[float]] | None = None
    metadata: dict[str, str] = field(default_factory=dict)  # the user's


def to_bytes(contents: Contents, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a file's contents."""
    config = {
        "dtype": contents.dtype,
        "seed": contents.seed,
        "sizes": contents.sizes,
        "input_shape": contents.input_shape,
        "epochs_trained": contents.epochs,
        "layers": serialization.layers_to_json(contents.layers),
        "init": value_to_json(contents.init, "init"),
        "history": contents.history,
    }
    tensors = dict(contents.values)
    if contents.training is not None:
        config["training"], moments = _training_to_json(contents.training)
        tensors |= moments
    return serialization.to_bytes(config, tensors, metadata)


def _training_to_json(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the numbers and the arrays of a training's state."""
    numbers = {name: value for name, value in state.items() if not hasattr(value, "dtype")}
    moments = {OPTIMIZER + name: value for name, value in state.items() if name not in numbers}
    optimizer = numbers["optimizer"]
    numbers["optimizer"] = None if optimizer is None else object_to_json("optimizer", optimizer, "")
    return numbers, moments


def _from_parts(metadata: dict[str, str], tensors: dict[str, Array]) -> Contents:
    config = serialization.configuration(metadata)
    values, moments = serialization.without_optimizer(tensors)
    training = config.get("training")
    if training is not None:
        optimizer = training["optimizer"]
        training |= {"optimizer": None if optimizer is None else object_from_json(optimizer), **moments}
    return Contents(
        sizes=config["sizes"],
        layers=serialization.layers_from_json(config["layers"]),
        dtype=config["dtype"],
        seed=config["seed"],
        init=value_from_json(config.get("init")),
        input_shape=serialization.shape_from_json(config["input_shape"]),
        epochs=int(config["epochs_trained"]),
        values=values,
        training=training,
        history=config.get("history"),
        metadata=serialization.own_metadata(metadata),
    )


def from_bytes(contents: bytes) -> Contents:
    """Return what `to_bytes` was given."""
    return _from_parts(*serialization.from_bytes(contents))


def write(path: str | os.PathLike[str], contents: Contents, metadata: Mapping[str, str] | None = None) -> None:
    """Write a file, which either is complete or is not there."""
    serialization.write(os.fspath(path), to_bytes(contents, metadata))


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Contents]:
    """Read a file; what is wrong with it, also found out later, is a ValueError that names it.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ValueError
        If it is truncated, of another format, or not of a ranvier network.
    """
    metadata, tensors = serialization.read(os.fspath(path))
    with serialization.explaining(os.fspath(path)):
        yield _from_parts(metadata, tensors)
