"""Transactions on PostgreSQL for code that is written once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from headrace.store.engine.dialect import Statement
from headrace.store.engine.postgres.database import Connection, Database
from headrace.store.engine.transaction import Row, Work

T = TypeVar("T")


class PostgresTransaction:
    """See `headrace.store.engine.transaction.Transaction`."""

    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        #: For statements that only PostgreSQL has.
        self.connection = connection

    async def rows(self, statement: Statement, *values: Any) -> Sequence[Row]:
        return (
            await self.connection.fetch(statement.postgres, *values) if statement.postgres else ()
        )

    async def row(self, statement: Statement, *values: Any) -> Row | None:
        row: Row | None = await self.connection.fetchrow(statement.postgres, *values)
        return row

    async def value(self, statement: Statement, *values: Any) -> Any:
        return await self.connection.fetchval(statement.postgres, *values)

    async def run(self, statement: Statement, *values: Any) -> int:
        if not statement.postgres:
            return 0
        return rows_changed(await self.connection.execute(statement.postgres, *values))

    async def run_many(self, statement: Statement, rows: Sequence[Sequence[Any]]) -> None:
        await self.connection.executemany(statement.postgres, rows)


class PostgresDatabase:
    """See `headrace.store.engine.transaction.Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, work: Work[T], *, snapshot: bool = False) -> T:
        return await self._database.read(
            lambda connection: work(PostgresTransaction(connection)), snapshot=snapshot
        )

    async def write(self, work: Work[T]) -> T:
        return await self._database.write(lambda connection: work(PostgresTransaction(connection)))


def rows_changed(status: str) -> int:
    """Rows that a statement changed, from its status; 0 for one that changes none by its kind."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdecimal() else 0
