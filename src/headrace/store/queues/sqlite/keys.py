"""Idempotency keys in two levels: a small table for new ones, and a large one.

A key is stored by its hash, so it lands anywhere: written straight into a large table, each would
change a page of its own. The small table stays in memory and moves to the large one in slices of
neighbouring hashes, so that a page of the large table takes several keys at a time. Keys of removed
events are collected in the same way (`expired_keys`) and leave the large table with the same
slices. A key is in one of the two tables, and counts as long as its event is stored.
"""

from __future__ import annotations

from typing import Any

import apsw

from headrace.faults import fail_point

#: New and expired keys from which on they are moved.
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

_COUNT = "SELECT (SELECT count(*) FROM recent_keys) + (SELECT count(*) FROM expired_keys)"
# The end of a slice; hashes have 16 bytes, so the last one of all is below the 17 bytes.
_NTH = "coalesce((SELECT hash FROM {} WHERE hash > ?1 ORDER BY hash LIMIT 1 OFFSET ?3 - 1), ?2)"
_LAST_OF_SLICE = f"SELECT min({_NTH.format('recent_keys')}, {_NTH.format('expired_keys')})"
_END = b"\xff" * 17
# Before new keys are copied: one that came again since belongs to a later event.
_EXPIRE = (
    "DELETE FROM sorted_keys WHERE hash IN "
    "(SELECT hash FROM expired_keys WHERE hash > ?1 AND hash <= ?2)"
)
_FORGET = "DELETE FROM expired_keys WHERE hash > ?1 AND hash <= ?2"
# A key that is there already is of an event that is gone.
_COPY = (
    "INSERT OR REPLACE INTO sorted_keys (hash, sequence) "
    "SELECT hash, sequence FROM recent_keys WHERE hash > ?1 AND hash <= ?2 ORDER BY hash"
)
_REMOVE = "DELETE FROM recent_keys WHERE hash > ?1 AND hash <= ?2"


class Keys:
    """Moves keys to and from the large table, a slice at a time. For the process that accepts."""

    def __init__(self, slice_keys: int = SLICE) -> None:
        self._slice_keys = slice_keys
        #: Rows that the connection had changed at the last count, and at the last slice.
        self._counted_at: int | None = None
        self._moved_at = 0
        #: Hash up to which a pass has moved; None between passes.
        self._moved_to: bytes | None = None

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
        return True

    def move(self, connection: apsw.Connection) -> None:
        """Move a slice; inside a transaction."""
        first: Any = self._moved_to
        last: Any = connection.execute(_LAST_OF_SLICE, (first, _END, self._slice_keys)).get
        for statement in (_EXPIRE, _FORGET, _COPY, _REMOVE):
            connection.execute(statement, (first, last))
            fail_point("inside_move_of_keys")
        self._moved_at = connection.total_changes()
        self._moved_to = None if last == _END else bytes(last)
