"""How the layers of a network of symbolic values are connected, and its arrays as the rows that the core takes.

The core knows one row for a sample: its inputs lie in it one behind the other, and so do its outputs in another one.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from ranvier import _core
from ranvier.checks import integer
from ranvier.data import as_samples
from ranvier.layers import Input, Layer, Value
from ranvier.types import Array

__all__ = ["Ends", "Wiring", "in_order", "wired", "wiring_from_json"]


class _HasSources(Protocol):
    @property
    def sources(self) -> Sequence[Any]: ...


_Node = TypeVar("_Node", bound=_HasSources)


class Ends(NamedTuple):
    """The inputs or the outputs of a network.

    A single one may have no name: then its arrays come as they are, and not in a dict.
    """

    names: tuple[str | None, ...]
    shapes: tuple[tuple[int, ...], ...]  # of a sample

    @property
    def is_one(self) -> bool:
        """Whether there is one only, which is not packed."""
        return len(self.names) == 1

    @property
    def places(self) -> dict[Any, slice]:
        """Where in a row each lies."""
        return _places(self)

    def by_name(self, given: Any, what: str) -> dict[Any, Any]:
        """Return what a user gave for each, by name; for a single one it may come without a dict.

        Raises
        ------
        TypeError
            If it is no dict.
        ValueError
            If a name is missing or unknown.
        """
        if self.is_one and not isinstance(given, Mapping):
            return {self.names[0]: given}
        if self.names == (None,):
            raise TypeError(f"{what}: expected no dict, since the network was made without names, got {given!r}")
        if not isinstance(given, Mapping):
            raise TypeError(f"{what}: expected a dict with {list(self.names)}, got {type(given).__name__}")
        if missing := [name for name in self.names if name not in given]:
            raise ValueError(f"{what}: expected {list(self.names)}, got no {missing[0]!r}")
        if unknown := [name for name in given if name not in self.names]:
            raise ValueError(f"{what}: expected {list(self.names)}, got {unknown[0]!r}, too")
        return {name: given[name] for name in self.names}

    def packed(self, given: Any, dtype: np.dtype[Any], what: str) -> Any:
        """Return arrays as rows: what was given for a single one, else a copy of all, bytes as fractions of 255."""
        arrays = self.by_name(given, what)
        if self.is_one:
            return next(iter(arrays.values()))
        rows: Array | None = None
        for (name, array), place, shape in zip(arrays.items(), self.places.values(), self.shapes, strict=True):
            of = f"{what}[{name!r}]"
            samples = as_samples(array, dtype, of)
            if samples.shape[1:] != shape:
                raise ValueError(f"{of}: expected samples of shape {shape}, got {samples.shape[1:]}")
            if rows is None:
                rows, first = np.empty((len(samples), self.size), dtype), name
            if len(samples) != len(rows):
                raise ValueError(
                    f"{of}: expected as many samples as {what}[{first!r}] has, {len(rows)}, got {len(samples)}"
                )
            part = samples.reshape(len(samples), -1)
            rows[:, place] = part / dtype.type(255) if part.dtype == np.uint8 else part
        return rows

    def part(self, rows: Array, number: int) -> Array:
        """Return the array of one of them, by its number."""
        if self.is_one:
            return rows
        place, shape = list(self.places.values())[number], self.shapes[number]
        return np.ascontiguousarray(rows[:, place]).reshape(len(rows), *shape)

    def unpacked(self, rows: Array) -> Any:
        """Return the array of a single one as it is, else a dict of arrays of their own."""
        if self.is_one:
            return rows
        return {name: self.part(rows, number) for number, name in enumerate(self.names)}

    @property
    def size(self) -> int:
        """The elements of a row."""
        return sum(map(math.prod, self.shapes))


@functools.lru_cache
def _places(ends: Ends) -> dict[Any, slice]:
    bounds = [0, *itertools.accumulate(map(math.prod, ends.shapes))]
    return dict(zip(ends.names, itertools.starmap(slice, itertools.pairwise(bounds)), strict=True))


class Wiring(NamedTuple):
    """What a network of symbolic values is beside its layers.

    The sources of layers and outputs are the positions of layers that stand before, and -1 - k for input k.
    """

    inputs: Ends
    outputs: Ends
    sources: tuple[tuple[int, ...], ...]
    ends: tuple[int, ...]  # the sources of the outputs

    def core(self) -> tuple[Sequence[Sequence[int]], Sequence[Sequence[int]], Sequence[int]]:
        """Return it as the core takes it."""
        return self.inputs.shapes, self.sources, self.ends

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of a sample as the core takes it."""
        return self.inputs.shapes[0] if self.inputs.is_one else (self.inputs.size,)

    def to_json(self) -> dict[str, Any]:
        """Return it as a file has it."""
        return {
            "inputs": [[name, list(shape)] for name, shape in zip(*self.inputs, strict=True)],
            "outputs": [[name, source] for name, source in zip(self.outputs.names, self.ends, strict=True)],
            "sources": [list(sources) for sources in self.sources],
        }


def wiring_from_json(given: Any, layers: Sequence[Any]) -> Wiring | None:
    """Return what `Wiring.to_json` was given, or None for None.

    Raises
    ------
    TypeError, ValueError
        If it makes no sense, or a layer does not fit what it is connected with.
    """
    if given is None:
        return None
    inputs = {name: Input(tuple(shape)) for name, shape in given["inputs"]}
    values: list[Value] = []
    if len(given["sources"]) != len(layers):
        raise ValueError(f"wiring: expected the sources of {len(layers)} layers, got {len(given['sources'])}")

    def value(source: Any) -> Value:
        position = integer(source, "wiring: source", -len(inputs))
        if position >= len(values):
            raise ValueError(f"wiring: expected sources before layer {len(values)}, got {position}")
        return values[position] if position >= 0 else list(inputs.values())[-1 - position]

    for layer, sources in zip(layers, given["sources"], strict=True):
        values.append(layer([value(source) for source in sources]))
    outputs = {name: value(source) for name, source in given["outputs"]}
    wiring, _ = wired(_unnamed(inputs), _unnamed(outputs))
    if wiring.to_json() != given:
        raise ValueError("wiring: expected layers in the order in which they are needed")
    return wiring


def wired(inputs: Any, outputs: Any) -> tuple[Wiring, tuple[Layer, ...]]:
    """Return the wiring of a network from inputs to outputs, and its layers, each behind those that it needs.

    Raises
    ------
    TypeError
        If they are no symbolic values, or dicts of such.
    ValueError
        If an output needs an input that is not there, nothing needs one that is, or a layer with parameters is called
        twice.
    """
    named_inputs, named_outputs = _named(inputs, "inputs"), _named(outputs, "outputs")
    places: dict[int, int] = {}
    for position, (name, value) in enumerate(named_inputs.items()):
        if value.layer is not None or not isinstance(value, Input):
            raise TypeError(f"inputs: expected an Input for {_shown(name)}, got {value!r}")
        if id(value) in places:
            raise ValueError(f"inputs: expected different ones, got the same Input twice, again for {_shown(name)}")
        places[id(value)] = -1 - position
    ordered: list[Value] = []
    used: set[int] = set()
    for value in in_order(named_outputs.values()):
        if value.layer is not None:
            places[id(value)] = len(ordered)
            ordered.append(value)
        elif id(value) not in places:
            raise ValueError(f"inputs: expected all Inputs that the outputs need, but {value!r} is not among them")
        else:
            used.add(id(value))
    for name, value in named_inputs.items():
        if id(value) not in used:
            raise ValueError(f"inputs: expected Inputs that the outputs need, but none needs {_shown(name)}")
    _require_no_shared_parameters(ordered)
    if not ordered:
        raise ValueError("outputs: expected what layers give, got the inputs alone")
    wiring = Wiring(
        Ends(tuple(named_inputs), tuple(value.shape for value in named_inputs.values())),
        Ends(tuple(named_outputs), tuple(value.shape for value in named_outputs.values())),
        tuple(tuple(places[id(source)] for source in value.sources) for value in ordered),
        tuple(places[id(value)] for value in named_outputs.values()),
    )
    return wiring, tuple(value.layer for value in ordered)


def _unnamed(values: Mapping[Any, Value]) -> Any:
    """Return a single value without a name, or all by name."""
    return values[None] if list(values) == [None] else values


def _shown(name: str | None) -> str:
    return "it" if name is None else repr(name)


def _named(values: Any, what: str) -> dict[Any, Value]:
    if isinstance(values, Value):
        return {None: values}
    if not isinstance(values, Mapping):
        raise TypeError(f"{what}: expected a symbolic value, or a dict of them by name, got {values!r}")
    if not values:
        raise ValueError(f"{what}: expected at least one, got none")
    for name, value in values.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"{what}: expected names like 'image', got {name!r}")
        if not isinstance(value, Value):
            raise TypeError(f"{what}: expected symbolic values, as Input(shape) and layers give, got {value!r}")
    return dict(values)


def in_order(ends: Iterable[_Node], known: Container[int] = ()) -> list[_Node]:
    """Return the ends and all that they need, each behind its sources.

    What has an identity in ``known`` is left out, and what only that needs.
    """
    done: dict[int, _Node] = {}
    waiting = [end for end in ends if id(end) not in known][::-1]
    while waiting:
        node = waiting[-1]
        missing = [source for source in node.sources if id(source) not in done and id(source) not in known]
        if missing:
            waiting += reversed(missing)
            continue
        done.setdefault(id(node), waiting.pop())
    return list(done.values())


def _require_no_shared_parameters(ordered: Sequence[Value]) -> None:
    positions: dict[int, int] = {}
    for position, value in enumerate(ordered):
        layer: Any = value.layer
        first = positions.setdefault(id(layer), position)
        if first != position and (layer.kind == "python" or _core.parameter_shapes([layer.spec()])):
            raise ValueError(
                f"outputs: expected a layer of its own for each place, but {layer!r} is called twice (positions "
                f"{first} and {position}), and layers cannot share their parameters yet"
            )
