"""Sends events to a webhook again, inside the caller's transaction.

Rows are changed in the order that closing dead letters has: deliveries, then their dead letters.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import msgspec

from headrace.domain.events.event import Status
from headrace.domain.ids import first_sequence_at, lane_of_id, new_uuid, sequence_of_id, uuid_text
from headrace.store.contract.dead_letters import DeadLetterState
from headrace.store.contract.deliveries import DeliveryState
from headrace.store.contract.resends import (
    EXAMINED_MAX,
    SAMPLE_MAX,
    ResendCount,
    ResendFilter,
    ResentEvent,
    TooManyEventsError,
)
from headrace.store.deliveries.closings import ClosedBy, close_rows
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql, without_lane
from headrace.store.engine.numbers import RowNumbers
from headrace.store.engine.plans import BY_KEYS
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.events.parts import from_parts, part_of

#: Rows that one step of a count examines.
_COUNT_STEP = 10_000
#: Rows that one slice of a job examines, whether they match or not. More than one event has
#: deliveries, see `_failed`.
SLICE_EXAMINED_MAX = 1000

# An event in no part yet is not processed: its own deliveries are still to come.
RANGE = sql(
    "SELECT lane, sequence, event FROM events WHERE project_id = $1 AND sequence > $2 "
    "AND sequence <= $3 ORDER BY sequence LIMIT $4",
    sqlite=f"SELECT e.lane, e.sequence, e.event FROM {from_parts('events', 'e')} "
    f"WHERE p.part >= {part_of('?2')} AND p.part <= {part_of('?3')} AND e.project_id = ?1 "
    "AND e.sequence > ?2 AND e.sequence <= ?3 ORDER BY p.part, e.sequence LIMIT ?4",
)
FAILED = sql(
    "SELECT lane, sequence, subscriber_id FROM deliveries WHERE project_id = $1 AND state = 4 "
    "AND sequence > $2 AND sequence <= $3 ORDER BY sequence LIMIT $4"
)
_NAMED = "FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence) "
NAMES = without_lane(
    f"SELECT e.sequence, e.event, e.id, e.received_us {_NAMED}"
    "JOIN events e ON e.lane = k.lane AND e.sequence = k.sequence WHERE e.project_id = $3"
)
PROCESSED = without_lane(
    f"SELECT o.sequence {_NAMED}"
    "JOIN event_states o ON o.lane = k.lane AND o.sequence = k.sequence "
    f"WHERE o.project_id = $3 AND o.status + 0 = {Status.PROCESSED:d}"
)
# `IS TRUE`: found by their event, not by the index of a subscriber's deliveries.
DELIVERIES = sql(
    f"SELECT d.sequence, d.number, d.state {_NAMED}"
    "JOIN deliveries d ON d.lane = k.lane AND d.sequence = k.sequence "
    "WHERE (d.subscriber_id = $3) IS TRUE"
)
DEAD_LETTERS = sql(
    f"SELECT l.lane, l.number {_NAMED}"
    "JOIN dead_letters l ON l.lane = k.lane AND l.sequence = k.sequence "
    "WHERE l.state <= 0 AND (l.subscriber_id = $3) IS TRUE"
)
# `claims` keeps counting, as in a replay. The due times are in the order of receipt.
SEND_AGAIN = sql(
    "UPDATE deliveries SET state = 0, attempt = 0, crashes = 0, due_us = k.due_us, "
    "lease_until_us = 0, owner = NULL, finished_us = NULL, resend_number = $4, resent_us = $5 "
    "FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS k (lane, number, due_us) "
    "WHERE deliveries.lane = k.lane AND deliveries.number = k.number "
    "AND deliveries.state + 0 IN (3, 4) RETURNING deliveries.sequence"
)
_INSERT = sql(
    "INSERT INTO deliveries (lane, number, id, project_id, sequence, subscriber_id, due_us, "
    "created_us, resend_number, resent_us) "
    "SELECT n.lane, n.number, n.id, $6, n.sequence, $7, n.due_us, $8, $9, $8 "
    "FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[]) "
    "AS n (lane, number, id, sequence, due_us)"
)
_ENABLED = sql("SELECT enabled FROM subscribers WHERE id = $1 AND project_id = $2")
# Two jobs must not both find that an event has no delivery.
_LOCK = sql("SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE")

_SENT = (DeliveryState.DELIVERED, DeliveryState.DEAD_LETTERED)

#: Lane and sequence.
Place = tuple[int, int]


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """What one slice of a job did."""

    sent: int
    #: Sequence up to which all events are done.
    position: int


class ResendJob(msgspec.Struct, frozen=True, kw_only=True):
    """The row of a running job."""

    #: Number and id of its row.
    number: int
    id: str
    project_id: int
    wanted: ResendFilter
    position: int
    last_number: int
    actor: str


class _Found(msgspec.Struct, frozen=True):
    """Matching events in the order of receipt, and the sequence up to which all were examined."""

    places: list[Place]
    examined_to: int


async def count_events(
    database: Database, project_id: int, wanted: ResendFilter, now_us: int
) -> ResendCount:
    """Count what a job would send, in steps of one read each.

    Raises:
        TooManyEventsError: there are more than `EXAMINED_MAX`.
    """
    first, last = _bounds(wanted, now_us)
    places: list[Place] = []
    total, position = 0, first
    for _ in range(EXAMINED_MAX // _COUNT_STEP):
        if position >= last:
            break
        found = await _find(database, project_id, wanted, position, last)
        total += len(found.places)
        places += found.places[: SAMPLE_MAX - len(places)]
        position = found.examined_to
    if position < last:
        raise TooManyEventsError
    shown = await database.read(lambda tx: _named(tx, project_id, places)) if places else []
    sample = [ResentEvent(row[2], row[1], row[3]) for row in shown]
    return ResendCount(total=total, position=first, last_number=last, sample=sample)


async def missing_events(
    database: Database, project_id: int, event_ids: Sequence[str]
) -> frozenset[str]:
    """Which of the ids (UUID texts) no event of the project has."""
    places = [_place(each) for each in event_ids]
    rows = await database.read(lambda tx: _named(tx, project_id, places))
    return frozenset(event_ids) - {uuid_text(bytes(row[2])) for row in rows}


async def send_slice(
    tx: Transaction, numbers: RowNumbers, job: ResendJob, limit: int, now_us: int
) -> Slice | None:
    """Queue the next events of a job, at most `limit`; None when its webhook cannot receive.

    Left out: events that are not processed yet, and those whose delivery is waiting anyway.
    """
    await tx.run(BY_KEYS)
    await tx.rows(_LOCK, job.project_id)
    wanted = job.wanted
    if not await tx.value(_ENABLED, wanted.webhook_id, job.project_id):
        return None
    step = (job.position, job.last_number, SLICE_EXAMINED_MAX)
    found = await _examine(tx, job.project_id, wanted, step)
    taken = found.places[:limit]
    more = len(found.places) > limit
    position = taken[-1][1] if more else found.examined_to
    if not taken:
        return Slice(sent=0, position=position)
    # States first: an event that is processed has all its deliveries.
    keys = columns_of(sorted(taken), 2)
    processed = {row[0] for row in await tx.rows(PROCESSED, *keys, job.project_id)}
    deliveries = {row[0]: row[1:] for row in await tx.rows(DELIVERIES, *keys, wanted.webhook_id)}
    due_us = {place[1]: now_us + index for index, place in enumerate(taken)}
    allowed = _SENT[1:] if wanted.only_failed else _SENT
    again = [
        (lane, deliveries[sequence][0], due_us[sequence])
        for lane, sequence in taken
        if sequence in deliveries and deliveries[sequence][1] in allowed
    ]
    new = [
        (lane, numbers.number(), uuid_text(new_uuid()), sequence, due_us[sequence])
        for lane, sequence in taken
        if sequence in processed and sequence not in deliveries and not wanted.only_failed
    ]
    sent = await _queue_again(tx, job, again, taken, now_us) if again else 0
    if new:
        fixed = (job.project_id, wanted.webhook_id, now_us, job.number)
        await tx.run(_INSERT, *columns_of(new, 5), *fixed)
    return Slice(sent=sent + len(new), position=position)


async def _queue_again(
    tx: Transaction,
    job: ResendJob,
    again: Sequence[tuple[int, int, int]],
    taken: Sequence[Place],
    now_us: int,
) -> int:
    rows = await tx.rows(SEND_AGAIN, *columns_of(sorted(again), 3), job.number, now_us)
    sent = {row[0] for row in rows}
    places = sorted(place for place in taken if place[1] in sent)
    if places:
        named = columns_of(places, 2)
        open_rows = await tx.rows(DEAD_LETTERS, *named, job.wanted.webhook_id)
        by = ClosedBy(now_us=now_us, actor=job.actor, reason=f"replay {job.id}")
        keys = [(lane, number) for lane, number in open_rows]
        await close_rows(tx, keys, DeadLetterState.REPLAYED, by)
    return len(sent)


def _bounds(wanted: ResendFilter, now_us: int) -> tuple[int, int]:
    """Before the first sequence, and the last one."""
    if wanted.event_ids:
        sequences = [_place(each)[1] for each in wanted.event_ids]
        return min(sequences) - 1, max(sequences)
    to_us = now_us if wanted.to_us is None else min(wanted.to_us, now_us)
    first = first_sequence_at(wanted.from_us or 0) - 1
    return first, max(first, first_sequence_at(to_us) - 1)


async def _find(
    database: Database, project_id: int, wanted: ResendFilter, position: int, last: int
) -> _Found:
    step = (position, last, _COUNT_STEP)
    return await database.read(lambda tx: _examine(tx, project_id, wanted, step))


async def _examine(
    tx: Transaction, project_id: int, wanted: ResendFilter, step: tuple[int, int, int]
) -> _Found:
    """The events of one step that match.

    Args:
        step: sequence to begin after, last sequence, and rows to examine at most.
    """
    if wanted.event_ids:
        return await _chosen(tx, project_id, wanted, step)
    if wanted.only_failed:
        return await _failed(tx, project_id, wanted, step)
    rows = await tx.rows(RANGE, project_id, *step)
    places = [(row[0], row[1]) for row in rows if wanted.wants(row[2])]
    return _Found(places, _examined_to(rows, step))


async def _chosen(
    tx: Transaction, project_id: int, wanted: ResendFilter, step: tuple[int, int, int]
) -> _Found:
    position, last, limit = step
    left = [_place(each) for each in wanted.event_ids]
    places = sorted((each for each in left if each[1] > position), key=_sequence)[:limit]
    found = await _present(tx, project_id, wanted, places)
    if found and wanted.only_failed:
        rows = await tx.rows(DELIVERIES, *columns_of(sorted(found), 2), wanted.webhook_id)
        failed = {row[0] for row in rows if row[2] == DeliveryState.DEAD_LETTERED}
        found = [place for place in found if place[1] in failed]
    return _Found(found, places[-1][1] if len(places) == limit else last)


async def _failed(
    tx: Transaction, project_id: int, wanted: ResendFilter, step: tuple[int, int, int]
) -> _Found:
    rows = await tx.rows(FAILED, project_id, *step)
    examined_to = _examined_to(rows, step)
    if len(rows) == step[2]:
        # More deliveries of the last event may follow; it is examined by the next step.
        examined_to -= 1
    places = [
        (row[0], row[1]) for row in rows if row[2] == wanted.webhook_id and row[1] <= examined_to
    ]
    return _Found(await _present(tx, project_id, wanted, places), examined_to)


async def _present(
    tx: Transaction, project_id: int, wanted: ResendFilter, places: list[Place]
) -> list[Place]:
    """Those whose event is still there and matches."""
    rows = await _named(tx, project_id, places)
    matching = {row[0] for row in rows if wanted.wants(row[1])}
    return [place for place in places if place[1] in matching]


async def _named(tx: Transaction, project_id: int, places: Sequence[Place]) -> list[Row]:
    """Sequence, name, id and time of receipt of events, in the order of receipt."""
    if not places:
        return []
    rows = await tx.rows(NAMES, *columns_of(sorted(places), 2), project_id)
    return sorted(rows, key=lambda row: int(row[0]))


def _examined_to(rows: Sequence[Row], step: tuple[int, int, int]) -> int:
    _, last, limit = step
    return int(rows[-1][1]) if len(rows) == limit else last


def _place(event_id: str) -> Place:
    raw = uuid.UUID(event_id).bytes
    return lane_of_id(raw), sequence_of_id(raw)


def _sequence(place: Place) -> int:
    return place[1]
