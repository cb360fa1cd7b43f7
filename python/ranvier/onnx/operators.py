"""What each operator of ONNX makes of a value: the next step on its way to a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ranvier import layers
from ranvier.layers import Layer
from ranvier.onnx.call import Call
from ranvier.onnx.folding import UNKNOWN, axes_of
from ranvier.onnx.graph import Shape
from ranvier.onnx.recurrent import RECURRENT, last_step, sizes_of, squeezed, transposed
from ranvier.onnx.tensors import DTYPES
from ranvier.onnx.values import (
    Affine,
    Compared,
    Directions,
    Erf,
    GlobalMean,
    Groups,
    LayerStep,
    Padded,
    Pieces,
    Step,
    Value,
    branches_of,
)
from ranvier.types import Array

__all__ = ["OPERATORS"]

Operator = Callable[[Call], "Value | Array | list[Value]"]  # a list: of several outputs


# --- activations ------------------------------------------------------------------------------------------------


def _plain(make: Callable[[], Layer]) -> Operator:
    return lambda call: call.layer(make, call.value.shape)


def _leaky_relu(call: Call) -> Value:
    return call.layer(lambda: layers.LeakyReLU(call.get("alpha", 0.01)), call.value.shape)


def _elu(call: Call) -> Value:
    return call.layer(lambda: layers.ELU(call.get("alpha", 1.0)), call.value.shape)


def _gelu(call: Call) -> Value:
    approximation = call.get("approximate", "none")
    call.require(approximation == "none", f"expected approximate='none', got {approximation!r}")
    return call.layer(layers.GELU, call.value.shape)


def _prelu(call: Call) -> Value:
    slope = call.parameter(1, "slope")
    if call.opset > 6 or slope.ndim != 1:  # before, a vector is of channels
        slope = _per_channel(call, slope, call.value.shape)
    weight = slope.reshape(-1)
    return call.layer(lambda: layers.PReLU(weight.size), call.value.shape, {"weight": weight})


def _softmax(kind: Callable[[], Layer]) -> Operator:
    def convert(call: Call) -> Value:
        shape = call.value.shape
        axis = call.get("axis", 1 if call.opset < 13 else -1)
        is_vector = shape is not None and len(shape) == 1
        axis = axis + 1 + len(shape) if axis < 0 and shape is not None else axis
        call.require(axis == 1, f"expected axis 1, the first of a sample, got {axis}")
        call.require(call.opset >= 13 or is_vector, "expected vectors, as it joins all axes before opset 13")
        return call.layer(kind, shape)

    return convert


def _clip(call: Call) -> Value:
    if call.opset < 11:
        low, high = (call.node.attributes.get(name) for name in ("min", "max"))
    else:
        low, high = (call.optional(at, name) for at, name in ((1, "min"), (2, "max")))
    if low is None and high is None:
        return call.value
    bounds = [None if bound is None or np.size(bound) != 1 else float(np.reshape(bound, ())) for bound in (low, high)]
    is_one = bounds[0] == 0 and (high is None or bounds[1] == 6)
    call.require(is_one, "expected bounds of 0 and none, or of 0 and 6")
    return call.layer(layers.ReLU if high is None else layers.ReLU6, call.value.shape)


def _erf(call: Call) -> Value:
    return call.value.then(Erf(call.node), call.value.shape)


def _greater(call: Call) -> Value:
    bound = call.constant(1, "bound")
    call.require(bound.size == 1, f"expected a comparison with one number, got {bound.shape}")
    return call.value.then(Compared(call.node, float(bound.reshape(()))), call.value.shape)


def _where(call: Call) -> Value:
    """Return x where it is above a bound, and softplus elsewhere: PyTorch's `torch.nn.Softplus`."""
    call.require(all(isinstance(value, Value) for value in call.inputs), "expected operands that are computed")
    root, (condition, above, below) = branches_of(call.node, call.inputs)
    is_softplus = len(below) == 1 and isinstance(below[0], LayerStep) and below[0].layer == layers.Softplus()
    is_far = len(condition) == 1 and isinstance(condition[0], Compared) and condition[0].bound >= _AS_SOFTPLUS
    call.require(is_far and not above and is_softplus, "there is no layer that chooses, but for softplus")
    return root.then(below[0], root.shape)


_AS_SOFTPLUS = 20.0  # from here on, softplus differs from x by rounding alone


# --- products ---------------------------------------------------------------------------------------------------


def _gemm(call: Call) -> Value:
    shape = call.value.shape
    call.require(shape is None or len(shape) == 1, f"expected samples that are vectors, got shape {shape}")
    call.require(call.get("transA", 0) == 0, "expected transA=0")
    weight = call.parameter(1, "B")
    call.require(weight.ndim == 2, f"B: expected a matrix, got shape {weight.shape}")
    weight = weight if call.get("transB", 0) else weight.T
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    bias = call.optional(2, "C")
    if bias is not None:
        bias = call.parameter(2, "C")
        rows = bias.shape[:-1]
        call.require(bias.ndim <= 2 and set(rows) <= {1}, f"C: expected one row for all samples, got {bias.shape}")
        call.require(bias.shape[-1:] in ((), (1,), (len(weight),)), f"C: does not fit {len(weight)} outputs")
        bias = np.broadcast_to(beta * bias.reshape(-1), len(weight))
    return _linear(call, alpha * weight, bias)


def _linear(call: Call, weight: Array, bias: Array | None) -> Value:
    outputs, inputs = weight.shape
    shape = call.value.shape
    if shape is not None:
        call.require(
            shape and shape[-1] in (inputs, None), f"expected {inputs} numbers along the last axis, got shape {shape}"
        )
        shape = (*shape[:-1], outputs)
    tensors = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    return call.layer(lambda: layers.Linear(inputs, outputs, bias is not None), shape, tensors)


def _matmul(call: Call) -> Value:
    weight = call.parameter(1, "second factor")
    call.require(weight.ndim == 2, f"expected a matrix as the second factor, got shape {weight.shape}")
    return _linear(call, weight.T, None)


# --- windows ----------------------------------------------------------------------------------------------------


def _images(call: Call) -> Shape:
    shape = call.value.shape
    if shape is None or len(shape) != 3:
        call.node.refuse(f"expected images, (channels, height, width), got samples of shape {shape}")
    return shape


def _planes(call: Call) -> Shape:
    shape = call.value.shape
    if shape is None or len(shape) not in (2, 3):
        call.node.refuse(
            f"expected images, (channels, height, width), or lines, (channels, length), got samples of shape {shape}"
        )
    return shape


@dataclass
class _Window:
    """Where a window goes over images or lines, along each axis."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    behind: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def is_even(self) -> bool:
        """Whether there is as much padding behind as before."""
        return self.padding == self.behind

    @property
    def pads(self) -> list[int]:
        """The padding as ONNX has it."""
        return [*self.padding, *self.behind]

    def outputs(self, shape: Shape) -> Shape:
        """Return the sizes of the outputs."""
        result = []
        for there, size, stride, padding, behind, dilation in zip(
            shape[1:], self.size, self.stride, self.padding, self.behind, self.dilation, strict=True
        ):
            room = None if there is None else there + padding + behind - dilation * (size - 1) - 1
            result.append(None if room is None else room // stride + 1)
        return tuple(result)

    def outputs_with_ceil(self, shape: Shape) -> Shape:
        """Return the sizes of the outputs if windows that begin in the image, or before it, may end anywhere."""
        result: list[int | None] = []
        for there, size, stride, padding in zip(shape[1:], self.size, self.stride, self.padding, strict=True):
            if there is None:
                result.append(None)
                continue
            count = -(-(there + 2 * padding - size) // stride) + 1
            result.append(count - ((count - 1) * stride >= there + padding))
        return tuple(result)


def _window(call: Call, size: Sequence[int], shape: Shape) -> _Window:
    axes = len(shape) - 1
    strides, dilations = call.get("strides", [1] * axes), call.get("dilations", [1] * axes)
    sizes = [list(size), strides, dilations]
    call.require(all(len(s) == axes and min(s) > 0 for s in sizes), f"expected windows of the {axes} axes of {shape}")
    pads = _pads(call, size, strides, dilations, shape)
    return _Window(tuple(size), tuple(strides), tuple(pads[:axes]), tuple(pads[axes:]), tuple(dilations))


def _pair(values: Sequence[Any]) -> tuple[Any, Any]:
    first, second = values
    return first, second


def _pads(call: Call, size: Sequence[int], strides: Sequence[int], dilations: Sequence[int], shape: Shape) -> list[int]:
    """Return the padding before and behind, along each axis."""
    kind, axes = call.get("auto_pad", "NOTSET"), len(size)
    if kind == "VALID":
        return [0] * (2 * axes)
    pads: list[int] = call.get("pads", [0] * (2 * axes))
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        call.require(set(strides) == {1} or None not in shape, f"auto_pad={kind!r}: expected sizes that are known")
        totals = [
            dilation * (width - 1)
            if stride == 1 or there is None
            else max(0, (-(-there // stride) - 1) * stride + dilation * (width - 1) + 1 - there)
            for there, width, stride, dilation in zip(shape[1:], size, strides, dilations, strict=True)
        ]
        less = [total // 2 for total in totals]
        more = [total - half for total, half in zip(totals, less, strict=True)]
        pads = [*less, *more] if kind == "SAME_UPPER" else [*more, *less]
    else:
        call.require(kind == "NOTSET", f"auto_pad: expected one that ONNX has, got {kind!r}")
    call.require(len(pads) == 2 * axes and min(pads) >= 0, f"pads: expected {2 * axes} numbers from 0, got {pads}")
    return pads


def _behind_padding(call: Call) -> Call:
    """Return the call with the zeros around its images among its own."""
    step = call.value.step
    if not isinstance(step, Padded) or call.value.before is None:
        return call
    call.require(call.node.attributes.get("auto_pad", "NOTSET") in ("NOTSET", "VALID"), "expected pads, got auto_pad")
    around = [*step.padding, *step.behind]
    own = call.node.attributes.get("pads", [0] * len(around))
    call.require(len(own) == len(around), f"pads: expected {len(around)} numbers, got {own}")
    pads = [mine + more for mine, more in zip(own, around, strict=True)]
    node = call.node._replace(attributes=call.node.attributes | {"pads": pads, "auto_pad": "NOTSET"})
    return replace(call, node=node, inputs=[call.value.before, *call.inputs[1:]])


def _conv(call: Call) -> Value:
    call = _behind_padding(call)
    weight, shape = call.parameter(1, "W"), _planes(call)
    axes = len(shape) + 1
    call.require(weight.ndim == axes, f"W: expected {axes} axes, got shape {weight.shape}")
    outputs, inputs, *size = weight.shape
    call.require(call.get("kernel_shape", size) == size, f"kernel_shape: expected that of W, {size}")
    window, groups = _window(call, size, shape), call.get("group", 1)
    channels = inputs * groups
    call.require(shape[0] in (channels, None), f"expected {channels} channels, got {shape[0]}")
    tensors = {"weight": weight}
    if call.optional(2, "B") is not None:
        tensors["bias"] = call.parameter(2, "B", (outputs,))
    kind: Callable[..., Layer] = layers.Conv1d if len(shape) == 2 else layers.Conv2d
    padding = _plainly(window.padding) if window.is_even else _same(call, window)
    return call.layer(
        lambda: kind(
            channels,
            outputs,
            _plainly(window.size),
            _plainly(window.stride),
            padding,
            _plainly(window.dilation),
            groups,
            "bias" in tensors,
        ),
        (outputs, *window.outputs(shape)),
        tensors,
    )


def _same(call: Call, window: _Window) -> str:
    """Check that a padding is that of outputs of the inputs' size."""
    totals = [dilation * (size - 1) for size, dilation in zip(window.size, window.dilation, strict=True)]
    less = [total // 2 for total in totals]
    is_same = window.pads == [*less, *(total - half for total, half in zip(totals, less, strict=True))]
    call.require(
        is_same and set(window.stride) == {1},
        f"pads: expected as many at the beginning as at the end, or one more for the same size, got {window.pads}",
    )
    return "same"


def _conv_transpose(call: Call) -> Value:
    weight, shape = call.parameter(1, "W"), _images(call)
    call.require(weight.ndim == 4, f"W: expected four axes, got shape {weight.shape}")
    inputs, outputs, *size = weight.shape
    call.require(call.get("kernel_shape", size) == size, f"kernel_shape: expected that of W, {size}")
    fixed = "output_shape" in call.node.attributes or call.get("auto_pad", "NOTSET") != "NOTSET"
    call.require(not fixed, "expected pads, got output_shape or auto_pad")
    window, groups, more = _window(call, size, shape), call.get("group", 1), call.get("output_padding", [0, 0])
    call.require(window.is_even, f"pads: expected as many at the beginning as at the end, got {window.pads}")
    call.require(shape[0] in (inputs, None) and len(more) == 2, f"expected {inputs} channels, got {shape[0]}")
    outputs *= groups
    tensors = {"weight": weight}
    if call.optional(2, "B") is not None:
        tensors["bias"] = call.parameter(2, "B", (outputs,))
    sizes = (
        None if there is None else (there - 1) * stride - 2 * pad + dilation * (width - 1) + extra + 1
        for there, stride, pad, dilation, width, extra in zip(
            shape[1:], window.stride, window.padding, window.dilation, window.size, more, strict=True
        )
    )
    return call.layer(
        lambda: layers.ConvTranspose2d(
            inputs,
            outputs,
            _plainly(window.size),
            _plainly(window.stride),
            _plainly(window.padding),
            _plainly(_pair(more)),
            groups,
            "bias" in tensors,
            _plainly(window.dilation),
        ),
        (outputs, *sizes),
        tensors,
    )


def _resize(call: Call) -> Value:
    shape, scales = _images(call), call.optional(2, "scales")
    call.require(scales is not None and scales.shape == (4,), "expected scales of four axes")
    assert scales is not None
    call.require(scales[0] == scales[1] == 1, f"expected to resize height and width only, got {scales}")
    known = ("mode", "coordinate_transformation_mode", "nearest_mode")
    others = sorted(call.node.attributes.keys() - {*known, "cubic_coeff_a", "extrapolation_value"})
    call.require(not others, f"expected none of the attributes {others}")
    mode, corners, nearest = (call.get(name, usual) for name, usual in zip(known, _RESIZE, strict=True))
    pair = _pair([float(str(scale)) for scale in scales[2:]])
    factor = pair[0] if pair[0] == pair[1] else pair
    sizes = (None if there is None else int(there * scale) for there, scale in zip(shape[1:], pair, strict=True))
    if (mode, corners, nearest) == ("nearest", "asymmetric", "floor"):
        return call.layer(lambda: layers.Upsample(factor), (shape[0], *sizes))
    call.require(
        mode == "linear" and corners in ("half_pixel", "align_corners"),
        f"expected linear by half_pixel or align_corners, or nearest by asymmetric and floor, got {mode} by {corners}",
    )
    is_whole = all(there is not None and (there * scale) % 1 == 0 for there, scale in zip(shape[1:], pair, strict=True))
    call.require(corners == "half_pixel" or is_whole, "expected scales to whole sizes with align_corners")
    return call.layer(lambda: layers.Upsample(factor, "bilinear", corners == "align_corners"), (shape[0], *sizes))


_RESIZE = "nearest", "half_pixel", "round_prefer_floor"  # what they are by default


def _gather(call: Call) -> Value:
    table, indices = [*call.inputs, None][:2]
    if isinstance(table, Value):
        return last_step(call)
    call.require(isinstance(indices, Value), "expected indices that are computed")
    weight = call.parameter(0, "table")
    call.require(weight.ndim == 2 and call.get("axis", 0) == 0, f"expected rows of a table, got shape {weight.shape}")
    shape = None if indices.shape is None else (*indices.shape, weight.shape[1])
    step = LayerStep(call.node, call.made(lambda: layers.Embedding(*weight.shape)), {"weight": weight})
    return indices.then(step, shape)  # type: ignore[no-any-return]


def _instance_normalization(call: Call) -> Value:
    step, before = call.value.step, call.value.before
    if isinstance(step, Groups) and before is not None:
        is_plain = (call.constant(1, "scale") == 1).all() and not call.constant(2, "B").any()
        call.require(is_plain, "expected groups of channels to be normalized without scale and shift")
        return before.then(replace(step, node=call.node, eps=call.get("epsilon", 1e-5)), call.value.shape)
    shape, weight = call.value.shape, call.parameter(1, "scale")
    call.require(shape is not None and shape[:1] == weight.shape, f"expected {weight.shape} channels, got {shape}")
    tensors = {"weight": weight, "bias": call.parameter(2, "B", weight.shape)}
    return call.layer(lambda: layers.GroupNorm(len(weight), len(weight), call.get("epsilon", 1e-5)), shape, tensors)


def _group_normalization(call: Call) -> Value:
    call.require(call.opset >= 21, "expected a scale for each channel, as from opset 21")
    shape, weight, groups = call.value.shape, call.parameter(1, "scale"), call.get("num_groups", 1)
    call.require(shape is not None and shape[:1] == weight.shape, f"expected {weight.shape} channels, got {shape}")
    tensors = {"weight": weight, "bias": call.parameter(2, "bias", weight.shape)}
    return call.layer(lambda: layers.GroupNorm(groups, len(weight), call.get("epsilon", 1e-5)), shape, tensors)


def _plainly(values: tuple[Any, ...]) -> Any:
    """Return a number for a tuple of equal ones."""
    return values[0] if len(set(values)) == 1 else values


def _pooling(call: Call, kind: Callable[..., Layer], shape: Shape, counts_padding: bool | None = None) -> Value:
    """Return the value behind a layer that pools; of averages, the padding counts or not."""
    window = _window(call, call.get("kernel_shape", [0] * (len(shape) - 1)), shape)
    call.require(set(window.dilation) == {1}, f"expected dilations of 1, got {window.dilation}")
    has_ceil, outputs = bool(call.get("ceil_mode", 0)), window.outputs(shape)
    if has_ceil or not window.is_even:
        call.require(
            window.is_even or (not has_ceil and not counts_padding and outputs == window.outputs_with_ceil(shape)),
            f"pads: expected as many at the beginning as at the end, or those of ceil_mode, got {window.pads}",
        )
        call.require(window.is_even or None not in outputs, "uneven pads: expected sizes that are known")
        has_ceil, outputs = True, window.outputs_with_ceil(shape)
    settings = {"ceil_mode": True} if has_ceil else {}
    if counts_padding is False and any(window.padding):
        settings["count_include_pad"] = False
    size, stride = _plainly(window.size), _plainly(window.stride)
    return call.layer(
        lambda: kind(size, None if stride == size else stride, _plainly(window.padding), **settings),
        (shape[0], *outputs),
    )


def _max_pool(call: Call) -> Value:
    shape = _planes(call)
    return _pooling(call, layers.MaxPool1d if len(shape) == 2 else layers.MaxPool2d, shape)


def _average_pool(call: Call) -> Value:
    inside = _behind_padding(call)
    if inside is not call:
        own = call.node.attributes.get("pads", [0])
        is_plain = not any(own) and "auto_pad" not in call.node.attributes and not call.get("ceil_mode", 0)
        call.require(is_plain, "expected pads=0 and ceil_mode=0 behind a Pad")
    shape = _planes(inside)
    counts = inside is not call or bool(call.get("count_include_pad", 0))
    return _pooling(inside, layers.AvgPool1d if len(shape) == 2 else layers.AvgPool2d, shape, counts)


def _pad(call: Call) -> Value:
    shape = _planes(call)
    count = 1 + len(shape)
    call.require(call.get("mode", "constant") == "constant", "expected mode='constant'")
    if call.opset < 11:
        pads, fill = list(call.get("pads", [])), call.get("value", 0.0)
    else:
        pads, given = [int(size) for size in call.constant(1, "pads").reshape(-1)], call.optional(2, "value")
        fill = 0 if given is None else float(given.reshape(()))
    axes = axes_of(call.node, call.inputs, 3) or list(range(count))
    call.require(len(pads) == 2 * len(axes), f"expected two pads an axis, got {len(pads)} for {len(axes)} axes")
    before, after = [0] * count, [0] * count
    for at, axis in enumerate(axes):
        call.require(-count <= axis < count, f"expected an axis of {count}, got {axis}")
        before[axis], after[axis] = pads[at], pads[at + len(axes)]
    call.require(min(*before, *after) >= 0 == fill, "expected zeros around images or lines")
    call.require(not any(before[:2]) and not any(after[:2]), "expected no zeros before or behind channels and batches")
    sizes = (
        None if there is None else there + first + last
        for there, first, last in zip(shape[1:], before[2:], after[2:], strict=True)
    )
    return call.value.then(Padded(call.node, tuple(before[2:]), tuple(after[2:])), (shape[0], *sizes))


def _global_average_pool(call: Call) -> Value:
    shape = _planes(call)
    return call.value.then(GlobalMean(call.node, shape), (shape[0], *[1] * (len(shape) - 1)))


def _global_max_pool(call: Call) -> Value:
    shape = _planes(call)
    kind = layers.AdaptiveMaxPool1d if len(shape) == 2 else layers.AdaptiveMaxPool2d
    return call.layer(lambda: kind(1), (shape[0], *[1] * (len(shape) - 1)))


def _reduce_mean(call: Call) -> Value:
    shape, axes = _planes(call), axes_of(call.node, call.inputs)
    named = _from_the_first(axes, shape)
    call.require(
        named == list(range(2, len(shape) + 1)), f"expected all axes of images or lines behind the channels, got {axes}"
    )
    mean = _global_average_pool(call)
    return mean if call.get("keepdims", 1) else _flattened(replace(call, inputs=[mean]))


def _from_the_first(axes: Sequence[int] | None, shape: Shape) -> list[int]:
    """Return axes in their order, those that are counted from the last one with the others."""
    count = 1 + len(shape)
    return sorted(axis % count if -count <= axis < count else axis for axis in axes or [])


# --- normalization ----------------------------------------------------------------------------------------------


def _batch_normalization(call: Call) -> Value:
    trains = call.get("training_mode", 0) or (call.opset < 14 and any(call.node.outputs[1:]))
    call.require(not trains, "expected training_mode=0")
    call.require(call.get("spatial", 1) == 1, "expected spatial=1")
    shape = call.value.shape
    kinds: dict[int, Callable[..., Layer]] = {1: layers.BatchNorm1d, 2: layers.BatchNorm1d, 3: layers.BatchNorm2d}
    if shape is None or len(shape) not in kinds:
        call.node.refuse(f"expected vectors, lines or images, got samples of shape {shape}")
    weight = call.parameter(1, "scale")
    names = ("bias", "running_mean", "running_var")
    tensors = {"weight": weight} | {name: call.parameter(at, name, weight.shape) for at, name in enumerate(names, 2)}
    call.require(weight.ndim == 1 and shape[0] in (len(weight), None), f"expected {weight.shape} channels, got {shape}")
    eps, momentum = call.get("epsilon", 1e-5), 1 - call.get("momentum", 0.9)
    make = kinds[len(shape)]
    return call.layer(lambda: make(len(weight), eps=eps, momentum=round(momentum, 7)), shape, tensors)


def _layer_normalization(call: Call) -> Value:
    weight, shape = call.parameter(1, "Scale"), call.value.shape
    axis = call.get("axis", -1)
    axis = axis - 1 - len(shape) if axis > 0 and shape is not None else axis
    call.require(
        axis < 0 and -axis == weight.ndim, f"expected the axes of Scale, of shape {weight.shape}, got axis {axis}"
    )
    call.require(shape is None or len(shape) >= weight.ndim, f"expected axes of samples, got samples of {shape}")
    last = None if shape is None else shape[len(shape) - weight.ndim :]
    fits = last is None or all(there in (own, None) for there, own in zip(last, weight.shape, strict=True))
    call.require(fits, f"Scale: expected shape {last}, got {weight.shape}")
    bias = np.zeros_like(weight) if call.optional(2, "B") is None else call.parameter(2, "B", weight.shape)
    sizes = weight.shape if weight.ndim > 1 else weight.shape[0]
    return call.layer(
        lambda: layers.LayerNorm(sizes, call.get("epsilon", 1e-5)), shape, {"weight": weight, "bias": bias}
    )


def _dropout(call: Call) -> Value:
    training = call.optional(2, "training_mode")
    call.require(training is None or not training.any(), "expected training_mode=False")
    ratio = call.optional(1, "ratio")
    p = call.get("ratio", 0.5) if ratio is None else float(str(ratio.reshape(())))
    return call.layer(lambda: layers.Dropout(p), call.value.shape)


# --- shapes -----------------------------------------------------------------------------------------------------


def _flatten(call: Call) -> Value:
    shape, axis = call.value.shape, call.get("axis", 1)
    axis = axis + 1 + len(shape) if axis < 0 and shape is not None else axis
    call.require(axis == 1, f"expected axis 1, which leaves the batch as it is, got {axis}")
    return _flattened(call)


def _flattened(call: Call) -> Value:
    value, shape = call.value, call.value.shape
    if shape is not None and len(shape) == 1:
        return value
    if isinstance(value.step, GlobalMean) and len(value.step.shape) == 3 and value.before is not None:
        step = LayerStep(value.step.node, layers.GlobalAvgPool2d())
        return value.before.then(step, value.step.shape[:1])
    if _is_of(value, layers.Unflatten) and value.before is not None and len(value.before.shape or ()) == 1:
        return value.before
    return call.layer(layers.Flatten, (_count(shape),))


def _count(shape: Shape | None) -> int | None:
    if shape is None or None in shape:
        return None
    return math.prod(size for size in shape if size is not None)


def _reshape(call: Call) -> Value:
    if isinstance(call.value.step, Directions):
        return squeezed(call)
    wanted = [int(size) for size in call.constant(1, "shape").reshape(-1)]
    call.require(not call.get("allowzero", 0) or 0 not in wanted, "expected sizes other than 0, as allowzero=1")
    shape, count = call.value.shape, _count(call.value.shape)
    first, *rest = wanted or [0]
    if isinstance(call.value.step, Groups):
        return _ungrouped(call, rest)
    keeps_batch = first in (0, UNKNOWN) or (call.batch is not None and first == call.batch)
    if len(rest) == 1 and ((keeps_batch and rest[0] in (-1, count)) or (first == -1 and rest[0] == count is not None)):
        return _flattened(call)
    if shape is None or not (keeps_batch or first == -1):
        call.node.refuse(f"expected a shape that leaves the batch as it is, got {wanted} for samples of shape {shape}")
    sizes = [shape[at] if size == 0 and at < len(shape) else size for at, size in enumerate(rest)]
    if tuple(sizes) == shape and None not in shape:
        return call.value
    # (channels, ...) to (channels / pieces, pieces, ...), of which comes a maximum
    channels = shape[0] if shape else None
    if channels and len(sizes) == len(shape) + 1 and tuple(sizes[2:]) == shape[1:] and (sizes[1] or 0) > 0:
        groups, pieces = sizes[:2]
        if pieces and groups in (channels // pieces, -1) and channels % pieces == 0:
            step = Pieces(call.node, channels // pieces, pieces)
            return call.value.then(step, (channels // pieces, pieces, *shape[1:]))
    if count:
        others = math.prod(size for size in sizes if size is not None and size != -1)
        sizes = [count // max(1, others) if size == -1 else size for size in sizes]
    if _split_axis(shape, tuple(sizes)):
        return _reshaped(call, tuple(sizes))
    if channels and len(sizes) == 2 and (sizes[0] or 0) > 0 and channels % (sizes[0] or 1) == 0:
        return call.value.then(Groups(call.node, sizes[0] or 1, shape), (sizes[0], None))
    call.node.refuse(f"there is no layer that makes samples of shape {tuple(rest)} from {shape}")


def _ungrouped(call: Call, sizes: list[int]) -> Value:
    """Return channels in the shape that they had before they were joined to groups and normalized."""
    step, before = call.value.step, call.value.before
    assert isinstance(step, Groups)
    assert before is not None
    fits = len(sizes) == len(step.shape) and all(
        size in (there, 0, -1, UNKNOWN) for size, there in zip(sizes, step.shape, strict=True)
    )
    eps, channels = step.eps, step.shape[0]
    if not fits or eps is None or channels is None:
        call.node.refuse(f"expected groups of channels, normalized and in the shape {step.shape} again, got {sizes}")
    layer = call.made(lambda: layers.GroupNorm(step.groups, channels, eps, affine=False))
    return before.then(LayerStep(call.node, layer), step.shape)


def _split_axis(shape: Shape, sizes: Shape) -> tuple[int, tuple[int, ...]] | None:
    """Return the axis, counted with the batch, that has become several, and their sizes, if that is all."""
    parts = len(sizes) - len(shape) + 1
    for axis, size in enumerate(shape):
        own = sizes[axis : axis + parts]
        around_stays = sizes[:axis] == shape[:axis] and sizes[axis + parts :] == shape[axis + 1 :]
        if parts > 1 and around_stays and size is not None and _count(own) == size:
            return axis + 1, tuple(n for n in own if n is not None)
    return None


def _reshaped(call: Call, sizes: Shape) -> Value:
    """Return the value in another shape: with one axis as several if that is all, else by way of a vector."""
    split = None if call.value.shape is None else _split_axis(call.value.shape, sizes)
    if split is not None:
        return call.layer(lambda: layers.Unflatten(*split), sizes)
    flat = _flattened(call)
    if len(sizes) == 1:
        return flat
    call.require(None not in sizes, f"expected sizes that are known, got {sizes}")
    known = tuple(size for size in sizes if size is not None)
    return replace(call, inputs=[flat]).layer(lambda: layers.Unflatten(1, known), sizes)


def _squeeze(call: Call) -> Value:
    if isinstance(call.value.step, Directions):
        return squeezed(call)
    axes, shape = axes_of(call.node, call.inputs), call.value.shape or ()
    named = _from_the_first(axes, shape)
    call.require(
        named and all(0 < axis <= len(shape) and shape[axis - 1] == 1 for axis in named) and len(named) < len(shape),
        f"expected axes behind the batch, of size 1, got {axes} of samples of shape {call.value.shape}",
    )
    return _reshaped(call, tuple(size for axis, size in enumerate(shape, 1) if axis not in named))


def _unsqueeze(call: Call) -> Value:
    axes, shape = axes_of(call.node, call.inputs) or [], call.value.shape
    if shape is None:
        call.node.refuse("expected a number of axes that is known")
    count = 1 + len(shape) + len(axes)
    named = {axis + count if axis < 0 else axis for axis in axes}
    call.require(
        len(named) == len(axes) > 0 and min(named) > 0 and max(named) < count, f"expected new axes, got {axes}"
    )
    sizes = iter(shape)
    return _reshaped(call, tuple(1 if axis in named else next(sizes) for axis in range(1, count)))


def _reduce_max(call: Call) -> Value:
    axes, step, value = axes_of(call.node, call.inputs), call.value.step, call.value
    shape, keeps_axes = value.shape, call.get("keepdims", 1)
    if isinstance(step, Pieces) and axes == [2] and not keeps_axes and value.before is not None:
        layer = call.made(lambda: layers.Maxout(step.pieces))
        return value.before.then(LayerStep(call.node, layer), None if shape is None else (shape[0], *shape[2:]))
    if shape is None or len(shape) not in (2, 3) or _from_the_first(axes, shape) != list(range(2, len(shape) + 1)):
        call.node.refuse("expected axis 2 of groups of channels behind a Reshape, or all axes of images or lines")
    maximum = _global_max_pool(call)
    return maximum if keeps_axes else _flattened(replace(call, inputs=[maximum]))


def _shape(call: Call) -> Array:
    sizes = sizes_of(call)
    start, end = call.get("start", 0), call.node.attributes.get("end")
    return np.array([UNKNOWN if size is None else size for size in sizes][start:end], np.int64)


def _transpose(call: Call) -> Value:
    perm = call.get("perm", [])
    if perm == [1, 0, 2] or isinstance(call.value.step, Directions):
        return transposed(call)
    call.require(perm and perm == sorted(perm), f"there is no layer that changes the order of axes, to {perm}")
    return call.value


def _identity(call: Call) -> Value:
    return call.value


def _cast(call: Call) -> Value:
    value, to = call.value, call.get("to", 0)
    wanted = np.dtype(DTYPES[to][0]) if to in DTYPES else None
    if isinstance(value.step, Compared) and value.before is not None:
        call.require(wanted == call.dtype, "expected a cast to the type of the network")
        call.require(value.step.bound == 0, f"expected a comparison with 0, got {value.step.bound}")
        return value.before.then(LayerStep(call.node, layers.Heaviside()), value.shape)
    call.require(wanted == call.dtype, f"expected a cast to {call.dtype}, the type of the network, got {wanted}")
    return value


# --- arithmetic -------------------------------------------------------------------------------------------------


def _per_channel(call: Call, array: Array, shape: Shape | None) -> Array:
    """Return a constant that is broadcast to a batch as a number, or as a vector with one for each channel."""
    if array.size == 1 and (shape is None or array.ndim <= 1 + len(shape)):
        return array.reshape(())
    if shape is None:
        call.node.refuse("expected a number of axes that is known")
    padded = (1,) * (1 + len(shape) - array.ndim) + array.shape
    is_vector = len(padded) == 1 + len(shape) and padded[0] == 1 and padded[2:] == (1,) * (len(shape) - 1)
    call.require(
        is_vector and shape[0] in (array.size, None),
        f"expected a constant that is a number, or one for each channel, got shape {array.shape} for samples {shape}",
    )
    return array.reshape(-1)


def _affine(call: Call, value: Value, scale: Array, shift: Array) -> Value:
    """Return the value that is scaled and shifted, in one step with the last one if that may take it."""
    is_shift = scale.ndim == 0 and scale == 1
    is_vector = value.shape is not None and len(value.shape) == 1
    is_along_channels = is_vector or _is_of(value, layers.Conv1d | layers.Conv2d)
    biased = _with_bias(value, shift) if is_shift and (is_along_channels or shift.ndim == 0) else None
    if biased is not None:
        return biased
    step, before = value.step, value.before
    if isinstance(step, LayerStep) and isinstance(step.layer, layers.GroupNorm) and before is not None:
        channels = step.layer.num_channels
        weight, bias = step.tensors.get("weight", np.ones(channels)), step.tensors.get("bias", np.zeros(channels))
        tensors = {"weight": scale * weight, "bias": scale * bias + shift}
        return before.then(replace(step, layer=replace(step.layer, affine=True), tensors=tensors), value.shape)
    if isinstance(step, Affine) and before is not None:
        scale, shift, value = scale * step.scale, scale * step.shift + shift, before
    if scale.ndim == shift.ndim == 0 and abs(scale - 1) < 1e-6 and shift == 0:
        return value
    return value.then(Affine(call.node, scale, shift, value.shape), value.shape)


def _is_of(value: Value, kind: Any) -> bool:
    """Return whether a value comes from a layer of such a type."""
    return isinstance(value.step, LayerStep) and isinstance(value.step.layer, kind)


def _with_bias(value: Value, shift: Array) -> Value | None:
    """Return the value with a shift that the layer before it takes as its bias, if that has none and can."""
    step, before = value.step, value.before
    with_bias = layers.Linear | layers.Conv1d | layers.Conv2d
    if not isinstance(step, LayerStep) or before is None or not isinstance(step.layer, with_bias):
        return None
    outputs = len(step.tensors["weight"])
    if step.layer.bias or shift.shape not in ((), (outputs,)):
        return None
    layer = replace(step.layer, bias=True)
    bias = np.broadcast_to(shift, outputs)
    return before.then(replace(step, layer=layer, tensors=step.tensors | {"bias": bias}), value.shape)


def _operands(call: Call) -> tuple[Value, Value] | tuple[Value, Array]:
    """Return both operands, a constant being the second."""
    call.require(len(call.inputs) == 2 and None not in [type(v) for v in call.inputs], "expected two operands")
    a, b = call.inputs
    return (a, b) if isinstance(a, Value) else (b, a)


def _add(call: Call) -> Value:
    value, other = _operands(call)
    if isinstance(other, Value):
        return _sum(call, value, other)
    constant = other.astype(call.dtype)
    # Of a product, a vector is added along the last axis, whatever the samples' shape.
    biased = _with_bias(value, constant) if _is_of(value, layers.Linear) and constant.ndim == 1 else None
    if biased is not None:
        return biased
    return _affine(call, value, np.ones((), call.dtype), _per_channel(call, constant, value.shape))


def _sum(call: Call, a: Value, b: Value) -> Value:
    both_known = a.shape is not None and b.shape is not None
    call.require(not both_known or a.shape == b.shape, f"expected operands of one shape, got {a.shape} and {b.shape}")
    return call.join(call.node, [a, b], True)


def _sum_of_all(call: Call) -> Value:
    call.require(
        call.inputs and all(isinstance(value, Value) for value in call.inputs), "expected operands that are computed"
    )
    total: Value = call.inputs[0]
    for value in call.inputs[1:]:
        total = _sum(call, total, value)
    return total


def _sub(call: Call) -> Value:
    value, other = _operands(call)
    if isinstance(other, Value):
        call.node.refuse("there is no layer that subtracts what is computed")
    constant = _per_channel(call, other.astype(call.dtype), value.shape)
    one = np.ones((), call.dtype)
    is_first = call.inputs[0] is value
    return _affine(call, value, one if is_first else -one, -constant if is_first else constant)


def _scaler(call: Call) -> Value:
    """Return ``(x - offset) * scale``, of vectors."""
    value = call.value
    offset, scale = (np.asarray(call.get(name, [0.0]), call.dtype) for name in ("offset", "scale"))
    call.require(value.shape is not None and len(value.shape) == 1, f"expected vectors, got shape {value.shape}")
    call.require(call.dtype == np.float32, f"expected floats, got {call.dtype}")
    one_for_each = [_per_channel(call, array, value.shape) for array in (-offset * scale, scale)]
    return _affine(call, value, one_for_each[1], one_for_each[0])


def _neg(call: Call) -> Value:
    return _affine(call, call.value, -np.ones((), call.dtype), np.zeros((), call.dtype))


def _div(call: Call) -> Value:
    value, other = _operands(call)
    if isinstance(other, Value) or call.inputs[0] is not value:
        call.node.refuse("there is no layer that divides by what is computed")
    constant = _per_channel(call, other.astype(call.dtype), value.shape)
    call.require((constant != 0).all(), "expected a divisor other than 0")
    return _affine(call, value, 1 / constant, np.zeros((), call.dtype))


def _mul(call: Call) -> Value:
    value, other = _operands(call)
    if isinstance(other, Value):
        return _product(call, value, other)
    constant = _per_channel(call, other.astype(call.dtype), value.shape)
    return _affine(call, value, constant, np.zeros((), call.dtype))


def _product(call: Call, a: Value, b: Value) -> Value:
    """Return the activation that is a product of x with a function of x."""
    root, paths = branches_of(call.node, [a, b])
    for factor, gate in (paths, paths[::-1]):
        scale = _scale_of(factor)
        made = None if scale is None else _gated(gate)
        if scale is not None and made is not None:
            layer, times = made
            value = root.then(LayerStep(call.node, layer), root.shape)
            number = np.asarray(scale * times, call.dtype)
            return _affine(call, value, number, np.zeros((), call.dtype))
    call.node.refuse("there is no layer that multiplies what is computed, but for x with a gate of x")


def _scale_of(steps: Sequence[Step]) -> float | None:
    """Return the number that steps multiply with, if they do nothing else."""
    scale = 1.0
    for step in steps:
        if not isinstance(step, Affine) or not step.is_scalar or step.shift != 0:
            return None
        scale *= float(step.scale)
    return scale


def _gated(gate: Sequence[Step]) -> tuple[Layer, float] | None:
    """Return the layer that x times a gate is, and the factor before it."""
    inner = tuple(step.layer for step in gate if isinstance(step, LayerStep))
    if len(inner) == len(gate) and inner in _GATES:
        return _GATES[inner], 1.0
    if len(gate) == 3 and isinstance(gate[1], Erf):
        inside, outside = gate[0], gate[2]
        if isinstance(inside, Affine) and isinstance(outside, Affine) and inside.is_scalar and outside.is_scalar:
            is_normal = abs(inside.scale - math.sqrt(0.5)) < 1e-6 and inside.shift == 0
            if is_normal and outside.scale == outside.shift:
                return layers.GELU(), 2 * float(outside.scale)
    return None


_GATES: dict[tuple[Any, ...], Layer] = {
    (layers.Sigmoid(),): layers.SiLU(),
    (layers.Softplus(), layers.Tanh()): layers.Mish(),
}


def _concat(call: Call) -> Value:
    call.require(
        call.inputs and all(isinstance(value, Value) for value in call.inputs), "expected operands that are computed"
    )
    values: list[Value] = call.inputs
    shapes = [value.shape for value in values]
    axis = call.get("axis", 1)
    axis = axis + 1 + len(shapes[0]) if axis < 0 and shapes[0] is not None else axis
    call.require(axis == 1, f"expected axis 1, the first of a sample, got {axis}")
    return values[0] if len(values) == 1 else call.join(call.node, values, False)


OPERATORS: dict[str, Operator] = RECURRENT | {
    "Add": _add,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _div,
    "Dropout": _dropout,
    "Elu": _elu,
    "Erf": _erf,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "Greater": _greater,
    "GroupNormalization": _group_normalization,
    "HardSwish": _plain(layers.Hardswish),
    "Identity": _identity,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _softmax(layers.LogSoftmax),
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mul": _mul,
    "Neg": _neg,
    "PRelu": _prelu,
    "Pad": _pad,
    "ReduceMax": _reduce_max,
    "ReduceMean": _reduce_mean,
    "Relu": _plain(layers.ReLU),
    "Reshape": _reshape,
    "Resize": _resize,
    "Scaler": _scaler,
    "Selu": _plain(layers.SELU),
    "Shape": _shape,
    "Sigmoid": _plain(layers.Sigmoid),
    "Softmax": _softmax(layers.Softmax),
    "Softplus": _plain(layers.Softplus),
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Sum": _sum_of_all,
    "Tanh": _plain(layers.Tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
