"""Networks in files: parameters as safetensors, the configuration as JSON in its metadata. No code is ever read."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier import initializers as initializer_module
from ranvier import layers as layer_module
from ranvier import optimizers as optimizer_module
from ranvier import schedules as schedule_module
from ranvier.data import as_values
from ranvier.initializers import Initializer
from ranvier.layers import Layer
from ranvier.optimizers import Optimizer
from ranvier.schedules import Schedule
from ranvier.types import Array

if TYPE_CHECKING:
    from ranvier.network import Network

__all__ = ["load", "save"]

_FORMAT = 1
_KEY = "ranvier"
_OPTIMIZER = "optimizer."  # before the names of its state


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


def _value_to_json(value: Any, path: str) -> Any:
    if isinstance(value, tuple):
        return [_value_to_json(item, f"{path}.{position}") for position, item in enumerate(value)]
    if isinstance(value, bool | int | float | str | None):
        return value
    key = next((key for key, (_, base) in _KINDS.items() if isinstance(value, base)), "layer")
    return _object_to_json(key, value, path)


def _object_to_json(key: str, value: Any, path: str) -> dict[str, Any]:
    """Return the name of the value's class under that key, and its fields."""
    name, (module, _) = type(value).__name__, _KINDS[key]
    if getattr(module, name, None) is not type(value):
        where = f"{key} {path}".strip()
        raise ValueError(f"{where} ({name}): one of your own cannot be saved; save state_dict() instead")
    fields = value.config().items()
    return {key: name, **{field: _value_to_json(item, f"{path}.{field}".lstrip(".")) for field, item in fields}}


def _value_from_json(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value_from_json(item) for item in value)
    return _object_from_json(value) if isinstance(value, dict) else value


def _object_from_json(fields: dict[str, Any]) -> Any:
    fields = {name: _value_from_json(value) for name, value in fields.items()}
    key = next((key for key in _KINDS if key in fields), "layer")
    return _class_of(key, fields.pop(key))(**fields)


def _layer_from_json(fields: Any) -> Any:
    if not isinstance(fields, dict):
        raise TypeError(f"layers: expected objects, got {type(fields).__name__}")
    return _object_from_json(fields)


def _optimizer_to_json(network: Network) -> tuple[dict[str, Any] | None, dict[str, Array]]:
    if network._optimizer is None:
        return None, {}
    settings, state = network._optimizer
    config = _object_to_json("optimizer", settings, "")
    config |= {"steps": state.steps, "learning_rate_factor": network.learning_rate_factor}
    return config, {_OPTIMIZER + name: value for name, value in state.state.items()}


def _restore_optimizer(network: Network, config: dict[str, Any], tensors: dict[str, Array]) -> None:
    steps, factor = int(config.pop("steps")), config.pop("learning_rate_factor", 1.0)
    state = network._optimizer_state(_object_from_json(config))
    state.steps = steps
    network.learning_rate_factor = factor
    if {_OPTIMIZER + part for part in state.state} != tensors.keys():
        raise ValueError(f"expected the optimizer's {sorted(state.state)}, got {sorted(tensors)}")
    for part, value in state.state.items():
        value[...] = as_values(tensors[_OPTIMIZER + part], value.shape, value.dtype, part)


def save(
    network: Network,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    training_state: bool = False,
) -> None:
    """Write a network to a file, which either is complete or is not there."""
    config = {
        "format": _FORMAT,
        "dtype": network.dtype.name,
        "seed": network.seed,
        "sizes": network.sizes,
        "input_shape": network.input_shape,
        "epochs_trained": network.epochs_trained,
        "layers": [_value_to_json(layer, str(position)) for position, layer in enumerate(network.layers)],
        "init": _value_to_json(network.init, "init"),
    }
    tensors = {name: np.ascontiguousarray(value) for name, value in network.engine.values()}
    if training_state:
        config["training_passes"] = network.engine.training_passes
        config["optimizer"], state = _optimizer_to_json(network)
        tensors |= state
    _write(os.fspath(path), tensors, {_KEY: json.dumps(config), **(metadata or {})})


def _write(path: str, tensors: dict[str, Array], metadata: dict[str, str]) -> None:
    from safetensors.numpy import save as save_tensors  # here and below, so that `import ranvier` stays quick

    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.urandom(8).hex()}")
    try:
        with open(temporary, "wb") as file:
            file.write(save_tensors(tensors, metadata))
            file.flush()
            os.fsync(file.fileno())  # else a power cut could leave the new name with the old file's end missing
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _read(path: str) -> tuple[dict[str, str], dict[str, Array]]:
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
        network = Network(layers, seed=config["seed"], dtype=config["dtype"], init=_value_from_json(config.get("init")))
        network.load_state_dict({name: value for name, value in tensors.items() if not name.startswith(_OPTIMIZER)})
        network.engine.training_passes = int(config.get("training_passes", 0))
        if config.get("optimizer") is not None:
            state = {name: value for name, value in tensors.items() if name.startswith(_OPTIMIZER)}
            _restore_optimizer(network, dict(config["optimizer"]), state)
        shape = config["input_shape"]
        network.input_shape = None if shape is None else tuple(int(size) for size in shape)
        network.epochs_trained = int(config["epochs_trained"])
    except (KeyError, TypeError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)}: not a network that can be read: {error}") from error
    network.metadata = {name: value for name, value in metadata.items() if name != _KEY}
    return network
