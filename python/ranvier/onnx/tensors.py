"""Arrays from an ONNX file: what a tensor claims is compared with what there is before there is memory for it."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from onnx import TensorProto

from ranvier.files import require_regular
from ranvier.types import Array

__all__ = ["DTYPES", "array_of"]

# The types of tensors that are read, and the field that has their numbers unless they are raw bytes.
DTYPES: dict[int, tuple[Any, str]] = {
    TensorProto.FLOAT: (np.float32, "float_data"),
    TensorProto.DOUBLE: (np.float64, "double_data"),
    TensorProto.INT32: (np.int32, "int32_data"),
    TensorProto.INT64: (np.int64, "int64_data"),
    TensorProto.BOOL: (np.bool_, "int32_data"),
    TensorProto.UINT8: (np.uint8, "int32_data"),
    TensorProto.INT8: (np.int8, "int32_data"),
}


def array_of(tensor: Any, folder: str) -> Array:
    """Return a tensor's array, which may lie in another file of the folder.

    Raises
    ------
    ValueError
        If it is of another type, or what it claims is not there.
    """
    name = tensor.name
    if tensor.data_type not in DTYPES:
        raise ValueError(f"tensor {name!r}: expected floats, doubles or integers, got type {_type_name(tensor)}")
    dtype, field = DTYPES[tensor.data_type]
    shape = tuple(tensor.dims)
    if not all(0 <= size < 2**31 for size in shape):
        raise ValueError(f"tensor {name!r}: expected a shape, got {shape}")
    count, little_endian = math.prod(shape), np.dtype(dtype).newbyteorder("<")
    if tensor.data_location == TensorProto.EXTERNAL:
        contents = _external(tensor, folder, count * little_endian.itemsize)
    elif tensor.HasField("raw_data"):
        contents = tensor.raw_data
    else:
        numbers = getattr(tensor, field)
        if len(numbers) != count:
            raise ValueError(f"tensor {name!r}: expected {count} numbers for shape {shape}, got {len(numbers)}")
        return np.array(numbers).astype(dtype).reshape(shape)
    if len(contents) != count * little_endian.itemsize:
        raise ValueError(f"tensor {name!r}: expected {count} numbers for shape {shape}, got {len(contents)} bytes")
    return np.frombuffer(contents, little_endian).astype(dtype).reshape(shape)


def _type_name(tensor: Any) -> str:
    try:
        return str(TensorProto.DataType.Name(tensor.data_type))
    except ValueError:
        return str(tensor.data_type)


def _external(tensor: Any, folder: str, size: int) -> bytes:
    """Return so many bytes of another file."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    where, problem = entries.get("location", ""), f"tensor {tensor.name!r}: external data:"
    is_relative = bool(where) and "\0" not in where and not os.path.isabs(where)
    root = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(root, where)) if is_relative else ""
    if not is_relative or os.path.commonpath([path, root]) != root:
        raise ValueError(f"{problem} expected a file in the folder of the model, got {where!r}")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
    except ValueError:
        raise ValueError(f"{problem} expected numbers, got {entries}") from None
    if offset < 0 or length != size:
        raise ValueError(f"{problem} expected {size} bytes, got a length of {length} from {offset} on")
    try:
        require_regular(path)
        with open(path, "rb") as stream:
            if offset + size > os.fstat(stream.fileno()).st_size:
                raise ValueError(f"{problem} expected {size} bytes from {offset} on in {where}, which is shorter")
            stream.seek(offset)
            return stream.read(size)
    except OSError as error:
        raise ValueError(f"{problem} cannot read {where}: {error.strerror}") from None
