"""What flows through a graph that becomes a network: values with the steps that lead to them from the input.

A step is a layer, or something that becomes part of a layer when the next steps are known. Each value knows the value
before it, so that the values form a tree, whose root is the input. Where two values are added, their paths from the
last value that both come from are the two branches of a residual block; or, in a graph that is no such tree, the sum is
a step of several values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ranvier import layers
from ranvier.layers import Layer
from ranvier.onnx.graph import Node, Shape
from ranvier.types import Array

__all__ = [
    "Affine",
    "BranchStep",
    "Compared",
    "Directions",
    "Erf",
    "GlobalMean",
    "Groups",
    "Join",
    "JoinStep",
    "LayerStep",
    "NotNestedError",
    "Padded",
    "Parts",
    "Pieces",
    "Step",
    "TimeFirst",
    "Value",
    "as_layer",
    "branches_of",
    "nested",
    "parts_of",
    "path_to",
    "side_by_side",
]

_MOST_CHANNELS = 2**20  # of constants that are broadcast to them
_DEEPEST = 50  # branches within branches


@dataclass
class Step:
    """What a node does to one value.

    Attributes
    ----------
    node : Node
    size : int
        The nodes in it, those of branches included.
    depth : int
        Of branches within branches.
    """

    node: Node
    size: int = field(default=1, kw_only=True)
    depth: int = field(default=0, kw_only=True)


@dataclass
class LayerStep(Step):
    """A layer with its parameters; those in ``constants`` are not to be trained."""

    layer: Layer
    tensors: dict[str, Array] = field(default_factory=dict)
    constants: bool = False


@dataclass
class BranchStep(Step):
    """A layer with branches, by their names in the names of parameters."""

    make: Callable[[list[tuple[Layer, ...]]], Layer]
    branches: dict[str, list[Step]]


@dataclass
class JoinStep(Step):
    """A layer of several values."""

    layer: Layer
    sources: tuple[Value, ...]


@dataclass
class Affine(Step):
    """``scale * x + shift``, each a number or one for each channel."""

    scale: Array
    shift: Array
    shape: Shape | None

    @property
    def is_scalar(self) -> bool:
        """Whether all channels are treated alike."""
        return self.scale.ndim == self.shift.ndim == 0


@dataclass
class Erf(Step):
    """The error function, of which `layers.GELU` is made."""


@dataclass
class Padded(Step):
    """Zeros around images or lines, for the window that comes next: those before and those behind, along each axis."""

    padding: tuple[int, ...]
    behind: tuple[int, ...]


@dataclass
class GlobalMean(Step):
    """The mean of each channel, which keeps the axes of images or lines; the shape is theirs."""

    shape: Shape


@dataclass
class Pieces(Step):
    """Channels in groups of so many neighbours, of which `layers.Maxout` takes the maximum."""

    groups: int
    pieces: int


@dataclass
class Groups(Step):
    """Channels joined to so many groups, one behind the other; the shape is the one before.

    Once they are normalized, there is an ``eps``. Back in that shape, they are those of `layers.GroupNorm`.
    """

    groups: int
    shape: Shape
    eps: float | None = None


@dataclass
class TimeFirst(Step):
    """Sequences with their time before the batch, as recurrent operators take them; the shape is still a sample's."""


@dataclass
class Directions(Step):
    """States of a recurrent layer with an axis for its one direction, counted with time and batch."""

    axis: int
    hidden_size: int
    is_time_first: bool


@dataclass
class Compared(Step):
    """Whether numbers are above a bound, as bools."""

    bound: float


@dataclass
class Value:
    """A value of the graph, for a batch of any size.

    Attributes
    ----------
    before : Value or None
        What the step takes; None for an input of the graph, and for a `JoinStep`, which has its sources.
    step : Step or None
    shape : Shape or None
        Of a sample; None if not even the number of axes is known.
    depth : int
        The number of steps from an input, of the longest way.
    """

    before: Value | None
    step: Step | None
    shape: Shape | None
    depth: int = 0

    def then(self, step: Step, shape: Shape | None) -> Value:
        """Return the value behind one more step."""
        return Value(self, step, shape, self.depth + 1)

    @property
    def sources(self) -> tuple[Value, ...]:
        """What the step takes."""
        if isinstance(self.step, JoinStep):
            return self.step.sources
        return () if self.before is None else (self.before,)


class NotNestedError(ValueError):
    """The branches of a graph do not part and join one within another."""


# What makes one value of several: a node, the values, and whether they are added (or concatenated).
Join = Callable[[Node, Sequence[Value], bool], Value]


def branches_of(node: Node, values: Sequence[Value]) -> tuple[Value, list[list[Step]]]:
    """Return the last value that all come from, and the steps from there to each."""
    ends = list(values)
    paths: list[list[Step]] = [[] for _ in ends]
    while any(end is not ends[0] for end in ends):
        deepest = max(range(len(ends)), key=lambda at: ends[at].depth)
        end = ends[deepest]
        if end.before is None or end.step is None:
            node.refuse("there is no layer that does this with values of different origins")
        paths[deepest].append(end.step)
        ends[deepest] = end.before
    return ends[0], [path[::-1] for path in paths]


def path_to(end: Value) -> list[Step]:
    """Return the steps that lead from the input to a value."""
    path = []
    while end.step is not None:
        assert end.before is not None
        path.append(end.step)
        end = end.before
    return path[::-1]


def nested(most: int) -> Join:
    """Return what makes layers with branches of two paths that are added, or of several that are concatenated.

    Parameters
    ----------
    most : int
        The nodes of the graph.
    """

    def join(node: Node, values: Sequence[Value], is_sum: bool) -> Value:
        root, paths = branches_of(node, values)
        steps = [step for path in paths for step in path]
        size, depth = 1 + sum(step.size for step in steps), 1 + max((step.depth for step in steps), default=0)
        if size > most:
            raise NotNestedError(_NOT_NESTED)
        if depth > _DEEPEST:
            raise NotNestedError(f"expected branches within branches to a depth of {_DEEPEST} at most")
        if is_sum:
            branches = dict(zip(("layers", "shortcut"), sorted(paths, key=len, reverse=True), strict=True))
            step = BranchStep(node, lambda parts: layers.Residual(*parts), branches, size=size, depth=depth)
        else:
            branches = {f"branches.{at}": path for at, path in enumerate(paths)}
            step = BranchStep(node, lambda parts: layers.Parallel(tuple(parts)), branches, size=size, depth=depth)
        return root.then(step, _joined_shape(values, is_sum))

    return join


def side_by_side(node: Node, values: Sequence[Value], is_sum: bool) -> Value:
    """Return the sum or the concatenation of values as a step of its own."""
    step = JoinStep(node, layers.Add() if is_sum else layers.Concat(), tuple(values))
    return Value(None, step, _joined_shape(values, is_sum), 1 + max(value.depth for value in values))


def _joined_shape(values: Sequence[Value], is_sum: bool) -> Shape | None:
    """Return the shape of a sum, or of a concatenation along the first axis of a sample, as far as it is known."""
    first = next((value.shape for value in values if value.shape is not None), None)
    if is_sum or first is None:
        return first
    channels = [value.shape[0] if value.shape else None for value in values]
    total = None if None in channels else sum(size for size in channels if size is not None)
    return (total, *first[1:])


_NOT_NESTED = "expected branches that part and join one within another, but one node is part of two"


@dataclass
class Parts:
    """Layers, one behind the other, with their parameters by name, and the patterns of those that are constants."""

    layers: list[Layer] = field(default_factory=list)
    tensors: dict[str, Array] = field(default_factory=dict)
    frozen: list[str] = field(default_factory=list)

    def add(self, layer: Layer, tensors: dict[str, Array], frozen: Sequence[str]) -> None:
        """Add a layer with its parameters by their own names."""
        path = f"{len(self.layers)}."
        self.layers.append(layer)
        self.tensors.update({path + name: tensor for name, tensor in tensors.items()})
        self.frozen += [path + pattern for pattern in frozen]


def parts_of(steps: Sequence[Step], seen: set[int]) -> Parts:
    """Return the layers that steps have become.

    Parameters
    ----------
    seen : set of int
        The numbers of the nodes with parameters so far, which must not come twice.

    Raises
    ------
    ValueError
        If a step has become no layer.
    """
    parts = Parts()
    for step in steps:
        if isinstance(step, BranchStep):
            inner = {name: parts_of(branch, seen) for name, branch in step.branches.items()}
            parts.add(
                step.make([tuple(part.layers) for part in inner.values()]),
                {f"{name}.{own}": tensor for name, part in inner.items() for own, tensor in part.tensors.items()},
                [f"{name}.{pattern}" for name, part in inner.items() for pattern in part.frozen],
            )
            continue
        whole = as_layer(step)
        if whole.tensors and whole.node.number in seen:
            raise NotNestedError(_NOT_NESTED)
        if whole.tensors:
            seen.add(whole.node.number)
        parts.add(whole.layer, whole.tensors, ["*"] if whole.constants else [])
    return parts


def as_layer(step: Step) -> LayerStep:
    """Return a step as a layer that stands by itself."""
    if isinstance(step, LayerStep):
        return step
    if isinstance(step, Affine):
        return _frozen_normalization(step)
    if isinstance(step, GlobalMean):
        is_line = len(step.shape) == 2
        return LayerStep(step.node, layers.AdaptiveAvgPool1d(1) if is_line else layers.AdaptiveAvgPool2d(1))
    if isinstance(step, Pieces):
        return LayerStep(step.node, layers.Unflatten(1, (step.groups, step.pieces)))
    if isinstance(step, Directions) and step.axis == 2 and not step.is_time_first:
        return LayerStep(step.node, layers.Unflatten(2, (1, step.hidden_size)))
    step.node.refuse("there is no layer that does this, nor one with what comes next")


def _frozen_normalization(step: Affine) -> LayerStep:
    """Return the batch normalization that scales and shifts channels: its running statistics are those of N(0, 1)."""
    kinds: dict[int, Callable[..., Layer]] = {1: layers.BatchNorm1d, 2: layers.BatchNorm1d, 3: layers.BatchNorm2d}
    shape = step.shape
    if shape is None or len(shape) not in kinds or shape[0] is None:
        step.node.refuse("expected vectors, lines or images with a number of channels that is known")
    channels = shape[0]
    if channels > _MOST_CHANNELS:
        step.node.refuse(f"expected at most {_MOST_CHANNELS} channels, got {channels}")
    values = {"weight": step.scale, "bias": step.shift, "running_mean": np.zeros(()), "running_var": np.ones(())}
    layer = kinds[len(shape)](channels, eps=_NEGLIGIBLE)
    return LayerStep(step.node, layer, {name: np.broadcast_to(v, channels) for name, v in values.items()}, True)


_NEGLIGIBLE = 1e-30  # beside a variance of 1
