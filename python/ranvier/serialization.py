"""The format of files: tensors as safetensors, the configuration as JSON in their metadata. No code is ever read.

https://github.com/huggingface/safetensors describes the format. It is read here, and not by its own package, since that
takes files into memory by mmap, which faults if a file becomes shorter meanwhile, and before its shapes are compared.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ranvier import _core
from ranvier import initializers as initializer_module
from ranvier import layers as layer_module
from ranvier import losses as loss_module
from ranvier import optimizers as optimizer_module
from ranvier import schedules as schedule_module
from ranvier.checks import sizes
from ranvier.custom import CustomLayer, registered_layer
from ranvier.files import require_regular
from ranvier.initializers import Initializer
from ranvier.layers import Layer, PlainLayer, layer_spec
from ranvier.losses import Loss
from ranvier.optimizers import Optimizer, ParameterGroup
from ranvier.schedules import LRScheduler
from ranvier.types import Array

__all__ = [
    "OPTIMIZER",
    "File",
    "counter_from_json",
    "dtype_from_json",
    "explaining",
    "layers_from_json",
    "layers_to_json",
    "object_from_json",
    "object_to_json",
    "opened",
    "parameter_shapes",
    "shape_from_json",
    "to_bytes",
    "value_from_json",
    "value_to_json",
]

OPTIMIZER = "optimizer."  # before the names of the tensors of its state
_FORMAT = 1
_KEY = "ranvier"
# Of safetensors: the bytes that tell the header's length, the most that it may have, and the dtypes that are read.
_LENGTH = 8
_ZIP = b"PK\x03\x04"  # how files of torch.save begin
_LONGEST_HEADER = 100_000_000
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_LARGEST_COUNTER = 2**53


# What a file may name: the key of the name, the module with the classes, and what they must derive from.
_KINDS: dict[str, tuple[ModuleType, type]] = {
    "layer": (layer_module, Layer),
    "loss": (loss_module, Loss),
    "initializer": (initializer_module, Initializer),
    "optimizer": (optimizer_module, Optimizer),
    "group": (optimizer_module, ParameterGroup),
    "schedule": (schedule_module, LRScheduler),
}
_BASES = {Layer, Loss, Initializer, Optimizer, LRScheduler}


def _class_of(key: str, name: Any) -> type:
    module, base = _KINDS[key]
    kind = getattr(module, str(name)) if str(name) in module.__all__ else None
    if key == "layer":
        kind = kind or registered_layer(str(name))
    if not (isinstance(kind, type) and issubclass(kind, base)) or kind in _BASES:
        hint = "; if it is a CustomLayer, import its class, with register_layer, before the file is read"
        raise ValueError(f"there is no {key} {str(name)!r}{hint if key == 'layer' else ''}")
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
    if getattr(module, name, None) is not type(value) and registered_layer(name) is not type(value):
        where = f"{key} {path}".strip()
        if isinstance(value, CustomLayer):
            raise ValueError(f"{where} ({name}): expected a class that files know; decorate it with register_layer")
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


def layers_to_json(layers: Sequence[Layer | PlainLayer]) -> list[Any]:
    """Return layers as objects of their names and fields."""
    return [value_to_json(layer, str(position)) for position, layer in enumerate(layers)]


def layers_from_json(layers: Sequence[Any]) -> list[Layer]:
    """Return what `layers_to_json` was given."""
    if not layers:
        raise ValueError("layers: expected at least one layer, got none")
    return [_layer_from_json(fields) for fields in layers]


def to_bytes(config: dict[str, Any], tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a file's contents.

    Raises
    ------
    TypeError
        If the metadata are no mapping of str to str.
    ValueError
        If they have the library's own entry, or are too long for the format.
    """
    from safetensors import SafetensorError  # here, so that importing this stays quick
    from safetensors.numpy import save

    if not isinstance(metadata, Mapping | None):
        raise TypeError(f"metadata: expected a mapping, got {type(metadata).__name__}")
    own = dict(metadata or {})
    for name, value in own.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"metadata: expected str for str, got {value!r} for {name!r}")
    if _KEY in own:
        raise ValueError(f"metadata: expected other entries than {_KEY!r}, which holds the network's configuration")
    entries = {_KEY: json.dumps({"format": _FORMAT, **config}, allow_nan=False), **own}
    for name, value in entries.items():
        try:
            (name + value).encode()
        except UnicodeEncodeError:
            raise ValueError(f"metadata: expected text that UTF-8 can encode, got {value!r} for {name!r}") from None
    try:
        contents = save({name: np.asarray(value, order="C") for name, value in tensors.items()}, entries)
    except SafetensorError as error:  # from some version on
        raise ValueError(f"metadata: expected some that the format can hold: {error}") from None
    if int.from_bytes(contents[:_LENGTH], "little") > _LONGEST_HEADER:
        raise ValueError(f"metadata: expected some that the format can hold: more than {_LONGEST_HEADER} bytes")
    return contents


class _Tensor(NamedTuple):
    """Where a tensor is in the data, and what it is."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def bytes(self) -> int:
        return np.dtype(_DTYPES[self.dtype]).itemsize * math.prod(self.shape)


class File:
    """A file's header: metadata, and the names and shapes of its tensors, which are read when asked for.

    Parameters
    ----------
    stream : binary file
        At its beginning.
    size : int
        Its bytes.

    Raises
    ------
    ValueError
        If it is no complete safetensors file, or not of a ranvier network.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        start = stream.read(_LENGTH)
        if start.startswith(_ZIP):
            raise ValueError(
                "not a safetensors file; if torch.save wrote a state_dict, make the network, and give "
                "network.load_state_dict() what torch.load() returns"
            )
        length = int.from_bytes(start, "little")
        if size < _LENGTH or length > min(size - _LENGTH, _LONGEST_HEADER):
            raise ValueError("not a complete safetensors file")
        self._begin = _LENGTH + length
        try:
            header = json.loads(stream.read(length).decode(), parse_constant=_no_number)
            metadata = header.pop("__metadata__", {})
            is_ours = _KEY in metadata
            self._tensors = {name: _tensor(**fields) for name, fields in header.items()} if is_ours else {}
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"not a complete safetensors file ({error})") from None
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("not a complete safetensors file (metadata that are no text)")
        if not is_ours:
            raise ValueError(
                "a safetensors file, but not of a ranvier network; if it has a state_dict, make the network, and give "
                "network.load_state_dict() what safetensors' load_file() returns"
            )
        at = 0
        for tensor in sorted(self._tensors.values(), key=lambda tensor: (tensor.begin, tensor.end)):
            if tensor.begin != at or tensor.end - at != tensor.bytes:
                raise ValueError("not a complete safetensors file (tensors that do not follow each other)")
            at = tensor.end
        if self._begin + at != size:
            raise ValueError(f"not a complete safetensors file ({size} bytes, of {self._begin + at})")
        self.metadata: dict[str, str] = metadata

    @property
    def own_metadata(self) -> dict[str, str]:
        """The entries that the user added."""
        return {name: value for name, value in self.metadata.items() if name != _KEY}

    def configuration(self) -> dict[str, Any]:
        """Return the configuration that `to_bytes` was given.

        Raises
        ------
        ValueError
            If it is of another format.
        """
        config = json.loads(self.metadata[_KEY], parse_constant=_no_number)
        if not isinstance(config, dict):
            raise ValueError(f"configuration: expected an object, got {type(config).__name__}")
        if config.get("format") != _FORMAT:
            raise ValueError(f"format {config.get('format')!r}; this version reads format {_FORMAT}")
        return config

    def tensors(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the network's tensors, and those of the optimizer's state by their own names.

        Parameters
        ----------
        shapes : mapping of str to tuple of int
            Of the network's tensors. Nothing is read unless the file has exactly these.
        """
        found = {name: tensor.shape for name, tensor in self._tensors.items() if not name.startswith(OPTIMIZER)}
        if missing := shapes.keys() - found.keys():
            raise ValueError(f"missing {sorted(missing)}")
        if unknown := found.keys() - shapes.keys():
            raise ValueError(f"unknown {sorted(unknown)}")
        for name, shape in shapes.items():
            if found[name] != shape:
                raise ValueError(f"{name}: expected shape {shape}, got {found[name]}")
        state = sorted(self._tensors.keys() - found.keys())
        return {name: self._read(name) for name in shapes}, {
            name.removeprefix(OPTIMIZER): self._read(name) for name in state
        }

    def _read(self, name: str) -> Array:
        tensor = self._tensors[name]
        array = np.empty(tensor.shape, _DTYPES[tensor.dtype])
        self._stream.seek(self._begin + tensor.begin)
        if self._stream.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:  # type: ignore[attr-defined]
            raise ValueError("not a complete safetensors file (it became shorter)")
        return array


def _no_number(text: str) -> Any:
    raise ValueError(f"expected JSON, got {text}")


def _tensor(dtype: Any, shape: Any, data_offsets: Any) -> _Tensor:
    if dtype not in _DTYPES:
        raise ValueError(f"expected a dtype of {', '.join(_DTYPES)}, got {dtype!r}")
    begin, end = data_offsets
    numbers = [*shape, begin, end]
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise ValueError(f"expected shapes and offsets of integers, got {numbers}")
    return _Tensor(dtype, tuple(shape), begin, end)


@contextlib.contextmanager
def opened(path: str) -> Iterator[File]:
    """Open a file; whatever is wrong with it is a ValueError that names it, within the with statement, too.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ValueError
        If it is truncated, or not of a ranvier network, or the configuration makes no sense.
    """
    require_regular(path)
    with open(path, "rb") as stream:
        try:
            file = File(stream, os.fstat(stream.fileno()).st_size)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        with explaining(path):
            yield file


@contextlib.contextmanager
def explaining(path: str) -> Iterator[None]:
    """Turn whatever a wrong configuration causes into a ValueError that names the file."""
    try:
        yield
    except (AttributeError, ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a network that can be read: {error}") from error


def parameter_shapes(layers: Sequence[Layer | PlainLayer]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter and running statistic of a network by its name, without making one."""
    return _core.parameter_shapes([layer_spec(layer) for layer in layers])


def dtype_from_json(name: Any) -> str:
    """Return the name of a network's dtype.

    Raises
    ------
    ValueError
        If it is none.
    """
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype: expected 'float32' or 'float64', got {name!r}")
    return str(name)


def counter_from_json(value: Any, name: str) -> int:
    """Return a number of batches or epochs.

    Raises
    ------
    TypeError, ValueError
        If it is none.
    """
    if type(value) is not int:
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if not 0 <= value <= _LARGEST_COUNTER:
        raise ValueError(f"{name}: expected an int from 0 to {_LARGEST_COUNTER}, got {value}")
    return value


def shape_from_json(shape: Any) -> tuple[int, ...] | None:
    """Return the shape of a sample, or None."""
    return None if shape is None else sizes(shape, "input_shape")
