"""Connections to PostgreSQL: short reads and whole transactions, each with a limit on its time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import asyncpg
import msgspec

from headrace.store.contract import READ_SECONDS_MAX, StoreBusyError, StoreError
from headrace.store.postgres.errors import RETRIED, is_error, store_error

T = TypeVar("T")

#: Reads and transactions that may wait for a connection.
WAITING_MAX = 200
#: Longest a transaction may take before it is given up.
WRITE_SECONDS_MAX = 20.0
#: For a new connection: name lookup, TCP, TLS, authentication.
CONNECT_SECONDS_MAX = 5.0
#: Tries of a transaction that lost against others.
TRIES_MAX = 5
_RETRY_PAUSE_SECONDS = 0.02
#: Of the server itself, should a client vanish in the middle. Longer than any limit of ours.
_SERVER_SETTINGS = {
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
    # Compiling a statement takes longer than any of ours runs.
    "jit": "off",
}
_rng = random.SystemRandom()


class PoolOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How this process connects."""

    #: Connections besides those of the committer.
    connections_max: int = 10
    #: Prepared statements each connection keeps; 0 behind a pooler that hands every transaction
    #: another connection, such as PgBouncer.
    statements_kept: int = 200


class Connection(Protocol):
    """What is used of a connection of asyncpg."""

    async def execute(self, query: str, *args: Any) -> str: ...

    async def executemany(self, command: str, args: Sequence[Any]) -> None: ...

    async def fetch(self, query: str, *args: Any) -> list[Any]: ...

    async def fetchrow(self, query: str, *args: Any) -> Any: ...

    async def fetchval(self, query: str, *args: Any) -> Any: ...

    def transaction(self, *, isolation: str | None = None, readonly: bool = False) -> Any: ...


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    __slots__ = ()

    def get_reset_query(self) -> str:
        # Nothing of ours outlives its transaction, so giving back costs no round trip.
        return ""


class Database:
    """A pool of connections. Made by `connect`, ended by `close`."""

    def __init__(self, url: str, options: PoolOptions) -> None:
        self.url = url
        self.options = options
        self._pool: Any = None
        self._waiting = 0

    async def connect(self) -> None:
        """Open the first connection.

        Raises:
            StoreError: the server cannot be reached or lets us not in.
        """
        try:
            self._pool = await asyncpg.create_pool(
                self.url,
                min_size=1,
                max_size=self.options.connections_max,
                max_inactive_connection_lifetime=300.0,
                init=prepare_connection,
                **self._connect_options(),
            )
        except Exception as error:
            if not is_error(error) and not isinstance(error, ValueError):
                raise
            raise store_error(error) from error

    async def connection_apart(self) -> Any:
        """A connection outside of the pool; whoever asked for it closes it."""
        connection = await asyncpg.connect(self.url, **self._connect_options())
        await prepare_connection(connection)
        return connection

    def _connect_options(self) -> dict[str, Any]:
        pooler = self.options.statements_kept == 0
        settings = {"application_name": "headrace"}
        return {
            "connection_class": _Connection,
            "timeout": CONNECT_SECONDS_MAX,
            "statement_cache_size": self.options.statements_kept,
            "max_cached_statement_lifetime": 0,
            # A pooler refuses settings that it does not know.
            "server_settings": settings if pooler else settings | _SERVER_SETTINGS,
        }

    async def read(
        self,
        work: Callable[[Connection], Awaitable[T]],
        seconds_max: float = READ_SECONDS_MAX,
        *,
        snapshot: bool = False,
    ) -> T:
        """Run `work`, which only reads.

        Args:
            snapshot: whether all its statements must see the same state.

        Raises:
            StoreBusyError: too many wait, or it took longer than `seconds_max`.
        """
        # Behind a pooler the parts of one statement reach the same server only in a transaction.
        apart = snapshot or self.options.statements_kept == 0

        async def run(connection: Any) -> T:
            if not apart:
                return await work(connection)
            isolation = "repeatable_read" if snapshot else None
            async with connection.transaction(isolation=isolation, readonly=True):
                return await work(connection)

        return await self._run(run, seconds_max)

    async def write(
        self,
        work: Callable[[Connection], Awaitable[T]],
        seconds_max: float = WRITE_SECONDS_MAX,
    ) -> T:
        """Run `work` in one transaction; committed when this returns.

        `work` is run again when it lost against another transaction, so it must not keep what it
        found in an earlier run.

        Raises:
            StoreError: nobody may count on it: it was not committed, or nobody knows.
        """

        async def run(connection: Any) -> T:
            async with committed(connection):
                return await work(connection)

        for attempt in range(1, TRIES_MAX):
            try:
                return await self._run(run, seconds_max)
            except _LostError:
                await asyncio.sleep(_rng.uniform(0, attempt * _RETRY_PAUSE_SECONDS))
        return await self._run(run, seconds_max)

    async def _run(self, work: Callable[[Any], Awaitable[T]], seconds_max: float) -> T:
        if self._pool is None or self._waiting >= WAITING_MAX:
            message = "Too many wait for the database."
            raise StoreBusyError(message)
        self._waiting += 1
        try:
            async with (
                asyncio.timeout(seconds_max),
                self._pool.acquire(timeout=seconds_max) as connection,
            ):
                return await work(connection)
        except RETRIED as error:
            raise _LostError(f"{type(error).__name__}: {error}") from error
        except Exception as error:
            if not is_error(error):
                raise
            raise store_error(error) from error
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Wait for what is under way, then close every connection."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                await pool.close()
        except TimeoutError:
            pool.terminate()


class _LostError(StoreError):
    """The transaction lost against another one."""


@contextlib.asynccontextmanager
async def committed(connection: Any) -> AsyncIterator[None]:
    """A transaction that is committed at the end, on every server that has to have it.

    Raises:
        StoreError: the wait for a synchronous standby was cut short. The server then commits all
            the same, but only with itself, and answers with no more than a warning.
    """
    with contextlib.ExitStack() as until_committed:
        async with connection.transaction(isolation="read_committed"):
            yield
            until_committed.enter_context(heeding(connection))


@contextlib.contextmanager
def heeding(connection: Any) -> Iterator[None]:
    """Around a commit: whatever the server warns of makes it a failure.

    Raises:
        StoreError: see `committed`.
    """
    warnings: list[str] = []

    def note(_: Any, message: Any) -> None:
        if message.severity_en == "WARNING":
            warnings.append(str(message.message))

    connection.add_log_listener(note)
    try:
        yield
    finally:
        connection.remove_log_listener(note)
    if warnings:
        raise StoreError(f"The database committed with a warning: {warnings[0]}")


async def prepare_connection(connection: Any) -> None:
    """Ids go in and out as 16 bytes."""
    await connection.set_type_codec(
        "uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary"
    )
