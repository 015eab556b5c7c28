"""Write a batch of accepted events: one statement, which is its own transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apsw
import msgspec

from headrace.domain.events.canonical import same_content
from headrace.domain.events.event import FirstCopy, NewEvent
from headrace.store.contract.commits import Pending
from headrace.store.contract.events import REPEATS_KEPT
from headrace.store.engine.sqlite.bulk import BulkInsert
from headrace.store.engine.sqlite.writer import EventInserts
from headrace.store.privacy.rows import StoredIdentity, Subject, read_subject
from headrace.store.queues.sqlite.keys import IDLE_SLICES, Keys
from headrace.store.queues.sqlite.parts import Parts

_EVENT_COLUMNS = (
    "sequence, id, project_id, lane, event, contact_id, external_id, email, email_original, "
    "idempotency_hash, idempotency_key, occurred_us, received_us, source, api_key_id, request_id, "
    "payload"
)
# A trigger skips the rows whose idempotency key is taken; anything else is an error.
_INSERT_EVENTS = BulkInsert(
    f"INSERT INTO events ({_EVENT_COLUMNS})",
    _EVENT_COLUMNS.count(",") + 1,
)
#: Batch sizes that one statement can insert; such a batch needs no BEGIN and COMMIT.
EXACT_SIZES = _INSERT_EVENTS.sizes
_FIND_FIRST = (
    "SELECT e.sequence, e.id, e.event, e.contact_id, e.external_id, e.email, e.occurred_us, "
    "e.received_us, e.payload, e.resolved_contact_id FROM (SELECT sequence FROM temp.recent_keys "
    "WHERE hash = ?1 UNION ALL SELECT sequence FROM sorted_keys WHERE hash = ?1) k "
    "CROSS JOIN events e ON e.sequence = k.sequence LIMIT 1"
)
_FORGET_HASH = "UPDATE events SET idempotency_hash = NULL WHERE sequence = ?"
_RELEASE_KEY = (
    "DELETE FROM temp.recent_keys WHERE hash = ?",
    "DELETE FROM sorted_keys WHERE hash = ?",
)
_RUNNING_ERASURES = (
    "SELECT subject FROM erasures INDEXED BY erasures_unfinished "
    "WHERE status <> 'done' AND status = 'running'"
)
_ADD_REPEAT = (
    "INSERT INTO duplicate_requests (sequence, number, at_us, api_key_id, request_id, mismatch) "
    "SELECT ?1, count(*) + 1, ?2, ?3, ?4, ?5 FROM duplicate_requests WHERE sequence = ?1 "
    f"HAVING count(*) < {REPEATS_KEPT}"
)

_as_tuple = msgspec.structs.astuple


def insert_batch(connection: apsw.Connection, batch: Sequence[Pending]) -> bool:
    """Insert what is new; durable when this returns, unless a transaction is open around it.

    Returns:
        Whether every event was new, so that every outcome is set. If not, `settle_repeats` finds
        which were.
    """
    for pending in batch:
        pending.outcome = None
    rows = [_as_tuple(pending.event) for pending in batch]
    _INSERT_EVENTS.run(connection, rows)
    # Rows of the statement itself, without those that its trigger inserts.
    return connection.changes() == len(rows)


def settle_repeats(connection: apsw.Connection, batch: Sequence[Pending]) -> list[Pending]:
    """Set the outcome of every duplicate in a committed batch; returns the duplicates.

    A key whose event was removed since the insert, or is being erased, is free: an event with it is
    inserted here.
    """
    repeats = []
    subjects = [read_subject(row[0]) for row in connection.execute(_RUNNING_ERASURES)]
    for pending in batch:
        event = pending.event
        if event.idempotency_hash is None:
            continue
        # The insert found the row or made it; retention may have removed it since.
        first: Any = connection.execute(_FIND_FIRST, (event.idempotency_hash,)).fetchone()
        if first is None:
            insert_batch(connection, [pending])
        elif first[0] != event.sequence and _is_erased(subjects, event.project_id, first):
            connection.execute(_FORGET_HASH, (first[0],))
            for release in _RELEASE_KEY:
                connection.execute(release, (event.idempotency_hash,))
            insert_batch(connection, [pending])
        elif first[0] != event.sequence:
            mismatch = not same_content(event, event.received_us, first[2:9])
            pending.outcome = FirstCopy(first[1], first[2], first[6], mismatch)
            repeats.append((pending, first[0]))
    for pending, sequence in repeats:
        _note_repeat(connection, pending.event, sequence, pending.outcome)
    return [pending for pending, _ in repeats]


def _is_erased(subjects: Sequence[Subject], project_id: int, first: Sequence[Any]) -> bool:
    identity = StoredIdentity(first[0], project_id, *first[3:6])
    return any(subject.means(identity, first[9]) for subject in subjects)


def _note_repeat(
    connection: apsw.Connection, event: NewEvent, sequence: int, outcome: object
) -> None:
    mismatch = isinstance(outcome, FirstCopy) and outcome.mismatch
    values = (sequence, event.received_us, event.api_key_id, event.request_id, mismatch)
    connection.execute(_ADD_REPEAT, values)


def event_inserts() -> EventInserts:
    """How the one process that accepts stores events."""
    parts, keys = Parts(), Keys()

    def upkeep(
        connection: apsw.Connection, committed: int
    ) -> Iterator[Callable[[apsw.Connection], None]]:
        if parts.is_full(connection, committed):
            yield parts.begin
        for _ in range(1 if committed else IDLE_SLICES):
            if not keys.is_due(connection, idle=not committed):
                return
            yield keys.move

    return EventInserts(EXACT_SIZES, insert_batch, settle_repeats, upkeep)
