"""SQL of what closes dead letters. All inside the caller's transaction.

Each move is a conditional UPDATE and its row count: of two that race, one changes something. Rows
are changed in a fixed order: what failed, then its dead letter.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from headrace.domain.events import Status
from headrace.domain.ids import lane_of_id, sequence_of_id
from headrace.store.contract import StoreBusyError
from headrace.store.contract_dead_letters import Closing, DeadLetterKind, DeadLetterState
from headrace.store.engine.columns import columns_of
from headrace.store.postgres.claims import BY_KEYS
from headrace.store.postgres.database import Connection

T = TypeVar("T")

#: Times that a move is begun anew because somebody else closed one of its dead letters.
_TRIES_MAX = 10

ROW_COLUMNS = "lane, number, project_id, sequence, kind, subscriber_id, delivery_number, state"
FIND = (
    f"SELECT {ROW_COLUMNS} FROM dead_letters "  # noqa: S608
    "WHERE lane = $1 AND number = $2 AND id = $3 AND project_id = $4"
)
# Rows are found by their key: `+ 0` keeps partial indexes out of it, see delivery_claims.py.
_NAMED = "FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, number)"
CLOSE = (
    "UPDATE dead_letters AS d SET state = $3, closed_us = $4, closed_by = $5, reason = $6 "  # noqa: S608
    f"{_NAMED} WHERE d.lane = k.lane AND d.number = k.number AND d.state + 0 = 0 RETURNING d.number"
)
ACCEPT_AGAIN = (
    f"UPDATE outcomes AS o SET status = {Status.ACCEPTED:d}, attempts = 0 {_NAMED} "  # noqa: S608
    "WHERE o.lane = k.lane AND o.sequence = k.number "
    f"AND o.status + 0 = {Status.DEAD_LETTERED:d} RETURNING o.lane, o.sequence, o.project_id"
)
# In line already it is what the replay wants; an error would hold up the replay of many for ever.
WORK = (
    "INSERT INTO work (lane, sequence, project_id, queued_us) "
    "SELECT w.lane, w.sequence, w.project_id, $4 "
    "FROM unnest($1::smallint[], $2::bigint[], $3::integer[]) AS w (lane, sequence, project_id) "
    "ON CONFLICT DO NOTHING"
)
# `claims` goes on counting: it fences whoever was paused since before the replay.
DELIVER_AGAIN = (
    "UPDATE deliveries AS d SET state = 0, attempt = 0, crashes = 0, due_us = $3, "  # noqa: S608
    f"lease_until_us = 0, owner = NULL, finished_us = NULL {_NAMED} "
    "WHERE d.lane = k.lane AND d.number = k.number AND d.state = 4 RETURNING d.lane, d.number"
)
_SUBSCRIBERS = "SELECT id, enabled FROM subscribers WHERE id = ANY($1::text[])"

#: Lane and number, or lane and sequence.
Key = tuple[int, int]


class ClosedMeanwhileError(Exception):
    """Somebody else closed a dead letter after it was read; the transaction must not commit."""


class DeadRow(msgspec.Struct, frozen=True, gc=False):
    """A dead letter as far as closing it needs."""

    lane: int
    number: int
    project_id: int
    sequence: int
    kind: str
    subscriber_id: str | None
    delivery_number: int | None
    state: int

    @property
    def key(self) -> Key:
        """What names it in the table."""
        return self.lane, self.number


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """Who closes dead letters, when and why."""

    now_us: int
    actor: str
    reason: str | None


async def until_settled(work: Callable[[], Awaitable[T]]) -> T:
    """Run a transaction of moves anew for as long as others close what it has read.

    Raises:
        StoreBusyError: that happened too often.
    """
    for _ in range(_TRIES_MAX):
        try:
            return await work()
        except ClosedMeanwhileError:
            continue
    message = "Others close the same dead letters all the time."
    raise StoreBusyError(message)


async def find_row(connection: Connection, project_id: int, dead_letter_id: str) -> DeadRow | None:
    """A dead letter of a project by its id."""
    try:
        raw = uuid.UUID(dead_letter_id).bytes
    except ValueError:
        return None
    place = (lane_of_id(raw), sequence_of_id(raw))
    row = await connection.fetchrow(FIND, *place, dead_letter_id, project_id)
    return None if row is None else DeadRow(*row)


async def replay_rows(
    connection: Connection, rows: Sequence[DeadRow], move: Move
) -> dict[Key, Closing]:
    """Close as replayed and put back what failed; both or neither, for each.

    Raises:
        ClosedMeanwhileError: see there.
    """
    await connection.execute(BY_KEYS)
    rows = sorted(rows, key=lambda row: row.key)
    closings = {row.key: Closing.CLOSED_BEFORE for row in rows}
    open_rows = [row for row in rows if row.state == DeadLetterState.OPEN]
    parts = {kind: [row for row in open_rows if row.kind == kind] for kind in DeadLetterKind}
    closings |= await _process_again(connection, parts[DeadLetterKind.PROCESSING], move)
    closings |= await _deliver_again(connection, parts[DeadLetterKind.DELIVERY], move)
    done = [key for key, closing in closings.items() if closing is Closing.DONE]
    if await _close(connection, done, DeadLetterState.REPLAYED, move) < len(done):
        raise ClosedMeanwhileError
    return closings


async def discard_row(connection: Connection, row: DeadRow, move: Move) -> Closing:
    """Close as discarded."""
    closed = await _close(connection, [row.key], DeadLetterState.DISCARDED, move)
    return Closing.DONE if closed else Closing.CLOSED_BEFORE


async def _close(
    connection: Connection, keys: Iterable[Key], state: DeadLetterState, move: Move
) -> int:
    named = columns_of(sorted(keys), 2)
    values = (state.value, move.now_us, move.actor, move.reason)
    return len(await connection.fetch(CLOSE, *named, *values)) if named[0] else 0


async def _process_again(
    connection: Connection, rows: Sequence[DeadRow], move: Move
) -> dict[Key, Closing]:
    if not rows:
        return {}
    names = sorted((row.lane, row.sequence) for row in rows)
    found = await connection.fetch(ACCEPT_AGAIN, *columns_of(names, 2))
    await connection.execute(WORK, *columns_of(sorted(map(tuple, found)), 3), move.now_us)
    again = {(lane, sequence) for lane, sequence, _ in found}
    return {row.key: _done_if(accepted=(row.lane, row.sequence) in again) for row in rows}


async def _deliver_again(
    connection: Connection, rows: Sequence[DeadRow], move: Move
) -> dict[Key, Closing]:
    if not rows:
        return {}
    names = sorted({row.subscriber_id for row in rows if row.subscriber_id is not None})
    enabled = dict(await connection.fetch(_SUBSCRIBERS, names))
    served = sorted(
        (row.lane, row.delivery_number)
        for row in rows
        if enabled.get(row.subscriber_id) and row.delivery_number is not None
    )
    found = await connection.fetch(DELIVER_AGAIN, *columns_of(served, 2), move.now_us)
    again = {(lane, number) for lane, number in found}
    return {row.key: _delivered(row, enabled, again) for row in rows}


def _delivered(row: DeadRow, enabled: dict[str | None, bool], again: set[Key]) -> Closing:
    if row.subscriber_id not in enabled:
        return Closing.SUBSCRIBER_DELETED
    if not enabled[row.subscriber_id]:
        return Closing.SUBSCRIBER_DISABLED
    return _done_if(accepted=(row.lane, row.delivery_number) in again)


def _done_if(*, accepted: bool) -> Closing:
    return Closing.DONE if accepted else Closing.NOTHING_TO_REPLAY
