"""Retention on PostgreSQL.

Every statement finds its rows by an index, so its cost depends on the slice and not on the store
(a test reads the plans). Rows are named by lane and number, so a spread store asks only the nodes
that have them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headrace.domain.events import Status
from headrace.domain.identity import idempotency_hash, lane_of_key
from headrace.domain.retention import DAY_US, HOUR_US, GrowthSample
from headrace.store.contract_retention import DueEvent, DuePage, Growth, Removed, RetentionState
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.sizes import size_bytes

#: Deliveries that one transaction removes; each has some attempts.
DELIVERIES_MAX = 1000
#: Events from further ahead than this were received by a wrong clock. They are passed over; they
#: must not hide those behind them.
_AHEAD_US = DAY_US
_GROWTH_HOURS_KEPT = 30 * 24

# Terminal for good: an event comes back to life only by the replay of an open dead letter. One
# that is neither processed nor dead-lettered is kept whatever else is missing.
_FINISHED = (
    f"coalesce(o.status, {Status.ACCEPTED:d}) "  # noqa: S608
    f"IN ({Status.PROCESSED:d}, {Status.DEAD_LETTERED:d}) "
    "AND NOT EXISTS (SELECT 1 FROM work w "
    "WHERE w.lane = e.lane AND w.sequence = e.sequence) "
    "AND NOT EXISTS (SELECT 1 FROM work_retries r "
    "WHERE r.lane = e.lane AND r.sequence = e.sequence) "
    "AND NOT EXISTS (SELECT 1 FROM deliveries d "
    "WHERE d.lane = e.lane AND d.sequence = e.sequence AND d.state IN (0, 1, 2)) "
    "AND NOT EXISTS (SELECT 1 FROM dead_letters l "
    "WHERE l.lane = e.lane AND l.sequence = e.sequence AND l.state = 0)"
)
# The length of a payload stands in the head of its value; it is not read for that.
FIND_EVENTS = (
    "SELECT lane, sequence, octet_length(payload), received_us FROM events "
    "WHERE project_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3"
)
_EVENTS_NAMED = "unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence)"
FINISHED = (
    "SELECT e.lane, e.sequence, e.idempotency_key "  # noqa: S608
    f"FROM {_EVENTS_NAMED} JOIN events e ON e.lane = k.lane AND e.sequence = k.sequence "
    "LEFT JOIN outcomes o ON o.lane = e.lane AND o.sequence = e.sequence "
    f"WHERE e.project_id = $3 AND {_FINISHED} ORDER BY e.lane, e.sequence"
)
FIND_DELIVERIES = (
    "SELECT d.lane, d.number, d.sequence "  # noqa: S608
    f"FROM {_EVENTS_NAMED} JOIN deliveries d ON d.lane = k.lane AND d.sequence = k.sequence "
    "ORDER BY d.lane, d.sequence, d.number LIMIT $3"
)
FIND_DEAD_LETTERS = (
    "SELECT lane, number FROM dead_letters WHERE project_id = $1 AND dead_lettered_us < $2 "
    "ORDER BY dead_lettered_us LIMIT $3"
)


def removal(table: str, column: str) -> str:
    """Statement that removes rows by their lane and the number in a column."""
    return (
        f"DELETE FROM {table} t "  # noqa: S608
        f"USING unnest($1::smallint[], $2::bigint[]) AS k (lane, number) "
        f"WHERE t.lane = k.lane AND t.{column} = k.number"
    )


REMOVE_ATTEMPTS = removal("delivery_attempts", "delivery_number")
REMOVE_DELIVERIES = removal("deliveries", "number")
REMOVE_DEAD_LETTERS = removal("dead_letters", "number")
REMOVE_DEAD_LETTERS_OF_EVENTS = removal("dead_letters", "sequence")
REMOVE_EVENTS = removal("events", "sequence")
REMOVE_DETAILS = tuple(
    removal(table, "sequence")
    for table in ("key_repeats", "processing_attempts", "contact_conflicts", "outcomes")
)
REMOVE_KEYS = (
    "DELETE FROM idempotency_keys i USING unnest($1::smallint[], $2::uuid[], $3::bigint[]) "
    "AS k (lane, hash, sequence) "
    "WHERE i.lane = k.lane AND i.hash = k.hash AND i.event_sequence = k.sequence"
)
NEWEST = "SELECT received_us FROM events WHERE project_id = $1 ORDER BY sequence DESC LIMIT 1"

#: Lane and number of some rows.
Places = Sequence[tuple[int, int]]


class PostgresRetention:
    """See `headrace.store.contract_retention.RetentionStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_due(
        self, project_id: int, before_us: int, now_us: int, after: int, limit: int
    ) -> DuePage:
        async def read(connection: Connection) -> DuePage:
            rows = await connection.fetch(FIND_EVENTS, project_id, after, limit)
            old = sorted((row[0], row[1]) for row in rows if row[3] < before_us)
            # Asked apart: in the same statement the server would read all work to know which of it
            # belongs to these events.
            finished = await _finished(connection, project_id, old)
            found = ((*row, (row[0], row[1]) in finished) for row in rows)
            return _due_page(list(found), before_us, now_us, after, limit)

        return await self._database.read(read)

    async def remove_events(self, project_id: int, events: Sequence[DueEvent]) -> Removed:
        if not events:
            return Removed()
        places = sorted((event.lane, event.sequence) for event in events)

        async def work(connection: Connection) -> Removed:
            return await _remove_events(connection, project_id, places)

        return await self._database.write(work)

    async def remove_dead_letters(self, project_id: int, before_us: int, limit: int) -> Removed:
        async def find(connection: Connection) -> Places:
            rows = await connection.fetch(FIND_DEAD_LETTERS, project_id, before_us, limit)
            return sorted((lane, number) for lane, number in rows)

        places = await self._database.read(find)
        if not places:
            return Removed()

        async def work(connection: Connection) -> int:
            return await _change(connection, REMOVE_DEAD_LETTERS, *_columns(places))

        gone = await self._database.write(work)
        return Removed(dead_letters=gone, rows=gone, complete=len(places) < limit)

    async def newest_received_us(self) -> int | None:
        async def read(connection: Connection) -> int | None:
            found = [
                await connection.fetchval(NEWEST, project_id)
                for (project_id,) in await connection.fetch("SELECT id FROM projects")
            ]
            return max((at_us for at_us in found if at_us is not None), default=None)

        return await self._database.read(read)

    async def state(self) -> RetentionState | None:
        async def read(connection: Connection) -> RetentionState | None:
            text = await connection.fetchval("SELECT value FROM meta WHERE name = 'retention'")
            return None if text is None else msgspec.json.decode(text, type=RetentionState)

        return await self._database.read(read)

    async def save(self, state: RetentionState) -> None:
        text = msgspec.json.encode(state).decode()

        async def work(connection: Connection) -> None:
            await connection.execute(
                "INSERT INTO meta (name, value) VALUES ('retention', $1) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                text,
            )
            await _sample(connection, state.at_us // HOUR_US)

        await self._database.write(work)

    async def growth(self) -> Growth:
        async def read(connection: Connection) -> Growth:
            rows = await connection.fetch("SELECT hour, used_bytes FROM store_growth ORDER BY hour")
            # What removed rows have left is known to the server's free space map only.
            return Growth([GrowthSample(hour, used) for hour, used in rows], 0)

        return await self._database.read(read)


def _due_page(rows: Sequence[Any], before_us: int, now_us: int, after: int, limit: int) -> DuePage:
    due: list[DueEvent] = []
    position, seen_us = after, None
    for lane, sequence, payload_bytes, received_us, finished in rows:
        if before_us <= received_us <= now_us + _AHEAD_US:
            return DuePage(due, position, seen_us, end=True)
        position, seen_us = sequence, received_us
        if finished:
            due.append(DueEvent(lane, sequence, payload_bytes))
    return DuePage(due, position, seen_us, end=len(rows) < limit)


async def _remove_events(connection: Connection, project_id: int, places: Places) -> Removed:
    keys = await _finished(connection, project_id, places)
    finished = list(keys)
    found = await connection.fetch(FIND_DELIVERIES, *_columns(finished), DELIVERIES_MAX + 1)
    deliveries = [(lane, number) for lane, number, _ in found[:DELIVERIES_MAX]]
    complete = len(found) <= DELIVERIES_MAX
    if not complete:
        # What was cut off belongs to the last event seen, or to one after it.
        lane, _, sequence = found[-1]
        finished = finished[: finished.index((lane, sequence))]
    count = await _change(connection, REMOVE_ATTEMPTS, *_columns(deliveries))
    count += await _change(connection, REMOVE_DELIVERIES, *_columns(deliveries))
    gone = _columns(finished)
    for statement in REMOVE_DETAILS:
        count += await _change(connection, statement, *gone)
    count += await _change(
        connection, REMOVE_KEYS, *_key_columns(project_id, [(p, keys[p]) for p in finished])
    )
    dead_letters = await _change(connection, REMOVE_DEAD_LETTERS_OF_EVENTS, *gone)
    events = await _change(connection, REMOVE_EVENTS, *gone)
    return Removed(events, dead_letters, count + dead_letters + events, complete)


async def _finished(
    connection: Connection, project_id: int, places: Places
) -> dict[tuple[int, int], str | None]:
    """Those events that are finished, in the order of their places, with their keys."""
    if not places:
        return {}
    rows = await connection.fetch(FINISHED, *_columns(places), project_id)
    return {(lane, sequence): key for lane, sequence, key in rows}


def _columns(places: Places) -> tuple[list[int], list[int]]:
    return [lane for lane, _ in places], [number for _, number in places]


def _key_columns(
    project_id: int, events: Iterable[tuple[tuple[int, int], str | None]]
) -> tuple[list[int], list[bytes], list[int]]:
    """Lane and hash of the idempotency keys of some events, and the sequence of each event."""
    named = sorted(
        (idempotency_hash(project_id, key), sequence)
        for (_, sequence), key in events
        if key is not None
    )
    return (
        [lane_of_key(hashed) for hashed, _ in named],
        [hashed for hashed, _ in named],
        [sequence for _, sequence in named],
    )


async def _change(connection: Connection, statement: str, *columns: Sequence[Any]) -> int:
    """Run a removal by columns, which is nothing to ask about when they are empty; rows gone."""
    if not columns[0]:
        return 0
    return int((await connection.execute(statement, *columns)).rpartition(" ")[2])


async def _sample(connection: Connection, hour: int) -> None:
    await connection.execute(
        "INSERT INTO store_growth (hour, used_bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        hour,
        await size_bytes(connection),
    )
    # Hours ahead come from a clock that was wrong.
    await connection.execute(
        "DELETE FROM store_growth WHERE hour > $1 OR hour <= $1 - $2::bigint",
        hour,
        _GROWTH_HOURS_KEPT,
    )
