"""Which store a URL names: the only module that knows the concrete stores."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import apsw

from headrace.config import Settings
from headrace.store.contract.events import StoreSetupError
from headrace.store.engine.postgres.database import Database, PoolOptions
from headrace.store.engine.postgres.errors import is_error
from headrace.store.engine.postgres.errors import store_error as postgres_error
from headrace.store.engine.postgres.shard import distribute
from headrace.store.engine.postgres.url import is_postgres, masked
from headrace.store.engine.sqlite.connection import open_reader, store_error
from headrace.store.engine.sqlite.migrate import newest_version, schema_version
from headrace.store.postgres import open_store as open_postgres
from headrace.store.postgres import schema_versions as postgres_versions
from headrace.store.sqlite import open_store as open_sqlite
from headrace.store.store import Store
from headrace.store.transfer.job import CopyJob, Progress, Report
from headrace.store.transfer.source import Source
from headrace.store.transfer.target import Target

#: For one statement of a copy, which writes a few thousand rows or reads as many.
COPY_STATEMENT_SECONDS_MAX = 120.0


async def open_store(url: str, *, serve: bool, create: bool = True) -> Store:
    """Open the store a URL names, connected as by default.

    Args:
        serve: whether this process will accept events.
        create: whether to make a store where there is none.

    Raises:
        StoreSetupError: with what to do about it.
    """
    if is_postgres(url):
        return await open_postgres(url, PoolOptions(), create=create)
    return open_sqlite(sqlite_path(url), serve=serve, create=create)


async def open_configured(settings: Settings, *, serve: bool, create: bool = True) -> Store:
    """As `open_store`, connected as the settings say."""
    if is_postgres(settings.store):
        return await open_postgres(settings.store, pool_options(settings), create=create)
    return await open_store(settings.store, serve=serve, create=create)


def pool_options(settings: Settings) -> PoolOptions:
    """How the settings say to connect."""
    return PoolOptions(
        connections_max=settings.postgres_connections_max,
        statements_kept=settings.postgres_statements_kept,
    )


async def migrate_store(settings: Settings) -> tuple[int, int]:
    """Make a store or bring it to the newest schema; `(before, after)`.

    Raises:
        StoreSetupError: with what to do about it.
    """
    before, _ = await schema_versions(settings)
    if is_postgres(settings.store):
        options = pool_options(settings)
        store: Store = await open_postgres(settings.store, options, create=True, migrated=True)
    else:
        store = await open_configured(settings, serve=False)
    await store.close()
    return before, (await schema_versions(settings))[0]


async def distribute_store(settings: Settings, shards: int) -> list[str]:
    """Spread a store over the nodes of a cluster; the tables that were not spread before.

    Raises:
        StoreSetupError: with what to do about it.
    """
    if not is_postgres(settings.store):
        message = "Only a PostgreSQL store can be spread, over the nodes of a Citus cluster."
        raise StoreSetupError(message)
    # A table may take hours to be moved. Whoever runs the command can end it at any time.
    async with _apart(settings.store, None) as connection:
        return await distribute(connection, shards)


async def copy_store(source: str, target: str, progress: Progress) -> Report:
    """Copy a whole embedded store into an empty PostgreSQL one, or go on doing so.

    Raises:
        StoreSetupError: with what to do about it.
        StoreError: it did not come to its end; run it again to go on.
    """
    if not is_postgres(target):
        message = (
            f"{shown_store(target)!r} is no PostgreSQL store, and only into one can be copied."
        )
        raise StoreSetupError(message)
    opened = Source(sqlite_path(source))
    try:
        async with _apart(target, COPY_STATEMENT_SECONDS_MAX) as connection:
            return await CopyJob(opened, Target(connection), progress).run()
    finally:
        opened.close()


@contextlib.asynccontextmanager
async def _apart(url: str, statement_seconds_max: float | None) -> AsyncIterator[Any]:
    """A connection for work that may take long; what it raises is a `StoreError`."""
    try:
        connection = await Database(url, PoolOptions()).dedicated_connection(statement_seconds_max)
    except Exception as error:
        if not is_error(error):
            raise
        message = f"The store {masked(url)} cannot be opened: {postgres_error(error)}"
        raise StoreSetupError(message) from error
    try:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute("SET idle_in_transaction_session_timeout = '60s'")
        yield connection
    except Exception as error:
        if not is_error(error):
            raise
        raise postgres_error(error) from error
    finally:
        await connection.close()


def sqlite_path(url: str) -> Path:
    """File of an embedded store; three slashes before a relative path, four before an absolute.

    A symbolic link is followed: SQLite keeps its own files beside the database and not beside the
    link, and so must the lock, lest one store have two servers.

    Raises:
        StoreSetupError: the URL names no embedded store.
    """
    if not url.startswith("sqlite:///") or url.endswith("/"):
        message = (
            f"{masked(url)!r} is no store: use sqlite:///path/to/file.db "
            "or postgresql://user@host/database"
        )
        raise StoreSetupError(message)
    path = Path(unquote(urlsplit(url).path)[1:])
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def is_shared(url: str) -> bool:
    """Whether several machines may work on the store."""
    return is_postgres(url)


def shown_store(url: str) -> str:
    """The URL as it may be shown and logged: without a password."""
    return masked(url) if is_postgres(url) else url


async def schema_versions(settings: Settings) -> tuple[int, int]:
    """`(of the store, of this release)`; 0 for a store that is not there. Changes nothing.

    Raises:
        StoreSetupError: the store cannot be read.
    """
    if is_postgres(settings.store):
        return await postgres_versions(settings.store, pool_options(settings))
    path = sqlite_path(settings.store)
    if not path.exists():
        return 0, newest_version()
    try:
        with contextlib.closing(open_reader(str(path))) as connection:
            return schema_version(connection), newest_version()
    except apsw.Error as error:
        message = f"The store {path} cannot be read: {store_error(error)}"
        raise StoreSetupError(message) from error
