"""Replays of many dead letters, and jobs that send events to a webhook again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.store.access.audit import write_audit
from headrace.store.automations.run_rows import key_of
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
from headrace.store.contract.resends import ResendCount, ResendFilter
from headrace.store.deliveries.closings import (
    ROW_COLUMNS,
    ClosedBy,
    DeadRow,
    replay_rows,
    until_settled,
)
from headrace.store.deliveries.dead_letters import MATCHES, wanted_values
from headrace.store.deliveries.resends import ResendJob, count_events, missing_events, send_slice
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import Statement, sql
from headrace.store.engine.numbers import BIGINT_MAX, RowNumbers
from headrace.store.engine.transaction import Database, Row, Transaction

_COLUMNS = (
    "number, id, project_id, filter, per_second, total, done, status, actor, created_us, "
    "updated_us, subscriber_id"
)
#: Dead letters that one slice examines, whether they match or not.
_SLICE_EXAMINED_MAX = 1000
_SELECT = f"SELECT {_COLUMNS} FROM replays"
_GET = sql(f"{_SELECT} WHERE id = $1 AND project_id = $2")
LIST = sql(f"{_SELECT} WHERE project_id = $1 AND number < $2 ORDER BY number DESC LIMIT $3")
RUNNING = sql(f"{_SELECT} WHERE status = 'running' ORDER BY number LIMIT $1")
_INSERT = sql(
    "INSERT INTO replays (id, project_id, filter, per_second, last_number, total, status, actor, "
    "created_us, updated_us, subscriber_id, position) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11)"
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
    "SELECT project_id, filter, position, last_number, done, total, actor, number, subscriber_id "
    "FROM replays "
    "WHERE id = $1 AND status = 'running' FOR UPDATE"
)
# What commits late, with a number below the last one, is replayed if the position has not passed
# it: then there are more than were counted.
_MOVE = sql(
    "UPDATE replays SET position = $1, done = $2, status = $3, updated_us = $4, "
    "total = CASE WHEN total < $2 THEN $2 ELSE total END WHERE id = $5"
)
_OPEN_AFTER = (
    "FROM dead_letters AS d WHERE d.project_id = $1 AND d.state = 0 "
    "AND d.number > $2 AND d.number <= $3"
)
CEILING = sql(f"SELECT d.number {_OPEN_AFTER} ORDER BY d.number LIMIT 1 OFFSET $4")
NEXT = sql(f"SELECT {ROW_COLUMNS} {_OPEN_AFTER} AND {MATCHES} ORDER BY d.number LIMIT $8")


# Both are 3 when it worked and 4 when it failed for good: `DeliveryState` and `Status`.
_REPLAYED = (
    "SELECT lane, sequence, kind, delivery_number, run_id FROM dead_letters WHERE project_id = $1 "
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
# An event leaves the inbox when it was applied, or when that failed for good: then it has a new
# dead letter.
OUTCOMES_OF_INBOX = sql(
    "SELECT count(*) FILTER (WHERE NOT k.waits AND NOT k.failed), "
    "count(*) FILTER (WHERE NOT k.waits AND k.failed), count(*) FROM ("
    "SELECT EXISTS (SELECT 1 FROM automation_inbox AS i WHERE i.lane = k.lane "
    "AND i.sequence = k.sequence) AS waits, EXISTS (SELECT 1 FROM dead_letters AS n "
    "WHERE n.lane = k.lane AND n.sequence = k.sequence AND n.kind = 'automation' "
    "AND n.run_id IS NULL AND n.state = 0) AS failed "
    f"FROM ({_REPLAYED}) AS k WHERE k.kind = 'automation' AND k.run_id IS NULL) AS k"
)
REPLAYED_RUNS = sql(f"SELECT run_id FROM ({_REPLAYED}) AS k WHERE run_id IS NOT NULL")
OUTCOMES_OF_RUNS = sql(
    "SELECT count(*) FILTER (WHERE r.status IN ('completed', 'cancelled', 'exited')), "
    "count(*) FILTER (WHERE r.status = 'failed' AND r.due_us IS NULL), count(*) "
    "FROM unnest($1::smallint[], $2::text[]) AS k (lane, id) "
    "JOIN automation_runs AS r ON r.lane = k.lane AND r.id = k.id"
)
#: Runs that one statement counts.
_RUNS_AT_ONCE = 10_000

OUTCOMES_OF_RESEND = sql(
    "SELECT count(*) FILTER (WHERE k.state = 3), count(*) FILTER (WHERE k.state = 4), count(*) "
    "FROM (SELECT state FROM deliveries WHERE resend_number = $1 AND resend_number IS NOT NULL "
    f"LIMIT {OUTCOMES_COUNTED_MAX}) AS k"
)


_OUTCOMES = (OUTCOMES_OF_DELIVERIES, OUTCOMES_OF_EVENTS, OUTCOMES_OF_INBOX)


class Replays:
    """Replays of many: durable, and run in slices of one transaction each.

    Args:
        numbers: give deliveries their numbers.
    """

    def __init__(self, database: Database, numbers: RowNumbers) -> None:
        self._database = database
        self._numbers = numbers

    async def create(self, replay: NewReplay, now_us: int) -> Replay:
        """Store a replay; an empty one is done at once.

        Raises:
            TooManyReplaysError: the project has as many as it may.
        """
        status = ReplayStatus.RUNNING if replay.total else ReplayStatus.DONE
        resend = replay.resend
        wanted = msgspec.json.encode(replay.wanted if resend is None else resend).decode()
        webhook_id = None if resend is None else resend.webhook_id
        fixed = (replay.id, replay.project_id, wanted, replay.per_second, replay.last_number)
        ends = (now_us, webhook_id, replay.position)
        values = (*fixed, replay.total, status.value, replay.actor, *ends)
        detail = {"replay": replay.id, "filter": _audited(replay), "total": replay.total}
        detail["per_second"] = replay.per_second
        action = "replay.create" if resend is None else "resend.create"
        project_id, actor = replay.project_id, replay.actor

        async def work(tx: Transaction) -> Replay:
            await tx.rows(_LOCK, project_id)
            if await tx.value(COUNT_RUNNING, project_id) >= RUNNING_MAX:
                raise TooManyReplaysError
            await tx.run(_INSERT, *values)
            await tx.run(FORGET, project_id, REPLAYS_KEPT)
            await write_audit(tx, now_us, actor, project_id, action, detail)
            [row] = await tx.rows(_GET, replay.id, project_id)
            return _replay(row)

        return await self._database.write(work)

    async def get(self, project_id: int, replay_id: str) -> Replay | None:
        """One replay, None when the project has no such replay."""

        async def read(tx: Transaction) -> Replay | None:
            row = await tx.row(_GET, replay_id, project_id)
            return None if row is None else _replay(row)

        return await self._database.read(read)

    async def outcome(self, replay: Replay) -> ReplayOutcome:
        """What became of what it has replayed, of the oldest `OUTCOMES_COUNTED_MAX`.

        What a later job has sent again counts there.
        """
        own = (replay.project_id, _reason(replay.id))

        async def read(tx: Transaction) -> ReplayOutcome:
            succeeded = failed = total = 0
            if replay.resend is not None:
                rows = await tx.rows(OUTCOMES_OF_RESEND, replay.number)
            else:
                rows = [row for statement in _OUTCOMES for row in await tx.rows(statement, *own)]
                rows += await _outcomes_of_runs(tx, *own)
            for row in rows:
                succeeded, failed, total = succeeded + row[0], failed + row[1], total + row[2]
            return ReplayOutcome(
                succeeded=succeeded, failed_again=failed, pending=total - succeeded - failed
            )

        return await self._database.read(read)

    async def count_resend(self, project_id: int, wanted: ResendFilter, now_us: int) -> ResendCount:
        """Count the events that a job would send again.

        Raises:
            TooManyEventsError: the time range has too many.
        """
        return await count_events(self._database, project_id, wanted, now_us)

    async def missing_events(self, project_id: int, event_ids: Sequence[str]) -> frozenset[str]:
        """Which of the ids (UUID texts) no event of the project has."""
        return await missing_events(self._database, project_id, event_ids)

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
                action = "replay.stop" if found.resend is None else "resend.stop"
                await write_audit(tx, now_us, actor, project_id, action, detail)
            return stopped, found

        return await self._database.write(work)

    async def advance(self, replay_id: str, limit: int, now_us: int) -> tuple[int, bool]:
        """Replay the next dead letters of a replay, at most `limit`, in one transaction.

        Its position advances in the same transaction, so a crash neither skips nor repeats any.

        Returns:
            How many were replayed, and whether the replay continues.
        """
        return await until_settled(
            lambda: self._database.write(
                lambda tx: _advance(tx, self._numbers, replay_id, limit, now_us)
            )
        )

    async def prune(self, now_us: int, limit: int) -> int:
        """Remove up to `limit` replays that ended more than `REPLAYS_KEPT_US` ago; how many."""

        async def work(tx: Transaction) -> int:
            rows = await tx.rows(OLD, limit, now_us - REPLAYS_KEPT_US)
            return await tx.run(REMOVE, [row[0] for row in rows]) if rows else 0

        return await self._database.write(work)


async def _outcomes_of_runs(tx: Transaction, project_id: int, reason: str) -> list[Row]:
    """Counts of the runs that a replay has retried; a run that goes on is pending."""
    keys = sorted(
        {key_of(run_id) for (run_id,) in await tx.rows(REPLAYED_RUNS, project_id, reason)}
    )
    rows: list[Row] = []
    for start in range(0, len(keys), _RUNS_AT_ONCE):
        rows += await tx.rows(OUTCOMES_OF_RUNS, *columns_of(keys[start : start + _RUNS_AT_ONCE], 2))
    return rows


async def _advance(
    tx: Transaction, numbers: RowNumbers, replay_id: str, limit: int, now_us: int
) -> tuple[int, bool]:
    place = await tx.row(_PLACE, replay_id)
    if place is None:
        return 0, False
    project_id, text, position, last_number, done, total, actor, number, subscriber_id = place
    if subscriber_id is not None:
        job = ResendJob(
            number=number,
            id=replay_id,
            project_id=project_id,
            wanted=msgspec.json.decode(text, type=ResendFilter),
            position=position,
            last_number=last_number,
            actor=actor,
        )
        return await _send_again(tx, numbers, job, (done, total), limit, now_us)
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


async def _send_again(
    tx: Transaction,
    numbers: RowNumbers,
    job: ResendJob,
    counts: tuple[int, int],
    limit: int,
    now_us: int,
) -> tuple[int, bool]:
    done, total = counts
    sent = await send_slice(tx, numbers, job, limit, now_us)
    detail: dict[str, Any] = {"replay": job.id, "webhook": job.wanted.webhook_id, "total": total}
    if sent is None:
        await tx.run(_MOVE, job.position, done, ReplayStatus.STOPPED.value, now_us, job.id)
        detail |= {"done": done, "reason": "the webhook is disabled or deleted"}
        await write_audit(tx, now_us, job.actor, job.project_id, "resend.stop", detail)
        return 0, False
    has_more = sent.position < job.last_number
    status = ReplayStatus.RUNNING if has_more else ReplayStatus.DONE
    await tx.run(_MOVE, sent.position, done + sent.sent, status.value, now_us, job.id)
    if not has_more:
        detail["done"] = done + sent.sent
        await write_audit(tx, now_us, job.actor, job.project_id, "resend.done", detail)
    return sent.sent, has_more


def _audited(replay: NewReplay) -> Any:
    """The filter in the audit entry; of chosen events their number."""
    if replay.resend is None or not replay.resend.event_ids:
        return replay.wanted if replay.resend is None else replay.resend
    shown = msgspec.structs.replace(replay.resend, event_ids=())
    return msgspec.to_builtins(shown) | {"events": len(replay.resend.event_ids)}


def _reason(replay_id: str) -> str:
    """Names the replay in the dead letters that it closes."""
    return f"replay {replay_id}"


def _replay(row: Row) -> Replay:
    """A replay from `_COLUMNS`."""
    number, replay_id, project_id, wanted, per_second, total, done, status, *rest = row
    actor, created_us, updated_us, subscriber_id = rest
    resend = None if subscriber_id is None else msgspec.json.decode(wanted, type=ResendFilter)
    return Replay(
        number=number,
        id=replay_id,
        project_id=project_id,
        wanted=DeadLetterFilter()
        if resend is not None
        else msgspec.json.decode(wanted, type=DeadLetterFilter),
        per_second=per_second,
        total=total,
        done=done,
        status=ReplayStatus(status),
        actor=actor,
        created_us=created_us,
        updated_us=updated_us,
        resend=resend,
    )
