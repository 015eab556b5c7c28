"""Bring the events of a store from before schema 14 into parts, and their keys into their table.

Runs when such a store is opened, in slices that are committed one by one. It goes on where it was
when the process ended in the middle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw
import msgspec

from headrace.faults import fail_point
from headrace.store.queues.sqlite.keys import MARK
from headrace.store.queues.sqlite.parts import PART_EVENTS

#: Keys, and events, of one transaction.
KEYS = 50_000
EVENTS = 16_384

_NEWEST = "SELECT coalesce(max(sequence), -1) FROM events"
# By its smallest index, that of the keys.
_COUNT = "SELECT count(*) FROM events"
_STATE = "SELECT value FROM meta WHERE name = 'backfill'"
_SAVE = "UPDATE meta SET value = ? WHERE name = 'backfill'"
_DONE = "DELETE FROM meta WHERE name = 'backfill'"
_HAS_INDEX = "SELECT 1 FROM sqlite_schema WHERE name = 'events_idempotency'"
_LAST_KEY = (
    "SELECT max(hash) FROM (SELECT idempotency_hash AS hash FROM events "
    "INDEXED BY events_idempotency WHERE idempotency_hash > ? AND idempotency_hash IS NOT NULL "
    "ORDER BY idempotency_hash LIMIT ?)"
)
_COPY_KEYS = (
    "INSERT OR IGNORE INTO sorted_keys (hash, sequence) SELECT idempotency_hash, sequence "
    "FROM events INDEXED BY events_idempotency WHERE idempotency_hash > ? "
    "AND idempotency_hash <= ? AND idempotency_hash IS NOT NULL ORDER BY idempotency_hash"
)
_LAST_EVENT = (
    "SELECT max(sequence), count(*) FROM (SELECT sequence FROM events WHERE sequence > ? "
    "ORDER BY sequence LIMIT ?)"
)
_SET_PART = "UPDATE events SET part = ? WHERE sequence > ? AND sequence <= ?"
_BEGIN_PART = "INSERT INTO event_parts (part, first_sequence) VALUES (?, ?)"


class _State(msgspec.Struct, omit_defaults=True):
    #: Hexadecimal hash up to which keys are copied; None when all are.
    keys_to: str | None = ""
    #: Sequence up to which events have a part, the part, and how many it has.
    events_to: int = -1
    part: int = 1
    part_events: int = 0
    #: Keys and events done, of how many; events without a key count as two as well.
    moved: int = 0
    total: int = 0


def backfill(connection: apsw.Connection, report: Callable[[int, int], None]) -> bool:
    """Do what is left to do; whether there was anything.

    Args:
        report: called after each slice with the keys and events moved so far, and their total.
    """
    worked = False
    while connection.execute(_STATE).fetchone() is not None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read again: another process may have the store open and do the same.
            row: Any = connection.execute(_STATE).fetchone()
            if row is None:
                connection.execute("ROLLBACK")
                break
            state = msgspec.json.decode(row[0], type=_State)
            fail_point("inside_backfill")
            if not state.total:
                state.total = 2 * int(connection.execute(_COUNT).get)
            count = _copy_keys(connection, state) or _set_parts(connection, state)
            state.moved += count
            if count:
                connection.execute(_SAVE, (msgspec.json.encode(state).decode(),))
            else:
                connection.execute(_DONE)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        worked = True
        report(state.moved, state.total)
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    return worked


def _copy_keys(connection: apsw.Connection, state: _State) -> int:
    if state.keys_to is None:
        return 0
    first = bytes.fromhex(state.keys_to)
    last: Any = None
    if connection.execute(_HAS_INDEX).fetchone():
        last = connection.execute(_LAST_KEY, (first, KEYS)).get
    if last is None:
        state.keys_to = None
        connection.execute("DROP INDEX IF EXISTS events_idempotency")
        connection.execute(MARK, (str(connection.execute(_NEWEST).get),))
        return 0
    connection.execute(_COPY_KEYS, (first, last))
    state.keys_to = bytes(last).hex()
    return max(1, connection.changes())


def _set_parts(connection: apsw.Connection, state: _State) -> int:
    last, count = connection.execute(_LAST_EVENT, (state.events_to, EVENTS)).fetchall()[0]
    if not count:
        return 0
    if state.part_events >= PART_EVENTS:
        state.part += 1
        state.part_events = 0
        connection.execute(_BEGIN_PART, (state.part, state.events_to + 1))
    connection.execute(_SET_PART, (state.part, state.events_to, last))
    state.events_to = int(str(last))
    state.part_events += int(str(count))
    return int(str(count))
