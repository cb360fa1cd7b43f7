"""A network from an ONNX file: its graph, node by node, and then layer by layer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import defs

from ranvier.layers import Input
from ranvier.network import Network
from ranvier.onnx.call import Call
from ranvier.onnx.folding import folded, is_folded
from ranvier.onnx.graph import Graph, GraphInput, Node, parsed
from ranvier.onnx.operators import OPERATORS
from ranvier.onnx.symbolic import wired_layers
from ranvier.onnx.tensors import array_of
from ranvier.onnx.values import Join, NotNestedError, Value, nested, parts_of, path_to, side_by_side
from ranvier.types import Array

__all__ = ["read"]

_MOST_COMPUTED = 2**26  # numbers in constants that are computed from others


def read(path: str, output: str | None, seed: int | None) -> Network:
    """Return the network of a file."""
    with _explaining(path):
        graph = parsed(path, output)
        network = None
        if len(graph.inputs) == len(graph.outputs) == 1:
            with contextlib.suppress(NotNestedError):
                network = _network_of_layers(graph, seed)
        if network is None:
            network = _network_of_values(graph, seed)
        network.metadata = graph.metadata
        return network


def _network_of_layers(graph: Graph, seed: int | None) -> Network:
    """Return a network whose layers stand one behind the other."""
    (start,), (end,) = _Run(graph, nested(len(graph.nodes))).ends()
    parts = parts_of(path_to(end), set())
    if not parts.layers:
        raise ValueError("expected at least one node that a layer stands for, got none")
    network = Network(parts.layers, seed=seed, dtype=_network_dtype(graph).name)
    network.load_state_dict(parts.tensors)
    if parts.frozen:
        network.freeze(*parts.frozen)
    shape = start.shape
    if shape is not None and None not in shape:
        known = tuple(size for size in shape if size is not None)
        network.shapes(known)  # which the layers must fit
        network.input_shape = known
    return network


def _network_of_values(graph: Graph, seed: int | None) -> Network:
    """Return a network that is wired as the graph is."""
    starts, ends = _Run(graph, side_by_side).ends()
    inputs = {given.name: _symbolic_input(given) for given in graph.inputs}
    made = wired_layers(ends, dict(zip(map(id, starts), inputs.values(), strict=True)))
    outputs = dict(zip(graph.outputs, made.ends, strict=True))
    network = Network(
        inputs=_ends_of(inputs, "inputs"),
        outputs=_ends_of(outputs, "outputs"),
        seed=seed,
        dtype=_network_dtype(graph).name,
    )
    positions = {id(layer): position for position, layer in enumerate(network.layers)}
    network.load_state_dict(
        {f"{positions[layer]}.{name}": array for layer, own in made.tensors.items() for name, array in own.items()}
    )
    if made.frozen:
        network.freeze(*(f"{positions[layer]}.*" for layer in made.frozen))
    return network


def _symbolic_input(given: GraphInput) -> Input:
    shape = None if given.shape is None else given.shape[1:]
    if shape is None or None in shape:
        raise ValueError(f"input {given.name!r}: expected samples of a shape that is known, got {shape}")
    return Input(tuple(size for size in shape if size is not None))


def _ends_of(values: dict[str, Any], what: str) -> Any:
    """Return a single value without a name, or all by names that Python has, too: "input_1" for "input.1"."""
    if len(values) == 1:
        return next(iter(values.values()))
    named = {re.sub(r"\W|^(?=\d)", "_", name): value for name, value in values.items()}
    if len(named) < len(values):
        raise ValueError(f"{what}: expected names that differ in letters and digits, got {list(values)}")
    return named


@contextlib.contextmanager
def _explaining(path: str) -> Iterator[None]:
    """Turn whatever a wrong file causes into a ValueError that names it."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a network that can be read: {error}") from error


def _network_dtype(graph: Graph) -> np.dtype[Any]:
    return np.dtype(np.float64 if any(given.dtype == np.float64 for given in graph.inputs) else np.float32)


def _require_valid(node: Node, opset: int) -> None:
    """Check that a node is one of the operator as the opset has it, so that no attribute goes unheeded."""
    try:
        schema = defs.get_schema(node.op, 1 if node.domain else opset, node.domain)
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

    def __init__(self, graph: Graph, join: Join) -> None:
        self._graph = graph
        self._join = join
        self._starts = [Value(None, None, given.shape and given.shape[1:]) for given in graph.inputs]
        self._values: dict[str, Value | Array] = {
            given.name: start for given, start in zip(graph.inputs, self._starts, strict=True)
        }
        self._of_integers = {
            id(start): given.dtype
            for given, start in zip(graph.inputs, self._starts, strict=True)
            if given.dtype.kind != "f"
        }
        self._computed = 0
        self._joins: dict[tuple[int, ...], Value] = {}

    def ends(self) -> tuple[list[Value], list[Value]]:
        """Return the values of the inputs, and those of the outputs."""
        for node in self._graph.nodes:
            inputs = [self._input(node, name) if name else None for name in node.inputs]
            result = self._result(node, inputs)
            results = result if isinstance(result, list) else [result]
            self._values |= {name: value for name, value in zip(node.outputs, results, strict=False) if name}
        ends = []
        for name in self._graph.outputs:
            end = self._values.get(name)
            if not isinstance(end, Value):
                raise ValueError(f"output {name!r}: expected what is computed from the input")
            ends.append(end)
        return self._starts, ends

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
        integers = [self._of_integers[id(value)] for value in inputs if id(value) in self._of_integers]
        if integers and node.op not in ("Cast", "Gather", "Shape"):
            node.refuse(f"expected floats, or a Cast to them behind the input, got {integers[0]}")
        shape, dtype = self._graph.inputs[0].shape, _network_dtype(self._graph)
        is_nested = self._join is not side_by_side
        operands = self._with_earlier_join(inputs) if node.op == "Concat" and is_nested else inputs
        call = Call(node, operands, self._graph.opset, dtype, shape[0] if shape else None, self._join)
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
