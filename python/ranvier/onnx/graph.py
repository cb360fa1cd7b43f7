"""An ONNX file as a graph: the nodes that an output needs, in an order in which they can run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import numpy as np
from google.protobuf.message import DecodeError
from onnx import AttributeProto, ModelProto, TensorProto, defs

from ranvier.files import require_regular
from ranvier.onnx.tensors import DTYPES, array_of
from ranvier.types import Array

__all__ = ["Graph", "GraphInput", "Node", "Shape", "parsed"]

Shape = tuple["int | None", ...]  # None: a size that is not known

_OLDEST_OPSET = 6
_LARGEST_FILE = 2**31 - 1  # of protobuf


class Node(NamedTuple):
    """An operator with its attributes; the domain is "" for those of ONNX itself."""

    number: int
    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    domain: str = ""

    def refuse(self, reason: object) -> NoReturn:
        """Raise a ValueError that names the node and the reason."""
        raise ValueError(f"node {self.name!r} ({self.op}): {reason}")


class GraphInput(NamedTuple):
    """An input of a graph.

    Attributes
    ----------
    name : str
    shape : Shape or None
        With the batch, or None if not even the number of axes is known.
    dtype : dtype
    """

    name: str
    shape: Shape | None
    dtype: np.dtype[Any]


@dataclass
class Graph:
    """What is needed for the outputs.

    Attributes
    ----------
    nodes : list of Node
        Each behind those that it needs.
    inputs : list of GraphInput
        Those that are not constant.
    outputs : list of str
    opset : int
    metadata : dict of str to str
    """

    nodes: list[Node]
    inputs: list[GraphInput]
    outputs: list[str]
    opset: int
    metadata: dict[str, str]
    folder: str
    _initializers: dict[str, Any] = field(default_factory=dict)

    def is_initializer(self, name: str) -> bool:
        """Return whether a value is a tensor of the file."""
        return name in self._initializers

    def initializer(self, name: str) -> Array:
        """Return a tensor of the file."""
        return array_of(self._initializers[name], self.folder)


def parsed(path: str, output: str | None) -> Graph:
    """Read a file as far as an output needs it, or for None as those of floats do.

    Raises
    ------
    ValueError
        If it is no ONNX file, or no graph.
    """
    require_regular(path)
    with open(path, "rb") as stream:
        if os.fstat(stream.fileno()).st_size > _LARGEST_FILE:
            raise ValueError("expected a file of less than 2 GiB, as protobuf has them")
        contents = stream.read()
    model = ModelProto()
    try:
        model.ParseFromString(contents)
    except (DecodeError, RuntimeError, ValueError) as error:
        raise ValueError(f"expected a file of ONNX: {error}") from None
    if not model.HasField("graph") or not model.graph.output:
        raise ValueError("expected a file of ONNX, got one without a graph")
    opset = _opset(model)
    graph = model.graph
    initializers = _by_name(((tensor.name, tensor) for tensor in graph.initializer), "tensors")
    inputs = _by_name(((value.name, value) for value in graph.input), "inputs")
    chosen = _chosen_outputs(graph.output, output)
    nodes = _ordered(graph.node, chosen, {*initializers, *inputs})
    used = {*chosen, *(name for node in nodes for name in node.inputs)}
    own = [_input(value) for name, value in inputs.items() if name in used and name not in initializers]
    if not own:
        raise ValueError("expected an input, got none that an output needs")
    return Graph(
        nodes=nodes,
        inputs=own,
        outputs=chosen,
        opset=opset,
        metadata={entry.key: entry.value for entry in model.metadata_props},
        folder=os.path.dirname(os.path.abspath(path)),
        _initializers=initializers,
    )


def _input(value: Any) -> GraphInput:
    shape, dtype = _tensor_type(value, f"input {value.name!r}")
    if dtype is np.uint8:
        raise ValueError(f"input {value.name!r}: expected floats, as a network takes bytes for fractions of 255")
    if shape == ():
        raise ValueError(f"input {value.name!r}: expected a batch of samples, got a single number")
    return GraphInput(value.name, shape, np.dtype(dtype))


def _opset(model: Any) -> int:
    newest = defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            if not _OLDEST_OPSET <= entry.version <= newest:
                raise ValueError(f"expected an opset from {_OLDEST_OPSET} to {newest}, got {entry.version}")
            return int(entry.version)
    raise ValueError("expected an opset of ONNX's own operators, got none")


def _by_name(pairs: Iterable[tuple[str, Any]], what: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if not name or name in found:
            raise ValueError(f"{what}: expected different names, got {name!r} twice or none")
        found[name] = value
    return found


def _tensor_type(value: Any, what: str) -> tuple[Shape | None, Any]:
    kind = value.type.tensor_type if value.type.HasField("tensor_type") else None
    if kind is None or kind.elem_type not in DTYPES:
        raise ValueError(f"{what}: expected a tensor of floats, doubles or integers")
    if not kind.HasField("shape"):
        return None, DTYPES[kind.elem_type][0]
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    if any(size is not None and not 0 <= size < 2**31 for size in sizes):
        raise ValueError(f"{what}: expected a shape, got {sizes}")
    return tuple(sizes), DTYPES[kind.elem_type][0]


def _chosen_outputs(outputs: Any, wanted: str | None) -> list[str]:
    names = [value.name for value in outputs]
    if wanted is not None:
        if wanted not in names:
            raise ValueError(f"output: expected one of {names}, got {wanted!r}")
        return [wanted]
    floats = [
        value.name
        for value in outputs
        if value.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.UNDEFINED)
    ]
    chosen = names if len(names) == 1 else floats
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"output: expected outputs of floats, with different names, got {names}")
    return chosen


def _ordered(protos: Any, outputs: Sequence[str], given: set[str]) -> list[Node]:
    """Return the nodes that outputs need, each behind those that it needs."""
    makers: dict[str, int] = {}
    for number, proto in enumerate(protos):
        for name in proto.output:
            if name and (name in makers or name in given):
                raise ValueError(f"node {proto.name!r} ({proto.op_type}): gives {name!r}, which there is already")
            makers.setdefault(name, number)
    makers.pop("", None)
    order: list[Node] = []
    begun: set[int] = set()
    done: set[int] = set()
    todo: list[tuple[str, bool]] = [(name, False) for name in reversed(outputs)]
    while todo:
        name, is_ready = todo.pop()
        if name not in makers:
            if name not in given:
                raise ValueError(f"expected a node that gives {name!r}, there is none")
            continue
        number = makers[name]
        if number in done:
            continue
        if is_ready:
            done.add(number)
            order.append(_node(number, protos[number]))
            continue
        if number in begun:
            raise ValueError(f"node {protos[number].name!r} ({protos[number].op_type}): needs its own output")
        begun.add(number)
        todo.append((name, True))
        todo += [(wanted, False) for wanted in protos[number].input if wanted]
    return order


def _node(number: int, proto: Any) -> Node:
    name = proto.name or next((output for output in proto.output if output), "")
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    node = Node(number, name, proto.op_type, tuple(proto.input), tuple(proto.output), {}, domain)
    if domain and (domain, node.op) != _SCALER:
        hint = "; skl2onnx leaves it out if asked, options={'zipmap': False}" if node.op == "ZipMap" else ""
        node.refuse(f"expected an operator of ONNX itself, got one of {proto.domain!r}{hint}")
    for attribute in proto.attribute:
        read = _ATTRIBUTES.get(attribute.type)
        if read is None or attribute.ref_attr_name:
            node.refuse(f"attribute {attribute.name!r} is of a type that no layer has")
        node.attributes[attribute.name] = read(attribute)
    return node


_SCALER = ("ai.onnx.ml", "Scaler")  # the standardization before the networks of scikit-learn


def _shortest(value: float) -> float:
    """Return the decimal number that was meant by a float32: 1e-05 for 9.999999747378752e-06."""
    return float(str(np.float32(value)))


_ATTRIBUTES: dict[int, Callable[[Any], Any]] = {
    AttributeProto.FLOAT: lambda attribute: _shortest(attribute.f),
    AttributeProto.INT: lambda attribute: int(attribute.i),
    AttributeProto.STRING: lambda attribute: attribute.s.decode(),
    AttributeProto.TENSOR: lambda attribute: attribute.t,
    AttributeProto.FLOATS: lambda attribute: [_shortest(value) for value in attribute.floats],
    AttributeProto.INTS: lambda attribute: [int(value) for value in attribute.ints],
    AttributeProto.STRINGS: lambda attribute: [value.decode() for value in attribute.strings],
}
