"""Replays of many dead letters on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.store.access.audit import write_audit
from headrace.store.contract_dead_letters import (
    REPLAYS_KEPT,
    REPLAYS_KEPT_US,
    RUNNING_MAX,
    Closing,
    DeadLetterFilter,
    NewReplay,
    Replay,
    ReplayStatus,
    TooManyReplaysError,
)
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.dead_letter_moves import (
    ROW_COLUMNS,
    DeadRow,
    Move,
    replay_rows,
    until_settled,
)
from headrace.store.postgres.dead_letters import conditions
from headrace.store.postgres.transaction import PostgresTransaction
from headrace.store.rows.dead_letters import REPLAY_COLUMNS
from headrace.store.rows.dead_letters import replay as replay_of_row

#: Dead letters that one slice looks at, whether they match or not.
_SLICE_EXAMINED_MAX = 1000
_NUMBER_MAX = 2**62
_SELECT = f"SELECT {REPLAY_COLUMNS} FROM replays"  # noqa: S608
_GET = f"{_SELECT} WHERE id = $1 AND project_id = $2"
_LIST = f"{_SELECT} WHERE project_id = $1 AND number < $2 ORDER BY number DESC LIMIT $3"
_RUNNING = f"{_SELECT} WHERE status = 'running' ORDER BY number LIMIT $1"
_INSERT = (
    "INSERT INTO replays (id, project_id, filter, per_second, last_number, total, status, actor, "
    "created_us, updated_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)"
)
# Two that are created at once are counted one after the other.
_LOCK = "SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE"
_COUNT_RUNNING = "SELECT count(*) FROM replays WHERE project_id = $1 AND status = 'running'"
_FORGET = (
    "DELETE FROM replays WHERE project_id = $1 AND status <> 'running' AND number <= "
    "(SELECT number FROM replays WHERE project_id = $1 ORDER BY number DESC LIMIT 1 OFFSET $2)"
)
# Numbers grow with time, so the oldest are looked at first and the rest not at all.
_PRUNE = (
    "DELETE FROM replays WHERE number IN (SELECT number FROM replays WHERE status <> 'running' "
    "ORDER BY number LIMIT $1) AND updated_us < $2 RETURNING 1"
)
_STOP = (
    "UPDATE replays SET status = 'stopped', updated_us = $1 "
    "WHERE id = $2 AND project_id = $3 AND status = 'running' RETURNING 1"
)
# Two workers that both believe to have the duty take their slices one after the other.
_PLACE = (
    "SELECT project_id, filter, position, last_number, done, total, actor FROM replays "
    "WHERE id = $1 AND status = 'running' FOR UPDATE"
)
_MOVE = "UPDATE replays SET position = $1, done = $2, status = $3, updated_us = $4 WHERE id = $5"
_OPEN_AFTER = (
    "FROM dead_letters AS d WHERE d.project_id = $1 AND d.state = 0 "
    "AND d.number > $2 AND d.number <= $3"
)
CEILING = f"SELECT d.number {_OPEN_AFTER} ORDER BY d.number LIMIT 1 OFFSET $4"
NEXT = f"SELECT {ROW_COLUMNS} {_OPEN_AFTER} AND {{test}} ORDER BY d.number LIMIT $4"


class PostgresReplays:
    """See `headrace.store.contract_dead_letters.ReplayStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, replay: NewReplay, now_us: int) -> Replay:
        status = ReplayStatus.RUNNING if replay.total else ReplayStatus.DONE
        wanted = msgspec.json.encode(replay.wanted).decode()
        fixed = (replay.id, replay.project_id, wanted, replay.per_second, replay.last_number)
        values = (*fixed, replay.total, status.value, replay.actor, now_us)
        detail = {"replay": replay.id, "filter": replay.wanted, "total": replay.total}
        detail["per_second"] = replay.per_second
        project_id, actor = replay.project_id, replay.actor

        async def work(connection: Connection) -> Replay:
            await connection.execute(_LOCK, project_id)
            if await connection.fetchval(_COUNT_RUNNING, project_id) >= RUNNING_MAX:
                raise TooManyReplaysError
            await connection.execute(_INSERT, *values)
            await connection.execute(_FORGET, project_id, REPLAYS_KEPT)
            await write_audit(
                PostgresTransaction(connection), now_us, actor, project_id, "replay.create", detail
            )
            return replay_of_row(await connection.fetchrow(_GET, replay.id, project_id))

        return await self._database.write(work)

    async def get(self, project_id: int, replay_id: str) -> Replay | None:
        async def read(connection: Connection) -> Replay | None:
            row = await connection.fetchrow(_GET, replay_id, project_id)
            return None if row is None else replay_of_row(row)

        return await self._database.read(read)

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Replay]:
        below = _NUMBER_MAX if before is None else before
        return await self._replays(_LIST, project_id, below, limit)

    async def running(self, limit: int) -> Sequence[Replay]:
        return await self._replays(_RUNNING, limit)

    async def _replays(self, sql: str, *values: Any) -> Sequence[Replay]:
        async def read(connection: Connection) -> Sequence[Replay]:
            return [replay_of_row(row) for row in await connection.fetch(sql, *values)]

        return await self._database.read(read)

    async def stop(
        self, project_id: int, replay_id: str, now_us: int, *, actor: str
    ) -> tuple[bool, Replay | None]:
        async def work(connection: Connection) -> tuple[bool, Replay | None]:
            stopped = await connection.fetchval(_STOP, now_us, replay_id, project_id) is not None
            row = await connection.fetchrow(_GET, replay_id, project_id)
            if row is None:
                return False, None
            found = replay_of_row(row)
            if stopped:
                detail = {"replay": replay_id, "done": found.done, "total": found.total}
                await write_audit(
                    PostgresTransaction(connection),
                    now_us,
                    actor,
                    project_id,
                    "replay.stop",
                    detail,
                )
            return stopped, found

        return await self._database.write(work)

    async def advance(self, replay_id: str, limit: int, now_us: int) -> tuple[int, bool]:
        async def work(connection: Connection) -> tuple[int, bool]:
            return await _advance(connection, replay_id, limit, now_us)

        return await until_settled(lambda: self._database.write(work))

    async def prune(self, now_us: int, limit: int) -> int:
        async def work(connection: Connection) -> int:
            return len(await connection.fetch(_PRUNE, limit, now_us - REPLAYS_KEPT_US))

        return await self._database.write(work)


async def _advance(
    connection: Connection, replay_id: str, limit: int, now_us: int
) -> tuple[int, bool]:
    place = await connection.fetchrow(_PLACE, replay_id)
    if place is None:
        return 0, False
    project_id, text, position, last_number, done, total, actor = place
    wanted = msgspec.json.decode(text, type=DeadLetterFilter)
    ceiling = await connection.fetchval(
        CEILING, project_id, position, last_number, _SLICE_EXAMINED_MAX - 1
    )
    ceiling = last_number if ceiling is None else int(ceiling)
    test, values = conditions(wanted, 5)
    found = await connection.fetch(
        NEXT.format(test=test), project_id, position, ceiling, limit, *values
    )
    rows = [DeadRow(*row) for row in found]
    move = Move(now_us=now_us, actor=actor, reason=f"replay {replay_id}")
    closings = await replay_rows(connection, rows, move)
    replayed = sum(closing is Closing.DONE for closing in closings.values())
    # Fewer than asked for: nothing more matches up to the ceiling.
    position = rows[-1].number if len(rows) == limit else ceiling
    goes_on = position < last_number
    status = ReplayStatus.RUNNING if goes_on else ReplayStatus.DONE
    await connection.execute(_MOVE, position, done + replayed, status.value, now_us, replay_id)
    if not goes_on:
        detail = {"replay": replay_id, "done": done + replayed, "total": total}
        await write_audit(
            PostgresTransaction(connection), now_us, actor, project_id, "replay.done", detail
        )
    return replayed, goes_on
