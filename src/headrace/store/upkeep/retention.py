"""Retention: find what is due and remove it in small transactions.

Finding is a read; the write lock of SQLite is held only to remove. Every statement finds its rows
by an index, so its cost depends on the slice and not on the store (a test checks the plans).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from headrace.domain.events.event import Status
from headrace.domain.upkeep.retention import DAY_US, HOUR_US, GrowthSample
from headrace.store.contract.retention import (
    DueEvent,
    DuePage,
    Growth,
    Removed,
    RetentionState,
    SpaceUse,
)
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql, without_lane
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.events.event_removal import (
    DELIVERIES_MAX,
    REMOVE_EVENTS,
    Place,
    removal,
    remove_belongings,
    remove_rows,
)
from headrace.store.events.parts import from_parts, part_of
from headrace.store.upkeep.sizes import events_about, reusable_bytes, used_bytes

#: Events from further ahead than this were received by a wrong clock. They are skipped, so that
#: they do not hide the events behind them.
_AHEAD_US = DAY_US
_GROWTH_HOURS_KEPT = 30 * 24

# The length of a payload is in the header of its value, so this does not read the payload.
FIND_EVENTS = sql(
    "SELECT lane, sequence, octet_length(payload), received_us FROM events "
    "WHERE project_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3",
    # What is in no part yet is not finished.
    sqlite="SELECT e.lane, e.sequence, octet_length(e.payload), e.received_us "
    f"FROM {from_parts('events', 'e')} WHERE p.part >= {part_of('?2')} "
    "AND e.project_id = ?1 AND e.sequence > ?2 ORDER BY p.part, e.sequence LIMIT ?3",
)
# Final states: only a replay of an open dead letter makes an event active again. An event that is
# neither processed nor dead-lettered is always kept.
FINISHED = without_lane(
    "SELECT e.lane, e.sequence, e.idempotency_key "
    "FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence) "
    "JOIN events e ON e.lane = k.lane AND e.sequence = k.sequence "
    "JOIN event_states o ON o.lane = e.lane AND o.sequence = e.sequence "
    f"WHERE e.project_id = $3 AND o.status IN ({Status.PROCESSED:d}, {Status.DEAD_LETTERED:d}) "
    "AND NOT EXISTS (SELECT 1 FROM event_queue w "
    "WHERE w.lane = e.lane AND w.sequence = e.sequence AND w.project_id = e.project_id) "
    "AND NOT EXISTS (SELECT 1 FROM event_retries r "
    "WHERE r.lane = e.lane AND r.sequence = e.sequence) "
    # Pending, delivering, retrying.
    "AND NOT EXISTS (SELECT 1 FROM deliveries d "
    "WHERE d.lane = e.lane AND d.sequence = e.sequence AND d.state <= 2) "
    # Open.
    "AND NOT EXISTS (SELECT 1 FROM dead_letters l "
    "WHERE l.lane = e.lane AND l.sequence = e.sequence AND l.state <= 0) "
    # Automations still need it.
    "AND NOT EXISTS (SELECT 1 FROM automation_inbox i "
    "WHERE i.sequence = e.sequence AND i.lane = e.lane) "
    "AND NOT EXISTS (SELECT 1 FROM automation_runs r "
    "WHERE r.sequence = e.sequence AND r.due_us IS NOT NULL)"
)
# In the order of the given events; SQLite keeps that order without sorting.
FIND_DELIVERIES = sql(
    "SELECT d.lane, d.number, d.sequence FROM unnest($1::smallint[], $2::bigint[]) "
    "AS k (lane, sequence) JOIN deliveries d ON d.lane = k.lane AND d.sequence = k.sequence "
    "ORDER BY d.lane, d.sequence, d.number LIMIT $3",
    sqlite="SELECT d.lane, d.number, d.sequence FROM json_each(?2) j "
    "CROSS JOIN deliveries d ON d.sequence = j.value LIMIT ?3",
)
FIND_DEAD_LETTERS = sql(
    "SELECT lane, number FROM dead_letters WHERE project_id = $1 AND dead_lettered_us < $2 "
    "ORDER BY dead_lettered_us LIMIT $3"
)
REMOVE_DEAD_LETTERS = removal("dead_letters", "number")
_PROJECTS = sql("SELECT id FROM projects")
NEWEST = sql(
    "SELECT received_us FROM events WHERE project_id = $1 ORDER BY sequence DESC LIMIT 1",
    # Of all projects: only the newest of them all is wanted.
    sqlite="SELECT received_us FROM events WHERE ?1 IS NOT NULL "
    "AND sequence = (SELECT max(sequence) FROM events)",
)
_STATE = sql("SELECT value FROM meta WHERE name = 'retention'")
_SAVE = sql(
    "INSERT INTO meta (name, value) VALUES ('retention', $1) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_SAMPLES = sql("SELECT hour, used_bytes FROM size_samples ORDER BY hour")
_SAMPLE = sql("INSERT INTO size_samples (hour, used_bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING")
# Future hours come from a wrong clock.
_FORGET_SAMPLES = sql("DELETE FROM size_samples WHERE hour > $1 OR hour <= $1 - $2::bigint")


class StoreRetention:
    """Finds and removes expired rows. Each method is one short read or transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_due(
        self, project_id: int, before_us: int, now_us: int, after: int, limit: int
    ) -> DuePage:
        """Examine up to `limit` events of a project after sequence `after`.

        An event is due if it was received before `before_us` and is finished: processed or
        dead-lettered, not waiting, no delivery in progress, no open dead letter.
        """

        async def read(tx: Transaction) -> DuePage:
            rows = await tx.rows(FIND_EVENTS, project_id, after, limit)
            old = [(row[0], row[1]) for row in rows if row[3] < before_us]
            # A separate query: in one statement PostgreSQL would read the whole queue to find the
            # rows of these events.
            finished = {row[1] for row in await _finished(tx, project_id, old)}
            return _due_page(rows, finished, before_us, now_us, after, limit)

        return await self._database.read(read)

    async def remove_events(self, project_id: int, events: Sequence[DueEvent]) -> Removed:
        """Remove events and everything that is kept only about them.

        Checks again whether each is finished. An event with very many deliveries takes several
        calls; until the last one `complete` is False.
        """
        if not events:
            return Removed()
        places = [(event.lane, event.sequence) for event in events]
        return await self._database.write(lambda tx: _remove_events(tx, project_id, places))

    async def drop_due(self, before_us: Mapping[int, int]) -> Removed:
        """Take a step of dropping whole parts of the store in which every event is due.

        Args:
            before_us: for each project, the time before which its events were received.

        Returns:
            `complete` is False when there may be more to do.
        """
        del before_us
        return Removed()

    async def remove_dead_letters(self, project_id: int, before_us: int, limit: int) -> Removed:
        """Remove up to `limit` dead letters from before `before_us`, the oldest first.

        `complete` is False when there may be more.
        """
        values = (project_id, before_us, limit)
        rows = await self._database.read(lambda tx: tx.rows(FIND_DEAD_LETTERS, *values))
        # Usually there is nothing: then the write lock of SQLite is not taken.
        if not rows:
            return Removed()
        places = [(lane, number) for lane, number in rows]
        gone = await self._database.write(lambda tx: remove_rows(tx, REMOVE_DEAD_LETTERS, places))
        return Removed(dead_letters=gone, rows=gone, complete=len(places) < limit)

    async def newest_received_us(self) -> int | None:
        """When the newest event was received; None in an empty store."""

        async def read(tx: Transaction) -> int | None:
            found = [await tx.value(NEWEST, row[0]) for row in await tx.rows(_PROJECTS)]
            return max((at_us for at_us in found if at_us is not None), default=None)

        return await self._database.read(read)

    async def state(self) -> RetentionState | None:
        """The last saved state."""
        text = await self._database.read(lambda tx: tx.value(_STATE))
        return None if text is None else msgspec.json.decode(text, type=RetentionState)

    async def save(self, state: RetentionState) -> None:
        """Save the state, and once an hour the size of the store."""
        hour = state.at_us // HOUR_US

        async def work(tx: Transaction) -> None:
            await tx.run(_SAVE, msgspec.json.encode(state).decode())
            await tx.run(_SAMPLE, hour, await used_bytes(tx))
            await tx.run(_FORGET_SAMPLES, hour, _GROWTH_HOURS_KEPT)

        await self._database.write(work)

    async def growth(self) -> Growth:
        """The size of the store, hour by hour."""

        async def read(tx: Transaction) -> Growth:
            rows = await tx.rows(_SAMPLES)
            return Growth([GrowthSample(*row) for row in rows], await reusable_bytes(tx))

        return await self._database.read(read)

    async def space_use(self) -> SpaceUse | None:
        """What the file of the store is used for; None on PostgreSQL.

        Counts up to a million events by an index, so not for every request.
        """

        async def read(tx: Transaction) -> SpaceUse | None:
            events = await events_about(tx)
            if events is None:
                return None
            return SpaceUse(
                used_bytes=await used_bytes(tx),
                reusable_bytes=await reusable_bytes(tx),
                events_about=events,
            )

        return await self._database.read(read)


def _due_page(
    rows: Sequence[Row], finished: set[int], before_us: int, now_us: int, after: int, limit: int
) -> DuePage:
    due: list[DueEvent] = []
    position, seen_us = after, None
    for lane, sequence, payload_bytes, received_us in rows:
        if before_us <= received_us <= now_us + _AHEAD_US:
            return DuePage(due, position, seen_us, end=True)
        position, seen_us = sequence, received_us
        if sequence in finished:
            due.append(DueEvent(lane, sequence, payload_bytes))
    return DuePage(due, position, seen_us, end=len(rows) < limit)


async def _finished(
    tx: Transaction, project_id: int, places: Sequence[Place]
) -> list[tuple[int, int, str | None]]:
    """The events that are finished: lane, sequence and key, in the order of `places`."""
    if not places:
        return []
    rows = await tx.rows(FINISHED, *columns_of(sorted(places), 2), project_id)
    return sorted(((row[0], row[1], row[2]) for row in rows), key=lambda row: row[:2])


async def _remove_events(tx: Transaction, project_id: int, places: Sequence[Place]) -> Removed:
    finished = await _finished(tx, project_id, places)
    found: Sequence[Row] = []
    if finished:
        events = columns_of([row[:2] for row in finished], 2)
        found = await tx.rows(FIND_DELIVERIES, *events, DELIVERIES_MAX + 1)
    complete = len(found) <= DELIVERIES_MAX
    if not complete:
        # Rows past the limit belong to the last event seen, or to one after it.
        finished = finished[: [row[1] for row in finished].index(found[-1][2])]
    deliveries = [(lane, number) for lane, number, _ in found[:DELIVERIES_MAX]]
    gone = [row[:2] for row in finished]
    keys = [(key, sequence) for _, sequence, key in finished]
    counts = await remove_belongings(tx, project_id, gone, deliveries, keys)
    events_gone = await remove_rows(tx, REMOVE_EVENTS, gone)
    rows = sum(counts.values()) + events_gone
    return Removed(events_gone, counts["dead_letters"], rows, complete)
