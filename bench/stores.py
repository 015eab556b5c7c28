"""Which kind of store a run measures, and where the databases of its servers are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from tests.support.postgres import NEWEST, PostgresServer

DATABASE = "headrace.db"
#: Settings of the measured PostgreSQL, otherwise as for tests. The log may grow, so that a short
#: load is not one long checkpoint.
_SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB"}


class StoreKind(StrEnum):
    """What `--store` takes."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class SharedDatabases:
    """A PostgreSQL server with a database for each folder that a scenario makes."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._names: dict[Path, str] = {}

    def name(self, folder: Path) -> str:
        """Database of the folder, created on first use."""
        if folder not in self._names:
            self._names[folder] = self.server.new_database()
        return self._names[folder]

    def copy(self, source: Path, target: Path) -> None:
        """Start the folder `target` with a copy of the database of `source`, which is idle."""
        self._names[target] = self.server.new_database(like=self.name(source))

    def drop(self, folder: Path) -> None:
        """Remove the database of a removed folder."""
        if folder in self._names:
            self.server.drop_database(self._names.pop(folder))


#: None while servers keep their events in SQLite files.
_shared: SharedDatabases | None = None


@contextmanager
def using(kind: StoreKind, folder: Path, **settings: str) -> Iterator[None]:
    """Let every started server use such a store, below `folder`.

    Args:
        settings: of PostgreSQL, other than those of all scenarios.
    """
    global _shared  # noqa: PLW0603 - one kind of store a run
    if kind is StoreKind.SQLITE:
        yield
        return
    server = PostgresServer(NEWEST, folder.resolve(), **(_SETTINGS | settings))
    try:
        server.start()
        _shared = SharedDatabases(server)
        yield
    finally:
        _shared = None
        server.remove()


def shared() -> SharedDatabases | None:
    """The databases on PostgreSQL; None in a run over SQLite."""
    return _shared


def copy_store(source: Path, target: Path) -> None:
    """Copy a store that is not in use to another folder."""
    if _shared is not None:
        _shared.copy(source.resolve(), target.resolve())
    else:
        shutil.copy(source / DATABASE, target / DATABASE)


def store_described() -> dict[str, str]:
    """What the figures depend on besides the machine."""
    if _shared is None:
        return {}
    [[version]] = _shared.server.run_sql("postgres", "SHOW server_version")
    return {"PostgreSQL": version}


def store_url(folder: Path) -> str:
    """Return the store that every server started on `folder` uses."""
    if _shared is not None:
        return _shared.server.url(_shared.name(folder.resolve()))
    return f"sqlite:///{folder.resolve() / DATABASE}"
