"""SQL of what closes a dead letter. All inside the caller's transaction.

Each move is a conditional UPDATE and its row count: of two that race, one changes something.
"""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from headrace.domain.events import Status
from headrace.store.contract_dead_letters import Closing, DeadLetterKind, DeadLetterState

_FIND = (
    "SELECT number, project_id, sequence, kind, subscriber_id, delivery_number, state "
    "FROM dead_letters WHERE id = ? AND project_id = ?"
)
_CLOSE = (
    "UPDATE dead_letters SET state = ?, closed_us = ?, closed_by = ?, reason = ? "
    "WHERE number = ? AND state = 0"
)
_ACCEPT_AGAIN = (
    f"UPDATE events SET status = {Status.ACCEPTED:d}, attempts = 0 "  # noqa: S608
    f"WHERE sequence = ? AND status = {Status.DEAD_LETTERED:d} RETURNING project_id, lane"
)
# In line already it is what the replay wants; an error would hold up the replay of many for ever.
_WORK = (
    "INSERT INTO work (project_id, sequence, lane, due_us, attempt, crashes) "
    "VALUES (?, ?, ?, ?, 0, 0) ON CONFLICT DO NOTHING"
)
# `claims` goes on counting: it fences whoever was paused since before the replay.
_DELIVER_AGAIN = (
    "UPDATE deliveries SET state = 0, attempt = 0, crashes = 0, due_us = ?, lease_until_us = 0, "
    "owner = NULL, finished_us = NULL WHERE number = ? AND state = 4"
)
_SUBSCRIBER = "SELECT enabled FROM subscribers WHERE id = ?"


class DeadRow(msgspec.Struct, frozen=True, gc=False):
    """A dead letter as far as closing it needs."""

    number: int
    project_id: int
    sequence: int
    kind: str
    subscriber_id: str | None
    delivery_number: int | None
    state: int


def find_row(connection: apsw.Connection, project_id: int, dead_letter_id: str) -> DeadRow | None:
    """A dead letter of a project by its id."""
    row: Any = connection.execute(_FIND, (dead_letter_id, project_id)).fetchone()
    return None if row is None else DeadRow(*row)


def replay_row(
    connection: apsw.Connection, row: DeadRow, now_us: int, *, actor: str, reason: str | None
) -> Closing:
    """Close as replayed and put back what failed; both or neither."""
    if row.state != DeadLetterState.OPEN:
        return Closing.CLOSED_BEFORE
    if row.kind == DeadLetterKind.PROCESSING:
        closing = _process_again(connection, row, now_us)
    else:
        closing = _deliver_again(connection, row, now_us)
    if closing is Closing.DONE:
        values = (DeadLetterState.REPLAYED.value, now_us, actor, reason, row.number)
        connection.execute(_CLOSE, values)
    return closing


def discard_row(
    connection: apsw.Connection, row: DeadRow, now_us: int, *, actor: str, reason: str
) -> Closing:
    """Close as discarded."""
    values = (DeadLetterState.DISCARDED.value, now_us, actor, reason, row.number)
    connection.execute(_CLOSE, values)
    return Closing.DONE if connection.changes() == 1 else Closing.CLOSED_BEFORE


def _process_again(connection: apsw.Connection, row: DeadRow, now_us: int) -> Closing:
    event: Any = connection.execute(_ACCEPT_AGAIN, (row.sequence,)).fetchone()
    if event is None:
        return Closing.NOTHING_TO_REPLAY
    project_id, lane = event
    connection.execute(_WORK, (project_id, row.sequence, lane, now_us))
    return Closing.DONE


def _deliver_again(connection: apsw.Connection, row: DeadRow, now_us: int) -> Closing:
    subscriber: Any = connection.execute(_SUBSCRIBER, (row.subscriber_id,)).fetchone()
    if subscriber is None:
        return Closing.SUBSCRIBER_DELETED
    if not subscriber[0]:
        return Closing.SUBSCRIBER_DISABLED
    connection.execute(_DELIVER_AGAIN, (now_us, row.delivery_number))
    return Closing.DONE if connection.changes() == 1 else Closing.NOTHING_TO_REPLAY
