"""Connections to PostgreSQL: short reads and whole transactions, each with a limit on its time."""

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

from headrace.store.contract.events import READ_SECONDS_MAX, StoreBusyError, StoreError
from headrace.store.engine.postgres.connect import connect
from headrace.store.engine.postgres.errors import RETRIED, is_error, store_error

T = TypeVar("T")

#: Reads and transactions that may wait for a connection.
WAITING_MAX = 200
#: Longest a transaction may take before it is given up.
WRITE_SECONDS_MAX = 10.0
#: After a limit, or after the end of a task: for the server to confirm that it has stopped. The
#: client library would wait for that without limit, so a connection that stays silent is cut.
CONFIRM_SECONDS_MAX = 1.0
#: What is left for work under way once the server was silent on another connection.
SUSPECT_SECONDS_MAX = 2.0
#: At the end, for what is still under way.
CLOSE_SECONDS_MAX = 2.0
#: For a new connection: name lookup, TCP, TLS, authentication.
CONNECT_SECONDS_MAX = 5.0
#: Tries of a transaction that lost against others.
TRIES_MAX = 8
_RETRY_PAUSE_SECONDS = 0.02
#: Of the server itself, should a client vanish in the middle: until then it holds its locks, for
#: which the next try waits. A statement has longer than any limit of ours, a transaction longer
#: than ever passes between two statements of ours.
_SERVER_SETTINGS = {
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "5s",
    # A session that waits for the rest of a statement ends by neither of these. When the machine of
    # its client is gone, the operating system gives the connection up after this many seconds.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
    # Compiling a statement takes longer than any of ours runs.
    "jit": "off",
}
#: Sessions of connections that were cut, which the server is still to end.
_ABANDONED_MAX = 100
_SESSION = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
#: The time tells a session from a later one with the same process id.
_END_SESSIONS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE (pid, backend_start) IN (SELECT * FROM unnest($1::int[], $2::timestamptz[]))
"""
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
    __slots__ = ("on_silent", "session")

    def get_reset_query(self) -> str:
        # Nothing of ours outlives its transaction, so giving back costs no round trip.
        return ""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - not ours
        """Close within `CONFIRM_SECONDS_MAX`, whatever the server does; never raises.

        The pool closes connections in many places, and waits for each of them without limit.
        """
        del timeout
        with contextlib.suppress(Exception):
            await super().close(timeout=CONFIRM_SECONDS_MAX)

    async def end(self) -> None:
        """Have the server end what is under way, and close; never raises."""
        with contextlib.suppress(Exception):
            try:
                await super().close(timeout=CONFIRM_SECONDS_MAX)
            except TimeoutError:
                self.on_silent(self.session)

    def cut(self) -> None:
        """End it at once: the server has not confirmed in time what it was asked to end."""
        self.on_silent(self.session)
        self.terminate()


class Database:
    """A pool of connections. Made by `connect`, ended by `close`.

    Nobody waits without limit for a server that keeps silent. Work ends at its limit, and the
    connection is given back or cut `CONFIRM_SECONDS_MAX` later. One silent connection makes all
    others suspect: idle ones are replaced, work under way has `SUSPECT_SECONDS_MAX` left.
    """

    def __init__(self, url: str, options: PoolOptions) -> None:
        self.url = url
        self.options = options
        #: Connections that were cut since the server kept silent on them.
        self.silences = 0
        self._pool: Any = None
        self._waiting = 0
        #: Of all work under way.
        self._limits: set[asyncio.Timeout] = set()
        #: Process id and start of each session that may hold locks since its connection was cut.
        self._abandoned: deque[tuple[int, datetime]] = deque(maxlen=_ABANDONED_MAX)
        #: `silences` when the idle connections were last replaced.
        self._replaced_at = 0

    async def connect(self) -> None:
        """Open the first connection.

        Raises:
            StoreError: the server cannot be reached or lets us not in.
        """
        try:
            self._pool = await asyncpg.create_pool(
                # None is kept when idle: the library would log its own tries to open it again.
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
        """A connection outside of the pool; whoever asked for it closes it.

        Args:
            statement_seconds_max: the limit of each statement, for which the client waits.

        Raises:
            Exception: whatever `is_error` knows.
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
                # A session of a pooler serves others as well.
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
            # Ours ends sooner.
            "timeout": 2 * CONNECT_SECONDS_MAX,
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

        `work` is run again when it lost against another transaction, so it must not keep what it
        found in an earlier run.

        Raises:
            StoreError: nobody may count on it: it was not committed, or nobody knows.
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

    async def _run(self, work: Callable[[Any], Awaitable[T]], seconds_max: float) -> T:
        """Run `work` on a connection of the pool.

        Raises:
            TimeoutError: the server is there, and the work takes too long.
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
                return await work(connection)
        except RETRIED as error:
            raise _LostError(f"{type(error).__name__}: {error}") from error
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

        It knows nothing of the cut while the network only drops packets. A session that waits for
        the rest of a statement would hold its locks, for which others wait, without limit.
        """
        while self._abandoned:
            ended = [*self._abandoned]
            await connection.fetchval(_END_SESSIONS, *map(list, zip(*ended, strict=True)))
            for session in ended:
                with contextlib.suppress(ValueError):
                    self._abandoned.remove(session)

    @contextlib.asynccontextmanager
    async def limited(self, seconds_max: float) -> AsyncIterator[None]:
        """Around work on any connection: the limit on its time.

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
        """The connection of a session was cut since the server kept silent."""
        self.silences += 1
        if session is not None:
            self._abandoned.append(session)
        latest = asyncio.get_running_loop().time() + SUSPECT_SECONDS_MAX
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(min(limit.when() or latest, latest))

    async def close(self) -> None:
        """Wait for what is under way, then close every connection."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await pool.close()
        except TimeoutError:
            pool.terminate()


class _LostError(StoreError):
    """The transaction lost against another one."""


def silent() -> StoreError:
    """What to say of a server that has answered nothing within a limit."""
    return StoreError("The database does not answer.")


async def _nothing(_: Connection) -> None:
    """Work that is done with the connection."""


@contextlib.asynccontextmanager
async def transaction(
    connection: Any, *, isolation: str | None = None, readonly: bool = False
) -> AsyncIterator[None]:
    """A transaction whose ROLLBACK has `CONFIRM_SECONDS_MAX`; then the connection is cut.

    What has failed first is raised, not that it could not be rolled back: a task that is to end
    must end.
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
    """A transaction that is committed at the end, on every server that has to have it.

    Raises:
        StoreError: the wait for a synchronous standby was cut short. The server then commits all
            the same, but only with itself, and answers with no more than a warning.
    """
    with contextlib.ExitStack() as until_committed:
        async with transaction(connection, isolation="read_committed"):
            yield
            until_committed.enter_context(failing_on_warnings(connection))


@contextlib.contextmanager
def failing_on_warnings(connection: Any) -> Iterator[None]:
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
