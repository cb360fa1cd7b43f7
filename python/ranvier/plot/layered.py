"""Where the boxes of a graph stand in a picture, row under row, and what way the lines between them take.

The method is that of Sugiyama, Tagawa and Toda 1981: a box stands below all that it reads, a long line has a place of
its own in each row that it crosses, and each row is ordered by the mean places of its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

__all__ = ["Layout", "layered"]

_SWEEPS = 4  # down and up again; more change little

_Slot = tuple[int, int]  # a row, and the box that stands there or whose line passes


class Layout(NamedTuple):
    """Where everything stands.

    Attributes
    ----------
    places : dict of int to (float, int)
        Of each box: its place in its row, in boxes from the middle, and the number of the row, from the top.
    lines : list of list of (float, int)
        The points of each edge, from box to box.
    """

    places: dict[int, tuple[float, int]]
    lines: list[list[tuple[float, int]]]


def layered(nodes: Sequence[int], edges: Sequence[tuple[int, int]], lowest: Sequence[int]) -> Layout:
    """Return the layout of a graph.

    Parameters
    ----------
    nodes : sequence of int
        Each behind those that it reads.
    edges : sequence of (int, int)
        What is read, and who reads it.
    lowest : sequence of int
        The nodes that stand in the last row, whatever they read.
    """
    row = _rows(nodes, edges, lowest)
    ways = [_way(source, target, row) for source, target in edges]
    slots = list(dict.fromkeys([*((row[node], node) for node in nodes), *(slot for way in ways for slot in way)]))
    place = _ordered(slots, ways)
    return Layout(
        {node: (place[row[node], node], row[node]) for node in nodes},
        [[(place[slot], slot[0]) for slot in way] for way in ways],
    )


def _rows(nodes: Sequence[int], edges: Sequence[tuple[int, int]], lowest: Sequence[int]) -> dict[int, int]:
    row: dict[int, int] = {}
    for node in nodes:
        row[node] = max((row[source] + 1 for source, target in edges if target == node), default=0)
    return row | dict.fromkeys(lowest, max(row.values()))


def _way(source: int, target: int, row: dict[int, int]) -> list[_Slot]:
    """Return the slots of a line, one in each row; lines from one box share theirs until they reach other boxes."""
    passed = [(between, source) for between in range(row[source], row[target])]
    return [*passed, (row[target], target)]


def _ordered(slots: Sequence[_Slot], ways: Sequence[Sequence[_Slot]]) -> dict[_Slot, float]:
    """Return the place of each slot in its row, from the middle."""
    rows: dict[int, list[_Slot]] = {}
    for slot in slots:
        rows.setdefault(slot[0], []).append(slot)
    above: dict[_Slot, list[_Slot]] = {slot: [] for slot in slots}
    below: dict[_Slot, list[_Slot]] = {slot: [] for slot in slots}
    for way in ways:
        for upper, lower in pairwise(way):
            above[lower].append(upper)
            below[upper].append(lower)
    place = {slot: at - (len(row) - 1) / 2 for row in rows.values() for at, slot in enumerate(row)}
    for sweep in range(2 * _SWEEPS):
        neighbours, downwards = (above, True) if sweep % 2 == 0 else (below, False)
        for number in sorted(rows, reverse=not downwards):
            means = {slot: _mean([place[other] for other in neighbours[slot]], place[slot]) for slot in rows[number]}
            rows[number].sort(key=means.__getitem__)
            place |= {slot: at - (len(rows[number]) - 1) / 2 for at, slot in enumerate(rows[number])}
    return place


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
