"""Recent rejections and their reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.store.contract.rejections import Rejection
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Row, Transaction

_COLUMNS = (
    "project_id, at_us, status, code, message, details, route, api_key_id, request_id, "
    "body_shape, body_bytes"
)
_NAMES = ("id", *_COLUMNS.split(", "))
#: Kept as JSON text.
_ENCODED = ("details", "body_shape")

_INSERT = sql(
    f"INSERT INTO rejections ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
)
LIST = sql(
    f"SELECT id, {_COLUMNS} FROM rejections "
    "WHERE project_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
)
# Ids grow with time, so the scan begins at the oldest and stops at the limit.
OLD = sql(
    "SELECT id FROM (SELECT id, at_us FROM rejections ORDER BY id LIMIT $2) n WHERE at_us < $1"
)
MANY = sql(
    "SELECT id FROM rejections WHERE project_id = $1 AND id <= (SELECT id FROM rejections "
    "WHERE project_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2) ORDER BY id LIMIT $3"
)
REMOVE = sql("DELETE FROM rejections WHERE id = ANY($1::bigint[])")
_PROJECTS = sql("SELECT id FROM projects")


class Rejections:
    """Rejected requests and events of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, rejections: Sequence[Rejection]) -> None:
        """Store rejections."""
        rows = [_values(rejection) for rejection in rejections]
        await self._database.write(lambda tx: tx.run_many(_INSERT, rows))

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Rejection]:
        """Rejections of a project, newest first, below id `before`."""
        values = (project_id, BIGINT_MAX if before is None else before, limit)
        # Decoded where they are read: on SQLite that is not the event loop.
        return await self._database.read(lambda tx: _list(tx, *values))

    async def prune(self, older_than_us: int, keep_per_project: int, limit: int) -> int:
        """Remove up to `limit` old ones, and up to `limit` of each project that has too many.

        Returns how many were removed.
        """

        async def work(tx: Transaction) -> int:
            removed = await _remove(tx, await tx.rows(OLD, older_than_us, limit))
            for (project_id,) in await tx.rows(_PROJECTS):
                many = await tx.rows(MANY, project_id, keep_per_project, limit)
                removed += await _remove(tx, many)
            return removed

        return await self._database.write(work)


async def _list(tx: Transaction, *values: int) -> list[Rejection]:
    return [_rejection(row) for row in await tx.rows(LIST, *values)]


async def _remove(tx: Transaction, rows: Sequence[Row]) -> int:
    return await tx.run(REMOVE, [row[0] for row in rows]) if rows else 0


def _values(rejection: Rejection) -> tuple[Any, ...]:
    """Values of `_COLUMNS`."""
    values = msgspec.structs.asdict(rejection)
    for name in _ENCODED:
        values[name] = msgspec.json.encode(values[name]).decode()
    return tuple(values[name] for name in _NAMES[1:])


def _rejection(row: Row) -> Rejection:
    values = dict(zip(_NAMES, row, strict=True))
    for name in _ENCODED:
        values[name] = msgspec.json.decode(values[name])
    return msgspec.convert(values, Rejection)
