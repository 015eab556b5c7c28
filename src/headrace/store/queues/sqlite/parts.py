"""Parts of the events: ranges in the order of receipt, by which they are indexed.

Every index of events begins with the part, so that new events touch the pages of the newest part
only, however many there are. A part begins once enough events have been accepted since the last.
"""

from __future__ import annotations

import apsw

from headrace.faults import fail_point

#: Events of a part. A smaller one keeps fewer pages warm while events are indexed; a larger one
#: takes fewer steps in a list that finds little: one for each part.
PART_EVENTS = 65_536
#: The part of the row that an UPDATE of `events` writes. It stays what it is once it is set.
PART_OF_EVENT = (
    "coalesce(part, (SELECT p.part FROM event_parts p WHERE p.first_sequence <= events.sequence "
    "ORDER BY p.first_sequence DESC LIMIT 1))"
)
_ACCEPTED = (
    "SELECT count(*) FROM (SELECT 1 FROM events WHERE sequence >= "
    f"(SELECT max(first_sequence) FROM event_parts) LIMIT {PART_EVENTS})"
)
# Above all that is stored: what has its part already keeps it.
_BEGIN = (
    "INSERT INTO event_parts (part, first_sequence) "
    "SELECT (SELECT max(part) FROM event_parts) + 1, (SELECT max(sequence) FROM events) + 1 "
    "WHERE EXISTS (SELECT 1 FROM events)"
)
# The newest two stay: the first of them still takes events that are being committed.
_REMOVE_EMPTY = """
DELETE FROM event_parts WHERE part < (SELECT max(part) - 1 FROM event_parts) AND NOT EXISTS (
    SELECT 1 FROM events e WHERE e.sequence >= event_parts.first_sequence AND e.sequence < (
        SELECT min(n.first_sequence) FROM event_parts n
        WHERE n.first_sequence > event_parts.first_sequence
    )
)
"""


class Parts:
    """Begins a part when the newest is full. For the one process that accepts."""

    def __init__(self) -> None:
        self._events: int | None = None

    def is_full(self, connection: apsw.Connection, accepted: int) -> bool:
        """Count accepted events; whether `begin` is due."""
        if self._events is None:
            self._events = int(connection.execute(_ACCEPTED).get)
        else:
            self._events += accepted
        return self._events >= PART_EVENTS

    def begin(self, connection: apsw.Connection) -> None:
        """Let events accepted from now on be of the next part; inside a transaction.

        Parts whose events are all gone go with it: each costs a list one step.
        """
        connection.execute(_BEGIN)
        fail_point("inside_begin_of_part")
        connection.execute(_REMOVE_EMPTY)
        self._events = 0
