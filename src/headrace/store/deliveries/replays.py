"""Replays of many dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.store.access.audit import write_audit
from headrace.store.contract.dead_letters import (
    OUTCOMES_COUNTED_MAX,
    REPLAYS_KEPT,
    REPLAYS_KEPT_US,
    RUNNING_MAX,
    Closing,
    DeadLetterFilter,
    NewReplay,
    Replay,
    ReplayOutcome,
    ReplayStatus,
    TooManyReplaysError,
)
from headrace.store.deliveries.closings import (
    ROW_COLUMNS,
    ClosedBy,
    DeadRow,
    replay_rows,
    until_settled,
)
from headrace.store.deliveries.dead_letters import MATCHES, wanted_values
from headrace.store.engine.dialect import Statement, sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Row, Transaction

_COLUMNS = (
    "number, id, project_id, filter, per_second, total, done, status, actor, created_us, updated_us"
)
#: Dead letters that one slice examines, whether they match or not.
_SLICE_EXAMINED_MAX = 1000
_SELECT = f"SELECT {_COLUMNS} FROM replays"
_GET = sql(f"{_SELECT} WHERE id = $1 AND project_id = $2")
LIST = sql(f"{_SELECT} WHERE project_id = $1 AND number < $2 ORDER BY number DESC LIMIT $3")
RUNNING = sql(f"{_SELECT} WHERE status = 'running' ORDER BY number LIMIT $1")
_INSERT = sql(
    "INSERT INTO replays (id, project_id, filter, per_second, last_number, total, status, actor, "
    "created_us, updated_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)"
)
# Serializes concurrent creations, so that both are counted.
_LOCK = sql("SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE")
COUNT_RUNNING = sql("SELECT count(*) FROM replays WHERE project_id = $1 AND status = 'running'")
FORGET = sql(
    "DELETE FROM replays WHERE project_id = $1 AND status <> 'running' AND number <= "
    "(SELECT number FROM replays WHERE project_id = $1 ORDER BY number DESC LIMIT 1 OFFSET $2)"
)
# Numbers grow with time, so the scan begins at the oldest and stops at the limit.
OLD = sql(
    "SELECT k.number FROM (SELECT number, updated_us FROM replays WHERE status <> 'running' "
    "ORDER BY number LIMIT $1) AS k WHERE k.updated_us < $2"
)
REMOVE = sql("DELETE FROM replays WHERE number = ANY($1::bigint[])")
_STOP = sql(
    "UPDATE replays SET status = 'stopped', updated_us = $1 "
    "WHERE id = $2 AND project_id = $3 AND status = 'running'"
)
# Serializes two workers that both believe they are the leader.
_PLACE = sql(
    "SELECT project_id, filter, position, last_number, done, total, actor FROM replays "
    "WHERE id = $1 AND status = 'running' FOR UPDATE"
)
_MOVE = sql(
    "UPDATE replays SET position = $1, done = $2, status = $3, updated_us = $4 WHERE id = $5"
)
_OPEN_AFTER = (
    "FROM dead_letters AS d WHERE d.project_id = $1 AND d.state = 0 "
    "AND d.number > $2 AND d.number <= $3"
)
CEILING = sql(f"SELECT d.number {_OPEN_AFTER} ORDER BY d.number LIMIT 1 OFFSET $4")
NEXT = sql(f"SELECT {ROW_COLUMNS} {_OPEN_AFTER} AND {MATCHES} ORDER BY d.number LIMIT $8")


# Both are 3 when it worked and 4 when it failed for good: `DeliveryState` and `Status`.
_REPLAYED = (
    "SELECT lane, sequence, kind, delivery_number FROM dead_letters WHERE project_id = $1 "
    "AND reason = $2 AND state = 1 AND reason IS NOT NULL "
    f"ORDER BY number LIMIT {OUTCOMES_COUNTED_MAX}"
)
_COUNTS = (
    "SELECT count(*) FILTER (WHERE {state} = 3), count(*) FILTER (WHERE {state} = 4), count(*) "
    f"FROM ({_REPLAYED}) AS k "
)
OUTCOMES_OF_DELIVERIES = sql(
    _COUNTS.format(state="d.state") + "JOIN deliveries AS d ON d.lane = k.lane "
    "AND d.number = k.delivery_number WHERE k.kind = 'delivery'"
)
OUTCOMES_OF_EVENTS = sql(
    _COUNTS.format(state="e.status") + "JOIN event_states AS e ON e.lane = k.lane "
    "AND e.sequence = k.sequence WHERE k.kind = 'processing'"
)


class Replays:
    """Replays of many dead letters: durable, and run in slices of one transaction each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, replay: NewReplay, now_us: int) -> Replay:
        """Store a replay; an empty one is done at once.

        Raises:
            TooManyReplaysError: the project has as many as it may.
        """
        status = ReplayStatus.RUNNING if replay.total else ReplayStatus.DONE
        wanted = msgspec.json.encode(replay.wanted).decode()
        fixed = (replay.id, replay.project_id, wanted, replay.per_second, replay.last_number)
        values = (*fixed, replay.total, status.value, replay.actor, now_us)
        detail = {"replay": replay.id, "filter": replay.wanted, "total": replay.total}
        detail["per_second"] = replay.per_second
        project_id, actor = replay.project_id, replay.actor

        async def work(tx: Transaction) -> Replay:
            await tx.rows(_LOCK, project_id)
            if await tx.value(COUNT_RUNNING, project_id) >= RUNNING_MAX:
                raise TooManyReplaysError
            await tx.run(_INSERT, *values)
            await tx.run(FORGET, project_id, REPLAYS_KEPT)
            await write_audit(tx, now_us, actor, project_id, "replay.create", detail)
            [row] = await tx.rows(_GET, replay.id, project_id)
            return _replay(row)

        return await self._database.write(work)

    async def get(self, project_id: int, replay_id: str) -> Replay | None:
        """One replay, None when the project has no such replay."""

        async def read(tx: Transaction) -> Replay | None:
            row = await tx.row(_GET, replay_id, project_id)
            return None if row is None else _replay(row)

        return await self._database.read(read)

    async def outcome(self, project_id: int, replay_id: str) -> ReplayOutcome:
        """What became of what it has replayed, of the oldest `OUTCOMES_COUNTED_MAX`."""

        async def read(tx: Transaction) -> ReplayOutcome:
            succeeded = failed = total = 0
            for statement in (OUTCOMES_OF_DELIVERIES, OUTCOMES_OF_EVENTS):
                [row] = await tx.rows(statement, project_id, _reason(replay_id))
                succeeded, failed, total = succeeded + row[0], failed + row[1], total + row[2]
            return ReplayOutcome(
                succeeded=succeeded, failed_again=failed, pending=total - succeeded - failed
            )

        return await self._database.read(read)

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Replay]:
        """Replays of a project, newest first, below number `before`."""
        below = BIGINT_MAX if before is None else before
        return await self._replays(LIST, project_id, below, limit)

    async def running(self, limit: int) -> Sequence[Replay]:
        """Running replays of all projects, oldest first."""
        return await self._replays(RUNNING, limit)

    async def _replays(self, statement: Statement, *values: Any) -> Sequence[Replay]:
        async def read(tx: Transaction) -> Sequence[Replay]:
            return [_replay(row) for row in await tx.rows(statement, *values)]

        return await self._database.read(read)

    async def stop(
        self, project_id: int, replay_id: str, now_us: int, *, actor: str
    ) -> tuple[bool, Replay | None]:
        """Stop a running replay: whether it was running, and its new state (None: not found)."""

        async def work(tx: Transaction) -> tuple[bool, Replay | None]:
            stopped = await tx.run(_STOP, now_us, replay_id, project_id) > 0
            row = await tx.row(_GET, replay_id, project_id)
            if row is None:
                return False, None
            found = _replay(row)
            if stopped:
                detail = {"replay": replay_id, "done": found.done, "total": found.total}
                await write_audit(tx, now_us, actor, project_id, "replay.stop", detail)
            return stopped, found

        return await self._database.write(work)

    async def advance(self, replay_id: str, limit: int, now_us: int) -> tuple[int, bool]:
        """Replay the next dead letters of a replay, at most `limit`, in one transaction.

        Its position advances in the same transaction, so a crash neither skips nor repeats any.

        Returns:
            How many were replayed, and whether the replay continues.
        """
        return await until_settled(
            lambda: self._database.write(lambda tx: _advance(tx, replay_id, limit, now_us))
        )

    async def prune(self, now_us: int, limit: int) -> int:
        """Remove up to `limit` replays that ended more than `REPLAYS_KEPT_US` ago; how many."""

        async def work(tx: Transaction) -> int:
            rows = await tx.rows(OLD, limit, now_us - REPLAYS_KEPT_US)
            return await tx.run(REMOVE, [row[0] for row in rows]) if rows else 0

        return await self._database.write(work)


async def _advance(tx: Transaction, replay_id: str, limit: int, now_us: int) -> tuple[int, bool]:
    place = await tx.row(_PLACE, replay_id)
    if place is None:
        return 0, False
    project_id, text, position, last_number, done, total, actor = place
    wanted = msgspec.json.decode(text, type=DeadLetterFilter)
    ceiling = await tx.value(CEILING, project_id, position, last_number, _SLICE_EXAMINED_MAX - 1)
    ceiling = last_number if ceiling is None else int(ceiling)
    found = await tx.rows(NEXT, project_id, position, ceiling, *wanted_values(wanted), limit)
    rows = [DeadRow(*row) for row in found]
    by = ClosedBy(now_us=now_us, actor=actor, reason=_reason(replay_id))
    closings = await replay_rows(tx, rows, by)
    replayed = sum(closing is Closing.DONE for closing in closings.values())
    # Fewer than asked for: nothing more matches up to the ceiling.
    position = rows[-1].number if len(rows) == limit else ceiling
    has_more = position < last_number
    status = ReplayStatus.RUNNING if has_more else ReplayStatus.DONE
    await tx.run(_MOVE, position, done + replayed, status.value, now_us, replay_id)
    if not has_more:
        detail = {"replay": replay_id, "done": done + replayed, "total": total}
        await write_audit(tx, now_us, actor, project_id, "replay.done", detail)
    return replayed, has_more


def _reason(replay_id: str) -> str:
    """Names the replay in the dead letters that it closes."""
    return f"replay {replay_id}"


def _replay(row: Row) -> Replay:
    """A replay from `_COLUMNS`."""
    number, replay_id, project_id, wanted, per_second, total, done, status, *rest = row
    actor, created_us, updated_us = rest
    return Replay(
        number=number,
        id=replay_id,
        project_id=project_id,
        wanted=msgspec.json.decode(wanted, type=DeadLetterFilter),
        per_second=per_second,
        total=total,
        done=done,
        status=ReplayStatus(status),
        actor=actor,
        created_us=created_us,
        updated_us=updated_us,
    )
