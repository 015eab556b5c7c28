"""Where a store under test lives, and how a test looks at it past the store itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import apsw

from headrace.store.contract import Store
from headrace.store.sqlite.store import open_store


class Place(Protocol):
    """One empty place for one store; it stays when the store is closed."""

    def open(self) -> Store:
        """Open the store there, as the process that serves."""
        ...

    def run_sql(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        """Run one statement on a connection of its own: sees only what is committed."""
        ...


class SqlitePlace:
    """A file in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store" / "headrace.db"

    def open(self) -> Store:
        return open_store(self.path, serve=True)

    def run_sql(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(5000)
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()


#: Every store that keeps the contract; the whole suite runs over each.
PLACES: dict[str, Callable[[Path], Place]] = {"sqlite": SqlitePlace}
