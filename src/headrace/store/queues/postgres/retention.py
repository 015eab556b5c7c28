"""Retention on PostgreSQL: drops partitions, and removes row by row only what lies between.

1. A partition in which everything is due is recorded in `dropped_ranges`, detached and dropped; no
   row of it is read again.
2. What belonged to its events in other tables is removed by the range of their sequences.
3. Their keys are removed from `recent_keys`, then by a pass over the pages of `sorted_keys`; until
   then they do not count, since their events are gone (`accept.py`).

When there is nothing to drop, the indexes of complete partitions are rebuilt
(`engine/postgres/packing.py`).

Where something has to stay, such as events of a project that keeps its own longer, the rest of a
partition is removed row by row in order of sequence, once all of it is old enough for its project.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.domain.events.event import Status
from headrace.domain.events.identity import LANES
from headrace.domain.ids import first_sequence_at, received_us_of
from headrace.store.contract.errors import StoreBusyError
from headrace.store.contract.retention import DuePage, Removed
from headrace.store.engine.postgres.database import Connection, Database
from headrace.store.engine.postgres.packing import pack_next
from headrace.store.engine.postgres.partitions import TABLES, Partition, partitions
from headrace.store.engine.postgres.transaction import PostgresDatabase, rows_changed
from headrace.store.queues.postgres.keys import LOCK_MOVE
from headrace.store.upkeep.retention import StoreRetention

#: How far the time inside a sequence may differ from the recorded time of receipt.
_SLACK_US = 60_000_000
#: How long the list of partitions is used.
_LIST_SECONDS = 10.0
#: How long a partition in which something has to stay is not examined again.
_KEPT_SECONDS = 600.0
#: Longest time to examine a partition, or to wait for transactions that may still read one.
_DROP_SECONDS_MAX = 25.0
#: Deliveries of one transaction; each has some attempts.
_DELIVERIES_MAX = 1000
#: Pages of the table of keys that one transaction passes over, with about 130 keys each.
_KEY_PAGES = 64
_PAGE_BYTES = 8192
#: Keys that one transaction removes from `recent_keys`.
_RECENT_KEYS_MAX = 20_000

_PROJECTS = (
    "WITH RECURSIVE found (id) AS (SELECT min(project_id) FROM {events} UNION ALL "
    "SELECT (SELECT min(e.project_id) FROM {events} e WHERE e.project_id > found.id) "
    "FROM found WHERE found.id IS NOT NULL) SELECT id FROM found WHERE id IS NOT NULL"
)
_FINAL = f"{Status.PROCESSED:d}, {Status.DEAD_LETTERED:d}"
# As FINISHED in upkeep/retention.py, for all events of a partition at once.
_ANY_UNFINISHED = (
    "SELECT EXISTS (SELECT 1 FROM {events} e LEFT JOIN {states} s "
    "ON s.lane = e.lane AND s.sequence = e.sequence "
    f"WHERE s.status IS NULL OR s.status NOT IN ({_FINAL})) "
    "OR EXISTS (SELECT 1 FROM event_queue WHERE sequence >= $1 AND sequence < $2) "
    "OR EXISTS (SELECT 1 FROM event_retries WHERE sequence >= $1 AND sequence < $2) "
    "OR EXISTS (SELECT 1 FROM deliveries WHERE sequence >= $1 AND sequence < $2 AND state <= 2) "
    "OR EXISTS (SELECT 1 FROM dead_letters WHERE sequence >= $1 AND sequence < $2 AND state <= 0) "
    "OR EXISTS (SELECT 1 FROM automation_inbox WHERE sequence >= $1 AND sequence < $2) "
    "OR EXISTS (SELECT 1 FROM automation_runs WHERE sequence >= $1 AND sequence < $2 "
    "AND due_us IS NOT NULL)"
)
_ANY = "SELECT EXISTS (SELECT 1 FROM {table})"
_COUNT = "SELECT count(*) FROM {table}"
_RECORD = (
    "INSERT INTO dropped_ranges (first_sequence, end_sequence, suffix) VALUES ($1, $2, $3) "
    "ON CONFLICT (first_sequence) DO UPDATE SET end_sequence = excluded.end_sequence, "
    "suffix = excluded.suffix, key_page = NULL"
)
_RANGES = "SELECT first_sequence, end_sequence, suffix, key_page FROM dropped_ranges ORDER BY 1"
_DROPPED = "UPDATE dropped_ranges SET suffix = NULL WHERE first_sequence = $1"
_BEGIN_KEYS = "UPDATE dropped_ranges SET key_page = 0 WHERE first_sequence = $1"
_MOVE_KEYS = "UPDATE dropped_ranges SET key_page = $2 WHERE first_sequence = ANY($1::bigint[])"
_FORGET = "DELETE FROM dropped_ranges WHERE first_sequence = ANY($1::bigint[])"
_ATTACHED = (
    "SELECT i.inhdetachpending FROM pg_inherits i "
    "WHERE i.inhrelid = to_regclass($1) AND i.inhparent = to_regclass($2)"
)
FIND_DELIVERIES = (
    "SELECT lane, number FROM deliveries WHERE sequence >= $1 AND sequence < $2 "
    "ORDER BY sequence LIMIT $3"
)
REMOVE_ATTEMPTS = (
    "DELETE FROM delivery_attempts a USING unnest($1::smallint[], $2::bigint[]) "
    "AS k (lane, number) WHERE a.lane = k.lane AND a.delivery_number = k.number"
)
REMOVE_DELIVERIES = (
    "DELETE FROM deliveries d USING unnest($1::smallint[], $2::bigint[]) "
    "AS k (lane, number) WHERE d.lane = k.lane AND d.number = k.number"
)
#: Found by lane and sequence.
_BY_LANE = ("duplicate_requests", "processing_attempts", "contact_conflicts")
REMOVE_BY_LANE = {
    table: f"DELETE FROM {table} WHERE lane = ANY($3::smallint[]) "
    "AND sequence >= $1 AND sequence < $2"
    for table in _BY_LANE
}
REMOVE_DEAD_LETTERS = "DELETE FROM dead_letters WHERE sequence >= $1 AND sequence < $2"
_REMOVE_KEYS = (
    "DELETE FROM sorted_keys k USING unnest($1::bigint[], $2::bigint[]) "
    "AS gone (first, past) WHERE k.ctid >= '({first},0)'::tid AND k.ctid < '({past},0)'::tid "
    "AND k.event_sequence >= gone.first AND k.event_sequence < gone.past"
)
_KEY_BYTES = "SELECT pg_relation_size('sorted_keys')"
_REMOVE_RECENT = (
    "DELETE FROM recent_keys WHERE ctid = ANY (ARRAY(SELECT ctid FROM recent_keys "
    "WHERE event_sequence >= $1 AND event_sequence < $2 LIMIT $3))"
)


class PostgresRetention(StoreRetention):
    """See `StoreRetention`."""

    def __init__(self, database: Database) -> None:
        super().__init__(PostgresDatabase(database))
        self._connections = database
        self._listed: list[Partition] = []
        self._listed_until_s = 0.0
        #: When indexes may be rebuilt again.
        self._pack_at_s = 0.0
        #: Partitions in which something has to stay, until when that is believed.
        self._kept_until_s: dict[str, float] = {}

    async def find_due(
        self, project_id: int, before_us: int, now_us: int, after: int, limit: int
    ) -> DuePage:
        # A partition that is due only in part will be dropped as a whole a little later.
        for each in await self._partitions():
            if not each.is_first and each.first <= first_sequence_at(before_us) < each.end:
                before_us = received_us_of(each.first)
        return await super().find_due(project_id, before_us, now_us, after, limit)

    async def drop_due(self, before_us: Mapping[int, int]) -> Removed:
        ranges = await self._connections.read(lambda connection: connection.fetch(_RANGES))
        for first, _, suffix, _ in ranges:
            if suffix is not None:
                return await self._drop(first, suffix)
        for first, end, _, key_page in ranges:
            if key_page is None:
                return await self._remove_belongings(first, end)
        found = await self._next_due(before_us)
        if found is not None:
            return await self._begin_drop(found)
        # Last: one pass serves all ranges that were dropped before it began.
        if ranges:
            return await self._remove_keys(ranges)
        return Removed(complete=not await self._pack())

    async def _pack(self) -> bool:
        """Rebuild an index of a complete partition; False when there is none to do now."""
        # Behind a pooler a session, and so its lock, cannot be held.
        if not self._connections.keeps_sessions or time.monotonic() < self._pack_at_s:
            return False
        try:
            return await self._connections.alone(pack_next, _DROP_SECONDS_MAX)
        except StoreBusyError:
            # It waits for transactions that have begun before it, such as a dump.
            self._pack_at_s = time.monotonic() + _KEPT_SECONDS
            return False

    async def _partitions(self) -> list[Partition]:
        now_s = time.monotonic()
        if now_s >= self._listed_until_s:
            self._listed = await self._connections.read(partitions)
            self._listed_until_s = now_s + _LIST_SECONDS
        return self._listed

    async def _next_due(self, before_us: Mapping[int, int]) -> Partition | None:
        """The oldest partition in which everything is due."""
        last = first_sequence_at(max(before_us.values(), default=0) - _SLACK_US)
        for each in await self._partitions():
            if each.end > last:
                break
            if time.monotonic() < self._kept_until_s.get(each.suffix, 0.0):
                continue
            if await self._is_due(each, before_us):
                return each
            self._kept_until_s[each.suffix] = time.monotonic() + _KEPT_SECONDS
        return None

    async def _is_due(self, partition: Partition, before_us: Mapping[int, int]) -> bool:
        names = {"events": partition.table("events"), "states": partition.table("event_states")}

        async def read(connection: Connection) -> bool:
            if partition.is_first:
                # It is emptied, not dropped, so it may be empty already.
                any_left = [await connection.fetchval(_ANY.format(table=n)) for n in names.values()]
                if not any(any_left):
                    return False
            projects = [row[0] for row in await connection.fetch(_PROJECTS.format(**names))]
            for project_id in projects:
                last = first_sequence_at(before_us.get(project_id, 0) - _SLACK_US)
                if partition.end > last:
                    return False
            unfinished = _ANY_UNFINISHED.format(**names)
            return not await connection.fetchval(unfinished, partition.first, partition.end)

        try:
            return await self._connections.read(read, _DROP_SECONDS_MAX)
        except StoreBusyError:
            return False

    async def _begin_drop(self, partition: Partition) -> Removed:
        """Record what is to be dropped; counts its rows."""

        async def count(connection: Connection) -> list[int]:
            return [
                await connection.fetchval(_COUNT.format(table=partition.table(parent)))
                for parent in TABLES
            ]

        events, states = await self._connections.read(count, _DROP_SECONDS_MAX)
        await self._connections.write(
            lambda connection: connection.execute(
                _RECORD, partition.first, partition.end, partition.suffix
            )
        )
        return Removed(events, 0, events + states, complete=False)

    async def _drop(self, first: int, suffix: str) -> Removed:
        self._listed_until_s = 0.0
        if first == 0:
            await self._connections.write(lambda connection: _empty(connection, suffix))
            return Removed(complete=False)

        async def drop(connection: Connection) -> None:
            for parent in TABLES:
                await _drop_partition(connection, parent, f"{parent}_{suffix}")
            await connection.execute(_DROPPED, first)

        try:
            await self._connections.alone(drop, _DROP_SECONDS_MAX)
        except StoreBusyError:
            # A long transaction may still read it. It is gone for all that begin now.
            return Removed()
        return Removed(complete=False)

    async def _remove_belongings(self, first: int, end: int) -> Removed:
        async def work(connection: Connection) -> Removed:
            found = await connection.fetch(FIND_DELIVERIES, first, end, _DELIVERIES_MAX)
            if found:
                places = [[row[0] for row in found], [row[1] for row in found]]
                rows = rows_changed(await connection.execute(REMOVE_ATTEMPTS, *places))
                rows += rows_changed(await connection.execute(REMOVE_DELIVERIES, *places))
                return Removed(rows=rows, complete=False)
            rows = 0
            for statement in REMOVE_BY_LANE.values():
                lanes = list(range(LANES))
                rows += rows_changed(await connection.execute(statement, first, end, lanes))
            letters = rows_changed(await connection.execute(REMOVE_DEAD_LETTERS, first, end))
            # None is moved behind the pass over `sorted_keys` once all have left `recent_keys`.
            await connection.execute(LOCK_MOVE)
            values = (first, end, _RECENT_KEYS_MAX)
            recent = rows_changed(await connection.execute(_REMOVE_RECENT, *values))
            rows += recent
            if recent < _RECENT_KEYS_MAX:
                await connection.execute(_BEGIN_KEYS, first)
            return Removed(0, letters, rows + letters, complete=False)

        return await self._connections.write(work)

    async def _remove_keys(self, ranges: Sequence[Any]) -> Removed:
        """Pass over the next pages of the keys, for all ranges that this pass began with."""
        page = max(key_page for *_, key_page in ranges)
        passing = [(first, end) for first, end, _, key_page in ranges if key_page == page]
        firsts, ends = [each[0] for each in passing], [each[1] for each in passing]

        async def work(connection: Connection) -> Removed:
            pages: int = await connection.fetchval(_KEY_BYTES) // _PAGE_BYTES
            past = page + _KEY_PAGES
            statement = _REMOVE_KEYS.format(first=page, past=past)
            rows = rows_changed(await connection.execute(statement, firsts, ends))
            if past >= pages:
                await connection.execute(_FORGET, firsts)
            else:
                await connection.execute(_MOVE_KEYS, firsts, past)
            return Removed(rows=rows, complete=False)

        return await self._connections.write(work)


async def _empty(connection: Connection, suffix: str) -> None:
    """Empty the partition that takes everything below its end: it is never dropped."""
    await connection.execute("SET LOCAL lock_timeout = '2s'")
    await connection.execute(f"TRUNCATE {', '.join(f'{parent}_{suffix}' for parent in TABLES)}")
    await connection.execute(_DROPPED, 0)


async def _drop_partition(connection: Connection, parent: str, table: str) -> None:
    """Detach and drop; continues where it was interrupted. Nobody waits for it."""
    pending = await connection.fetchval(_ATTACHED, table, parent)
    if pending is not None:
        how = "FINALIZE" if pending else "CONCURRENTLY"
        await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {table} {how}")
    await connection.execute(f"DROP TABLE IF EXISTS {table}")
