"""GRU and LSTM of ONNX as layers, and what turns the axes of their sequences.

ONNX has time before the batch, and an axis for directions behind it. So a file turns the axes before a recurrent node,
takes the axis of directions away, and turns the axes back, or takes the last time step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ranvier import layers
from ranvier.onnx.call import Call
from ranvier.onnx.folding import UNKNOWN, axes_of
from ranvier.onnx.graph import Shape
from ranvier.onnx.values import Directions, LayerStep, TimeFirst, Value
from ranvier.types import Array

__all__ = ["RECURRENT", "last_step", "sizes_of", "squeezed", "transposed"]


def transposed(call: Call) -> Value:
    """Return sequences with time and batch exchanged, or states with the axis of directions one further."""
    value = call.value
    if isinstance(value.step, Directions) and value.before is not None:
        fits = value.step.axis == 1 and value.step.is_time_first and call.get("perm", []) == [0, 2, 1, 3]
        call.require(fits, "there is no layer that changes the order of axes")
        return value.before.then(replace(value.step, axis=2), value.shape)
    if isinstance(value.step, TimeFirst) and value.before is not None:
        return value.before
    call.require(
        value.shape is None or len(value.shape) == 2, f"expected sequences, got samples of shape {value.shape}"
    )
    return value.then(TimeFirst(call.node), value.shape)


def squeezed(call: Call) -> Value:
    """Return states without the axis of directions."""
    value, step = call.value, call.value.step
    assert isinstance(step, Directions)
    assert value.before is not None
    if call.node.op == "Reshape":
        sizes = sizes_of(call)
        del sizes[step.axis]
        wanted = call.constant(1, "shape").tolist()
        fits = len(wanted) == len(sizes) and all(
            new in (old, -1, UNKNOWN) for new, old in zip(wanted, sizes, strict=True)
        )
        call.require(fits and wanted.count(-1) < 2, f"expected the shape without directions, got {wanted}")
    else:
        axes = axes_of(call.node, call.inputs)
        call.require(axes == [step.axis], f"expected the axis of directions, {step.axis}, got {axes}")
    return value.before.then(TimeFirst(call.node), value.shape) if step.is_time_first else value.before


def sizes_of(call: Call) -> list[int | None]:
    """Return the shape of a value as ONNX has it, with the batch."""
    value = call.value
    if value.shape is None:
        call.node.refuse("expected a number of axes that is known")
    sizes, step = [call.batch, *value.shape], value.step
    if isinstance(step, TimeFirst) or (isinstance(step, Directions) and step.is_time_first):
        sizes[:2] = sizes[1::-1]
    if isinstance(step, Directions):
        sizes.insert(step.axis, 1)
    return sizes


def last_step(call: Call) -> Value:
    """Return the states after the last time step."""
    value, index = call.value, call.constant(1, "index")
    axis = call.get("axis", 0)
    if isinstance(value.step, Directions) and value.step.axis == axis == 0 and value.before is not None:
        call.require(index.shape == () and index in (0, -1), f"expected the one direction, got {index}")
        return value.before
    states = value.before if isinstance(value.step, TimeFirst) else value
    time = 0 if isinstance(value.step, TimeFirst) else 1
    step = None if states is None else states.step
    if not isinstance(step, LayerStep) or not isinstance(step.layer, layers.GRU | layers.LSTM):
        call.node.refuse("expected rows of a constant table, or the last time step of a recurrent layer")
    assert states is not None
    assert states.before is not None
    call.require(
        step.layer.return_sequences and axis == time and index.shape == () and index == -1,
        f"expected index -1 along the axis of time, {time}, got {index} along axis {axis}",
    )
    return _with_last(states)


def _with_last(states: Value) -> Value:
    """Return the last of the states of a recurrent layer."""
    assert isinstance(states.step, LayerStep)
    assert isinstance(states.step.layer, layers.GRU | layers.LSTM)
    assert states.before is not None
    layer = replace(states.step.layer, return_sequences=False)
    return states.before.then(replace(states.step, layer=layer), (layer.hidden_size,))


def _recurrent(kind: type[layers.GRU | layers.LSTM], order: Sequence[int]) -> Callable[[Call], list[Value]]:
    """Return what reads a recurrent operator, given where PyTorch's gates are among those of ONNX."""
    states = 1 if kind is layers.GRU else 2

    def read(call: Call) -> list[Value]:
        value, layout = call.value, call.get("layout", 0)
        base = value if layout else value.before if isinstance(value.step, TimeFirst) else None
        if base is None:
            call.node.refuse("expected sequences whose axes of batch and time a Transpose has exchanged, or layout=1")
        _require_plain(call, states)
        weight = call.parameter(1, "W")
        call.require(weight.ndim == 3 and weight.shape[0] == 1, f"W: expected one direction, got shape {weight.shape}")
        hidden, inputs = weight.shape[1] // len(order), weight.shape[2]
        call.require(call.get("hidden_size", hidden) == hidden, f"W: expected hidden_size rows a gate, got {hidden}")
        shape = base.shape
        call.require(
            shape is None or (len(shape) == 2 and shape[1] in (inputs, None)),
            f"expected sequences with {inputs} numbers a step, got samples of shape {shape}",
        )
        tensors = _tensors(call, weight, hidden, order)
        layer = call.made(lambda: kind(inputs, hidden, bias="bias_ih_l0" in tensors, return_sequences=True))
        every_shape: Shape = (None if shape is None else shape[0], hidden)
        every = base.then(LayerStep(call.node, layer, tensors), every_shape)
        last = _with_last(every)
        directions = [Directions(call.node, 2 if layout else 1, hidden, not layout)]
        directions.append(Directions(call.node, 1 if layout else 0, hidden, False))
        return [every.then(directions[0], every_shape), last.then(directions[1], last.shape)]

    return read


def _require_plain(call: Call, states: int) -> None:
    """Check that a node is of one direction, with the functions and the first states that layers have."""
    direction = call.get("direction", "forward")
    call.require(direction == "forward", f"expected direction='forward', got {direction!r}")
    call.require(not call.get("input_forget", 0), "expected input_forget=0")
    functions = ["Sigmoid", *["Tanh"] * states]
    given = call.get("activations", functions)
    call.require(given == functions, f"expected the functions {functions}, got {given}")
    for name in ("activation_alpha", "activation_beta", "clip"):
        call.require(name not in call.node.attributes, f"expected the functions without {name!r}")
    if states == 1:
        call.require(call.get("linear_before_reset", 0) == 1, "expected linear_before_reset=1, as PyTorch has it")
    call.require(call.optional(4, "sequence_lens") is None, "expected sequences of one length")
    for at in range(5, 5 + states):
        first = call.optional(at, "state")
        call.require(first is None or not first.any(), "expected states that begin with 0")
    call.require(call.optional(7, "P") is None, "expected no peepholes")


def _tensors(call: Call, weight: Array, hidden: int, order: Sequence[int]) -> dict[str, Array]:
    rows = len(order) * hidden

    def gates(value: Array) -> Array:
        return value.reshape(len(order), hidden, -1)[list(order)].reshape(value.shape)

    recurrence = call.parameter(2, "R", (1, rows, hidden))
    tensors = {"weight_ih_l0": gates(weight[0]), "weight_hh_l0": gates(recurrence[0])}
    if call.optional(3, "B") is not None:
        both = call.parameter(3, "B", (1, 2 * rows))[0]
        tensors |= {"bias_ih_l0": gates(both[:rows]), "bias_hh_l0": gates(both[rows:])}
    return tensors


# PyTorch's gates are (r, z, n) and (i, f, g, o), those of ONNX (z, r, h) and (i, o, f, c).
RECURRENT = {"GRU": _recurrent(layers.GRU, (1, 0, 2)), "LSTM": _recurrent(layers.LSTM, (0, 2, 3, 1))}
