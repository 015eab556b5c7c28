"""Refused requests in the embedded store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from headrace.store.contract import Rejection
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.writer import Writer

_COLUMNS = (
    "project_id, at_us, status, code, message, details, route, api_key_id, request_id, "
    "body_shape, body_bytes"
)
_NAMES = ("id", *(name.strip() for name in _COLUMNS.split(",")))


def _row(rejection: Rejection) -> tuple[Any, ...]:
    values = msgspec.structs.asdict(rejection)
    for name in ("details", "body_shape"):
        values[name] = msgspec.json.encode(values[name]).decode()
    return tuple(values[name] for name in _NAMES[1:])


def _rejection(row: Sequence[Any]) -> Rejection:
    values = dict(zip(_NAMES, row, strict=True))
    for name in ("details", "body_shape"):
        values[name] = msgspec.json.decode(values[name])
    return msgspec.convert(values, Rejection)


class SqliteRejections:
    """See `headrace.store.contract.RejectionStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def add(self, rejections: Sequence[Rejection]) -> None:
        rows = [_row(rejection) for rejection in rejections]
        marks = ", ".join("?" * (len(_NAMES) - 1))
        sql = f"INSERT INTO rejections ({_COLUMNS}) VALUES ({marks})"  # noqa: S608

        def work(connection: apsw.Connection) -> None:
            connection.executemany(sql, rows)

        await self._writer.run(work)

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Rejection]:
        sql = (
            f"SELECT id, {_COLUMNS} FROM rejections "  # noqa: S608
            "WHERE project_id = ? AND id < ? ORDER BY id DESC LIMIT ?"
        )
        values = (project_id, (1 << 62) if before is None else before, limit)

        def read(connection: apsw.Connection) -> list[Rejection]:
            return [_rejection(row) for row in connection.execute(sql, values)]

        return await self._readers.run(read)

    async def prune(self, older_than_us: int, keep_per_project: int, limit: int) -> int:
        def work(connection: apsw.Connection) -> int:
            # Ids grow with time, so the oldest are looked at first and the rest not at all.
            gone = connection.execute(
                "DELETE FROM rejections WHERE id IN "
                "(SELECT id FROM rejections ORDER BY id LIMIT ?2) AND at_us < ?1 RETURNING 1",
                (older_than_us, limit),
            ).fetchall()
            for (project_id,) in connection.execute("SELECT id FROM projects").fetchall():
                gone += connection.execute(
                    "DELETE FROM rejections WHERE project_id = ?1 AND id IN (SELECT id "
                    "FROM rejections WHERE project_id = ?1 AND id <= (SELECT id FROM rejections "
                    "WHERE project_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2) "
                    "ORDER BY id LIMIT ?3) RETURNING 1",
                    (project_id, keep_per_project, limit),
                ).fetchall()
            return len(gone)

        return await self._writer.run(work)
