"""Write a batch of accepted events: one transaction, in which the keys decide what is new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.domain.events.canonical import same_content
from headrace.domain.events.event import FirstCopy, NewEvent
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreError
from headrace.store.contract.events import REPEATS_KEPT
from headrace.store.engine.columns import columns_of
from headrace.store.engine.postgres.database import Connection, transaction
from headrace.store.privacy.rows import StoredIdentity, read_subject
from headrace.store.queues.postgres.keys import hold_keys, insert_keys, release_keys

EVENT_COLUMNS = {
    "sequence": "bigint",
    "id": "uuid",
    "project_id": "integer",
    "lane": "smallint",
    "event": "text",
    "contact_id": "text",
    "external_id": "text",
    "email": "text",
    "email_original": "text",
    "idempotency_key": "text",
    "occurred_us": "bigint",
    "received_us": "bigint",
    "source": "smallint",
    "api_key_id": "text",
    "request_id": "text",
    "payload": "text",
}
INSERT_EVENTS = (
    f"INSERT INTO events ({', '.join(EVENT_COLUMNS)}) SELECT * FROM unnest("
    + ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(EVENT_COLUMNS.values(), 1))
    + ")"
)
# One time for the whole batch, by the clock of the database; within it the sequence decides. Never
# earlier than that of the previous batch: the clock of a database can be set back, or be another
# machine's after a failover.
INSERT_WORK = (
    "INSERT INTO event_queue (lane, sequence, project_id, queued_us) "
    "SELECT *, greatest((extract(epoch FROM statement_timestamp()) * 1000000)::bigint, $4) "
    "FROM unnest($1::smallint[], $2::bigint[], $3::integer[]) RETURNING queued_us"
)
FIND_FIRST = (
    "SELECT e.lane, e.sequence, e.id, e.event, e.contact_id, e.external_id, e.email, "
    "e.occurred_us, e.received_us, e.payload, (SELECT count(*) FROM duplicate_requests r "
    "WHERE r.lane = e.lane AND r.sequence = e.sequence) "
    "FROM unnest($1::smallint[], $2::bigint[]) AS first (lane, sequence) "
    "JOIN events e ON e.lane = first.lane AND e.sequence = first.sequence"
)
FIND_THERE = (
    "SELECT e.lane, e.sequence FROM unnest($1::smallint[], $2::bigint[]) AS first (lane, sequence) "
    "JOIN events e ON e.lane = first.lane AND e.sequence = first.sequence"
)
RUNNING_ERASURES = "SELECT subject FROM erasures WHERE status <> 'done' AND status = 'running'"
FIND_IDENTITY = (
    "SELECT e.lane, e.sequence, e.project_id, e.contact_id, e.external_id, e.email, o.contact_id "
    "FROM unnest($1::smallint[], $2::bigint[]) AS first (lane, sequence) "
    "JOIN events e ON e.lane = first.lane AND e.sequence = first.sequence "
    "LEFT JOIN event_states o ON o.lane = e.lane AND o.sequence = e.sequence"
)
INSERT_REPEATS = (
    "INSERT INTO duplicate_requests (lane, sequence, number, at_us, api_key_id, "
    "request_id, mismatch) "
    "SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::integer[], $4::bigint[], $5::text[], "
    "$6::text[], $7::boolean[])"
)


class FirstRemovedError(StoreError):
    """The first copy was removed while its duplicate came in; retry the batch."""


async def insert_batch(
    connection: Connection, batch: Sequence[Pending], queued_us: int
) -> tuple[list[FirstCopy | None], int]:
    """Insert what is new and look up the first copies of the rest; the caller commits.

    Args:
        queued_us: what this returned for the last batch that was committed, 0 for the first.

    Returns:
        The outcome of each, in the same order, and `queued_us` of what is new; true once the
        transaction has committed.

    Raises:
        FirstRemovedError: see there.
    """
    events = [pending.event for pending in batch]
    new = await insert_keys(connection, events)
    if len(new) < len(events):
        new = await _with_keys_of_removed(connection, events, new)
    if len(new) < len(events):
        new = await _with_keys_of_erased(connection, events, new)
    await connection.execute(INSERT_EVENTS, *_event_columns(new))
    work = columns_of(((event.lane, event.sequence, event.project_id) for event in new), 3)
    queued = await connection.fetch(INSERT_WORK, *work, queued_us)
    if queued:
        queued_us = queued[0][0]
    if len(new) == len(events):
        return [None] * len(events), queued_us
    stored = {event.sequence for event in new}
    repeats = [event for event in events if event.sequence not in stored]
    copies = await _note_repeats(connection, repeats)
    return [copies.get(event.sequence) for event in events], queued_us


async def _with_keys_of_removed(
    connection: Connection, events: list[NewEvent], new: list[NewEvent]
) -> list[NewEvent]:
    """Events that are new when keys count only as long as their event is there; in the same order.

    Retention drops events by the partition and removes their keys later.
    """
    stored = {event.sequence for event in new}
    repeats = [event for event in events if event.sequence not in stored]
    hashes = sorted({event.idempotency_hash for event in repeats if event.idempotency_hash})
    held = await hold_keys(connection, hashes)
    places = sorted({(row[1], row[2]) for row in held})
    there = {tuple(row) for row in await connection.fetch(FIND_THERE, *columns_of(places, 2))}
    # In this batch, the first copy of a key is not there yet.
    free = {row[0] for row in held if row[2] not in stored and (row[1], row[2]) not in there}
    if not free:
        return new
    await release_keys(connection, free)
    again = [event for event in repeats if event.idempotency_hash in free]
    stored |= {event.sequence for event in await insert_keys(connection, again)}
    return [event for event in events if event.sequence in stored]


async def _with_keys_of_erased(
    connection: Connection, events: list[NewEvent], new: list[NewEvent]
) -> list[NewEvent]:
    """Events that are new when keys of events under erasure count as free; in the same order."""
    rows = await connection.fetch(RUNNING_ERASURES)
    subjects = [read_subject(row[0]) for row in rows]
    stored = {event.sequence for event in new}
    repeats = [event for event in events if event.sequence not in stored]
    # A key belongs to one project, which the hash covers.
    projects = {event.idempotency_hash: event.project_id for event in repeats}
    wanted = {subject.project_id for subject in subjects}
    hashes = sorted(key for key, project in projects.items() if key and project in wanted)
    if not hashes:
        return new
    held = await hold_keys(connection, hashes)
    places = {row[0]: (row[1], row[2]) for row in held}
    rows = await connection.fetch(FIND_IDENTITY, *columns_of(sorted(set(places.values())), 2))
    found = {(row[0], row[1]): (StoredIdentity(row[1], *row[2:6]), row[6]) for row in rows}
    erased = {
        hashed
        for hashed, place in places.items()
        if place in found and any(subject.means(*found[place]) for subject in subjects)
    }
    if not erased:
        return new
    # The event that is being erased keeps its text, but is no longer found by its key.
    await release_keys(connection, erased)
    again = [event for event in repeats if event.idempotency_hash in erased]
    stored |= {event.sequence for event in await insert_keys(connection, again)}
    return [event for event in events if event.sequence in stored]


def _event_columns(events: list[NewEvent]) -> list[list[Any]]:
    return [[getattr(event, name) for event in events] for name in EVENT_COLUMNS]


async def _note_repeats(connection: Connection, repeats: list[NewEvent]) -> dict[int, FirstCopy]:
    """The outcome of each duplicate, by its sequence."""
    hashes = sorted({event.idempotency_hash for event in repeats if event.idempotency_hash})
    held = await hold_keys(connection, hashes)
    places = {row[0]: (row[1], row[2]) for row in held}
    asked = sorted(set(places.values()))
    rows = await connection.fetch(FIND_FIRST, *columns_of(asked, 2))
    found = {(row[0], row[1]): row for row in rows}
    if len(places) < len(hashes) or len(found) < len(asked):
        raise FirstRemovedError("The first copy of a repeated event was removed.")
    counts = {place: row[10] for place, row in found.items()}
    copies: dict[int, FirstCopy] = {}
    notes = []
    for event in repeats:
        assert event.idempotency_hash is not None
        place = places[event.idempotency_hash]
        first = found[place]
        mismatch = not same_content(event, event.received_us, tuple(first[3:10]))
        copies[event.sequence] = FirstCopy(first[2], first[3], first[7], mismatch)
        counts[place] += 1
        if counts[place] <= REPEATS_KEPT:
            note = (event.received_us, event.api_key_id, event.request_id, mismatch)
            notes.append((*place, counts[place], *note))
    if notes:
        await connection.execute(INSERT_REPEATS, *columns_of(sorted(notes), 7))
    return copies


async def try_insert(connection: Connection) -> None:
    """Insert an event and roll it back, in a transaction that has something to commit.

    So the commit waits for the log and for synchronous standbys, and the insert for locks on the
    tables, as those of real events do.
    """
    try:
        async with transaction(connection):
            await connection.execute(INSERT_EVENTS, *_event_columns([_TRIAL]))
            raise _RolledBackError
    except _RolledBackError:
        return


class _RolledBackError(Exception):
    """Rolls the trial back."""


#: Belongs to no project; its payload takes a page of its own.
_TRIAL = NewEvent(
    0, bytes(16), 0, 0, "trial", None, None, None, None, None, None, 0, 0, 0, None, None, "0" * 2000
)
