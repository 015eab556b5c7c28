"""A server that is silent on a connection: its user gets an error in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

import pytest

from headrace.store.contract.errors import StoreBusyError, StoreError
from headrace.store.engine.postgres import connect as connect_module
from headrace.store.engine.postgres import database as database_module
from headrace.store.engine.postgres.database import Connection, Database, PoolOptions
from headrace.store.queues.postgres.lanes import PAUSED
from tests.support.places import PostgresPlace
from tests.support.tcp_proxy import Silence, TcpProxy
from tests.support.waiting import wait_until

#: Limit of the work, a fraction of the real one.
LIMIT_SECONDS = 0.3
#: Longer than this is a hang.
HANGS_SECONDS = 10.0

TLS_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
WRITE = "INSERT INTO meta (name, value) VALUES ('silence', '')"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "CONNECT_SECONDS_MAX", 0.5)
    monkeypatch.setattr(database_module, "CONFIRM_SECONDS_MAX", 0.2)


@pytest.fixture
def place() -> Iterator[PostgresPlace]:
    made = PostgresPlace()
    yield made
    made.remove()


@pytest.fixture
def proxy(place: PostgresPlace) -> Iterator[TcpProxy]:
    made = TcpProxy(place.server.port)
    made.open()
    yield made
    made.close()


@contextlib.asynccontextmanager
async def database(
    proxy: TcpProxy, place: PostgresPlace, options: PoolOptions | None = None
) -> AsyncIterator[Database]:
    url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{place.database}"
    made = Database(url, options or PoolOptions(connections_max=3))
    async with asyncio.timeout(HANGS_SECONDS):
        await made.connect()
        yield made
        await made.close()


async def ask(connection: Connection) -> Any:
    return await connection.fetchval("SELECT 1 AS found")


async def write(connection: Connection) -> None:
    await connection.execute(WRITE)


async def fail(connection: Connection) -> None:
    await connection.execute(WRITE)
    message = "on purpose"
    raise ValueError(message)


#: The operation, and the bytes during which it happens.
POINTS: dict[str, tuple[str, bytes]] = {
    "statement": ("read", b"SELECT 1 AS found"),
    "BEGIN of a read": ("snapshot", b"BEGIN"),
    "statement of a snapshot": ("snapshot", b"SELECT 1 AS found"),
    "COMMIT of a read": ("snapshot", b"COMMIT"),
    "BEGIN": ("write", b"BEGIN"),
    "statement of a write": ("write", b"INSERT INTO meta"),
    "COMMIT": ("write", b"COMMIT"),
    "ROLLBACK": ("fail", b"ROLLBACK"),
}


def do(opened: Database, what: str) -> Awaitable[Any]:
    if what == "read":
        return opened.read(ask, LIMIT_SECONDS)
    if what == "snapshot":
        return opened.read(ask, LIMIT_SECONDS, snapshot=True)
    if what == "write":
        return opened.write(write, LIMIT_SECONDS)
    # Long enough that the ROLLBACK reaches only its own limit.
    return opened.write(fail, HANGS_SECONDS)


@pytest.mark.parametrize("where", list(Silence))
@pytest.mark.parametrize("point", POINTS)
def test_silence_is_an_error_in_time_and_the_next_operation_works(
    proxy: TcpProxy, place: PostgresPlace, point: str, where: Silence
) -> None:
    async def run() -> None:
        async with database(proxy, place) as opened:
            what, mark = POINTS[point]
            proxy.silence_at(mark, where)
            # An error of the work itself is not hidden by errors from the silence.
            expected = ValueError if what == "fail" else StoreError
            with pytest.raises(expected) as raised:
                await do(opened, what)
            assert not proxy.armed
            if what != "fail":
                assert str(raised.value) == "The database does not respond."
            assert await opened.read(ask) == 1
            assert opened.silences == 1

    asyncio.run(run())


def test_a_session_that_waits_for_the_rest_of_a_statement_holds_no_lock(
    proxy: TcpProxy, place: PostgresPlace
) -> None:
    """No limit of the server itself ends such a session."""
    half = "SELECT value FROM meta WHERE name = 'silence' FOR UPDATE"

    async def write_twice(connection: Connection) -> None:
        await connection.execute(f"{WRITE} ON CONFLICT (name) DO NOTHING")
        # The text is sent first; the server has responded to it and waits for the values.
        await connection.fetchval(half)

    async def run() -> None:
        async with database(proxy, place) as opened:
            proxy.silence_at(half.encode(), Silence.AFTER)
            with pytest.raises(StoreError, match="does not respond"):
                await opened.write(write_twice, LIMIT_SECONDS)
            await opened.write(write_twice, HANGS_SECONDS / 2)
            sessions = "SELECT count(*) FROM pg_stat_activity WHERE query = $1 AND state = 'active'"
            assert await opened.read(lambda connection: connection.fetchval(sessions, half)) == 0

    asyncio.run(run())


def test_lanes_of_a_worker_stopped_inside_a_statement_are_taken_over(
    proxy: TcpProxy, place: PostgresPlace
) -> None:
    """The worker is stopped as a whole, so it does not ask the database to end its session."""
    half = "SELECT value FROM meta WHERE name = 'silence' FOR UPDATE"

    async def run() -> None:
        async with database(proxy, place) as opened:
            worker = await opened.dedicated_connection()
            await worker.execute("BEGIN")
            await worker.execute(f"{PAUSED.replace('12s', '500ms')}; {WRITE}")
            proxy.silence_at(half.encode(), Silence.AFTER)
            asked = asyncio.create_task(worker.fetchval(half))
            await opened.write(write, HANGS_SECONDS / 2)
            worker.terminate()
            with contextlib.suppress(Exception):
                await asked

    asyncio.run(run())


@pytest.mark.parametrize("answer", [b"", b"S"], ids=["connect", "TLS handshake"])
def test_server_that_only_accepts_connections_is_unreachable(
    proxy: TcpProxy, place: PostgresPlace, answer: bytes
) -> None:
    async def run() -> None:
        async with database(proxy, place) as opened:
            proxy.mute = answer
            proxy.silence()
            with pytest.raises(StoreError, match="does not respond"):
                await do(opened, "read")
            with pytest.raises(StoreError, match="out of reach"):
                await do(opened, "write")
            with pytest.raises(OSError, match="no server responded"):
                await opened.dedicated_connection()
            proxy.mute = None
            assert await opened.read(ask) == 1

    asyncio.run(run())


@pytest.mark.parametrize("mark", [TLS_REQUEST, b"application_name"])
@pytest.mark.parametrize("where", list(Silence))
def test_silence_while_a_connection_is_opened_is_an_error_in_time(
    proxy: TcpProxy, place: PostgresPlace, mark: bytes, where: Silence
) -> None:
    async def run() -> None:
        async with database(proxy, place) as opened:
            proxy.silence_at(mark, where)
            with pytest.raises(OSError, match="no server responded"):
                await opened.dedicated_connection()
            assert not proxy.armed
            await (await opened.dedicated_connection()).close()

    asyncio.run(run())


@pytest.mark.parametrize("mark", [b"BEGIN", b"INSERT INTO meta", b"COMMIT"])
def test_cancelled_task_ends_on_a_silent_connection(
    proxy: TcpProxy, place: PostgresPlace, mark: bytes
) -> None:
    async def run() -> None:
        async with database(proxy, place) as opened:
            proxy.silence_at(mark, Silence.BEFORE)
            task = asyncio.ensure_future(opened.write(write))
            await asyncio.to_thread(wait_until, lambda: not proxy.armed, "it is under way")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())


def test_one_silent_connection_makes_the_others_suspect(
    proxy: TcpProxy, place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle ones are replaced; work in progress ends before its own limit."""
    monkeypatch.setattr(database_module, "SUSPECT_SECONDS_MAX", 0.1)

    async def run() -> None:
        async with database(proxy, place) as opened:
            await asyncio.gather(*(opened.read(sleep) for _ in range(3)))
            assert proxy.silence() == 3
            long = asyncio.ensure_future(opened.write(write, 3600.0))
            with pytest.raises(StoreError, match="does not respond"):
                await do(opened, "read")
            with pytest.raises(StoreError, match="does not respond"):
                await long
            assert await do(opened, "read") == 1

    async def sleep(connection: Connection) -> None:
        await connection.execute("SELECT pg_sleep(0.1)")

    asyncio.run(run())


def test_a_pool_of_silent_connections_is_closed_in_time(
    proxy: TcpProxy, place: PostgresPlace
) -> None:
    async def run() -> None:
        async with database(proxy, place):
            proxy.silence()

    asyncio.run(run())


def test_slow_work_on_a_live_connection_is_not_silence(
    proxy: TcpProxy, place: PostgresPlace
) -> None:
    async def sleep(connection: Connection) -> None:
        await connection.execute("SELECT pg_sleep(60)")

    async def run() -> None:
        async with database(proxy, place, PoolOptions(connections_max=1)) as opened:
            with pytest.raises(StoreBusyError, match="The query took too long; narrow it down"):
                await opened.read(sleep, LIMIT_SECONDS)
            with pytest.raises(StoreBusyError, match="was not done within"):
                await opened.write(sleep, LIMIT_SECONDS)
            busy = asyncio.ensure_future(opened.write(sleep, 2 * LIMIT_SECONDS))
            await asyncio.sleep(0)
            with pytest.raises(StoreBusyError, match="Every connection to the database was in use"):
                await opened.read(ask, LIMIT_SECONDS)
            with pytest.raises(StoreBusyError):
                await busy
            assert opened.silences == 0

    asyncio.run(run())


def test_silent_host_is_skipped(
    proxy: TcpProxy, place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two hosts has lost its power."""
    monkeypatch.setattr(connect_module, "NEXT_HOST_SECONDS", 0.1)
    dead = TcpProxy(place.server.port)
    dead.open()
    dead.mute = b""

    async def run() -> None:
        hosts = f"127.0.0.1:{dead.port},127.0.0.1:{proxy.port}"
        url = f"postgresql://postgres@{hosts}/{place.database}?target_session_attrs=read-write"
        opened = Database(url, PoolOptions())
        async with asyncio.timeout(HANGS_SECONDS):
            await opened.connect()
            assert await opened.read(ask) == 1
            await opened.close()

    asyncio.run(run())
    dead.close()
