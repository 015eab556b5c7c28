"""Retention in the embedded store.

Looking is done by a reader; the write lock is held only to remove. Every statement finds its rows
by an index, so its cost depends on the slice and not on the store (a test reads the plans).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import msgspec

from headrace.domain.events import Status
from headrace.domain.retention import DAY_US, HOUR_US, GrowthSample
from headrace.store.contract_retention import DueEvent, DuePage, Growth, Removed, RetentionState
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.writer import Writer

#: Deliveries that one transaction removes; each has some attempts.
DELIVERIES_MAX = 1000
#: Events from further ahead than this were received by a wrong clock. They are passed over; they
#: must not hide those behind them.
_AHEAD_US = DAY_US
_GROWTH_HOURS_KEPT = 30 * 24

# Terminal for good: an event comes back to life only by the replay of an open dead letter. One
# that is neither processed nor dead-lettered is kept whatever else is missing.
_FINISHED = (
    f"e.status IN ({Status.PROCESSED:d}, {Status.DEAD_LETTERED:d}) "  # noqa: S608
    "AND NOT EXISTS (SELECT 1 FROM work w "
    "WHERE w.project_id = e.project_id AND w.sequence = e.sequence) "
    "AND NOT EXISTS (SELECT 1 FROM work_retries r WHERE r.sequence = e.sequence) "
    "AND NOT EXISTS (SELECT 1 FROM deliveries d "
    "WHERE d.sequence = e.sequence AND +d.state IN (0, 1, 2)) "
    "AND NOT EXISTS (SELECT 1 FROM dead_letters l "
    "WHERE l.sequence = e.sequence AND +l.state = 0)"
)
# The length of a payload stands in the head of its row; its pages are not read for that.
FIND_EVENTS = (
    "SELECT e.lane, e.sequence, octet_length(e.payload), e.received_us, "  # noqa: S608
    f"CASE WHEN e.received_us < ?1 THEN {_FINISHED} ELSE 0 END "
    "FROM events e INDEXED BY events_project "
    "WHERE e.project_id = ?2 AND e.sequence > ?3 ORDER BY e.sequence LIMIT ?4"
)
STILL_FINISHED = (
    "SELECT e.sequence FROM json_each(?1) j CROSS JOIN events e ON e.sequence = j.value "  # noqa: S608
    f"WHERE +e.project_id = ?2 AND {_FINISHED}"
)
FIND_DELIVERIES = (
    "SELECT d.number, d.sequence FROM json_each(?1) j "
    "CROSS JOIN deliveries d ON d.sequence = j.value LIMIT ?2"
)
REMOVE_ATTEMPTS = (
    "DELETE FROM delivery_attempts WHERE delivery_number IN (SELECT value FROM json_each(?1))"
)
REMOVE_DELIVERIES = "DELETE FROM deliveries WHERE number IN (SELECT value FROM json_each(?1))"
_BY_SEQUENCE = "WHERE sequence IN (SELECT value FROM json_each(?1))"
REMOVE_DEAD_LETTERS_OF_EVENTS = f"DELETE FROM dead_letters {_BY_SEQUENCE}"  # noqa: S608
REMOVE_EVENTS = f"DELETE FROM events {_BY_SEQUENCE}"  # noqa: S608
REMOVE_DETAILS = tuple(
    f"DELETE FROM {table} {_BY_SEQUENCE}"  # noqa: S608
    for table in ("key_repeats", "processing_attempts", "contact_conflicts")
)
REMOVE_DEAD_LETTERS = (
    "DELETE FROM dead_letters WHERE number IN (SELECT number FROM dead_letters "
    "WHERE project_id = ?1 AND dead_lettered_us < ?2 ORDER BY dead_lettered_us LIMIT ?3)"
)


class SqliteRetention:
    """See `headrace.store.contract_retention.RetentionStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def find_due(
        self, project_id: int, before_us: int, now_us: int, after: int, limit: int
    ) -> DuePage:
        values = (before_us, project_id, after, limit)

        def read(connection: apsw.Connection) -> DuePage:
            rows: list[Any] = connection.execute(FIND_EVENTS, values).fetchall()
            return _due_page(rows, before_us, now_us, after, limit)

        return await self._readers.run(read)

    async def remove_events(self, project_id: int, events: Sequence[DueEvent]) -> Removed:
        sequences = [event.sequence for event in events]
        return await self._writer.run(
            lambda connection: _remove_events(connection, project_id, sequences)
        )

    async def remove_dead_letters(self, project_id: int, before_us: int, limit: int) -> Removed:
        def work(connection: apsw.Connection) -> Removed:
            gone = _change(connection, REMOVE_DEAD_LETTERS, project_id, before_us, limit)
            return Removed(dead_letters=gone, rows=gone, complete=gone < limit)

        # Nearly always there is nothing: then the write lock is left alone.
        if not await self._readers.run(
            lambda connection: _any_dead_letter(connection, project_id, before_us)
        ):
            return Removed()
        return await self._writer.run(work)

    async def newest_received_us(self) -> int | None:
        def read(connection: apsw.Connection) -> int | None:
            row: Any = connection.execute(
                "SELECT received_us FROM events ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
            return None if row is None else int(row[0])

        return await self._readers.run(read)

    async def state(self) -> RetentionState | None:
        def read(connection: apsw.Connection) -> RetentionState | None:
            row: Any = connection.execute(
                "SELECT value FROM meta WHERE name = 'retention'"
            ).fetchone()
            return None if row is None else msgspec.json.decode(row[0], type=RetentionState)

        return await self._readers.run(read)

    async def save(self, state: RetentionState) -> None:
        text = msgspec.json.encode(state).decode()

        def work(connection: apsw.Connection) -> None:
            connection.execute(
                "INSERT INTO meta (name, value) VALUES ('retention', ?) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (text,),
            )
            _sample(connection, state.at_us // HOUR_US)

        await self._writer.run(work)

    async def growth(self) -> Growth:
        def read(connection: apsw.Connection) -> Growth:
            rows = connection.execute("SELECT hour, used_bytes FROM store_growth ORDER BY hour")
            samples = [GrowthSample(hour, used) for hour, used in rows]
            _, free, size = _pages(connection)
            return Growth(samples, free * size)

        return await self._readers.run(read)


def _due_page(
    rows: Sequence[tuple[int, int, int, int, int]],
    before_us: int,
    now_us: int,
    after: int,
    limit: int,
) -> DuePage:
    due: list[DueEvent] = []
    position, seen_us = after, None
    for lane, sequence, payload_bytes, received_us, finished in rows:
        if before_us <= received_us <= now_us + _AHEAD_US:
            return DuePage(due, position, seen_us, end=True)
        position, seen_us = sequence, received_us
        if finished:
            due.append(DueEvent(lane, sequence, payload_bytes))
    return DuePage(due, position, seen_us, end=len(rows) < limit)


def _remove_events(
    connection: apsw.Connection, project_id: int, sequences: Sequence[int]
) -> Removed:
    rows: Any = connection.execute(STILL_FINISHED, (json.dumps(sequences), project_id))
    finished = [row[0] for row in rows]
    deliveries: list[Any] = connection.execute(
        FIND_DELIVERIES, (json.dumps(finished), DELIVERIES_MAX + 1)
    ).fetchall()
    complete = len(deliveries) <= DELIVERIES_MAX
    if not complete:
        # What was cut off belongs to the last event seen, or to one after it.
        finished = finished[: finished.index(deliveries[-1][1])]
        deliveries = deliveries[:DELIVERIES_MAX]
    numbers = _array(number for number, _ in deliveries)
    gone = _array(finished)
    count = _change(connection, REMOVE_ATTEMPTS, numbers)
    count += _change(connection, REMOVE_DELIVERIES, numbers)
    for statement in REMOVE_DETAILS:
        count += _change(connection, statement, gone)
    dead_letters = _change(connection, REMOVE_DEAD_LETTERS_OF_EVENTS, gone)
    events = _change(connection, REMOVE_EVENTS, gone)
    count += dead_letters + events
    return Removed(events, dead_letters, count, complete)


def _array(values: Iterable[int]) -> str:
    return json.dumps(list(values))


def _change(connection: apsw.Connection, statement: str, *values: Any) -> int:
    connection.execute(statement, values)
    return connection.changes()


def _any_dead_letter(connection: apsw.Connection, project_id: int, before_us: int) -> bool:
    row = connection.execute(
        "SELECT 1 FROM dead_letters WHERE project_id = ? AND dead_lettered_us < ? LIMIT 1",
        (project_id, before_us),
    ).fetchone()
    return row is not None


def _pages(connection: apsw.Connection) -> tuple[int, int, int]:
    """Pages, free pages, bytes of a page."""
    names = ("page_count", "freelist_count", "page_size")
    total, free, size = (int(str(connection.pragma(name))) for name in names)
    return total, free, size


def _sample(connection: apsw.Connection, hour: int) -> None:
    total, free, size = _pages(connection)
    connection.execute(
        "INSERT INTO store_growth (hour, used_bytes) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (hour, (total - free) * size),
    )
    # Hours ahead come from a clock that was wrong.
    connection.execute(
        "DELETE FROM store_growth WHERE hour > ?1 OR hour <= ?1 - ?2", (hour, _GROWTH_HOURS_KEPT)
    )
