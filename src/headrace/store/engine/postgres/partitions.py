"""Partitions of events and their states, by ranges of the sequence.

Every index of events belongs to one partition, so new events touch pages of the newest one only.
Both tables have the same partitions. They are made a while ahead, by whichever process notices
first; an insert for which there is none makes it. Attaching an empty table waits for no insert.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from headrace.domain.ids import first_sequence_at, received_us_of

TABLES = ("events", "event_states")
#: How long before a partition is needed it is made.
AHEAD_US = 60_000_000
#: Lengths of a partition. The first of a store is short; each later one at most so many times as
#: long as the one before it, as long as that did not fill up.
WIDTH_US_MIN = 60_000_000
WIDTH_US_MAX = 12 * 3600 * 1_000_000
WIDTH_TIMES = 4
#: Size up to which a partition is meant to grow, with its indexes: about a million events.
BYTES_MEANT = 768 * 1024 * 1024
#: A statement opens each partition that its plan names, so there must not be many more than this.
#: Where events are kept so long that there would be, each partition is longer.
PARTITIONS_MEANT = 32
#: A partition begins where the one before it ends, unless that is longer ago: after a clock that
#: was far ahead, the time up to there must not become one partition.
GAP_US_MAX = 24 * 3600 * 1_000_000
#: Held while partitions are made or dropped.
LOCK = 7_267_002
#: How long an insert may have to wait for a partition to be attached; then it is tried again.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '2s'"

_BOUNDS = (
    "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i "
    "JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = 'events'::regclass AND NOT i.inhdetachpending"
)
_SIZE = "SELECT pg_total_relation_size(to_regclass($1)) + pg_total_relation_size(to_regclass($2))"
_FINITE = re.compile(r"FROM \((MINVALUE|'-?\d+')\) TO \('(\d+)'\)")
_KEY_OF_ROW = re.compile(r"= \((\d+)\)")
#: They only grow until they are dropped, so the first vacuum freezes them.
_OPTIONS = "autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_freeze_min_age = 0"


class Partition(msgspec.Struct, frozen=True, order=True):
    """One range of sequences."""

    #: 0 for the first one, which has no lower bound.
    first: int
    #: The first sequence above it.
    end: int
    #: Of the names of its tables.
    suffix: str

    @property
    def is_first(self) -> bool:
        """Whether it takes everything below its end."""
        return self.first == 0

    def table(self, parent: str) -> str:
        """The name of its part of a table."""
        return f"{parent}_{self.suffix}"


async def partitions(connection: Any) -> list[Partition]:
    """All partitions, oldest first."""
    found = []
    for name, bounds in await connection.fetch(_BOUNDS):
        match = _FINITE.search(bounds)
        assert match is not None, bounds
        first = 0 if match[1] == "MINVALUE" else int(match[1].strip("'"))
        found.append(Partition(first, int(match[2]), name.removeprefix("events_")))
    return sorted(found)


def missing_sequence(error: asyncpg.PostgresError) -> int | None:
    """The sequence of a row that no partition takes; None for any other error."""
    if not isinstance(error, asyncpg.CheckViolationError):
        return None
    # Violations of a constraint name it.
    if error.constraint_name is not None or error.table_name not in TABLES:
        return None
    match = _KEY_OF_ROW.search(error.detail or "")
    return None if match is None else int(match[1])


async def make_partition(connection: Any, sequence: int) -> None:
    """Make the partition that takes a sequence, unless there is one. Outside a transaction."""
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        await connection.execute(_LOCK_TIMEOUT)
        found = await partitions(connection)
        if _holding(found, sequence) is not None:
            return
        made = _next(found, sequence, await _width_us(connection, found, sequence))
        for parent in TABLES:
            table = made.table(parent)
            await connection.execute(f"CREATE TABLE {table} (LIKE {parent}) WITH ({_OPTIONS})")
            await connection.execute(
                f"ALTER TABLE {parent} ATTACH PARTITION {table} "
                f"FOR VALUES FROM ({made.first}) TO ({made.end})"
            )


async def lacks_partition(connection: Any, now_us: int) -> bool:
    """Whether there is none for what is accepted now or soon."""
    found = await partitions(connection)
    times = (now_us, now_us + AHEAD_US)
    return any(_holding(found, first_sequence_at(time_us)) is None for time_us in times)


async def make_ahead(connection: Any, now_us: int) -> None:
    """Make what `lacks_partition` misses."""
    for time_us in (now_us, now_us + AHEAD_US):
        await make_partition(connection, first_sequence_at(time_us))


def _holding(found: Sequence[Partition], sequence: int) -> Partition | None:
    return next((each for each in found if each.first <= sequence < each.end), None)


def _next(found: Sequence[Partition], sequence: int, width_us: int) -> Partition:
    before = max((each.end for each in found if each.end <= sequence), default=0)
    after = min((each.first for each in found if each.first > sequence), default=None)
    first = before
    if sequence - before > first_sequence_at(GAP_US_MAX):
        # A minute earlier: another process may have received something a moment before.
        first = max(before, sequence - first_sequence_at(WIDTH_US_MIN))
    end = sequence + first_sequence_at(width_us)
    return Partition(first, end if after is None else min(end, after), str(first))


async def _width_us(connection: Any, found: Sequence[Partition], sequence: int) -> int:
    """The length of the partition that begins about at a sequence, by how the last one fills."""
    before = [each for each in found if each.end <= sequence and not each.is_first]
    if not before:
        return WIDTH_US_MIN
    last = before[-1]
    size: int = await connection.fetchval(_SIZE, *map(last.table, TABLES)) or 0
    last_us = received_us_of(last.end) - received_us_of(last.first)
    width_us = min(WIDTH_US_MAX, WIDTH_TIMES * last_us)
    if size:
        # Made ahead: most of the last one's time has passed.
        width_us = min(width_us, last_us * BYTES_MEANT // size)
    kept_us = received_us_of(sequence) - received_us_of(before[0].first)
    return max(width_us, WIDTH_US_MIN, kept_us // PARTITIONS_MEANT)
