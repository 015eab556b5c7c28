"""What a worker knows of the deliveries that are due in its lanes.

A line is the deliveries of one subscriber and project. The book holds the first few of each line,
so that a claim names its rows by their key and no statement has to search a line. It is knowledge,
not truth: a claim checks every row, and whatever the book missed is found when all is read again.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Container, Iterable
from typing import NamedTuple

#: Subscriber and project.
Line = tuple[str, int]

#: Deliveries of one line that are known by their key.
KEYS_MAX = 64
#: Lines that are known. Past it the book is begun anew, which costs time and loses nothing.
LINES_MAX = 20_000


class Key(NamedTuple):
    """A delivery, in the order in which they go."""

    due_us: int
    lane: int
    number: int


class _Known:
    __slots__ = ("end", "keys")

    def __init__(self) -> None:
        #: In order, each once.
        self.keys: list[Key] = []
        #: The last one that was read, when others may follow it; None: what follows is due later.
        self.end: Key | None = None


class LineBook:
    """Lines with something due."""

    def __init__(self) -> None:
        self._lines: dict[Line, _Known] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def clear(self) -> None:
        """Forget everything."""
        self._lines.clear()

    def add(self, line: Line, keys: Iterable[Key]) -> None:
        """Note deliveries of a line; those past its known part are left to `refill`."""
        known = self._lines.setdefault(line, _Known())
        fresh = {key for key in keys if known.end is None or key <= known.end}
        _keep(known, fresh.union(known.keys), KEYS_MAX)

    def refill(self, line: Line, keys: Collection[Key], *, more: bool) -> None:
        """Note the next deliveries of a line, read from `end_us` on; whether others follow."""
        known = self._lines.setdefault(line, _Known())
        known.end = max(keys) if more else None
        _keep(known, {*keys, *known.keys}, max(KEYS_MAX, len(keys)))

    def suffices(self, line: Line, count: int) -> bool:
        """Whether so many of the line are known."""
        known = self._lines.get(line)
        return known is not None and len(known.keys) >= count

    def end_us(self, line: Line) -> int:
        """When what is not known of the line begins to be due; 0 for an unknown line."""
        known = self._lines.get(line)
        return known.end.due_us if known is not None and known.end is not None else 0

    def due(self, line: Line, due_max: int) -> int:
        """How many are due, counted up to `due_max`."""
        known = self._lines[line]
        return min(len(known.keys), due_max) if known.end is None else due_max

    def take(self, line: Line, count: int, lanes: Container[int]) -> list[Key]:
        """Take the first ones out; those of other lanes are forgotten."""
        known = self._lines.get(line)
        if known is None:
            return []
        ours = [key for key in known.keys if key.lane in lanes]
        taken, known.keys = ours[:count], ours[count:]
        if not known.keys and known.end is None:
            del self._lines[line]
        return taken

    def forget(self, line: Line) -> None:
        """Forget a line that nobody serves."""
        self._lines.pop(line, None)

    def after(self, line: Line | None, limit: int) -> list[Line]:
        """Lines in their order."""
        return heapq.nsmallest(limit, (one for one in self._lines if line is None or one > line))


def _keep(known: _Known, keys: Collection[Key], most: int) -> None:
    ordered = sorted(keys)
    if len(ordered) > most:
        known.end = ordered[most - 1]
    known.keys = ordered[:most]
