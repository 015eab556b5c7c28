"""Keeps the index of due deliveries current: reads by due time, over all queues at once.

Two scans go through the waiting deliveries in order of due time. The recent scan follows the clock
and reads what has become due since its last step, and once a second also what a slow transaction
may have committed late. The full scan begins at the oldest now and then, for what the first cannot
see: lanes that were taken over, and rows committed later still. Each step of a scan is bounded, so
a backlog of millions costs each step no more than a short one, and dead rows that cannot be
vacuumed yet (while another transaction keeps an old snapshot) are passed seldom and not at every
claim.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from headrace.store.engine.postgres.database import Connection
from headrace.store.queues.postgres.due_index import KEYS_MAX, QUEUES_MAX, DueIndex, Key, QueueKey

#: Deliveries that one step reads.
STEP_MAX = 1000
#: How long after its due time a row may still be committed and be seen by the recent scan.
MARGIN_US = 2_000_000
#: The same for a rarer, wider step: longer than the longest transaction.
LATE_US = 25_000_000
LATE_EVERY_S = 1.0
#: Time between two full scans; after a long one, so many times its length.
FULL_EVERY_S = 30.0
FULL_TIMES = 20

STEP = """
SELECT subscriber_id, project_id, due_us, lane, number FROM deliveries
WHERE state IN (0, 2) AND lane = ANY($1::smallint[])
    AND (due_us, lane, number) > ($2, $3, $4) AND due_us <= $5
ORDER BY due_us, lane, number LIMIT $6
"""
REFILL = """
SELECT due_us, lane, number FROM deliveries
WHERE state IN (0, 2) AND lane = ANY($1::smallint[])
    AND subscriber_id = $2 AND project_id = $3 AND due_us >= $4 AND due_us <= $5
ORDER BY due_us LIMIT $6
"""
_BEGIN = Key(-1, -1, -1)


class DueScanner:
    """The index and the two scans that keep it current; for one worker.

    Args:
        monotonic_s: seconds of a clock that nobody can set.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.book = DueIndex()
        self._monotonic_s = monotonic_s
        self._lanes: frozenset[int] = frozenset()
        #: None: at the end; starts with the newest.
        self._recent: Key | None = None
        self._late_at_s = 0.0
        #: Due time up to which it has seen everything that was not committed late.
        self._seen_us = 0
        #: None between two full scans.
        self._full: Key | None = None
        self._full_began_s = 0.0
        self._full_at_s = 0.0

    async def scan(self, connection: Connection, lanes: Collection[int], now_us: int) -> None:
        """One step of each scan."""
        self._begin(frozenset(lanes))
        # Deliveries due by a clock that was set back are found, too.
        if self._recent is None or self._recent.due_us > now_us:
            self._recent = self._newest(now_us)
        self._recent = await self._step(connection, self._recent, now_us)
        if self._recent is None:
            self._seen_us = now_us
        if self._full is not None:
            self._full = await self._step(connection, self._full, now_us)
            if self._full is None:
                now_s = self._monotonic_s()
                took_s = now_s - self._full_began_s
                self._full_at_s = now_s + max(FULL_EVERY_S, FULL_TIMES * took_s)

    def _begin(self, lanes: frozenset[int]) -> None:
        """Begin a full scan when it is time, or when lanes were gained."""
        now_s = self._monotonic_s()
        gained = bool(lanes - self._lanes)
        self._lanes = lanes
        if len(self.book) >= QUEUES_MAX:
            self.book.clear()
            gained = True
        if gained or (self._full is None and now_s >= self._full_at_s):
            self._full, self._full_began_s = _BEGIN, now_s

    def _newest(self, now_us: int) -> Key:
        """Where the recent scan begins."""
        now_s, seen_us = self._monotonic_s(), min(self._seen_us or now_us, now_us)
        if now_s < self._late_at_s:
            return Key(seen_us - MARGIN_US, -1, -1)
        self._late_at_s = now_s + LATE_EVERY_S
        return Key(seen_us - LATE_US, -1, -1)

    async def _step(self, connection: Connection, place: Key, now_us: int) -> Key | None:
        """Add what follows `place`; returns where the next step begins, None at the end."""
        lanes = sorted(self._lanes)
        rows = await connection.fetch(STEP, lanes, *place, now_us, STEP_MAX)
        found: dict[QueueKey, list[Key]] = {}
        for subscriber_id, project_id, *key in rows:
            found.setdefault((subscriber_id, project_id), []).append(Key(*key))
        for queue, keys in found.items():
            self.book.add(queue, keys)
        return Key(*rows[-1][2:]) if len(rows) == STEP_MAX else None

    async def refill(
        self,
        connection: Connection,
        lanes: Collection[int],
        queues: Sequence[tuple[QueueKey, int]],
        now_us: int,
    ) -> None:
        """Read more of those queues that hold fewer keys than requested."""
        held = sorted(lanes)
        for queue, wanted in queues:
            if self.book.suffices(queue, wanted):
                continue
            limit = max(KEYS_MAX, wanted)
            from_us = self.book.end_us(queue) - MARGIN_US
            rows = await connection.fetch(REFILL, held, *queue, from_us, now_us, limit)
            keys = [Key(*row) for row in rows]
            self.book.refill(queue, keys, more=len(rows) == limit)
