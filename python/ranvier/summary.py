"""The table that `Network.summary` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    return "\n".join([*lines, f"{sum(counts):,} parameters of {network.dtype.name}"])
