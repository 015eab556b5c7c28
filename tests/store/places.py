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

    async def open(self) -> Store:
        """Open the store there, as the process that serves."""
        ...

    def run_sql(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        """Run one statement on a connection of its own: sees only what is committed."""
        ...

    def fill_contacts(self, project_id: int, count: int, prefix: str) -> None:
        """Make contacts `prefix-1`, `prefix-2`, … with the property `plan` = `free`."""
        ...


#: Rows `(number, …)` of as many contacts as `?2`, with external ids that begin with `?3`.
_SQLITE_CONTACTS = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?2)
INSERT INTO contacts (id, project_id, external_id, properties, created_us, updated_us)
SELECT lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' ||
    substr(hex(randomblob(2)), 2) || '-8' || substr(hex(randomblob(2)), 2) || '-' ||
    hex(randomblob(6))), ?1, ?3 || '-' || i, '{"plan":"free"}', 0, 0 FROM n
"""


class SqlitePlace:
    """A file in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store" / "headrace.db"

    async def open(self) -> Store:
        return open_store(self.path, serve=True)

    def run_sql(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(5000)
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def fill_contacts(self, project_id: int, count: int, prefix: str) -> None:
        self.run_sql(_SQLITE_CONTACTS, project_id, count, prefix)


#: Every store that keeps the contract; the whole suite runs over each.
PLACES: dict[str, Callable[[Path], Place]] = {"sqlite": SqlitePlace}
