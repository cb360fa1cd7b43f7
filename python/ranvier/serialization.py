"""The format of files: tensors as safetensors, the configuration as JSON in their metadata. No code is ever read."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ranvier import initializers as initializer_module
from ranvier import layers as layer_module
from ranvier import optimizers as optimizer_module
from ranvier import schedules as schedule_module
from ranvier.initializers import Initializer
from ranvier.layers import CustomLayer, Layer
from ranvier.optimizers import Optimizer
from ranvier.schedules import Schedule
from ranvier.types import Array

__all__ = [
    "OPTIMIZER",
    "configuration",
    "explaining",
    "from_bytes",
    "layers_from_json",
    "layers_to_json",
    "object_from_json",
    "object_to_json",
    "own_metadata",
    "read",
    "shape_from_json",
    "to_bytes",
    "value_from_json",
    "value_to_json",
    "without_optimizer",
    "write",
]

OPTIMIZER = "optimizer."  # before the names of the tensors of its state
_FORMAT = 1
_KEY = "ranvier"


# What a file may name: the key of the name, the module with the classes, and what they must derive from.
_KINDS: dict[str, tuple[ModuleType, type]] = {
    "layer": (layer_module, Layer),
    "initializer": (initializer_module, Initializer),
    "optimizer": (optimizer_module, Optimizer),
    "schedule": (schedule_module, Schedule),
}
_BASES = {base for _, base in _KINDS.values()}


def _class_of(key: str, name: Any) -> type:
    module, base = _KINDS[key]
    kind = getattr(module, str(name)) if str(name) in module.__all__ else None
    if not (isinstance(kind, type) and issubclass(kind, base)) or kind in _BASES:
        raise ValueError(f"there is no {key} {str(name)!r}")
    return kind


def value_to_json(value: Any, path: str) -> Any:
    """Return a field's value as JSON has it; ``path`` says in errors where it stands."""
    if isinstance(value, tuple):
        return [value_to_json(item, f"{path}.{position}") for position, item in enumerate(value)]
    if isinstance(value, bool | int | float | str | None):
        return value
    key = next((key for key, (_, base) in _KINDS.items() if isinstance(value, base)), "layer")
    return object_to_json(key, value, path)


def object_to_json(key: str, value: Any, path: str) -> dict[str, Any]:
    """Return the name of the value's class under that key, and its fields.

    Raises
    ------
    ValueError
        If the class is not the library's.
    """
    name, (module, _) = type(value).__name__, _KINDS[key]
    if getattr(module, name, None) is not type(value):
        where = f"{key} {path}".strip()
        raise ValueError(f"{where} ({name}): one of your own cannot be saved; save the network's state_dict() instead")
    fields = value.config().items()
    return {key: name, **{field: value_to_json(item, f"{path}.{field}".lstrip(".")) for field, item in fields}}


def value_from_json(value: Any) -> Any:
    """Return what `value_to_json` was given."""
    if isinstance(value, list):
        return tuple(value_from_json(item) for item in value)
    return object_from_json(value) if isinstance(value, dict) else value


def object_from_json(fields: dict[str, Any]) -> Any:
    """Return what `object_to_json` was given."""
    fields = {name: value_from_json(value) for name, value in fields.items()}
    key = next((key for key in _KINDS if key in fields), "layer")
    return _class_of(key, fields.pop(key))(**fields)


def _layer_from_json(fields: Any) -> Any:
    if not isinstance(fields, dict):
        raise TypeError(f"layers: expected objects, got {type(fields).__name__}")
    return object_from_json(fields)


def layers_to_json(layers: Sequence[Layer | CustomLayer]) -> list[Any]:
    """Return layers as objects of their names and fields."""
    return [value_to_json(layer, str(position)) for position, layer in enumerate(layers)]


def layers_from_json(layers: Sequence[Any]) -> list[Layer]:
    """Return what `layers_to_json` was given."""
    return [_layer_from_json(fields) for fields in layers]


def shape_from_json(shape: Any) -> tuple[int, ...] | None:
    """Return the shape of a sample, or None."""
    return None if shape is None else tuple(int(size) for size in shape)


def to_bytes(config: dict[str, Any], tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a file's contents."""
    from safetensors.numpy import save  # here and below, so that importing this stays quick

    plain = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    return save(plain, {_KEY: json.dumps({"format": _FORMAT, **config}), **(metadata or {})})


def from_bytes(contents: bytes) -> tuple[dict[str, str], dict[str, Array]]:
    """Return metadata and tensors of what `to_bytes` returned."""
    from safetensors.numpy import load

    tensors = load(contents)
    header = json.loads(contents[8 : 8 + int.from_bytes(contents[:8], "little")])  # so the format begins
    return header.get("__metadata__", {}), tensors


def write(path: str, contents: bytes) -> None:
    """Write a file, which either is complete or is not there."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.urandom(8).hex()}")
    try:
        with open(temporary, "wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())  # else a power cut could leave the new name with the old file's end missing
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def read(path: str) -> tuple[dict[str, str], dict[str, Array]]:
    """Return a file's metadata and tensors.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ValueError
        If it is truncated, or not of a ranvier network.
    """
    from safetensors import SafetensorError, safe_open

    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise ValueError(f"{path}: a safetensors file, but not of a ranvier network")
            return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: not a complete safetensors file ({error})") from None
    except TypeError as error:  # a type that NumPy does not know, like bfloat16
        raise ValueError(f"{path}: not a network that can be read: {error}") from None


def configuration(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the configuration that `to_bytes` was given.

    Raises
    ------
    ValueError
        If it is of another format.
    """
    config: dict[str, Any] = json.loads(metadata[_KEY])
    if config["format"] != _FORMAT:
        raise ValueError(f"format {config['format']}; this version reads format {_FORMAT}")
    return config


def own_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the entries that the user added."""
    return {name: value for name, value in metadata.items() if name != _KEY}


def without_optimizer(tensors: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the tensors of the network, and those of the optimizer's state by their own names."""
    state = {name for name in tensors if name.startswith(OPTIMIZER)}
    values = {name: value for name, value in tensors.items() if name not in state}
    return values, {name.removeprefix(OPTIMIZER): tensors[name] for name in sorted(state)}


@contextlib.contextmanager
def explaining(path: str) -> Iterator[None]:
    """Turn whatever a wrong configuration causes into a ValueError that names the file."""
    try:
        yield
    except (KeyError, TypeError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"{path}: not a network that can be read: {error}") from error
