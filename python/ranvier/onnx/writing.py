"""What a network predicts with as an ONNX graph: a few nodes for each layer."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from ranvier import files, layers
from ranvier._core import __version__
from ranvier.engine import Engine
from ranvier.layers import Layer, PlainLayer
from ranvier.layers.base import both
from ranvier.network import Network
from ranvier.types import Array
from ranvier.wiring import Ends, Wiring

__all__ = ["REFUSED", "WRITTEN", "write"]

_OPSET = 17
_IR_VERSION = 8  # that of opset 17, so that runtimes from 2022 on read it
_LARGEST_FILE = 2**31 - 2**20  # of protobuf, less some room for the graph


def write(network: Network, input_shape: tuple[int, ...], path: str | os.PathLike[str]) -> None:
    """Write a file."""
    network.engine.require_adapted()
    state, wiring = network.state_dict(), network.engine.wiring
    if sum(value.nbytes for value in state.values()) >= _LARGEST_FILE:
        raise ValueError("network: expected parameters of less than 2 GiB, which is the most that a file of ONNX has")
    shapes = network.shapes(input_shape)
    if wiring is None:
        wiring = _chain(network.layers, input_shape, shapes[-1])
    inputs, outputs = _named(wiring.inputs, "input"), _named(wiring.outputs, "output")
    if both_sides := inputs.keys() & outputs.keys():
        raise ValueError(
            f"network: expected inputs and outputs of different names, as a file of ONNX has one value of each, got "
            f"{min(both_sides)!r} twice"
        )
    graph = _Graph(state, network.dtype)
    graph.integers = {name for k, name in enumerate(inputs) if _is_of_indices(network.layers, wiring, -1 - k)}
    values = graph.wired(network.layers, wiring, inputs, shapes)
    for name, source in zip(outputs, wiring.ends, strict=True):
        graph.add("Identity", [values[source]], output=name)
    kind = helper.np_dtype_to_tensor_dtype(network.dtype)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "ranvier",
            [_described(name, TensorProto.INT64 if name in graph.integers else kind, inputs[name]) for name in inputs],
            [_described(name, kind, outputs[name]) for name in outputs],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="ranvier",
        producer_version=__version__,
    )
    helper.set_model_props(model, network.metadata)
    files.replace(os.fspath(path), model.SerializeToString())


def _chain(
    members: Sequence[Layer | PlainLayer], input_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> Wiring:
    """Return the wiring of layers that stand one behind the other."""
    last = len(members) - 1
    return Wiring(
        Ends((None,), (input_shape,)), Ends((None,), (output_shape,)), tuple((k - 1,) for k in range(last + 1)), (last,)
    )


def _named(ends: Ends, unnamed: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of inputs or outputs by their names in the file."""
    return {name or unnamed: shape for name, shape in zip(ends.names, ends.shapes, strict=True)}


def _is_of_indices(members: Sequence[Layer | PlainLayer], wiring: Wiring, source: int) -> bool:
    """Return whether nothing but embeddings read an input."""
    readers = [layer for layer, sources in zip(members, wiring.sources, strict=True) if source in sources]
    return source not in wiring.ends and all(isinstance(layer, layers.Embedding) for layer in readers)


def _described(name: str, kind: int, shape: tuple[int, ...]) -> Any:
    return helper.make_tensor_value_info(name, kind, ["batch", *shape])


class _Place(NamedTuple):
    """Where a layer stands: its path, the name of the value that it takes, and the shape of a sample of that."""

    path: str
    input: str
    shape: tuple[int, ...]


class _Graph:
    """Nodes and constants, which grow layer by layer.

    All their names have a dot, which those of inputs and outputs have not.
    """

    def __init__(self, state: dict[str, Array], dtype: np.dtype[Any]) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.dtype = dtype
        self.integers: set[str] = set()  # the values that are no floats
        self._state = state
        self._constants: set[str] = set()

    def add(self, op: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        name = f"node.{len(self.nodes)}" if output is None else output
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: Any, dtype: Any = None) -> str:
        """Add a constant, by default of the network's dtype unless it is of integers, and return its name."""
        array = np.asarray(value)
        array = array.astype(dtype or (np.int64 if array.dtype.kind == "i" else self.dtype), order="C")
        if name not in self._constants:
            self._constants.add(name)
            self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def parameter(self, place: _Place, name: str, change: Callable[[Array], Array] | None = None) -> str:
        """Add a parameter or a running statistic of a layer, or what becomes of it, and return its name."""
        value = self.value(place, name)
        return self.constant(f"{place.path}.{name}", value if change is None else change(value))

    def value(self, place: _Place, name: str) -> Array:
        """Return a parameter or a running statistic of a layer."""
        return self._state[f"{place.path}.{name}"]

    def wired(
        self,
        members: Sequence[Layer | PlainLayer],
        wiring: Wiring,
        inputs: Mapping[str, tuple[int, ...]],
        shapes: Sequence[tuple[int, ...]],
    ) -> dict[int, str]:
        """Add the layers of a network, and return the names of inputs and layers' outputs, as the wiring numbers them.

        Parameters
        ----------
        inputs : mapping of str to tuple of int
            The shapes of samples by name.
        shapes : sequence of tuples of int
            Those of the layers' outputs.
        """
        self._require_written(members, "", {**WRITTEN, **_JOINS})
        names = {-1 - k: name for k, name in enumerate(inputs)}
        before = {-1 - k: shape for k, shape in enumerate(inputs.values())} | dict(enumerate(shapes))
        for position, (layer, sources) in enumerate(zip(members, wiring.sources, strict=True)):
            if type(layer) in _JOINS:
                names[position] = _JOINS[type(layer)](self, [names[source] for source in sources])
            else:
                (source,) = sources
                place = _Place(str(position), names[source], before[source])
                names[position] = WRITTEN[type(layer)](self, layer, place)
        return names

    def sequence(self, members: Sequence[Layer | PlainLayer], path: str, name: str, shape: tuple[int, ...]) -> str:
        """Add layers, one behind the other, and return the name of the last one's output."""
        self._require_written(members, path, WRITTEN)
        shapes = Engine(members, self.dtype.name, 0).predictor(shape).shapes if members else []
        for position, (layer, before) in enumerate(zip(members, [shape, *shapes], strict=False)):
            name = WRITTEN[type(layer)](self, layer, _Place(f"{path}{position}", name, before))
        return name

    def _require_written(self, members: Sequence[Layer | PlainLayer], path: str, written: Mapping[type, Any]) -> None:
        for position, layer in enumerate(members):
            if type(layer) not in written:
                reason = REFUSED.get(type(layer), "a layer of your own cannot be exported")
                raise ValueError(f"layer {path}{position} ({type(layer).__name__}): {reason}")


# --- one function a layer ---------------------------------------------------------------------------------------


def _left_out(graph: _Graph, layer: Layer, at: _Place) -> str:
    """Add nothing for a layer that changes nothing in prediction."""
    return at.input


def _one_node(op: str, *fields: tuple[str, str], **attributes: Any) -> Callable[[_Graph, Any, _Place], str]:
    """Return what adds a node with attributes that are fields of the layer, and others."""

    def add(graph: _Graph, layer: Any, at: _Place) -> str:
        own = {attribute: getattr(layer, field) for attribute, field in fields}
        return graph.add(op, [at.input], **own, **attributes)

    return add


def _linear(graph: _Graph, layer: layers.Linear, at: _Place) -> str:
    if len(at.shape) == 1:
        bias = [graph.parameter(at, "bias")] if layer.bias else []
        return graph.add("Gemm", [at.input, graph.parameter(at, "weight"), *bias], transB=1)
    product = graph.add("MatMul", [at.input, graph.parameter(at, "weight", np.transpose)])
    return graph.add("Add", [product, graph.parameter(at, "bias")]) if layer.bias else product


def _window(layer: Any, axes: int) -> dict[str, Any]:
    """Return the attributes of a layer with a window over so many axes."""
    written_out = layer.spec()[1] | {"extra_padding": layer.spec()[1].get("extra_padding", (0, 0))}
    names = ("kernel_size", "stride", "padding", "extra_padding")
    size, stride, before, extra = (written_out[name][2 - axes :] for name in names)
    behind = [zeros + more for zeros, more in zip(before, extra, strict=True)]
    return {"kernel_shape": size, "strides": stride, "pads": [*before, *behind]}


def _conv(graph: _Graph, layer: layers.Conv1d | layers.Conv2d, at: _Place) -> str:
    inputs = [at.input, *(graph.parameter(at, name) for name in ("weight", "bias")[: 1 + layer.bias])]
    dilations = both(layer.dilation)[: layer.axes]
    return graph.add("Conv", inputs, **_window(layer, layer.axes), dilations=dilations, group=layer.groups)


def _conv_transpose2d(graph: _Graph, layer: layers.ConvTranspose2d, at: _Place) -> str:
    inputs = [at.input, *(graph.parameter(at, name) for name in ("weight", "bias")[: 1 + layer.bias])]
    window = _window(layer, 2) | {"dilations": both(layer.dilation), "output_padding": both(layer.output_padding)}
    return graph.add("ConvTranspose", inputs, **window, group=layer.groups)


def _embedding(graph: _Graph, layer: Layer, at: _Place) -> str:
    indices = at.input
    if indices not in graph.integers:
        indices = graph.add("Cast", [indices], to=TensorProto.INT64)
    return graph.add("Gather", [graph.parameter(at, "weight"), indices])


def _to_whole(size: int, factor: float) -> float:
    """Return the factor to the size that is rounded down, large enough for another rounding of float32."""
    wanted = math.floor(size * factor)
    scale = np.float32(wanted / max(1, size))
    while math.floor(np.float32(size) * scale) < wanted:
        scale = np.nextafter(scale, np.float32(np.inf))
    return float(scale)


def _upsample(graph: _Graph, layer: layers.Upsample, at: _Place) -> str:
    scale = layer.scale_factor
    factors = list(scale) if isinstance(scale, tuple) else [scale, scale]
    if layer.align_corners:  # for which ONNX takes the scaled size as it is, not rounded down
        factors = [_to_whole(size, factor) for size, factor in zip(at.shape[1:], factors, strict=True)]
    scales = graph.constant(f"{at.path}.scales", np.array([1, 1, *factors]), np.float32)
    how: dict[str, Any]
    if layer.mode == "nearest":
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        corners = "align_corners" if layer.align_corners else "half_pixel"
        how = {"mode": "linear", "coordinate_transformation_mode": corners}
    return graph.add("Resize", [at.input, "", scales], **how)


def _pooling_window(graph: _Graph, layer: Any, at: _Place) -> tuple[dict[str, Any], list[int]]:
    """Return the attributes of a layer that pools, and how far its last windows reach beyond the padding."""
    window = _window(layer, layer.axes) | {"ceil_mode": 0}
    if not layer.ceil_mode:
        return window, [0] * layer.axes
    zeros, there = window["pads"][: layer.axes], at.shape[1:]
    outputs = Engine([layer], graph.dtype.name, 0).predictor(at.shape).shapes[0][1:]
    along = list(zip(there, zeros, window["kernel_shape"], window["strides"], outputs, strict=True))
    beyond = [max(0, (count - 1) * stride + size - own - 2 * pad) for own, pad, size, stride, count in along]
    if all(count == -(-(own + 2 * pad - size) // stride) + 1 for own, pad, size, stride, count in along):
        return window | {"ceil_mode": 1}, beyond
    # Of windows that begin behind the image, which are none, not all runtimes say so: as pads it is clear to them.
    behind = [pad + more for pad, more in zip(zeros, beyond, strict=True)]
    return window | {"pads": [*zeros, *behind]}, beyond


def _max_pool(graph: _Graph, layer: layers.MaxPool1d | layers.MaxPool2d, at: _Place) -> str:
    return graph.add("MaxPool", [at.input], **_pooling_window(graph, layer, at)[0])


def _avg_pool(graph: _Graph, layer: layers.AvgPool1d | layers.AvgPool2d, at: _Place) -> str:
    """Add a mean over windows; what lies beyond the padding does not count, even if the padding does."""
    window, beyond = _pooling_window(graph, layer, at)
    zeros, image = window["pads"][: layer.axes], at.input
    if layer.count_include_pad and any(beyond) and any(zeros):
        around = graph.constant(f"{at.path}.pads", np.array([0, 0, *zeros, 0, 0, *zeros]))
        image = graph.add("Pad", [image, around])
        window |= {"pads": [0] * layer.axes + beyond, "ceil_mode": 0}
    counts = layer.count_include_pad and not any(beyond)
    return graph.add("AveragePool", [image], **window, count_include_pad=int(counts))


def _adaptive_pool(graph: _Graph, layer: Layer, at: _Place) -> str:
    is_maximum, there = isinstance(layer, layers.AdaptiveMaxPool1d | layers.AdaptiveMaxPool2d), at.shape[1:]
    asked = layer.spec()[1]["output_size"][2 - len(there) :]
    sizes = [size or own for size, own in zip(asked, there, strict=True)]
    if set(sizes) == {1}:
        return graph.add("GlobalMaxPool" if is_maximum else "GlobalAveragePool", [at.input])
    if all(own % size == 0 for own, size in zip(there, sizes, strict=True)):
        window = [own // size for own, size in zip(there, sizes, strict=True)]
        op = "MaxPool" if is_maximum else "AveragePool"
        return graph.add(op, [at.input], kernel_shape=window, strides=window)
    value = at.input
    for axis, (own, size) in enumerate(zip(there, sizes, strict=True), 2):
        if own != size:
            value = _adaptive_axis(graph, at, value, axis, size, is_maximum)
    return value


def _adaptive_axis(graph: _Graph, at: _Place, value: str, axis: int, size: int, is_maximum: bool) -> str:
    """Add the pooling along one axis: each window's pixels come along an axis of their own, which is then reduced.

    Windows that are shorter than the longest repeat their last pixel, which counts once.
    """
    own = at.shape[axis - 1]
    first = np.arange(size) * own // size
    end = -(-(np.arange(size) + 1) * own // size)
    pixels = first[:, None] + np.arange((end - first).max())
    in_window = pixels < end[:, None]
    indices = graph.constant(f"{at.path}.pixels_{axis}", np.minimum(pixels, end[:, None] - 1))
    windows = graph.add("Gather", [value, indices], axis=axis)
    if is_maximum:
        return graph.add("ReduceMax", [windows], axes=[axis + 1], keepdims=0)
    shares = in_window / (end - first)[:, None]
    broadcast = shares.reshape(*shares.shape, *[1] * (len(at.shape) - axis))
    weighted = graph.add("Mul", [windows, graph.constant(f"{at.path}.shares_{axis}", broadcast)])
    axes = graph.constant(f"{at.path}.axis_{axis}", np.array([axis + 1]))
    return graph.add("ReduceSum", [weighted, axes], keepdims=0)


def _unflatten(graph: _Graph, layer: layers.Unflatten, at: _Place) -> str:
    shape = Engine([layer], graph.dtype.name, 0).predictor(at.shape).shapes[0]
    return graph.add("Reshape", [at.input, graph.constant(f"{at.path}.shape", np.array([0, *shape]))])


def _global_avg_pool2d(graph: _Graph, layer: Layer, at: _Place) -> str:
    return graph.add("Flatten", [graph.add("GlobalAveragePool", [at.input])])


def _flatten(graph: _Graph, layer: Layer, at: _Place) -> str:
    return graph.add("Flatten", [at.input])


def _batch_norm(graph: _Graph, layer: Any, at: _Place) -> str:
    if layer.affine:
        affine = [graph.parameter(at, "weight"), graph.parameter(at, "bias")]
    else:
        affine = [
            graph.constant(f"{at.path}.weight", np.ones(layer.num_features)),
            graph.constant(f"{at.path}.bias", np.zeros(layer.num_features)),
        ]
    statistics = [graph.parameter(at, "running_mean"), graph.parameter(at, "running_var")]
    settings = {"epsilon": layer.eps, "momentum": 1 - layer.momentum}
    return graph.add("BatchNormalization", [at.input, *affine, *statistics], **settings)


def _layer_norm(graph: _Graph, layer: layers.LayerNorm, at: _Place) -> str:
    shape = layer.normalized_shape if isinstance(layer.normalized_shape, tuple) else (layer.normalized_shape,)
    if layer.elementwise_affine:
        affine = [graph.parameter(at, "weight"), graph.parameter(at, "bias")]
    else:
        affine = [graph.constant(f"{at.path}.weight", np.ones(shape))]
    return graph.add("LayerNormalization", [at.input, *affine], axis=-len(shape), epsilon=layer.eps)


def _standardize(graph: _Graph, layer: layers.Standardize, at: _Place) -> str:
    broadcast = (-1, *[1] * (len(at.shape) - 1))
    mean, std = (graph.parameter(at, name, lambda value: value.reshape(broadcast)) for name in ("mean", "std"))
    return graph.add("Div", [graph.add("Sub", [at.input, mean]), std])


def _group_norm(graph: _Graph, layer: layers.GroupNorm, at: _Place) -> str:
    """Add a normalization of each group as of one channel, as opset 17 has no GroupNormalization."""
    ones = graph.constant(f"{at.path}.ones", np.ones(layer.num_groups))
    zeros = graph.constant(f"{at.path}.zeros", np.zeros(layer.num_groups))
    grouped = graph.constant(f"{at.path}.groups", np.array([0, layer.num_groups, -1]))
    normal = graph.add("Reshape", [at.input, grouped])
    normal = graph.add("InstanceNormalization", [normal, ones, zeros], epsilon=layer.eps)
    result = graph.add("Reshape", [normal, graph.constant(f"{at.path}.shape", np.array([0, *at.shape]))])
    if layer.affine:
        broadcast = (-1, *[1] * (len(at.shape) - 1))
        weight, bias = (graph.parameter(at, name, lambda v: v.reshape(broadcast)) for name in ("weight", "bias"))
        result = graph.add("Add", [graph.add("Mul", [result, weight]), bias])
    return result


def _recurrent(op: str, order: Sequence[int], **attributes: Any) -> Callable[[_Graph, Any, _Place], str]:
    """Return what adds recurrent layers, whose gates ONNX has in another order."""

    def add(graph: _Graph, layer: Any, at: _Place) -> str:
        def gates(value: Array) -> Array:
            return value.reshape(len(order), layer.hidden_size, -1)[list(order)].reshape(1, *value.shape)

        states = graph.add("Transpose", [at.input], perm=[1, 0, 2])
        for number in range(layer.num_layers):
            inputs = [graph.parameter(at, f"weight_{name}_l{number}", gates) for name in ("ih", "hh")]
            if layer.bias:
                biases = [gates(graph.value(at, f"bias_{name}_l{number}")) for name in ("ih", "hh")]
                inputs.append(graph.constant(f"{at.path}.bias_l{number}", np.concatenate(biases, axis=1)))
            every = graph.add(op, [states, *inputs], hidden_size=layer.hidden_size, **attributes)
            states = graph.add("Squeeze", [every, graph.constant("constant.direction", np.array([1]))])
        if layer.return_sequences:
            return graph.add("Transpose", [states], perm=[1, 0, 2])
        return graph.add("Gather", [states, graph.constant("constant.last", np.array(-1))])

    return add


def _prelu(graph: _Graph, layer: layers.PReLU, at: _Place) -> str:
    broadcast = (-1, *[1] * (len(at.shape) - 1))
    slope = graph.parameter(at, "weight", lambda value: value.reshape(broadcast))
    return graph.add("PRelu", [at.input, slope])


def _rrelu(graph: _Graph, layer: layers.RReLU, at: _Place) -> str:
    return graph.add("LeakyRelu", [at.input], alpha=(layer.lower + layer.upper) / 2)


def _gelu(graph: _Graph, layer: Layer, at: _Place) -> str:
    scaled = graph.add("Mul", [at.input, graph.constant("constant.sqrt_half", math.sqrt(0.5))])
    doubled = graph.add("Add", [graph.add("Erf", [scaled]), graph.constant("constant.one", 1.0)])
    return graph.add("Mul", [graph.add("Mul", [at.input, doubled]), graph.constant("constant.half", 0.5)])


def _silu(graph: _Graph, layer: Layer, at: _Place) -> str:
    return graph.add("Mul", [at.input, graph.add("Sigmoid", [at.input])])


def _mish(graph: _Graph, layer: Layer, at: _Place) -> str:
    return graph.add("Mul", [at.input, graph.add("Tanh", [graph.add("Softplus", [at.input])])])


def _relu6(graph: _Graph, layer: Layer, at: _Place) -> str:
    return graph.add("Clip", [at.input, graph.constant("constant.zero", 0.0), graph.constant("constant.six", 6.0)])


def _heaviside(graph: _Graph, layer: Layer, at: _Place) -> str:
    is_above = graph.add("Greater", [at.input, graph.constant("constant.zero", 0.0)])
    return graph.add("Cast", [is_above], to=helper.np_dtype_to_tensor_dtype(graph.dtype))


def _maxout(graph: _Graph, layer: layers.Maxout, at: _Place) -> str:
    channels, *others = at.shape
    shape = [0, channels // layer.pieces, layer.pieces, *others]
    pieces = graph.add("Reshape", [at.input, graph.constant(f"{at.path}.shape", np.array(shape))])
    return graph.add("ReduceMax", [pieces], axes=[2], keepdims=0)


def _random_crop(graph: _Graph, layer: layers.RandomCrop, at: _Place) -> str:
    """Add the window in the middle, which prediction takes."""
    size = both(layer.size)
    corner = [(there - wanted) // 2 for there, wanted in zip(at.shape[1:], size, strict=True)]
    beyond = [start + wanted - there for start, wanted, there in zip(corner, size, at.shape[1:], strict=True)]
    image = at.input
    if max(*beyond, *(-start for start in corner)) > 0:
        pads = [0, 0, *(max(0, -start) for start in corner), 0, 0, *(max(0, end) for end in beyond)]
        image = graph.add("Pad", [image, graph.constant(f"{at.path}.pads", np.array(pads))])
    if min(beyond) < 0:
        starts = np.array([max(0, start) for start in corner])
        bounds = {"starts": starts, "ends": starts + np.array(size), "axes": np.array([2, 3])}
        names = [graph.constant(f"{at.path}.{name}", value) for name, value in bounds.items()]
        image = graph.add("Slice", [image, *names])
    return image


def _residual(graph: _Graph, layer: layers.Residual, at: _Place) -> str:
    paths = [graph.sequence(part, f"{at.path}.{name}.", at.input, at.shape) for name, part in layer.inner().items()]
    return graph.add("Add", paths)


def _parallel(graph: _Graph, layer: layers.Parallel, at: _Place) -> str:
    parts = [graph.sequence(part, f"{at.path}.{name}.", at.input, at.shape) for name, part in layer.inner().items()]
    return graph.add("Concat", parts, axis=1)


def _sum(graph: _Graph, values: Sequence[str]) -> str:
    return graph.add("Add" if len(values) == 2 else "Sum", values)


def _concat(graph: _Graph, values: Sequence[str]) -> str:
    return graph.add("Concat", values, axis=1)


# The layers that read several values.
_JOINS: dict[type, Callable[[_Graph, Sequence[str]], str]] = {layers.Add: _sum, layers.Concat: _concat}

# The layers that no graph is made for, and why.
REFUSED: dict[type, str] = {}

WRITTEN: dict[type, Callable[[_Graph, Any, _Place], str]] = {
    layers.AdaptiveAvgPool1d: _adaptive_pool,
    layers.AdaptiveAvgPool2d: _adaptive_pool,
    layers.AdaptiveMaxPool1d: _adaptive_pool,
    layers.AdaptiveMaxPool2d: _adaptive_pool,
    layers.AvgPool1d: _avg_pool,
    layers.AvgPool2d: _avg_pool,
    layers.BatchNorm1d: _batch_norm,
    layers.BatchNorm2d: _batch_norm,
    layers.Conv1d: _conv,
    layers.Conv2d: _conv,
    layers.ConvTranspose2d: _conv_transpose2d,
    layers.Dropout: _left_out,
    layers.Dropout1d: _left_out,
    layers.Dropout2d: _left_out,
    layers.ELU: _one_node("Elu", ("alpha", "alpha")),
    layers.Embedding: _embedding,
    layers.Flatten: _flatten,
    layers.GELU: _gelu,
    layers.GRU: _recurrent("GRU", (1, 0, 2), linear_before_reset=1),
    layers.GaussianNoise: _left_out,
    layers.GlobalAvgPool2d: _global_avg_pool2d,
    layers.GroupNorm: _group_norm,
    layers.Hardswish: _one_node("HardSwish"),
    layers.Heaviside: _heaviside,
    layers.Identity: _left_out,
    layers.LSTM: _recurrent("LSTM", (0, 3, 1, 2)),
    layers.LayerNorm: _layer_norm,
    layers.LeakyReLU: _one_node("LeakyRelu", ("alpha", "negative_slope")),
    layers.Linear: _linear,
    layers.LogSoftmax: _one_node("LogSoftmax", axis=1),
    layers.MaxPool1d: _max_pool,
    layers.MaxPool2d: _max_pool,
    layers.Maxout: _maxout,
    layers.Mish: _mish,
    layers.PReLU: _prelu,
    layers.Parallel: _parallel,
    layers.RReLU: _rrelu,
    layers.RandomCrop: _random_crop,
    layers.RandomHorizontalFlip: _left_out,
    layers.RandomRotation: _left_out,
    layers.RandomShift: _left_out,
    layers.ReLU: _one_node("Relu"),
    layers.ReLU6: _relu6,
    layers.SELU: _one_node("Selu"),
    layers.SiLU: _silu,
    layers.Residual: _residual,
    layers.Sigmoid: _one_node("Sigmoid"),
    layers.Softmax: _one_node("Softmax", axis=1),
    layers.Softplus: _one_node("Softplus"),
    layers.Standardize: _standardize,
    layers.Tanh: _one_node("Tanh"),
    layers.Unflatten: _unflatten,
    layers.Upsample: _upsample,
}
