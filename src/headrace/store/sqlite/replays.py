"""Replays of many dead letters in the embedded store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
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
from headrace.store.engine.transaction import drive
from headrace.store.rows.dead_letters import REPLAY_COLUMNS
from headrace.store.rows.dead_letters import replay as replay_of_row
from headrace.store.sqlite.dead_letter_moves import DeadRow, replay_row
from headrace.store.sqlite.dead_letters import conditions
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.transaction import SqliteTransaction
from headrace.store.sqlite.writer import Writer

#: Dead letters that one slice looks at, whether they match or not: it holds the write lock.
_SLICE_EXAMINED_MAX = 1000
_NUMBER_MAX = 2**62
_SELECT = f"SELECT {REPLAY_COLUMNS} FROM replays "  # noqa: S608
_INSERT = (
    "INSERT INTO replays (id, project_id, filter, per_second, last_number, total, status, actor, "
    "created_us, updated_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_COUNT_RUNNING = "SELECT count(*) FROM replays WHERE project_id = ? AND status = 'running'"
_FORGET = (
    "DELETE FROM replays WHERE project_id = ?1 AND status <> 'running' AND number <= "
    "(SELECT number FROM replays WHERE project_id = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)"
)
# Numbers grow with time, so the oldest are looked at first and the rest not at all.
_PRUNE = (
    "DELETE FROM replays WHERE number IN (SELECT number FROM replays WHERE status <> 'running' "
    "ORDER BY number LIMIT ?) AND updated_us < ?"
)
_STOP = (
    "UPDATE replays SET status = 'stopped', updated_us = ? "
    "WHERE id = ? AND project_id = ? AND status = 'running'"
)
_PLACE = (
    "SELECT project_id, filter, position, last_number, done, total, actor FROM replays "
    "WHERE id = ? AND status = 'running'"
)
_MOVE = "UPDATE replays SET position = ?, done = ?, status = ?, updated_us = ? WHERE id = ?"
_OPEN_AFTER = (
    "FROM dead_letters INDEXED BY dead_letters_open WHERE project_id = :project_id AND state = 0 "
    "AND number > :position AND number <= :last_number"
)


class SqliteReplays:
    """See `headrace.store.contract_dead_letters.ReplayStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def create(self, replay: NewReplay, now_us: int) -> Replay:
        status = ReplayStatus.RUNNING if replay.total else ReplayStatus.DONE
        wanted = msgspec.json.encode(replay.wanted).decode()

        def work(connection: apsw.Connection) -> Replay:
            running: Any = connection.execute(_COUNT_RUNNING, (replay.project_id,)).fetchone()
            if running[0] >= RUNNING_MAX:
                raise TooManyReplaysError
            fixed = (replay.id, replay.project_id, wanted, replay.per_second, replay.last_number)
            values = (*fixed, replay.total, status.value, replay.actor, now_us, now_us)
            connection.execute(_INSERT, values)
            connection.execute(_FORGET, (replay.project_id, REPLAYS_KEPT))
            detail = {"replay": replay.id, "filter": replay.wanted, "total": replay.total}
            detail["per_second"] = replay.per_second
            project_id, actor = replay.project_id, replay.actor
            drive(
                write_audit(
                    SqliteTransaction(connection),
                    now_us,
                    actor,
                    project_id,
                    "replay.create",
                    detail,
                )
            )
            found = _get(connection, project_id, replay.id)
            assert found is not None
            return found

        return await self._writer.run(work)

    async def get(self, project_id: int, replay_id: str) -> Replay | None:
        return await self._readers.run(lambda connection: _get(connection, project_id, replay_id))

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Replay]:
        sql = f"{_SELECT} WHERE project_id = ? AND number < ? ORDER BY number DESC LIMIT ?"
        values = (project_id, _NUMBER_MAX if before is None else before, limit)
        return await self._readers.run(
            lambda connection: [replay_of_row(row) for row in connection.execute(sql, values)]
        )

    async def stop(
        self, project_id: int, replay_id: str, now_us: int, *, actor: str
    ) -> tuple[bool, Replay | None]:
        def work(connection: apsw.Connection) -> tuple[bool, Replay | None]:
            connection.execute(_STOP, (now_us, replay_id, project_id))
            stopped = connection.changes() == 1
            found = _get(connection, project_id, replay_id)
            if stopped and found is not None:
                detail = {"replay": replay_id, "done": found.done, "total": found.total}
                drive(
                    write_audit(
                        SqliteTransaction(connection),
                        now_us,
                        actor,
                        project_id,
                        "replay.stop",
                        detail,
                    )
                )
            return stopped, found

        return await self._writer.run(work)

    async def running(self, limit: int) -> Sequence[Replay]:
        sql = f"{_SELECT} WHERE status = 'running' ORDER BY number LIMIT ?"
        return await self._readers.run(
            lambda connection: [replay_of_row(row) for row in connection.execute(sql, (limit,))]
        )

    async def advance(self, replay_id: str, limit: int, now_us: int) -> tuple[int, bool]:
        return await self._writer.run(
            lambda connection: _advance(connection, replay_id, limit, now_us)
        )

    async def prune(self, now_us: int, limit: int) -> int:
        def work(connection: apsw.Connection) -> int:
            connection.execute(_PRUNE, (limit, now_us - REPLAYS_KEPT_US))
            return connection.changes()

        return await self._writer.run(work)


def _advance(
    connection: apsw.Connection, replay_id: str, limit: int, now_us: int
) -> tuple[int, bool]:
    place: Any = connection.execute(_PLACE, (replay_id,)).fetchone()
    if place is None:
        return 0, False
    project_id, text, position, last_number, done, total, actor = place
    wanted = msgspec.json.decode(text, type=DeadLetterFilter)
    bounds = {"project_id": project_id, "position": position, "last_number": last_number}
    ceiling = _ceiling(connection, bounds)
    rows = _next_rows(connection, wanted, bounds | {"ceiling": ceiling, "limit": limit})
    replayed = 0
    for row in rows:
        closing = replay_row(connection, row, now_us, actor=actor, reason=f"replay {replay_id}")
        replayed += closing is Closing.DONE
    # Fewer than asked for: nothing more matches up to the ceiling.
    position = rows[-1].number if len(rows) == limit else ceiling
    goes_on = position < last_number
    status = ReplayStatus.RUNNING if goes_on else ReplayStatus.DONE
    connection.execute(_MOVE, (position, done + replayed, status.value, now_us, replay_id))
    if not goes_on:
        detail = {"replay": replay_id, "done": done + replayed, "total": total}
        drive(
            write_audit(
                SqliteTransaction(connection), now_us, actor, project_id, "replay.done", detail
            )
        )
    return replayed, goes_on


def _ceiling(connection: apsw.Connection, bounds: dict[str, int]) -> int:
    """Highest number that this slice looks at."""
    row: Any = connection.execute(
        f"SELECT number {_OPEN_AFTER} ORDER BY number LIMIT 1 OFFSET {_SLICE_EXAMINED_MAX - 1}",
        bounds,
    ).fetchone()
    return bounds["last_number"] if row is None else int(row[0])


def _next_rows(
    connection: apsw.Connection, wanted: DeadLetterFilter, bounds: dict[str, int]
) -> list[DeadRow]:
    test, values = conditions(wanted)
    rows: list[Any] = connection.execute(
        "SELECT number, project_id, sequence, kind, subscriber_id, delivery_number, state "
        f"{_OPEN_AFTER} AND number <= :ceiling AND {test} ORDER BY number LIMIT :limit",
        {**values, **bounds},
    ).fetchall()
    return [DeadRow(*row) for row in rows]


def _get(connection: apsw.Connection, project_id: int, replay_id: str) -> Replay | None:
    row = connection.execute(
        f"{_SELECT} WHERE id = ? AND project_id = ?", (replay_id, project_id)
    ).fetchone()
    return None if row is None else replay_of_row(row)
