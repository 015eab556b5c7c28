"""The thread that owns the only writing connection: group commit and jobs.

It alternates: one commit of accepted events, then one job (a change of keys, a batch of processed
events, a slice of retention). Short jobs that wait together share a transaction, and so one wait
for the disk. There is no timer: whatever arrives while one commit is written to the disk makes up
the next one.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import apsw

from headrace.faults import armed, fail_point
from headrace.store.contract.commits import CommitSource, CommitStats, Pending
from headrace.store.contract.errors import (
    StoreBusyError,
    StoreError,
    StoreFailedError,
    StoreFullError,
    StoreRowError,
)
from headrace.store.engine.sqlite.checkpointer import Checkpointer
from headrace.store.engine.sqlite.connection import (
    ROW_ERRORS,
    BusyHandler,
    open_checkpointer,
    store_error,
)
from headrace.store.engine.sqlite.files import LOG, file_beside

T = TypeVar("T")

#: Jobs that may wait; each caller awaits its own, so this limits the concurrent callers.
JOBS_MAX = 1000
#: Jobs that share a transaction, and seconds after which it takes no further one: accepted events
#: and other processes wait for it.
SHARED_MAX = 64
SHARED_SECONDS_MAX = 0.005
#: Longest that a caller waits for a job.
JOB_SECONDS_MAX = 20.0
#: The same for a job that rewrites the whole file.
BARE_JOB_SECONDS_MAX = 3600.0
#: Pages of log after which it is moved into the database (16 MiB of 4 KiB pages).
CHECKPOINT_PAGES = 4000
#: Pages of log that the writing thread moves itself, so that the next commit begins the log again.
LAST_PAGES_MAX = 500
#: Checkpoints in a row that end with more than that left in the log. Then commits wait for one, or
#: the log would grow as long as the load lasts.
CHECKPOINTS_BEHIND_MAX = 8
#: Longest time until the thread polls, even if a `wake` is lost.
POLL_SECONDS = 1.0
_PAGES_PER_COMMIT = 8
_PAGES_PER_EVENT = 2
_PAGES_PER_JOB = 50
_PAGES_PER_FURTHER_JOB = 20


class _Job:
    __slots__ = ("bare", "future", "loop", "shared", "work")

    def __init__(
        self,
        work: Callable[[apsw.Connection], Any],
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Any],
        *,
        bare: bool,
        shared: bool,
    ) -> None:
        #: Whether it runs outside a transaction.
        self.bare = bare
        #: Whether its transaction may be that of other jobs, too.
        self.shared = shared
        self.work = work
        self.loop = loop
        self.future = future

    def finish(self, result: Any, error: BaseException | None) -> None:
        self.loop.call_soon_threadsafe(self.set, result, error)

    def set(self, result: Any, error: BaseException | None) -> None:
        """Answer the caller; on its loop."""
        if self.future.cancelled():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class EventInserts:
    """Statements that store accepted events."""

    #: Sizes of batches that take one statement, so they need no transaction around it.
    exact_sizes: Container[int]
    #: Inserts new events; returns whether all were new.
    insert: Callable[[apsw.Connection, list[Pending]], bool]
    #: Sets the outcome of every duplicate in a committed batch.
    settle_repeats: Callable[[apsw.Connection, list[Pending]], object]
    #: What is due after a commit of so many events, or after a second without one (0); each is a
    #: short transaction.
    upkeep: Callable[[apsw.Connection, int], Iterable[Callable[[apsw.Connection], None]]]


class Writer:
    """Runs until `stop`; `connection` must not be used elsewhere until then."""

    def __init__(self, connection: apsw.Connection, on_full: Callable[[], None]) -> None:
        self._on_full = on_full
        #: Waits for the write lock while another process has it.
        self.busy = BusyHandler()
        connection.set_busy_handler(self.busy)
        self.stats = CommitStats()
        self._connection = connection
        #: Called after each commit of accepted events, before they are answered.
        self.on_commit: Callable[[list[Pending]], None] = lambda _: None
        #: Holds an item as long as there may be work. An event of the threading module is Python
        #: code: an error in the middle of its `set` would leave it set without waking the thread.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._jobs: deque[_Job] = deque()
        self._source: CommitSource | None = None
        self._inserts: EventInserts | None = None
        self._on_failed: Callable[[StoreFailedError], None] = lambda _: None
        self._failure: StoreFailedError | None = None
        self._stopping = False
        #: Estimated pages that commits have added to the log since the last checkpoint: the
        #: library's own count would call into the interpreter in the middle of every commit.
        self._log_pages = 0
        #: Whether the other thread moves the log, whether it has just ended, and how often in a row
        #: too much was left.
        self._moving = False
        self._moved = False
        self._behind = 0
        self._checkpointer = Checkpointer(
            open_checkpointer(connection.filename), self._checkpoint_ended
        )
        if armed("inside_commit"):
            connection.set_commit_hook(_fail_inside_commit)
        self._thread = threading.Thread(target=self._run, name="headrace-writer", daemon=True)
        self._thread.start()

    def start_committing(
        self,
        source: CommitSource,
        inserts: EventInserts,
        on_failed: Callable[[StoreFailedError], None],
    ) -> None:
        """Start taking accepted events from `source`."""
        self._on_failed = on_failed
        self._inserts = inserts
        self._source = source
        self._wake.put(None)

    def wake(self) -> None:
        """Signal that something waits. The check saves a lock per request under load."""
        if self._wake.empty():
            self._wake.put(None)

    async def run(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` in a transaction of its own; committed when this returns.

        Raises:
            StoreError: it could not be committed and was rolled back.
            StoreBusyError: it was not done within `JOB_SECONDS_MAX`. If it had started, its outcome
            is unknown.
        """
        return await self._run_in_turn(work, JOB_SECONDS_MAX)

    async def run_shared(self, work: Callable[[apsw.Connection], T]) -> T:
        """As `run`, in a transaction that other jobs may share.

        Each is in a savepoint: what it has written is rolled back alone if it raises an error.

        Raises:
            StoreError: it could not be committed and was rolled back, possibly by the fault of
                another job that met a full or failing disk.
            StoreBusyError: as `run`.
        """
        return await self._run_in_turn(work, JOB_SECONDS_MAX, shared=True)

    async def run_bare(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run what cannot be part of a transaction, such as rewriting the file.

        Raises:
            StoreError: it failed; what it had committed itself stays.
        """
        return await self._run_in_turn(work, BARE_JOB_SECONDS_MAX, bare=True)

    async def look(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run a short read between two transactions, on the connection that writes.

        Raises:
            StoreError: it failed.
        """
        return await self._run_in_turn(work, JOB_SECONDS_MAX, bare=True)

    async def _run_in_turn(
        self,
        work: Callable[[apsw.Connection], T],
        seconds_max: float,
        *,
        bare: bool = False,
        shared: bool = False,
    ) -> T:
        if self._failure is not None:
            raise self._failure
        if self._stopping:
            message = "The store is closing."
            raise StoreError(message)
        if len(self._jobs) >= JOBS_MAX:
            message = "Too many changes wait for the store."
            raise StoreBusyError(message)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.append(_Job(work, loop, future, bare=bare, shared=shared))
        self.wake()
        try:
            async with asyncio.timeout(seconds_max):
                return await future
        except TimeoutError:
            message = f"The store was not done within {seconds_max:g} s."
            raise StoreBusyError(message) from None

    def stop(self) -> None:
        """Finish what waits and end the thread."""
        self._stopping = True
        self._wake.put(None)
        self._thread.join()
        self._checkpointer.close()

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - a fault of our own, whatever it is
            # No caller may wait forever: from here on all get the error that writing has stopped.
            text = f"The writing thread met {type(error).__name__}: {error}"
            self._after_failure(StoreFailedError(text))
            self._wake.put(None)
            self._work()

    def _work(self) -> None:
        while True:
            try:
                self._wake.get(timeout=POLL_SECONDS)
            except queue.Empty:
                self._keep_up(0)
            while self._turn():
                pass
            if self._stopping:
                return

    def _turn(self) -> bool:
        """Run one batch and one job, or several that share; False when there was neither."""
        batch = self._source.take() if self._source is not None else []
        if batch:
            self._commit(batch)
        job = self._jobs.popleft() if self._jobs else None
        if job is not None and job.shared and self._next_shares():
            self._run_together(job)
        elif job is not None:
            self._run_job(job)
        self._keep_log_short()
        return bool(batch) or job is not None

    def _commit(self, batch: list[Pending]) -> None:
        assert self._source is not None
        started = time.perf_counter()
        self._log_pages += _PAGES_PER_COMMIT + _PAGES_PER_EVENT * len(batch)
        try:
            self._commit_or_isolate(batch)
            self.on_commit(batch)
            self.stats.observe(len(batch), time.perf_counter() - started)
            fail_point("after_commit_before_answer")
        finally:
            self._source.settle(batch)
        self._keep_up(len(batch))

    def _keep_up(self, committed: int) -> None:
        """Behind the answers, so that nobody waits for it more than for another commit."""
        if self._inserts is None:
            return
        try:
            for work in self._inserts.upkeep(self._connection, committed):
                if self._failure is None:
                    self._log_pages += _PAGES_PER_JOB
                    self._transact(work)
        except (apsw.Error, OSError) as error:
            # It was rolled back, and is due again after the next commit.
            self._after_failure(store_error(error))

    def _commit_or_isolate(self, batch: list[Pending]) -> None:
        """Commit the batch; if one row makes it fail, bisect until only that row fails."""
        try:
            if self._failure is not None:
                raise self._failure
            fail_point("before_commit")
            all_new = self._insert(batch)
        except ROW_ERRORS as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                self._commit_or_isolate(batch[:middle])
                self._commit_or_isolate(batch[middle:])
            else:
                self._fail(batch, StoreRowError(f"The store refused the event: {error}"))
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiting requests are answered
            self._fail(batch, store_error(error))
        else:
            if not all_new:
                self._settle_repeats(batch)

    def _insert(self, batch: list[Pending]) -> bool:
        """Commit a batch; whether all of it was new."""
        inserts = self._inserts
        assert inserts is not None
        if len(batch) in inserts.exact_sizes:
            return inserts.insert(self._connection, batch)
        return self._transact(lambda connection: inserts.insert(connection, batch))

    def _settle_repeats(self, batch: list[Pending]) -> None:
        """Settle duplicates after the commit: by now every first copy is on stable storage."""
        inserts = self._inserts
        assert inserts is not None
        try:
            fail_point("before_settling_repeats")
            self._transact(lambda connection: inserts.settle_repeats(connection, batch))
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiting requests are answered
            # The new events of the batch are stored, but it is unknown which of those with a key
            # they are: the keys decide when their callers retry. A retry without a key would store
            # the event twice, and all of those are stored.
            keyed = [each for each in batch if each.event.idempotency_hash is not None]
            self._fail(keyed, store_error(error))

    def _fail(self, batch: list[Pending], error: StoreError) -> None:
        self.stats.failed_commits += 1
        for pending in batch:
            pending.outcome = error
        self._after_failure(error)

    def _run_job(self, job: _Job) -> None:
        if job.future.cancelled():
            # Its caller no longer waits.
            return
        try:
            if self._failure is not None:
                raise self._failure
            # A bare job reads, or empties the log itself.
            if not job.bare:
                self._log_pages += _PAGES_PER_JOB
            result = job.work(self._connection) if job.bare else self._transact(job.work)
        except Exception as error:  # noqa: BLE001 - a job's own errors belong to its caller
            failed = _error_of_job(error)
            job.finish(None, failed)
            self._after_failure(failed)
        else:
            job.finish(result, None)

    def _next_shares(self) -> bool:
        return bool(self._jobs) and self._jobs[0].shared

    def _run_together(self, first: _Job) -> None:
        """Run jobs in one transaction, in their order; all are answered after its commit."""
        jobs = [first]
        ends: list[tuple[Any, BaseException | None]] = []

        def work(connection: apsw.Connection) -> None:
            until = time.monotonic() + SHARED_SECONDS_MAX
            while True:
                ends.append(_in_savepoint(connection, jobs[-1]))
                fail_point("between_jobs")
                full = len(jobs) >= SHARED_MAX or time.monotonic() >= until
                if full or not self._next_shares():
                    return
                self._log_pages += _PAGES_PER_FURTHER_JOB
                jobs.append(self._jobs.popleft())

        try:
            if self._failure is not None:
                raise self._failure
            self._log_pages += _PAGES_PER_JOB
            self._transact(work)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers are answered
            failed = store_error(error)
            _finish_all(jobs, [(None, failed)] * len(jobs))
            self._after_failure(failed)
        else:
            _finish_all(jobs, ends)

    def _transact(self, work: Callable[[apsw.Connection], T]) -> T:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _after_failure(self, error: Exception) -> None:
        # After a failed fsync the next commit may "succeed" on pages the kernel has dropped, so
        # writing stops and the process ends.
        if isinstance(error, StoreFullError):
            self._on_full()
        if isinstance(error, StoreFailedError) and self._failure is None:
            self._failure = error
            self._on_failed(error)

    def _keep_log_short(self) -> None:
        """Move the log into the database as far as readers allow, mostly in the other thread."""
        if self._moved:
            self._moving = self._moved = False
            self._behind += 1
            if self._log_pages <= LAST_PAGES_MAX or self._behind >= CHECKPOINTS_BEHIND_MAX:
                self._behind = self._log_pages = 0
                fail_point("before_last_pages")
                try:
                    self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                except apsw.Error as error:
                    self._after_failure(store_error(error))
        if not self._moving and (self._behind or self._log_pages >= CHECKPOINT_PAGES):
            self._moving = True
            self._log_pages = 0
            self._checkpointer.request()

    def _checkpoint_ended(self, error: apsw.Error | None) -> None:
        """Called in the other thread."""
        if error is not None:
            self._after_failure(store_error(error))
        self._moved = True
        self.wake()


def _finish_all(jobs: Sequence[_Job], ends: Sequence[tuple[Any, BaseException | None]]) -> None:
    """Answer the callers, with one call for those of the same loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Job, Any, BaseException | None]]] = {}
    for job, (result, error) in zip(jobs, ends, strict=True):
        by_loop.setdefault(job.loop, []).append((job, result, error))
    for loop, ended in by_loop.items():
        loop.call_soon_threadsafe(_set_all, ended)


def _set_all(ended: Sequence[tuple[_Job, Any, BaseException | None]]) -> None:
    for job, result, error in ended:
        job.set(result, error)


def _in_savepoint(connection: apsw.Connection, job: _Job) -> tuple[Any, BaseException | None]:
    """Run one of several jobs; its result, or its error after what it wrote was rolled back.

    Raises:
        Exception: the transaction cannot go on for the others either.
    """
    if job.future.cancelled():
        # Its caller no longer waits.
        return None, None
    connection.execute("SAVEPOINT job")
    try:
        result = job.work(connection)
    except Exception as error:
        failed = _error_of_job(error)
        ends_all = isinstance(failed, (StoreFullError, StoreFailedError))
        if ends_all or not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")
        return None, failed
    connection.execute("RELEASE job")
    return result, None


def _error_of_job(error: Exception) -> Exception:
    """What the caller of a job gets for an error in it."""
    if isinstance(error, ROW_ERRORS):
        return StoreRowError(f"{type(error).__name__}: {error}")
    if isinstance(error, (apsw.Error, OSError, MemoryError)):
        return store_error(error)
    return error


def _fail_inside_commit() -> bool:
    fail_point("inside_commit")
    return False


def checkpoint_fully(connection: apsw.Connection) -> None:
    """Empty the log into the database and sync it.

    Done before the first request is served: a row that was written but not confirmed (killed inside
    fsync) is visible, and must not be answered as a duplicate before it is durable.

    Raises:
        StoreBusyError: another process keeps the log in use.
    """
    wal_pages, moved = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    if wal_pages > 0 and moved < wal_pages:
        message = "Another process reads the store; its log cannot be emptied."
        raise StoreBusyError(message)


def database_paths(path: Path) -> tuple[Path, Path]:
    """The database and its log; for `stat` only, never to be opened by ordinary calls."""
    return path, file_beside(path, LOG)
