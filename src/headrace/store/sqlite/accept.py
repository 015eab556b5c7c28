"""Write a batch of accepted events in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import msgspec

from headrace.domain.canonical import same_content
from headrace.domain.events import FirstCopy, NewEvent
from headrace.store.contract import REPEATS_KEPT, Pending
from headrace.store.sqlite.bulk import BulkInsert

_EVENT_COLUMNS = (
    "sequence, id, project_id, lane, event, contact_id, external_id, email, email_original, "
    "idempotency_hash, idempotency_key, occurred_us, received_us, source, api_key_id, request_id, "
    "payload"
)
_EVENT_WIDTH = _EVENT_COLUMNS.count(",") + 1
# Only the idempotency key may turn a row away silently; anything else is an error.
_CONFLICT = " ON CONFLICT (idempotency_hash) WHERE idempotency_hash IS NOT NULL DO NOTHING"
_INSERT_EVENTS = BulkInsert(f"INSERT INTO events ({_EVENT_COLUMNS})", _EVENT_WIDTH, _CONFLICT)
_INSERT_WORK = BulkInsert("INSERT INTO work (project_id, sequence, lane, due_us)", 4)

_FIND_FIRST = (
    "SELECT sequence, id, event, contact_id, external_id, email, occurred_us, received_us, payload "
    "FROM events WHERE idempotency_hash = ?"
)
_ADD_REPEAT = (
    "INSERT INTO key_repeats (sequence, number, at_us, api_key_id, request_id, mismatch) "  # noqa: S608
    "SELECT ?1, count(*) + 1, ?2, ?3, ?4, ?5 FROM key_repeats WHERE sequence = ?1 "
    f"HAVING count(*) < {REPEATS_KEPT}"
)

_as_tuple = msgspec.structs.astuple


def insert_batch(connection: apsw.Connection, batch: Sequence[Pending]) -> None:
    """Insert what is new and set every outcome; runs inside the caller's transaction.

    The outcomes hold only once that transaction is committed.
    """
    events = [pending.event for pending in batch]
    before = connection.total_changes()
    _INSERT_EVENTS.run(connection, map(_as_tuple, events), len(events))
    if connection.total_changes() - before == len(events):
        for pending in batch:
            pending.outcome = None
    else:
        events = list(_settle_repeats(connection, batch))
    work = ((e.project_id, e.sequence, e.lane, e.received_us) for e in events)
    _INSERT_WORK.run(connection, work, len(events))


def _settle_repeats(connection: apsw.Connection, batch: Sequence[Pending]) -> Iterator[NewEvent]:
    """Tell new events from repeats; yields the new ones."""
    for pending in batch:
        event = pending.event
        if event.idempotency_hash is None:
            pending.outcome = None
            yield event
            continue
        # The row is there: it is what the insert above met, or the one it made.
        first: Any = connection.execute(_FIND_FIRST, (event.idempotency_hash,)).fetchone()
        if first[0] == event.sequence:
            pending.outcome = None
            yield event
            continue
        mismatch = not same_content(event, event.received_us, first[2:])
        pending.outcome = FirstCopy(first[1], first[2], first[6], mismatch)
        connection.execute(
            _ADD_REPEAT,
            (first[0], event.received_us, event.api_key_id, event.request_id, mismatch),
        )
