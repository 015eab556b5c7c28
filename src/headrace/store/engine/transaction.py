"""The interface to a database for code that is written once.

Such code is `async`. On PostgreSQL it suspends at its statements. On SQLite all of it runs inside
the thread that owns the connection and never suspends: `drive` runs it to its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from headrace.store.engine.dialect import Statement

#: Longest a read may hold its snapshot: a longer one would keep the log from being checkpointed.
READ_SECONDS_MAX = 2.0

T = TypeVar("T")

#: One row of a result: its values by position. Truth values are 0 and 1 on SQLite.
Row = Sequence[Any]


class Transaction(Protocol):
    """Statements that are committed together or not at all."""

    async def rows(self, statement: Statement, *values: Any) -> Sequence[Row]:
        """All rows."""
        ...

    async def row(self, statement: Statement, *values: Any) -> Row | None:
        """The first row."""
        ...

    async def value(self, statement: Statement, *values: Any) -> Any:
        """The first value of the first row; None when there is no row."""
        ...

    async def run(self, statement: Statement, *values: Any) -> int:
        """The number of rows that were inserted, updated or deleted."""
        ...

    async def run_many(self, statement: Statement, rows: Sequence[Sequence[Any]]) -> None:
        """The statement once for each row of values."""
        ...


#: What is done inside a transaction.
Work = Callable[[Transaction], Coroutine[Any, Any, T]]


class Database(Protocol):
    """Runs work in transactions, with a limit on how many wait and on how long each takes."""

    async def read(self, work: Work[T], *, snapshot: bool = False) -> T:
        """Run `work`, which only reads.

        Args:
            snapshot: whether all its statements must see the same state. SQLite always does so.

        Raises:
            StoreBusyError: too many wait, or it took too long.
        """
        ...

    async def write(self, work: Work[T]) -> T:
        """Run `work` in one transaction; committed when this returns.

        PostgreSQL runs `work` again after a conflict with another transaction, so it must not keep
        anything from an earlier run.

        Raises:
            StoreError: it was not committed, or the outcome is unknown.
            StoreConflictError: as `work` raises it; nothing was committed.
        """
        ...


class WaitsError(RuntimeError):
    """Work on SQLite suspended outside its transaction."""


def drive(work: Awaitable[T]) -> T:
    """Run a coroutine that never suspends to its end, on this thread.

    Raises:
        WaitsError: it suspended, but there is no loop here to resume it.
    """
    coroutine = work.__await__()
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise WaitsError("Inside a transaction only its own statements can be waited for.")
