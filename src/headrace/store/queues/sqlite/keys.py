"""Idempotency keys in two levels: those of the newest events in memory, the others in a table.

A key is stored by its hash, so it lands anywhere: written straight into a large table, each would
change a page of its own. The keys of the newest events are in a temporary table of the connection
that accepts, which is never written to the disk; a start fills it again from the events
(`open_keys`). It moves to the table `sorted_keys` in slices of neighbouring hashes, so that a page
takes several keys at a time. Keys of removed events are collected in `expired_keys` and leave
`sorted_keys` with the same slices. A key counts as long as its event is stored.

`meta` holds the sequence up to which all keys are in `sorted_keys`.
"""

from __future__ import annotations

from typing import Any

import apsw

from headrace.faults import fail_point
from headrace.store.events.parts import KEYS_SORTED_TO

#: New and expired keys from which on they are moved. New ones take about 30 bytes of memory each.
WAITING_MAX = 262_144
#: Keys of each kind moved in one transaction, at most.
SLICE = 512
#: Rows that the connection changes between two slices. An event takes three to accept, so that
#: keys move about twice as fast as they arrive.
CHANGES_PER_SLICE = 768
#: Slices in a second in which no event is accepted.
IDLE_SLICES = 16
#: Rows changed between two counts of the waiting keys.
CHANGES_PER_COUNT = 65_536
#: Events before the mark whose keys a start reads, too. An event may have waited for its commit
#: while later ones were committed; at most 10,000 wait.
READ_BEFORE_MARK = 50_000

MARK = (
    "INSERT INTO meta (name, value) VALUES ('keys_sorted_to', ?1) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
#: Lane and sequence of the event with a key, for the connection that accepts: `?1` is its hash.
FIND = (
    "SELECT e.lane, e.sequence FROM (SELECT sequence FROM temp.recent_keys WHERE hash = ?1 "
    "UNION ALL SELECT sequence FROM main.sorted_keys WHERE hash = ?1) k "
    "CROSS JOIN main.events e ON e.sequence = k.sequence LIMIT 1"
)
# Triggers of the accepting connection alone: no other one accepts events with keys.
_OPEN = (
    """
    CREATE TEMP TABLE recent_keys (
        hash     BLOB PRIMARY KEY,
        sequence INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    f"""
    INSERT OR REPLACE INTO temp.recent_keys (hash, sequence)
    SELECT idempotency_hash, sequence FROM main.events
    WHERE idempotency_hash IS NOT NULL AND sequence > (
        SELECT coalesce(min(sequence), -1) FROM (
            SELECT sequence FROM main.events WHERE sequence <= {KEYS_SORTED_TO}
            ORDER BY sequence DESC LIMIT {READ_BEFORE_MARK}
        )
    )
    """,
    """
    CREATE TEMP TRIGGER events_unique BEFORE INSERT ON main.events
    WHEN new.idempotency_hash IS NOT NULL BEGIN
        SELECT raise(IGNORE) WHERE EXISTS (
            SELECT 1 FROM temp.recent_keys k JOIN main.events e ON e.sequence = k.sequence
            WHERE k.hash = new.idempotency_hash
        ) OR EXISTS (
            SELECT 1 FROM main.sorted_keys k JOIN main.events e ON e.sequence = k.sequence
            WHERE k.hash = new.idempotency_hash
        );
    END
    """,
    """
    CREATE TEMP TRIGGER events_keyed AFTER INSERT ON main.events
    WHEN new.idempotency_hash IS NOT NULL BEGIN
        INSERT OR REPLACE INTO recent_keys (hash, sequence)
        VALUES (new.idempotency_hash, new.sequence);
    END
    """,
)
_COUNT = "SELECT (SELECT count(*) FROM temp.recent_keys) + (SELECT count(*) FROM main.expired_keys)"
_NTH = "coalesce((SELECT hash FROM {} WHERE hash > ?1 ORDER BY hash LIMIT 1 OFFSET ?3 - 1), ?2)"
_LAST_OF_SLICE = f"SELECT min({_NTH.format('recent_keys')}, {_NTH.format('expired_keys')})"
# Above every hash: they have 16 bytes.
_END = b"\xff" * 17
# Before new keys are copied: one that came again since belongs to a later event.
_EXPIRE = (
    "DELETE FROM sorted_keys WHERE hash IN "
    "(SELECT hash FROM expired_keys WHERE hash > ?1 AND hash <= ?2)"
)
_FORGET = "DELETE FROM expired_keys WHERE hash > ?1 AND hash <= ?2"
# A key that is there already is of an event that is gone.
_COPY = (
    "INSERT OR REPLACE INTO sorted_keys (hash, sequence) SELECT k.hash, k.sequence "
    "FROM recent_keys k CROSS JOIN events e ON e.sequence = k.sequence "
    "WHERE k.hash > ?1 AND k.hash <= ?2 ORDER BY k.hash"
)
_REMOVE = "DELETE FROM recent_keys WHERE hash > ?1 AND hash <= ?2"
_NEWEST = "SELECT coalesce(max(sequence), -1) FROM events"
# What was accepted during a pass may still be in memory.
_OLDEST_RECENT = "SELECT min(sequence) - 1 FROM temp.recent_keys"


def open_keys(connection: apsw.Connection) -> None:
    """Prepare the one connection that accepts events; not inside a transaction."""
    for statement in _OPEN:
        connection.execute(statement)


class Keys:
    """Moves keys to and from `sorted_keys`, a slice at a time. For the connection that accepts."""

    def __init__(self, slice_keys: int = SLICE) -> None:
        self._slice_keys = slice_keys
        #: Rows that the connection had changed at the last count, and at the last slice.
        self._counted_at: int | None = None
        self._moved_at = 0
        #: Hash up to which a pass has moved; None between passes.
        self._moved_to: bytes | None = None
        #: The newest event when the pass began.
        self._newest = -1

    def is_due(self, connection: apsw.Connection, *, idle: bool) -> bool:
        """Whether `move` is due; cheap enough to call after every transaction.

        Args:
            idle: nothing else waits. Retention may be at work in another process.
        """
        changes = connection.total_changes()
        if self._moved_to is not None:
            return idle or changes - self._moved_at >= CHANGES_PER_SLICE
        counted = self._counted_at is not None and changes - self._counted_at < CHANGES_PER_COUNT
        if counted and not idle:
            return False
        self._counted_at = changes
        waiting: Any = connection.execute(_COUNT).get
        if waiting < WAITING_MAX:
            return False
        self._moved_to = b""
        self._newest = int(connection.execute(_NEWEST).get)
        return True

    def move(self, connection: apsw.Connection) -> None:
        """Move a slice; inside a transaction."""
        first: Any = self._moved_to
        last: Any = connection.execute(_LAST_OF_SLICE, (first, _END, self._slice_keys)).get
        for statement in (_EXPIRE, _FORGET, _COPY, _REMOVE):
            connection.execute(statement, (first, last))
            fail_point("inside_move_of_keys")
        if last == _END:
            oldest: Any = connection.execute(_OLDEST_RECENT).get
            mark = self._newest if oldest is None else min(self._newest, oldest)
            connection.execute(MARK, (str(mark),))
        self._moved_at = connection.total_changes()
        self._moved_to = None if last == _END else bytes(last)
