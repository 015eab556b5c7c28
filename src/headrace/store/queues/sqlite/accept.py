"""Write a batch of accepted events: one statement, which is its own transaction."""

from __future__ import annotations

from collections.abc import Sequence
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

_EVENT_COLUMNS = (
    "sequence, id, project_id, lane, event, contact_id, external_id, email, email_original, "
    "idempotency_hash, idempotency_key, occurred_us, received_us, source, api_key_id, request_id, "
    "payload"
)
# Only the idempotency key may skip a row silently; anything else is an error.
_INSERT_EVENTS = BulkInsert(
    f"INSERT INTO events ({_EVENT_COLUMNS})",
    _EVENT_COLUMNS.count(",") + 1,
    " ON CONFLICT (idempotency_hash) WHERE idempotency_hash IS NOT NULL DO NOTHING",
)
#: Batch sizes that one statement can insert; such a batch needs no BEGIN and COMMIT.
EXACT_SIZES = _INSERT_EVENTS.sizes
_FIND_FIRST = (
    "SELECT sequence, id, event, contact_id, external_id, email, occurred_us, received_us, "
    "payload, resolved_contact_id FROM events WHERE idempotency_hash = ?"
)
_RELEASE_KEY = "UPDATE events SET idempotency_hash = NULL WHERE sequence = ?"
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

    The key of an event that is being erased is free: an event with it is inserted here.
    """
    repeats = []
    subjects = [read_subject(row[0]) for row in connection.execute(_RUNNING_ERASURES)]
    for pending in batch:
        event = pending.event
        if event.idempotency_hash is None:
            continue
        # The row exists: the insert found it or made it.
        first: Any = connection.execute(_FIND_FIRST, (event.idempotency_hash,)).fetchone()
        if first[0] != event.sequence and _is_erased(subjects, event.project_id, first):
            connection.execute(_RELEASE_KEY, (first[0],))
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


EVENT_INSERTS = EventInserts(EXACT_SIZES, insert_batch, settle_repeats)
