"""The table of layers that `Network.summary` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ranvier.layers import Layer, Linear, PlainLayer
from ranvier.tables import Table
from ranvier.types import Array
from ranvier.wiring import Wiring

__all__ = ["summary"]


def summary(
    layers: Sequence[Layer | PlainLayer],
    parameters: Mapping[str, Array],
    dtype: str,
    shapes: Sequence[tuple[int, ...]] | None,
    wiring: Wiring | None = None,
) -> Table:
    """Return one row for each layer: what it is, its output's shape if known, its number of parameters.

    If the layers are wired in some way, it has the inputs, too, and what each layer reads.
    """
    counts = [0] * len(layers)
    for name, value in parameters.items():
        counts[int(name.split(".")[0])] += value.size
    rows = [
        (f"{position}  {layer!r}", str(shape), f"{count:,}")
        for position, (layer, shape, count) in enumerate(zip(layers, shapes or "?" * len(layers), counts, strict=True))
    ]
    foot = f"{sum(counts):,} parameters of {dtype}{_kinds(layers, parameters)}"
    if wiring is not None:
        return Table(("layer", "reads", "output", "parameters"), _wired_rows(rows, wiring), 3, foot)
    return Table(("layer", "output", "parameters"), rows, 2, foot)


def _wired_rows(rows: Sequence[tuple[str, str, str]], wiring: Wiring) -> list[tuple[str, str, str, str]]:
    """Return the rows of inputs, and those of layers with what they read and which outputs they are."""
    names = [name or "input" for name in wiring.inputs.names]
    inputs = [(f"   {name}", "", str(shape), "") for name, shape in zip(names, wiring.inputs.shapes, strict=True)]
    outputs: dict[int, list[str]] = {}
    for name, source in zip(wiring.outputs.names, wiring.ends, strict=True):
        outputs.setdefault(source, []).append(name or "output")
    layers = []
    for position, ((layer, shape, count), sources) in enumerate(zip(rows, wiring.sources, strict=True)):
        reads = ", ".join(str(source) if source >= 0 else names[-1 - source] for source in sources)
        ends = f" -> {', '.join(outputs[position])}" if position in outputs else ""
        layers.append((layer + ends, reads, shape, count))
    return inputs + layers


def _kinds(layers: Sequence[Layer | PlainLayer], parameters: Mapping[str, Array]) -> str:
    """Return how many parameters are weights and biases, and of how many neurons if all are in `Linear` layers."""
    if not parameters:
        return ""
    counts = {
        kind: sum(value.size for name, value in parameters.items() if name.endswith(kind))
        for kind in ("weight", "bias")
    }
    text = f": {counts['weight']:,} weights, {counts['bias']:,} biases"
    if others := sum(value.size for value in parameters.values()) - sum(counts.values()):
        text += f", {others:,} others"
    linear = [layer for layer in layers if isinstance(layer, Linear)]
    if sum(layer.in_features * layer.out_features for layer in linear) == counts["weight"]:
        text += f", {sum(layer.out_features for layer in linear):,} neurons"
    return text
