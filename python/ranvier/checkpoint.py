"""Networks in files, with what training needs to go on."""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ranvier import files, serialization
from ranvier.initializers import Initializer
from ranvier.joint_losses import JointLoss
from ranvier.labels import Classes
from ranvier.layers import Layer, PlainLayer, layers_of_sizes
from ranvier.losses import Loss
from ranvier.serialization import (
    OPTIMIZER,
    File,
    counter_from_json,
    object_from_json,
    object_to_json,
    value_from_json,
    value_to_json,
)
from ranvier.types import Array
from ranvier.wiring import Wiring, wiring_from_json

__all__ = ["Contents", "from_bytes", "opened", "to_bytes", "write"]

_NOT_FINITE = ("nan", "inf", "-inf")


@dataclass
class Contents:
    """What a file has of a network."""

    layers: Sequence[Layer | PlainLayer]
    dtype: str
    seed: int | None
    init: Initializer | None
    input_shape: tuple[int, ...] | None
    epochs: int
    values: Mapping[str, Array]  # parameters and running statistics
    training: Mapping[str, Any] | None = None  # as `Network.training_state_dict` returns it
    history: Mapping[str, list[float]] | None = None
    metadata: dict[str, str] = field(default_factory=dict)  # the user's
    loss: Loss | JointLoss | None = None
    classes: list[int] | list[str] | None = None  # what the outputs stand for
    wiring: Wiring | None = None  # of a network of symbolic values
    sizes: list[int] | None = None  # of the lecture notes' network
    cost: str | None = None  # the name of its cost


def to_bytes(contents: Contents, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a file's contents."""
    config = {
        "dtype": contents.dtype,
        "seed": contents.seed,
        "sizes": contents.sizes,
        "input_shape": contents.input_shape,
        "epochs_trained": contents.epochs,
        "layers": serialization.layers_to_json(contents.layers),
        "wiring": None if contents.wiring is None else contents.wiring.to_json(),
        "init": value_to_json(contents.init, "init"),
        "history": _history_to_json(contents.history),
        "loss": _loss_to_json(contents.loss),
        "classes": contents.classes,
        "cost": contents.cost,
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


def _history_to_json(history: Mapping[str, list[float]] | None) -> dict[str, list[Any]] | None:
    """Return a history whose numbers that are infinite or NaN are text, since JSON does not know them."""
    if history is None:
        return None
    return {name: [float(x) if math.isfinite(x) else str(float(x)) for x in values] for name, values in history.items()}


def _history_from_json(history: Any) -> dict[str, list[float]] | None:
    if history is None:
        return None
    result = {}
    for name, values in history.items():
        if not isinstance(values, list) or not all(type(x) in (int, float) or x in _NOT_FINITE for x in values):
            raise ValueError(f"history: expected lists of numbers, got {values!r} for {name!r}")
        result[name] = [float(x) for x in values]
    if len({len(values) for values in result.values() if values}) > 1:
        raise ValueError("history: expected lists of one length")
    return result


def _loss_to_json(loss: Loss | JointLoss | None) -> Any:
    """Return a loss; None in place of one for several outputs if one of these has a loss of one's own."""
    if not isinstance(loss, JointLoss):
        return value_to_json(loss, "loss")
    if not all(isinstance(own, Loss) for own in loss.losses.values()):
        return None
    losses = {name: value_to_json(own, f"loss.{name}") for name, own in loss.losses.items()}
    return {"losses": losses, "weights": loss.weights}


def _loss_from_json(loss: Any) -> Loss | JointLoss | None:
    if isinstance(loss, dict) and loss.keys() == {"losses", "weights"}:
        return JointLoss({name: value_from_json(own) for name, own in loss["losses"].items()}, loss["weights"])
    value = value_from_json(loss)
    if value is not None and not isinstance(value, Loss):
        raise ValueError(f"loss: expected a loss, got {loss!r}")
    return value


def _classes_from_json(classes: Any) -> list[Any] | None:
    if classes is None:
        return None
    if not isinstance(classes, list) or {type(value) for value in classes} not in ({int}, {str}):
        raise ValueError(f"classes: expected a list of integers or of text, got {classes!r}")
    return list(Classes(classes).values.tolist())


def _from_file(file: File) -> Contents:
    config = file.configuration()
    layers, sizes = serialization.layers_from_json(config["layers"]), config["sizes"]
    if sizes is not None and layers != layers_of_sizes(sizes):
        raise ValueError(f"sizes: expected those of the layers, got {sizes}")
    # Before there is memory for a network whose weights the file may not have.
    values, moments = file.tensors(serialization.parameter_shapes(layers))
    training = config.get("training")
    if training is not None:
        optimizer = training["optimizer"]
        training |= {"optimizer": None if optimizer is None else object_from_json(optimizer), **moments}
    elif moments:
        raise ValueError(f"unknown {sorted(moments)}")
    return Contents(
        sizes=sizes,
        layers=layers,
        dtype=serialization.dtype_from_json(config["dtype"]),
        seed=config["seed"],
        init=value_from_json(config.get("init")),
        input_shape=serialization.shape_from_json(config["input_shape"]),
        epochs=counter_from_json(config["epochs_trained"], "epochs_trained"),
        values=values,
        training=training,
        history=_history_from_json(config.get("history")),
        metadata=file.own_metadata,
        loss=_loss_from_json(config.get("loss")),
        classes=_classes_from_json(config.get("classes")),
        wiring=wiring_from_json(config.get("wiring"), layers),
        cost=config.get("cost"),
    )


def from_bytes(contents: bytes) -> Contents:
    """Return what `to_bytes` was given."""
    return _from_file(File(io.BytesIO(contents), len(contents)))


def write(path: str | os.PathLike[str], contents: Contents, metadata: Mapping[str, str] | None = None) -> None:
    """Write a file, which either is complete or is what it was before."""
    files.replace(os.fspath(path), to_bytes(contents, metadata))


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
    with serialization.opened(os.fspath(path)) as file:
        yield _from_file(file)
