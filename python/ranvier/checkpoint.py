"""Networks in files: parameters as safetensors, the configuration as JSON in its metadata. No code is ever read."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

from ranvier import layers as layer_module
from ranvier.layers import CustomLayer, Layer
from ranvier.types import Array

if TYPE_CHECKING:
    from ranvier.network import Network

__all__ = ["load", "save"]

_FORMAT = 1
_KEY = "ranvier"


def _layer_to_json(layer: Layer | CustomLayer, position: int) -> dict[str, Any]:
    name = type(layer).__name__
    if isinstance(layer, Layer):
        return {"layer": name, **layer.config()}
    raise ValueError(f"layer {position} ({name}): a layer of your own cannot be saved; save state_dict() instead")


def _layer_from_json(fields: Any) -> Layer:
    if not isinstance(fields, dict):
        raise TypeError(f"layers: expected objects, got {type(fields).__name__}")
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    name = str(fields.pop("layer"))
    kind = getattr(layer_module, name) if name in layer_module.__all__ else None
    if not (isinstance(kind, type) and issubclass(kind, Layer) and hasattr(kind, "kind")):
        raise ValueError(f"there is no layer {name!r}")
    return kind(**fields)


def save(network: Network, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write a network to a file, which either is complete or is not there."""
    config = {
        "format": _FORMAT,
        "dtype": network.dtype.name,
        "seed": network.seed,
        "sizes": network.sizes,
        "input_shape": network.input_shape,
        "epochs_trained": network.epochs_trained,
        "layers": [_layer_to_json(layer, position) for position, layer in enumerate(network.layers)],
    }
    tensors = {name: np.ascontiguousarray(value) for name, value in network.parameters().items()}
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        temporary.write_bytes(save_tensors(tensors, {_KEY: json.dumps(config), **(metadata or {})}))
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _read(path: str) -> tuple[dict[str, str], dict[str, Array]]:
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


def load(path: str | os.PathLike[str]) -> Network:
    """Read a network that `Network.save` wrote.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ValueError
        If it is truncated, of another format, or not of a ranvier network.
    """
    from ranvier.network import Network

    metadata, tensors = _read(os.fspath(path))
    try:
        config = json.loads(metadata[_KEY])
        if config["format"] != _FORMAT:
            raise ValueError(f"format {config['format']}; this version reads format {_FORMAT}")
        layers = config["sizes"] or [_layer_from_json(fields) for fields in config["layers"]]
        network = Network(layers, seed=config["seed"], dtype=config["dtype"])
        network.load_state_dict(tensors)
        shape = config["input_shape"]
        network.input_shape = None if shape is None else tuple(int(size) for size in shape)
        network.epochs_trained = int(config["epochs_trained"])
    except (KeyError, TypeError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)}: not a network that can be read: {error}") from error
    network.metadata = {name: value for name, value in metadata.items() if name != _KEY}
    return network
