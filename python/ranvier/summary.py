"""The table that `Network.summary` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ranvier.layers import Linear

if TYPE_CHECKING:
    from ranvier.network import Network

__all__ = ["summary_text"]


def summary_text(network: Network, input_shape: tuple[int, ...] | None) -> str:
    """Return one row for each layer: what it is, its output's shape, its number of parameters."""
    counts = [0] * len(network.layers)
    for name, value in network.parameters().items():
        counts[int(name.split(".")[0])] += value.size
    shapes = ["?"] * len(network.layers) if input_shape is None else network.shapes(input_shape)
    rows = [("layer", "output", "parameters")]
    rows += [
        (f"{position}  {layer!r}", str(shape), f"{count:,}")
        for position, (layer, shape, count) in enumerate(zip(network.layers, shapes, counts, strict=True))
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join([*lines, f"{sum(counts):,} parameters of {network.dtype.name}{_kinds(network)}"])


def _kinds(network: Network) -> str:
    """Return how many parameters are weights and biases, and of how many neurons if all are in `Linear` layers."""
    parameters = network.parameters()
    if not parameters:
        return ""
    counts = {
        kind: sum(value.size for name, value in parameters.items() if name.endswith(kind))
        for kind in ("weight", "bias")
    }
    text = f": {counts['weight']:,} weights, {counts['bias']:,} biases"
    linear = [layer for layer in network.layers if isinstance(layer, Linear)]
    if sum(layer.in_features * layer.out_features for layer in linear) == counts["weight"]:
        text += f", {sum(layer.out_features for layer in linear):,} neurons"
    return text
