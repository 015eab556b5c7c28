"""Refused requests in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.store.contract import Rejection
from headrace.store.postgres.database import Connection, Database
from headrace.store.rows.rejections import COLUMNS, rejection, rejection_values

_INSERT = (
    f"INSERT INTO rejections ({COLUMNS}) "  # noqa: S608
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
)
_LIST = (
    f"SELECT id, {COLUMNS} FROM rejections "  # noqa: S608
    "WHERE project_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
)
# Ids grow with time, so the oldest are looked at first and the rest not at all.
_REMOVE_OLD = (
    "DELETE FROM rejections WHERE id IN (SELECT id FROM rejections ORDER BY id LIMIT $2) "
    "AND at_us < $1 RETURNING 1"
)
_REMOVE_MANY = (
    "DELETE FROM rejections WHERE project_id = $1 AND id IN (SELECT id FROM rejections "
    "WHERE project_id = $1 AND id <= (SELECT id FROM rejections WHERE project_id = $1 "
    "ORDER BY id DESC LIMIT 1 OFFSET $2) ORDER BY id LIMIT $3) RETURNING 1"
)


class PostgresRejections:
    """See `headrace.store.contract.RejectionStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, rejections: Sequence[Rejection]) -> None:
        rows = [rejection_values(each) for each in rejections]
        await self._database.write(lambda connection: connection.executemany(_INSERT, rows))

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Rejection]:
        values = (project_id, (1 << 62) if before is None else before, limit)

        async def read(connection: Connection) -> Sequence[Rejection]:
            return [rejection(row) for row in await connection.fetch(_LIST, *values)]

        return await self._database.read(read)

    async def prune(self, older_than_us: int, keep_per_project: int, limit: int) -> int:
        async def work(connection: Connection) -> int:
            gone = len(await connection.fetch(_REMOVE_OLD, older_than_us, limit))
            for row in await connection.fetch("SELECT id FROM projects"):
                values = (row[0], keep_per_project, limit)
                gone += len(await connection.fetch(_REMOVE_MANY, *values))
            return gone

        return await self._database.write(work)
