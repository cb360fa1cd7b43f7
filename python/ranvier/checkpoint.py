"""Networks in files: parameters as safetensors, the configuration as JSON in its metadata. No code is ever read."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ranvier import layers as layer_module
from ranvier.layers import CustomLayer, Layer

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


def _layer_from_json(fields: dict[str, Any]) -> Layer:
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    name = fields.pop("layer")
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
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    try:
        save_file(tensors, temporary, {_KEY: json.dumps(config), **(metadata or {})})
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def load(path: str | os.PathLike[str]) -> Network:
    """Read a network that `Network.save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is truncated, of another format, or not of a ranvier network.
    """
    from ranvier.network import Network

    try:
        with safe_open(os.fspath(path), framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)}: not a complete safetensors file ({error})") from None
    if _KEY not in metadata:
        raise ValueError(f"{os.fspath(path)}: a safetensors file, but not of a ranvier network")
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
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: not a network that can be read: {error}") from error
    network.metadata = {name: value for name, value in metadata.items() if name != _KEY}
    return network
