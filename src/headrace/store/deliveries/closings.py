"""Closes dead letters, inside the caller's transaction.

Each step is a conditional UPDATE and its row count: of two that race, one changes something. Rows
are changed in a fixed order: the failed event or delivery, then its dead letter.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from headrace.domain.events.event import Status
from headrace.domain.ids import lane_of_id, sequence_of_id
from headrace.store.automations.dead_letters import apply_again, retry_runs
from headrace.store.contract.dead_letters import Closing, DeadLetterKind, DeadLetterState
from headrace.store.contract.errors import StoreBusyError
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql, to_sqlite
from headrace.store.engine.plans import BY_KEYS
from headrace.store.engine.transaction import Transaction

T = TypeVar("T")

#: Attempts at a transaction when another closes one of its dead letters.
_TRIES_MAX = 10

ROW_COLUMNS = (
    "lane, number, project_id, sequence, kind, subscriber_id, delivery_number, state, run_id"
)
FIND = sql(
    f"SELECT {ROW_COLUMNS} FROM dead_letters "
    "WHERE lane = $1 AND number = $2 AND id = $3 AND project_id = $4"
)
# Rows are found by their key: `+ 0` rules out partial indexes, see
# store/queues/postgres/delivery_claims.py.
_NAMED = "FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, number)"
CLOSE = sql(
    f"UPDATE dead_letters SET state = $3, closed_us = $4, closed_by = $5, reason = $6 {_NAMED} "
    "WHERE dead_letters.lane = k.lane AND dead_letters.number = k.number "
    "AND dead_letters.state + 0 = 0 RETURNING dead_letters.number"
)
_ACCEPT_AGAIN = (
    f"UPDATE {{table}} SET status = {Status.ACCEPTED:d}, attempts = 0 {_NAMED} "
    "WHERE {table}.lane = k.lane AND {table}.sequence = k.number "
    f"AND {{table}}.status + 0 = {Status.DEAD_LETTERED:d} "
    "RETURNING {table}.lane, {table}.sequence, {table}.project_id"
)
# SQLite keeps the state of an event in the event's own row.
ACCEPT_AGAIN = sql(
    _ACCEPT_AGAIN.format(table="event_states"),
    sqlite=to_sqlite(_ACCEPT_AGAIN.format(table="events")),
)
# An event already in the queue is what the replay wants; an error would stop a replay of many.
_WORK = (
    "INSERT INTO event_queue (lane, sequence, project_id, {time}) "
    "SELECT n.lane, n.sequence, n.project_id, $4 "
    "FROM unnest($1::smallint[], $2::bigint[], $3::integer[]) AS n (lane, sequence, project_id) "
    "WHERE true ON CONFLICT DO NOTHING"
)
WORK = sql(_WORK.format(time="queued_us"), sqlite=to_sqlite(_WORK.format(time="due_us")))
# `claims` keeps counting: it fences a worker that was paused since before the replay.
DELIVER_AGAIN = sql(
    "UPDATE deliveries SET state = 0, attempt = 0, crashes = 0, due_us = $3, "
    f"lease_until_us = 0, owner = NULL, finished_us = NULL {_NAMED} "
    "WHERE deliveries.lane = k.lane AND deliveries.number = k.number AND deliveries.state + 0 = 4 "
    "RETURNING deliveries.lane, deliveries.number"
)
_SUBSCRIBERS = sql("SELECT id, enabled FROM subscribers WHERE id = ANY($1::text[])")

#: Lane and number, or lane and sequence.
Key = tuple[int, int]


class ClosedMeanwhileError(Exception):
    """A dead letter was closed after it was read; the transaction must not commit."""


class DeadRow(msgspec.Struct, frozen=True, gc=False):
    """The fields of a dead letter that closing needs."""

    lane: int
    number: int
    project_id: int
    sequence: int
    kind: str
    subscriber_id: str | None
    delivery_number: int | None
    state: int
    run_id: str | None

    @property
    def key(self) -> Key:
        """Its key in the table."""
        return self.lane, self.number


class ClosedBy(msgspec.Struct, frozen=True, kw_only=True):
    """Who closes dead letters, when and why."""

    now_us: int
    actor: str
    reason: str | None


async def until_settled(transaction: Callable[[], Awaitable[T]]) -> T:
    """Run a transaction that closes dead letters; retry while others close what it has read.

    Raises:
        StoreBusyError: that happened too often.
    """
    for _ in range(_TRIES_MAX):
        try:
            return await transaction()
        except ClosedMeanwhileError:
            continue
    message = "Others close the same dead letters all the time."
    raise StoreBusyError(message)


async def find_row(tx: Transaction, project_id: int, dead_letter_id: str) -> DeadRow | None:
    """A dead letter of a project by its id."""
    try:
        raw = uuid.UUID(dead_letter_id).bytes
    except ValueError:
        return None
    row = await tx.row(FIND, lane_of_id(raw), sequence_of_id(raw), dead_letter_id, project_id)
    return None if row is None else DeadRow(*row)


async def replay_rows(tx: Transaction, rows: Sequence[DeadRow], by: ClosedBy) -> dict[Key, Closing]:
    """Close as replayed and queue again what failed; both or neither, for each.

    Raises:
        ClosedMeanwhileError: see there.
    """
    await tx.run(BY_KEYS)
    rows = sorted(rows, key=lambda row: row.key)
    closings = {row.key: Closing.CLOSED_BEFORE for row in rows}
    open_rows = [row for row in rows if row.state == DeadLetterState.OPEN]
    parts = {kind: [row for row in open_rows if row.kind == kind] for kind in DeadLetterKind}
    closings |= await _process_again(tx, parts[DeadLetterKind.PROCESSING], by)
    closings |= await _deliver_again(tx, parts[DeadLetterKind.DELIVERY], by)
    closings |= await _automate_again(tx, parts[DeadLetterKind.AUTOMATION], by)
    done = [key for key, closing in closings.items() if closing is Closing.DONE]
    if await close_rows(tx, done, DeadLetterState.REPLAYED, by) < len(done):
        raise ClosedMeanwhileError
    return closings


async def discard_row(tx: Transaction, row: DeadRow, by: ClosedBy) -> Closing:
    """Close as discarded."""
    closed = await close_rows(tx, [row.key], DeadLetterState.DISCARDED, by)
    return Closing.DONE if closed else Closing.CLOSED_BEFORE


async def close_rows(
    tx: Transaction, keys: Iterable[Key], state: DeadLetterState, by: ClosedBy
) -> int:
    """Close those that are still open; how many."""
    named = columns_of(sorted(keys), 2)
    values = (state.value, by.now_us, by.actor, by.reason)
    return len(await tx.rows(CLOSE, *named, *values)) if named[0] else 0


async def _process_again(
    tx: Transaction, rows: Sequence[DeadRow], by: ClosedBy
) -> dict[Key, Closing]:
    if not rows:
        return {}
    names = sorted((row.lane, row.sequence) for row in rows)
    found = await tx.rows(ACCEPT_AGAIN, *columns_of(names, 2))
    await tx.run(WORK, *columns_of(sorted(map(tuple, found)), 3), by.now_us)
    again = {(lane, sequence) for lane, sequence, _ in found}
    return {row.key: _done_if(accepted=(row.lane, row.sequence) in again) for row in rows}


async def _deliver_again(
    tx: Transaction, rows: Sequence[DeadRow], by: ClosedBy
) -> dict[Key, Closing]:
    if not rows:
        return {}
    names = sorted({row.subscriber_id for row in rows if row.subscriber_id is not None})
    enabled = {name: bool(on) for name, on in await tx.rows(_SUBSCRIBERS, names)}
    served = sorted(
        (row.lane, row.delivery_number)
        for row in rows
        if row.delivery_number is not None and enabled.get(row.subscriber_id or "")
    )
    found = await tx.rows(DELIVER_AGAIN, *columns_of(served, 2), by.now_us)
    again = {(lane, number) for lane, number in found}
    return {row.key: _delivered(row, enabled, again) for row in rows}


async def _automate_again(
    tx: Transaction, rows: Sequence[DeadRow], by: ClosedBy
) -> dict[Key, Closing]:
    if not rows:
        return {}
    events = {(row.lane, row.sequence) for row in rows if row.run_id is None}
    runs = {row.run_id for row in rows if row.run_id is not None}
    applied = await apply_again(tx, sorted(events), by.now_us) if events else set()
    retried = await retry_runs(tx, sorted(runs), by.now_us) if runs else set()
    return {
        row.key: _done_if(
            accepted=row.run_id in retried
            if row.run_id is not None
            else (row.lane, row.sequence) in applied
        )
        for row in rows
    }


def _delivered(row: DeadRow, enabled: dict[str, bool], again: set[Key]) -> Closing:
    subscriber_id = row.subscriber_id or ""
    if subscriber_id not in enabled:
        return Closing.SUBSCRIBER_DELETED
    if not enabled[subscriber_id]:
        return Closing.SUBSCRIBER_DISABLED
    return _done_if(accepted=(row.lane, row.delivery_number) in again)


def _done_if(*, accepted: bool) -> Closing:
    return Closing.DONE if accepted else Closing.NOTHING_TO_REPLAY
