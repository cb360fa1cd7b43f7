"""A network from an ONNX file: its graph, node by node, and then layer by layer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import defs

from ranvier.network import Network
from ranvier.onnx.call import Call
from ranvier.onnx.folding import folded, is_folded
from ranvier.onnx.graph import Graph, Node, Shape, parsed
from ranvier.onnx.operators import OPERATORS
from ranvier.onnx.tensors import array_of
from ranvier.onnx.values import Value, branches_of, parts_of
from ranvier.types import Array

__all__ = ["read"]

_MOST_COMPUTED = 2**26  # numbers in constants that are computed from others


def read(path: str, output: str | None, seed: int | None) -> Network:
    """Return the network of a file."""
    with _explaining(path):
        graph = parsed(path, output)
        start = _start(graph)
        end = _Run(graph, start).output()
        _, (_, steps) = branches_of([start, end])
        parts = parts_of(steps, set())
        if not parts.layers:
            raise ValueError("expected at least one node that a layer stands for, got none")
        network = Network(parts.layers, seed=seed, dtype=_network_dtype(graph).name)
        network.load_state_dict(parts.tensors)
        if parts.frozen:
            network.freeze(*parts.frozen)
        network.metadata = graph.metadata
        shape = start.shape
        if shape is not None and None not in shape:
            known = tuple(size for size in shape if size is not None)
            network.shapes(known)  # which the layers must fit
            network.input_shape = known
        return network


@contextlib.contextmanager
def _explaining(path: str) -> Iterator[None]:
    """Turn whatever a wrong file causes into a ValueError that names it."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a network that can be read: {error}") from error


def _network_dtype(graph: Graph) -> np.dtype[Any]:
    return graph.dtype if graph.dtype == np.float64 else np.dtype(np.float32)


def _start(graph: Graph) -> Value:
    shape: Shape | None = graph.input_shape
    if shape == ():
        raise ValueError(f"input {graph.input!r}: expected a batch of samples, got a single number")
    return Value(None, None, None if shape is None else shape[1:])


def _require_valid(node: Node, opset: int) -> None:
    """Check that a node is one of the operator as the opset has it, so that no attribute goes unheeded."""
    try:
        schema = defs.get_schema(node.op, opset)
    except defs.SchemaError:
        node.refuse(f"expected an operator of opset {opset}, there is none of that name")
    if unknown := sorted(node.attributes.keys() - schema.attributes.keys()):
        node.refuse(f"expected attributes of opset {opset}, got {unknown}")
    if opset < 7 and ("axis" in node.attributes and "broadcast" in node.attributes):
        node.refuse("expected operands that are broadcast from the last axis on, as from opset 7")
    if opset < 7 and node.op in ("BatchNormalization", "Dropout") and not node.attributes.get("is_test"):
        node.refuse("expected is_test=1")
    if not schema.min_input <= len(node.inputs) <= schema.max_input or not node.outputs:
        node.refuse(f"expected {schema.min_input} inputs or more and an output, got {len(node.inputs)}")


class _Run:
    """Goes through the nodes, with a value of the network or a constant for each name."""

    def __init__(self, graph: Graph, start: Value) -> None:
        self._graph = graph
        self._start = start
        self._values: dict[str, Value | Array] = {graph.input: start}
        self._computed = 0
        self._joins: dict[tuple[int, ...], Value] = {}

    def output(self) -> Value:
        """Return the value that the network ends with."""
        for node in self._graph.nodes:
            inputs = [self._input(node, name) if name else None for name in node.inputs]
            result = self._result(node, inputs)
            results = result if isinstance(result, list) else [result]
            self._values |= {name: value for name, value in zip(node.outputs, results, strict=False) if name}
        end = self._values.get(self._graph.output)
        if not isinstance(end, Value):
            raise ValueError(f"output {self._graph.output!r}: expected what is computed from the input")
        return end

    def _input(self, node: Node, name: str) -> Value | Array:
        if name not in self._values:
            if not self._graph.is_initializer(name):
                node.refuse(f"expected {name!r} to be an output that a layer has")
            self._values[name] = self._graph.initializer(name)
        return self._values[name]

    def _result(self, node: Node, inputs: list[Any]) -> Value | Array | list[Value]:
        _require_valid(node, self._graph.opset)
        if node.op == "Constant":
            return self._constant(node)
        if not any(isinstance(value, Value) for value in inputs) and is_folded(node.op):
            return self._folded(node, inputs)
        if node.op not in OPERATORS:
            node.refuse("there is no layer that does this")
        if (
            self._graph.dtype.kind != "f"
            and node.op not in ("Cast", "Gather", "Shape")
            and any(value is self._start for value in inputs)
        ):
            node.refuse(f"expected floats, or a Cast to them behind the input, got {self._graph.dtype}")
        shape, dtype = self._graph.input_shape, _network_dtype(self._graph)
        operands = self._with_earlier_join(inputs) if node.op == "Concat" else inputs
        call = Call(node, operands, self._graph.opset, dtype, shape[0] if shape else None, len(self._graph.nodes))
        result = OPERATORS[node.op](call)
        if node.op == "Concat" and isinstance(result, Value):
            self._joins[tuple(map(id, inputs))] = result
        return result

    def _folded(self, node: Node, inputs: list[Any]) -> Array:
        result = folded(node, inputs, self._graph.opset)
        self._computed += result.size if result.base is None else 0
        if self._computed > _MOST_COMPUTED:
            node.refuse(f"expected at most {_MOST_COMPUTED} numbers in all constants that are computed")
        return result

    def _constant(self, node: Node) -> Array:
        """Return the value of a Constant, which has it in one of several attributes."""
        if len(node.attributes) != 1:
            node.refuse(f"expected one attribute, got {sorted(node.attributes)}")
        name, value = next(iter(node.attributes.items()))
        if name == "value":
            return array_of(value, self._graph.folder)
        kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
        if name not in kinds:
            node.refuse(f"expected numbers, got {name!r}")
        return np.asarray(value, kinds[name])

    def _with_earlier_join(self, inputs: list[Any]) -> list[Any]:
        """Replace the first operands of a Concat by an earlier one of just these, as dense networks want."""
        for count in range(len(inputs) - 1, 1, -1):
            earlier = self._joins.get(tuple(map(id, inputs[:count])))
            if earlier is not None:
                return [earlier, *inputs[count:]]
        return inputs
