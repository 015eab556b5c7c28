"""Transactions of the embedded store for code that is written once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import apsw

from headrace.store.engine.dialect import Statement, sqlite_values
from headrace.store.engine.sqlite.readers import Readers
from headrace.store.engine.sqlite.writer import Writer
from headrace.store.engine.transaction import Row, Work, drive

T = TypeVar("T")


class SqliteTransaction:
    """See `headrace.store.engine.transaction.Transaction`. None of its methods ever suspends."""

    __slots__ = ("connection",)

    def __init__(self, connection: apsw.Connection) -> None:
        #: For statements that only SQLite has.
        self.connection = connection

    async def rows(self, statement: Statement, *values: Any) -> Sequence[Row]:
        if not statement.sqlite:
            return ()
        rows: Sequence[Row] = self._execute(statement, values).fetchall()
        return rows

    async def row(self, statement: Statement, *values: Any) -> Row | None:
        row: Row | None = self._execute(statement, values).fetchone()
        return row

    async def value(self, statement: Statement, *values: Any) -> Any:
        row: Any = self._execute(statement, values).fetchone()
        return None if row is None else row[0]

    async def run(self, statement: Statement, *values: Any) -> int:
        if not statement.sqlite:
            return 0
        # Fetch all rows: a statement that returns rows makes its changes as they are fetched.
        self._execute(statement, values).fetchall()
        return self.connection.changes()

    async def run_many(self, statement: Statement, rows: Sequence[Sequence[Any]]) -> None:
        count = statement.sqlite_values
        self.connection.executemany(statement.sqlite, [sqlite_values(row[:count]) for row in rows])

    def _execute(self, statement: Statement, values: Sequence[Any]) -> Any:
        taken = sqlite_values(values[: statement.sqlite_values])
        return self.connection.execute(statement.sqlite, taken)


class SqliteDatabase:
    """See `headrace.store.engine.transaction.Database`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def read(self, work: Work[T], *, snapshot: bool = False) -> T:
        del snapshot
        return await self._readers.run(
            lambda connection: drive(work(SqliteTransaction(connection)))
        )

    async def write(self, work: Work[T]) -> T:
        return await self._writer.run_shared(
            lambda connection: drive(work(SqliteTransaction(connection)))
        )


class OverwritingDatabase(SqliteDatabase):
    """A database whose writes overwrite what they remove, including freed pages.

    Removed values would otherwise stay readable in the file until their pages are reused.
    """

    async def write(self, work: Work[T]) -> T:
        def overwriting(connection: apsw.Connection) -> T:
            connection.pragma("secure_delete", 1)
            try:
                return drive(work(SqliteTransaction(connection)))
            finally:
                connection.pragma("secure_delete", "fast")

        return await self._writer.run(overwriting)
