"""Connections to PostgreSQL: short reads and whole transactions, each with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

import asyncpg
import msgspec

from headrace.store.contract.errors import StoreBusyError, StoreError
from headrace.store.engine.postgres.connect import connect
from headrace.store.engine.postgres.errors import RETRIED, is_error, store_error
from headrace.store.engine.postgres.partitions import make_partition, missing_sequence
from headrace.store.engine.transaction import READ_SECONDS_MAX

T = TypeVar("T")

#: Reads and transactions that may wait for a connection.
WAITING_MAX = 200
#: Longest a transaction may take before it is abandoned.
WRITE_SECONDS_MAX = 10.0
#: Time for the server to confirm that it has stopped, after a limit or the end of a task. The
#: client library would wait for that without limit, so a connection that stays silent is cut.
CONFIRM_SECONDS_MAX = 1.0
#: Time left for work in progress once the server was silent on another connection.
SUSPECT_SECONDS_MAX = 2.0
#: Time at shutdown for work still in progress.
CLOSE_SECONDS_MAX = 2.0
#: For a new connection: name lookup, TCP, TLS, authentication.
CONNECT_SECONDS_MAX = 5.0
#: Attempts at a transaction that conflicts with others.
TRIES_MAX = 8
_RETRY_PAUSE_SECONDS = 0.02
#: Limits of the server, in case a client vanishes in the middle: until then it holds its locks, for
#: which the next attempt waits. A statement may take longer than any limit here, a transaction may
#: idle longer than ever passes between two statements here.
_SERVER_SETTINGS = {
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "5s",
    # Neither ends a session that waits for the rest of a statement. When the machine of its client
    # is gone, the operating system closes the connection after this many seconds.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
    # Each statement is to see what was committed before it: a key that was just moved, for one.
    "default_transaction_isolation": "read committed",
    # Compiling a statement takes longer than running any of these.
    "jit": "off",
}
#: Sessions of cut connections that the server still has to end.
_ABANDONED_MAX = 100
_SESSION = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
#: The time distinguishes a session from a later one with the same process id.
_END_SESSIONS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE (pid, backend_start) IN (SELECT * FROM unnest($1::int[], $2::timestamptz[]))
"""
_rng = random.SystemRandom()


class PoolOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How this process connects."""

    #: Connections besides those of the committer.
    connections_max: int = 10
    #: Prepared statements that each connection keeps; 0 behind a pooler that gives every
    #: transaction another connection, such as PgBouncer.
    statements_kept: int = 200


class Connection(Protocol):
    """The used part of asyncpg's connection."""

    async def execute(self, query: str, *args: Any) -> str: ...

    async def executemany(self, command: str, args: Sequence[Any]) -> None: ...

    async def fetch(self, query: str, *args: Any) -> list[Any]: ...

    async def fetchrow(self, query: str, *args: Any) -> Any: ...

    async def fetchval(self, query: str, *args: Any) -> Any: ...

    def transaction(self, *, isolation: str | None = None, readonly: bool = False) -> Any: ...


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    __slots__ = ("on_silent", "session")

    def get_reset_query(self) -> str:
        # No session state outlives its transaction, so releasing needs no round trip.
        return ""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        """Close within `CONFIRM_SECONDS_MAX`, whatever the server does; never raises.

        The pool closes connections in many places, and waits for each of them without limit.
        """
        del timeout
        with contextlib.suppress(Exception):
            await super().close(timeout=CONFIRM_SECONDS_MAX)

    async def end(self) -> None:
        """Have the server end its current work, and close; never raises."""
        with contextlib.suppress(Exception):
            try:
                await super().close(timeout=CONFIRM_SECONDS_MAX)
            except TimeoutError:
                self.on_silent(self.session)

    def cut(self) -> None:
        """Cut it: the server has not confirmed in time that its work ended."""
        self.on_silent(self.session)
        self.terminate()


class Database:
    """A pool of connections. Made by `connect`, ended by `close`.

    Every wait for a silent server has a limit. Work ends at its limit, and the connection is
    released or cut `CONFIRM_SECONDS_MAX` later. One silent connection makes all others suspect:
    idle ones are replaced, work in progress has `SUSPECT_SECONDS_MAX` left.
    """

    def __init__(self, url: str, options: PoolOptions) -> None:
        self.url = url
        self.options = options
        #: Connections that were cut because the server was silent on them.
        self.silences = 0
        self._pool: Any = None
        self._waiting = 0
        #: Of all work in progress.
        self._limits: set[asyncio.Timeout] = set()
        #: Process id and start of each session that may hold locks after its connection was cut.
        self._abandoned: deque[tuple[int, datetime]] = deque(maxlen=_ABANDONED_MAX)
        #: `silences` when the idle connections were last replaced.
        self._replaced_at = 0

    @property
    def keeps_sessions(self) -> bool:
        """Whether a connection has its own session: not behind a pooler."""
        return self.options.statements_kept > 0

    async def connect(self) -> None:
        """Open the first connection.

        Raises:
            StoreError: the server cannot be reached or denies access.
        """
        try:
            self._pool = await asyncpg.create_pool(
                # No idle minimum: the library would log its own attempts to reopen connections.
                min_size=0,
                max_size=self.options.connections_max,
                max_inactive_connection_lifetime=300.0,
                connection_class=_Connection,
                connect=self._connect,
            )
            await self._run(_nothing, CONNECT_SECONDS_MAX)
        except Exception as error:
            if not is_error(error) and not isinstance(error, ValueError):
                raise
            raise store_error(error) from error

    async def dedicated_connection(self, statement_seconds_max: float | None = None) -> Any:
        """A connection outside the pool; the caller closes it.

        Args:
            statement_seconds_max: the limit of each statement, for which the client waits.

        Raises:
            Exception: any that `is_error` knows.
        """
        return await self._connect(command_timeout=statement_seconds_max)

    async def _connect(self, *_: Any, command_timeout: float | None = None, **__: Any) -> Any:
        options = self._connect_options() | {"command_timeout": command_timeout}
        connection = await connect(self.url, options, CONNECT_SECONDS_MAX)
        connection.on_silent = self._suspect_all
        connection.session = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                await prepare_connection(connection)
                # A pooler shares its sessions with other clients.
                if self.options.statements_kept:
                    connection.session = tuple(await connection.fetchrow(_SESSION))
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _connect_options(self) -> dict[str, Any]:
        pooler = self.options.statements_kept == 0
        settings = {"application_name": "headrace"}
        return {
            "connection_class": _Connection,
            # The limit of `work` ends sooner.
            "timeout": 2 * CONNECT_SECONDS_MAX,
            "statement_cache_size": self.options.statements_kept,
            "max_cached_statement_lifetime": 0,
            # A pooler rejects settings that it does not know.
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
        dedicated = snapshot or self.options.statements_kept == 0

        async def run(connection: Any) -> T:
            if not dedicated:
                return await work(connection)
            isolation = "repeatable_read" if snapshot else None
            async with transaction(connection, isolation=isolation, readonly=True):
                return await work(connection)

        try:
            return await self._run(run, seconds_max)
        except TimeoutError as error:
            message = "The query took too long; narrow it down."
            raise StoreBusyError(message) from error

    async def write(
        self,
        work: Callable[[Connection], Awaitable[T]],
        seconds_max: float = WRITE_SECONDS_MAX,
    ) -> T:
        """Run `work` in one transaction; committed when this returns.

        `work` is run again after a conflict with another transaction, so it must not keep anything
        from an earlier run.

        Raises:
            StoreError: it was not committed, or the outcome is unknown.
        """

        async def run(connection: Any) -> T:
            async with committed(connection):
                return await work(connection)

        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds_max
        try:
            for attempt in range(1, TRIES_MAX):
                try:
                    return await self._run(run, deadline - loop.time())
                except _LostError:
                    await asyncio.sleep(_rng.uniform(0, attempt * _RETRY_PAUSE_SECONDS))
            return await self._run(run, deadline - loop.time())
        except TimeoutError as error:
            message = f"The database was not done within {seconds_max:g} s."
            raise StoreBusyError(message) from error

    async def alone(
        self,
        work: Callable[[Connection], Awaitable[T]],
        seconds_max: float = WRITE_SECONDS_MAX,
    ) -> T:
        """Run `work`, which begins and ends its own transactions.

        Raises:
            StoreError: it failed, or took longer than `seconds_max`.
        """
        try:
            return await self._run(work, seconds_max)
        except TimeoutError as error:
            message = f"The database was not done within {seconds_max:g} s."
            raise StoreBusyError(message) from error

    async def _run(self, work: Callable[[Any], Awaitable[T]], seconds_max: float) -> T:
        """Run `work` on a connection of the pool.

        Raises:
            TimeoutError: the server responds, but the work takes too long.
        """
        if self._pool is None or self._waiting >= WAITING_MAX:
            message = "Too many wait for the database."
            raise StoreBusyError(message)
        self._waiting += 1
        silences = self.silences
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds_max
        try:
            async with (
                self._acquired(seconds_max) as connection,
                self.limited(deadline - loop.time()),
            ):
                await self._end_abandoned(connection)
                return await with_partitions(connection, work)
        except RETRIED as error:
            raise _LostError(f"{type(error).__name__}: {error}") from error
        except PartitionMadeError as error:
            raise _LostError(str(error)) from error
        except TimeoutError as error:
            if self.silences > silences:
                raise silent() from error
            raise
        except Exception as error:
            if not is_error(error):
                raise
            raise store_error(error) from error
        finally:
            self._waiting -= 1

    @contextlib.asynccontextmanager
    async def _acquired(self, seconds_max: float) -> AsyncIterator[Any]:
        if seconds_max <= 0:
            raise TimeoutError
        pool = self._pool
        if self._replaced_at != self.silences:
            self._replaced_at = self.silences
            await pool.expire_connections()
        try:
            connection = await pool.acquire(timeout=seconds_max)
        except TimeoutError:
            if pool.get_size() >= self.options.connections_max:
                message = f"Every connection to the database was in use for {seconds_max:.3g} s."
                raise StoreBusyError(message) from None
            message = f"The database is out of reach: no connection within {seconds_max:.3g} s."
            raise StoreError(message) from None
        session = connection.session
        try:
            yield connection
        finally:
            try:
                await pool.release(connection, timeout=CONFIRM_SECONDS_MAX)
            except TimeoutError:
                # The library has cut it.
                self._suspect_all(session)

    async def _end_abandoned(self, connection: Connection) -> None:
        """Have the server end the sessions whose connections were cut.

        The server does not notice the cut while the network only drops packets. A session that
        waits for the rest of a statement would hold its locks, for which others wait, without
        limit.
        """
        while self._abandoned:
            ended = [*self._abandoned]
            await connection.fetchval(_END_SESSIONS, *map(list, zip(*ended, strict=True)))
            for session in ended:
                with contextlib.suppress(ValueError):
                    self._abandoned.remove(session)

    @contextlib.asynccontextmanager
    async def limited(self, seconds_max: float) -> AsyncIterator[None]:
        """The time limit around work on any connection.

        Raises:
            TimeoutError: it was not done in time.
        """
        async with asyncio.timeout(seconds_max) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    def _suspect_all(self, session: tuple[int, datetime] | None) -> None:
        """Record a session whose connection was cut because the server was silent."""
        self.silences += 1
        if session is not None:
            self._abandoned.append(session)
        latest = asyncio.get_running_loop().time() + SUSPECT_SECONDS_MAX
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(min(limit.when() or latest, latest))

    async def close(self) -> None:
        """Wait for work in progress, then close every connection."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await pool.close()
        except TimeoutError:
            pool.terminate()


class PartitionMadeError(StoreError):
    """There was no partition for an event; it is there now. Retry."""


async def with_partitions(connection: Any, work: Callable[[Any], Awaitable[T]]) -> T:
    """Run `work`, which is rolled back when it fails.

    Raises:
        PartitionMadeError: see there.
    """
    try:
        return await work(connection)
    except asyncpg.CheckViolationError as error:
        sequence = missing_sequence(error)
        if sequence is None:
            raise
        await make_partition(connection, sequence)
        raise PartitionMadeError("An event had no partition.") from error


class _LostError(StoreError):
    """The transaction conflicted with another one."""


def silent() -> StoreError:
    """The error for a server that did not respond within a limit."""
    return StoreError("The database does not respond.")


async def _nothing(_: Connection) -> None:
    """Work that does nothing."""


@contextlib.asynccontextmanager
async def transaction(
    connection: Any, *, isolation: str | None = None, readonly: bool = False
) -> AsyncIterator[None]:
    """A transaction whose ROLLBACK has `CONFIRM_SECONDS_MAX`; then the connection is cut.

    The first error is raised, not a failed rollback: a task that is cancelled must end.
    """
    failed: BaseException | None = None
    with contextlib.ExitStack() as until_rolled_back:
        try:
            async with connection.transaction(isolation=isolation, readonly=readonly):
                try:
                    yield
                except BaseException as error:
                    failed = error
                    loop = asyncio.get_running_loop()
                    cutting = loop.call_later(CONFIRM_SECONDS_MAX, connection.cut)
                    until_rolled_back.callback(cutting.cancel)
                    raise
        except Exception:
            if failed is not None:
                raise failed  # noqa: B904 - the first error as it was
            raise


@contextlib.asynccontextmanager
async def committed(connection: Any) -> AsyncIterator[None]:
    """A transaction that is committed at the end, on every server that must have it.

    Raises:
        StoreError: the wait for a synchronous standby was cut short. The server then commits only
        locally and responds with just a warning.
    """
    with contextlib.ExitStack() as until_committed:
        async with transaction(connection, isolation="read_committed"):
            yield
            until_committed.enter_context(failing_on_warnings(connection))


@contextlib.contextmanager
def failing_on_warnings(connection: Any) -> Iterator[None]:
    """Around a commit: turns any warning of the server into a failure.

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
    """Convert ids from and to 16 bytes."""
    await connection.set_type_codec(
        "uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary"
    )
