"""Servers and databases that are rejected at start, and the error messages."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from headrace.store.contract.errors import StoreSetupError
from headrace.store.engine.postgres.database import Database, PoolOptions
from headrace.store.engine.postgres.durability import check_server
from headrace.store.engine.postgres.migrate import _Steps, newest_version
from headrace.store.migrations import FIRST, Migration, migrations
from headrace.store.postgres import open_store, schema_versions
from headrace.store.store import Store
from tests.support.postgres import PostgresServer, server

Opened = Callable[..., str]


@pytest.fixture
def database() -> Iterator[str]:
    name = server().new_database()
    yield name
    server().drop_database(name)


@pytest.fixture
def empty_database() -> Iterator[str]:
    name = server().new_database(migrated=False)
    yield name
    server().drop_database(name)


async def opened(url: str, *, create: bool = False, migrated: bool = False) -> int:
    """Open and close; returns the schema."""
    store: Store = await open_store(url, PoolOptions(), create=create, migrated=migrated)
    try:
        return (await store.health()).schema_version
    finally:
        await store.close()


def rejection(url: str, *, create: bool = False) -> str:
    with pytest.raises(StoreSetupError) as caught:
        asyncio.run(opened(url, create=create))
    return str(caught.value)


def test_empty_database_is_filled_only_with_permission(empty_database: str) -> None:
    url = server().url(empty_database)
    assert "headrace migrate" in rejection(url)
    assert asyncio.run(schema_versions(url, PoolOptions())) == (0, newest_version())
    assert asyncio.run(opened(url, create=True)) == newest_version()
    assert asyncio.run(opened(url)) == newest_version()


def test_concurrent_processes_create_the_schema_once(empty_database: str) -> None:
    url = server().url(empty_database)

    async def both() -> list[int]:
        return await asyncio.gather(*(opened(url, create=True) for _ in range(3)))

    assert asyncio.run(both()) == [newest_version()] * 3
    rows = server().run_sql(empty_database, "SELECT number, name FROM schema_migrations ORDER BY 1")
    assert rows == [(step.number, step.name) for step in migrations("postgres")]


def test_partial_schema_is_never_visible(empty_database: str) -> None:
    url = server().url(empty_database)

    async def fill_and_look() -> set[int]:
        filling = asyncio.create_task(opened(url, create=True))
        seen = {(await schema_versions(url, PoolOptions()))[0]}
        while not filling.done():
            seen.add((await schema_versions(url, PoolOptions()))[0])
        await filling
        return seen

    assert asyncio.run(fill_and_look()) <= {0, newest_version()}


def test_older_schema_is_rejected_until_it_is_migrated(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server().url(database)
    later = Migration(99, "later", "CREATE TABLE later (x integer)")
    steps = [*migrations("postgres"), later]
    monkeypatch.setattr("headrace.store.engine.postgres.migrate.migrations", lambda _: steps)
    message = rejection(url, create=True)
    assert f"schema {steps[-2].number}" in message
    assert "headrace migrate" in message
    assert asyncio.run(opened(url, migrated=True)) == newest_version() == later.number


def test_schema_of_a_development_version_is_rejected(database: str) -> None:
    steps = newest_version() - FIRST + 1
    server().run_sql(database, "UPDATE schema_migrations SET number = number - $1", steps)
    url = server().url(database)
    assert "development version" in rejection(url)
    with pytest.raises(StoreSetupError, match="import them into a new store"):
        asyncio.run(opened(url, migrated=True))


def test_newer_schema_is_rejected(database: str) -> None:
    server().run_sql(database, "INSERT INTO schema_migrations VALUES (9999, 'later', 0)")
    url = server().url(database)
    assert "newer release" in rejection(url)
    with pytest.raises(StoreSetupError, match="newer release"):
        asyncio.run(opened(url, migrated=True))


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_server_that_can_lose_commits_is_rejected(own_server: PostgresServer, name: str) -> None:
    url = own_server.url("postgres")
    own_server.set(name, "off")
    try:
        assert f"Set {name}=on" in rejection(url, create=True)
    finally:
        own_server.set(name, "on")


@pytest.mark.parametrize("level", ["off", "local", "remote_write"])
def test_asynchronous_commit_is_rejected(database: str, level: str) -> None:
    server().run_sql(database, f"ALTER DATABASE {database} SET synchronous_commit = {level}")
    message = rejection(server().url(database))
    assert f"synchronous_commit is {level}" in message


def test_stricter_commit_is_accepted(database: str) -> None:
    server().run_sql(database, f"ALTER DATABASE {database} SET synchronous_commit = remote_apply")
    assert asyncio.run(opened(server().url(database))) == newest_version()


def test_database_in_another_encoding_is_rejected() -> None:
    name = "in_latin1"
    server().run_sql("postgres", f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0")
    try:
        assert "UTF8" in rejection(server().url(name), create=True)
    finally:
        server().drop_database(name)


def test_old_server_is_rejected() -> None:
    settings = {"server_version": "13.14", "server_version_num": "130014"}

    async def check() -> None:
        # The version is checked before any other query.
        await check_server(None, settings)  # type: ignore[arg-type]

    with pytest.raises(StoreSetupError, match=r"PostgreSQL 13\.14; Headrace needs 14"):
        asyncio.run(check())


def test_error_of_an_absent_server_hides_the_password() -> None:
    message = rejection("postgresql://ada:s3cret@127.0.0.1:1/headrace?password=s3cret")
    assert "postgresql://ada@127.0.0.1:1/headrace" in message
    assert "s3cret" not in message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.1:port/x",
        "postgresql://ada:s3cret@[::1/x",
        "postgresql://ada:s3cret@127.0.0.1:1/x?sslmode=perhaps",
        "postgresql://ada:s3cret@127.0.0.1:1/x?nonsense=1",
    ],
)
def test_error_of_an_invalid_url_hides_the_password(url: str) -> None:
    assert "s3cret" not in rejection(url)


#: Brings the store of a URL to the newest schema, and prints each step when it begins.
_MIGRATE = """
import asyncio, sys
from headrace.store.engine.postgres.database import PoolOptions
from headrace.store.postgres import open_store

def report(step, done, total):
    print(step, done, total, flush=True)

async def migrate():
    store = await open_store(sys.argv[1], PoolOptions(), migrated=True, report=report)
    await store.close()

asyncio.run(migrate())
"""


@pytest.fixture
def old_database() -> Iterator[str]:
    """A store as the steps before partitions have left it, with some events."""
    name = server().new_database(migrated=False)
    steps = [step for step in migrations("postgres") if step.number < 14]

    async def fill() -> None:
        database = Database(server().url(name), PoolOptions())
        await database.connect()
        await database.write(_Steps(steps))
        await database.close()

    asyncio.run(fill())
    server().run_sql(
        name,
        "INSERT INTO events (lane, sequence, id, project_id, event, idempotency_key, occurred_us, "
        "received_us, source, payload) SELECT n % 256, n, gen_random_uuid(), 1, 'a', 'k' || n, n, "
        "n, 0, '{}' FROM generate_series(1, 500) AS n",
    )
    server().run_sql(
        name,
        "INSERT INTO idempotency_keys SELECT lane, md5(idempotency_key)::uuid, lane, sequence "
        "FROM events",
    )
    yield name
    server().drop_database(name)


def test_a_killed_migration_goes_on_where_it_was(old_database: str) -> None:
    """Whichever step it was in: that one is rolled back, the ones before it stay."""
    steps = [f"{step.number:04d}_{step.name}" for step in migrations("postgres")]
    missing = [step for step in steps if int(step[:4]) >= 14]
    url = server().url(old_database)
    command = [sys.executable, "-c", _MIGRATE, url]
    before = int(missing[0][:4]) - 1
    for number, step in enumerate(missing, 1):
        # Each time it gets one step further.
        armed = os.environ | {"HEADRACE_FAIL_POINT": f"inside_migration:kill:{min(number, 2)}"}
        ended = subprocess.run(command, env=armed, check=False, capture_output=True, text=True)
        assert ended.returncode == -signal.SIGKILL
        assert ended.stdout.splitlines()[-1].split()[0] == step
        [[version]] = server().run_sql(old_database, "SELECT max(number) FROM schema_migrations")
        assert version == before
        before = int(step[:4])
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert ended.stdout.splitlines() == [f"{missing[-1]} 0 1"]
    counts = (
        "SELECT (SELECT count(*) FROM events)::int, (SELECT count(*) FROM sorted_keys)::int, "
        "(SELECT count(*) FROM recent_keys)::int"
    )
    assert server().run_sql(old_database, counts) == [(500, 500, 0)]
    assert asyncio.run(opened(url)) == newest_version()
