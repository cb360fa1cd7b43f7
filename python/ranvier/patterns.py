"""Names of parameters chosen by patterns with wildcards, as the shell has them for names of files."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

__all__ = ["all_matched", "matched"]

_SHOWN = 8  # names in a message


def matched(pattern: object, names: Sequence[str], argument: str) -> list[str]:
    """Return the names that a pattern matches; ``argument`` is what errors call it.

    Raises
    ------
    TypeError
        If the pattern is no str.
    ValueError
        If it matches none.
    """
    if not isinstance(pattern, str):
        raise TypeError(f"{argument}: expected a str, as '0.*', got {type(pattern).__name__}")
    found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        raise ValueError(f"{argument}: expected a pattern that matches some of {shown or 'no names'}, got {pattern!r}")
    return found


def all_matched(patterns: Iterable[object], names: Sequence[str], argument: str) -> list[str]:
    """Return the names that at least one pattern matches, in their order.

    Raises
    ------
    TypeError, ValueError
        As `matched` does for each pattern; or if there are no patterns.
    """
    found: set[str] = set()
    patterns = list(patterns)
    if not patterns:
        raise TypeError(f"{argument}: expected at least one pattern, as '0.*', got none")
    for pattern in patterns:
        found.update(matched(pattern, names, argument))
    return [name for name in names if name in found]
