"""Symbolic values from the values of a graph that is no tree: each is called with what it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ranvier import layers
from ranvier.onnx.values import JoinStep, LayerStep, Value, as_layer
from ranvier.types import Array
from ranvier.wiring import in_order

__all__ = ["Wired", "wired_layers"]


@dataclass
class Wired:
    """What a graph has become.

    Attributes
    ----------
    ends : list of symbolic values
        The outputs.
    tensors : dict of int to dict of str to ndarray
        The parameters of each layer that has some, by the layer's identity.
    frozen : list of int
        The identities of layers whose parameters are constants.
    """

    ends: list[layers.Value] = field(default_factory=list)
    tensors: dict[int, dict[str, Array]] = field(default_factory=dict)
    frozen: list[int] = field(default_factory=list)


def wired_layers(ends: Sequence[Value], inputs: Mapping[int, layers.Value]) -> Wired:
    """Return the symbolic values of outputs.

    Parameters
    ----------
    inputs : mapping of int to symbolic value
        By the identity of the graph's values.

    Raises
    ------
    ValueError
        If a step is no layer, does not fit, or would have to share its parameters.
    """
    wired, done = Wired(), dict(inputs)
    makers: set[int] = set()  # of parameters
    for value in in_order(ends, known=inputs):
        done[id(value)] = _called(value, [done[id(source)] for source in value.sources], wired, makers)
    wired.ends = [done[id(end)] for end in ends]
    return wired


def _called(value: Value, sources: list[layers.Value], wired: Wired, makers: set[int]) -> layers.Value:
    """Return what the step of a value gives for its sources."""
    step = value.step
    assert step is not None
    if isinstance(step, JoinStep):
        layer = step.layer
    else:
        whole: LayerStep = as_layer(step)
        layer = whole.layer
        if whole.tensors:
            if whole.node.number in makers:
                whole.node.refuse("layers cannot share their parameters, but it is part of two")
            makers.add(whole.node.number)
            wired.tensors[id(layer)] = dict(whole.tensors)
        if whole.constants:
            wired.frozen.append(id(layer))
    try:
        return layer(sources)
    except ValueError as error:
        step.node.refuse(error)
