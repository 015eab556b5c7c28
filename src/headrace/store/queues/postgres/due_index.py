"""A worker's index of the deliveries that are due in its lanes.

A queue is the deliveries of one subscriber and project. The index holds the first few of each
queue, so that a claim names its rows by key and no statement has to search a queue. It may be
stale: a claim checks every row, and the next full scan finds what the index missed.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Container, Iterable
from typing import NamedTuple

#: Subscriber and project.
QueueKey = tuple[str, int]

#: Deliveries of one queue whose keys are held.
KEYS_MAX = 64
#: Queues that are held. Past it the index is rebuilt, which costs time and loses nothing.
QUEUES_MAX = 20_000


class Key(NamedTuple):
    """The key of a delivery; sorts in delivery order."""

    due_us: int
    lane: int
    number: int


class _Known:
    __slots__ = ("end", "keys")

    def __init__(self) -> None:
        #: Sorted, without duplicates.
        self.keys: list[Key] = []
        #: The last key that was read, when more may follow; None: the rest is due later.
        self.end: Key | None = None


class DueIndex:
    """Queues with deliveries due."""

    def __init__(self) -> None:
        self._queues: dict[QueueKey, _Known] = {}

    def __len__(self) -> int:
        return len(self._queues)

    def clear(self) -> None:
        """Forget everything."""
        self._queues.clear()

    def add(self, queue: QueueKey, keys: Iterable[Key]) -> None:
        """Add deliveries of a queue; those past its known part are left to `refill`."""
        known = self._queues.setdefault(queue, _Known())
        fresh = {key for key in keys if known.end is None or key <= known.end}
        _keep(known, fresh.union(known.keys), KEYS_MAX)

    def refill(self, queue: QueueKey, keys: Collection[Key], *, more: bool) -> None:
        """Add the next deliveries of a queue, read from `end_us` on, and whether more follow."""
        known = self._queues.setdefault(queue, _Known())
        known.end = max(keys) if more else None
        _keep(known, {*keys, *known.keys}, max(KEYS_MAX, len(keys)))

    def suffices(self, queue: QueueKey, count: int) -> bool:
        """Whether so many of the queue are known."""
        known = self._queues.get(queue)
        return known is not None and len(known.keys) >= count

    def end_us(self, queue: QueueKey) -> int:
        """When the part of the queue that is not held becomes due; 0 for an unknown queue."""
        known = self._queues.get(queue)
        return known.end.due_us if known is not None and known.end is not None else 0

    def due(self, queue: QueueKey, due_max: int) -> int:
        """How many are due, counted up to `due_max`."""
        known = self._queues[queue]
        return min(len(known.keys), due_max) if known.end is None else due_max

    def take(self, queue: QueueKey, count: int, lanes: Container[int]) -> list[Key]:
        """Remove and return the first keys; those of other lanes are dropped."""
        known = self._queues.get(queue)
        if known is None:
            return []
        held = [key for key in known.keys if key.lane in lanes]
        taken, known.keys = held[:count], held[count:]
        if not known.keys and known.end is None:
            del self._queues[queue]
        return taken

    def forget(self, queue: QueueKey) -> None:
        """Drop a queue that has no subscriber."""
        self._queues.pop(queue, None)

    def after(self, queue: QueueKey | None, limit: int) -> list[QueueKey]:
        """Queues in their order."""
        return heapq.nsmallest(limit, (one for one in self._queues if queue is None or one > queue))


def _keep(known: _Known, keys: Collection[Key], most: int) -> None:
    ordered = sorted(keys)
    if len(ordered) > most:
        known.end = ordered[most - 1]
    known.keys = ordered[:most]
