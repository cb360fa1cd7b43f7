"""Draw a residual block's graph before and after the passes, for docs/architecture.md.

The graphs stand below as the core's ``text_of`` prints them (cpp/nn/graph.h), with the segment of each node in front.

    python bench/draw_graph.py docs/images/graph.png
"""

from __future__ import annotations

import argparse
import re
from typing import Any, NamedTuple

LOWERED = """
0 v1 = 0.layers.0 Conv2d (v0)
0 v2 = 0.layers.1 BatchNorm2d (v1)
0 v3 = 0.layers.2 ReLU (v2)
0 v4 = 0.layers.3 Conv2d (v3)
0 v5 = 0.layers.4 BatchNorm2d (v4)
0 v6 = 0 Residual (v5, v0)
0 v7 = 1 ReLU (v6)
"""
TRAINING = """
0 v1 = 0.layers.0 Conv2d (v0)
2 v3 = 0.layers.1 BatchNorm2d + ReLU (v1)
2 v4 = 0.layers.3 Conv2d (v3)
4 v5 = 0.layers.4 BatchNorm2d (v4)
4 v7 = 0 Residual + ReLU (v5, v0)
"""
FROZEN = """
0 v3 = 0.layers.0 Conv2d + BatchNorm2d + ReLU (v0)
0 v5 = 0.layers.3 Conv2d + BatchNorm2d (v3)
0 v7 = 0 Residual + ReLU (v5, v0)
"""
PANELS = [
    ("As lowered", LOWERED, False),
    ("After the passes, for training", TRAINING, True),
    ("After the passes, for a frozen predictor", FROZEN, True),
]
STEP = 1.5  # from one node to the next
WIDTH, HEIGHT = 3.9, 0.8  # of a node
BANDS = ["#e3eef9", "#fdeeda", "#e4f3e4"]


class Node(NamedTuple):
    """A line of `text_of`."""

    segment: int
    output: str
    path: str
    name: str
    inputs: list[str]


def parse(text: str) -> list[Node]:
    """Return the nodes of a graph."""
    pattern = re.compile(r"(\d+) (v\d+) = (\S+) (.*) \((.*)\)")
    found = [pattern.fullmatch(line) for line in text.strip().splitlines()]
    return [Node(int(m[1]), m[2], m[3], m[4], m[5].split(", ")) for m in found if m]


def draw_segments(axes: Any, nodes: list[Node]) -> None:
    """Shade the rows of each segment."""
    for segment in sorted({node.segment for node in nodes}):
        rows = [row for row, node in enumerate(nodes) if node.segment == segment]
        top, bottom = STEP * (rows[0] + 0.5) + 0.05, STEP * (rows[-1] + 1.5) - 0.05
        axes.axhspan(top, bottom, color=BANDS[segment // 2], zorder=0)
        axes.text(-3.4, top + 0.1, f"segment {segment}", fontsize=8, color="#555555", va="top")


def draw_box(axes: Any, y: float) -> None:
    """Draw the box of a node in the middle of the column."""
    from matplotlib.patches import FancyBboxPatch

    corner = (-WIDTH / 2, y - HEIGHT / 2)
    style = {"boxstyle": "round,pad=0.02,rounding_size=0.15", "facecolor": "white", "edgecolor": "#1f4e79"}
    axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, linewidth=1.2, zorder=2, **style))


def draw(axes: Any, title: str, nodes: list[Node], segments: bool) -> None:
    """Draw a graph from top to bottom."""
    axes.set_title(title, fontsize=11)
    axes.set_xlim(-3.5, 3.4)
    axes.set_ylim(STEP * 8, -0.5)
    axes.axis("off")
    if segments:
        draw_segments(axes, nodes)
    at = {"v0": 0.0} | {node.output: STEP * (row + 1) for row, node in enumerate(nodes)}
    axes.text(0, 0, "v0", ha="center", va="center", fontsize=10)
    arrow = {"arrowstyle": "-|>", "color": "#333333", "shrinkA": 0, "shrinkB": 0}
    for node in nodes:
        y = at[node.output]
        draw_box(axes, y)
        axes.text(0, y - 0.14, node.name, ha="center", va="center", fontsize=8.5)
        axes.text(0, y + 0.2, f"layer {node.path}", ha="center", va="center", fontsize=7.5, color="#666666")
        main, *others = node.inputs
        begin = at[main] + (0.22 if main == "v0" else HEIGHT / 2)
        axes.annotate("", (0, y - HEIGHT / 2), (0, begin), arrowprops=arrow)
        if main != "v0":
            axes.text(0.12, (begin + y - HEIGHT / 2) / 2, main, fontsize=9, va="center")
        for other in others:  # the shortcut, round the nodes between
            axes.plot([0.3, 2.6, 2.6], [at[other], at[other], y], color="#333333", linewidth=1.1)
            axes.annotate("", (WIDTH / 2 + 0.05, y), (2.6, y), arrowprops=arrow)
            axes.text(2.72, (at[other] + y) / 2, other, fontsize=9, va="center")
    last = at[nodes[-1].output]
    axes.annotate("", (0, last + HEIGHT / 2 + 0.55), (0, last + HEIGHT / 2), arrowprops=arrow)
    axes.text(0, last + HEIGHT / 2 + 0.75, nodes[-1].output, ha="center", va="center", fontsize=10)


def main() -> None:
    """Write the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path")
    path = parser.parse_args().path

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, all_axes = pyplot.subplots(1, len(PANELS), figsize=(10.5, 7.6), layout="constrained")
    for axes, (title, text, segments) in zip(all_axes, PANELS, strict=True):
        draw(axes, title, parse(text), segments)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
