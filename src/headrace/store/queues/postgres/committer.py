"""Commits accepted events: everything that waits makes up the next transaction."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from headrace.faults import armed, fail_point
from headrace.store.contract.commits import CommitSource, CommitStats, Pending
from headrace.store.contract.errors import StoreBusyError, StoreError, StoreRowError
from headrace.store.engine.postgres.database import (
    TRIES_MAX,
    Database,
    PartitionMadeError,
    committed,
    silent,
    with_partitions,
)
from headrace.store.engine.postgres.errors import RETRIED, is_error, store_error
from headrace.store.queues.postgres.accept import FirstRemovedError, insert_batch
from headrace.store.queues.postgres.accept_at_once import insert_at_once
from headrace.store.queues.postgres.arrival_notices import ArrivalNotices

#: Writes a batch; returns what is still to be written.
_Work = Callable[[Any, list[Pending]], Awaitable[list[Pending]]]

#: Concurrent transactions.
COMMITTERS = 2
#: A commit that takes longer is abandoned; whether it will take effect is then unknown.
COMMIT_SECONDS_MAX = 10.0
#: Time at shutdown to commit what waits; after it clients have a response or have disconnected.
STOP_SECONDS_MAX = 1.0
#: After a failed connection attempt, callers fail at once for so long.
RECONNECT_SECONDS = 0.5


class CommitTimeoutError(StoreBusyError):
    """The server responds, but has not committed in time."""


class Committer:
    """Takes accepted events from a source and commits them, on connections of its own.

    Args:
        at_once: whether the database accepts a whole batch in one statement.
    """

    def __init__(self, database: Database, *, at_once: bool = True) -> None:
        self._database = database
        # A single statement has no point at which a test could stop it.
        self.at_once = at_once and not armed("inside_commit")
        self.stats = CommitStats()
        self.notices = ArrivalNotices()
        self._awake = asyncio.Event()
        self._woken = False
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()

    def start(self, source: CommitSource) -> None:
        """Start taking events from `source`."""
        self._tasks = [
            self._loop.create_task(
                _CommitLoop(self, source, number).run(), name=f"Committer-{number}"
            )
            for number in range(COMMITTERS)
        ]
        self.wake()

    def wake(self) -> None:
        """Signal that events wait. Safe from any thread; the check makes it cheap under load."""
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._awake.set)
            except BaseException:
                # If it stayed set, later wake-ups would be skipped for good.
                self._woken = False
                raise

    async def wait(self) -> bool:
        """Wait until something may be there; False once stopped."""
        if not self._stopping:
            await self._awake.wait()
        if self._stopping:
            return False
        self._awake.clear()
        self._woken = False
        return True

    @property
    def database(self) -> Database:
        return self._database

    async def stop(self) -> None:
        """Commit what was taken and what waits, as far as that can be done in time, then end."""
        self._stopping = True
        self._awake.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=STOP_SECONDS_MAX)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)


class _CommitLoop:
    """One transaction at a time on one connection, in the order in which events are taken."""

    def __init__(self, committer: Committer, source: CommitSource, number: int) -> None:
        self._committer = committer
        self._source = source
        self._number = number
        #: Queue position of what was committed last.
        self._queued_us = 0
        self._connection: Any = None
        self._connect_again_at = 0.0
        #: The database's count when the connection was opened.
        self._silences = 0

    async def run(self) -> None:
        try:
            while await self._committer.wait():
                await self._drain()
            await self._drain()
        finally:
            self._disconnect()

    async def _drain(self) -> None:
        while batch := self._source.take(self._number):
            await self._commit(batch)
            if self._connection is not None:
                await self._committer.notices.send(self._connection)

    async def _commit(self, batch: list[Pending]) -> None:
        started = time.perf_counter()
        try:
            await self._commit_or_isolate(batch, at_once=self._committer.at_once)
            self._committer.stats.observe(len(batch), time.perf_counter() - started)
            fail_point("after_commit_before_answer")
        except BaseException as error:
            # Whatever failed, cancellation included: waiting callers get a response.
            self._fail(batch, StoreError(f"The commit met {type(error).__name__}."))
            if not isinstance(error, Exception):
                raise
        finally:
            self._source.settle(batch)

    async def _commit_or_isolate(self, batch: list[Pending], *, at_once: bool) -> None:
        """Commit the batch; if one row makes it fail, bisect until only that row fails.

        Args:
            at_once: whether to insert new events by one statement first; the rest are then
                duplicates.
        """
        try:
            left = await self._commit_again(batch, self._insert if at_once else self._transact)
        except StoreRowError as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._commit_or_isolate(batch[:middle], at_once=at_once)
                await self._commit_or_isolate(batch[middle:], at_once=at_once)
            else:
                self._fail(batch, StoreRowError(f"The store refused the event: {error}"))
        except StoreError as error:
            self._fail(batch, error)
            if isinstance(error, CommitTimeoutError):
                # The remaining events would each wait as long; failing lets clients retry later.
                self._source.give_up(self._number, error)
        else:
            if left:
                await self._commit_or_isolate(left, at_once=False)

    async def _commit_again(self, batch: list[Pending], work: _Work) -> list[Pending]:
        """Commit; retry on a conflict with another transaction."""
        for _ in range(TRIES_MAX - 1):
            with contextlib.suppress(*RETRIED, FirstRemovedError, PartitionMadeError):
                return await self._commit_once(batch, work)
        try:
            return await self._commit_once(batch, work)
        except RETRIED as error:
            raise store_error(error) from error

    async def _insert(self, connection: Any, batch: list[Pending]) -> list[Pending]:
        left, self._queued_us = await insert_at_once(connection, batch, self._queued_us)
        for pending in batch:
            # The rest are settled later.
            pending.outcome = None
        return left

    async def _transact(self, connection: Any, batch: list[Pending]) -> list[Pending]:
        async with committed(connection):
            outcomes, queued_us = await insert_batch(connection, batch, self._queued_us)
            fail_point("inside_commit")
        self._queued_us = queued_us
        for pending, outcome in zip(batch, outcomes, strict=True):
            pending.outcome = outcome
        return []

    async def _commit_once(self, batch: list[Pending], work: _Work) -> list[Pending]:
        """One transaction. What is lost at COMMIT is an error for exactly this batch."""
        fail_point("before_commit")
        database = self._committer.database
        silences = database.silences
        try:
            async with database.limited(COMMIT_SECONDS_MAX):
                return await with_partitions(
                    await self._connected(), lambda connection: work(connection, batch)
                )
        except (*RETRIED, StoreError):
            raise
        except TimeoutError as error:
            # The COMMIT may still be in flight; nothing may follow it on this connection.
            await self._end_connection()
            if database.silences > silences:
                raise silent() from error
            message = f"The database has not committed within {COMMIT_SECONDS_MAX:g} s."
            raise CommitTimeoutError(message) from error
        except Exception as error:
            if not is_error(error):
                self._disconnect()
                raise
            raise store_error(error) from error

    async def _connected(self) -> Any:
        if self._is_usable():
            return self._connection
        if time.monotonic() < self._connect_again_at:
            message = "The database is out of reach."
            raise StoreError(message)
        self._disconnect()
        self._silences = self._committer.database.silences
        try:
            self._connection = await self._committer.database.dedicated_connection()
        except BaseException:
            self._connect_again_at = time.monotonic() + RECONNECT_SECONDS
            raise
        return self._connection

    def _is_usable(self) -> bool:
        """Whether the connection is open and no other one has timed out since it was opened."""
        connection = self._connection
        fresh = self._silences == self._committer.database.silences
        return connection is not None and fresh and not connection.is_closed()

    async def _end_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.end()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def _fail(self, batch: list[Pending], error: StoreError) -> None:
        self._committer.stats.failed_commits += 1
        for pending in batch:
            pending.outcome = error
