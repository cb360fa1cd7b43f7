"""Tables of text, which notebooks show as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Table"]


class Table(NamedTuple):
    """A header, rows of cells, and lines below them; as text with columns aligned, in notebooks as HTML.

    Attributes
    ----------
    header : tuple of str
    rows : sequence of tuple of str
    words : int
        The number of columns, from the left, that are aligned to the left. The others have numbers.
    foot : str
    """

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int = 0
    foot: str = ""

    def __repr__(self) -> str:
        """Return the lines of the table."""
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join([*(self._line(cells, widths) for cells in lines), *([self.foot] if self.foot else [])])

    def _line(self, cells: tuple[str, ...], widths: Sequence[int]) -> str:
        aligned = [
            cell.ljust(width) if column < self.words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(aligned).rstrip()

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        from html import escape

        head = self._html_row("th", self.header)
        body = "".join(self._html_row("td", cells) for cells in self.rows)
        foot = f"<p>{escape(self.foot)}</p>" if self.foot else ""
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{foot}"

    def _html_row(self, tag: str, cells: tuple[str, ...]) -> str:
        from html import escape

        sides = ["left" if column < self.words else "right" for column in range(len(cells))]
        columns = [
            f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>' for side, cell in zip(sides, cells, strict=True)
        ]
        return f"<tr>{''.join(columns)}</tr>"
