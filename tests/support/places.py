"""Where a store under test lives, and how a test reads it directly."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import apsw
import pytest

from headrace.domain.events.event import Status
from headrace.store.engine.postgres.database import PoolOptions
from headrace.store.postgres import open_store as open_postgres
from headrace.store.sqlite import open_store
from headrace.store.store import Store
from tests.support import postgres


class Place(Protocol):
    """An empty place for one store; it remains when the store is closed."""

    #: URL of the store there.
    url: str

    async def open(self) -> Store:
        """Open the store there, as a serving process does."""
        ...

    def run_sql(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        """Run one statement on a separate connection, which sees only committed data.

        Question marks are placeholders for values, whichever the store.
        """
        ...

    def set_status(self, sequence: int, status: Status) -> None:
        """Set the status of a stored event, as processing would."""
        ...

    def resolve(self, sequence: int, contact_id: str) -> None:
        """Make a stored event a processed one of a contact, as far as reads need it."""
        ...

    def remove(self) -> None:
        """Release the resources of the place."""
        ...


class SqlitePlace:
    """A file in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store" / "headrace.db"
        self.url = f"sqlite:///{self.path}"

    async def open(self) -> Store:
        return open_store(self.path, serve=True)

    def run_sql(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(5000)
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def set_status(self, sequence: int, status: Status) -> None:
        if status == Status.PROCESSING:
            self.run_sql("UPDATE event_queue SET lease_until_us = 1 WHERE sequence = ?", sequence)
        else:
            self.run_sql(
                "UPDATE events SET status = ?, part = 1 WHERE sequence = ?", status, sequence
            )

    def resolve(self, sequence: int, contact_id: str) -> None:
        self.run_sql(
            "UPDATE events SET status = ?, resolved_contact_id = ?, part = 1 WHERE sequence = ?",
            *(int(Status.PROCESSED), contact_id, sequence),
        )
        self.run_sql("DELETE FROM event_queue WHERE sequence = ?", sequence)

    def remove(self) -> None:
        pass


class PostgresPlace:
    """A database of its own on the server that the tests share."""

    def __init__(
        self,
        folder: Path | None = None,
        major: int = postgres.NEWEST,
        server: postgres.PostgresServer | None = None,
        options: PoolOptions | None = None,
    ) -> None:
        del folder
        self.options = options or PoolOptions()
        self.server = server or postgres.server(major)
        self.database = self.server.new_database()
        self.url = self.server.url(self.database)

    async def open(self) -> Store:
        return await open_postgres(self.url, self.options)

    def run_sql(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        parts = sql.split("?")
        assert len(parts) == len(values) + 1 or "$1" in sql, sql
        numbered = parts[0] + "".join(f"${n}{part}" for n, part in enumerate(parts[1:], 1))
        return self.server.run_sql(self.database, numbered, *values)

    def set_status(self, sequence: int, status: Status) -> None:
        if status == Status.PROCESSING:
            self.run_sql("UPDATE event_queue SET owner = 'somebody' WHERE sequence = ?", sequence)
        elif status != Status.ACCEPTED:
            self.run_sql(
                "INSERT INTO event_states (lane, sequence, project_id, status, attempts) "
                "SELECT lane, sequence, project_id, ?, 0 FROM events WHERE sequence = ?",
                int(status),
                sequence,
            )

    def resolve(self, sequence: int, contact_id: str) -> None:
        self.run_sql(
            "INSERT INTO event_states (lane, sequence, project_id, status, attempts, contact_id) "
            "SELECT lane, sequence, project_id, ?, 1, ? FROM events WHERE sequence = ?",
            *(int(Status.PROCESSED), contact_id, sequence),
        )
        self.run_sql("DELETE FROM event_queue WHERE sequence = ?", sequence)

    def remove(self) -> None:
        self.server.drop_database(self.database)


#: Every store that implements the contract; the whole suite runs over each.
PLACES: dict[str, Callable[[Path], Place]] = {
    "sqlite": SqlitePlace,
    f"postgresql{postgres.NEWEST}": PostgresPlace,
}
#: As behind a pooler that assigns each transaction another connection.
POOLED_PLACES: dict[str, Callable[[Path], Place]] = {
    f"postgresql{postgres.NEWEST}-pooled": functools.partial(
        PostgresPlace, options=PoolOptions(statements_kept=0)
    ),
}
#: For the few tests that run on the oldest release too, where it is installed.
OLDEST_PLACES: dict[str, Callable[[Path], Place]] = {
    f"postgresql{postgres.OLDEST}": functools.partial(PostgresPlace, major=postgres.OLDEST),
}


def store_kinds(config: pytest.Config, *, pooled: bool = False, oldest: bool = False) -> list[str]:
    """Names of the stores to run tests over, limited to those requested and installed here.

    Args:
        config: of the run; its option `--postgres` lists the requested releases.
        pooled: also as behind a pooler.
        oldest: also on the oldest release.
    """
    wanted = config.getoption("--postgres").split(",")
    kinds = ["sqlite"]
    if str(postgres.NEWEST) in wanted:
        kinds += [kind for kind in PLACES if kind != "sqlite"]
        kinds += POOLED_PLACES if pooled else []
    if oldest and str(postgres.OLDEST) in wanted and postgres.binaries(postgres.OLDEST) is not None:
        kinds += OLDEST_PLACES
    return kinds
