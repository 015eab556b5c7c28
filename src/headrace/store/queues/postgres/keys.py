"""Idempotency keys in two levels: `recent_keys` takes new ones, `sorted_keys` has all others.

The index of a large table of keys is changed at random places: with ten million keys, each new one
writes a page of its own to the log. So new keys are inserted into a small table. When it is full,
its keys are moved to the large one in slices of neighbouring hashes, so that a page of the large
table takes several at a time.

A key is in one of the two, and a slice is moved by one transaction. Uniqueness is decided by the
transaction that accepts the event:

1. The key is inserted into `recent_keys`. That waits for other transactions that insert the same
   key, or are moving it.
2. Then it is looked up in `sorted_keys`, by a statement of its own, which sees all that was moved
   until then. If it is there, the row of step 1 is removed again.

While the row of step 1 is not committed, no other transaction gets past step 1 with that key, and
it is not moved. Keys count only as long as their event is stored, see `accept.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from headrace.domain.events.event import NewEvent
from headrace.domain.events.identity import LANES, lane_of_key
from headrace.faults import fail_point
from headrace.store.engine.columns import columns_of
from headrace.store.engine.postgres.database import Connection, Database
from headrace.store.engine.postgres.shard import MAY_BE_SHARDED

#: Keys in `recent_keys` at which they begin to be moved, and the share of `sorted_keys` that they
#: must be as well: then a page of the large index, which holds some 200, takes 12 at a time.
RECENT_MAX = 131_072
RECENT_SHARE = 1 / 16
#: Bytes of a key in `sorted_keys`, without the index.
_KEY_BYTES = 60
#: Keys that one transaction moves.
SLICE_KEYS = 2048
#: Between two counts of `recent_keys`.
COUNT_SECONDS = 10.0
#: How long one step moves slices.
STEP_SECONDS = 0.4

_FIRST_HASH = bytes(16)
#: Held while keys are moved. Any number that is not used for another advisory lock.
_LOCK = 7_267_003
LOCK_MOVE = f"SELECT pg_advisory_xact_lock({_LOCK})"
_TRY_LOCK = f"SELECT pg_try_advisory_xact_lock({_LOCK})"

# Waits for a transaction that is inserting the same key. Sorted by lane and hash, like all that
# lock keys: two batches with the same keys in a different order would deadlock.
INSERT_KEYS = (
    "INSERT INTO recent_keys (lane, hash, event_lane, event_sequence) "
    "SELECT * FROM unnest($1::smallint[], $2::uuid[], $3::smallint[], $4::bigint[]) "
    "ON CONFLICT (lane, hash) DO NOTHING RETURNING lane, hash, event_sequence"
)
# One search in the index for each key, whatever the planner knows about the size of the table.
FIND_SORTED = (
    "SELECT k.lane, k.hash FROM unnest($1::smallint[], $2::uuid[]) AS k (lane, hash) "
    "CROSS JOIN LATERAL (SELECT i.hash FROM sorted_keys i "
    "WHERE i.lane = k.lane AND i.hash = k.hash LIMIT 1) AS s"
)
# Changes no value, but locks the rows and makes this a writing transaction. So two servers record
# duplicates of a key in turn, and the response waits until the first copy is on a synchronous
# standby too: a first copy can be visible before its own commit is confirmed.
_HOLD = (
    "UPDATE {table} k SET event_lane = k.event_lane "
    "FROM unnest($1::smallint[], $2::uuid[]) AS repeated (lane, hash) "
    "WHERE k.lane = repeated.lane AND k.hash = repeated.hash "
    "RETURNING k.hash, k.event_lane, k.event_sequence"
)
_RELEASE = (
    "DELETE FROM {table} i USING unnest($1::smallint[], $2::uuid[]) AS k (lane, hash) "
    "WHERE i.lane = k.lane AND i.hash = k.hash"
)
# Keys move from the first to the second: a statement on the second finds what the one before it has
# missed.
_TABLES = ("recent_keys", "sorted_keys")
HOLD_KEYS = tuple(_HOLD.format(table=table) for table in _TABLES)
RELEASE_KEYS = tuple(_RELEASE.format(table=table) for table in _TABLES)

_COUNT = "SELECT count(*) FROM (SELECT 1 FROM recent_keys LIMIT $1) AS k"
_SORTED_BYTES = "SELECT pg_relation_size('sorted_keys')"
# A row that a batch has locked stays for the next pass. A key of an event that is gone may still be
# in the large table.
MOVE_SLICE = (
    "WITH slice AS MATERIALIZED (SELECT hash FROM recent_keys WHERE lane = $1 AND hash > $2 "
    "ORDER BY hash LIMIT $3 FOR UPDATE SKIP LOCKED), "
    "moved AS (DELETE FROM recent_keys r USING slice WHERE r.lane = $1 AND r.hash = slice.hash "
    "RETURNING r.hash, r.event_lane, r.event_sequence) "
    "INSERT INTO sorted_keys (lane, hash, event_lane, event_sequence) "
    "SELECT $1, hash, event_lane, event_sequence FROM moved ORDER BY hash "
    "ON CONFLICT (lane, hash) DO UPDATE SET event_lane = excluded.event_lane, "
    "event_sequence = excluded.event_sequence RETURNING hash"
)
# How far a pass is: the lane and the hash moved last. No row: there is none.
_POSITION = "SELECT value FROM meta WHERE name = 'keys_moved_to'"
_SET_POSITION = (
    "INSERT INTO meta (name, value) VALUES ('keys_moved_to', $1) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_FORGET_POSITION = "DELETE FROM meta WHERE name = 'keys_moved_to'"


async def insert_keys(connection: Connection, events: list[NewEvent]) -> list[NewEvent]:
    """Insert the keys; returns the events without a key and with a new one, in the same order."""
    keyed = sorted(
        (lane_of_key(event.idempotency_hash), event.idempotency_hash, event.sequence, event.lane)
        for event in events
        if event.idempotency_hash is not None
    )
    if not keyed:
        return events
    lanes, hashes, sequences, event_lanes = columns_of(keyed, 4)
    rows = await connection.fetch(INSERT_KEYS, lanes, hashes, event_lanes, sequences)
    inserted = columns_of([(row[0], row[1]) for row in rows], 2)
    known = [tuple(row) for row in await connection.fetch(FIND_SORTED, *inserted)]
    if known:
        await connection.execute(RELEASE_KEYS[0], *columns_of(sorted(known), 2))
    found = {hashed for _, hashed in known}
    won = {sequence for _, hashed, sequence in rows if hashed not in found}
    return [event for event in events if event.idempotency_hash is None or event.sequence in won]


async def hold_keys(connection: Connection, hashes: Iterable[bytes]) -> list[Sequence[Any]]:
    """Lock keys; returns hash, lane and sequence of the event of each that is there."""
    held: list[Sequence[Any]] = []
    left = set(hashes)
    for statement in HOLD_KEYS:
        if left:
            held += await connection.fetch(statement, *_with_lanes(left))
            left -= {row[0] for row in held}
    return held


async def release_keys(connection: Connection, hashes: Iterable[bytes]) -> None:
    """Remove keys."""
    columns = _with_lanes(hashes)
    for statement in RELEASE_KEYS:
        await connection.execute(statement, *columns)


def _with_lanes(hashes: Iterable[bytes]) -> list[list[Any]]:
    return columns_of(sorted((lane_of_key(hashed), hashed) for hashed in hashes), 2)


class KeyMover:
    """Moves keys to the large table. Several processes may do so; each slice is moved by one.

    Args:
        recent_max: see `RECENT_MAX`.
        slice_keys: see `SLICE_KEYS`.
    """

    def __init__(
        self, database: Database, recent_max: int = RECENT_MAX, slice_keys: int = SLICE_KEYS
    ) -> None:
        self._database = database
        self._recent_max = recent_max
        self._slice_keys = slice_keys
        self._count_at_s = 0.0

    async def step(self) -> None:
        """Begin a pass when there are enough keys; move slices of it for `STEP_SECONDS`."""
        if not await self._database.read(_is_passing):
            if time.monotonic() < self._count_at_s:
                return
            self._count_at_s = time.monotonic() + COUNT_SECONDS
            if not await self._database.read(self._is_due):
                return
        deadline = time.monotonic() + STEP_SECONDS
        while await self.move_slice():
            if time.monotonic() >= deadline:
                return

    async def _is_due(self, connection: Connection) -> bool:
        # Not tried on a cluster, where all keys stay in the first table.
        if await connection.fetchval(MAY_BE_SHARDED):
            return False
        sorted_keys = await connection.fetchval(_SORTED_BYTES) / _KEY_BYTES
        wanted = max(self._recent_max, int(sorted_keys * RECENT_SHARE))
        return bool(await connection.fetchval(_COUNT, wanted) >= wanted)

    async def move_slice(self) -> bool:
        """Move the next slice, the first one if there is no pass; False at the end of a pass."""
        return await self._database.write(self._move_slice)

    async def _move_slice(self, connection: Connection) -> bool:
        if not await connection.fetchval(_TRY_LOCK):
            return False
        position = await connection.fetchval(_POSITION)
        lane, after = (0, _FIRST_HASH) if position is None else _read(position)
        moved = await connection.fetch(MOVE_SLICE, lane, after, self._slice_keys)
        fail_point("inside_move_of_keys")
        if len(moved) == self._slice_keys:
            await connection.execute(_SET_POSITION, _text(lane, max(row[0] for row in moved)))
            return True
        if lane + 1 < LANES:
            await connection.execute(_SET_POSITION, _text(lane + 1, _FIRST_HASH))
            return True
        await connection.execute(_FORGET_POSITION)
        return False


async def _is_passing(connection: Connection) -> bool:
    return await connection.fetchval(_POSITION) is not None


def _text(lane: int, hashed: bytes) -> str:
    return f"{lane} {hashed.hex()}"


def _read(position: str) -> tuple[int, bytes]:
    lane, hashed = position.split()
    return int(lane), bytes.fromhex(hashed)
